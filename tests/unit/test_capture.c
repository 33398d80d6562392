/* SPDX-License-Identifier: MIT */
/* What capture keeps of an output, and what it says about the rest. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/url.h"
#include "capture.h"

/* A text cut in one go. */
static void cut(ex_buf *out, const char *text, size_t length, size_t limit)
{
    executr_error err;

    ex_buf_init(out, EX_BUF_UNLIMITED);
    cr_assert_eq(ex_capture_cut(text, length, limit, out, &err), EXECUTR_OK);
}

/* The same text handed to a capture in pieces of `step` bytes. */
static void capture_in_steps(
    ex_buf *out, const ex_buf *text, size_t limit, size_t step)
{
    ex_capture *capture;
    const char *got;
    size_t length;

    ex_buf_init(out, EX_BUF_UNLIMITED);
    cr_assert_eq(ex_capture_open(limit, &capture, NULL), EXECUTR_OK);
    for (size_t at = 0; at < text->length; at += step) {
        size_t n = text->length - at < step ? text->length - at : step;
        cr_assert_eq(
            ex_capture_add(capture, text->data + at, n, NULL), EXECUTR_OK);
    }
    cr_assert_eq(ex_capture_total(capture), text->length);
    cr_assert_eq(ex_capture_text(capture, &got, &length, NULL), EXECUTR_OK);
    ex_buf_add(out, got, length);
    ex_capture_free(capture);
}

static void numbered_lines(ex_buf *out, int count)
{
    ex_buf_init(out, EX_BUF_UNLIMITED);
    for (int i = 1; i <= count; i++)
        ex_buf_printf(out, "line %d\n", i);
}

Test(capture_text, keeps_what_fits_whole)
{
    ex_buf text;
    ex_buf got;

    numbered_lines(&text, 1000);
    capture_in_steps(&got, &text, text.length, 7);
    cr_assert_eq(got.length, text.length);
    cr_assert_eq(memcmp(got.data, text.data, text.length), 0);
    ex_buf_clear(&text);
    ex_buf_clear(&got);
}

Test(capture_text, is_empty_without_output)
{
    ex_capture *capture;
    const char *got;
    size_t length = 1;

    cr_assert_eq(ex_capture_open(100, &capture, NULL), EXECUTR_OK);
    cr_assert_eq(ex_capture_text(capture, &got, &length, NULL), EXECUTR_OK);
    cr_assert_eq(length, 0);
    ex_capture_free(capture);
}

Test(capture_cut, keeps_500_lines_then_says_what_is_gone)
{
    ex_buf text;
    ex_buf got;

    numbered_lines(&text, 10000);
    cut(&got, text.data, text.length, 20000);
    cr_assert_leq(got.length, 20000);
    char *marker = strstr(got.data, "line 500\n[... ");
    cr_assert_not_null(marker);
    unsigned long long bytes;
    unsigned long long lines;
    cr_assert_eq(
        sscanf(
            marker, "line 500\n[... %llu bytes, %llu lines cut ...]", &bytes,
            &lines),
        2);
    char next[64];
    snprintf(next, sizeof next, "cut ...]\nline %llu\n", 501 + lines);
    cr_assert_not_null(strstr(got.data, next));
    cr_assert_str_eq(got.data + got.length - 11, "line 10000\n");
    char *tail = strchr(strstr(got.data, "[... "), '\n') + 1;
    size_t head = (size_t)(marker - got.data) + strlen("line 500\n");
    cr_assert_eq(head + bytes + strlen(tail), text.length);
    ex_buf_clear(&text);
    ex_buf_clear(&got);
}

Test(capture_cut, leaves_little_room_unused)
{
    ex_buf text;
    ex_buf got;

    numbered_lines(&text, 10000);
    cut(&got, text.data, text.length, 20000);
    cr_assert_geq(got.length, 20000 - 100);
    ex_buf_clear(&text);
    ex_buf_clear(&got);
}

Test(capture_text, equals_the_cut_of_the_whole_however_it_came)
{
    static const size_t limits[] = {0, 1, 50, 159, 160, 161, 1000, 4096, 5000};
    static const size_t steps[] = {1, 3, 999, 4096, 100000};
    ex_buf text;
    ex_buf whole;
    ex_buf got;

    numbered_lines(&text, 3000);
    ex_buf_puts(&text, "the end without a newline");
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        cut(&whole, text.data, text.length, limits[i]);
        for (size_t j = 0; j < sizeof steps / sizeof steps[0]; j++) {
            capture_in_steps(&got, &text, limits[i], steps[j]);
            cr_assert_leq(got.length, limits[i]);
            cr_assert_str_eq(ex_buf_text(&got), ex_buf_text(&whole));
            ex_buf_clear(&got);
        }
        ex_buf_clear(&whole);
    }
    ex_buf_clear(&text);
}

Test(capture_cut, never_splits_a_character)
{
    ex_buf text;
    ex_buf got;

    for (size_t limit = 1; limit < 700; limit++) {
        ex_buf_init(&text, EX_BUF_UNLIMITED);
        for (int i = 0; i < 300; i++)
            ex_buf_puts(&text, i % 2 ? "\xe2\x82\xac" : "\xf0\x9f\x98\x80");
        cut(&got, text.data, text.length, limit);
        cr_assert_leq(got.length, limit);
        cr_assert(ex_utf8_valid(ex_buf_text(&got), got.length), "%zu", limit);
        ex_buf_clear(&got);
        ex_buf_clear(&text);
    }
}

Test(capture_cut, keeps_both_ends_of_one_endless_line)
{
    static char text[100000];
    ex_buf got;

    memset(text, 'x', sizeof text);
    text[0] = 'a';
    text[sizeof text - 1] = 'z';
    cut(&got, text, sizeof text, 1000);
    cr_assert_leq(got.length, 1000);
    cr_assert_eq(got.data[0], 'a');
    cr_assert_eq(got.data[got.length - 1], 'z');
    cr_assert_not_null(strstr(got.data, "x\n[... "));
    cr_assert_not_null(strstr(got.data, " 1 lines cut ...]\nx"));
    ex_buf_clear(&got);
}

Test(capture_cut, takes_any_bytes)
{
    static char text[4000];
    ex_buf got;

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i % 3 ? 0x80 : 0);
    cut(&got, text, sizeof text, 1000);
    cr_assert_leq(got.length, 1000);
    cr_assert_geq(got.length, 800);
    ex_buf_clear(&got);
}

Test(capture_text, may_be_asked_for_in_between)
{
    ex_buf text;
    ex_buf whole;
    ex_capture *capture;
    const char *got;
    size_t length;

    numbered_lines(&text, 3000);
    cr_assert_eq(ex_capture_open(1000, &capture, NULL), EXECUTR_OK);
    for (size_t at = 0; at < text.length; at++) {
        cr_assert_eq(
            ex_capture_add(capture, text.data + at, 1, NULL), EXECUTR_OK);
        if (at % 777 == 0)
            cr_assert_eq(
                ex_capture_text(capture, &got, &length, NULL), EXECUTR_OK);
    }
    cr_assert_eq(ex_capture_text(capture, &got, &length, NULL), EXECUTR_OK);
    cut(&whole, text.data, text.length, 1000);
    cr_assert_eq(length, whole.length);
    cr_assert_eq(memcmp(got, whole.data, length), 0);
    ex_capture_free(capture);
    ex_buf_clear(&whole);
    ex_buf_clear(&text);
}

Test(capture_reset, forgets_everything)
{
    ex_capture *capture;
    const char *got;
    size_t length;

    cr_assert_eq(ex_capture_open(200, &capture, NULL), EXECUTR_OK);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(ex_capture_add(capture, "abc\n", 4, NULL), EXECUTR_OK);
    ex_capture_reset(capture);
    cr_assert_eq(ex_capture_add(capture, "new", 3, NULL), EXECUTR_OK);
    cr_assert_eq(ex_capture_text(capture, &got, &length, NULL), EXECUTR_OK);
    cr_assert_eq(length, 3);
    cr_assert_eq(memcmp(got, "new", 3), 0);
    cr_assert_eq(ex_capture_total(capture), 3);
    ex_capture_free(capture);
}

Test(capture_add, stays_usable_when_memory_is_out)
{
    static char text[10000];
    ex_capture *capture;
    const char *got;
    size_t length;
    executr_error err;

    memset(text, 'x', sizeof text);
    cr_assert_eq(ex_capture_open(100000, &capture, NULL), EXECUTR_OK);
    ex_alloc_fail_at(1);
    cr_assert_eq(
        ex_capture_add(capture, text, sizeof text, &err), EXECUTR_E_NOMEM);
    ex_alloc_fail_at(0);
    cr_assert_eq(ex_capture_add(capture, "end\n", 4, &err), EXECUTR_OK);
    cr_assert_eq(ex_capture_text(capture, &got, &length, NULL), EXECUTR_OK);
    cr_assert_eq(ex_capture_total(capture), sizeof text + 4);
    cr_assert_not_null(strstr(got, "lines cut ...]"));
    cr_assert_eq(memcmp(got + length - 4, "end\n", 4), 0);
    ex_capture_free(capture);
}
