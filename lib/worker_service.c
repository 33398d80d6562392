/* SPDX-License-Identifier: MIT */
/*
 * In and out of service. A machine that is short of something takes no jobs
 * until a probe, cheap enough to be made every few seconds, is content again.
 * What runs goes on, and so do heartbeats and reports. Hides when probes are
 * made, and what of all that is worth a line in the log.
 */
#include "worker.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/time.h"
#include "cache.h"
#include "retry.h"
#include "runner.h"

#define FIRST_PROBE_MS 1000
#define LONGEST_PROBE_MS 10000

/* Out again sooner than this after it was back, it stays out for longer. */
#define CALM_US (INT64_C(60) * 1000 * 1000)

static ex_trouble *find(executr_worker *worker, ex_probe probe)
{
    ex_trouble *free_one = NULL;

    for (size_t i = 0; i < EX_TROUBLES; i++) {
        ex_trouble *trouble = &worker->troubles[i];
        if (trouble->probe == probe)
            return trouble;
        if (!trouble->probe)
            free_one = trouble;
    }
    assert(free_one); /* EX_TROUBLES is how many probes there are */
    return free_one;
}

int ex_worker_in_service(const executr_worker *worker)
{
    for (size_t i = 0; i < EX_TROUBLES; i++) {
        if (worker->troubles[i].probe)
            return 0;
    }
    return 1;
}

static void plan_probe(executr_worker *worker, ex_trouble *trouble)
{
    int64_t delay = ex_retry_delay_ms(
        ++trouble->probes, FIRST_PROBE_MS, LONGEST_PROBE_MS,
        ex_worker_random(worker));

    trouble->probe_at_us = ex_boottime_us() + delay * 1000;
}

/*
 * A claim under way is left alone: given up, it could still be answered with
 * jobs, which nobody would miss for a while. What it brings is given back.
 */
int ex_worker_leave_service(
    executr_worker *worker, ex_probe probe, const char *why)
{
    executr_error err = {0};
    ex_trouble *trouble = find(worker, probe);

    if (trouble->probe == probe)
        return 1;
    if (!probe(worker, &err))
        return 0;
    trouble->probe = probe;
    trouble->since_us = ex_boottime_us();
    if (trouble->since_us - trouble->back_us > CALM_US)
        trouble->probes = 0;
    plan_probe(worker, trouble);
    (void)snprintf(
        worker->reason, sizeof worker->reason,
        "this executor is out of service: %s", err.message);
    ex_log(
        &worker->log, EXECUTR_LOG_ERROR,
        "out of service: no new jobs until this is better", "error", why,
        "reason", err.message, NULL);
    return 1;
}

static void look_again(executr_worker *worker, ex_trouble *trouble)
{
    executr_error err = {0};

    if (trouble->probe(worker, &err)) {
        plan_probe(worker, trouble);
        ex_log(
            &worker->log, EXECUTR_LOG_DEBUG, "still out of service", "reason",
            err.message, NULL);
        return;
    }
    trouble->probe = NULL;
    trouble->back_us = ex_boottime_us();
    if (!ex_worker_in_service(worker))
        return;
    worker->reason[0] = '\0';
    worker->claim_at_us = 0;
    ex_log(
        &worker->log, EXECUTR_LOG_INFO, "back in service", "after_ms",
        EX_I64((trouble->back_us - trouble->since_us) / 1000), NULL);
}

void ex_worker_probe(executr_worker *worker, int64_t now_us)
{
    for (size_t i = 0; i < EX_TROUBLES; i++) {
        ex_trouble *trouble = &worker->troubles[i];
        if (trouble->probe && trouble->probe_at_us <= now_us)
            look_again(worker, trouble);
    }
}

int64_t ex_worker_probe_due_us(const executr_worker *worker)
{
    int64_t due = EX_NEVER_US;

    for (size_t i = 0; i < EX_TROUBLES; i++) {
        const ex_trouble *trouble = &worker->troubles[i];
        if (trouble->probe && trouble->probe_at_us < due)
            due = trouble->probe_at_us;
    }
    return due;
}

executr_status ex_worker_machine_ready(
    executr_worker *worker, executr_error *err)
{
    executr_status st = ex_runner_ready(worker->runner, err);

    return st ? st : ex_cache_ready(worker->cache, err);
}
