/* SPDX-License-Identifier: MIT */
/* Reading JSON: what is refused and what is given. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/json.h"

static ex_json *parsed(const char *text)
{
    ex_json *document = NULL;
    executr_error err;

    executr_status st = ex_json_parse(text, strlen(text), &document, &err);
    cr_assert_eq(st, EXECUTR_OK, "%s: %s", text, st ? err.message : "");
    return document;
}

/* The message for a text that has to be refused. */
static const char *refused(const char *text, size_t length)
{
    static executr_error err;
    ex_json *document = (ex_json *)&err;

    executr_status st = ex_json_parse(text, length, &document, &err);
    cr_assert_eq(st, EXECUTR_E_ARGUMENT, "%.*s", (int)length, text);
    cr_assert_null(document);
    return err.message;
}

Test(json_parse, gives_types_and_values)
{
    ex_json *d = parsed(
        " {\"n\":null,\"b\":true,\"i\":-5,\"d\":1.5,\"s\":\"x\",\"a\":[1,2],"
        "\"o\":{}}\r\n");

    cr_expect_eq(ex_json_type(d), EX_JSON_OBJECT);
    cr_expect_eq(ex_json_count(d), 7);
    cr_expect_null(ex_json_get(d, "n"));
    cr_expect_eq(ex_json_bool(ex_json_get(d, "b")), 1);
    cr_expect_eq(ex_json_int(ex_json_get(d, "i")), -5);
    cr_expect_float_eq(ex_json_double(ex_json_get(d, "d")), 1.5, 0);
    cr_expect_str_eq(ex_json_string(ex_json_get(d, "s"), NULL), "x");
    cr_expect_eq(ex_json_int(ex_json_at(ex_json_get(d, "a"), 1)), 2);
    cr_expect_null(ex_json_at(ex_json_get(d, "a"), 2));
    cr_expect_eq(ex_json_type(ex_json_get(d, "o")), EX_JSON_OBJECT);
    ex_json_free(d);
}

Test(json_parse, takes_any_value_at_the_top)
{
    const char *const texts[] = {"123", "-0", "1e2", "\"a\"", "true", "[]"};
    const int types[] = {EX_JSON_INT,    EX_JSON_INT,  EX_JSON_DOUBLE,
                         EX_JSON_STRING, EX_JSON_BOOL, EX_JSON_ARRAY};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        ex_json *document = parsed(texts[i]);
        cr_expect_eq(ex_json_type(document), types[i], "%s", texts[i]);
        ex_json_free(document);
    }
    cr_expect_null(parsed("null"));
}

Test(json_parse, reads_no_further_than_told)
{
    ex_json *document;

    cr_assert_eq(ex_json_parse("[12345", 3, &document, NULL), -1);
    cr_assert_eq(ex_json_parse("123456", 3, &document, NULL), EXECUTR_OK);
    cr_expect_eq(ex_json_int(document), 123);
    ex_json_free(document);
}

Test(json_parse, decodes_escapes)
{
    ex_json *d = parsed("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\uDE00\"");
    size_t length;

    const char *text = ex_json_string(d, &length);
    cr_expect_str_eq(text, "\"\\/\b\f\n\r\t\xc3\xa4\xf0\x9f\x98\x80");
    cr_expect_eq(length, strlen(text));
    ex_json_free(d);
}

Test(json_parse, refuses_what_is_no_json)
{
    const char *const bad[] = {
        "",
        " ",
        "{",
        "[",
        "}",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "[1}",
        "{\"a\":1]",
        "1 2",
        "{} x",
        "[]]",
        "'a'",
        "{'a':1}",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "tru",
        "True",
        "nul",
        "nulll",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x10",
        "--1",
        "-01",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\"\t\"",
        "// x\n1",
        "/* x */ 1",
        "[1] // x",
        "\xef\xbb\xbf{}",
        "\"\x7f\" \"\""};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i], strlen(bad[i]));
    refused("{}\0", 3);
    refused("\0", 1);
    refused("\"a\0b\"", 5);
}

Test(json_parse, says_what_is_wrong_and_where)
{
    cr_expect_str_eq(
        refused("{\"a\": NaN}", 10),
        "invalid JSON at byte 6: something that is no JSON value");
    cr_expect_str_eq(
        refused("[1] 2", 5), "invalid JSON at byte 4: more than one value");
    cr_expect_str_eq(refused("", 0), "invalid JSON at byte 0: nothing");
}

Test(json_parse, refuses_invalid_utf8_and_lone_surrogates)
{
    const char *const bad[] = {
        "\"\xff\"",           "\"\xc3\"",     "\"\xed\xa0\x80\"",
        "\"\xc0\x80\"",       "{\"\xff\":1}", "\"\\ud800\"",
        "\"\\udc00\"",        "\"\\ud800x\"", "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"", "\"\\ud800\\\""};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i], strlen(bad[i]));
}

Test(json_parse, refuses_repeated_names_however_they_are_written)
{
    const char *const bad[] = {
        "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}",
        "[{\"x\":{\"a\":1,\"b\":2,\"a\":null}}]", "{\"\":1,\"\":1}"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_str_eq(
            refused(bad[i], strlen(bad[i])),
            "invalid JSON: an object has two members of the same name");
    ex_json_free(parsed("[{\"a\":{\"a\":1}},{\"a\":1,\"A\":2}]"));
}

Test(json_parse, takes_exactly_the_integers_of_64_bits)
{
    const char *const bad[] = {
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "[99999999999999999999999]",
        "1e999",
        "-1e999"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i], strlen(bad[i]));
    ex_json *d = parsed("[9223372036854775807,-9223372036854775808]");
    cr_expect_eq(ex_json_int(ex_json_at(d, 0)), INT64_MAX);
    cr_expect_eq(ex_json_int(ex_json_at(d, 1)), INT64_MIN);
    ex_json_free(d);
}

Test(json_parse, allows_a_depth_of_32)
{
    char text[2 * 33 + 1];

    memset(text, '[', 33);
    memset(text + 33, ']', 33);
    refused(text, 66);
    text[65] = '\0';
    ex_json_free(parsed(text + 1));
    memset(text, '[', 33);
    text[32] = '1';
    ex_json *document;
    memset(text + 33, ']', 32);
    cr_expect_eq(ex_json_parse(text, 65, &document, NULL), EXECUTR_OK);
    ex_json_free(document);
}

/* The library is given memory for the levels that are there, and no more. */
Test(json_parse, reads_every_depth_up_to_that)
{
    static const char *const innermost[] = {
        "1", "\"s\"", "null", "[]", "{}", "-1.5e3", "1,{\"b\":[true]}"};
    char text[400];

    for (size_t k = 0; k < sizeof innermost / sizeof *innermost; k++) {
        for (int depth = 1; depth <= 30; depth++) {
            char *at = text;
            for (int i = 0; i < depth; i++)
                at = stpcpy(at, i % 2 || i == depth - 1 ? "[" : "{\"a\":");
            at = stpcpy(at, innermost[k]);
            for (int i = depth - 1; i >= 0; i--)
                *at++ = i % 2 || i == depth - 1 ? ']' : '}';
            *at = '\0';
            ex_json_free(parsed(text));
        }
    }
    ex_json_free(parsed("7"));
}

Test(json_parse, is_not_impressed_by_a_million_brackets)
{
    static char text[1000000];

    memset(text, '[', sizeof text);
    refused(text, sizeof text);
    memset(text, '{', sizeof text);
    refused(text, sizeof text);
}

Test(json_nul, is_refused_by_default)
{
    refused("\"a\\u0000b\"", 10);
    refused("{\"a\\u0000\":1}", 13);
}

Test(json_nul, can_be_allowed_in_values_but_not_in_names)
{
    const char text[] = "{\"stdout\":\"a\\u0000b\"}";
    const char name[] = "{\"a\\u0000\":1}";
    ex_json *d;
    size_t length;
    const char *out = NULL;

    cr_expect_eq(ex_json_parse_nul(name, sizeof name - 1, &d, NULL), -1);
    cr_assert_eq(ex_json_parse_nul(text, sizeof text - 1, &d, NULL), 0);
    const char *value = ex_json_string(ex_json_get(d, "stdout"), &length);
    cr_expect_eq(length, 3);
    cr_expect_eq(memcmp(value, "a\0b", 4), 0);
    cr_expect_eq(
        ex_json_read_string(d, "stdout", &out, NULL), EXECUTR_E_ARGUMENT);
    cr_expect_null(out);
    ex_json_free(d);
}

Test(json_member, walks_in_the_order_written)
{
    ex_json *d = parsed("{\"z\":1,\"a\":null,\"m\":3}");
    const char *name;

    cr_expect_eq(ex_json_int(ex_json_member(d, 0, &name)), 1);
    cr_expect_str_eq(name, "z");
    cr_expect_null(ex_json_member(d, 1, &name));
    cr_expect_str_eq(name, "a");
    cr_expect_eq(ex_json_int(ex_json_member(d, 2, &name)), 3);
    cr_expect_null(ex_json_member(d, 3, &name));
    cr_expect_null(name);
    cr_expect_eq(ex_json_int(ex_json_member(d, 0, &name)), 1);
    ex_json_free(d);
}

Test(json_member, walks_a_large_object)
{
    ex_buf text;
    const char *name;

    ex_buf_init(&text, EX_BUF_UNLIMITED);
    for (int i = 0; i < 50000; i++)
        ex_buf_printf(&text, "%c\"k%d\":%d", i ? ',' : '{', i, i);
    ex_buf_putc(&text, '}');
    ex_json *d = parsed(text.data);
    for (size_t i = 0; i < 50000; i++)
        cr_assert_eq(ex_json_int(ex_json_member(d, i, &name)), (int64_t)i);
    ex_json_free(d);
    ex_buf_clear(&text);
}

Test(json_get, gives_nothing_for_other_types)
{
    ex_json *d = parsed("[1]");
    const char *name;

    cr_expect_null(ex_json_get(d, "a"));
    cr_expect_null(ex_json_get(NULL, "a"));
    cr_expect_null(ex_json_at(NULL, 0));
    cr_expect_null(ex_json_member(d, 0, &name));
    cr_expect_eq(ex_json_count(NULL), 0);
    cr_expect_eq(ex_json_count(ex_json_at(d, 0)), 0);
    ex_json_free(d);
    ex_json_free(NULL);
}

Test(json_read, leaves_absent_and_null_members_alone)
{
    ex_json *d = parsed("{\"n\":null}");
    const char *text = "kept";
    int64_t number = 5;
    double real = 0.5;
    int32_t small = 7;
    ex_json *list = d;

    cr_expect_eq(ex_json_read_string(d, "n", &text, NULL), 0);
    cr_expect_eq(ex_json_read_i64(d, "x", 0, 1, &number, NULL), 0);
    cr_expect_eq(ex_json_read_i32(d, "n", 0, 1, &small, NULL), 0);
    cr_expect_eq(ex_json_read_double(d, "n", &real, NULL), 0);
    cr_expect_eq(ex_json_read_bool(d, "n", &small, NULL), 0);
    cr_expect_eq(ex_json_read_container(d, "n", EX_JSON_ARRAY, &list, NULL), 0);
    cr_expect(number == 5 && real == 0.5 && small == 7 && list == d);
    cr_expect_str_eq(text, "kept");
    ex_json_free(d);
}

Test(json_read, gives_members_of_the_right_type)
{
    ex_json *d = parsed("{\"s\":\"x\",\"i\":9,\"d\":2.5,\"b\":false,\"a\":[]}");
    const char *text = NULL;
    int64_t number = 0;
    double real = 0;
    int32_t flag = 1;
    ex_json *list = NULL;

    cr_expect_eq(ex_json_read_string(d, "s", &text, NULL), 0);
    cr_expect_eq(ex_json_read_i64(d, "i", 9, 9, &number, NULL), 0);
    cr_expect_eq(ex_json_read_bool(d, "b", &flag, NULL), 0);
    cr_expect_eq(ex_json_read_container(d, "a", EX_JSON_ARRAY, &list, NULL), 0);
    cr_expect_eq(ex_json_read_double(d, "d", &real, NULL), 0);
    cr_expect(text && number == 9 && real == 2.5 && flag == 0 && list);
    cr_expect_eq(ex_json_read_double(d, "i", &real, NULL), 0);
    cr_expect(real == 9);
    ex_json_free(d);
}

Test(json_read, refuses_wrong_types_and_names_the_field)
{
    ex_json *d = parsed("{\"f\":\"5\",\"g\":5,\"h\":5.0}");
    int64_t number;
    int32_t flag;
    double real;
    const char *text;
    ex_json *list;
    executr_error err;

    cr_expect_eq(ex_json_read_i64(d, "f", 0, 9, &number, &err), -1);
    cr_expect_str_eq(err.field, "f");
    cr_expect_str_eq(err.message, "f must be an integer");
    cr_expect_eq(ex_json_read_i64(d, "h", 0, 9, &number, NULL), -1);
    cr_expect_eq(ex_json_read_double(d, "f", &real, NULL), -1);
    cr_expect_eq(ex_json_read_bool(d, "g", &flag, NULL), -1);
    cr_expect_eq(ex_json_read_string(d, "g", &text, NULL), -1);
    cr_expect_eq(
        ex_json_read_container(d, "g", EX_JSON_OBJECT, &list, NULL), -1);
    ex_json_free(d);
}

Test(json_read, refuses_numbers_out_of_range)
{
    ex_json *d = parsed("{\"n\":4294967296}");
    int64_t number = 1;
    int32_t small = 1;
    executr_error err;

    cr_expect_eq(ex_json_read_i64(d, "n", 0, 100, &number, &err), -1);
    cr_expect_str_eq(err.message, "n is 4294967296, but must be 0 to 100");
    cr_expect_eq(
        ex_json_read_i32(d, "n", INT32_MIN, INT32_MAX, &small, NULL), -1);
    cr_expect(number == 1 && small == 1);
    ex_json_free(d);
}
