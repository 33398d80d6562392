/* SPDX-License-Identifier: MIT */
/*
 * The bodies executors send about jobs they have: ends and heartbeats. Their
 * outputs are any bytes, as a string or in base64.
 */
#include "request_body.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/fail.h"

/* Name the element in an error about one of its fields. */
static executr_status in_element(
    executr_status status, const char *array, size_t i, executr_error *err)
{
    if (!status || !err)
        return status;
    executr_error own = *err;
    char field[64];
    (void)snprintf(
        field, sizeof field, "%s[%zu]%s%s", array, i, *own.field ? "." : "",
        own.field);
    ex_ignore(ex_fail_field(err, field, "%s[%zu]: %s", array, i, own.message));
    err->status = status;
    return status;
}

static executr_status read_executor(
    const ex_json *object, const char **id, executr_error *err)
{
    executr_status st = ex_json_read_string(object, "executor_id", id, err);
    return st ? st : ex_executor_id_check(*id, err);
}

static executr_status decode_output(
    const ex_json *value, const char *name, ex_arena *arena, const void **data,
    size_t *length, executr_error *err)
{
    size_t size;

    if (ex_json_type(value) != EX_JSON_STRING)
        return ex_fail_field(err, name, "%s must be a string", name);
    const char *text = ex_json_string(value, &size);
    void *bytes = ex_arena_get(arena, EX_BASE64_DECODED_MAX(size));
    if (!bytes)
        return ex_fail_nomem(err);
    if (ex_base64_decode(text, size, bytes, length))
        return ex_fail_field(err, name, "%s is not valid base64", name);
    *data = bytes;
    return EXECUTR_OK;
}

/* stdout or stderr; of both forms the exact one counts. */
static executr_status read_output(
    const ex_json *object, const char *name, ex_arena *arena, const void **data,
    size_t *length, executr_error *err)
{
    char base64_name[16];

    (void)snprintf(base64_name, sizeof base64_name, "%s_base64", name);
    const ex_json *value = ex_json_get(object, base64_name);
    if (value)
        return decode_output(value, base64_name, arena, data, length, err);
    value = ex_json_get(object, name);
    if (!value)
        return EXECUTR_OK;
    if (ex_json_type(value) != EX_JSON_STRING)
        return ex_fail_field(err, name, "%s must be a string", name);
    *data = ex_json_string(value, length);
    return EXECUTR_OK;
}

static executr_status read_usage(
    const ex_json *object, executr_report *report, executr_error *err)
{
    ex_json *usage = NULL;

    executr_status st =
        ex_json_read_container(object, "usage", EX_JSON_OBJECT, &usage, err);
    if (!st)
        st = ex_json_read_double(
            usage, "user_seconds", &report->user_seconds, err);
    if (!st)
        st = ex_json_read_double(
            usage, "system_seconds", &report->system_seconds, err);
    if (!st)
        st = ex_json_read_double(
            usage, "wall_seconds", &report->wall_seconds, err);
    if (!st)
        st = ex_json_read_i64(
            usage, "max_rss_bytes", 0, INT64_MAX, &report->max_rss_bytes, err);
    return st;
}

static executr_status read_end(
    const ex_json *object, executr_report *report, executr_error *err)
{
    report->has_exit_code = ex_json_get(object, "exit_code") != NULL;
    executr_status st =
        ex_json_read_i32(object, "exit_code", 0, 255, &report->exit_code, err);
    if (!st)
        st = ex_word_read(
            object, "outcome", executr_outcome_parse, &report->outcome, err);
    if (!st)
        st = ex_json_read_i32(
            object, "signal", 0, INT32_MAX, &report->signal, err);
    if (!st)
        st = ex_json_read_bool(object, "uncounted", &report->uncounted, err);
    if (!st)
        st = ex_json_read_string(
            object, "error_message", &report->error_message, err);
    return st;
}

/* A report whose job and status are set already. */
static executr_status read_report(
    const ex_json *object, ex_arena *arena, executr_report *report,
    executr_error *err)
{
    executr_status st = ex_json_read_i32(
        object, "attempt", 1, INT32_MAX, &report->attempt, err);
    if (!st)
        st = read_end(object, report, err);
    if (!st)
        st = read_output(
            object, "stdout", arena, &report->stdout_data,
            &report->stdout_length, err);
    if (!st)
        st = read_output(
            object, "stderr", arena, &report->stderr_data,
            &report->stderr_length, err);
    if (!st)
        st = read_usage(object, report, err);
    return st ? st : ex_report_check(report, arena, report, err);
}

executr_status ex_request_report(
    executr_request *request, const char *id, executr_error *err)
{
    executr_report report = EXECUTR_REPORT_INIT;

    if (!id)
        return ex_fail_field(err, "id", "the path must name a job");
    executr_status st =
        read_executor(request->document, &request->executor_id, err);
    if (st)
        return st;
    report.job_id = id;
    report.status = request->kind == EXECUTR_REQUEST_COMPLETE
                        ? EXECUTR_ATTEMPT_COMPLETED
                        : EXECUTR_ATTEMPT_FAILED;
    st = read_report(request->document, &request->arena, &report, err);
    if (st)
        return st;
    request->reports = ex_arena_get(&request->arena, sizeof report);
    if (!request->reports)
        return ex_fail_nomem(err);
    request->reports[0] = report;
    request->count = 1;
    return EXECUTR_OK;
}

/* The id of an element, required; *id is not NULL before, nor after. */
static executr_status read_id(
    const ex_json *object, const char **id, executr_error *err)
{
    if (ex_json_type(object) != EX_JSON_OBJECT)
        return ex_fail(err, EXECUTR_E_ARGUMENT, "it must be a JSON object");
    executr_status st = ex_json_read_string(object, "id", id, err);
    if (!st && !**id)
        st = ex_fail_field(err, "id", "id is required");
    return st;
}

/* One of many reports, which names its job and its status itself. */
static executr_status read_element(
    const ex_json *object, ex_arena *arena, executr_report *report,
    executr_error *err)
{
    executr_report own = EXECUTR_REPORT_INIT;
    *report = own;
    report->job_id = "";

    executr_status st = read_id(object, &report->job_id, err);
    if (!st)
        st = ex_word_read(
            object, "status", ex_attempt_status_parse, &report->status, err);
    return st ? st : read_report(object, arena, report, err);
}

executr_status ex_request_reports(executr_request *request, executr_error *err)
{
    ex_json *array;

    executr_status st =
        read_executor(request->document, &request->executor_id, err);
    if (!st)
        st = ex_request_array(
            request->document, "reports", 1, EX_REPORTS_MAX, &array, err);
    if (st)
        return st;
    size_t count = ex_json_count(array);
    request->reports =
        ex_arena_get(&request->arena, count * sizeof *request->reports);
    if (!request->reports)
        return ex_fail_nomem(err);
    for (size_t i = 0; i < count && !st; i++) {
        st = read_element(
            ex_json_at(array, i), &request->arena, &request->reports[i], err);
        st = in_element(st, "reports", i, err);
    }
    request->count = count;
    return st;
}

/* The attempt, and the id if it fits: a longer one is no job's. */
static executr_status read_lease(
    const ex_json *object, const char *id, executr_lease *lease,
    executr_error *err)
{
    size_t length = strlen(id);

    if (length == 0 || length >= sizeof lease->job_id)
        return ex_fail_field(err, "id", "id must be a job id (a UUID)");
    memcpy(lease->job_id, id, length + 1);
    return ex_json_read_i32(
        object, "attempt", 1, INT32_MAX, &lease->attempt, err);
}

static executr_status read_leases(
    executr_request *request, executr_heartbeat *heartbeat, executr_error *err)
{
    ex_json *array;

    executr_status st = ex_request_array(
        request->document, "running", 0, EX_BULK_MAX, &array, err);
    if (st)
        return st;
    size_t count = ex_json_count(array);
    heartbeat->leases =
        ex_arena_get(&request->arena, count * sizeof *heartbeat->leases);
    if (!heartbeat->leases)
        return ex_fail_nomem(err);
    for (size_t i = 0; i < count && !st; i++) {
        const ex_json *object = ex_json_at(array, i);
        const char *id = "";
        st = read_id(object, &id, err);
        if (!st)
            st = read_lease(object, id, &heartbeat->leases[i], err);
        st = in_element(st, "running", i, err);
    }
    heartbeat->lease_count = count;
    return st;
}

/* The figures stand in "cache", or beside the other fields. */
static executr_status read_cache(
    const ex_json *object, executr_heartbeat *heartbeat, executr_error *err)
{
    ex_json *cache = NULL;

    executr_status st =
        ex_json_read_container(object, "cache", EX_JSON_OBJECT, &cache, err);
    return st ? st
              : ex_cache_read(
                    cache ? cache : object, &heartbeat->cache_hits,
                    &heartbeat->cache_misses, &heartbeat->cache_bytes,
                    &heartbeat->cache_max_bytes, err);
}

executr_status ex_request_heartbeat(
    executr_request *request, const char *id, executr_error *err)
{
    const ex_json *object = request->document;
    executr_heartbeat heartbeat = EXECUTR_HEARTBEAT_INIT;

    heartbeat.executor_id = id;
    executr_status st =
        ex_json_read_string(object, "executor_ip", &heartbeat.executor_ip, err);
    if (!st)
        st = ex_json_read_string(object, "version", &heartbeat.version, err);
    if (!st)
        st = ex_json_read_i32(
            object, "max_jobs", 1, INT32_MAX, &heartbeat.max_jobs, err);
    if (!st)
        st = read_cache(object, &heartbeat, err);
    if (!st)
        st = read_leases(request, &heartbeat, err);
    if (!st)
        st = ex_heartbeat_check(&heartbeat, &request->heartbeat, err);
    request->executor_id = id;
    request->count = heartbeat.lease_count;
    return st;
}

executr_status ex_request_job_heartbeat(
    executr_request *request, const char *id, executr_error *err)
{
    executr_status st =
        read_executor(request->document, &request->executor_id, err);
    return st ? st
              : read_lease(
                    request->document, id ? id : "", &request->lease, err);
}
