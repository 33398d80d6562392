/* SPDX-License-Identifier: MIT */
/*
 * Results go to disk before they go to the server, on a thread of their own, so
 * that a slow disk delays reports and nothing else.
 *
 * The thread has one task at a time. While it does, the spool, and the reports
 * and the page handed to it, are its own; the loop doesn't touch them before it
 * took the end back. Works whose reports it reads are marked as reporting,
 * which keeps them.
 */
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"
#include "worker.h"

#define RETRY_US (INT64_C(5) * 1000 * 1000)

/* A busy file is cut when it has grown to this, an idle one at once. */
#define BUSY_SIZE ((int64_t)1024 * 1024)
/* One in which something stays unanswered is written anew: what is held is
 * bounded well below (see worker_slots.c), so this is rare. */
#define MOST_SIZE ((int64_t)256 * 1024 * 1024)

/* On the thread. */
static executr_status do_task(ex_spooler *s)
{
    executr_status st = EXECUTR_OK;

    switch (s->task) {
    case EX_SPOOL_ADD:
        if (s->trim)
            st = ex_spool_trim(&s->spool, &s->err);
        if (!st)
            st = ex_spool_add(&s->spool, s->reports, s->count, &s->err);
        return st;
    case EX_SPOOL_RENEW:
        return ex_spool_renew(&s->spool, s->reports, s->count, &s->err);
    case EX_SPOOL_TRIM:
        return ex_spool_trim(&s->spool, &s->err);
    default:
        return ex_adopt_read(s);
    }
}

static void *run_tasks(void *arg)
{
    ex_spooler *s = arg;
    const uint64_t one = 1;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->task == EX_SPOOL_IDLE && !s->ending)
            pthread_cond_wait(&s->wake, &s->lock);
        if (s->task == EX_SPOOL_IDLE)
            break;
        pthread_mutex_unlock(&s->lock);
        executr_status st = do_task(s);
        pthread_mutex_lock(&s->lock);
        s->status = st;
        s->ended = s->task;
        s->task = EX_SPOOL_IDLE;
        /* EAGAIN: the counter is at its end, so the loop is told already. */
        if (write(s->done_fd, &one, sizeof one) < 0)
            errno = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void failed(executr_worker *worker, const executr_error *err)
{
    ex_spooler *s = &worker->spooler;

    if (!s->broken)
        ex_log(
            &worker->log, EXECUTR_LOG_ERROR,
            "results can't be spooled: no new jobs until they can; those that "
            "ended are reported from memory",
            "error", err->message, NULL);
    s->broken = 1;
    s->retry_us = ex_boottime_us() + RETRY_US;
}

executr_status ex_spooler_open(executr_worker *worker, executr_error *err)
{
    ex_spooler *s = &worker->spooler;
    const char *path = worker->options.spool_directory;
    sigset_t all;
    sigset_t before;

    /* A queue in our own process needs none: a crash ends both, and the lease
     * of what was not recorded runs out. */
    if (!worker->source->binaries_url)
        return EXECUTR_OK;
    /* It outlives the source. */
    const char *server =
        ex_arena_strdup(&worker->arena, worker->source->binaries_url);
    if (!server)
        return ex_fail_nomem(err);
    executr_status st = ex_spool_open(
        &s->spool, path ? path : "~/.executr/spool", worker->id, server, err);
    if (st)
        return st;
    if (ex_spool_renew(&s->spool, NULL, 0, &s->err))
        failed(worker, &s->err);
    s->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->done_fd < 0)
        return ex_fail_errno(err, errno, "cannot make an eventfd");
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&s->thread, NULL, run_tasks, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number)
        return ex_fail_errno(err, number, "cannot start a thread");
    s->used = 1;
    return EXECUTR_OK;
}

void ex_spooler_start(ex_spooler *s, int32_t task)
{
    pthread_mutex_lock(&s->lock);
    s->task = task;
    s->busy = 1;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

/* Every report in the list is borrowed until the end. */
static void add(ex_spooler *s, ex_work *work)
{
    work->reporting = 1;
    s->works[s->count] = work;
    s->reports[s->count] = &work->report;
    s->count++;
}

static executr_status make_list(executr_worker *worker, executr_error *err)
{
    ex_spooler *s = &worker->spooler;
    void *works = s->works;
    void *reports = s->reports;

    s->count = 0;
    if (worker->lists[EX_WORK_ENDED].count <= s->room)
        return EXECUTR_OK;
    size_t room = worker->lists[EX_WORK_ENDED].count + 64;
    executr_status st = ex_realloc(&works, room * sizeof *s->works, err);
    if (st)
        return st;
    s->works = works;
    st = ex_realloc(&reports, room * sizeof *s->reports, err);
    if (st)
        return st;
    s->reports = reports;
    s->room = room;
    return EXECUTR_OK;
}

/* What the next write is to hold: reports that are new, or with `renew` all
 * that the file is to hold from then on. How many of them are new. */
static size_t list_reports(executr_worker *worker, size_t count, int renew)
{
    ex_spooler *s = &worker->spooler;
    size_t news = 0;

    for (size_t i = 0; i < count; i++) {
        ex_work *work = worker->reported[i];
        news += !work->spooled;
        if (!work->spooled || renew)
            add(s, work);
    }
    ex_work *work =
        renew && news > 0 ? worker->lists[EX_WORK_ENDED].first : NULL;
    for (; work; work = work->after) {
        if (work->spooled && !work->reporting)
            add(s, work);
    }
    return news;
}

/* The first `count` of worker->reported are about to be sent. 0: all of them
 * are safe already, or can't be made so now. */
int ex_worker_spool(executr_worker *worker, size_t count)
{
    ex_spooler *s = &worker->spooler;
    executr_error err = {0};
    int renew = s->broken || s->spool.size > MOST_SIZE;

    if (!s->used || (s->broken && ex_boottime_us() < s->retry_us))
        return 0;
    if (make_list(worker, &err)) {
        failed(worker, &err);
        return 0;
    }
    if (list_reports(worker, count, renew) == 0) {
        s->count = 0;
        return 0;
    }
    s->sending = count;
    s->trim = worker->spooled == 0 && s->spool.size > BUSY_SIZE;
    ex_spooler_start(s, renew ? EX_SPOOL_RENEW : EX_SPOOL_ADD);
    return 1;
}

/* What was handed over stands in the file. */
static void took_list(executr_worker *worker)
{
    ex_spooler *s = &worker->spooler;

    for (size_t i = 0; i < s->count; i++) {
        worker->spooled += !s->works[i]->spooled;
        s->works[i]->spooled = 1;
    }
    if (s->broken)
        ex_log(
            &worker->log, EXECUTR_LOG_INFO, "results can be spooled again",
            NULL);
    s->broken = 0;
}

/* The end of an addition; then the reports that waited for it are sent. */
static void wrote(
    executr_worker *worker, executr_status status, const executr_error *err)
{
    ex_spooler *s = &worker->spooler;
    size_t sending = s->sending;

    if (status)
        failed(worker, err);
    else
        took_list(worker);
    for (size_t i = 0; i < s->count; i++)
        s->works[i]->reporting = 0;
    s->count = 0;
    s->sending = 0;
    if (sending > 0)
        ex_worker_send(worker, sending);
}

void ex_worker_spooled(executr_worker *worker)
{
    ex_spooler *s = &worker->spooler;
    uint64_t count;

    while (read(s->done_fd, &count, sizeof count) < 0 && errno == EINTR)
        continue;
    pthread_mutex_lock(&s->lock);
    int32_t task = s->ended;
    executr_status status = s->status;
    executr_error err = s->err;
    s->ended = EX_SPOOL_IDLE;
    if (task != EX_SPOOL_IDLE)
        s->busy = 0;
    pthread_mutex_unlock(&s->lock);
    if (task == EX_SPOOL_ADD || task == EX_SPOOL_RENEW)
        wrote(worker, status, &err);
    else if (task == EX_SPOOL_READ)
        ex_worker_adopted(worker, status, &err);
    else if (task == EX_SPOOL_TRIM && status)
        failed(worker, &err);
}

/* A spool without records, to be cut; or one that could not be written, to be
 * tried again when nothing is under way that would. */
static int wants_trim(const executr_worker *worker)
{
    const ex_spooler *s = &worker->spooler;

    return worker->spooled == 0 && worker->lists[EX_WORK_ENDED].count == 0 &&
           !s->broken && s->spool.fd >= 0 &&
           s->spool.size > s->spool.empty_size;
}

int64_t ex_worker_spool_due_us(const executr_worker *worker)
{
    const ex_spooler *s = &worker->spooler;

    if (!s->used || s->busy || worker->reporting || worker->leaving)
        return EX_NEVER_US;
    if (wants_trim(worker))
        return 0;
    return s->broken ? s->retry_us : EX_NEVER_US;
}

void ex_worker_keep_spool(executr_worker *worker, int64_t now_us)
{
    ex_spooler *s = &worker->spooler;
    executr_error err = {0};

    if (ex_worker_spool_due_us(worker) > now_us)
        return;
    if (!s->broken) {
        ex_spooler_start(s, EX_SPOOL_TRIM);
        return;
    }
    if (make_list(worker, &err)) {
        failed(worker, &err);
        return;
    }
    ex_work *work = worker->lists[EX_WORK_ENDED].first;
    for (; work; work = work->after)
        add(s, work);
    ex_spooler_start(s, EX_SPOOL_RENEW);
}

/* What the spool does not hold yet, at the end of all. */
static void add_rest(executr_worker *worker)
{
    ex_spooler *s = &worker->spooler;
    executr_error err = {0};

    executr_status st = make_list(worker, &err);
    ex_work *work = st ? NULL : worker->lists[EX_WORK_ENDED].first;
    for (; work; work = work->after) {
        if (s->broken || !work->spooled)
            add(s, work);
    }
    if (!st && s->count > 0 && s->broken)
        st = ex_spool_renew(&s->spool, s->reports, s->count, &err);
    else if (!st && s->count > 0)
        st = ex_spool_add(&s->spool, s->reports, s->count, &err);
    if (st)
        failed(worker, &err);
    else if (s->count > 0)
        took_list(worker);
    s->count = 0;
}

static void end_thread(ex_spooler *s)
{
    pthread_mutex_lock(&s->lock);
    s->ending = 1;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    s->used = 0;
}

void ex_spooler_close(executr_worker *worker)
{
    ex_spooler *s = &worker->spooler;

    if (s->used) {
        end_thread(s);
        if (s->ended == EX_SPOOL_ADD || s->ended == EX_SPOOL_RENEW) {
            s->sending = 0;
            wrote(worker, s->status, &s->err);
        }
        add_rest(worker);
        if (worker->lists[EX_WORK_ENDED].count > 0)
            ex_log(
                &worker->log, EXECUTR_LOG_WARN,
                s->broken ? "results could not be delivered and are lost"
                          : "results could not be delivered: they stay in the "
                            "spool for the next start",
                "count", EX_I64((int64_t)worker->lists[EX_WORK_ENDED].count),
                NULL);
    }
    ex_adopt_close(s);
    ex_spool_close(&s->spool, worker->spooled > 0);
    if (s->done_fd >= 0)
        close(s->done_fd);
    ex_free(s->works);
    ex_free(s->reports);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
}
