/* SPDX-License-Identifier: MIT */
/*
 * Carries requests from civetweb to the API and answers back. It trusts
 * nothing of a request: what civetweb lets through although it is ambiguous
 * (two lengths, a length and chunks, more headers than it keeps) is refused
 * here, bodies have a size limit before the first byte is read and a deadline
 * of their own.
 */
#include "http.h"

#include <civetweb.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"
#include "framing.h"
#include "http_exchange.h"

#define READ_PIECE 16384
#define BODY_DEADLINE_US (INT64_C(60) * 1000000)
#define BODY_SLOWEST (64 * 1024) /* bytes a second beyond the deadline */
#define DRAIN_US (INT64_C(3) * 1000000)
#define CLOSE_US (INT64_C(8) * 1000000) /* for answers under way at the end */

_Static_assert(FRAMING_HEADERS == MG_MAX_HEADERS, "all headers are seen");

struct http_server {
    struct mg_context *context;
    api *api;
    int32_t port;
    atomic_int closing; /* later requests are turned away */
    atomic_int serving; /* requests that came before */
};

static void read_framing(const struct mg_request_info *info, framing *out)
{
    out->version = info->http_version ? info->http_version : "";
    out->path = info->local_uri_raw;
    out->count = 0;
    for (int i = 0; i < info->num_headers && i < FRAMING_HEADERS; i++) {
        out->names[i] = info->http_headers[i].name;
        out->values[i] = info->http_headers[i].value;
        out->count++;
    }
}

/* A piece of the body: its bytes, 0 at the end, -1 when it broke off. */
static int read_piece(exchange *x, void *data, size_t size)
{
    int64_t allowed = x->deadline + x->got * 1000000 / BODY_SLOWEST;
    int64_t left = x->info->content_length - x->got; /* below 0: chunked */
    size_t piece = size < READ_PIECE ? size : READ_PIECE;
    int n = -1;
    if (ex_monotonic_us() <= allowed)
        n = mg_read(x->connection, data, piece);
    if (n > 0)
        x->got += n;
    /* Of a body of known length mg_read gives less than was asked for only
     * when no more comes: asking again would wait for nothing. */
    int missing =
        x->info->content_length >= 0 && n < (int64_t)piece && n < left;
    x->broken = n < 0 || missing;
    x->whole = !x->broken && (n == 0 || x->got == x->info->content_length);
    return x->broken ? -1 : n;
}

/* executr_read over the body of a streamed request. */
static int32_t read_stream(void *ctx, void *data, size_t size, size_t *length)
{
    exchange *x = ctx;
    *length = 0;
    if (x->whole)
        return 0;
    int n = read_piece(x, data, size);
    if (n < 0)
        return -1;
    *length = (size_t)n;
    return 0;
}

static void too_large(api_response *response, int64_t limit)
{
    api_errorf(
        response, 413, "too_large", NULL,
        "the body is larger than the limit of %lld bytes", (long long)limit);
}

static void incomplete(api_response *response)
{
    api_errorf(
        response, 400, "incomplete_body", NULL,
        "the body ended early, came too slowly or is badly chunked");
}

/*
 * Read the next piece into the body; at its limit into nowhere, to see whether
 * it ends there. 0, or -1 with the error answered.
 */
static int append_piece(exchange *x, ex_buf *body, api_response *response)
{
    char extra;
    executr_error err;
    char *room = ex_buf_reserve(body, 1);
    if (body->failed == EXECUTR_E_NOMEM) {
        ex_ignore(ex_fail_nomem(&err));
        api_error(response, &err);
        return -1;
    }
    /* One byte of the capacity is the NUL's. */
    size_t size = room ? body->capacity - body->length - 1 : 1;
    size_t left = (size_t)x->limit - body->length;
    if (room && size > left)
        size = left;
    int n = read_piece(x, room ? room : &extra, size ? size : 1);
    if (n < 0) {
        incomplete(response);
        return -1;
    }
    if (n > 0 && !room) {
        too_large(response, x->limit);
        x->whole = 0;
        return -1;
    }
    if (n > 0)
        ex_buf_used(body, (size_t)n);
    return 0;
}

/* Read the body whole; 0, or -1 with the error answered. */
static int read_body(exchange *x, ex_buf *body, api_response *response)
{
    int failed = 0;
    int64_t known = x->info->content_length; /* refused if above the limit */
    ex_buf_init(body, (size_t)x->limit);
    /* A small one at once; of a large one, what has come. */
    if (known > 0 && known <= READ_PIECE)
        ex_buf_reserve(body, (size_t)known);
    while (!x->whole && !failed)
        failed = append_piece(x, body, response);
    return failed;
}

static void fill_request(
    const struct mg_request_info *info, struct mg_connection *connection,
    api_request *request)
{
    request->method = info->request_method;
    request->path = info->local_uri ? info->local_uri : "";
    request->query = info->query_string;
    request->content_type = mg_get_header(connection, "Content-Type");
    request->authorization = mg_get_header(connection, "Authorization");
    request->idempotency_key = mg_get_header(connection, "Idempotency-Key");
    request->range = mg_get_header(connection, "Range");
    request->if_range = mg_get_header(connection, "If-Range");
}

/* Check, find, read, answer; the response is filled at the end. */
static void serve(api *a, exchange *x, ex_buf *body, api_response *response)
{
    api_request request = {0};
    framing shape;
    read_framing(x->info, &shape);
    const char *unclear = framing_problem(&shape);
    fill_request(x->info, x->connection, &request);
    x->whole = x->info->content_length <= 0 &&
               framing_count(&shape, "Transfer-Encoding") == 0;
    x->head = strcmp(request.method, "HEAD") == 0;
    if (unclear) {
        x->whole = 0;
        x->broken = 1;
        api_errorf(response, 400, "bad_request", NULL, "%s", unclear);
        return;
    }
    x->route = api_find(&request, response);
    if (!x->route)
        return;
    if (api_admit(a, x->route, &request, response))
        return;
    x->limit = api_body_limit(a, x->route);
    int64_t most = x->limit < 0 ? a->max_binary_bytes : x->limit;
    if (x->info->content_length > most) {
        too_large(response, most);
        return;
    }
    x->deadline = ex_monotonic_us() + BODY_DEADLINE_US;
    const char *expect = mg_get_header(x->connection, "Expect");
    if (!x->whole && expect && strcasecmp(expect, "100-continue") == 0)
        mg_printf(x->connection, "HTTP/1.1 100 Continue\r\n\r\n");
    if (x->limit < 0) {
        request.read = read_stream;
        request.read_ctx = x;
    } else if (!x->whole) {
        if (read_body(x, body, response))
            return;
        request.body = body->data;
        request.length = body->length;
    }
    api_answer(a, x->route, &request, response);
}

/* Take the rest of a body that was answered before its end: closing now would
 * reset the connection, and the sender would never see the answer. A binary is
 * taken whole, anything else up to the largest body, both if they come fast. */
static void drain(exchange *x)
{
    char waste[READ_PIECE];
    int64_t most = x->limit < 0 ? INT64_MAX - 1 : API_BULK_BODY;
    x->deadline = ex_monotonic_us() + DRAIN_US;
    if (x->info->content_length > most)
        return;
    while (!x->whole && !x->broken && x->got < most) {
        if (read_piece(x, waste, sizeof waste) <= 0)
            break;
    }
}

/* A request that comes while we end: another server, or we ourselves started
 * anew, may take it. */
static int turn_away(struct mg_connection *connection)
{
    exchange x = {.connection = connection, .broken = 1};
    api_response response;
    api_response_init(&response);
    api_errorf(
        &response, 503, "unavailable", NULL,
        "this server is ending; try again soon");
    http_send(NULL, &x, &response);
    api_response_clear(&response);
    return 503;
}

/* As a callback and not as a handler of a path, because handlers can only be
 * set when requests come already. */
static int handle(struct mg_connection *connection)
{
    http_server *server = mg_get_user_data(mg_get_context(connection));
    int64_t start = ex_monotonic_us();
    atomic_fetch_add(&server->serving, 1);
    if (atomic_load(&server->closing)) {
        atomic_fetch_sub(&server->serving, 1);
        return turn_away(connection);
    }
    exchange x = {.connection = connection};
    ex_buf body;
    api_response response;
    x.info = mg_get_request_info(connection);
    ex_buf_init(&body, 0);
    api_response_init(&response);
    serve(server->api, &x, &body, &response);
    http_send(server->api, &x, &response);
    atomic_fetch_sub(&server->serving, 1);
    if (x.route)
        metrics_request(
            server->api->metrics, x.route->method, x.route->pattern,
            ex_monotonic_us() - start);
    if (!x.whole && !x.broken) /* else its buffer would cost each thread */
        drain(&x);
    int status = response.status;
    api_response_clear(&response);
    ex_buf_clear(&body);
    return status;
}

/* What civetweb refuses by itself, in the shape of all errors. */
static int refuse(
    struct mg_connection *connection, int status, const char *text)
{
    exchange x = {.connection = connection, .broken = 1};
    api_response response;
    api_response_init(&response);
    int theirs = status < 500 || status == 505; /* a version of HTTP */
    api_errorf(
        &response, theirs ? 400 : status, theirs ? "bad_request" : "internal",
        NULL, "the request can't be understood: %s",
        text && *text ? text : "HTTP");
    http_send(NULL, &x, &response);
    api_response_clear(&response);
    return 0;
}

static int log_message(const struct mg_connection *connection, const char *text)
{
    const struct mg_context *context = mg_get_context(connection);
    http_server *server = context ? mg_get_user_data(context) : NULL;
    if (server)
        ex_log(
            &server->api->log, EXECUTR_LOG_DEBUG, "web server", "error", text,
            NULL);
    return 1; /* said; civetweb writes no log of its own */
}

/* Start the web server; NULL when it can't listen. */
static struct mg_context *start(
    http_server *server, const char *listen, const char *threads)
{
    /* clang-format off */
    const char *options[] = {
        "listening_ports", listen,
        "num_threads", threads,
        "enable_keep_alive", "yes",
        "keep_alive_timeout_ms", "5000",
        "request_timeout_ms", "10000",
        "connection_queue", "4096",
        "listen_backlog", "4096",
        "tcp_nodelay", "1",
        "max_request_size", "16384",
        "enable_directory_listing", "no",
        "access_control_allow_origin", "",
        "enable_auth_domain_check", "no",
        "decode_url", "no", /* we do: decoded there, a path ends at %00 */
        NULL};
    /* clang-format on */
    struct mg_callbacks callbacks = {
        .begin_request = handle,
        .log_message = log_message,
        .http_error = refuse};
    return mg_start(&callbacks, server, options);
}

executr_status http_open(
    api *a, const http_settings *settings, http_server **out,
    executr_error *err)
{
    char listen[300];
    char threads[24];
    void *memory = NULL;
    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(http_server), err);
    if (st)
        return st;
    http_server *server = memory;
    server->api = a;
    snprintf(
        listen, sizeof listen, "%s:%lld", settings->host,
        (long long)settings->port);
    snprintf(
        threads, sizeof threads, "%lld", (long long)settings->max_connections);
    mg_init_library(0);
    server->context = start(server, listen, threads);
    if (!server->context) {
        ex_free(server);
        mg_exit_library();
        return ex_fail(
            err, EXECUTR_E_UNAVAILABLE,
            "can't listen on %s: the port is taken, the address is not this "
            "machine's (give an IPv4 address), or there is no memory for %s "
            "threads; choose another with --port or --host",
            listen, threads);
    }
    struct mg_server_port ports[4];
    int count = mg_get_server_ports(server->context, 4, ports);
    server->port = count > 0 ? ports[0].port : (int32_t)settings->port;
    *out = server;
    return EXECUTR_OK;
}

int32_t http_port(const http_server *server)
{
    return server->port;
}

void http_close(http_server *server)
{
    if (!server)
        return;
    /* civetweb's stop cuts off whoever is still writing. */
    int64_t until = ex_monotonic_us() + CLOSE_US;
    atomic_store(&server->closing, 1);
    while (atomic_load(&server->serving) && ex_monotonic_us() < until)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    mg_stop(server->context);
    mg_exit_library();
    ex_free(server);
}
