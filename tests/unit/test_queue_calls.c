/* SPDX-License-Identifier: MIT */
/* Submission, lists and binaries, on a store that can be scripted. */
#include <criterion/criterion.h>

#include <string.h>

#include "base/alloc.h"
#include "base/sha256.h"
#include "queue.h"
#include "support/memory_store.h"

#define SHA "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static memory_store *store;
static executr_queue *queue;

static void open_default(void)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;

    store = memory_store_open();
    options.poll_interval_ms = 60000;
    cr_assert_eq(
        executr_queue_open(&store->base, &options, &queue, NULL), EXECUTR_OK);
}

static void close_all(void)
{
    executr_queue_free(queue);
    memory_store_free(store);
}

static executr_job_spec spec_of(const char *sha256, const char *url)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.type = "a";
    spec.binary_sha256 = sha256;
    spec.binary_url = url;
    return spec;
}

/* Submit the same job `count` times. */
static void submit_many(size_t count)
{
    static const executr_job_spec *specs[5000];
    executr_job_spec spec = spec_of(SHA, "http://example.com/tool");
    executr_jobs *jobs;

    for (size_t i = 0; i < count; i++)
        specs[i] = &spec;
    cr_assert_eq(
        executr_queue_submit(queue, specs, count, NULL, &jobs, NULL), 0);
    cr_assert_eq(executr_jobs_count(jobs), count);
    executr_jobs_free(jobs);
}

TestSuite(queue_submit, .init = open_default, .fini = close_all);

Test(queue_submit, judges_each_job_for_itself)
{
    executr_job_spec good = spec_of(SHA, "http://example.com/tool");
    executr_job_spec bad = spec_of(NULL, "http://example.com/tool");
    executr_job_spec absent = spec_of(SHA, NULL);
    const executr_job_spec *specs[] = {&absent, &good, &bad, &good};
    executr_status results[4];
    executr_jobs *jobs;

    cr_assert_eq(
        executr_queue_submit(queue, specs, 4, results, &jobs, NULL), 0);
    cr_assert_eq(executr_jobs_count(jobs), 2);
    cr_assert(results[1] == EXECUTR_OK && results[3] == EXECUTR_OK);
    cr_assert_eq(results[0], EXECUTR_E_ARGUMENT);
    cr_assert_eq(results[2], EXECUTR_E_ARGUMENT);
    for (size_t i = 0; i < 2; i++)
        cr_assert_str_not_empty(executr_job_id(executr_jobs_at(jobs, i)));
    executr_jobs_free(jobs);
}

Test(queue_submit, names_the_binary_that_is_not_stored)
{
    executr_job_spec absent = spec_of(SHA, NULL);
    const executr_job_spec *specs[] = {&absent};
    executr_jobs *jobs;
    executr_error err;

    cr_assert_eq(
        executr_queue_submit(queue, specs, 1, NULL, &jobs, &err),
        EXECUTR_E_ARGUMENT);
    cr_assert_str_eq(err.field, "binary_sha256");
    cr_assert_not_null(strstr(err.message, SHA));
    cr_assert_null(jobs);
}

Test(queue_submit, without_results_stores_nothing_if_a_check_fails)
{
    executr_job_spec good = spec_of(SHA, "http://example.com/tool");
    executr_job_spec bad = spec_of("short", "http://example.com/tool");
    const executr_job_spec *specs[] = {&good, &bad};
    executr_jobs *jobs;
    executr_error err;

    cr_assert_eq(
        executr_queue_submit(queue, specs, 2, NULL, &jobs, &err),
        EXECUTR_E_ARGUMENT);
    cr_assert_str_eq(err.field, "binary_sha256");
    cr_assert_null(jobs);
    cr_assert_eq(memory_store_read(store, &store->submit_calls), 0);
}

Test(queue_submit, cuts_a_large_array_into_batches)
{
    submit_many(5000);
    cr_assert_eq(memory_store_read(store, &store->submit_calls), 3);
}

Test(queue_submit, of_none_is_an_empty_list)
{
    executr_jobs *jobs;

    cr_assert_eq(executr_queue_submit(queue, NULL, 0, NULL, &jobs, NULL), 0);
    cr_assert_eq(executr_jobs_count(jobs), 0);
    executr_jobs_free(jobs);
}

/* Fail the n-th allocation, for n from 1, until the call needs no more: it must
 * say so and give nothing. */
static int submit_short_of_memory(uint64_t n)
{
    executr_job_spec spec = spec_of(SHA, "http://example.com/tool");
    const executr_job_spec *specs[] = {&spec, &spec};
    executr_jobs *jobs;
    executr_error err;

    spec.idempotency_key = "key";
    ex_alloc_fail_at(n);
    executr_status st =
        executr_queue_submit(queue, specs, 2, NULL, &jobs, &err);
    ex_alloc_fail_at(0);
    cr_assert(st == EXECUTR_OK || st == EXECUTR_E_NOMEM);
    cr_assert_eq(executr_jobs_count(jobs), st ? 0 : 2);
    executr_jobs_free(jobs);
    return st == EXECUTR_OK;
}

static int claim_short_of_memory(uint64_t n)
{
    executr_claim claim = EXECUTR_CLAIM_INIT;
    executr_jobs *jobs;
    executr_error err;

    claim.executor_id = "tester";
    claim.executor_ip = "127.0.0.1";
    claim.wait_ms = 1;
    ex_alloc_fail_at(n);
    executr_status st = executr_queue_claim(queue, &claim, &jobs, &err);
    ex_alloc_fail_at(0);
    cr_assert(st == EXECUTR_OK || st == EXECUTR_E_NOMEM);
    cr_assert(st == EXECUTR_OK || !jobs);
    executr_jobs_free(jobs);
    cr_assert_eq(queue->parked, 0);
    return st == EXECUTR_OK;
}

Test(
    queue_memory, when_short_fails_calls_cleanly, .init = open_default,
    .fini = close_all)
{
    uint64_t n = 1;

    while (!submit_short_of_memory(n))
        n++;
    cr_assert_gt(n, 5);
    n = 1;
    while (!claim_short_of_memory(n))
        n++;
    cr_assert_gt(n, 1);
}

Test(
    queue_list, tells_whether_there_is_more, .init = open_default,
    .fini = close_all)
{
    executr_filter filter = EXECUTR_FILTER_INIT;
    executr_jobs *jobs;
    int32_t more;

    submit_many(5);
    for (int32_t limit = 4; limit <= 6; limit++) {
        filter.limit = limit;
        cr_assert_eq(executr_queue_list(queue, &filter, &jobs, &more, NULL), 0);
        cr_assert_eq(executr_jobs_count(jobs), limit < 5 ? limit : 5);
        cr_assert_eq(more, limit < 5);
        executr_jobs_free(jobs);
    }
}

/* Binaries */

typedef struct source {
    const char *data;
    size_t length;
    size_t step; /* given at a time */
    int32_t fails;
    int32_t calls;
} source;

static int32_t read_source(void *ctx, void *data, size_t size, size_t *length)
{
    source *s = ctx;
    size_t n = s->length < s->step ? s->length : s->step;

    s->calls++;
    if (n > size)
        n = size;
    if (n == 0 && s->fails)
        return -1;
    memcpy(data, s->data, n);
    s->data += n;
    s->length -= n;
    *length = n;
    return 0;
}

static char big[2 * EX_BINARY_PART + 12345];
static char big_sha[EX_SHA256_HEX];

static void open_with_big(void)
{
    open_default();
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7 + i / 1000);
    cr_assert_eq(ex_sha256_bytes(big, sizeof big, big_sha, NULL), 0);
}

TestSuite(queue_binary, .init = open_with_big, .fini = close_all);

Test(queue_binary, comes_back_from_any_offset)
{
    static const size_t offsets[] = {
        0, 1, EX_BINARY_PART, sizeof big - 1, sizeof big};
    source from = {big, sizeof big, 1000, 0, 0};
    int32_t created;
    ex_buf got;

    cr_assert_eq(
        executr_queue_put_binary(
            queue, big_sha, read_source, &from, 0, &created, NULL),
        0);
    cr_assert_eq(created, 1);
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        ex_buf_init(&got, EX_BUF_UNLIMITED);
        cr_assert_eq(
            executr_queue_get_binary(
                queue, big_sha, (int64_t)offsets[i], ex_buf_write, &got, NULL),
            EXECUTR_OK);
        cr_assert_eq(got.length, sizeof big - offsets[i]);
        cr_assert_eq(
            memcmp(ex_buf_text(&got), big + offsets[i], got.length), 0);
        ex_buf_clear(&got);
    }
}

Test(queue_binary, is_not_read_when_it_is_there_already)
{
    source first = {big, sizeof big, sizeof big, 0, 0};
    source second = {big, sizeof big, sizeof big, 0, 0};
    int32_t created;

    cr_assert_eq(
        executr_queue_put_binary(
            queue, big_sha, read_source, &first, 0, &created, NULL),
        0);
    cr_assert_eq(
        executr_queue_put_binary(
            queue, big_sha, read_source, &second, 0, &created, NULL),
        0);
    cr_assert_eq(created, 0);
    cr_assert_eq(second.calls, 0);
}

static void expect_refused(source *from, int64_t max, executr_status expected)
{
    int32_t created = 1;
    int64_t bytes;

    cr_assert_eq(
        executr_queue_put_binary(
            queue, SHA, read_source, from, max, &created, NULL),
        expected);
    cr_assert_eq(created, 0);
    cr_assert_eq(store->open_uploads, 0);
    cr_assert_eq(
        executr_queue_binary_size(queue, SHA, &bytes, NULL),
        EXECUTR_E_NOT_FOUND);
}

Test(queue_binary, is_dropped_when_it_hashes_to_something_else)
{
    source from = {big, sizeof big, sizeof big, 0, 0};

    expect_refused(&from, 0, EXECUTR_E_MISMATCH);
}

Test(queue_binary, is_dropped_when_it_is_too_large)
{
    source from = {big, sizeof big, sizeof big, 0, 0};

    expect_refused(&from, EX_BINARY_PART, EXECUTR_E_TOO_LARGE);
    cr_assert_leq(from.calls, 2);
}

Test(queue_binary, is_dropped_when_its_source_fails)
{
    source from = {big, EX_BINARY_PART + 5, 1000, 1, 0};

    expect_refused(&from, 0, EXECUTR_E_CALLBACK);
}
