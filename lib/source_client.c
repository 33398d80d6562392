/* SPDX-License-Identifier: MIT */
/*
 * The source of a remote executor: the API's calls on one epoll descriptor,
 * without a thread. Hides how a call is sent and when its answer is read.
 */
#include "source.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "client.h"

/* While the worker does not know better. */
#define HEARTBEAT_MS 5000

/* A piece that takes so long is no use to whoever looks on. */
#define OUTPUT_MS 10000

enum {
    CLAIM,
    REPORT,
    HEARTBEAT,
    OUTPUT,
    GOODBYE,
    KINDS
};

typedef struct client_source client_source;

/* One kind of call; at most one of each is under way. */
typedef struct slot {
    client_source *source;
    int kind;
    int32_t busy;
    uint64_t id;
    ex_call call;
} slot;

struct client_source {
    ex_source base; /* first, so that a source is one of these */
    executr_client *client;
    char *binaries_url;
    char *token;
    int epoll;
    int wake; /* eventfd: an unclaim is to be told */
    slot slots[KINDS];
    size_t report_count;
    executr_status *results;
    executr_heartbeat *heartbeat;
    int32_t unclaimed;
};

static void tell_claim(
    client_source *s, executr_status st, const ex_http_response *response,
    executr_error *err)
{
    executr_jobs *jobs = NULL;

    if (!st)
        st = ex_answer_claim(response, &jobs, err);
    s->base.events.claimed(s->base.events.ctx, st, jobs, err);
}

static void tell_report(
    client_source *s, executr_status st, const ex_http_response *response,
    executr_error *err)
{
    if (!st)
        st = ex_answer_report(response, s->report_count, s->results, err);
    s->base.events.reported(
        s->base.events.ctx, st, s->results, s->report_count, err);
}

static void tell_heartbeat(
    client_source *s, executr_status st, const ex_http_response *response,
    executr_error *err)
{
    executr_heartbeat *heartbeat = s->heartbeat;

    if (!st)
        st = ex_answer_heartbeat(response, heartbeat, err);
    s->base.events.beaten(
        s->base.events.ctx, st, heartbeat->leases, heartbeat->lease_count, err);
}

static void tell_output(
    client_source *s, executr_status st, const ex_http_response *response,
    executr_error *err)
{
    int32_t followed = 0;

    if (!st)
        st = ex_answer_output(response, &followed, err);
    s->base.events.put(s->base.events.ctx, st, followed, err);
}

static void tell_goodbye(
    client_source *s, executr_status st, const ex_http_response *response,
    executr_error *err)
{
    if (!st)
        st = ex_answer_status(response, err);
    s->base.events.left(s->base.events.ctx, st, err);
}

/* The end of a call: the slot is free before the worker hears of it, so that
 * it may start the next one at once. */
static void on_done(
    void *ctx, executr_status status, const ex_http_response *response,
    const executr_error *why)
{
    static void (*const tell[KINDS])(
        client_source *, executr_status, const ex_http_response *,
        executr_error *) = {
        tell_claim, tell_report, tell_heartbeat, tell_output, tell_goodbye};
    slot *which = ctx;
    client_source *s = which->source;
    executr_error err = {0};

    if (status) {
        err = *why;
        status = ex_client_explain(s->client, status, &err);
    }
    which->busy = 0;
    ex_call_clear(&which->call);
    tell[which->kind](s, status, response, &err);
}

/* Send what was prepared in the slot; on failure it is free again. */
static executr_status start(
    client_source *s, slot *which, executr_status prepared, executr_error *err)
{
    executr_status st = prepared;

    if (!st)
        st = ex_http_start(
            s->client->http, &which->call.request, on_done, which, &which->id,
            err);
    if (st)
        ex_call_clear(&which->call);
    which->busy = !st;
    return st;
}

static executr_status source_claim(
    ex_source *source, const executr_claim *claim, executr_error *err)
{
    client_source *s = (client_source *)source;
    slot *which = &s->slots[CLAIM];

    s->unclaimed = 0;
    executr_status st = ex_call_claim(s->client, claim, &which->call, err);
    return start(s, which, st, err);
}

static executr_status source_report(
    ex_source *source, const char *executor_id,
    const executr_report *const *reports, size_t count, executr_error *err)
{
    client_source *s = (client_source *)source;
    slot *which = &s->slots[REPORT];
    void *results = s->results;

    executr_status st = ex_realloc(&results, count * sizeof *s->results, err);
    if (st)
        return st;
    s->results = results;
    s->report_count = count;
    st = ex_call_report(
        s->client, executor_id, reports, count, &which->call, err);
    return start(s, which, st, err);
}

static executr_status source_heartbeat(
    ex_source *source, executr_heartbeat *heartbeat, executr_error *err)
{
    client_source *s = (client_source *)source;
    slot *which = &s->slots[HEARTBEAT];

    s->heartbeat = heartbeat;
    executr_status st =
        ex_call_heartbeat(s->client, heartbeat, &which->call, err);
    int64_t most = source->heartbeat_timeout_ms;
    if (!most)
        most = HEARTBEAT_MS;
    if (which->call.request.timeout_ms > most)
        which->call.request.timeout_ms = most;
    return start(s, which, st, err);
}

static executr_status source_output(
    ex_source *source, const char *executor_id, const executr_output *output,
    executr_error *err)
{
    client_source *s = (client_source *)source;
    slot *which = &s->slots[OUTPUT];

    executr_status st =
        ex_call_output(s->client, executor_id, output, &which->call, err);
    if (which->call.request.timeout_ms > OUTPUT_MS)
        which->call.request.timeout_ms = OUTPUT_MS;
    return start(s, which, st, err);
}

static executr_status source_goodbye(
    ex_source *source, const char *executor_id, executr_error *err)
{
    client_source *s = (client_source *)source;
    slot *which = &s->slots[GOODBYE];

    executr_status st =
        ex_call_goodbye(s->client, executor_id, &which->call, err);
    return start(s, which, st, err);
}

/*
 * The connection is dropped, which the server may not notice: a job it still
 * hands out comes back when a heartbeat doesn't name it, or at goodbye, which
 * ends the executor's waiting claims.
 */
static void source_unclaim(ex_source *source)
{
    client_source *s = (client_source *)source;
    slot *which = &s->slots[CLAIM];
    uint64_t one = 1;

    if (!which->busy || s->unclaimed)
        return;
    ex_http_cancel(s->client->http, which->id);
    s->unclaimed = 1;
    while (write(s->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void tell_unclaimed(client_source *s)
{
    slot *which = &s->slots[CLAIM];
    executr_error err = {0};
    uint64_t count;

    while (read(s->wake, &count, sizeof count) < 0 && errno == EINTR)
        ;
    if (!s->unclaimed || !which->busy)
        return;
    s->unclaimed = 0;
    which->busy = 0;
    ex_call_clear(&which->call);
    executr_status st =
        ex_fail(&err, EXECUTR_E_CANCELLED, "the claim was given up");
    s->base.events.claimed(s->base.events.ctx, st, NULL, &err);
}

static int source_fd(const ex_source *source)
{
    return ((const client_source *)source)->epoll;
}

static executr_status source_step(ex_source *source, executr_error *err)
{
    client_source *s = (client_source *)source;

    tell_unclaimed(s);
    return ex_http_step(s->client->http, 0, err);
}

static void source_free(ex_source *source)
{
    client_source *s = (client_source *)source;

    if (!s)
        return;
    executr_client_free(s->client); /* drops what is under way */
    for (int i = 0; i < KINDS; i++) {
        if (s->slots[i].busy)
            ex_call_clear(&s->slots[i].call);
    }
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->wake >= 0)
        close(s->wake);
    ex_free(s->results);
    ex_free(s->binaries_url);
    ex_free(s->token);
    ex_free(s);
}

static const ex_source_ops client_ops = {
    source_claim,   source_report,  source_heartbeat, source_output,
    source_goodbye, source_unclaim, source_fd,        source_step,
    NULL,           source_free};

static executr_status watch(client_source *s, int fd, executr_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event))
        return ex_fail_errno(err, errno, "cannot watch a descriptor");
    return EXECUTR_OK;
}

static executr_status open_descriptors(client_source *s, executr_error *err)
{
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->epoll < 0 || s->wake < 0)
        return ex_fail_errno(err, errno, "cannot open a descriptor");
    executr_status st = watch(s, s->wake, err);
    return st ? st : watch(s, ex_http_fd(s->client->http), err);
}

static executr_status tell_where_binaries_are(
    client_source *s, executr_error *err)
{
    ex_buf url;

    ex_buf_init(&url, EX_BUF_UNLIMITED);
    ex_buf_printf(&url, "%s/api/v1/binaries/", s->client->server_url);
    executr_status st = ex_buf_status(&url, "a URL", err);
    if (!st)
        st = ex_strdup(&s->binaries_url, url.data, err);
    ex_buf_clear(&url);
    s->base.binaries_url = s->binaries_url;
    s->base.token = s->token;
    return st;
}

executr_status ex_source_client_open(
    const char *server_url, const char *token, int64_t network_timeout_ms,
    const executr_log *log, const ex_source_events *events, ex_source **out,
    executr_error *err)
{
    void *memory = NULL;
    executr_client_options options = EXECUTR_CLIENT_OPTIONS_INIT;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(client_source), err);
    if (st)
        return st;
    client_source *s = memory;
    s->base = (ex_source){&client_ops, *events, 0, NULL, NULL};
    s->epoll = -1;
    s->wake = -1;
    for (int i = 0; i < KINDS; i++)
        s->slots[i] = (slot){.source = s, .kind = i};
    if (token)
        st = ex_strdup(&s->token, token, err);
    options.server_url = server_url;
    options.token = token;
    options.network_timeout_ms = network_timeout_ms;
    options.log = *log;
    if (!st)
        st = executr_client_open(&options, &s->client, err);
    if (!st)
        st = tell_where_binaries_are(s, err);
    if (!st)
        st = open_descriptors(s, err);
    if (st)
        source_free(&s->base);
    else
        *out = &s->base;
    return st;
}
