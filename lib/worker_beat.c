/* SPDX-License-Identifier: MIT */
/* Heartbeats: leases of all held jobs, and the verdicts on them. */
#include "worker.h"

#include <string.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"
#include "retry.h"

#define BACKOFF_MS 250

static void failed(
    executr_worker *worker, executr_status status, const executr_error *err)
{
    int64_t delay = ex_reconnect_delay_ms(
        worker->beat_failures, BACKOFF_MS, worker->interval_us / 1000,
        ex_worker_random(worker));

    ex_log(
        &worker->log,
        worker->beat_failures == 0 ? EXECUTR_LOG_WARN : EXECUTR_LOG_DEBUG,
        "cannot renew leases, trying again", "code",
        executr_status_word(status), "error", err->message, NULL);
    ex_worker_give_spares(worker);
    if (worker->beat_failures < 30)
        worker->beat_failures++;
    worker->beat_at_us = ex_boottime_us() + delay * 1000;
}

/* A lost one that is still being killed is not ours to renew. One that is given
 * back goes to others even while nobody hears that it is. */
static int is_ours(const ex_work *work)
{
    return !work->dropped && !(work->state == EX_WORK_ENDED && work->returned);
}

/* Everything else that is held, reported or not, in the order of the list. */
static executr_status name_leases(executr_worker *worker, executr_error *err)
{
    void *memory;
    size_t count = 0;

    executr_status st =
        ex_alloc_array(&memory, worker->held, sizeof *worker->leases, err);
    if (st)
        return st;
    worker->leases = memory;
    for (ex_work *work = worker->works; work; work = work->next) {
        if (!is_ours(work))
            continue;
        executr_lease *lease = &worker->leases[count++];
        memcpy(lease->job_id, work->job_id, sizeof lease->job_id);
        lease->attempt = work->attempt;
        work->named = work->state == EX_WORK_RUNNING;
    }
    worker->beat.leases = worker->leases;
    worker->beat.lease_count = count;
    return EXECUTR_OK;
}

static void fill_beat(executr_worker *worker)
{
    executr_heartbeat *beat = &worker->beat;
    executr_cache *cache = worker->cache;

    *beat = (executr_heartbeat)EXECUTR_HEARTBEAT_INIT;
    beat->max_jobs = worker->options.max_jobs;
    beat->executor_id = worker->id;
    beat->executor_ip = worker->ip;
    beat->version = executr_version();
    beat->cache_hits = executr_cache_figure(cache, EXECUTR_CACHE_HITS);
    beat->cache_misses = executr_cache_figure(cache, EXECUTR_CACHE_MISSES);
    beat->cache_bytes = executr_cache_figure(cache, EXECUTR_CACHE_BYTES);
    beat->cache_max_bytes =
        executr_cache_figure(cache, EXECUTR_CACHE_MAX_BYTES);
}

static void forget_leases(executr_worker *worker)
{
    ex_free(worker->leases);
    worker->leases = NULL;
    worker->beating = 0;
}

int64_t ex_worker_beat_due_us(const executr_worker *worker)
{
    int64_t due = worker->beat_at_us;

    if (worker->beating || worker->leaving)
        return EX_NEVER_US;
    const ex_work *work = worker->lists[EX_WORK_RUNNING].first;
    for (; work; work = work->after) {
        int64_t young = ex_work_young_us(worker, work);
        due = young < due ? young : due;
    }
    return due;
}

void ex_worker_beat(executr_worker *worker, int64_t now_us)
{
    executr_error err = {0};

    if (ex_worker_beat_due_us(worker) > now_us)
        return;
    fill_beat(worker);
    worker->beating = 1;
    worker->beat_sent_us = now_us;
    worker->beat_at_us = now_us + worker->interval_us;
    executr_status st = name_leases(worker, &err);
    if (!st)
        st =
            worker->source->ops->heartbeat(worker->source, &worker->beat, &err);
    if (st) {
        forget_leases(worker);
        failed(worker, st, &err);
    }
}

/*
 * The job of a lease. `from` is where to look first: verdicts come in the order
 * of the list, in which jobs may have come and gone since.
 */
static ex_work *find(
    const executr_worker *worker, const executr_lease *lease, ex_work *from)
{
    ex_work *starts[2] = {from, worker->works};

    for (size_t i = 0; i < 2; i++) {
        ex_work *work = starts[i];
        while (work && (work->attempt != lease->attempt ||
                        strcmp(work->job_id, lease->job_id) != 0))
            work = work->next;
        if (work)
            return work;
    }
    return NULL;
}

static void judge(
    executr_worker *worker, ex_work *work, const executr_lease *lease)
{
    /* One whose report is under way may have been taken since. */
    if (work->state == EX_WORK_ENDED &&
        (work->reporting || lease->verdict == EXECUTR_LEASE_CANCEL))
        return;
    switch (lease->verdict) {
    case EXECUTR_LEASE_KEPT:
    case EXECUTR_LEASE_FOLLOWED:
        ex_work_renew(worker, work);
        ex_work_follow(worker, work, lease->verdict == EXECUTR_LEASE_FOLLOWED);
        break;
    case EXECUTR_LEASE_CANCEL:
        ex_work_renew(worker, work);
        ex_work_cancel(worker, work);
        break;
    case EXECUTR_LEASE_LOST:
    case EXECUTR_LEASE_UNKNOWN:
        ex_log(
            &worker->log, EXECUTR_LOG_INFO, "the lease of a job is lost",
            "job_id", work->job_id, "attempt", EX_I64(work->attempt), NULL);
        ex_work_drop(worker, work);
        break;
    default:
        break;
    }
}

void ex_worker_beaten(
    void *ctx, executr_status status, const executr_lease *leases, size_t count,
    const executr_error *err)
{
    executr_worker *worker = ctx;
    ex_work *next = worker->works;

    /* Also a failed one: results may get through where heartbeats don't. */
    if (worker->beat_sent_us >= worker->woke_us)
        worker->woke_us = 0;
    if (status) {
        forget_leases(worker);
        failed(worker, status, err);
        return;
    }
    worker->heard = 1;
    /* If jobs took them meanwhile, no other is started until there are some. */
    ex_ignore(ex_worker_keep_spares(worker, NULL));
    ex_worker_lease(worker, worker->beat.lease_ms);
    if (worker->beat_failures > 0)
        ex_log(&worker->log, EXECUTR_LOG_INFO, "renewing leases again", NULL);
    worker->beat_failures = 0;
    for (size_t i = 0; i < count; i++) {
        ex_work *work = find(worker, &leases[i], next);
        if (!work)
            continue;
        next = work->next;
        judge(worker, work, &leases[i]);
    }
    forget_leases(worker);
}
