/* SPDX-License-Identifier: MIT */
/*
 * Live output over the API: following a job through broken connections and
 * servers that come and go, and putting pieces. Hides the frames in which a
 * followed output travels: "STREAM ATTEMPT OFFSET LENGTH\n" and so many bytes.
 */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fail.h"
#include "base/options.h"
#include "base/time.h"
#include "base/url.h"

#define LOOK_MS 100             /* between questions whether to go on */
#define BACKOFF_MS INT64_C(100) /* then twice as long, five times */
#define HEAD_MAX 80
#define DEAD_LEAST_US (INT64_C(25) * 1000 * 1000)

typedef struct following {
    executr_client *client;
    executr_follow *request;
    ex_call call;
    char head[HEAD_MAX];
    size_t head_length;
    int32_t stream; /* of the frame under way */
    int32_t attempt;
    int64_t offset;   /* of its next byte; -1: a note */
    uint64_t left;    /* bytes of it to come */
    int64_t asked_us; /* the request that is under way */
    int64_t heard_us; /* the last byte of any */
    int32_t failures; /* in a row */
    int32_t stopped;  /* by the reader */
    int32_t garbled;
    int32_t ended;
    executr_status status; /* of the request that ended */
    executr_error err;
} following;

/* A number from -1 on that ends with `end`; -1 if there is none. */
static int32_t read_number(const char **at, char end, int64_t *out)
{
    char *behind;

    errno = 0;
    long long value = strtoll(*at, &behind, 10);
    if (errno || behind == *at || *behind != end || value < -1)
        return -1;
    *at = behind + 1;
    *out = value;
    return 0;
}

static int32_t begin_frame(following *f)
{
    const char *at = f->head;
    int64_t stream;
    int64_t attempt;
    int64_t length;

    f->head[f->head_length] = '\0';
    f->head_length = 0;
    if (read_number(&at, ' ', &stream) || read_number(&at, ' ', &attempt) ||
        read_number(&at, ' ', &f->offset) || read_number(&at, '\n', &length))
        return -1;
    if (stream < 0 || stream > 2 || attempt < 0 || attempt > INT32_MAX ||
        length < 0 || (stream == 0 && length > 0))
        return -1;
    f->stream = (int32_t)stream;
    f->attempt = (int32_t)attempt;
    f->left = (uint64_t)length;
    return 0;
}

/* The reader is told first: what it refused comes again. */
static int32_t tell(following *f, const char *data, size_t length)
{
    executr_follow *request = f->request;

    if (request->write(
            request->ctx, f->stream, f->attempt, f->offset, data, length)) {
        f->stopped = 1;
        return -1;
    }
    f->left -= length;
    if (f->offset < 0)
        return 0;
    if (request->attempt != f->attempt) {
        request->attempt = f->attempt;
        request->stdout_offset = 0;
        request->stderr_offset = 0;
    }
    f->offset += (int64_t)length;
    if (f->stream == 1)
        request->stdout_offset = f->offset;
    else
        request->stderr_offset = f->offset;
    return 0;
}

static int32_t on_bytes(void *ctx, const void *data, size_t length)
{
    following *f = ctx;
    const char *at = data;
    const char *end = at + length;

    f->heard_us = ex_monotonic_us();
    f->failures = 0;
    while (at < end) {
        if (f->left > 0) {
            size_t n = (size_t)(end - at);
            n = n < f->left ? n : (size_t)f->left;
            if (tell(f, at, n))
                return -1;
            at += n;
            continue;
        }
        f->head[f->head_length++] = *at++;
        int32_t whole = f->head[f->head_length - 1] == '\n';
        f->garbled =
            whole ? begin_frame(f) != 0 : f->head_length == HEAD_MAX - 1;
        if (f->garbled)
            return -1;
    }
    return 0;
}

static void on_end(
    void *ctx, executr_status status, const ex_http_response *response,
    const executr_error *err)
{
    following *f = ctx;

    f->ended = 1;
    f->status = status;
    f->err = *err;
    if (status)
        f->status = ex_client_explain(f->client, status, &f->err);
    else
        f->status = ex_answer_status(response, &f->err);
    /* It is there, and has too much to do just now. */
    if (response->status == 429)
        f->heard_us = ex_monotonic_us();
}

static executr_status prepare(following *f, executr_error *err)
{
    const executr_follow *request = f->request;
    ex_call *call = &f->call;

    const char *only = request->streams == 1 << 1   ? "&stream=stdout"
                       : request->streams == 1 << 2 ? "&stream=stderr"
                                                    : "";
    ex_call_begin(call, f->client, "GET", "/jobs/");
    ex_buf_printf(
        &call->url, "%s/output?attempt=%d&stdout=%lld&stderr=%lld%s",
        request->job_id, (int)request->attempt,
        (long long)request->stdout_offset, (long long)request->stderr_offset,
        only);
    call->request.write = on_bytes;
    call->request.write_ctx = f;
    call->request.max_bytes = INT64_MAX;
    call->request.timeout_ms = 0; /* a job may say nothing for days */
    f->head_length = 0;
    f->left = 0;
    f->ended = 0;
    f->asked_us = ex_monotonic_us();
    return ex_call_finish(call, err);
}

static int32_t goes_on(const following *f)
{
    return !f->request->idle || !f->request->idle(f->request->ctx);
}

static executr_status given_up(executr_error *err)
{
    return ex_fail(err, EXECUTR_E_CANCELLED, "following was given up");
}

/*
 * The server says something every ten seconds, so a long silence is a network
 * that swallows everything. There is time left then to ask again.
 */
static int32_t is_dead(const following *f)
{
    int64_t limit_us = f->client->network_timeout_ms * 1000 / 2;

    return limit_us >= DEAD_LEAST_US &&
           ex_monotonic_us() - f->asked_us > limit_us &&
           ex_monotonic_us() - f->heard_us > limit_us;
}

/* One answer, up to its end, in f->status; OK unless nobody wants more. */
static executr_status follow_once(following *f, executr_error *err)
{
    ex_http *http = f->client->http;
    uint64_t id = 0;

    executr_status st = prepare(f, err);
    if (!st)
        st = ex_http_start(http, &f->call.request, on_end, f, &id, err);
    while (!st && !f->ended) {
        st = ex_http_step(http, LOOK_MS, err);
        if (!st && !f->ended && !goes_on(f))
            st = given_up(err);
        if (!st && !f->ended && is_dead(f)) {
            f->status = ex_fail(
                &f->err, EXECUTR_E_TIMEOUT, "nothing comes from %s any more",
                f->client->server_url);
            break;
        }
    }
    if (!f->ended && id)
        ex_http_cancel(http, id);
    ex_call_clear(&f->call);
    if (!st && f->stopped)
        st = ex_fail(err, EXECUTR_E_CALLBACK, "the reader went away");
    if (!st && f->garbled)
        st = ex_fail(
            err, EXECUTR_E_PROTOCOL,
            "the server's live output can't be understood: is it of another "
            "release?");
    return st;
}

/* After a failure that may pass; E_CANCELLED if nobody waits for that. */
static executr_status pause_a_while(following *f, executr_error *err)
{
    int64_t left = BACKOFF_MS << (f->failures < 5 ? f->failures++ : 5);

    for (; left > 0; left -= LOOK_MS) {
        if (!goes_on(f))
            return given_up(err);
        int64_t ms = left < LOOK_MS ? left : LOOK_MS;
        struct timespec pause = {0, ms * 1000000};
        nanosleep(&pause, NULL);
    }
    return EXECUTR_OK;
}

static executr_status check(const executr_follow *request, executr_error *err)
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
    return ex_client_check_id(copy.job_id, err);
}

executr_status executr_client_follow(
    executr_client *client, executr_follow *follow, executr_error *err)
{
    following f = {.client = client, .request = follow};

    executr_status st = check(follow, err);
    f.heard_us = ex_monotonic_us();
    while (!st) {
        st = follow_once(&f, err);
        if (st || !f.status)
            break;
        int64_t silent_us = ex_monotonic_us() - f.heard_us;
        if (!executr_status_retriable(f.status) ||
            silent_us > client->network_timeout_ms * 1000) {
            st = f.status;
            if (err)
                *err = f.err;
        } else {
            st = pause_a_while(&f, err);
        }
    }
    return st;
}

executr_status ex_call_output(
    const executr_client *client, const char *executor_id,
    const executr_output *output, ex_call *out, executr_error *err)
{
    static const char *const raw[] = {
        "Content-Type: application/octet-stream", NULL};

    ex_call_init(out);
    executr_status st = ex_executor_id_check(executor_id, err);
    if (!st)
        st = ex_client_check_id(output->job_id, err);
    if (st)
        return st;
    ex_call_begin(out, client, "POST", "/jobs/");
    ex_buf_printf(
        &out->url, "%s/output?stream=%s&attempt=%d&offset=%lld&executor_id=",
        output->job_id, output->stream == 2 ? "stderr" : "stdout",
        (int)output->attempt, (long long)output->offset);
    ex_url_encode(&out->url, executor_id);
    st = ex_call_finish(out, err);
    out->request.headers = raw;
    out->request.body = output->data;
    out->request.body_length = output->length;
    return st;
}

executr_status ex_answer_output(
    const ex_http_response *response, int32_t *followed, executr_error *err)
{
    executr_status st = ex_answer_status(response, err);

    *followed = !st && response->status == 204;
    return st;
}

executr_status executr_client_put_output(
    executr_client *client, const char *executor_id,
    const executr_output *output, int32_t *followed, executr_error *err)
{
    ex_call call;
    executr_output o;
    ex_http_response response = {0};

    *followed = 0;
    ex_call_init(&call);
    executr_status st = ex_options_read(&o, sizeof o, sizeof o, output, err);
    if (!st && o.stream != 1 && o.stream != 2)
        st = ex_fail_field(
            err, "stream", "stream is 1 (stdout) or 2 (stderr), not %d",
            (int)o.stream);
    if (!st)
        st = ex_call_output(client, executor_id, &o, &call, err);
    if (!st)
        st = ex_http_call(client->http, &call.request, &response, err);
    if (st)
        st = ex_client_explain(client, st, err);
    else
        st = ex_answer_output(&response, followed, err);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}
