/* SPDX-License-Identifier: MIT */
/* The table of routes and what all of them share: finding, errors, answers. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/json.h"
#include "base/log.h"
#include "base/url.h"

/* As much as two outputs need when every byte is escaped as six. */
#define OUTPUT_BODY (-2)
#define STREAMED (-1)

static const api_route routes[] = {
    {"GET", "/api/v1/health", route_health, 0, 1, 0},
    {"GET", "/api/v1/metrics", route_metrics, 0, 1, 0},
    {"GET", "/metrics", route_metrics, 0, 1, 0},
    {"POST", "/api/v1/jobs", route_submit, 0, 0, 0},
    {"GET", "/api/v1/jobs", route_list, 0, 0, 0},
    {"POST", "/api/v1/jobs/claim", route_claim, 0, 0, 0},
    {"POST", "/api/v1/jobs/report", route_report, API_BULK_BODY, 0, 0},
    {"POST", "/api/v1/jobs/bulk", route_bulk, API_BULK_BODY, 0, 0},
    {"POST", "/api/v1/jobs/bulk/cancel", route_bulk_cancel, 0, 0, 0},
    {"GET", "/api/v1/jobs/{id}", route_get, 0, 0, 0},
    {"DELETE", "/api/v1/jobs/{id}", route_cancel, 0, 0, 0},
    {"POST", "/api/v1/jobs/{id}/retry", route_retry, 0, 0, 0},
    {"GET", "/api/v1/jobs/{id}/stdout", route_stdout, 0, 0, 0},
    {"GET", "/api/v1/jobs/{id}/stderr", route_stderr, 0, 0, 0},
    {"GET", "/api/v1/jobs/{id}/output", route_output_get, 0, 0, 0},
    {"POST", "/api/v1/jobs/{id}/output", route_output_put, EXECUTR_OUTPUT_MAX,
     0, 1},
    {"PUT", "/api/v1/jobs/{id}/heartbeat", route_job_heartbeat, 0, 0, 0},
    {"PUT", "/api/v1/jobs/{id}/complete", route_complete, OUTPUT_BODY, 0, 0},
    {"PUT", "/api/v1/jobs/{id}/fail", route_fail, OUTPUT_BODY, 0, 0},
    {"PUT", "/api/v1/executors/{id}", route_heartbeat, 0, 0, 0},
    {"DELETE", "/api/v1/executors/{id}", route_goodbye, 0, 0, 0},
    {"GET", "/api/v1/admin/stats", route_stats, 0, 0, 0},
    {"GET", "/api/v1/admin/executors", route_executors, 0, 0, 0},
    {"GET", "/api/v1/binaries/{id}", route_binary_get, 0, 0, 0},
    {"PUT", "/api/v1/binaries/{id}", route_binary_put, STREAMED, 0, 0},
};

#define ROUTES (sizeof routes / sizeof *routes)

void api_response_init(api_response *response)
{
    memset(response, 0, sizeof *response);
    response->status = 500;
    response->content_type = "application/json";
    response->length = -1;
    ex_buf_init(&response->headers, 8192);
    ex_buf_init(&response->body, EX_BUF_UNLIMITED);
}

void api_response_clear(api_response *response)
{
    if (response->counted)
        atomic_fetch_sub(response->counted, 1);
    response->counted = NULL;
    ex_buf_clear(&response->headers);
    ex_buf_clear(&response->body);
}

/* Decode a segment; -1 if it is empty, too long or badly encoded. A slash in
 * it is part of the id. */
static int decode_id(const char *segment, size_t length, char id[256])
{
    ex_buf text;
    ex_buf_init(&text, 255);
    int bad = ex_url_decode(&text, segment, length, 0) || text.failed ||
              text.length == 0;
    if (!bad)
        memcpy(id, ex_buf_text(&text), text.length + 1);
    ex_buf_clear(&text);
    return bad ? -1 : 0;
}

/* 1 if `path` fits `pattern`; its {id} segment goes to `id`. */
static int fits(const char *pattern, const char *path, char id[256])
{
    const char *brace = strchr(pattern, '{');
    if (!brace)
        return strcmp(pattern, path) == 0;
    size_t head = (size_t)(brace - pattern);
    if (strncmp(pattern, path, head) != 0)
        return 0;
    const char *segment = path + head;
    size_t length = strcspn(segment, "/");
    return strcmp(segment + length, brace + 4) == 0 &&
           decode_id(segment, length, id) == 0;
}

static int same_method(const api_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void list_methods(ex_buf *out, const api_route *route)
{
    if (out->length)
        ex_buf_puts(out, ", ");
    ex_buf_puts(out, route->method);
    if (strcmp(route->method, "GET") == 0)
        ex_buf_puts(out, ", HEAD");
}

const api_route *api_find(api_request *request, api_response *response)
{
    ex_buf allow;
    ex_buf_init(&allow, 256);
    const api_route *found = NULL;
    for (size_t i = 0; i < ROUTES && !found; i++) {
        if (!fits(routes[i].pattern, request->path, request->id))
            continue;
        if (same_method(&routes[i], request->method))
            found = &routes[i];
        else if (
            allow.length == 0 || strchr(routes[i].pattern, '{') ||
            strstr(ex_buf_text(&allow), routes[i].method) == NULL)
            list_methods(&allow, &routes[i]);
    }
    if (!found && allow.length) {
        api_errorf(
            response, 405, "method_not_allowed", NULL,
            "%s is not possible here; allowed: %s", request->method,
            ex_buf_text(&allow));
        ex_buf_printf(&response->headers, "Allow: %s\r\n", ex_buf_text(&allow));
    } else if (!found) {
        api_errorf(
            response, 404, "not_found", NULL,
            "no such path; the API is under /api/v1");
    }
    ex_buf_clear(&allow);
    return found;
}

int64_t api_body_limit(const api *a, const api_route *route)
{
    if (route->max_body == OUTPUT_BODY)
        return API_BODY + 12 * a->max_output_bytes;
    return route->max_body ? route->max_body : API_BODY;
}

void api_errorf(
    api_response *response, int32_t status, const char *code, const char *field,
    const char *format, ...)
{
    char words[512];
    va_list list;
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    ex_json_writer w;
    response->status = status;
    response->stream = NULL;
    response->content_type = "application/json";
    ex_buf_reset(&response->body);
    ex_json_begin(&w, &response->body);
    ex_json_open(&w, '{');
    ex_json_add_string(&w, "error", words);
    ex_json_add_string(&w, "code", code);
    ex_json_key(&w, "context");
    ex_json_open(&w, '{');
    if (field && *field)
        ex_json_add_string(&w, "field", field);
    ex_json_close(&w, '}');
    ex_json_close(&w, '}');
    if (status == 503 || status == 429)
        ex_buf_puts(&response->headers, "Retry-After: 1\r\n");
}

void api_error(api_response *response, const executr_error *err)
{
    api_errorf(
        response, executr_status_http(err->status),
        executr_status_word(err->status), err->field, "%s", err->message);
}

/* Equal without telling by time where they differ. */
static int same_secret(const char *a, const char *b)
{
    size_t n = strlen(a);
    unsigned char differ = n != strlen(b);
    for (size_t i = 0; b[i]; i++)
        differ |= (unsigned char)(b[i] ^ a[n ? i % n : 0]);
    return !differ;
}

static int may_enter(const api *a, const api_request *request)
{
    static const char scheme[] = "Bearer ";
    const char *given = request->authorization;
    if (!a->token)
        return 1;
    return given && strncasecmp(given, scheme, sizeof scheme - 1) == 0 &&
           same_secret(a->token, given + sizeof scheme - 1);
}

static int is_json(const char *content_type)
{
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;
    if (!content_type || strncasecmp(content_type, json, n) != 0)
        return 0;
    return content_type[n] == '\0' || content_type[n] == ';' ||
           content_type[n] == ' ';
}

int api_admit(
    const api *a, const api_route *route, const api_request *request,
    api_response *response)
{
    if (route->open || may_enter(a, request))
        return 0;
    api_errorf(
        response, 401, "unauthorized", NULL,
        "a valid token is needed: send Authorization: Bearer TOKEN");
    ex_buf_puts(&response->headers, "WWW-Authenticate: Bearer\r\n");
    return -1;
}

void api_answer(
    api *a, const api_route *route, api_request *request,
    api_response *response)
{
    if (request->length && !request->read && !route->raw &&
        !is_json(request->content_type)) {
        api_errorf(
            response, 415, "unsupported_media_type", "Content-Type",
            "the body must be sent as Content-Type: application/json");
        return;
    }
    route->handle(a, request, response);
}

executr_queue *api_queue(api *a, api_response *response)
{
    executr_queue *queue = atomic_load(&a->queue);
    if (!queue)
        api_errorf(
            response, 503, "unavailable", NULL,
            "the database is not reachable yet; try again soon");
    return queue;
}

executr_request *api_parse(
    api_request *request, api_response *response, int32_t kind)
{
    executr_error err;
    executr_request *parsed = NULL;
    const char *id = request->id[0] ? request->id : NULL;
    if (executr_request_parse(
            kind, id, request->body ? request->body : "", request->length,
            &parsed, &err)) {
        api_error(response, &err);
        return NULL;
    }
    return parsed;
}

void api_put_job(
    api_response *response, int32_t status, const executr_jobs *jobs,
    int32_t parts)
{
    executr_error err;
    ex_buf_reset(&response->body);
    response->status = status;
    if (executr_job_json(
            executr_jobs_at(jobs, 0), parts, ex_buf_write, &response->body,
            &err))
        api_error(response, &err);
}

void api_put_jobs(
    api_response *response, int32_t status, const executr_jobs *jobs)
{
    executr_error err;
    response->status = status;
    ex_buf_putc(&response->body, '[');
    for (size_t i = 0; i < executr_jobs_count(jobs); i++) {
        if (i)
            ex_buf_putc(&response->body, ',');
        if (executr_job_json(
                executr_jobs_at(jobs, i), 0, ex_buf_write, &response->body,
                &err)) {
            api_error(response, &err);
            return;
        }
    }
    ex_buf_putc(&response->body, ']');
}

int api_query(
    const api_request *request, const char *name, ex_buf *out,
    api_response *response)
{
    int found = ex_url_query(out, request->query, name);
    if (found < 0)
        api_errorf(
            response, 400, "invalid_argument", name,
            "query parameter %s is not correctly encoded", name);
    return found;
}

/* Digits only, perhaps behind a minus; 0, or -1. */
static int read_number(const char *text, int64_t *out)
{
    const char *digits = text + (*text == '-');
    char *end;
    if (*digits < '0' || *digits > '9')
        return -1;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno || *end ? -1 : 0;
}

int api_query_i64(
    const api_request *request, const char *name, int64_t min, int64_t max,
    int64_t *out, api_response *response)
{
    ex_buf text;
    ex_buf_init(&text, 64);
    int found = api_query(request, name, &text, response);
    int64_t value = 0;
    if (found > 0 && (text.failed || read_number(ex_buf_text(&text), &value) ||
                      value < min || value > max)) {
        api_errorf(
            response, 400, "invalid_argument", name,
            "%s must be a whole number from %lld to %lld", name, (long long)min,
            (long long)max);
        found = -1;
    }
    if (found > 0)
        *out = value;
    ex_buf_clear(&text);
    return found < 0 ? -1 : 0;
}
