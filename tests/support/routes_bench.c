/* SPDX-License-Identifier: MIT */
#include "support/routes_bench.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"

api a;
executr_error err;
static char directory[64];
api_response response;

void routes_start(void)
{
    char url[128];
    executr_queue *queue = NULL;
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;
    strcpy(directory, "/tmp/executr-routes-XXXXXX");
    cr_assert(mkdtemp(directory));
    snprintf(url, sizeof url, "sqlite://%s/q.db", directory);
    cr_assert_eq(
        executr_store_open(url, NULL, &a.store, &err), 0, "%s", err.message);
    cr_assert_eq(metrics_open(&a.metrics, &err), 0);
    options.events = metrics_events(a.metrics);
    cr_assert_eq(executr_queue_open(a.store, &options, &queue, &err), 0);
    atomic_store(&a.queue, queue);
    a.max_binary_bytes = 1000;
    a.max_output_bytes = 1 << 20;
    a.max_follows = 1;
    api_response_init(&response);
}

void routes_stop(void)
{
    api_response_clear(&response);
    executr_queue_free(atomic_load(&a.queue));
    executr_store_free(a.store);
    metrics_free(a.metrics);
    cr_expect_eq(ex_fs_remove_tree(AT_FDCWD, directory, &err), 0);
}

/* One request; its answer stays in `response`. Returns the status. */
int ask_as(
    const char *method, const char *target, const char *body, const char *type,
    const char *authorization)
{
    static char path[1024];
    api_request request = {.method = method, .content_type = type};
    snprintf(path, sizeof path, "%s", target);
    char *mark = strchr(path, '?');
    if (mark)
        *mark = '\0';
    request.path = path;
    request.query = mark ? mark + 1 : NULL;
    request.authorization = authorization;
    request.body = body;
    request.length = body ? strlen(body) : 0;
    api_response_clear(&response);
    api_response_init(&response);
    const api_route *route = api_find(&request, &response);
    if (route && api_admit(&a, route, &request, &response) == 0)
        api_answer(&a, route, &request, &response);
    return response.status;
}

int ask(const char *method, const char *target, const char *body)
{
    return ask_as(method, target, body, "application/json", NULL);
}

/* A member of the answer as text (numbers too); lasts until the next one. */
const char *answer(const char *name)
{
    static char text[512];
    ex_json *document = NULL;
    text[0] = '\0';
    cr_assert_eq(
        ex_json_parse(
            response.body.data, response.body.length, &document, &err),
        0, "%s: %s", err.message, ex_buf_text(&response.body));
    const ex_json *value = ex_json_get(document, name);
    if (ex_json_type(value) == EX_JSON_STRING)
        snprintf(text, sizeof text, "%s", ex_json_string(value, NULL));
    else if (ex_json_type(value) == EX_JSON_INT)
        snprintf(text, sizeof text, "%lld", (long long)ex_json_int(value));
    ex_json_free(document);
    return text;
}

char job[64];

void submit(void)
{
    cr_assert_eq(ask("POST", "/api/v1/jobs", JOB), 201);
    snprintf(job, sizeof job, "%s", answer("id"));
}

void claim(void)
{
    int status =
        ask("POST", "/api/v1/jobs/claim",
            "{\"executor_id\":\"e\",\"executor_ip\":\"127.0.0.1\"}");
    cr_assert_eq(status, 200);
}

const char *path_of(const char *rest)
{
    static char path[128];
    snprintf(path, sizeof path, "/api/v1/jobs/%s%s", job, rest);
    return path;
}
