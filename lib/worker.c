/* SPDX-License-Identifier: MIT */
/* The worker's loop: everything it waits for, and how it comes to an end. */
#include "worker.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"

#define EVENTS 8

/* After a second stop: to deliver what ended, and to say goodbye. */
#define GIVE_UP_US (INT64_C(5) * 1000 * 1000)

enum {
    LEAVING = 1,
    LEFT = 2
};

double ex_worker_random(executr_worker *worker)
{
    worker->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = worker->random;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

const char *executr_worker_id(const executr_worker *worker)
{
    return worker->id;
}

void executr_worker_stop(executr_worker *worker)
{
    const uint64_t one = 1;
    int number = errno;

    /* Also in signal handlers: an atomic and a write, errno kept. */
    atomic_fetch_add(&worker->stops, 1);
    while (write(worker->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
    errno = number;
}

void ex_worker_left(void *ctx, executr_status status, const executr_error *err)
{
    executr_worker *worker = ctx;

    worker->leaving = LEFT;
    if (status)
        ex_log(
            &worker->log, EXECUTR_LOG_WARN, "could not say goodbye", "error",
            err->message, NULL);
}

/* The second stop: kill what runs; what ended has a moment to be delivered. */
static void end_all(executr_worker *worker)
{
    ex_work *work = worker->works;

    while (work) {
        ex_work *next = work->next;
        if (work->state != EX_WORK_ENDED)
            ex_work_drop(worker, work);
        work = next;
    }
    worker->report_at_us = 0;
    worker->give_up_us = ex_boottime_us() + GIVE_UP_US;
}

static void see_stops(executr_worker *worker)
{
    uint64_t count;

    while (read(worker->stop_fd, &count, sizeof count) < 0 && errno == EINTR)
        continue;
    int stops = atomic_load(&worker->stops);
    if (stops >= 1 && worker->stopping == 0) {
        worker->stopping = 1;
        ex_log(
            &worker->log, EXECUTR_LOG_INFO,
            "stopping: no new jobs, waiting for those that run", NULL);
        if (worker->claiming)
            worker->source->ops->unclaim(worker->source);
        ex_worker_return_line(worker, EX_STOPPING);
    }
    if (stops >= 2 && worker->stopping == 1) {
        worker->stopping = 2;
        ex_log(
            &worker->log, EXECUTR_LOG_INFO,
            "stopping at once: running jobs are killed and given back", NULL);
        end_all(worker);
    }
}

/* What must be over before goodbye, which gives back everything held. */
static int may_leave(const executr_worker *worker, int64_t now_us)
{
    if (worker->stopping == 2 && now_us >= worker->give_up_us)
        return 1;
    return worker->stopping && !worker->works && !worker->claiming &&
           !worker->beating;
}

/* A goodbye lets others start what we hold, at once. */
static int may_say_goodbye(const executr_worker *worker)
{
    const ex_work *work = worker->lists[EX_WORK_RUNNING].first;

    while (work && !work->exclusive)
        work = work->after;
    return !work;
}

/* What stays in the spool counts only while its lease does, which a goodbye
 * would end. */
static void leave_without_goodbye(executr_worker *worker, const char *why)
{
    ex_log(
        &worker->log, EXECUTR_LOG_WARN,
        "leaving without goodbye, leases will run out", "reason", why, NULL);
    worker->leaving = LEFT;
}

/* 1 when there is nothing more to do. */
static int leave(executr_worker *worker, int64_t now_us)
{
    executr_error err = {0};

    if (worker->leaving)
        return worker->leaving == LEFT || now_us >= worker->give_up_us;
    if (!may_leave(worker, now_us))
        return 0;
    if (!may_say_goodbye(worker)) {
        leave_without_goodbye(worker, "an exclusive job is not dead yet");
        return 1;
    }
    if (worker->lists[EX_WORK_ENDED].count > 0 && worker->spooler.used) {
        leave_without_goodbye(worker, "results stay in the spool");
        return 1;
    }
    worker->leaving = LEAVING;
    worker->give_up_us = now_us + GIVE_UP_US;
    executr_status st =
        worker->source->ops->goodbye(worker->source, worker->id, &err);
    if (st)
        ex_worker_left(worker, st, &err);
    return worker->leaving == LEFT;
}

static void do_due(executr_worker *worker, int64_t now_us)
{
    ex_works_due(worker, now_us);
    ex_worker_fill(worker);
    ex_worker_keep_line(worker, now_us);
    ex_worker_beat(worker, now_us);
    ex_worker_live(worker, now_us);
    ex_worker_report(worker, now_us);
    ex_worker_probe(worker, now_us);
    ex_worker_keep_spool(worker, now_us);
    ex_worker_adopt(worker, now_us);
    ex_worker_claim(worker, now_us);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_due_us(const executr_worker *worker)
{
    int64_t due = ex_worker_claim_due_us(worker);

    due = sooner(due, ex_worker_beat_due_us(worker));
    due = sooner(due, ex_worker_live_due_us(worker));
    due = sooner(due, ex_worker_probe_due_us(worker));
    due = sooner(due, ex_worker_spool_due_us(worker));
    due = sooner(due, ex_worker_adopt_due_us(worker));
    if (ex_worker_may_report(worker))
        due = sooner(due, worker->report_at_us);
    if (worker->leaving || worker->stopping == 2)
        due = sooner(due, worker->give_up_us);
    due = sooner(due, ex_worker_line_due_us(worker));
    return sooner(due, ex_works_due_us(worker));
}

/* Milliseconds to sleep; rounded up, or the last one would be spun away. */
static int sleep_ms(const executr_worker *worker)
{
    int64_t due = next_due_us(worker);
    int64_t now = ex_boottime_us();

    if (due == EX_NEVER_US)
        return -1;
    if (due <= now)
        return 0;
    int64_t ms = (due - now + 999) / 1000;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void see_fetches(executr_worker *worker)
{
    uint64_t count;

    while (read(worker->fetcher.done_fd, &count, sizeof count) < 0 &&
           errno == EINTR)
        continue;
    ex_worker_fetched(worker);
}

static executr_status handle(executr_worker *worker, int fd, executr_error *err)
{
    if (fd == executr_runner_fd(worker->runner))
        return ex_worker_run_programs(worker, err);
    if (fd == worker->source->ops->fd(worker->source))
        return worker->source->ops->step(worker->source, err);
    if (fd == worker->fetcher.done_fd)
        see_fetches(worker);
    else if (fd == worker->spooler.done_fd)
        ex_worker_spooled(worker);
    else
        see_stops(worker);
    return EXECUTR_OK;
}

executr_status executr_worker_run(executr_worker *worker, executr_error *err)
{
    struct epoll_event events[EVENTS];
    executr_status st = EXECUTR_OK;

    if (worker->has_run)
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "a worker runs once; open another one");
    worker->has_run = 1;
    see_stops(worker);
    while (!st && !leave(worker, ex_boottime_us())) {
        int64_t before = ex_boottime_us();
        do_due(worker, before);
        int count =
            epoll_wait(worker->epoll_fd, events, EVENTS, sleep_ms(worker));
        if (count < 0 && errno != EINTR)
            st = ex_fail_errno(err, errno, "cannot wait for events");
        ex_worker_woke(worker, before, ex_boottime_us());
        for (int i = 0; !st && i < count; i++)
            st = handle(worker, events[i].data.fd, err);
    }
    return st;
}
