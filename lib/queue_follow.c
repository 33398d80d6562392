/* SPDX-License-Identifier: MIT */
/*
 * Follows a job: says so to the store, looks for pieces, and goes from attempt
 * to attempt until the job is over. It polls, because the executor may talk to
 * another server; quickly at first, for jobs that take no time.
 */
#include <string.h>
#include <time.h>

#include "base/fail.h"
#include "base/options.h"
#include "base/time.h"
#include "queue_live.h"

#define FOLLOWED_MS 5000 /* interest lasts so long unless renewed */
#define RENEW_US (INT64_C(1500) * 1000)
#define PAUSE_FIRST_MS 10
#define PAUSE_LONGEST_MS 200

typedef struct follower {
    executr_queue *queue;
    executr_follow *request;
    ex_uuid id;
    ex_teller teller;
    ex_view view;
    int64_t renew_at_us;
    int64_t pause_ms;
} follower;

static int32_t is_over(int32_t status)
{
    return status != EXECUTR_JOB_PENDING && status != EXECUTR_JOB_RUNNING;
}

static executr_status check(executr_follow *request, executr_error *err)
{
    executr_follow copy;

    executr_status st =
        ex_options_read(&copy, sizeof copy, sizeof copy, request, err);
    if (st)
        return st;
    if (!copy.write)
        return ex_fail_field(err, "write", "a follower needs write");
    if (copy.streams & ~6)
        return ex_fail_field(
            err, "streams", "streams are 1 (stdout) and 2 (stderr)");
    if (copy.attempt < 0 || copy.stdout_offset < 0 || copy.stderr_offset < 0)
        return ex_fail_field(
            err, "offset", "attempt and offsets can't be negative");
    return EXECUTR_OK;
}

/* The store is told again now and then; what it doesn't hear this time it
 * hears the next. */
static executr_status look(follower *f, executr_error *err)
{
    executr_store *store = f->queue->store;
    int64_t now = ex_monotonic_us();
    int64_t from[2] = {-1, -1};
    executr_status st = EXECUTR_OK;

    if (now >= f->renew_at_us) {
        st = store->ops->live_follow(store, &f->id, FOLLOWED_MS, err);
        f->renew_at_us = now + RENEW_US;
    }
    for (int i = 0; i < 2; i++) {
        if (f->teller.told[i].stream)
            from[i] = f->teller.told[i].next;
    }
    if (!st)
        st = store->ops->live_read(
            store, &f->id, f->teller.attempt, from, &f->view, err);
    return ex_queue_note(f->queue, st);
}

/* The same through an outage of the store. */
static executr_status look_patiently(
    follower *f, int32_t *seen, executr_error *err)
{
    executr_status st = look(f, err);

    *seen = !st;
    if (st && executr_status_retriable(st) && st != EXECUTR_E_NOMEM) {
        f->renew_at_us = 0;
        return EXECUTR_OK;
    }
    return st;
}

/* 1 in *told if there was anything. */
static executr_status tell_pieces(
    follower *f, int32_t *told, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    *told = 0;
    for (int i = 0; !st && i < 2; i++) {
        const ex_buf *data = &f->view.pieces[i].data;
        if (data->length == 0)
            continue;
        *told = 1;
        st = ex_tell(
            &f->teller, &f->teller.told[i], f->view.pieces[i].offset,
            data->data, data->length, err);
    }
    return st;
}

/* Whether nothing more comes from the attempt that is told. */
static int32_t attempt_over(const follower *f)
{
    if (f->view.attempt > f->teller.attempt || is_over(f->view.status))
        return 1;
    return f->view.attempt == f->teller.attempt &&
           f->view.status != EXECUTR_JOB_RUNNING;
}

static executr_status tell_ended(follower *f, executr_error *err)
{
    executr_store *store = f->queue->store;
    ex_buf out[2];

    for (int i = 0; i < 2; i++)
        ex_buf_init(&out[i], EX_BUF_UNLIMITED);
    executr_status st = ex_queue_note(
        f->queue,
        store->ops->attempt_output(store, &f->id, f->teller.attempt, out, err));
    for (int i = 0; !st && i < 2; i++) {
        if (out[i].length)
            st = ex_tell_rest(
                &f->teller, &f->teller.told[i], out[i].data, out[i].length,
                err);
    }
    for (int i = 0; i < 2; i++)
        ex_buf_clear(&out[i]);
    return st;
}

static void begin_attempt(follower *f, int32_t attempt)
{
    f->teller.attempt = attempt;
    f->pause_ms = PAUSE_FIRST_MS;
    for (int i = 0; i < 2; i++)
        ex_told_begin(&f->teller.told[i], 0);
}

/* The attempt ended; *over is 1 if that was the last one. */
static executr_status end_attempt(
    follower *f, int32_t *over, executr_error *err)
{
    executr_status st = tell_ended(f, err);
    if (st)
        return executr_status_retriable(st) ? EXECUTR_OK : st;
    *over = is_over(f->view.status) && f->view.attempt <= f->teller.attempt;
    if (!*over)
        begin_attempt(f, f->teller.attempt + 1);
    return EXECUTR_OK;
}

static executr_status pause_a_while(follower *f, executr_error *err)
{
    struct timespec pause = {0, f->pause_ms * 1000000};
    executr_queue *queue = f->queue;

    if (f->request->idle && f->request->idle(f->request->ctx))
        return ex_fail(err, EXECUTR_E_CANCELLED, "following was given up");
    pthread_mutex_lock(&queue->lock);
    int32_t draining = queue->draining;
    pthread_mutex_unlock(&queue->lock);
    if (draining)
        return ex_fail(err, EXECUTR_E_UNAVAILABLE, "the queue is closing");
    nanosleep(&pause, NULL);
    f->pause_ms = f->pause_ms * 3 / 2;
    if (f->pause_ms > PAUSE_LONGEST_MS)
        f->pause_ms = PAUSE_LONGEST_MS;
    return EXECUTR_OK;
}

/* One look and what comes of it. */
static executr_status step(follower *f, int32_t *over, executr_error *err)
{
    int32_t seen = 0;
    int32_t told = 0;

    executr_status st = look_patiently(f, &seen, err);
    if (!st && seen)
        st = tell_pieces(f, &told, err);
    if (st || told)
        return st;
    int32_t attempt = f->teller.attempt;
    if (seen && attempt_over(f))
        st = end_attempt(f, over, err);
    if (st || *over || attempt != f->teller.attempt)
        return st;
    return pause_a_while(f, err);
}

static executr_status begin(follower *f, executr_error *err)
{
    const executr_follow *request = f->request;
    int32_t streams = request->streams ? request->streams : 6;

    executr_status st = look(f, err);
    if (st)
        return st;
    int32_t pending = f->view.status == EXECUTR_JOB_PENDING;
    begin_attempt(
        f, request->attempt ? request->attempt : f->view.attempt + pending);
    for (int i = 0; i < 2; i++) {
        ex_told *told = &f->teller.told[i];
        told->stream = streams & 2 << i ? i + 1 : 0;
        ex_told_begin(
            told, i ? request->stderr_offset : request->stdout_offset);
    }
    return EXECUTR_OK;
}

executr_status executr_queue_follow(
    executr_queue *queue, executr_follow *follow, executr_error *err)
{
    follower f = {.queue = queue, .request = follow};
    int32_t over = 0;

    executr_status st = check(follow, err);
    if (!st)
        st = ex_queue_id(follow->job_id, &f.id, err);
    if (st)
        return st;
    f.teller.write = follow->write;
    f.teller.ctx = follow->ctx;
    ex_view_init(&f.view);
    st = begin(&f, err);
    int32_t begun = !st;
    while (!st && !over)
        st = step(&f, &over, err);
    if (begun) {
        follow->attempt = f.teller.attempt;
        follow->stdout_offset = f.teller.told[0].next;
        follow->stderr_offset = f.teller.told[1].next;
    }
    ex_view_clear(&f.view);
    return st;
}
