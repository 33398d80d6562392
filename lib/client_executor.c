/* SPDX-License-Identifier: MIT */
/* The calls of executors: claim, report, heartbeat, goodbye. */
#include "client.h"

#include "base/fail.h"
#include "base/url.h"

executr_status ex_call_claim(
    const executr_client *client, const executr_claim *claim, ex_call *out,
    executr_error *err)
{
    executr_claim c;
    ex_json_writer w;

    ex_call_begin(out, client, "POST", "/jobs/claim");
    executr_status st = ex_claim_check(claim, &c, err);
    if (st)
        return st;
    out->request.timeout_ms += c.wait_ms;
    ex_json_begin(&w, &out->body);
    ex_claim_write(&c, &w);
    return ex_call_finish(out, err);
}

executr_status ex_call_report(
    const executr_client *client, const char *executor_id,
    const executr_report *const *reports, size_t count, ex_call *out,
    executr_error *err)
{
    ex_arena arena = EX_ARENA_INIT;
    ex_json_writer w;

    ex_call_begin(out, client, "POST", "/jobs/report");
    executr_status st = ex_executor_id_check(executor_id, err);
    ex_json_begin(&w, &out->body);
    ex_json_open(&w, '{');
    ex_json_add_string(&w, "executor_id", executor_id);
    ex_json_key(&w, "reports");
    ex_json_open(&w, '[');
    for (size_t i = 0; !st && i < count; i++) {
        executr_report report;
        st = ex_report_check(reports[i], &arena, &report, err);
        if (!st)
            ex_report_write(&report, 1, &w);
    }
    ex_json_close(&w, ']');
    ex_json_close(&w, '}');
    ex_arena_clear(&arena);
    return st ? st : ex_call_finish(out, err);
}

/* PUT or DELETE /executors/{id} */
static void begin_executor(
    ex_call *out, const executr_client *client, const char *method,
    const char *executor_id)
{
    ex_call_begin(out, client, method, "/executors/");
    ex_url_encode(&out->url, executor_id);
}

executr_status ex_call_heartbeat(
    const executr_client *client, const executr_heartbeat *heartbeat,
    ex_call *out, executr_error *err)
{
    executr_heartbeat h;
    ex_json_writer w;

    ex_call_init(out);
    executr_status st = ex_heartbeat_check(heartbeat, &h, err);
    if (st)
        return st;
    begin_executor(out, client, "PUT", h.executor_id);
    ex_json_begin(&w, &out->body);
    ex_heartbeat_write(&h, &w);
    return ex_call_finish(out, err);
}

executr_status ex_call_goodbye(
    const executr_client *client, const char *executor_id, ex_call *out,
    executr_error *err)
{
    ex_call_init(out);
    executr_status st = ex_executor_id_check(executor_id, err);
    if (st)
        return st;
    begin_executor(out, client, "DELETE", executor_id);
    return ex_call_finish(out, err);
}

/* Make a prepared call and leave its errors to the reader of the answer. */
static executr_status exchange(
    executr_client *client, const ex_call *call, ex_http_response *response,
    executr_error *err)
{
    executr_status st =
        ex_http_call(client->http, &call->request, response, err);

    return st ? ex_client_explain(client, st, err) : EXECUTR_OK;
}

executr_status executr_client_claim(
    executr_client *client, const executr_claim *claim, executr_jobs **out,
    executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};

    *out = NULL;
    executr_status st = ex_call_claim(client, claim, &call, err);
    if (!st)
        st = exchange(client, &call, &response, err);
    if (!st)
        st = ex_answer_claim(&response, out, err);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}

executr_status executr_client_report(
    executr_client *client, const char *executor_id,
    const executr_report *const *reports, size_t count, executr_status *results,
    executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};

    if (count == 0)
        return EXECUTR_OK;
    executr_status st =
        ex_call_report(client, executor_id, reports, count, &call, err);
    if (!st)
        st = exchange(client, &call, &response, err);
    if (!st)
        st = ex_answer_report(&response, count, results, err);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}

executr_status executr_client_heartbeat(
    executr_client *client, executr_heartbeat *heartbeat, executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};

    executr_status st = ex_call_heartbeat(client, heartbeat, &call, err);
    if (!st)
        st = exchange(client, &call, &response, err);
    if (!st)
        st = ex_answer_heartbeat(&response, heartbeat, err);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}

executr_status executr_client_goodbye(
    executr_client *client, const char *executor_id, executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};

    executr_status st = ex_call_goodbye(client, executor_id, &call, err);
    if (!st)
        st = ex_client_call(client, &call, &response, err);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}
