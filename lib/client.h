/* SPDX-License-Identifier: MIT */
/*
 * The REST calls an executor makes, split into what is sent and what comes
 * back, so that the blocking client and the worker's event loop share them.
 */
#ifndef EX_CLIENT_H
#define EX_CLIENT_H

#include <executr/client.h>

#include "http.h"
#include "job.h"

struct executr_client {
    ex_http *http;
    char *server_url; /* without trailing slash */
    char *token;
    int64_t network_timeout_ms;
    executr_log log;
};

/* A prepared call: method, URL and body in buffers of its own. */
typedef struct ex_call {
    ex_http_request request;
    ex_buf url;
    ex_buf body;
} ex_call;

void ex_call_init(ex_call *call);
void ex_call_clear(ex_call *call);

/*
 * Begin a call of `method` on `path` below /api/v1; more may be appended to
 * its url and body. Finishing it checks both and points the request at them; a
 * body is sent as JSON. The call must outlive the request.
 */
void ex_call_begin(
    ex_call *call, const executr_client *client, const char *method,
    const char *path);
executr_status ex_call_finish(ex_call *call, executr_error *err)
    EXECUTR_CHECKED;

/* Make a finished call. OK for an answer of 2xx; the caller clears the
 * response. */
executr_status ex_client_call(
    executr_client *client, const ex_call *call, ex_http_response *response,
    executr_error *err) EXECUTR_CHECKED;
/* The same for what has to be finished before and has no answer to read. */
executr_status ex_client_send(
    executr_client *client, ex_call *call, int32_t *http_status,
    executr_error *err) EXECUTR_CHECKED;

/* Say in a failure of ex_http which server it was and what to do about it. */
executr_status ex_client_explain(
    const executr_client *client, executr_status status, executr_error *err);

/* Check that `id` is a job's id: it becomes part of a path. */
executr_status ex_client_check_id(const char *id, executr_error *err)
    EXECUTR_CHECKED;

/* Parse an answer's JSON; `kind` is EX_JSON_OBJECT or _ARRAY, E_PROTOCOL for
 * anything else. Outputs may hold NULs. */
executr_status ex_answer_json(
    const ex_http_response *response, int kind, ex_json **out,
    executr_error *err) EXECUTR_CHECKED;
/* The one job, or the array of them, that an answer holds. */
executr_status ex_answer_job(
    const ex_http_response *response, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_answer_jobs(
    const ex_http_response *response, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;
/* What an HTTP status alone says, as from a proxy in front of the server. */
executr_status ex_answer_http(int32_t http);
/* The code for a word of the API; `fallback` for an unknown one or NULL. */
executr_status ex_answer_word(const char *word, executr_status fallback);

executr_status ex_call_claim(
    const executr_client *client, const executr_claim *claim, ex_call *out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_call_report(
    const executr_client *client, const char *executor_id,
    const executr_report *const *reports, size_t count, ex_call *out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_call_heartbeat(
    const executr_client *client, const executr_heartbeat *heartbeat,
    ex_call *out, executr_error *err) EXECUTR_CHECKED;
/* Its data is borrowed until the end. */
executr_status ex_call_output(
    const executr_client *client, const char *executor_id,
    const executr_output *output, ex_call *out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_call_goodbye(
    const executr_client *client, const char *executor_id, ex_call *out,
    executr_error *err) EXECUTR_CHECKED;

/* What came back, by the same rules as the public functions. */
executr_status ex_answer_claim(
    const ex_http_response *response, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_answer_report(
    const ex_http_response *response, size_t count, executr_status *results,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_answer_output(
    const ex_http_response *response, int32_t *followed,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_answer_heartbeat(
    const ex_http_response *response, executr_heartbeat *heartbeat,
    executr_error *err) EXECUTR_CHECKED;

/* The status and message of an error answer; OK for 2xx. */
executr_status ex_answer_status(
    const ex_http_response *response, executr_error *err) EXECUTR_CHECKED;

#endif
