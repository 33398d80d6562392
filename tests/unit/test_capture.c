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

/* A reader that comes now and then, with a small or a large buffer. */
static uint64_t follow(
    const ex_buf *text, size_t limit, size_t step, size_t every, size_t size)
{
    static char data[65536];
    ex_capture *capture;
    uint64_t next = 0;
    uint64_t missed = 0;

    cr_assert_eq(ex_capture_open(limit, &capture, NULL), EXECUTR_OK);
    for (size_t at = 0, n = 0; at < text->length; at += step, n++) {
        size_t more = text->length - at < step ? text->length - at : step;
        cr_assert_eq(
            ex_capture_add(capture, text->data + at, more, NULL), EXECUTR_OK);
        for (size_t length = n % every == 0; length > 0;) {
            uint64_t first;
            length = ex_capture_read(capture, next, data, size, &first);
            cr_assert_geq(first, next);
            cr_assert_eq(memcmp(data, text->data + first, length), 0);
            missed += first - next;
            next = first + length;
        }
    }
    ex_capture_free(capture);
    return missed;
}

Test(capture_read, t60_gives_each_byte_once_as_it_comes)
{
    ex_buf text;

    numbered_lines(&text, 20000);
    cr_expect_eq(follow(&text, text.length, 7, 1, 65536), 0);
    cr_expect_eq(follow(&text, text.length + 1, 4096, 3, 5), 0);
    cr_expect_eq(follow(&text, 4096, 7, 100, 65536), 0);
    cr_expect_eq(follow(&text, 4096, 1000, 1, 10), 0);
    ex_buf_clear(&text);
}

Test(capture_read, t60_tells_what_a_slow_reader_missed)
{
    ex_buf text;

    numbered_lines(&text, 20000);
    cr_expect_gt(follow(&text, 4096, 4096, 10, 65536), 100000);
    cr_expect_gt(follow(&text, 200, 8192, 2, 13), 50000);
    ex_buf_clear(&text);
}

Test(capture_read, begins_with_a_whole_line_behind_a_gap)
{
    char data[4096];
    ex_capture *capture;
    ex_buf text;
    uint64_t first;

    numbered_lines(&text, 1000);
    cr_assert_eq(ex_capture_open(2000, &capture, NULL), EXECUTR_OK);
    cr_assert_eq(
        ex_capture_add(capture, text.data, text.length, NULL), EXECUTR_OK);
    size_t length = ex_capture_read(capture, 1500, data, sizeof data, &first);
    cr_expect_gt(length, 900);
    cr_expect_gt(first, 1500);
    cr_expect_eq(memcmp(data, "line ", 5), 0);
    cr_expect_eq(data[length - 1], '\n');
    ex_capture_free(capture);
    ex_buf_clear(&text);
}

/* What a text that was cut says of its own parts. */
static void check_gap(const ex_buf *text, size_t limit)
{
    ex_buf whole;
    ex_gap gap;

    cut(&whole, text->data, text->length, limit);
    cr_assert_eq(ex_capture_gap(whole.data, whole.length, &gap), 1);
    cr_expect_eq(memcmp(whole.data, text->data, gap.head), 0);
    cr_expect_eq(gap.tail_at + (whole.length - gap.tail), text->length);
    cr_expect_eq(
        memcmp(
            whole.data + gap.tail, text->data + gap.tail_at,
            whole.length - gap.tail),
        0);
    ex_buf_clear(&whole);
}

Test(capture_gap, finds_head_and_tail)
{
    ex_buf text;

    numbered_lines(&text, 3000);
    for (size_t limit = 200; limit < 20000; limit += 371)
        check_gap(&text, limit);
    ex_buf_clear(&text);
}

Test(capture_gap, t61_of_one_long_line)
{
    ex_buf text;

    ex_buf_init(&text, EX_BUF_UNLIMITED);
    for (int i = 0; i < 5000; i++)
        ex_buf_printf(&text, "%d\xc3\xa9,", i);
    for (size_t limit = 200; limit < 20000; limit += 371)
        check_gap(&text, limit);
    ex_buf_clear(&text);
}

Test(capture_gap, is_not_misled_by_a_line_of_the_program)
{
    ex_buf text;

    numbered_lines(&text, 100);
    ex_buf_puts(&text, "[... 7 bytes, 1 lines cut ...]\n");
    for (int i = 0; i < 3000; i++)
        ex_buf_printf(&text, "line %d\n", i);
    check_gap(&text, 20000);
    ex_buf_clear(&text);
}

Test(capture_gap, finds_none_in_other_texts)
{
    static const char *const texts[] = {
        "",
        "a\n",
        "[... ",
        "[... 5 bytes",
        "[...  bytes, 1 lines cut ...]\n",
        "[... 5 bytes, 1 lines cut ...]",
        "x[... 5 bytes, 1 lines cut ...]\n"};
    ex_gap gap;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_expect_eq(ex_capture_gap(texts[i], strlen(texts[i]), &gap), 0);
}
