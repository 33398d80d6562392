/* SPDX-License-Identifier: MIT */
/* Percent codes, query strings and the shape of URLs and of UTF-8. */
#include "base/url.h"

#include <string.h>
#include <strings.h>

#define LONGEST_URL 8192

static int is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z');
}

void ex_url_encode(ex_buf *out, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (is_alnum(*text) || strchr("-._~", *text)) {
            ex_buf_putc(out, *text);
        } else {
            char code[3] = {'%', digits[c >> 4], digits[c & 15]};
            ex_buf_add(out, code, sizeof code);
        }
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next decoded byte, 1 to 255, or -1 for a bad code or a NUL. */
static int next_byte(const char **at, const char *end, int form)
{
    char c = *(*at)++;

    if (c == '+' && form)
        return ' ';
    if (c != '%')
        return c ? (unsigned char)c : -1;
    if (end - *at < 2)
        return -1;
    int high = hex_value((*at)[0]);
    int low = hex_value((*at)[1]);
    *at += 2;
    return high < 0 || low < 0 || high + low == 0 ? -1 : high * 16 + low;
}

int ex_url_decode(ex_buf *out, const char *text, size_t length, int form)
{
    const char *end = text + length;

    while (text < end) {
        int c = next_byte(&text, end, form);
        if (c < 0)
            return -1;
        ex_buf_putc(out, (char)c);
    }
    return 0;
}

/* 1 if the encoded text decodes to `name`. */
static int decodes_to(const char *text, size_t length, const char *name)
{
    const char *end = text + length;

    for (; text < end; name++) {
        int c = next_byte(&text, end, 1);
        if (c < 0 || c != (unsigned char)*name)
            return 0;
    }
    return *name == '\0';
}

int ex_url_query(ex_buf *out, const char *query, const char *name)
{
    const char *at = query ? query : "";

    while (*at) {
        size_t length = strcspn(at, "&");
        const char *equals = memchr(at, '=', length);
        size_t key = equals ? (size_t)(equals - at) : length;
        if (decodes_to(at, key, name)) {
            size_t skip = equals ? key + 1 : key;
            int bad = ex_url_decode(out, at + skip, length - skip, 1);
            return bad ? -1 : 1;
        }
        at += length + (at[length] == '&');
    }
    return 0;
}

/* Where the host at the beginning of an authority ends; NULL if it is none. */
static const char *skip_host(const char *text, const char *end)
{
    const char *at = text;

    if (at < end && *at == '[') {
        at += 1 + strspn(at + 1, "0123456789abcdefABCDEF:.");
        return at < end && at > text + 1 && *at == ']' ? at + 1 : NULL;
    }
    while (at < end && (is_alnum(*at) || strchr("-._~%", *at)))
        at++;
    return at > text ? at : NULL;
}

/* 1 for ":" and a number, or ":" alone. */
static int is_port(const char *text, const char *end)
{
    long port = 0;

    if (*text++ != ':' || end - text > 5)
        return 0;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return 0;
        port = port * 10 + (*text - '0');
    }
    return port <= 65535;
}

/* 1 for "host", "host:port", "[v6]" and "[v6]:port". */
static int is_authority(const char *text, size_t length)
{
    const char *end = text + length;
    const char *rest = skip_host(text, end);

    return rest && (rest == end || is_port(rest, end));
}

int32_t ex_url_is_http(const char *url)
{
    size_t length = strnlen(url, LONGEST_URL + 1);

    if (length > LONGEST_URL)
        return 0;
    for (size_t i = 0; i < length; i++) {
        if (url[i] <= ' ' || url[i] > '~' || url[i] == '\\')
            return 0;
    }
    if (strncasecmp(url, "http://", 7) == 0)
        url += 7;
    else if (strncasecmp(url, "https://", 8) == 0)
        url += 8;
    else
        return 0;
    size_t authority = strcspn(url, "/?#");
    const char *at_sign = memrchr(url, '@', authority);
    size_t user = at_sign ? (size_t)(at_sign - url) + 1 : 0;
    return is_authority(url + user, authority - user);
}

/*
 * How many bytes a sequence that starts with `lead` has, and what its second
 * byte may be: that is where over-long forms, surrogates and what lies beyond
 * U+10FFFF show. 0 for no lead byte.
 */
static size_t sequence_length(
    unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

int32_t ex_utf8_step(const void *text, size_t length, size_t *used)
{
    const unsigned char *bytes = text;
    unsigned char low;
    unsigned char high;
    size_t wanted = sequence_length(bytes[0], &low, &high);

    *used = 1;
    while (*used < wanted) {
        if (*used == length || bytes[*used] < low || bytes[*used] > high)
            return 0;
        (*used)++;
        low = 0x80;
        high = 0xbf;
    }
    return wanted > 0;
}

int32_t ex_utf8_valid(const void *text, size_t length)
{
    const char *at = text;

    while (length > 0) {
        size_t used = 8;
        uint64_t word = UINT64_MAX;
        if (length >= sizeof word)
            memcpy(&word, at, sizeof word);
        if ((word & UINT64_C(0x8080808080808080)) &&
            !ex_utf8_step(at, length, &used))
            return 0;
        at += used;
        length -= used;
    }
    return 1;
}

size_t ex_utf8_cut(const void *text, size_t at)
{
    const unsigned char *bytes = text;
    unsigned char low;
    unsigned char high;
    size_t lead = at;

    while (lead > 0 && at - lead < 3 && (bytes[lead - 1] & 0xc0) == 0x80)
        lead--;
    if (lead == 0)
        return at;
    lead--;
    return lead + sequence_length(bytes[lead], &low, &high) > at ? lead : at;
}
