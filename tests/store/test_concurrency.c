/* SPDX-License-Identifier: MIT */
/* Many at once: claims, cancels, keys and ends that race. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/workers.h"

TestSuite(concurrency, .init = suite_open, .fini = suite_close);

#define WORKERS 8
#define JOBS 2000
#define FACTS (JOBS * WORKERS)

enum {
    CLAIMED = 1,
    CANCELLED,
    SUBMITTED,
    ACCEPTED
};

static fact facts[FACTS];

static int by_id(const void *a, const void *b)
{
    return ex_uuid_compare(&((const fact *)a)->id, &((const fact *)b)->id);
}

/* All facts must be about different jobs. */
static void expect_distinct(size_t count)
{
    qsort(facts, count, sizeof *facts, by_id);
    for (size_t i = 1; i < count; i++)
        cr_assert(
            !same_id(&facts[i - 1].id, &facts[i].id),
            "workers %d and %d had the same job", (int)facts[i - 1].worker,
            (int)facts[i].worker);
}

/* Claim until there is nothing; tell each job; complete them if asked to. */
static int claim_some(
    executr_store *s, int worker, int out, int ends, int32_t most)
{
    executr_claim request = EXECUTR_CLAIM_INIT;
    executr_jobs *jobs = NULL;
    char name[20];

    snprintf(name, sizeof name, "w%d", worker);
    request.executor_id = name;
    request.executor_ip = "::1";
    request.max_jobs = most;
    if (ex_jobs_new(&jobs, NULL))
        return -1;
    ex_claim claim = {&request, jobs};
    int failed = s->ops->claim(s, &claim, 1, NULL);
    int got = (int)jobs->count;
    for (int i = 0; i < got && !failed; i++) {
        executr_report report = EXECUTR_REPORT_INIT;
        ex_finish end;
        fact told = {worker, CLAIMED, 0, jobs->items[i]->attempt, {{0}}};

        memset(&end, 0, sizeof end);
        ex_uuid_parse(jobs->items[i]->id, &told.id);
        report.status = EXECUTR_ATTEMPT_COMPLETED;
        report.attempt = told.attempt;
        end.executor_id = name;
        end.report = &report;
        end.id = told.id;
        failed = tell(out, &told);
        if (!failed && ends)
            failed = s->ops->finish(s, &end, 1, &rules, NULL) || end.result;
    }
    executr_jobs_free(jobs);
    return failed ? -1 : got;
}

static int claim_all(executr_store *s, int worker, int out)
{
    int got;

    do {
        got = claim_some(s, worker, out, worker % 2, 1 + worker % 7);
    } while (got > 0);
    return got;
}

Test(concurrency, claims_each_job_once, .timeout = 110)
{
    for (int i = 0; i < JOBS / 1000; i++)
        put_many(1000, NULL);
    size_t count = run_workers(claim_all, WORKERS, facts, FACTS);
    cr_assert_eq(count, JOBS, "%zu jobs were claimed", count);
    expect_distinct(count);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(facts[i].attempt, 1);
    cr_expect_eq(number("SELECT count(*) FROM queue"), 0);
}

/* ---- Cancels that race with claims. */

static ex_uuid ids[1000];

static int cancel_one(executr_store *s, int worker, int out, size_t i)
{
    fact told = {worker, CANCELLED, 0, 0, ids[i]};
    ex_cancel cancels;

    memset(&cancels, 0, sizeof cancels);
    cancels.id = ids[i];
    if (s->ops->cancel(s, &cancels, 1, NULL))
        return -1;
    return cancels.result == EXECUTR_OK ? tell(out, &told) : 0;
}

/* Even workers claim from the old end, odd ones cancel from the young one. */
static int race(executr_store *s, int worker, int out)
{
    int failed = 0;

    if (worker % 2 == 0)
        return claim_all(s, worker * 2, out);
    for (size_t i = 1000; i-- > 0 && !failed;)
        failed = cancel_one(s, worker, out, i);
    return failed;
}

Test(concurrency, a_job_is_either_claimed_or_cancelled, .timeout = 110)
{
    size_t cancelled = 0;

    put_many(1000, ids);
    size_t count = run_workers(race, 4, facts, FACTS);
    cr_assert_eq(count, 1000, "%zu outcomes", count);
    expect_distinct(count);
    for (size_t i = 0; i < count; i++)
        cancelled += facts[i].kind == CANCELLED;
    cr_expect_eq(
        number("SELECT count(*) FROM jobs WHERE status = 'cancelled'"),
        (int64_t)cancelled);
}

/* ---- One idempotency key used by all at once. */

static int submit_keyed(executr_store *s, int worker, int out, int i)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    ex_submit entry;
    char key[20];

    snprintf(key, sizeof key, "key %d", i);
    spec.type = "t";
    spec.priority = EXECUTR_PRIORITY_BACKGROUND;
    spec.binary_url = "http://example.com/";
    spec.binary_sha256 = SHA_A;
    spec.idempotency_key = key;
    memset(&entry, 0, sizeof entry);
    entry.spec = &spec;
    entry.arguments = "[]";
    entry.environment = "{}";
    entry.digest = "d";
    if (ex_uuid_make(&entry.id, 1, NULL) ||
        s->ops->submit(s, &entry, 1, NULL) || entry.result)
        return -1;
    fact told = {worker, SUBMITTED, i, entry.repeated, entry.id};
    return tell(out, &told);
}

static int submit_keys(executr_store *s, int worker, int out)
{
    int failed = 0;

    for (int i = 0; i < 50 && !failed; i++)
        failed = submit_keyed(s, worker, out, i);
    return failed;
}

Test(concurrency, one_key_makes_one_job, .timeout = 110)
{
    int firsts[50] = {0};
    ex_uuid known[50];

    size_t count = run_workers(submit_keys, WORKERS, facts, FACTS);
    cr_assert_eq(count, 50 * WORKERS);
    for (size_t i = 0; i < count; i++)
        known[facts[i].number] = facts[i].id;
    for (size_t i = 0; i < count; i++) {
        cr_expect(same_id(&facts[i].id, &known[facts[i].number]));
        firsts[facts[i].number] += !facts[i].attempt;
    }
    for (int i = 0; i < 50; i++)
        cr_expect_eq(firsts[i], 1, "key %d made %d jobs", i, firsts[i]);
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 50);
}

/* ---- Ends that race with upkeep. */

static int end_or_reap(executr_store *s, int worker, int out)
{
    ex_rules now = rules;
    int failed = 0;

    now.heartbeat_timeout_ms = 0;
    now.max_lost_attempts = 1000000;
    if (worker > 1)
        return claim_all(s, worker * 2 + 1, out);
    for (int i = 0; i < 100 && !failed; i++) {
        ex_upkeep done;
        failed = s->ops->upkeep(s, &now, 1, &done, NULL);
    }
    return failed;
}

/* claim_all fails when an end is refused, which may happen here, so only the
 * invariants that suite_close checks count. */
static int end_or_reap_somehow(executr_store *s, int worker, int out)
{
    int result = end_or_reap(s, worker, out);

    return worker > 1 ? 0 : result;
}

Test(concurrency, an_end_and_its_timeout_exclude_each_other, .timeout = 110)
{
    put_many(300, NULL);
    run_workers(end_or_reap_somehow, 6, facts, FACTS);
    cr_expect_eq(
        number("SELECT count(*) FROM job_attempts WHERE status = 'completed'"),
        number("SELECT count(*) FROM jobs WHERE status = 'completed'"));
}

/* ---- The same end told by all at once. */

static int end_same(executr_store *s, int worker, int out)
{
    executr_report report = EXECUTR_REPORT_INIT;
    int failed = 0;

    report.status = EXECUTR_ATTEMPT_COMPLETED;
    report.attempt = 1;
    for (size_t i = 0; i < 100 && !failed; i++) {
        ex_finish end;
        memset(&end, 0, sizeof end);
        end.executor_id = "e1";
        end.report = &report;
        end.id = ids[i];
        failed = s->ops->finish(s, &end, 1, &rules, NULL) || end.result;
        fact told = {worker, ACCEPTED, 0, 0, ids[i]};
        if (!failed && !end.repeated)
            failed = tell(out, &told);
    }
    return failed;
}

Test(concurrency, one_end_counts_once, .timeout = 110)
{
    executr_executors *known = NULL;

    put_many(100, ids);
    cr_assert_eq(take("e1", 100)->count, 100);
    size_t count = run_workers(end_same, WORKERS, facts, FACTS);
    cr_assert_eq(count, 100, "%zu ends were the first", count);
    expect_distinct(count);
    must(ex_executors_new(&known, &err));
    must(store->ops->executors(store, 60000, known, &err));
    cr_assert_eq(known->count, 1);
    cr_expect_eq(known->items[0].jobs_completed, 100);
    executr_executors_free(known);
}

/* ---- One binary uploaded by all at once. */

static int upload(executr_store *s, int worker, int out)
{
    int32_t created = 0;
    fact told = {worker, ACCEPTED, 0, 0, {{0}}};

    if (ex_uuid_make(&told.id, 1, NULL) ||
        s->ops->binary_begin(s, &told.id, NULL) ||
        s->ops->binary_part(s, &told.id, 0, "bytes", 5, NULL) ||
        s->ops->binary_part(s, &told.id, 1, "more", 4, NULL) ||
        s->ops->binary_end(s, &told.id, SHA_A, 9, &created, NULL))
        return -1;
    return created ? tell(out, &told) : 0;
}

Test(concurrency, one_binary_is_kept_once, .timeout = 110)
{
    ex_buf part;

    size_t count = run_workers(upload, WORKERS, facts, FACTS);
    cr_expect_eq(count, 1, "%zu uploads were the first", count);
    ex_buf_init(&part, 100);
    must(store->ops->binary_read(store, SHA_A, 1, &part, &err));
    cr_expect_str_eq(ex_buf_text(&part), "more");
    ex_buf_clear(&part);
    cr_expect_eq(number("SELECT count(*) FROM binary_parts"), 2);
    cr_expect_eq(number("SELECT count(*) FROM binary_uploads"), 0);
}
