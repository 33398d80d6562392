/* SPDX-License-Identifier: MIT */
/* Counts and executors as JSON: what is written, what is read back. */
#include <criterion/criterion.h>

#include "job.h"

#define ID "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"
#define NOON INT64_C(1767268800123456) /* 2026-01-01T12:00:00.123456Z */

static ex_buf text;
static ex_json_writer w;

static void begin(void)
{
    ex_buf_init(&text, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &text);
}

static void end(void)
{
    ex_buf_clear(&text);
}

TestSuite(figures, .init = begin, .fini = end);

static ex_json *parsed(void)
{
    ex_json *document = NULL;

    cr_assert_eq(
        ex_json_parse(text.data, text.length, &document, NULL), EXECUTR_OK);
    return document;
}

Test(figures, of_counts_always_have_all_keys)
{
    const struct executr_stats empty = {.timestamp_us = NOON};

    cr_expect_eq(
        executr_stats_json(&empty, ex_buf_write, &text, NULL), EXECUTR_OK);
    cr_expect_str_eq(
        text.data,
        "{\"jobs_by_status\":{\"pending\":0,\"running\":0,\"completed\":0,"
        "\"failed\":0,\"cancelled\":0},\"pending_by_priority\":{"
        "\"foreground\":0,\"background\":0,\"best_effort\":0},"
        "\"active_executors\":0,\"slots\":0,\"cache_hits\":0,"
        "\"cache_misses\":0,\"timestamp\":\"2026-01-01T12:00:00.123456Z\"}");
}

static const struct executr_stats full = {
    .jobs = {0, 1, 2, 3, 4, 5},
    .pending = {0, 6, 7, 8},
    .active_executors = 9,
    .slots = 10,
    .cache_hits = 11,
    .cache_misses = 12,
    .timestamp_us = NOON};

Test(figures, of_counts_are_read_back)
{
    struct executr_stats *back;

    ex_stats_write(&full, &w);
    ex_json *document = parsed();
    cr_assert_eq(ex_stats_read(document, &back, NULL), EXECUTR_OK);
    cr_expect_arr_eq(back, &full, sizeof full);
    cr_expect_eq(executr_stats_jobs(back, EXECUTR_JOB_FAILED), 4);
    cr_expect_eq(executr_stats_jobs(back, 6), 0);
    cr_expect_eq(executr_stats_pending(back, 3), 8);
    cr_expect_eq(executr_stats_pending(back, 4), 0);
    executr_stats_free(back);
    ex_json_free(document);
}

static void expect_figures_refused(const char *json)
{
    struct executr_stats *stats;
    executr_executors *list;

    ex_buf_reset(&text);
    ex_buf_puts(&text, json);
    ex_json *document = parsed();
    cr_assert_eq(ex_executors_new(&list, NULL), EXECUTR_OK);
    cr_expect_eq(ex_stats_read(document, &stats, NULL), EXECUTR_E_PROTOCOL);
    cr_expect_null(stats);
    cr_expect_eq(ex_executor_read(document, list, NULL), EXECUTR_E_PROTOCOL);
    cr_expect_eq(executr_executors_count(list), 0);
    executr_executors_free(list);
    ex_json_free(document);
}

Test(figures, that_are_bad_are_refused)
{
    expect_figures_refused("[]");
    expect_figures_refused(
        "{\"active_executors\":-1,\"running_jobs\":\"many\"}");
    expect_figures_refused(
        "{\"jobs_by_status\":{\"pending\":\"x\"},\"executor_id\":5}");
}

Test(figures, of_executors_are_read_back)
{
    executr_executors *list;
    ex_executor *one;

    cr_assert_eq(ex_executors_new(&list, NULL), EXECUTR_OK);
    cr_assert_eq(ex_executors_add(list, &one, NULL), EXECUTR_OK);
    *one = (ex_executor){
        "w-1", "::1", "0.1.0", ID, "t", NOON, 4, 2, 30, 1, 2, 3, 4};
    ex_executor_write(one, &w);
    ex_json *document = parsed();
    cr_assert_eq(ex_executor_read(document, list, NULL), EXECUTR_OK);
    ex_json_free(document);
    ex_json_begin(&w, &text);
    ex_executor_write(&list->items[1], &w);
    size_t half = text.length / 2;
    cr_expect_arr_eq(text.data, text.data + half, half);
    cr_expect_str_eq(executr_executors_current_job_id(list, 1), ID);
    executr_executors_free(list);
}

Test(figures, of_an_idle_executor_name_no_job)
{
    executr_executors *list;
    ex_executor *one;

    cr_assert_eq(ex_executors_new(&list, NULL), EXECUTR_OK);
    cr_assert_eq(ex_executors_add(list, &one, NULL), EXECUTR_OK);
    one->id = "w-1";
    cr_expect_eq(
        executr_executors_json(list, ex_buf_write, &text, NULL), EXECUTR_OK);
    cr_expect_str_eq(
        text.data,
        "[{\"executor_id\":\"w-1\",\"executor_ip\":\"\",\"max_jobs\":0,"
        "\"running_jobs\":0,\"jobs_completed\":0,\"cache\":{\"hits\":0,"
        "\"misses\":0,\"bytes\":0,\"max_bytes\":0}}]");
    executr_executors_free(list);
}
