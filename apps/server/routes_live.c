/* SPDX-License-Identifier: MIT */
/*
 * Live output: executors put it here, and answers go on with it until a job is
 * over, as plain bytes or in frames, which tell streams and offsets apart.
 */
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "base/fail.h"
#include "base/time.h"

/* So often a framed answer shows that it is alive, to proxies and to readers. */
#define ALIVE_US (INT64_C(10) * 1000 * 1000)

int api_is_over(const executr_job *job)
{
    int32_t status = executr_job_status(job);
    return status != EXECUTR_JOB_PENDING && status != EXECUTR_JOB_RUNNING;
}

typedef struct reader {
    api *a;
    executr_write write;
    void *ctx;
    int32_t framed;
    int64_t alive_at_us;
} reader;

/* "STREAM ATTEMPT OFFSET LENGTH\n", then so many bytes. */
static int32_t put_frame(
    reader *r, int32_t stream, int32_t attempt, int64_t offset, size_t length)
{
    char head[80];
    int n = snprintf(
        head, sizeof head, "%d %d %lld %zu\n", (int)stream, (int)attempt,
        (long long)offset, length);
    r->alive_at_us = ex_monotonic_us() + ALIVE_US;
    return r->write(r->ctx, head, (size_t)n);
}

static int32_t on_output(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length)
{
    reader *r = ctx;
    if (r->framed && put_frame(r, stream, attempt, offset, length))
        return -1;
    return r->write(r->ctx, data, length);
}

static int32_t on_idle(void *ctx)
{
    reader *r = ctx;
    if (atomic_load(&r->a->stopping))
        return 1;
    if (r->framed && ex_monotonic_us() >= r->alive_at_us)
        return put_frame(r, 0, 0, 0, 0);
    return r->write(r->ctx, "", 0); /* notices a reader that went away */
}

static executr_status stream_output(
    api *a, api_response *response, executr_write write, void *ctx,
    executr_error *err)
{
    reader r = {a, write, ctx, response->framed, ex_monotonic_us() + ALIVE_US};
    executr_follow follow = EXECUTR_FOLLOW_INIT;
    follow.job_id = response->subject;
    follow.streams = response->streams;
    follow.attempt = response->attempt;
    follow.stdout_offset = response->offsets[0];
    follow.stderr_offset = response->offsets[1];
    follow.write = on_output;
    follow.idle = on_idle;
    follow.ctx = &r;
    executr_status st =
        executr_queue_follow(atomic_load(&a->queue), &follow, err);
    if (st != EXECUTR_E_CANCELLED)
        return st;
    if (atomic_load(&a->stopping)) /* an answer cut short says so */
        return ex_fail(err, EXECUTR_E_UNAVAILABLE, "the server is stopping");
    return ex_fail(err, EXECUTR_E_CALLBACK, "the reader went away");
}

/* There is a thread behind each answer that waits for a job, and the other
 * calls need some too. */
void api_follow(api *a, const executr_job *job, api_response *response)
{
    if (!api_is_over(job)) {
        if (atomic_fetch_add(&a->follows, 1) >= a->max_follows) {
            atomic_fetch_sub(&a->follows, 1);
            api_errorf(
                response, 429, "too_many_requests", "follow",
                "%d outputs are being followed already, the most at once; ask "
                "again later, or without follow",
                (int)a->max_follows);
            return;
        }
        response->counted = &a->follows;
    }
    response->status = 200;
    ex_buf_puts(&response->headers, "X-Accel-Buffering: no\r\n"); /* nginx */
    response->stream = stream_output;
    snprintf(
        response->subject, sizeof response->subject, "%s", executr_job_id(job));
}

/* The streams of ?stream=stdout or stderr, both without it; -1 answered. */
static int read_stream(
    const api_request *request, int32_t *streams, api_response *response)
{
    ex_buf word;
    ex_buf_init(&word, 64);
    int found = api_query(request, "stream", &word, response);
    const char *text = ex_buf_text(&word);
    *streams = 1 << 1 | 1 << 2;
    if (found > 0 && strcmp(text, "stdout") == 0) {
        *streams = 1 << 1;
    } else if (found > 0 && strcmp(text, "stderr") == 0) {
        *streams = 1 << 2;
    } else if (found > 0) {
        api_errorf(
            response, 400, "invalid_argument", "stream",
            "stream is stdout or stderr");
        found = -1;
    }
    ex_buf_clear(&word);
    return found < 0 ? -1 : 0;
}

static int read_attempt(
    const api_request *request, int32_t *attempt, api_response *response)
{
    int64_t value = 0;
    if (api_query_i64(request, "attempt", 0, INT32_MAX, &value, response))
        return -1;
    *attempt = (int32_t)value;
    return 0;
}

void route_output_get(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    int64_t *offsets = response->offsets;
    executr_queue *queue = api_queue(a, response);
    if (!queue || read_stream(request, &response->streams, response) ||
        read_attempt(request, &response->attempt, response) ||
        api_query_i64(request, "stdout", 0, INT64_MAX, &offsets[0], response) ||
        api_query_i64(request, "stderr", 0, INT64_MAX, &offsets[1], response))
        return;
    if (executr_queue_get(queue, request->id, 0, &jobs, &err)) {
        api_error(response, &err);
        return;
    }
    response->framed = 1;
    response->content_type = "application/vnd.executr.output";
    api_follow(a, executr_jobs_at(jobs, 0), response);
    executr_jobs_free(jobs);
}

/* Where a piece belongs; -1 answered. */
static int read_piece(
    const api_request *request, ex_buf *executor, executr_output *out,
    api_response *response)
{
    int32_t streams = 0;
    int found = api_query(request, "executor_id", executor, response);
    if (found == 0)
        api_errorf(
            response, 400, "invalid_argument", "executor_id",
            "executor_id is missing");
    if (found <= 0 || read_stream(request, &streams, response) ||
        read_attempt(request, &out->attempt, response) ||
        api_query_i64(request, "offset", 0, INT64_MAX, &out->offset, response))
        return -1;
    out->stream = streams == 1 << 1 ? 1 : streams == 1 << 2 ? 2 : 0;
    return 0;
}

void route_output_put(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_output output = EXECUTR_OUTPUT_INIT;
    int32_t followed = 0;
    ex_buf executor;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    ex_buf_init(&executor, 4096);
    output.job_id = request->id;
    output.data = request->body;
    output.length = request->length;
    if (read_piece(request, &executor, &output, response)) {
        ex_buf_clear(&executor);
        return;
    }
    if (executr_queue_put_output(
            queue, ex_buf_text(&executor), &output, &followed, &err)) {
        api_error(response, &err);
    } else if (followed) {
        response->status = 204;
    } else {
        response->status = 200;
        ex_buf_puts(&response->body, "{\"follow\":false}");
    }
    ex_buf_clear(&executor);
}
