/* SPDX-License-Identifier: MIT */
/* Everything at once on the same few jobs: nothing may fail but for what an
 * operation says of itself, and at the end the books must balance. */
#include <stdio.h>
#include <string.h>

#include "store/workers.h"

TestSuite(storm, .init = suite_open, .fini = suite_close);

#define WORKERS 6
#define JOBS 150
#define STEPS 400
#define HELD 40

static ex_uuid ids[JOBS];

/* One that changes jobs; it knows what it claimed, not what became of it. */
typedef struct actor {
    executr_store *store;
    uint64_t state;
    char name[20];
    ex_lease held[HELD];
    size_t count;
    ex_rules rules;
    executr_error err;
} actor;

/* SplitMix64, one for each, so that nobody waits for another's. */
static uint32_t draw(actor *a, uint32_t below)
{
    uint64_t z = (a->state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 33) % below;
}

static const ex_uuid *draw_job(actor *a)
{
    return a->count && draw(a, 2) ? &a->held[draw(a, (uint32_t)a->count)].id
                                  : &ids[draw(a, JOBS)];
}

/* Two requests, at times with different filters and so two statements. */
static executr_status claim_some(actor *a)
{
    executr_claim requests[2] = {EXECUTR_CLAIM_INIT, EXECUTR_CLAIM_INIT};
    ex_claim claims[2] = {{&requests[0], NULL}, {&requests[1], NULL}};
    executr_status st = EXECUTR_OK;

    for (int i = 0; i < 2 && !st; i++) {
        requests[i].executor_id = a->name;
        requests[i].executor_ip = "::1";
        requests[i].max_jobs = 1 + (int32_t)draw(a, 8);
        requests[i].priorities = draw(a, 2) ? 0 : 1u << (1 + draw(a, 3));
        st = ex_jobs_new(&claims[i].jobs, &a->err);
    }
    if (!st)
        st = a->store->ops->claim(a->store, claims, 2, &a->err);
    for (int i = 0; i < 2; i++) {
        executr_jobs *got = claims[i].jobs;
        for (size_t k = 0; !st && k < got->count; k++) {
            ex_lease *lease =
                &a->held[a->count < HELD ? a->count++ : draw(a, HELD)];
            ex_uuid_parse(got->items[k]->id, &lease->id);
            lease->attempt = got->items[k]->attempt;
        }
        executr_jobs_free(got);
    }
    return st;
}

static executr_status end_some(actor *a)
{
    executr_report reports[6];
    ex_finish ends[6];
    size_t count = 1 + draw(a, 6);

    memset(ends, 0, sizeof ends);
    for (size_t i = 0; i < count; i++) {
        ex_lease lease = {ids[draw(a, JOBS)], 0, 0};
        if (a->count)
            lease = a->held[draw(a, (uint32_t)a->count)];
        reports[i] = (executr_report)EXECUTR_REPORT_INIT;
        reports[i].status =
            draw(a, 3) ? EXECUTR_ATTEMPT_FAILED : EXECUTR_ATTEMPT_COMPLETED;
        reports[i].outcome = EXECUTR_OUTCOME_EXIT;
        reports[i].error_message = "it broke";
        reports[i].uncounted =
            reports[i].status == EXECUTR_ATTEMPT_FAILED && draw(a, 3) == 0;
        reports[i].attempt = draw(a, 4) ? lease.attempt : 0;
        ends[i].executor_id = a->name;
        ends[i].report = &reports[i];
        ends[i].id = lease.id;
    }
    return a->store->ops->finish(a->store, ends, count, &a->rules, &a->err);
}

static executr_status cancel_some(actor *a)
{
    ex_cancel cancels[8];
    size_t count = 1 + draw(a, 8);

    memset(cancels, 0, sizeof cancels);
    for (size_t i = 0; i < count; i++)
        cancels[i].id = *draw_job(a);
    return a->store->ops->cancel(a->store, cancels, count, &a->err);
}

static executr_status retry_some(actor *a)
{
    executr_status st = EXECUTR_OK;

    for (int i = 0; i < 8 && !st; i++) {
        st = a->store->ops->retry(a->store, draw_job(a), &a->err);
        if (st == EXECUTR_E_CONFLICT || st == EXECUTR_E_NOT_FOUND)
            st = EXECUTR_OK;
    }
    return st;
}

/* Of all leases, of none, or of one job alone. */
static executr_status beat_some(actor *a)
{
    executr_heartbeat info = EXECUTR_HEARTBEAT_INIT;
    ex_heartbeat one = {
        .info = &info,
        .leases = a->held,
        .lease_count = a->count,
        .unnamed_after_ms = draw(a, 20)};

    info.executor_id = a->name;
    info.executor_ip = "::1";
    info.version = "1";
    info.max_jobs = 1;
    if (draw(a, 3) == 0)
        one.lease_count = a->count / 2;
    if (draw(a, 3) == 0 && a->count) {
        one.lease_count = 1;
        one.unnamed_after_ms = -1;
    }
    return a->store->ops->heartbeat(a->store, &one, 1, &a->err);
}

static executr_status submit_some(actor *a)
{
    executr_job_spec specs[3];
    ex_submit entries[3];

    memset(entries, 0, sizeof entries);
    for (int i = 0; i < 3; i++) {
        specs[i] = (executr_job_spec)EXECUTR_JOB_SPEC_INIT;
        specs[i].type = "t";
        specs[i].priority = 1 + (int32_t)draw(a, 3);
        specs[i].max_retries = (int32_t)draw(a, 4);
        specs[i].binary_url = "http://example.com/";
        specs[i].binary_sha256 = SHA_A;
        entries[i].spec = &specs[i];
        entries[i].arguments = "[]";
        entries[i].environment = "{}";
        entries[i].digest = "";
        executr_status st = ex_uuid_make(&entries[i].id, 1, &a->err);
        if (st)
            return st;
    }
    return a->store->ops->submit(a->store, entries, 3, &a->err);
}

static executr_status tidy(actor *a)
{
    ex_upkeep done;
    int64_t deleted;

    if (draw(a, 30) == 0)
        return a->store->ops->cleanup(a->store, 100, &deleted, &a->err);
    return a->store->ops->upkeep(a->store, &a->rules, 1, &done, &a->err);
}

static executr_status leave(actor *a)
{
    if (draw(a, 4))
        return EXECUTR_OK;
    a->count = 0;
    return a->store->ops->goodbye(a->store, a->name, &a->err);
}

static int act(executr_store *s, int worker, int out)
{
    static executr_status (*const steps[])(actor *) = {
        claim_some, claim_some, end_some,    end_some, cancel_some, retry_some,
        beat_some,  beat_some,  submit_some, tidy,     tidy,        leave};
    actor a = {.store = s, .state = (uint64_t)worker};
    executr_status st = EXECUTR_OK;

    (void)out;
    /* Two workers share a name: late calls of one meet those of another. */
    snprintf(a.name, sizeof a.name, "w%d", worker / 2);
    a.rules.heartbeat_timeout_ms = 15;
    a.rules.max_lost_attempts = 3;
    for (int i = 0; i < EX_RETRY_STEPS; i++)
        a.rules.retry_ms[i] = i;
    for (int i = 0; i < STEPS && !st; i++)
        st = steps[draw(&a, sizeof steps / sizeof *steps)](&a);
    if (st)
        fprintf(stderr, "worker %d: %s\n", worker, a.err.message);
    return st;
}

Test(storm, leaves_the_books_balanced, .timeout = 110)
{
    static fact none[1];

    for (size_t i = 0; i < JOBS; i++) {
        executr_job_spec spec = spec_of("t");
        spec.priority = 1 + (int32_t)i % 3;
        spec.max_retries = (int32_t)i % 4;
        ids[i] = put_spec(&spec);
    }
    run_workers(act, WORKERS, none, 1);
    if (backend_is_shared()) {
        /* Leases are found by claims, there is no other way to them. */
        cr_expect_eq(
            number(
                "SELECT count(*) FROM jobs j WHERE j.status = 'running'"
                " AND NOT EXISTS (SELECT FROM claims c WHERE"
                " c.executor_id = j.executor_id AND j.id = ANY (c.job_ids))"),
            0);
    }
}
