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
    ex_buf base;  /* server URL without trailing slash, + /api/v1 */
    ex_buf url;   /* of the call being made */
    ex_buf body;
    char *server_url;
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
executr_status ex_call_goodbye(
    const executr_client *client, const char *executor_id, ex_call *out,
    executr_error *err) EXECUTR_CHECKED;

/* What came back, by the same rules as the public functions. */
executr_status ex_answer_claim(
    const ex_http_response *response, executr_jobs **out, executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_answer_report(
    const ex_http_response *response, size_t count, executr_status *results,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_answer_heartbeat(
    const ex_http_response *response, executr_heartbeat *heartbeat,
    executr_error *err) EXECUTR_CHECKED;

/* The status and message of an error answer; OK for 2xx. */
executr_status ex_answer_status(
    const ex_http_response *response, executr_error *err) EXECUTR_CHECKED;

#endif
