/* SPDX-License-Identifier: MIT */
/* Recounts a database and holds it against the invariants of lib/store.h. */
#include "store/suite.h"

static void none(const char *what, const char *query)
{
    int64_t found = number("SELECT count(*) FROM %s", query);

    cr_expect_eq(found, 0, "%lld times %s", (long long)found, what);
}

/* A job is in the queue table or waiting, once, exactly while pending. */
static void check_places(void)
{
    const char *places =
        "(SELECT job_id FROM queue UNION ALL SELECT job_id FROM waiting) p";
    int64_t pending =
        number("SELECT count(*) FROM jobs WHERE status = 'pending'");

    cr_expect_eq(number("SELECT count(*) FROM %s", places), pending);
    cr_expect_eq(
        number("SELECT count(DISTINCT job_id) FROM %s", places), pending);
    cr_expect_eq(
        number(
            "SELECT count(*) FROM %s JOIN jobs j ON j.id = p.job_id"
            " WHERE j.status = 'pending'",
            places),
        pending, "a job is queued or waiting and not pending");
    none(
        "a queue row differs from its job",
        "queue q JOIN jobs j ON j.id = q.job_id WHERE q.seq <> j.seq"
        " OR q.type <> j.type OR q.demands <> j.demands OR q.priority <>"
        " CASE j.priority WHEN 'foreground' THEN 1 WHEN 'background' THEN 2"
        " ELSE 3 END");
    none(
        "a waiting job has no retry_after",
        "waiting w JOIN jobs j ON j.id = w.job_id"
        " WHERE j.retry_after IS NULL");
    cr_expect_eq(
        number("SELECT count(DISTINCT seq) FROM jobs"),
        number("SELECT count(*) FROM jobs"));
}

static void check_jobs(void)
{
    none(
        "a running job without executor, start or heartbeat",
        "jobs WHERE status = 'running' AND (executor_id IS NULL"
        " OR executor_id = '' OR started_at IS NULL OR last_heartbeat IS NULL"
        " OR attempt < 1 OR completed_at IS NOT NULL)");
    none(
        "a pending job still has an executor or a lease",
        "jobs WHERE status = 'pending' AND (coalesce(executor_id, '') <> ''"
        " OR started_at IS NOT NULL OR last_heartbeat IS NOT NULL"
        " OR completed_at IS NOT NULL)");
    none(
        "a finished job has no end",
        "jobs WHERE status IN ('completed', 'failed', 'cancelled')"
        " AND completed_at IS NULL");
    none(
        "retries beyond what was asked for",
        "jobs WHERE retry_count > max_retries OR retry_count < 0");
    none(
        "a key without its job",
        "idempotency_keys k LEFT JOIN jobs j ON j.id = k.job_id"
        " WHERE j.id IS NULL");
}

/* Every number from 1 to the current one is recorded, but the running one. */
static void check_attempts(void)
{
    none(
        "an attempt without its job",
        "job_attempts a LEFT JOIN jobs j ON j.id = a.job_id"
        " WHERE j.id IS NULL");
    none(
        "an attempt out of range",
        "job_attempts a JOIN jobs j ON j.id = a.job_id WHERE a.attempt < 1"
        " OR a.attempt > j.attempt"
        " OR (j.status = 'running' AND a.attempt = j.attempt)");
    cr_expect_eq(
        number("SELECT count(*) FROM job_attempts"),
        number("SELECT coalesce(sum(attempt - CASE status WHEN 'running' THEN 1"
               " ELSE 0 END), 0) FROM jobs"),
        "an attempt was not recorded");
    none(
        "an attempt ends before it starts",
        "job_attempts WHERE ended_at IS NULL OR ended_at < started_at");
    none(
        "a job completed, and its last attempt did not",
        "jobs j LEFT JOIN job_attempts a ON a.job_id = j.id"
        " AND a.attempt = j.attempt AND a.status = 'completed'"
        " WHERE j.status = 'completed' AND a.job_id IS NULL");
    none(
        "an attempt completed, and its job did not",
        "job_attempts a JOIN jobs j ON j.id = a.job_id"
        " WHERE a.status = 'completed' AND j.status <> 'completed'");
}

static void check_counters(void)
{
    struct executr_stats counted = stats();

    for (int32_t s = EXECUTR_JOB_PENDING; s <= EXECUTR_JOB_CANCELLED; s++)
        cr_expect_eq(
            counted.jobs[s],
            number(
                "SELECT count(*) FROM jobs WHERE status = '%s'",
                executr_job_status_word(s)),
            "the counter of %s jobs says %lld", executr_job_status_word(s),
            (long long)counted.jobs[s]);
    for (int32_t p = EXECUTR_PRIORITY_FOREGROUND;
         p <= EXECUTR_PRIORITY_BEST_EFFORT; p++)
        cr_expect_eq(
            counted.pending[p],
            number(
                "SELECT count(*) FROM jobs WHERE status = 'pending'"
                " AND priority = '%s'",
                executr_priority_word(p)),
            "the counter of pending %s jobs says %lld",
            executr_priority_word(p), (long long)counted.pending[p]);
}

void suite_check(void)
{
    check_places();
    check_jobs();
    check_attempts();
    check_counters();
}
