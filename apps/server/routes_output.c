/* SPDX-License-Identifier: MIT */
/* Raw outputs and binaries: answers that are bytes, not JSON. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/fail.h"

static executr_status write_output(
    const executr_job *job, const api_response *response, executr_write write,
    void *ctx, executr_error *err)
{
    size_t length = 0;
    const char *data = response->which == 1 ? executr_job_stdout(job, &length)
                                            : executr_job_stderr(job, &length);
    if ((uint64_t)response->offset >= length)
        return EXECUTR_OK;
    size_t offset = (size_t)response->offset;
    if (write(ctx, data + offset, length - offset))
        return ex_fail(err, EXECUTR_E_CALLBACK, "the reader went away");
    return EXECUTR_OK;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void answer_output(
    api *a, api_request *request, api_response *response, int32_t which)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    int64_t follow = 0;
    executr_queue *queue = api_queue(a, response);
    if (!queue ||
        api_query_i64(
            request, "offset", 0, INT64_MAX, &response->offset, response) ||
        api_query_i64(request, "follow", 0, 1, &follow, response))
        return;
    if (executr_queue_get(
            queue, request->id, EXECUTR_PART_OUTPUT, &jobs, &err)) {
        api_error(response, &err);
        return;
    }
    const executr_job *job = executr_jobs_at(jobs, 0);
    response->status = 200;
    response->content_type = "application/octet-stream";
    response->which = which;
    if (follow && !api_is_over(job)) {
        response->streams = 1 << which;
        response->offsets[which - 1] = response->offset;
        api_follow(a, job, response);
    } else if (write_output(
                   job, response, ex_buf_write, &response->body, &err)) {
        api_error(response, &err);
    }
    executr_jobs_free(jobs);
}

void route_stdout(api *a, api_request *request, api_response *response)
{
    answer_output(a, request, response, 1);
}

void route_stderr(api *a, api_request *request, api_response *response)
{
    answer_output(a, request, response, 2);
}

static executr_status stream_binary(
    api *a, api_response *response, executr_write write, void *ctx,
    executr_error *err)
{
    return executr_queue_get_binary(
        atomic_load(&a->queue), response->subject, response->offset, write, ctx,
        err);
}

/*
 * "Range: bytes=N-", which is how downloads are continued: 1 and N. All other
 * ranges are answered with the whole, as HTTP allows; so is a version that is
 * not the one binary of this hash.
 */
static int wants_rest(
    const api_request *request, const char *etag, int64_t *offset)
{
    const char *range = request->range;
    char *end;

    if (!range || strncmp(range, "bytes=", 6) != 0 || range[6] < '0' ||
        range[6] > '9' ||
        (request->if_range && strcmp(request->if_range, etag) != 0))
        return 0;
    errno = 0;
    long long first = strtoll(range + 6, &end, 10);
    *offset = first;
    return errno == 0 && strcmp(end, "-") == 0;
}

/* 206, or 416 when there is no such rest. */
static void answer_rest(api_response *response, int64_t offset, int64_t bytes)
{
    if (offset >= bytes) {
        ex_buf_printf(
            &response->headers, "Content-Range: bytes */%lld\r\n",
            (long long)bytes);
        api_errorf(
            response, 416, "bad_range", NULL,
            "the binary has %lld bytes, but a rest from byte %lld is asked for",
            (long long)bytes, (long long)offset);
        return;
    }
    response->status = 206;
    response->offset = offset;
    ex_buf_printf(
        &response->headers, "Content-Range: bytes %lld-%lld/%lld\r\n",
        (long long)offset, (long long)bytes - 1, (long long)bytes);
}

void route_binary_get(api *a, api_request *request, api_response *response)
{
    executr_error err;
    char etag[72];
    int64_t bytes = 0;
    int64_t rest = 0;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    if (executr_queue_binary_size(queue, request->id, &bytes, &err)) {
        api_error(response, &err);
        return;
    }
    if (api_query_i64(request, "offset", 0, bytes, &response->offset, response))
        return;
    response->status = 200;
    snprintf(etag, sizeof etag, "\"%.64s\"", request->id);
    /* One or the other: a range of what an offset cuts has no name. */
    if (response->offset == 0 && wants_rest(request, etag, &rest))
        answer_rest(response, rest, bytes);
    if (response->status == 416)
        return;
    ex_buf_printf(
        &response->headers, "ETag: %s\r\nAccept-Ranges: bytes\r\n", etag);
    response->content_type = "application/octet-stream";
    response->length = bytes - min_i64(response->offset, bytes);
    response->stream = stream_binary;
    snprintf(response->subject, sizeof response->subject, "%s", request->id);
}

void route_binary_put(api *a, api_request *request, api_response *response)
{
    executr_error err;
    int32_t created = 0;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    if (executr_queue_put_binary(
            queue, request->id, request->read, request->read_ctx,
            a->max_binary_bytes, &created, &err)) {
        if (err.status == EXECUTR_E_CALLBACK)
            api_errorf(
                response, 400, "incomplete_body", NULL,
                "the body ended before it was complete; send it again");
        else
            api_error(response, &err);
        return;
    }
    response->status = created ? 201 : 200;
    ex_buf_printf(&response->body, "{\"sha256\":\"%s\"}", request->id);
}
