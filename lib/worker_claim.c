/* SPDX-License-Identifier: MIT */
/*
 * Claims: when to ask, for how many, and how long to leave a source alone that
 * has nothing or does not answer.
 */
#include "worker.h"

#include <string.h>

#include "base/log.h"
#include "base/time.h"
#include "retry.h"

/* An empty answer that came sooner than this was not held. */
#define HELD_US (INT64_C(10) * 1000 * 1000)

#define MOST_JOBS 1000 /* of one claim */
#define BACKOFF_MS 100
#define PAUSE_US (INT64_C(10) * 1000 * 1000)

/* Not before a heartbeat was answered: what is claimed must be kept, and the
 * answer says for how long leases last. */
static int may_claim(const executr_worker *worker)
{
    return worker->heard && !worker->stopping && !worker->claiming &&
           !worker->spooler.broken && ex_worker_in_service(worker) &&
           ex_worker_room(worker) > 0;
}

int64_t ex_worker_claim_due_us(const executr_worker *worker)
{
    return may_claim(worker) ? worker->claim_at_us : EX_NEVER_US;
}

static void failed(
    executr_worker *worker, executr_status status, const executr_error *err)
{
    int64_t delay = ex_reconnect_delay_ms(
        worker->claim_failures, BACKOFF_MS, worker->options.poll_interval_ms,
        ex_worker_random(worker));

    ex_log(
        &worker->log,
        worker->claim_failures == 0 ? EXECUTR_LOG_WARN : EXECUTR_LOG_DEBUG,
        "cannot claim jobs, trying again", "code", executr_status_word(status),
        "error", err->message, NULL);
    if (worker->claim_failures < 30)
        worker->claim_failures++;
    worker->claim_at_us = ex_boottime_us() + delay * 1000;
}

static void fill_claim(executr_worker *worker)
{
    size_t room = ex_worker_room(worker);
    executr_claim *claim = &worker->claim;

    *claim = (executr_claim)EXECUTR_CLAIM_INIT;
    claim->max_jobs = room < MOST_JOBS ? (int32_t)room : MOST_JOBS;
    claim->executor_id = worker->id;
    claim->executor_ip = worker->ip;
    claim->wait_ms = EX_CLAIM_WAIT_MS;
    claim->types = worker->options.types;
    claim->type_count = worker->options.type_count;
    claim->priorities = worker->options.priorities;
    claim->offers = executr_runner_offers(worker->runner);
}

void ex_worker_claim(executr_worker *worker, int64_t now_us)
{
    executr_error err = {0};

    if (!may_claim(worker) || worker->claim_at_us > now_us)
        return;
    fill_claim(worker);
    worker->claiming = 1;
    worker->claim_sent_us = now_us;
    executr_status st =
        worker->source->ops->claim(worker->source, &worker->claim, &err);
    if (st) {
        worker->claiming = 0;
        failed(worker, st, &err);
    }
}

/* Nothing there: at once again if the source held the claim, else later. */
static void nothing_there(executr_worker *worker)
{
    int64_t now = ex_boottime_us();
    double part = 0.5 + ex_worker_random(worker) / 2;

    worker->claim_at_us = now;
    if (now - worker->claim_sent_us < HELD_US)
        worker->claim_at_us +=
            (int64_t)((double)worker->options.poll_interval_ms * part) * 1000;
}

void ex_worker_claimed(
    void *ctx, executr_status status, executr_jobs *jobs,
    const executr_error *err)
{
    executr_worker *worker = ctx;

    worker->claiming = 0;
    if (status) {
        executr_jobs_free(jobs);
        if (worker->stopping)
            return; /* it was given up */
        failed(worker, status, err);
        return;
    }
    if (worker->claim_failures > 0)
        ex_log(&worker->log, EXECUTR_LOG_INFO, "claiming jobs again", NULL);
    worker->claim_failures = 0;
    if (executr_jobs_count(jobs) == 0)
        nothing_there(worker);
    ex_worker_take(worker, jobs, worker->claim_sent_us);
}

void ex_worker_pause(executr_worker *worker, const char *why)
{
    int64_t until = ex_boottime_us() + PAUSE_US;

    ex_log(
        &worker->log, EXECUTR_LOG_WARN,
        "a job can't be run here: no new jobs for 10 s", "error", why, NULL);
    if (worker->claim_at_us < until)
        worker->claim_at_us = until;
}
