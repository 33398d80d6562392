/* SPDX-License-Identifier: MIT */
/* Reads answers of the API: errors as statuses, jobs as records. */
#include "client.h"

#include <string.h>

#include "base/fail.h"
#include "job.h"

executr_status ex_answer_word(const char *word, executr_status fallback)
{
    static const struct {
        executr_status status;
        const char *word;
    } words[] = {
#define ROW(number, name, text, http, retriable) {number, text},
        EXECUTR_STATUS_MAP(ROW)
#undef ROW
    };

    for (size_t i = 0; word && i < sizeof words / sizeof words[0]; i++) {
        if (words[i].status && strcmp(words[i].word, word) == 0)
            return words[i].status;
    }
    return fallback;
}

executr_status ex_answer_http(int32_t http)
{
    switch (http) {
    case 400:
        return EXECUTR_E_ARGUMENT;
    case 401:
    case 403:
        return EXECUTR_E_AUTH;
    case 404:
        return EXECUTR_E_NOT_FOUND;
    case 405:
    case 415:
    case 501:
        return EXECUTR_E_UNSUPPORTED;
    case 408:
    case 504:
        return EXECUTR_E_TIMEOUT;
    case 409:
        return EXECUTR_E_CONFLICT;
    case 413:
        return EXECUTR_E_TOO_LARGE;
    case 429:
    case 502:
    case 503:
        return EXECUTR_E_UNAVAILABLE;
    case 500:
        return EXECUTR_E_INTERNAL;
    default:
        return EXECUTR_E_PROTOCOL;
    }
}

/* {"error": "human words", "code": "word", "context": {"field": "…"}} */
static executr_status read_error(
    const ex_json *object, int32_t http, executr_error *err)
{
    const char *words = NULL;
    const char *code = NULL;
    const char *field = NULL;

    if (ex_json_read_string(object, "error", &words, NULL) || !words)
        return EXECUTR_OK;
    ex_ignore(ex_json_read_string(object, "code", &code, NULL));
    const ex_json *context = ex_json_get(object, "context");
    if (ex_json_type(context) == EX_JSON_OBJECT)
        ex_ignore(ex_json_read_string(context, "field", &field, NULL));
    executr_status st = ex_answer_word(code, ex_answer_http(http));
    if (field)
        ex_fail_field(err, field, "%s", words);
    else
        ex_fail(err, st, "%s", words);
    if (err)
        err->status = st;
    return st;
}

executr_status ex_answer_status(
    const ex_http_response *response, executr_error *err)
{
    const ex_buf *body = &response->body;
    ex_json *json = NULL;
    executr_status st = EXECUTR_OK;

    if (response->status >= 200 && response->status <= 299)
        return EXECUTR_OK;
    if (body->length &&
        ex_json_parse(body->data, body->length, &json, NULL) == EXECUTR_OK &&
        ex_json_type(json) == EX_JSON_OBJECT)
        st = read_error(json, response->status, err);
    ex_json_free(json);
    if (!st)
        st = ex_fail(
            err, ex_answer_http(response->status),
            "the server answered HTTP %d and not why: is its URL that of an "
            "executr server?",
            (int)response->status);
    if (err)
        err->native = response->status;
    return st;
}

executr_status ex_answer_json(
    const ex_http_response *response, int kind, ex_json **out,
    executr_error *err)
{
    const ex_buf *body = &response->body;

    executr_status st =
        ex_json_parse_nul(ex_buf_text(body), body->length, out, err);
    if (!st && ex_json_type(*out) != kind)
        st = ex_fail(
            err, EXECUTR_E_ARGUMENT, "the answer is no %s",
            kind == EX_JSON_ARRAY ? "array" : "object");
    if (!st || st == EXECUTR_E_NOMEM)
        return st;
    ex_json_free(*out);
    *out = NULL;
    return ex_fail(
        err, EXECUTR_E_PROTOCOL,
        "this is not an answer of an executr server, is its URL right? (%s)",
        err ? err->message : "");
}

static executr_status read_jobs(
    const ex_json *json, executr_jobs **out, executr_error *err)
{
    executr_status st = ex_jobs_new(out, err);

    if (!st && ex_json_type(json) == EX_JSON_OBJECT)
        st = ex_job_read(json, *out, err);
    for (size_t i = 0; !st && i < ex_json_count(json); i++) {
        if (ex_json_type(json) != EX_JSON_ARRAY)
            break;
        st = ex_job_read(ex_json_at(json, i), *out, err);
    }
    if (st) {
        executr_jobs_free(*out);
        *out = NULL;
    }
    return st;
}

executr_status ex_answer_job(
    const ex_http_response *response, executr_jobs **out, executr_error *err)
{
    ex_json *json = NULL;

    *out = NULL;
    executr_status st = ex_answer_json(response, EX_JSON_OBJECT, &json, err);
    if (!st)
        st = read_jobs(json, out, err);
    ex_json_free(json);
    return st;
}

executr_status ex_answer_jobs(
    const ex_http_response *response, executr_jobs **out, executr_error *err)
{
    ex_json *json = NULL;

    *out = NULL;
    executr_status st = ex_answer_json(response, EX_JSON_ARRAY, &json, err);
    if (!st)
        st = read_jobs(json, out, err);
    ex_json_free(json);
    return st;
}

executr_status ex_answer_claim(
    const ex_http_response *response, executr_jobs **out, executr_error *err)
{
    *out = NULL;
    executr_status st = ex_answer_status(response, err);
    if (st)
        return st;
    if (response->status == 204)
        return ex_jobs_new(out, err);
    /* We name max_jobs and get an array; older ones answer a single job. */
    const char *text = ex_buf_text(&response->body);
    if (text[strspn(text, " \t\r\n")] == '{')
        return ex_answer_job(response, out, err);
    return ex_answer_jobs(response, out, err);
}

static executr_status read_result(
    const ex_json *object, executr_status *out, executr_error *err)
{
    int32_t accepted = 0;
    const char *code = NULL;

    executr_status st = ex_json_read_bool(object, "accepted", &accepted, err);
    if (!st)
        st = ex_json_read_string(object, "code", &code, err);
    *out = accepted ? EXECUTR_OK : ex_answer_word(code, EXECUTR_E_INTERNAL);
    return ex_as_protocol(st, err);
}

executr_status ex_answer_report(
    const ex_http_response *response, size_t count, executr_status *results,
    executr_error *err)
{
    ex_json *json = NULL;
    ex_json *array = NULL;

    executr_status st = ex_answer_status(response, err);
    if (!st)
        st = ex_answer_json(response, EX_JSON_OBJECT, &json, err);
    if (!st)
        st = ex_as_protocol(
            ex_json_read_container(json, "results", EX_JSON_ARRAY, &array, err),
            err);
    if (!st && ex_json_count(array) != count)
        st = ex_fail(
            err, EXECUTR_E_PROTOCOL, "the server answered %zu of %zu reports",
            ex_json_count(array), count);
    for (size_t i = 0; !st && i < count; i++)
        st = read_result(ex_json_at(array, i), &results[i], err);
    ex_json_free(json);
    return st;
}

/* Set the verdict of every lease that the array names. */
static executr_status mark(
    const ex_json *json, const char *name, int32_t verdict,
    executr_heartbeat *heartbeat, executr_error *err)
{
    ex_json *ids = NULL;

    executr_status st = ex_as_protocol(
        ex_json_read_container(json, name, EX_JSON_ARRAY, &ids, err), err);
    for (size_t i = 0; !st && i < ex_json_count(ids); i++) {
        const ex_json *id = ex_json_at(ids, i);
        if (ex_json_type(id) != EX_JSON_STRING)
            return ex_fail(
                err, EXECUTR_E_PROTOCOL, "%s must be an array of ids", name);
        const char *text = ex_json_string(id, NULL);
        for (size_t k = 0; k < heartbeat->lease_count; k++) {
            if (strcmp(heartbeat->leases[k].job_id, text) == 0)
                heartbeat->leases[k].verdict = verdict;
        }
    }
    return st;
}

executr_status ex_answer_heartbeat(
    const ex_http_response *response, executr_heartbeat *heartbeat,
    executr_error *err)
{
    ex_json *json = NULL;

    executr_status st = ex_answer_status(response, err);
    if (!st)
        st = ex_answer_json(response, EX_JSON_OBJECT, &json, err);
    for (size_t i = 0; !st && i < heartbeat->lease_count; i++)
        heartbeat->leases[i].verdict = EXECUTR_LEASE_KEPT;
    /* What comes later counts more. */
    if (!st)
        st = mark(json, "follow", EXECUTR_LEASE_FOLLOWED, heartbeat, err);
    if (!st)
        st = mark(json, "cancel", EXECUTR_LEASE_CANCEL, heartbeat, err);
    if (!st)
        st = mark(json, "lost", EXECUTR_LEASE_LOST, heartbeat, err);
    heartbeat->lease_ms = 0;
    if (!st)
        st = ex_as_protocol(
            ex_duration_read(json, "lease", 1, &heartbeat->lease_ms, err), err);
    ex_json_free(json);
    return st;
}
