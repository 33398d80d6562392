/* SPDX-License-Identifier: MIT */
/* The calls of those who look after jobs: get, list, cancel, retry, output. */
#include "client.h"

#include <string.h>

#include "base/fail.h"
#include "base/options.h"
#include "base/url.h"

#define MAX_OUTPUT ((size_t)256 << 20)

/* A call whose answer is one job. */
static executr_status call_for_job(
    executr_client *client, ex_call *call, executr_jobs **out,
    executr_error *err)
{
    ex_http_response response = {0};

    executr_status st = ex_call_finish(call, err);
    if (!st)
        st = ex_client_call(client, call, &response, err);
    if (!st)
        st = ex_answer_job(&response, out, err);
    ex_http_response_clear(&response);
    return st;
}

/* JSON has U+FFFD for bytes that are no UTF-8: only the raw output tells them,
 * or whether the program wrote U+FFFD itself. */
static executr_status exact_output(
    executr_client *client, executr_jobs *jobs, int32_t stream,
    const char **data, size_t *length, executr_error *err)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    ex_buf raw;

    if (!memmem(*data, *length, replacement, sizeof replacement - 1))
        return EXECUTR_OK;
    ex_buf_init(&raw, MAX_OUTPUT);
    executr_status st = executr_client_output(
        client, jobs->items[0]->id, stream, 0, 0, ex_buf_write, &raw, err);
    if (!st) {
        *data =
            ex_arena_copy(&jobs->arena, raw.data ? raw.data : "", raw.length);
        *length = raw.length;
        st = *data ? EXECUTR_OK : ex_fail_nomem(err);
    }
    ex_buf_clear(&raw);
    return st;
}

static executr_status exact_outputs(
    executr_client *client, executr_jobs *jobs, executr_error *err)
{
    struct executr_job *job = jobs->items[0];

    executr_status st = exact_output(
        client, jobs, 1, &job->stdout_data, &job->stdout_length, err);
    if (!st)
        st = exact_output(
            client, jobs, 2, &job->stderr_data, &job->stderr_length, err);
    return st;
}

executr_status executr_client_get(
    executr_client *client, const char *job_id, executr_jobs **out,
    executr_error *err)
{
    ex_call call;

    *out = NULL;
    executr_status st = ex_client_check_id(job_id, err);
    if (st)
        return st;
    ex_call_begin(&call, client, "GET", "/jobs/");
    ex_buf_puts(&call.url, job_id);
    st = call_for_job(client, &call, out, err);
    ex_call_clear(&call);
    if (!st)
        st = exact_outputs(client, *out, err);
    if (st) {
        executr_jobs_free(*out);
        *out = NULL;
    }
    return st;
}

executr_status executr_client_retry(
    executr_client *client, const char *job_id, executr_jobs **out,
    executr_error *err)
{
    ex_call call;

    *out = NULL;
    executr_status st = ex_client_check_id(job_id, err);
    if (st)
        return st;
    ex_call_begin(&call, client, "POST", "/jobs/");
    ex_buf_printf(&call.url, "%s/retry", job_id);
    st = call_for_job(client, &call, out, err);
    ex_call_clear(&call);
    return st;
}

static void add_query(ex_call *call, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    ex_buf_printf(&call->url, "&%s=", name);
    ex_url_encode(&call->url, value);
}

static void begin_list(
    ex_call *call, const executr_client *client, const executr_filter *filter)
{
    ex_call_begin(call, client, "GET", "/jobs?limit=");
    ex_buf_put_i64(&call->url, filter->limit ? filter->limit : 100);
    if (filter->status)
        add_query(call, "status", executr_job_status_word(filter->status));
    /* The default of a priority has a word, too; here it means any. */
    if (filter->priority)
        add_query(call, "priority", executr_priority_word(filter->priority));
    add_query(call, "type", filter->type);
    add_query(call, "executor_id", filter->executor_id);
    add_query(call, "before", filter->before_id);
    if (filter->offset)
        ex_buf_printf(&call->url, "&offset=%lld", (long long)filter->offset);
}

/* A word outside its range would silently select everything. */
static executr_status check_filter(
    const executr_filter *filter, executr_error *err)
{
    if (filter->status && !*executr_job_status_word(filter->status))
        return ex_fail_field(
            err, "status", "there is no status %d", (int)filter->status);
    if (filter->priority && !*executr_priority_word(filter->priority))
        return ex_fail_field(
            err, "priority", "there is no priority %d", (int)filter->priority);
    return EXECUTR_OK;
}

static executr_status read_filter(
    const executr_filter *filter, executr_filter *out, executr_error *err)
{
    executr_status st =
        ex_options_read(out, sizeof *out, sizeof *out, filter, err);

    return st ? st : check_filter(out, err);
}

executr_status executr_client_list(
    executr_client *client, const executr_filter *filter, executr_jobs **out,
    int32_t *more, executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};
    executr_filter f;

    *out = NULL;
    *more = 0;
    executr_status st = read_filter(filter, &f, err);
    if (st)
        return st;
    begin_list(&call, client, &f);
    st = ex_call_finish(&call, err);
    if (!st)
        st = ex_client_call(client, &call, &response, err);
    if (!st)
        st = ex_answer_jobs(&response, out, err);
    if (!st)
        *more = strstr(ex_buf_text(&response.link), "rel=\"next\"") != NULL;
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}

executr_status executr_client_cancel(
    executr_client *client, const char *job_id, int32_t *running,
    executr_error *err)
{
    ex_call call;
    int32_t status;

    *running = 0;
    executr_status st = ex_client_check_id(job_id, err);
    if (st)
        return st;
    ex_call_begin(&call, client, "DELETE", "/jobs/");
    ex_buf_puts(&call.url, job_id);
    st = ex_client_send(client, &call, &status, err);
    if (!st)
        *running = status == 202;
    ex_call_clear(&call);
    return st;
}

static void write_criteria(const executr_filter *filter, ex_buf *body)
{
    ex_json_writer w;

    ex_json_begin(&w, body);
    ex_json_open(&w, '{');
    ex_json_add_string(&w, "type", filter->type);
    if (filter->status)
        ex_json_add_string(
            &w, "status", executr_job_status_word(filter->status));
    if (filter->priority)
        ex_json_add_string(
            &w, "priority", executr_priority_word(filter->priority));
    ex_json_close(&w, '}');
}

executr_status executr_client_cancel_matching(
    executr_client *client, const executr_filter *filter, int64_t *cancelled,
    executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};
    ex_json *json = NULL;
    executr_filter f;

    *cancelled = 0;
    executr_status st = read_filter(filter, &f, err);
    if (!st && f.executor_id)
        st = ex_fail(
            err, EXECUTR_E_UNSUPPORTED,
            "the API cancels by type, status and priority, not by executor: "
            "list its jobs and cancel each");
    if (st)
        return st;
    ex_call_begin(&call, client, "POST", "/jobs/bulk/cancel");
    write_criteria(&f, &call.body);
    st = ex_call_finish(&call, err);
    if (!st)
        st = ex_client_call(client, &call, &response, err);
    if (!st)
        st = ex_answer_json(&response, EX_JSON_OBJECT, &json, err);
    if (!st)
        st = ex_as_protocol(
            ex_json_read_i64(json, "cancelled", 0, INT64_MAX, cancelled, err),
            err);
    ex_json_free(json);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}

static executr_status check_output(
    const char *job_id, int32_t stream, int64_t offset, executr_error *err)
{
    if (stream != 1 && stream != 2)
        return ex_fail_field(
            err, "stream", "stream is 1 (stdout) or 2 (stderr), not %d",
            (int)stream);
    if (offset < 0)
        return ex_fail_field(err, "offset", "offset must not be negative");
    return ex_client_check_id(job_id, err);
}

/* NOLINTNEXTLINE(readability-function-size): frozen in the ABI */
executr_status executr_client_output(
    executr_client *client, const char *job_id, int32_t stream, int64_t offset,
    int32_t follow, executr_write write, void *ctx, executr_error *err)
{
    ex_call call;

    executr_status st = check_output(job_id, stream, offset, err);
    if (st)
        return st;
    ex_call_begin(&call, client, "GET", "/jobs/");
    ex_buf_printf(
        &call.url, "%s/%s?offset=%lld%s", job_id,
        stream == 1 ? "stdout" : "stderr", (long long)offset,
        follow ? "&follow=1" : "");
    call.request.write = write;
    call.request.write_ctx = ctx;
    call.request.max_bytes = INT64_MAX;
    /* A job that is followed may say nothing for days. */
    call.request.timeout_ms = 0;
    call.request.stall_ms = follow ? 0 : client->network_timeout_ms;
    st = ex_client_send(client, &call, NULL, err);
    ex_call_clear(&call);
    return st;
}
