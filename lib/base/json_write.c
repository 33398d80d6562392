/* SPDX-License-Identifier: MIT */
/* Writing JSON straight into a buffer; any bytes give valid JSON. */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "base/url.h"

void ex_json_begin(ex_json_writer *w, ex_buf *buf)
{
    w->buf = buf;
    w->comma = 0;
}

/* What stands in front of a value, and the promise of one behind it. */
static void next_value(ex_json_writer *w)
{
    if (w->comma)
        ex_buf_putc(w->buf, ',');
    w->comma = 1;
}

void ex_json_open(ex_json_writer *w, char brace)
{
    next_value(w);
    ex_buf_putc(w->buf, brace);
    w->comma = 0;
}

void ex_json_close(ex_json_writer *w, char brace)
{
    ex_buf_putc(w->buf, brace);
    w->comma = 1;
}

void ex_json_key(ex_json_writer *w, const char *name)
{
    size_t length = strlen(name);
    size_t all = length + 3 + (w->comma != 0);
    char *at = ex_buf_reserve(w->buf, all);

    if (!at)
        return;
    if (w->comma)
        *at++ = ',';
    *at++ = '"';
    at = mempcpy(at, name, length);
    *at++ = '"';
    *at = ':';
    ex_buf_used(w->buf, all);
    w->comma = 0;
}

static void put_escape(ex_buf *buf, unsigned char c)
{
    static const char short_from[] = "\"\\\b\f\n\r\t";
    static const char short_to[] = "\"\\bfnrt";
    static const char digits[] = "0123456789abcdef";

    const char *found = c ? strchr(short_from, c) : NULL;
    if (found) {
        char code[2] = {'\\', short_to[found - short_from]};
        ex_buf_add(buf, code, sizeof code);
    } else {
        char code[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
        ex_buf_add(buf, code, sizeof code);
    }
}

/* A string that stands for itself to its end. */
static void put_plain(ex_json_writer *w, const void *data, size_t length)
{
    char *at = ex_buf_reserve(w->buf, length + 2);

    if (!at)
        return;
    at[0] = '"';
    memcpy(at + 1, data, length);
    at[length + 1] = '"';
    ex_buf_used(w->buf, length + 2);
}

void ex_json_put_bytes(ex_json_writer *w, const void *data, size_t length)
{
    const unsigned char *at = data;
    const unsigned char *end = at + length;
    size_t used = ex_json_plain(at, length);

    next_value(w);
    if (used > 0 && used == length) {
        put_plain(w, data, length);
        return;
    }
    ex_buf_putc(w->buf, '"');
    while (at < end) {
        ex_buf_add(w->buf, at, used);
        at += used;
        if (at == end)
            break;
        if (*at < 0x80) {
            put_escape(w->buf, *at++);
        } else {
            ex_utf8_step(at, (size_t)(end - at), &used);
            ex_buf_add(w->buf, "\xef\xbf\xbd", 3);
            at += used;
        }
        used = ex_json_plain(at, (size_t)(end - at));
    }
    ex_buf_putc(w->buf, '"');
}

void ex_json_put_string(ex_json_writer *w, const char *text)
{
    if (text)
        ex_json_put_bytes(w, text, strlen(text));
    else
        ex_json_put_raw(w, "null", 4);
}

void ex_json_put_i64(ex_json_writer *w, int64_t value)
{
    next_value(w);
    ex_buf_put_i64(w->buf, value);
}

/* -0.0 and 0.0 are equal but not the same number. */
static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

void ex_json_put_double(ex_json_writer *w, double value)
{
    char text[32];

    if (!isfinite(value)) {
        ex_json_put_raw(w, "null", 4);
        return;
    }
    int length = 0;
    /* The shortest that reads back the same. */
    for (int digits = 15; digits <= 17; digits++) {
        length = snprintf(text, sizeof text, "%.*g", digits, value);
        if (bits_of(strtod(text, NULL)) == bits_of(value))
            break;
    }
    char *comma = strchr(text, ','); /* of the host program's locale */
    if (comma)
        *comma = '.';
    ex_json_put_raw(w, text, (size_t)length);
}

void ex_json_put_bool(ex_json_writer *w, int32_t value)
{
    if (value)
        ex_json_put_raw(w, "true", 4);
    else
        ex_json_put_raw(w, "false", 5);
}

void ex_json_put_raw(ex_json_writer *w, const char *json, size_t length)
{
    next_value(w);
    ex_buf_add(w->buf, json, length);
}

void ex_json_add_string(ex_json_writer *w, const char *name, const char *text)
{
    if (!text)
        return;
    ex_json_key(w, name);
    ex_json_put_string(w, text);
}

void ex_json_add_i64(ex_json_writer *w, const char *name, int64_t value)
{
    ex_json_key(w, name);
    ex_json_put_i64(w, value);
}

void ex_json_add_bool(ex_json_writer *w, const char *name, int32_t value)
{
    ex_json_key(w, name);
    ex_json_put_bool(w, value);
}

void ex_json_add_time(ex_json_writer *w, const char *name, int64_t us)
{
    char text[EX_TIME_TEXT];

    if (us == 0)
        return;
    ex_time_format(us, text);
    ex_json_key(w, name);
    ex_json_put_bytes(w, text, EX_TIME_TEXT - 1);
}
