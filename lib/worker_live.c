/* SPDX-License-Identifier: MIT */
/*
 * Live output: while the source says that a job is followed, what its program
 * prints is put there piece by piece, out of what the runner captures anyway.
 * A job is looked at a few times a second and one piece is under way at a
 * time, so output that comes faster than that is skipped, and neither the
 * program nor memory knows of its readers.
 */
#include "worker.h"

#include <stdio.h>

#include "base/log.h"
#include "base/time.h"

#define PIECE ((size_t)256 * 1024) /* of a stream, at most, each time */
#define PACE_US (INT64_C(200) * 1000)
#define RETRY_US (INT64_C(1000) * 1000)

void ex_work_follow(executr_worker *worker, ex_work *work, int32_t followed)
{
    /* Whoever comes after a while in which nobody was there wants all. */
    if (followed && !work->followed) {
        work->put_next[0] = 0;
        work->put_next[1] = 0;
        work->put_at_us = 0;
    }
    work->followed = followed;
    if (followed)
        worker->live = 1;
}

/* The one that waits longest; NULL: none is followed. */
static ex_work *find_next(const executr_worker *worker)
{
    ex_work *next = NULL;

    ex_work *work = worker->lists[EX_WORK_RUNNING].first;
    for (; work; work = work->after) {
        if (work->followed && (!next || work->put_at_us < next->put_at_us))
            next = work;
    }
    return next;
}

int64_t ex_worker_live_due_us(const executr_worker *worker)
{
    if (!worker->live || worker->putting || worker->leaving)
        return EX_NEVER_US;
    const ex_work *next = find_next(worker);
    return next ? next->put_at_us : 0;
}

static void stop_living(executr_worker *worker)
{
    ex_free(worker->piece);
    worker->piece = NULL;
    worker->live = 0;
}

/* The next piece of one stream; both have had their turn before the job has to
 * wait. 0: there is nothing new. */
static size_t take_piece(executr_worker *worker, ex_work *work, int64_t now_us)
{
    executr_output *output = &worker->output;
    int32_t stream = work->put_turn;

    work->put_turn = !stream;
    if (stream == 1)
        work->put_at_us = now_us + PACE_US;
    *output = (executr_output)EXECUTR_OUTPUT_INIT;
    output->stream = stream + 1;
    output->data = worker->piece;
    output->length = executr_runner_output(
        worker->runner, work->token, output->stream, work->put_next[stream],
        worker->piece, PIECE, &output->offset);
    return output->length;
}

static void put(executr_worker *worker, ex_work *work)
{
    executr_output *output = &worker->output;
    executr_error err = {0};

    snprintf(worker->put_job_id, sizeof worker->put_job_id, "%s", work->job_id);
    output->job_id = worker->put_job_id;
    output->attempt = work->attempt;
    worker->put_token = work->token;
    worker->putting = 1;
    executr_status st =
        worker->source->ops->output(worker->source, worker->id, output, &err);
    if (st)
        ex_worker_put(worker, st, 0, &err);
}

void ex_worker_live(executr_worker *worker, int64_t now_us)
{
    executr_error err;
    void *memory = NULL;

    while (ex_worker_live_due_us(worker) <= now_us) {
        ex_work *work = find_next(worker);
        if (!work) {
            stop_living(worker);
            return;
        }
        if (!worker->piece && ex_alloc(&memory, PIECE, &err)) {
            work->put_at_us = now_us + RETRY_US;
            return;
        }
        if (!worker->piece)
            worker->piece = memory;
        if (take_piece(worker, work, now_us) > 0)
            put(worker, work);
    }
}

static ex_work *find_put(const executr_worker *worker)
{
    ex_work *work = worker->works;

    while (work && work->token != worker->put_token)
        work = work->next;
    return work;
}

void ex_worker_put(
    void *ctx, executr_status status, int32_t followed,
    const executr_error *err)
{
    executr_worker *worker = ctx;
    const executr_output *output = &worker->output;
    ex_work *work = find_put(worker);

    worker->putting = 0;
    if (!work)
        return;
    if (!status) {
        work->put_next[output->stream - 1] =
            output->offset + (int64_t)output->length;
        work->followed = followed;
        return;
    }
    ex_log(
        &worker->log, EXECUTR_LOG_DEBUG, "cannot send live output", "job_id",
        work->job_id, "code", executr_status_word(status), "error",
        err->message, NULL);
    /* Not to be told again: the next heartbeat says why, or asks anew. */
    if (!executr_status_retriable(status))
        work->followed = 0;
    work->put_at_us = ex_boottime_us() + RETRY_US;
}
