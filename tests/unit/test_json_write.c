/* SPDX-License-Identifier: MIT */
/* Writing JSON: valid whatever the bytes are. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/json.h"

Test(json_write, puts_commas_where_they_belong)
{
    ex_buf out;
    ex_json_writer w;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &out);
    ex_json_open(&w, '{');
    ex_json_add_string(&w, "s", "x");
    ex_json_add_string(&w, "absent", NULL);
    ex_json_add_i64(&w, "i", -3);
    ex_json_add_bool(&w, "b", 1);
    ex_json_add_time(&w, "t", 1);
    ex_json_add_time(&w, "never", 0);
    ex_json_key(&w, "a");
    ex_json_open(&w, '[');
    ex_json_put_bool(&w, 0);
    ex_json_open(&w, '[');
    ex_json_close(&w, ']');
    ex_json_put_string(&w, NULL);
    ex_json_put_raw(&w, "{}", 2);
    ex_json_close(&w, ']');
    ex_json_close(&w, '}');
    cr_expect_str_eq(
        ex_buf_text(&out),
        "{\"s\":\"x\",\"i\":-3,\"b\":true,"
        "\"t\":\"1970-01-01T00:00:00.000001Z\","
        "\"a\":[false,[],null,{}]}");
    ex_buf_clear(&out);
}

static void expect_bytes(const char *data, size_t length, const char *wanted)
{
    ex_buf out;
    ex_json_writer w;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &out);
    ex_json_put_bytes(&w, data, length);
    cr_expect_str_eq(ex_buf_text(&out), wanted);
    ex_buf_clear(&out);
}

Test(json_write, escapes_what_json_forbids)
{
    expect_bytes("", 0, "\"\"");
    expect_bytes("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
    expect_bytes(
        "\b\f\n\r\t\0\x1f\x7f", 8,
        "\"\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\"");
    expect_bytes("12345678\n12345678", 17, "\"12345678\\n12345678\"");
}

Test(json_write, replaces_invalid_utf8)
{
    expect_bytes("\xc3\xa4\xe2\x82\xac", 5, "\"\xc3\xa4\xe2\x82\xac\"");
    expect_bytes("a\xff" "b", 3, "\"a\xef\xbf\xbd" "b\"");
    expect_bytes("\xe2\x82", 2, "\"\xef\xbf\xbd\"");
    expect_bytes(
        "\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* Any bytes at any place of a word are read back as they were. */
Test(json_write, survives_every_byte_at_every_place)
{
    for (size_t at = 0; at < 20; at++) {
        for (int byte = 0; byte < 128; byte++) {
            char text[21] = "abcdefghijklmnopqrst";
            ex_buf out;
            ex_json_writer w;
            ex_json *d;
            size_t length;
            text[at] = (char)byte;
            ex_buf_init(&out, EX_BUF_UNLIMITED);
            ex_json_begin(&w, &out);
            ex_json_put_bytes(&w, text, 20);
            cr_assert_eq(ex_json_parse_nul(out.data, out.length, &d, NULL), 0);
            const char *back = ex_json_string(d, &length);
            cr_assert(length == 20 && memcmp(back, text, 20) == 0);
            ex_json_free(d);
            ex_buf_clear(&out);
        }
    }
}

static void expect_double(double value, const char *wanted)
{
    ex_buf out;
    ex_json_writer w;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &out);
    ex_json_put_double(&w, value);
    cr_expect_str_eq(ex_buf_text(&out), wanted);
    ex_buf_clear(&out);
}

Test(json_write, gives_the_shortest_double)
{
    expect_double(0.1, "0.1");
    expect_double(1.0 / 3, "0.3333333333333333");
    expect_double(0.1 + 0.2, "0.30000000000000004");
    expect_double(5, "5");
    expect_double(DBL_MAX, "1.7976931348623157e+308");
    expect_double((double)INFINITY, "null");
    expect_double((double)NAN, "null");
}

Test(json_write, failure_sticks_in_the_buffer)
{
    ex_buf out;
    ex_json_writer w;

    ex_buf_init(&out, 8);
    ex_json_begin(&w, &out);
    ex_json_put_string(&w, "longer than that");
    cr_expect_eq(ex_buf_status(&out, "it", NULL), EXECUTR_E_TOO_LARGE);
    ex_buf_clear(&out);
}
