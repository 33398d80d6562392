/* SPDX-License-Identifier: MIT */
/* Routes of operators: health, metrics, figures, executors. */
#include "api.h"

void route_health(api *a, api_request *request, api_response *response)
{
    executr_error err;
    (void)request;
    executr_queue *queue = atomic_load(&a->queue);
    if (queue && executr_store_ping(a->store, &err) == EXECUTR_OK) {
        response->status = 200;
        ex_buf_puts(
            &response->body,
            "{\"status\":\"healthy\",\"database\":\"connected\"}");
        return;
    }
    response->status = 503;
    ex_buf_puts(&response->headers, "Retry-After: 1\r\n");
    ex_buf_puts(
        &response->body,
        "{\"status\":\"unhealthy\",\"database\":\"disconnected\"}");
}

void route_metrics(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_stats *stats = NULL;
    (void)request;
    executr_queue *queue = atomic_load(&a->queue);
    /* Without the store its gauges are missing; the rest is still told. */
    if (queue && executr_queue_stats(queue, &stats, &err))
        stats = NULL;
    response->status = 200;
    response->content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_write(
        a->metrics, stats,
        queue ? executr_store_connections_active(a->store) : 0,
        &response->body);
    executr_stats_free(stats);
}

void route_stats(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_stats *stats = NULL;
    (void)request;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    response->status = 200;
    if (executr_queue_stats(queue, &stats, &err) ||
        executr_stats_json(stats, ex_buf_write, &response->body, &err))
        api_error(response, &err);
    executr_stats_free(stats);
}

void route_executors(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_executors *executors = NULL;
    (void)request;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    response->status = 200;
    if (executr_queue_executors(queue, &executors, &err) ||
        executr_executors_json(executors, ex_buf_write, &response->body, &err))
        api_error(response, &err);
    executr_executors_free(executors);
}
