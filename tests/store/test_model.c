/* SPDX-License-Identifier: MIT */
/* Thousands of random operations, each answer held against the model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/model.h"
#include "store/suite.h"

TestSuite(model, .init = suite_open, .fini = suite_close);

static const char *const types[MODEL_TYPES] = {"red", "green", "blue"};
static const char *const executors[MODEL_EXECUTORS] = {"e0", "e1", "e2", "e3"};
static const char *const digests[2] = {"d0", "d1"};

static model m;
static uint64_t seed;
static uint64_t state;
static int step;

/* Every failure says how to see it again. */
#define same(got, want, what)                                                  \
    cr_assert_eq(                                                              \
        (int64_t)(got), (int64_t)(want),                                       \
        "%s: %lld, the model says %lld (EXECUTR_TEST_SEED=%llu, step %d)",     \
        (what), (long long)(got), (long long)(want), (unsigned long long)seed, \
        step)

/* SplitMix64: the same numbers everywhere. */
static uint32_t draw(uint32_t below)
{
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 33) % below;
}

static int32_t one_in(uint32_t n)
{
    return draw(n) == 0;
}

/* A job, often one that runs; -1 if there is none. */
static int32_t draw_job(void)
{
    if (m.count == 0)
        return -1;
    int32_t at = (int32_t)draw((uint32_t)m.count);
    for (int32_t i = 0; i < m.count && !one_in(4); i++) {
        if (m.jobs[at].status == EXECUTR_JOB_RUNNING && !m.jobs[at].deleted)
            break;
        at = (at + 1) % m.count;
    }
    return at;
}

/* Its executor and attempt, or at times others. */
static int32_t draw_executor(int32_t at)
{
    return one_in(5) ? (int32_t)draw(MODEL_EXECUTORS) : m.jobs[at].executor;
}

static int32_t draw_attempt(int32_t at)
{
    switch (draw(6)) {
    case 0:
        return 0;
    case 1:
        return 1 + (int32_t)draw((uint32_t)m.jobs[at].attempt + 1);
    default:
        return m.jobs[at].attempt;
    }
}

/* ---- The steps. */

static void submit_some(void)
{
    static char keys[3][16];
    executr_job_spec specs[3];
    executr_claim takers[3];
    model_job jobs[3];
    ex_submit entries[3];
    int32_t drawn[3];
    int32_t who[3];
    size_t count = 1 + draw(3);

    memset(jobs, 0, sizeof jobs);
    for (size_t i = 0; i < count; i++) {
        jobs[i].type = (int32_t)draw(MODEL_TYPES);
        jobs[i].priority = 1 + (int32_t)draw(3);
        jobs[i].max_retries = (int32_t)draw(3);
        jobs[i].key = one_in(3) ? (int32_t)draw(MODEL_KEYS) : -1;
        jobs[i].demands = one_in(4) ? EXECUTR_OFFER_MEMORY : 0;
        specs[i] = spec_of(types[jobs[i].type]);
        specs[i].priority = jobs[i].priority;
        specs[i].max_retries = jobs[i].max_retries;
        specs[i].memory_mb = jobs[i].demands ? 1 : 0;
        snprintf(keys[i], sizeof keys[i], "key %d", (int)jobs[i].key);
        specs[i].idempotency_key = jobs[i].key < 0 ? NULL : keys[i];
        entries[i] = entry_of(&specs[i]);
        drawn[i] = (int32_t)draw(8) == 0;
        entries[i].digest = jobs[i].key < 0 ? "" : digests[drawn[i]];
        jobs[i].id = entries[i].id;
        who[i] = one_in(3) ? (int32_t)draw(MODEL_EXECUTORS) : -1;
        takers[i] = claim_of(executors[who[i] < 0 ? 0 : who[i]], 1);
        entries[i].taker = who[i] < 0 ? NULL : &takers[i];
    }
    if (m.count + 3 > MODEL_JOBS)
        return;
    must(submit(entries, count));
    for (size_t i = 0; i < count; i++) {
        int32_t before = m.count;
        int32_t at = model_submit(&m, &jobs[i], drawn[i]);
        same(entries[i].result, at < 0 ? EXECUTR_E_CONFLICT : 0, "submit");
        if (at < 0)
            continue;
        same(entries[i].repeated, at != before, "repeated");
        same(same_id(&entries[i].id, &m.jobs[at].id), 1, "id");
        same(entries[i].taken, at == before && who[i] >= 0, "taken");
        if (entries[i].taken)
            model_take(&m, at, who[i]);
    }
}

static void claim_some(void)
{
    int32_t executor = (int32_t)draw(MODEL_EXECUTORS);
    executr_claim request = claim_of(executors[executor], 1 + (int32_t)draw(5));
    uint32_t kinds = one_in(3) ? 1 + draw(7) : 7;
    const char *named[MODEL_TYPES];
    int32_t wanted[5];

    for (uint32_t i = 0; i < MODEL_TYPES && kinds != 7; i++) {
        if (kinds & 1u << i)
            named[request.type_count++] = types[i];
    }
    request.types = named;
    request.priorities = one_in(3) ? (1 + draw(7)) << 1 : 0;
    request.offers = one_in(3) ? 0 : EXECUTR_OFFER_MEMORY;
    const executr_jobs *got = take_as(&request);
    int32_t count = model_claim(
        &m, executor, request.max_jobs, kinds,
        request.priorities ? request.priorities : ~0u, request.offers, wanted);
    same(got->count, count, "claimed");
    for (int32_t i = 0; i < count; i++) {
        ex_uuid id = id_of(got->items[i]);
        same(same_id(&id, &m.jobs[wanted[i]].id), 1, "order of claims");
        same(got->items[i]->attempt, m.jobs[wanted[i]].attempt, "attempt");
    }
}

/* Up to four ends in one call, at times of the same job. */
static void finish_some(void)
{
    executr_report reports[4];
    ex_finish ends[4];
    int32_t at[4];
    int32_t who[4];
    size_t count = 1 + draw(4);

    for (size_t i = 0; i < count; i++) {
        at[i] = i && one_in(5) ? at[i - 1] : draw_job();
        if (at[i] < 0)
            return;
        who[i] = draw_executor(at[i]);
        reports[i] = report_of(
            draw(2) ? EXECUTR_ATTEMPT_COMPLETED : EXECUTR_ATTEMPT_FAILED);
        if (reports[i].status == EXECUTR_ATTEMPT_FAILED)
            reports[i].uncounted = one_in(4);
        reports[i].attempt = draw_attempt(at[i]);
        ends[i] = end_of(executors[who[i]], &m.jobs[at[i]].id, &reports[i]);
    }
    must(finish(ends, count));
    for (size_t i = 0; i < count; i++) {
        int32_t repeated;
        executr_status st =
            model_finish(&m, at[i], who[i], &reports[i], &repeated);
        same(ends[i].result, st, "end");
        same(ends[i].repeated, repeated, "repeated end");
        if (!st && !repeated)
            same(ends[i].job_status, m.jobs[at[i]].status, "status after");
    }
}

static void beat_one(void)
{
    int32_t at = draw_job();

    if (at < 0)
        return;
    int32_t executor = draw_executor(at);
    int32_t attempt = draw_attempt(at);
    int32_t verdict = model_verdict(&m, at, executor, attempt);
    same(
        beat_job(executors[executor], &m.jobs[at].id, attempt), verdict,
        "verdict");
    if (verdict == EXECUTR_LEASE_KEPT || verdict == EXECUTR_LEASE_CANCEL)
        model_extend(&m, at);
}

/* A whole heartbeat names some jobs, at times with a wrong attempt. */
static void beat_whole(void)
{
    static ex_lease leases[MODEL_JOBS];
    static int32_t named[MODEL_JOBS];
    static int32_t verdicts[MODEL_JOBS];
    int32_t executor = (int32_t)draw(MODEL_EXECUTORS);
    size_t count = 0;

    memset(named, 0, sizeof named);
    for (int32_t i = 0; i < m.count; i++) {
        if (m.jobs[i].executor != executor || one_in(4) ||
            (m.jobs[i].status != EXECUTR_JOB_RUNNING && !one_in(20)))
            continue;
        leases[count] = (ex_lease){m.jobs[i].id, draw_attempt(i), 0};
        verdicts[count] = model_verdict(&m, i, executor, leases[count].attempt);
        named[i] = verdicts[count] == EXECUTR_LEASE_KEPT ||
                   verdicts[count] == EXECUTR_LEASE_CANCEL;
        count++;
    }
    beat(executors[executor], leases, count, 0);
    for (size_t i = 0; i < count; i++)
        same(leases[i].verdict, verdicts[i], "verdict of a whole heartbeat");
    model_beat(&m, executor, named);
}

static void leave(void)
{
    int32_t executor = (int32_t)draw(MODEL_EXECUTORS);

    must(store->ops->goodbye(store, executors[executor], &err));
    model_goodbye(&m, executor);
}

static void cancel_one(void)
{
    int32_t at = draw_job();

    if (at >= 0)
        same(cancel(&m.jobs[at].id), model_cancel(&m, at), "cancel");
}

static void retry_one(void)
{
    int32_t at = m.count ? (int32_t)draw((uint32_t)m.count) : -1;

    if (at >= 0)
        same(retry(&m.jobs[at].id), model_retry(&m, at), "retry");
}

static void fall_silent(void)
{
    int32_t executor = (int32_t)draw(MODEL_EXECUTORS + 1) - 1;

    silence(executor < 0 ? NULL : executors[executor]);
    model_silence(&m, executor);
}

static void reap(void)
{
    ex_upkeep done = keep_up(1);
    int32_t failed;

    same(done.recovered, model_reap(&m, &failed), "recovered");
    same(done.failed, failed, "failed by upkeep");
}

static void pass_time(void)
{
    make_due();
    same(keep_up(0).due, model_due(&m), "due");
}

static void sweep(void)
{
    make_old();
    same(clean(HOUR_MS), model_clean(&m), "cleaned");
}

/* ---- The run. */

/* How often each step is taken, in a hundred. */
static const struct {
    uint32_t share;
    void (*take)(void);
} steps[] = {{22, submit_some}, {25, claim_some}, {25, finish_some},
             {6, beat_one},     {4, beat_whole},  {1, leave},
             {5, cancel_one},   {4, retry_one},   {3, fall_silent},
             {2, reap},         {2, pass_time},   {1, sweep}};

static void take_step(void)
{
    uint32_t at = draw(100);
    size_t i = 0;

    while (at >= steps[i].share)
        at -= steps[i++].share;
    steps[i].take();
}

static void compare_job(int32_t at)
{
    const model_job *want = &m.jobs[at];
    const job *got = look(&want->id, EXECUTR_PART_ATTEMPTS);

    same(got->status, want->status, "status");
    same(got->attempt, want->attempt, "attempt");
    same(got->retry_count, want->retry_count, "retry_count");
    same(got->attempt_count, want->attempt, "number of attempts");
    for (size_t i = 0; i < got->attempt_count; i++) {
        const model_attempt *past = &want->attempts[i + 1];
        same(
            got->attempts[i].status,
            past->status ? past->status : EXECUTR_ATTEMPT_RUNNING,
            "status of an attempt");
        same(
            strcmp(got->attempts[i].executor_id, executors[past->executor]), 0,
            "executor of an attempt");
    }
    if (want->status == EXECUTR_JOB_RUNNING)
        same(
            strcmp(got->executor_id, executors[want->executor]), 0, "executor");
}

static void compare_all(void)
{
    for (int32_t i = 0; i < m.count; i++) {
        if (!m.jobs[i].deleted)
            compare_job(i);
    }
    suite_check();
}

static void run(uint64_t with_seed, int count)
{
    seed = with_seed;
    state = with_seed;
    rules.max_lost_attempts = 3;
    model_init(&m, rules.max_lost_attempts);
    for (step = 1; step <= count; step++) {
        take_step();
        if (step % 250 == 0)
            compare_all();
    }
    compare_all();
}

Test(model, agrees_on_a_fixed_path, .timeout = 115)
{
    run(1, 2000);
}

Test(model, agrees_on_a_new_path, .timeout = 115)
{
    const char *given = getenv("EXECUTR_TEST_SEED");
    uint64_t fresh = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);

    fprintf(
        stderr, "model test: EXECUTR_TEST_SEED=%llu\n",
        (unsigned long long)fresh);
    run(fresh, 2000);
}
