/* SPDX-License-Identifier: MIT */
/*
 * The REST client: its handle, and what all calls share. Hides how answers
 * become statuses.
 */
#include "client.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/options.h"
#include "base/url.h"

#define DEFAULT_URL "http://127.0.0.1:8080"
#define DEFAULT_TIMEOUT_MS INT64_C(60000)
#define ANSWER_BYTES (INT64_C(1) << 30) /* 1,000 jobs can be that large */

/* 1 if the traffic of `url` can be read by others on the network. */
static int is_exposed(const char *url)
{
    static const char *const safe[] = {"localhost", "127.", "[::1]"};

    if (strncasecmp(url, "http://", 7) != 0)
        return 0;
    for (size_t i = 0; i < sizeof safe / sizeof safe[0]; i++) {
        if (strncasecmp(url + 7, safe[i], strlen(safe[i])) == 0)
            return 0;
    }
    return 1;
}

static executr_status set_url(
    executr_client *client, const char *url, executr_error *err)
{
    if (!url || !*url)
        url = DEFAULT_URL;
    if (!ex_url_is_http(url) || strpbrk(url, "?#"))
        return ex_fail_field(
            err, "server_url",
            "server URL '%.200s' is not like http://host:8080 or "
            "https://host/path",
            url);
    executr_status st = ex_strdup(&client->server_url, url, err);
    if (st)
        return st;
    size_t length = strlen(client->server_url);
    while (client->server_url[length - 1] == '/')
        client->server_url[--length] = '\0';
    return EXECUTR_OK;
}

static executr_status set_options(
    executr_client *client, const executr_client_options *options,
    executr_error *err)
{
    executr_client_options opt;

    executr_status st =
        ex_options_read(&opt, sizeof opt, sizeof opt, options, err);
    if (st)
        return st;
    if (opt.network_timeout_ms < 0)
        return ex_fail_field(
            err, "network_timeout_ms",
            "network_timeout_ms must not be negative");
    client->network_timeout_ms =
        opt.network_timeout_ms ? opt.network_timeout_ms : DEFAULT_TIMEOUT_MS;
    client->log = opt.log;
    st = set_url(client, opt.server_url, err);
    if (!st && opt.token)
        st = ex_strdup(&client->token, opt.token, err);
    return st;
}

executr_status executr_client_open(
    const executr_client_options *options, executr_client **out,
    executr_error *err)
{
    void *memory;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(executr_client), err);
    if (st)
        return st;
    executr_client *client = memory;
    st = set_options(client, options, err);
    if (!st)
        st = ex_http_open(&client->http, err);
    if (st) {
        executr_client_free(client);
        return st;
    }
    if (client->token && is_exposed(client->server_url))
        ex_log(
            &client->log, EXECUTR_LOG_WARN,
            "the token travels unencrypted: use an https URL", NULL);
    *out = client;
    return EXECUTR_OK;
}

void executr_client_free(executr_client *client)
{
    if (!client)
        return;
    ex_http_free(client->http);
    ex_free(client->server_url);
    ex_free(client->token);
    ex_free(client);
}

const char *executr_client_url(const executr_client *client)
{
    return client->server_url;
}

void ex_call_init(ex_call *call)
{
    memset(call, 0, sizeof *call);
    ex_buf_init(&call->url, EX_BUF_UNLIMITED);
    ex_buf_init(&call->body, EX_BUF_UNLIMITED);
}

void ex_call_clear(ex_call *call)
{
    ex_buf_clear(&call->url);
    ex_buf_clear(&call->body);
    ex_call_init(call);
}

void ex_call_begin(
    ex_call *call, const executr_client *client, const char *method,
    const char *path)
{
    ex_call_init(call);
    call->request.method = method;
    call->request.token = client->token;
    call->request.timeout_ms = client->network_timeout_ms;
    call->request.max_bytes = ANSWER_BYTES;
    ex_buf_printf(&call->url, "%s/api/v1%s", client->server_url, path);
}

executr_status ex_call_finish(ex_call *call, executr_error *err)
{
    static const char *const json[] = {"Content-Type: application/json", NULL};

    executr_status st = ex_buf_status(&call->url, "a URL", err);
    if (!st)
        st = ex_buf_status(&call->body, "a request's body", err);
    if (st)
        return st;
    call->request.url = call->url.data;
    if (call->body.length) {
        call->request.body = call->body.data;
        call->request.body_length = call->body.length;
        if (!call->request.headers)
            call->request.headers = json;
    }
    return EXECUTR_OK;
}

executr_status ex_client_explain(
    const executr_client *client, executr_status status, executr_error *err)
{
    ex_buf shown;

    if (status != EXECUTR_E_UNAVAILABLE || !err)
        return status;
    int32_t native = err->native;
    const char *words = strstr(err->message, ": ");
    words = words ? words + 2 : err->message;
    ex_buf_init(&shown, EX_BUF_UNLIMITED);
    ex_http_show_url(&shown, client->server_url);
    ex_fail(
        err, status,
        "no executr server answers at %s (%s): is it running, and is this its "
        "URL?",
        ex_buf_text(&shown), words);
    err->native = native;
    ex_buf_clear(&shown);
    return status;
}

executr_status ex_client_call(
    executr_client *client, const ex_call *call, ex_http_response *response,
    executr_error *err)
{
    executr_status st =
        ex_http_call(client->http, &call->request, response, err);
    if (st)
        return ex_client_explain(client, st, err);
    return ex_answer_status(response, err);
}

executr_status ex_client_send(
    executr_client *client, ex_call *call, int32_t *http_status,
    executr_error *err)
{
    ex_http_response response;

    executr_status st = ex_call_finish(call, err);
    if (st)
        return st;
    st = ex_client_call(client, call, &response, err);
    if (http_status)
        *http_status = response.status;
    ex_http_response_clear(&response);
    return st;
}

executr_status ex_client_check_id(const char *id, executr_error *err)
{
    ex_uuid uuid;

    if (!id || ex_uuid_parse(id, &uuid))
        return ex_fail_field(
            err, "id", "'%.100s' is no job id (36 lower-case characters)",
            id ? id : "");
    return EXECUTR_OK;
}

executr_status executr_client_health(executr_client *client, executr_error *err)
{
    ex_call call;
    int32_t status = 0;

    ex_call_begin(&call, client, "GET", "/health");
    executr_status st = ex_client_send(client, &call, &status, err);
    if (st == EXECUTR_E_UNAVAILABLE && status == 503)
        st = ex_fail(
            err, st, "the server at %s runs, but its database is away",
            client->server_url);
    ex_call_clear(&call);
    return st;
}

executr_status executr_client_stats(
    executr_client *client, executr_stats **out, executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};
    ex_json *json = NULL;

    *out = NULL;
    ex_call_begin(&call, client, "GET", "/admin/stats");
    executr_status st = ex_call_finish(&call, err);
    if (!st)
        st = ex_client_call(client, &call, &response, err);
    if (!st)
        st = ex_answer_json(&response, EX_JSON_OBJECT, &json, err);
    if (!st)
        st = ex_stats_read(json, out, err);
    ex_json_free(json);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}

static executr_status read_executors(
    const ex_json *array, executr_executors **out, executr_error *err)
{
    executr_status st = ex_executors_new(out, err);

    for (size_t i = 0; !st && i < ex_json_count(array); i++)
        st = ex_executor_read(ex_json_at(array, i), *out, err);
    if (st) {
        executr_executors_free(*out);
        *out = NULL;
    }
    return st;
}

executr_status executr_client_executors(
    executr_client *client, executr_executors **out, executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};
    ex_json *json = NULL;

    *out = NULL;
    ex_call_begin(&call, client, "GET", "/admin/executors");
    executr_status st = ex_call_finish(&call, err);
    if (!st)
        st = ex_client_call(client, &call, &response, err);
    if (!st)
        st = ex_answer_json(&response, EX_JSON_ARRAY, &json, err);
    if (!st)
        st = read_executors(json, out, err);
    ex_json_free(json);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}
