/* SPDX-License-Identifier: MIT */
/*
 * The thread that keeps a store in order: leases that ran out, retries that
 * fell due, old jobs, and word from other programs. Hides when each is due.
 */
#include "queue.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"

#define BACKOFF_BASE_MS 100
#define BACKOFF_MAX_MS 5000
#define CLEANUP_BATCH 1000

/* The thread's own state; moments are monotonic. */
typedef struct rounds {
    int64_t upkeep_due_us;
    int64_t cleanup_due_us;
    int64_t expected_us; /* when the round under way shall be over */
    int32_t failures;    /* in a row */
} rounds;

static void count_event(executr_queue *queue, int32_t event, int64_t count)
{
    const executr_events *events = &queue->options.events;

    if (count > 0 && events->notify)
        events->notify(events->ctx, event, "", 0, count, -1, -1);
}

/*
 * Leases may be taken away only when executors had one whole heartbeat timeout
 * in which they could have extended them: since we started, since the store
 * came back, and since this process went on after it was stopped.
 */
static int32_t may_reap(executr_queue *queue, const rounds *r, int64_t now)
{
    int64_t timeout_us = queue->options.heartbeat_timeout_ms * 1000;

    if (now > r->expected_us + timeout_us / 2)
        atomic_store(&queue->quiet_from_us, now);
    return !atomic_load(&queue->away) &&
           now - atomic_load(&queue->quiet_from_us) >= timeout_us;
}

static executr_status run_upkeep(
    executr_queue *queue, rounds *r, executr_error *err)
{
    ex_rules rules;
    ex_upkeep done = {0};

    int64_t now = ex_monotonic_us();
    ex_queue_rules(queue, &rules);
    executr_status st = ex_queue_note(
        queue, queue->store->ops->upkeep(
                   queue->store, &rules, may_reap(queue, r, now), &done, err));
    if (st)
        return st;
    if (done.claimable)
        ex_queue_wake_any(queue);
    count_event(queue, EXECUTR_EVENT_RECOVERED, done.recovered);
    count_event(queue, EXECUTR_EVENT_FAILED, done.failed);
    if (done.recovered)
        ex_log(
            &queue->options.log, EXECUTR_LOG_INFO,
            "took jobs back from executors that fell silent", "count",
            EX_I64(done.recovered), "failed_for_good", EX_I64(done.failed),
            NULL);
    r->upkeep_due_us =
        done.more ? now : now + queue->options.poll_interval_ms * 1000;
    return EXECUTR_OK;
}

/* One batch; a full one is followed by another in the next round. */
static executr_status run_cleanup(
    executr_queue *queue, rounds *r, executr_error *err)
{
    int64_t deleted = 0;

    executr_status st = ex_queue_note(
        queue,
        queue->store->ops->cleanup(
            queue->store, queue->options.job_retention_ms, &deleted, err));
    if (st)
        return st;
    count_event(queue, EXECUTR_EVENT_CLEANED, deleted);
    if (deleted)
        ex_log(
            &queue->options.log, EXECUTR_LOG_INFO, "deleted old jobs", "count",
            EX_I64(deleted), NULL);
    if (deleted < CLEANUP_BATCH)
        r->cleanup_due_us =
            ex_monotonic_us() + queue->options.cleanup_interval_ms * 1000;
    return EXECUTR_OK;
}

/* Whether anyone waits, or did since the last round (so that a pause between
 * two claims is not announced). */
static int32_t anyone_waits(executr_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    int32_t waits = queue->asleep > 0 || queue->slept;
    queue->slept = 0;
    queue->announced = waits;
    pthread_mutex_unlock(&queue->lock);
    return waits;
}

static void clear_poke(executr_queue *queue)
{
    uint64_t count;

    /* Nothing to read (EAGAIN) is as good. */
    if (read(queue->wake_fd, &count, sizeof count) < 0)
        return;
}

/* Wait for word, or until something is due. */
static executr_status watch(executr_queue *queue, rounds *r, executr_error *err)
{
    int32_t told = 0;

    int64_t now = ex_monotonic_us();
    int64_t due = r->upkeep_due_us < r->cleanup_due_us ? r->upkeep_due_us
                                                       : r->cleanup_due_us;
    int64_t wait_us = due > now ? due - now : 0;
    r->expected_us = now + wait_us;
    executr_status st = ex_queue_note(
        queue, queue->store->ops->watch(
                   queue->store, anyone_waits(queue), (wait_us + 999) / 1000,
                   queue->wake_fd, &told, err));
    clear_poke(queue);
    if (!st && told)
        ex_queue_wake_any(queue);
    return st;
}

static executr_status run_round(
    executr_queue *queue, rounds *r, executr_error *err)
{
    executr_status watched = watch(queue, r, err);
    executr_status st = EXECUTR_OK;

    /* Upkeep goes on when only the word of others can't be heard. */
    if (watched && atomic_load(&queue->away))
        return watched;
    if (ex_monotonic_us() >= r->upkeep_due_us)
        st = run_upkeep(queue, r, err);
    if (!st && !atomic_load(&queue->stopping) &&
        ex_monotonic_us() >= r->cleanup_due_us)
        st = run_cleanup(queue, r, err);
    return st ? st : watched;
}

/* After a failure: say so once, and pause, longer each time. */
static void back_off(executr_queue *queue, rounds *r, const executr_error *err)
{
    struct pollfd wake = {queue->wake_fd, POLLIN, 0};
    double random = (double)(ex_monotonic_us() % 1000) / 1000;
    int32_t failures = r->failures++;

    if (failures == 0)
        ex_log(
            &queue->options.log, EXECUTR_LOG_WARN,
            "upkeep failed, trying again", "error", err->message, NULL);
    int64_t pause_ms = ex_reconnect_delay_ms(
        failures, BACKOFF_BASE_MS, BACKOFF_MAX_MS, random);
    r->expected_us = ex_monotonic_us() + pause_ms * 1000;
    if (atomic_load(&queue->stopping))
        return; /* the poke that says so may be cleared already */
    while (poll(&wake, 1, (int)pause_ms) < 0 && errno == EINTR)
        continue;
    clear_poke(queue);
}

static void *keep_up(void *ctx)
{
    executr_queue *queue = ctx;
    executr_error error;
    rounds r = {0};

    r.upkeep_due_us = ex_monotonic_us();
    r.cleanup_due_us = r.upkeep_due_us;
    while (!atomic_load(&queue->stopping)) {
        if (run_round(queue, &r, &error))
            back_off(queue, &r, &error);
        else
            r.failures = 0;
    }
    return NULL;
}

executr_status ex_queue_upkeep_start(executr_queue *queue, executr_error *err)
{
    queue->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->wake_fd < 0)
        return ex_fail_errno(err, errno, "cannot make an eventfd");
    int rc = pthread_create(&queue->upkeep, NULL, keep_up, queue);
    if (rc)
        return ex_fail_errno(err, rc, "cannot start the upkeep thread");
    queue->has_upkeep = 1;
    return EXECUTR_OK;
}

void ex_queue_poke(executr_queue *queue)
{
    uint64_t one = 1;

    /* A full counter (EAGAIN) wakes as well. */
    if (write(queue->wake_fd, &one, sizeof one) < 0)
        return;
}

void ex_queue_upkeep_stop(executr_queue *queue)
{
    atomic_store(&queue->stopping, 1);
    if (queue->has_upkeep) {
        ex_queue_poke(queue);
        pthread_join(queue->upkeep, NULL);
        queue->has_upkeep = 0;
    }
    if (queue->wake_fd >= 0)
        close(queue->wake_fd);
    queue->wake_fd = -1;
}
