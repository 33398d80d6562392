/* SPDX-License-Identifier: MIT */
/* Percent codes, query strings, URLs and UTF-8. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/url.h"

Test(url_encode, leaves_unreserved_characters_only)
{
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_url_encode(&out, "aZ09-._~ /?&=+%\xc3\xa4");
    cr_expect_str_eq(ex_buf_text(&out), "aZ09-._~%20%2F%3F%26%3D%2B%25%C3%A4");
    ex_buf_clear(&out);
}

Test(url_decode, resolves_codes)
{
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    cr_expect_eq(ex_url_decode(&out, "a%2fb%2F+c!", 10, 0), 0);
    cr_expect_str_eq(ex_buf_text(&out), "a/b/+c");
    ex_buf_reset(&out);
    cr_expect_eq(ex_url_decode(&out, "a+b", 3, 1), 0);
    cr_expect_str_eq(ex_buf_text(&out), "a b");
    ex_buf_clear(&out);
}

Test(url_decode, refuses_bad_codes_and_nul)
{
    const char *const bad[] = {
        "%", "a%2", "%zz", "%2g", "%%41", "%00", "a%00b"};
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_eq(ex_url_decode(&out, bad[i], strlen(bad[i]), 0), -1);
    cr_expect_eq(ex_url_decode(&out, "a\0b", 3, 0), -1);
    cr_expect_eq(ex_url_decode(&out, "%41", 2, 0), -1, "read past the end");
    ex_buf_clear(&out);
}

static int query(const char *text, const char *name, const char *wanted)
{
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    int found = ex_url_query(&out, text, name);
    if (found == 1)
        cr_expect_str_eq(ex_buf_text(&out), wanted);
    ex_buf_clear(&out);
    return found;
}

Test(url_query, finds_the_first_value_of_a_name)
{
    cr_expect_eq(query("a=1&b=2&b=3", "b", "2"), 1);
    cr_expect_eq(query("a=1+2%263", "a", "1 2&3"), 1);
    cr_expect_eq(query("a=1=2", "a", "1=2"), 1);
    cr_expect_eq(query("a&b=", "a", ""), 1);
    cr_expect_eq(query("a&b=", "b", ""), 1);
    cr_expect_eq(query("my%20name=x", "my name", "x"), 1);
}

Test(url_query, tells_absent_from_badly_encoded)
{
    cr_expect_eq(query(NULL, "a", ""), 0);
    cr_expect_eq(query("", "a", ""), 0);
    cr_expect_eq(query("ab=1&&c=2", "a", ""), 0);
    cr_expect_eq(query("a=1", "ab", ""), 0);
    cr_expect_eq(query("b=%zz&a=1", "a", "1"), 1);
    cr_expect_eq(query("a=%zz", "a", ""), -1);
    cr_expect_eq(query("a=%00", "a", ""), -1);
}

Test(url_is_http, takes_http_urls_with_a_host)
{
    const char *const good[] = {
        "http://example.com",
        "https://example.com/tool?x=1#y",
        "HTTPS://EXAMPLE.com:8443/",
        "http://127.0.0.1:80/a%20b",
        "http://[::1]:8080/x",
        "http://[2001:db8::1]",
        "http://user:pw@host/x",
        "http://a_b.c-d/",
        "http://h?q",
        "http://h:"};

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_expect_eq(ex_url_is_http(good[i]), 1, "%s", good[i]);
}

Test(url_is_http, refuses_anything_else)
{
    const char *const bad[] = {
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http:",
        "http:/x",
        "http://",
        "http:///x",
        "http://?x",
        "http://:80/",
        "http://user@/x",
        "http://h:80a/",
        "http://h:65536/",
        "http://h:1:2/",
        "http://h/a b",
        "http://h/\n",
        "http://h/\x7f",
        "http://h\\x/",
        "http://h/\xc3\xa4",
        " http://h/",
        "http://[::1",
        "http://[]/",
        "http://[x]/",
        "http://[::1]x/",
        "http://h\t/",
        "http://a,b/"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_eq(ex_url_is_http(bad[i]), 0, "%s", bad[i]);
}

Test(url_is_http, limits_the_length)
{
    char url[8194];

    memset(url, 'a', sizeof url);
    memcpy(url, "http://h/", 9);
    url[8192] = '\0';
    cr_expect_eq(ex_url_is_http(url), 1);
    url[8192] = 'a';
    url[8193] = '\0';
    cr_expect_eq(ex_url_is_http(url), 0);
}

/* The definition of UTF-8, decoded the slow way. */
static int is_character(const unsigned char *b, size_t n)
{
    uint32_t code = n == 1 ? b[0] : b[0] & (0x7fu >> n);
    const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

    if (n == 1)
        return b[0] < 0x80;
    if ((b[0] & (0xff00u >> (n + 1) & 0xff)) != lead[n])
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (b[i] & 0x3f);
    }
    return code >= least[n] && code <= 0x10ffff &&
           (code < 0xd800 || code > 0xdfff);
}

Test(utf8_valid, agrees_with_the_definition_on_all_short_sequences)
{
    for (uint32_t value = 0; value < 0x1000000; value++) {
        unsigned char b[3] = {
            (unsigned char)(value >> 16), (unsigned char)(value >> 8),
            (unsigned char)value};
        int one = is_character(b, 1);
        int two = is_character(b, 2);
        int wanted = is_character(b, 3) || (two && is_character(b + 2, 1)) ||
                     (one && is_character(b + 1, 2)) ||
                     (one && is_character(b + 1, 1) && is_character(b + 2, 1));
        if (ex_utf8_valid(b, 3) != wanted)
            cr_assert_fail("%06x is not %d", value, wanted);
    }
}

Test(utf8_valid, agrees_with_the_definition_on_four_bytes)
{
    for (uint32_t value = 0xee000000; value < 0xfffffff0; value += 7) {
        unsigned char b[4] = {
            (unsigned char)(value >> 24), (unsigned char)(value >> 16),
            (unsigned char)(value >> 8), (unsigned char)value};
        int wanted = is_character(b, 4) ||
                     (is_character(b, 3) && is_character(b + 3, 1));
        if (ex_utf8_valid(b, 4) != wanted)
            cr_assert_fail("%08x is not %d", value, wanted);
    }
}

Test(utf8_valid, looks_at_every_byte_of_a_long_text)
{
    char text[41];

    memset(text, 'x', sizeof text);
    cr_expect_eq(ex_utf8_valid(text, sizeof text), 1);
    cr_expect_eq(ex_utf8_valid("", 0), 1);
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (char)0xff;
        cr_expect_eq(ex_utf8_valid(text, sizeof text), 0);
        text[i] = 'x';
    }
}

Test(utf8_step, skips_as_much_as_one_replacement_stands_for)
{
    size_t used;

    cr_expect_eq(ex_utf8_step("\xe2\x82\xac!", 4, &used), 1);
    cr_expect_eq(used, 3);
    cr_expect_eq(ex_utf8_step("\xe2\x82", 2, &used), 0);
    cr_expect_eq(used, 2);
    cr_expect_eq(ex_utf8_step("\xe2\x82!", 3, &used), 0);
    cr_expect_eq(used, 2);
    cr_expect_eq(ex_utf8_step("\xed\xa0\x80", 3, &used), 0);
    cr_expect_eq(used, 1);
}

Test(utf8_cut, splits_no_character)
{
    const char *text = "a\u20ac\U0001f600"; /* 1, 3 and 4 bytes */
    const size_t wanted[] = {0, 1, 1, 1, 4, 4, 4, 4, 8};

    for (size_t at = 0; at <= 8; at++)
        cr_expect_eq(ex_utf8_cut(text, at), wanted[at], "at %zu", at);
}

Test(utf8_cut, lets_bytes_that_are_no_text_be)
{
    for (size_t at = 0; at <= 6; at++) {
        cr_expect_eq(ex_utf8_cut("\x80\x80\x80\x80\x80\x80", at), at);
        cr_expect_eq(ex_utf8_cut("\xff\xff\xff\xff\xff\xff", at), at);
    }
}
