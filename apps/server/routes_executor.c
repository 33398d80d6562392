/* SPDX-License-Identifier: MIT */
/* Routes of executors: claim, heartbeat, report, goodbye. */
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "base/alloc.h"

void route_claim(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_request *body = api_parse(request, response, EXECUTR_REQUEST_CLAIM);
    if (!body)
        return;
    if (executr_queue_claim(queue, executr_request_claim(body), &jobs, &err))
        api_error(response, &err);
    else if (executr_jobs_count(jobs) == 0)
        response->status = 204;
    else if (executr_request_wants_array(body))
        api_put_jobs(response, 200, jobs);
    else
        api_put_job(response, 200, jobs, 0);
    executr_jobs_free(jobs);
    executr_request_free(body);
}

static void put_verdict(
    api_response *response, const char *job_id, int32_t verdict)
{
    switch (verdict) {
    case EXECUTR_LEASE_KEPT:
    case EXECUTR_LEASE_FOLLOWED: /* told to whole heartbeats */
        response->status = 204;
        break;
    case EXECUTR_LEASE_CANCEL:
        response->status = 200;
        ex_buf_puts(&response->body, "{\"cancel\":true}");
        break;
    case EXECUTR_LEASE_UNKNOWN:
        api_errorf(
            response, 404, "not_found", "id", "there is no job %s", job_id);
        break;
    default:
        api_errorf(
            response, 409, "lost_attempt", "id",
            "this attempt of job %s is not this executor's (any more); stop it",
            job_id);
    }
}

void route_job_heartbeat(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_request *body =
        api_parse(request, response, EXECUTR_REQUEST_JOB_HEARTBEAT);
    if (!body)
        return;
    executr_lease *lease = executr_request_lease(body);
    if (executr_queue_heartbeat_job(
            queue, executr_request_executor_id(body), lease, &err))
        api_error(response, &err);
    else
        put_verdict(response, request->id, lease->verdict);
    executr_request_free(body);
}

/* One end, by PUT /jobs/{id}/complete or /fail. */
static void report_one(
    api *a, api_request *request, api_response *response, int32_t kind)
{
    executr_error err;
    executr_status result = EXECUTR_OK;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_request *body = api_parse(request, response, kind);
    if (!body)
        return;
    const executr_report *report = executr_request_report(body, 0);
    if (executr_queue_report(
            queue, executr_request_executor_id(body), &report, 1, &result,
            &err)) {
        api_error(response, &err);
    } else if (result == EXECUTR_OK) {
        response->status = 204;
    } else if (result == EXECUTR_E_NOT_FOUND) {
        put_verdict(response, request->id, EXECUTR_LEASE_UNKNOWN);
    } else if (result == EXECUTR_E_LOST) {
        put_verdict(response, request->id, EXECUTR_LEASE_LOST);
    } else {
        api_errorf(
            response, executr_status_http(result), executr_status_word(result),
            NULL, "this report can't be recorded");
    }
    executr_request_free(body);
}

void route_complete(api *a, api_request *request, api_response *response)
{
    report_one(a, request, response, EXECUTR_REQUEST_COMPLETE);
}

void route_fail(api *a, api_request *request, api_response *response)
{
    report_one(a, request, response, EXECUTR_REQUEST_FAIL);
}

void route_report(api *a, api_request *request, api_response *response)
{
    executr_error err;
    void *memory = NULL;
    void *results = NULL;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_request *body =
        api_parse(request, response, EXECUTR_REQUEST_REPORT);
    if (!body)
        return;
    size_t count = executr_request_count(body);
    executr_status st =
        ex_alloc_array(&memory, count, sizeof(executr_report *), &err);
    if (!st)
        st = ex_alloc_array(&results, count, sizeof(executr_status), &err);
    const executr_report **reports = memory;
    for (size_t i = 0; !st && i < count; i++)
        reports[i] = executr_request_report(body, i);
    if (!st)
        st = executr_queue_report(
            queue, executr_request_executor_id(body), reports, count, results,
            &err);
    response->status = 200;
    if (!st)
        st = executr_report_results_json(
            body, results, ex_buf_write, &response->body, &err);
    if (st)
        api_error(response, &err);
    ex_free(results);
    ex_free(memory);
    executr_request_free(body);
}

void route_heartbeat(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_request *body =
        api_parse(request, response, EXECUTR_REQUEST_HEARTBEAT);
    if (!body)
        return;
    executr_heartbeat *heartbeat = executr_request_heartbeat(body);
    response->status = 200;
    if (executr_queue_heartbeat(queue, heartbeat, &err) ||
        executr_heartbeat_json(heartbeat, ex_buf_write, &response->body, &err))
        api_error(response, &err);
    executr_request_free(body);
}

void route_goodbye(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    if (executr_queue_goodbye(queue, request->id, &err))
        api_error(response, &err);
    else
        response->status = 204;
}
