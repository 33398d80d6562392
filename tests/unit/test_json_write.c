/* SPDX-License-Identifier: MIT */
/* Writing JSON: valid whatever the bytes are. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/json.h"

static ex_buf out;
static ex_json_writer w;

static void begin(void)
{
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &out);
}

static void expect_written(const char *wanted)
{
    cr_expect_str_eq(ex_buf_text(&out), wanted);
    ex_buf_clear(&out);
}

Test(json_write, puts_commas_where_they_belong)
{
    begin();
    ex_json_open(&w, '[');
    ex_json_put_bool(&w, 0);
    ex_json_open(&w, '[');
    ex_json_close(&w, ']');
    ex_json_open(&w, '{');
    ex_json_key(&w, "a");
    ex_json_put_i64(&w, 1);
    ex_json_key(&w, "b");
    ex_json_put_raw(&w, "{}", 2);
    ex_json_close(&w, '}');
    ex_json_put_string(&w, NULL);
    ex_json_close(&w, ']');
    expect_written("[false,[],{\"a\":1,\"b\":{}},null]");
}

Test(json_write, adds_members_and_leaves_out_absent_ones)
{
    begin();
    ex_json_open(&w, '{');
    ex_json_add_string(&w, "s", "x");
    ex_json_add_string(&w, "absent", NULL);
    ex_json_add_i64(&w, "i", -3);
    ex_json_add_bool(&w, "b", 1);
    ex_json_add_time(&w, "t", 1);
    ex_json_add_time(&w, "never", 0);
    ex_json_close(&w, '}');
    expect_written("{\"s\":\"x\",\"i\":-3,\"b\":true,"
                   "\"t\":\"1970-01-01T00:00:00.000001Z\"}");
}

static void expect_bytes(const char *data, size_t length, const char *wanted)
{
    begin();
    ex_json_put_bytes(&w, data, length);
    expect_written(wanted);
}

Test(json_write, escapes_what_json_forbids)
{
    expect_bytes("", 0, "\"\"");
    expect_bytes("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
    expect_bytes(
        "\b\f\n\r\t\0\x1f\x7f", 8, "\"\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\"");
    expect_bytes("12345678\n12345678", 17, "\"12345678\\n12345678\"");
}

Test(json_write, replaces_invalid_utf8)
{
    expect_bytes("\xc3\xa4\xe2\x82\xac", 5, "\"\xc3\xa4\xe2\x82\xac\"");
    expect_bytes(
        "a\xff"
        "b",
        3,
        "\"a\xef\xbf\xbd"
        "b\"");
    expect_bytes("\xe2\x82", 2, "\"\xef\xbf\xbd\"");
    expect_bytes("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* Write `length` bytes, read them back, compare. */
static void expect_round_trip(const char *text, size_t length)
{
    ex_json *d;
    size_t back_length;

    begin();
    ex_json_put_bytes(&w, text, length);
    cr_assert_eq(ex_json_parse_nul(out.data, out.length, &d, NULL), 0);
    const char *back = ex_json_string(d, &back_length);
    cr_assert(back_length == length && memcmp(back, text, length) == 0);
    ex_json_free(d);
    ex_buf_clear(&out);
}

Test(json_write, survives_every_byte_at_every_place)
{
    for (size_t at = 0; at < 20; at++) {
        for (int byte = 0; byte < 128; byte++) {
            char text[21] = "abcdefghijklmnopqrst";
            text[at] = (char)byte;
            expect_round_trip(text, 20);
        }
    }
}

static void expect_double(double value, const char *wanted)
{
    begin();
    ex_json_put_double(&w, value);
    expect_written(wanted);
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
    ex_buf_init(&out, 8);
    ex_json_begin(&w, &out);
    ex_json_put_string(&w, "longer than that");
    cr_expect_eq(ex_buf_status(&out, "it", NULL), EXECUTR_E_TOO_LARGE);
    ex_buf_clear(&out);
}
