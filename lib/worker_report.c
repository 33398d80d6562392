/* SPDX-License-Identifier: MIT */
/*
 * Reports: how a job ended, told again and again until it is taken. Everything
 * that ended while a call was under way goes with the next.
 */
#include "worker.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"
#include "retry.h"

#define MOST_BYTES ((size_t)8 * 1024 * 1024)
#define BACKOFF_MS 100
#define LONGEST_BACKOFF_MS 5000
#define PACE_US (3 * 1000)

static executr_status copy(
    char **out, const void *data, size_t length, executr_error *err)
{
    void *memory = NULL;

    executr_status st = ex_alloc(&memory, length + 1, err);
    if (!st && length > 0)
        memcpy(memory, data, length);
    *out = memory;
    return st;
}

/* The message and the job become the report's; then it is ENDED. */
static void end(executr_worker *worker, ex_work *work, const char *message)
{
    executr_report *report = &work->report;
    executr_error err;

    if (ex_strdup(&work->message, message, &err))
        ex_log(
            &worker->log, EXECUTR_LOG_ERROR, "a message was lost", "job_id",
            work->job_id, "error", err.message, NULL);
    report->struct_size = sizeof *report;
    report->job_id = work->job_id;
    report->attempt = work->attempt;
    report->uncounted = work->returned;
    report->error_message = work->message ? work->message : "out of memory";
    ex_work_release(worker, work);
}

void ex_work_failed(
    executr_worker *worker, ex_work *work, int32_t outcome, const char *message)
{
    work->report.status = EXECUTR_ATTEMPT_FAILED;
    work->report.outcome = outcome;
    if (!work->returned)
        ex_log(
            &worker->log, EXECUTR_LOG_INFO, "job failed", "job_id",
            work->job_id, "attempt", EX_I64(work->attempt), "outcome",
            executr_outcome_word(outcome), "error", message, NULL);
    end(worker, work, message);
}

static void take_usage(executr_report *report, const executr_result *result)
{
    report->user_seconds = executr_result_user_seconds(result);
    report->system_seconds = executr_result_system_seconds(result);
    report->wall_seconds = executr_result_wall_seconds(result);
    report->max_rss_bytes = executr_result_max_rss_bytes(result);
}

/* Output that there is no memory for is given up; the end is not. */
static void take_output(
    executr_worker *worker, ex_work *work, const executr_result *result)
{
    executr_report *report = &work->report;
    executr_error err;
    size_t out_length;
    size_t err_length;
    const char *out_data = executr_result_stdout(result, &out_length);
    const char *err_data = executr_result_stderr(result, &err_length);

    if (copy(&work->out, out_data, out_length, &err) ||
        copy(&work->err, err_data, err_length, &err)) {
        ex_log(
            &worker->log, EXECUTR_LOG_ERROR, "output was lost", "job_id",
            work->job_id, "error", err.message, NULL);
        return;
    }
    report->stdout_data = work->out;
    report->stdout_length = out_length;
    report->stderr_data = work->err;
    report->stderr_length = err_length;
}

void ex_work_ended(
    executr_worker *worker, ex_work *work, const executr_result *result)
{
    executr_report *report = &work->report;
    char message[48];
    int32_t code = 0;

    report->outcome = executr_result_outcome(result);
    report->has_exit_code = executr_result_exit_code(result, &code);
    report->exit_code = code;
    report->signal = executr_result_signal(result);
    take_usage(report, result);
    take_output(worker, work, result);
    if (report->outcome != EXECUTR_OUTCOME_EXIT) {
        ex_work_failed(
            worker, work, report->outcome, executr_result_message(result));
    } else if (code != 0) {
        const char *why = executr_result_message(result);
        snprintf(message, sizeof message, "exited with code %d", code);
        ex_work_failed(
            worker, work, EXECUTR_OUTCOME_EXIT, why[0] ? why : message);
    } else {
        report->status = EXECUTR_ATTEMPT_COMPLETED;
        ex_log(
            &worker->log, EXECUTR_LOG_DEBUG, "job completed", "job_id",
            work->job_id, "attempt", EX_I64(work->attempt), NULL);
        end(worker, work, "");
    }
}

/* Pick what goes with the next call, the first that ended first. */
static size_t gather(executr_worker *worker)
{
    size_t count = 0;
    size_t bytes = 0;
    ex_work *work = worker->lists[EX_WORK_ENDED].first;

    for (; work && count < worker->report_limit; work = work->after) {
        const executr_report *report = &work->report;
        size_t size = report->stdout_length + report->stderr_length;
        if (count > 0 && bytes + size > MOST_BYTES)
            break;
        bytes += size;
        work->reporting = 1;
        worker->reported[count] = work;
        worker->reports[count] = report;
        count++;
    }
    return count;
}

/* The call did not come through: everything in it is to be told again. */
static void keep_all(executr_worker *worker, size_t count)
{
    for (size_t i = 0; i < count; i++)
        worker->reported[i]->reporting = 0;
    worker->reporting = 0;
}

int ex_report_blames_one(executr_status status)
{
    return status == EXECUTR_E_ARGUMENT || status == EXECUTR_E_TOO_LARGE ||
           status == EXECUTR_E_UNSUPPORTED;
}

static void try_again(
    executr_worker *worker, executr_status status, const executr_error *err)
{
    int64_t delay = ex_reconnect_delay_ms(
        worker->report_failures, BACKOFF_MS, LONGEST_BACKOFF_MS,
        ex_worker_random(worker));

    ex_log(
        &worker->log,
        worker->report_failures == 0 ? EXECUTR_LOG_WARN : EXECUTR_LOG_DEBUG,
        "cannot report jobs, trying again", "code", executr_status_word(status),
        "error", err->message, NULL);
    if (worker->report_failures < 30)
        worker->report_failures++;
    worker->report_at_us = ex_boottime_us() + delay * 1000;
}

/*
 * Some refusals are for good and may be one report's fault alone: ask for less
 * at a time, until the one that is refused stands alone and is given up.
 */
static void refused(
    executr_worker *worker, executr_status status, size_t count,
    const executr_error *err)
{
    int blames_one = ex_report_blames_one(status);

    keep_all(worker, count);
    if (blames_one && count == 1) {
        ex_log(
            &worker->log, EXECUTR_LOG_ERROR,
            "the report of a job is refused and given up", "job_id",
            worker->reported[0]->job_id, "error", err->message, NULL);
        ex_work_free(worker, worker->reported[0]);
        return;
    }
    if (blames_one)
        worker->report_limit = count / 2;
    try_again(worker, status, err);
}

void ex_worker_send(executr_worker *worker, size_t count)
{
    executr_error err = {0};

    for (size_t i = 0; i < count; i++)
        worker->reported[i]->reporting = 1;
    executr_status st = worker->source->ops->report(
        worker->source, worker->id, worker->reports, count, &err);
    if (st)
        refused(worker, st, count, &err);
}

/* Results of dead executors have waited longest, but must not keep ours. */
static int is_their_turn(executr_worker *worker)
{
    if (!ex_worker_has_adopted(worker))
        return 0;
    worker->report_turn = !worker->report_turn;
    return worker->report_turn || worker->lists[EX_WORK_ENDED].count == 0;
}

int ex_worker_may_report(const executr_worker *worker)
{
    return !worker->reporting && !worker->leaving && !worker->woke_us &&
           !worker->spooler.busy &&
           (worker->lists[EX_WORK_ENDED].count > 0 ||
            ex_worker_has_adopted(worker));
}

void ex_worker_report(executr_worker *worker, int64_t now_us)
{
    if (!ex_worker_may_report(worker) || worker->report_at_us > now_us)
        return;
    if (is_their_turn(worker)) {
        ex_worker_send_adopted(worker);
        return;
    }
    size_t count = gather(worker);
    worker->reporting = 1;
    if (!ex_worker_spool(worker, count))
        ex_worker_send(worker, count);
}

static void report_later(executr_worker *worker)
{
    worker->report_at_us =
        ex_boottime_us() + LONGEST_BACKOFF_MS * INT64_C(1000);
}

static void judge(executr_worker *worker, ex_work *work, executr_status status)
{
    work->reporting = 0;
    if (executr_status_retriable(status) || status == EXECUTR_E_INTERNAL) {
        report_later(worker);
        return;
    }
    if (status)
        ex_log(
            &worker->log,
            status == EXECUTR_E_LOST || status == EXECUTR_E_NOT_FOUND
                ? EXECUTR_LOG_INFO
                : EXECUTR_LOG_ERROR,
            "the end of a job does not count", "job_id", work->job_id,
            "attempt", EX_I64(work->attempt), "code",
            executr_status_word(status), NULL);
    ex_work_free(worker, work);
}

void ex_worker_reported(
    void *ctx, executr_status status, const executr_status *results,
    size_t count, const executr_error *err)
{
    executr_worker *worker = ctx;
    int later = 0;
    int adopted =
        ex_worker_adopted_reported(worker, status, results, err, &later);

    if (adopted)
        worker->reporting = 0;
    if (adopted && status && later)
        try_again(worker, status, err);
    else if (adopted && later)
        report_later(worker);
    else if (!adopted && status)
        refused(worker, status, count, err);
    if (!status && worker->report_failures > 0)
        ex_log(&worker->log, EXECUTR_LOG_INFO, "reporting jobs again", NULL);
    if (!status)
        worker->report_failures = 0;
    if (adopted || status)
        return;
    worker->reporting = 0;
    if (worker->report_limit < EX_REPORTS_PER_CALL)
        worker->report_limit++;
    /* Where jobs stand in line the next call may as well take several. */
    if (worker->lists[EX_WORK_READY].count > 0)
        worker->report_at_us = ex_boottime_us() + PACE_US;
    for (size_t i = 0; i < count; i++)
        judge(worker, worker->reported[i], results[i]);
}
