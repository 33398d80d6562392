/* SPDX-License-Identifier: MIT */
/*
 * Held jobs from claim to end: fetch, start, stop. Hides whose fault it is when
 * one can't run: the job's (reported as failed), or this machine's (given back
 * to be run elsewhere).
 */
#include "worker.h"

#include <stdio.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"
#include "cache.h"
#include "retry.h"
#include "runner.h"

/* Tries of a fetch or a start that failed for want of network or machine. */
#define TRIES 6
#define BACKOFF_MS 200
#define LONGEST_BACKOFF_MS 5000

static ex_work *find(
    const executr_worker *worker, int32_t state, uint64_t token)
{
    ex_work *work = worker->lists[state].first;

    while (work && work->token != token)
        work = work->after;
    return work;
}

static void leave_batch(ex_work *work)
{
    ex_batch *batch = work->batch;

    work->batch = NULL;
    work->job = NULL;
    if (batch && --batch->users == 0) {
        executr_jobs_free(batch->jobs);
        ex_free(batch);
    }
}

static size_t output_of(const ex_work *work)
{
    return work->report.stdout_length + work->report.stderr_length;
}

void ex_work_free(executr_worker *worker, ex_work *work)
{
    if (work->state == EX_WORK_FETCHING)
        ex_fetcher_cancel(&worker->fetcher, work->token);
    if (work->state == EX_WORK_ENDED)
        worker->ended_bytes -= output_of(work);
    ex_work_remove(worker, work);
    worker->spooled -= work->spooled != 0;
    leave_batch(work);
    executr_pin_free(work->pin);
    ex_free(work->out);
    ex_free(work->err);
    ex_free(work->message);
    ex_free(work);
}

void ex_work_release(executr_worker *worker, ex_work *work)
{
    if (work->state == EX_WORK_FETCHING)
        ex_fetcher_cancel(&worker->fetcher, work->token);
    leave_batch(work);
    executr_pin_free(work->pin);
    work->pin = NULL;
    ex_work_move(worker, work, EX_WORK_ENDED);
    worker->ended_bytes += output_of(work);
}

/* Try again later: 1, or 0 when it was tried often enough. */
static int try_later(executr_worker *worker, ex_work *work)
{
    ex_work_move(worker, work, EX_WORK_WAITING);
    if (++work->tries >= TRIES)
        return 0;
    int64_t delay = ex_reconnect_delay_ms(
        work->tries, BACKOFF_MS, LONGEST_BACKOFF_MS, ex_worker_random(worker));
    work->due_us = ex_boottime_us() + delay * 1000;
    return 1;
}

void ex_work_return(executr_worker *worker, ex_work *work, const char *message)
{
    ex_log(
        &worker->log, EXECUTR_LOG_INFO, "giving a job back", "job_id",
        work->job_id, "attempt", EX_I64(work->attempt), "error", message, NULL);
    work->returned = 1;
    ex_work_failed(worker, work, EXECUTR_OUTCOME_NONE, message);
}

void ex_work_machine_failed(
    executr_worker *worker, ex_work *work, const executr_error *err)
{
    /* Others may have what it takes: out of service, we keep none waiting. */
    int out =
        ex_worker_leave_service(worker, ex_worker_machine_ready, err->message);
    if (!out && try_later(worker, work))
        return;
    if (!out)
        ex_worker_pause(worker, err->message);
    ex_work_return(worker, work, err->message);
}

/* Whether the network or a server may do better at another time. */
static int may_pass(executr_status status)
{
    return executr_status_retriable(status) || status == EXECUTR_E_AUTH ||
           status == EXECUTR_E_INTERNAL || status == EXECUTR_E_CALLBACK;
}

/*
 * A binary that the server itself keeps can't be had while that is away, which
 * is not the job's fault: it waits as long as it is held, and whether it still
 * is, the server says when it is back. Of one that stays silent it is not held.
 */
static int is_outage(const ex_work *work, executr_status status)
{
    return executr_status_retriable(status) &&
           !executr_job_binary_url(work->job)[0];
}

static void await_server(
    executr_worker *worker, ex_work *work, const executr_error *err)
{
    ex_log(
        &worker->log, work->tries == 0 ? EXECUTR_LOG_WARN : EXECUTR_LOG_DEBUG,
        "cannot fetch a binary from the server, trying again", "job_id",
        work->job_id, "error", err->message, NULL);
    if (work->tries < TRIES - 1)
        work->tries++;
    int64_t delay = ex_reconnect_delay_ms(
        work->tries, BACKOFF_MS, worker->options.poll_interval_ms,
        ex_worker_random(worker));
    work->due_us = ex_boottime_us() + delay * 1000;
}

/* Who can't open a file or get memory can't judge a network either, and says
 * that a server does not answer. What a server did say is no shortage. */
static int is_shortage(executr_worker *worker, executr_status status)
{
    executr_error err;

    if (status == EXECUTR_E_IO || status == EXECUTR_E_NOMEM)
        return 1;
    return status != EXECUTR_E_NOT_FOUND && status != EXECUTR_E_MISMATCH &&
           status != EXECUTR_E_TOO_LARGE &&
           ex_worker_machine_ready(worker, &err) != EXECUTR_OK;
}

static void fetch_failed(
    executr_worker *worker, ex_work *work, executr_status status,
    const executr_error *err)
{
    char message[560];

    ex_work_move(worker, work, EX_WORK_WAITING);
    if (is_shortage(worker, status)) {
        ex_work_machine_failed(worker, work, err);
        return;
    }
    if (is_outage(work, status)) {
        await_server(worker, work, err);
        return;
    }
    if (may_pass(status) && try_later(worker, work))
        return;
    snprintf(
        message, sizeof message, "cannot fetch its binary: %s", err->message);
    ex_work_failed(worker, work, EXECUTR_OUTCOME_FETCH_FAILED, message);
}

/* Only a look at what is verified already is for the loop; what has to be read
 * or fetched is for a thread. */
static void fetch(executr_worker *worker, ex_work *work)
{
    executr_error err = {0};
    const char *sha256 = executr_job_binary_sha256(work->job);
    executr_status st =
        executr_cache_peek(worker->cache, sha256, &work->pin, &err);

    if (!st && !work->pin) {
        st = ex_fetcher_start(
            &worker->fetcher, work->token, sha256,
            executr_job_binary_url(work->job), &err);
        if (!st)
            ex_work_move(worker, work, EX_WORK_FETCHING);
        work->since_us = ex_boottime_us();
    }
    if (st)
        fetch_failed(worker, work, st, &err);
    else if (work->pin)
        ex_work_ready(worker, work);
}

/* Its lease may be another's soon. If it ended by itself in time, on_end still
 * finds its own end. */
static void expire(executr_worker *worker, ex_work *work)
{
    ex_log(
        &worker->log, EXECUTR_LOG_WARN,
        "an exclusive job is killed: its lease could not be renewed", "job_id",
        work->job_id, "attempt", EX_I64(work->attempt), NULL);
    work->returned = 1;
    executr_runner_stop(worker->runner, work->token, EXECUTR_OUTCOME_LOST, 0);
}

/* Why it can never be started here; NULL: it can. */
static const char *refusal(executr_worker *worker, ex_work *work)
{
    if (work->exclusive && !worker->lease_us) {
        work->returned = 1;
        return "the server does not say how long a lease lasts, so an "
               "exclusive job can't be run here; update the server";
    }
    if (!ex_worker_can_give(worker, work->job))
        return "this executor can't give the limits or the isolation it asks "
               "for";
    return NULL;
}

/* It waited with its binary at hand, and somebody changed that meanwhile: a
 * thread looks at it again, and fetches it if need be. */
static void fetch_anew(executr_worker *worker, ex_work *work)
{
    executr_pin_free(work->pin);
    work->pin = NULL;
    fetch(worker, work);
}

void ex_work_resume(executr_worker *worker, ex_work *work)
{
    if (!work->pin)
        fetch(worker, work);
    else if (!ex_pin_unchanged(work->pin))
        fetch_anew(worker, work);
    else if (work->state == EX_WORK_READY)
        ex_work_start(worker, work);
    else
        ex_work_ready(worker, work);
}

static void go_on(executr_worker *worker, ex_work *work)
{
    const char *why = refusal(worker, work);

    if (why && work->returned) {
        ex_work_return(worker, work, why);
        ex_worker_pause(worker, why);
    } else if (why) {
        ex_work_failed(worker, work, EXECUTR_OUTCOME_EXEC_FAILED, why);
    } else {
        ex_work_resume(worker, work);
    }
}

/* Whom nobody told in time that a job is theirs has none to wait with. */
static int give_back_unheard(
    executr_worker *worker, ex_work *work, int64_t now_us)
{
    if (ex_work_unheard_us(worker, work) > now_us)
        return 0;
    ex_work_return(worker, work, "no heartbeat said that it is ours");
    return 1;
}

void ex_works_due(executr_worker *worker, int64_t now_us)
{
    ex_work *work = worker->lists[EX_WORK_RUNNING].first;

    for (; work; work = work->after) {
        if (ex_work_expiry_us(worker, work) <= now_us)
            expire(worker, work);
    }
    work = worker->lists[EX_WORK_FETCHING].first;
    while (work) {
        ex_work *next = work->after;
        ex_ignore(give_back_unheard(worker, work, now_us));
        work = next;
    }
    work = worker->lists[EX_WORK_WAITING].first;
    while (work) {
        ex_work *next = work->after;
        if (!give_back_unheard(worker, work, now_us) && work->due_us <= now_us)
            go_on(worker, work);
        work = next;
    }
}

static int64_t unstarted_due_us(const executr_worker *worker, int32_t state)
{
    int64_t due = EX_NEVER_US;
    const ex_work *work = worker->lists[state].first;

    for (; work; work = work->after) {
        int64_t unheard = ex_work_unheard_us(worker, work);
        due = unheard < due ? unheard : due;
        if (state == EX_WORK_WAITING && work->due_us < due)
            due = work->due_us;
    }
    return due;
}

int64_t ex_works_due_us(const executr_worker *worker)
{
    int64_t due = unstarted_due_us(worker, EX_WORK_WAITING);
    int64_t fetching = unstarted_due_us(worker, EX_WORK_FETCHING);
    const ex_work *work = worker->lists[EX_WORK_RUNNING].first;

    due = fetching < due ? fetching : due;
    for (; work; work = work->after) {
        int64_t expiry = ex_work_expiry_us(worker, work);
        due = expiry < due ? expiry : due;
    }
    return due;
}

static executr_status take(
    executr_worker *worker, ex_batch *batch, const executr_job *job,
    int64_t sent_us, executr_error *err)
{
    void *memory;

    executr_status st = ex_alloc(&memory, sizeof(ex_work), err);
    if (st)
        return st;
    ex_work *work = memory;
    work->token = ++worker->tokens;
    work->attempt = executr_job_attempt(job);
    work->exclusive = executr_job_exclusive(job);
    snprintf(work->job_id, sizeof work->job_id, "%s", executr_job_id(job));
    work->renewed_us = sent_us;
    work->taken_us = ex_boottime_us();
    work->batch = batch;
    work->job = job;
    batch->users++;
    ex_work_add(worker, work);
    if (worker->stopping)
        ex_work_return(worker, work, EX_STOPPING);
    else if (!ex_worker_in_service(worker))
        ex_work_return(worker, work, worker->reason);
    else if (worker->spooler.broken)
        ex_work_return(worker, work, "its result could not be spooled here");
    else
        go_on(worker, work);
    return EXECUTR_OK;
}

void ex_worker_take(executr_worker *worker, executr_jobs *jobs, int64_t sent_us)
{
    executr_error err = {0};
    void *memory = NULL;
    size_t count = executr_jobs_count(jobs);

    if (count == 0 || ex_alloc(&memory, sizeof(ex_batch), &err)) {
        executr_jobs_free(jobs);
        return;
    }
    ex_batch *batch = memory;
    batch->jobs = jobs;
    batch->users = 1; /* us */
    for (size_t i = 0; i < count; i++) {
        /* One that can't be held is not renewed either, and so goes back. */
        if (take(worker, batch, executr_jobs_at(jobs, i), sent_us, &err))
            ex_log(
                &worker->log, EXECUTR_LOG_ERROR, "cannot hold a claimed job",
                "job_id", executr_job_id(executr_jobs_at(jobs, i)), "error",
                err.message, NULL);
    }
    if (--batch->users == 0) {
        executr_jobs_free(jobs);
        ex_free(batch);
    }
}

void ex_worker_fetched(executr_worker *worker)
{
    ex_fetch *done = ex_fetcher_take(&worker->fetcher);

    for (; done; done = ex_fetcher_take(&worker->fetcher)) {
        ex_work *work = find(worker, EX_WORK_FETCHING, done->token);
        /* It may have been given up meanwhile. */
        if (work) {
            ex_work_move(worker, work, EX_WORK_WAITING);
            work->pin = done->pin;
            done->pin = NULL;
            work->due_us = 0;
            if (done->status)
                fetch_failed(worker, work, done->status, &done->err);
            else /* if it is still what the thread found */
                ex_work_resume(worker, work);
        }
        ex_fetch_free(done);
    }
}

static void on_end(void *ctx, uint64_t token, const executr_result *result)
{
    executr_worker *worker = ctx;
    ex_work *work = find(worker, EX_WORK_RUNNING, token);

    if (!work)
        return;
    ex_worker_ran(worker, (int64_t)(executr_result_wall_seconds(result) * 1e6));
    if (work->dropped) {
        ex_work_free(worker, work);
    } else if (result->lease_lost) {
        ex_work_return(worker, work, "its lease could not be renewed");
    } else {
        work->returned = 0; /* its own end came before the kill: it counts */
        ex_work_ended(worker, work, result);
    }
}

executr_status ex_worker_run_programs(
    executr_worker *worker, executr_error *err)
{
    return executr_runner_step(worker->runner, 0, on_end, worker, err);
}

void ex_work_cancel(executr_worker *worker, ex_work *work)
{
    if (work->state == EX_WORK_RUNNING)
        executr_runner_stop(
            worker->runner, work->token, EXECUTR_OUTCOME_CANCELLED, -1);
    else if (work->state != EX_WORK_ENDED)
        ex_work_failed(worker, work, EXECUTR_OUTCOME_CANCELLED, "cancelled");
}

void ex_work_drop(executr_worker *worker, ex_work *work)
{
    if (work->state != EX_WORK_RUNNING) {
        ex_work_free(worker, work);
        return;
    }
    work->dropped = 1;
    executr_runner_stop(worker->runner, work->token, EXECUTR_OUTCOME_LOST, 0);
}
