/* SPDX-License-Identifier: MIT */
/* Hands records and figures as whole JSON texts to a caller's sink. */
#include "job.h"

#include <executr/request.h>

#include "base/fail.h"
#include "base/time.h"

/* Most jobs are shorter. */
#define JOB_BYTES 1000

/* Give a finished text away and free it. */
static executr_status give(
    ex_buf *text, executr_write write, void *ctx, executr_error *err)
{
    executr_status st = ex_buf_status(text, "a JSON text", err);
    if (!st && write(ctx, text->data, text->length))
        st = ex_fail(
            err, EXECUTR_E_CALLBACK, "the caller stopped the JSON text");
    ex_buf_clear(text);
    return st;
}

static void begin(ex_json_writer *w, ex_buf *text)
{
    ex_buf_init(text, EX_BUF_UNLIMITED);
    ex_json_begin(w, text);
}

executr_status executr_job_json(
    const executr_job *job, int32_t parts, executr_write write, void *ctx,
    executr_error *err)
{
    ex_buf text;
    ex_json_writer w;

    if (!job)
        return ex_fail_field(err, "job", "there is no job to write");
    begin(&w, &text);
    ex_buf_reserve(&text, JOB_BYTES);
    ex_job_write(job, parts, &w);
    return give(&text, write, ctx, err);
}

executr_status executr_stats_json(
    const executr_stats *stats, executr_write write, void *ctx,
    executr_error *err)
{
    ex_buf text;
    ex_json_writer w;

    begin(&w, &text);
    ex_stats_write(stats, &w);
    return give(&text, write, ctx, err);
}

executr_status executr_executors_json(
    const executr_executors *executors, executr_write write, void *ctx,
    executr_error *err)
{
    ex_buf text;
    ex_json_writer w;

    begin(&w, &text);
    ex_json_open(&w, '[');
    for (size_t i = 0; i < executr_executors_count(executors); i++)
        ex_executor_write(&executors->items[i], &w);
    ex_json_close(&w, ']');
    return give(&text, write, ctx, err);
}

/* The ids of the leases with one of two verdicts. */
static void write_leases(
    const char *name, const executr_heartbeat *heartbeat, int32_t verdict,
    int32_t or_verdict, ex_json_writer *w)
{
    ex_json_key(w, name);
    ex_json_open(w, '[');
    for (size_t i = 0; i < heartbeat->lease_count; i++) {
        const executr_lease *lease = &heartbeat->leases[i];
        if (lease->verdict == verdict || lease->verdict == or_verdict)
            ex_json_put_string(w, lease->job_id);
    }
    ex_json_close(w, ']');
}

/* Left out where there is nothing to say: older executors don't know it. */
static int32_t anyone_follows(const executr_heartbeat *heartbeat)
{
    for (size_t i = 0; i < heartbeat->lease_count; i++) {
        if (heartbeat->leases[i].verdict == EXECUTR_LEASE_FOLLOWED)
            return 1;
    }
    return 0;
}

executr_status executr_heartbeat_json(
    const executr_heartbeat *heartbeat, executr_write write, void *ctx,
    executr_error *err)
{
    ex_buf text;
    ex_json_writer w;
    char lease[32];

    begin(&w, &text);
    ex_json_open(&w, '{');
    write_leases(
        "cancel", heartbeat, EXECUTR_LEASE_CANCEL, EXECUTR_LEASE_CANCEL, &w);
    write_leases(
        "lost", heartbeat, EXECUTR_LEASE_LOST, EXECUTR_LEASE_UNKNOWN, &w);
    if (heartbeat->lease_ms > 0) {
        ex_duration_format(heartbeat->lease_ms, lease, sizeof lease);
        ex_json_add_string(&w, "lease", lease);
    }
    if (anyone_follows(heartbeat))
        write_leases(
            "follow", heartbeat, EXECUTR_LEASE_FOLLOWED, EXECUTR_LEASE_FOLLOWED,
            &w);
    ex_json_close(&w, '}');
    return give(&text, write, ctx, err);
}

/* Why a report was not taken, for people. */
static const char *refusal(executr_status status)
{
    switch (status) {
    case EXECUTR_E_LOST:
        return "this is not the executor's current attempt of the job; drop it";
    case EXECUTR_E_NOT_FOUND:
        return "there is no such job";
    case EXECUTR_E_TOO_LARGE:
        return "its output is larger than this server takes";
    case EXECUTR_E_ARGUMENT:
        return "the report is invalid";
    default:
        return "the report could not be recorded";
    }
}

executr_status executr_report_results_json(
    const executr_request *request, const executr_status *results,
    executr_write write, void *ctx, executr_error *err)
{
    ex_buf text;
    ex_json_writer w;

    begin(&w, &text);
    ex_json_open(&w, '{');
    ex_json_key(&w, "results");
    ex_json_open(&w, '[');
    for (size_t i = 0; i < executr_request_count(request); i++) {
        const executr_report *report = executr_request_report(request, i);
        if (!report)
            continue;
        ex_json_open(&w, '{');
        ex_json_add_string(&w, "id", report->job_id);
        ex_json_add_bool(&w, "accepted", results[i] == EXECUTR_OK);
        if (results[i]) {
            ex_json_add_string(&w, "code", executr_status_word(results[i]));
            ex_json_add_string(&w, "error", refusal(results[i]));
        }
        ex_json_close(&w, '}');
    }
    ex_json_close(&w, ']');
    ex_json_close(&w, '}');
    return give(&text, write, ctx, err);
}
