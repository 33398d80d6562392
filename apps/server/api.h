/* SPDX-License-Identifier: MIT */
/*
 * The REST API as functions from a request to a response, without a socket.
 * routes.c has the table and what all routes share; routes_*.c the handlers.
 */
#ifndef SERVER_API_H
#define SERVER_API_H

#include <executr/executr.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "metrics.h"

typedef struct api {
    /* NULL while the store can't be opened: everything answers 503 then. Set
     * once. */
    _Atomic(executr_queue *) queue;
    executr_store *store; /* belongs to the queue above */
    metrics *metrics;
    const char *token; /* wanted as Bearer token; NULL: open */
    int64_t max_binary_bytes;
    int64_t max_output_bytes;
    atomic_int stopping; /* long answers end soon */
    atomic_int follows;  /* answers that wait for a job, each a thread */
    int32_t max_follows;
    executr_log log;
} api;

typedef struct api_request {
    const char *method;
    const char *path;  /* as it was sent, without query string */
    const char *query; /* or NULL */
    const char *content_type;
    const char *authorization;
    const char *idempotency_key;
    const char *range;
    const char *if_range;
    const char *body;
    size_t length;
    executr_read read; /* the body of a route that streams it */
    void *read_ctx;
    char id[256]; /* what stands for {id} in the path, decoded */
} api_request;

struct api_response;

/* Writes the rest of an answer that is longer than memory should hold. */
typedef executr_status (*api_stream)(
    api *a, struct api_response *response, executr_write write, void *ctx,
    executr_error *err);

typedef struct api_response {
    int32_t status;
    const char *content_type;
    ex_buf headers; /* "Name: value\r\n"… beside the usual ones */
    ex_buf body;
    api_stream stream; /* or NULL: the body is all */
    char subject[256]; /* what the stream is about */
    int64_t offset;
    int32_t which;
    int32_t framed;  /* a followed output is told in frames */
    int32_t streams; /* of it: bits 1 << stream */
    int32_t attempt;
    int64_t offsets[2];
    int64_t length;      /* of the stream; -1 unknown */
    atomic_int *counted; /* counts this answer while it lasts; or NULL */
} api_response;

typedef struct api_route {
    const char *method;
    const char *pattern; /* "/api/v1/jobs/{id}"; {id} is one segment */
    void (*handle)(api *a, api_request *request, api_response *response);
    int64_t max_body; /* bytes; 0: API_BODY; -1: streamed */
    int32_t open;     /* needs no token */
    int32_t raw;      /* the body is bytes, not JSON */
} api_route;

#define API_BODY (INT64_C(4) << 20)
#define API_BULK_BODY (INT64_C(64) << 20)

/*
 * Find the route of request->method and path and fill request->id; NULL with
 * the response filled (404, or 405 with Allow). A GET route serves HEAD too.
 */
const api_route *api_find(api_request *request, api_response *response);

/* The most bytes of body this route takes. */
int64_t api_body_limit(const api *a, const api_route *route);

/* 0 if the request may use the route (token), else -1 with 401 answered. To be
 * asked before the body is read. */
int api_admit(
    const api *a, const api_route *route, const api_request *request,
    api_response *response);

/* Answer an admitted request: checks the content type, then the route's
 * handler. */
void api_answer(
    api *a, const api_route *route, api_request *request,
    api_response *response);

void api_response_init(api_response *response);
void api_response_clear(api_response *response);

/* Fill the response with an error in the shape of the API. */
void api_error(api_response *response, const executr_error *err);
void api_errorf(
    api_response *response, int32_t status, const char *code, const char *field,
    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The rest is for the handlers. */

/* The queue, or NULL with a 503. */
executr_queue *api_queue(api *a, api_response *response);

/* Parse the body; NULL with the error answered. */
executr_request *api_parse(
    api_request *request, api_response *response, int32_t kind);

/* The i-th record as the whole answer, or an array of all. */
void api_put_job(
    api_response *response, int32_t status, const executr_jobs *jobs,
    int32_t parts);
void api_put_jobs(
    api_response *response, int32_t status, const executr_jobs *jobs);

/* A query parameter: 1 and its text in `out`, 0 absent, -1 answered. */
int api_query(
    const api_request *request, const char *name, ex_buf *out,
    api_response *response);
/* A whole number in a range; *out unchanged when absent; -1 answered. */
int api_query_i64(
    const api_request *request, const char *name, int64_t min, int64_t max,
    int64_t *out, api_response *response);

int api_is_over(const executr_job *job);

/* Let the answer go on with what the job prints until it is over. */
void api_follow(api *a, const executr_job *job, api_response *response);

/* Handlers. */
void route_health(api *a, api_request *request, api_response *response);
void route_metrics(api *a, api_request *request, api_response *response);
void route_stats(api *a, api_request *request, api_response *response);
void route_executors(api *a, api_request *request, api_response *response);
void route_submit(api *a, api_request *request, api_response *response);
void route_list(api *a, api_request *request, api_response *response);
void route_get(api *a, api_request *request, api_response *response);
void route_stdout(api *a, api_request *request, api_response *response);
void route_stderr(api *a, api_request *request, api_response *response);
void route_output_get(api *a, api_request *request, api_response *response);
void route_output_put(api *a, api_request *request, api_response *response);
void route_cancel(api *a, api_request *request, api_response *response);
void route_retry(api *a, api_request *request, api_response *response);
void route_bulk(api *a, api_request *request, api_response *response);
void route_bulk_cancel(api *a, api_request *request, api_response *response);
void route_claim(api *a, api_request *request, api_response *response);
void route_job_heartbeat(api *a, api_request *request, api_response *response);
void route_complete(api *a, api_request *request, api_response *response);
void route_fail(api *a, api_request *request, api_response *response);
void route_report(api *a, api_request *request, api_response *response);
void route_heartbeat(api *a, api_request *request, api_response *response);
void route_goodbye(api *a, api_request *request, api_response *response);
void route_binary_get(api *a, api_request *request, api_response *response);
void route_binary_put(api *a, api_request *request, api_response *response);

#endif
