/* SPDX-License-Identifier: MIT */
/* Routes of those who submit jobs and look at them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "base/alloc.h"
#include "base/json.h"
#include "base/url.h"

void route_submit(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_request *body =
        api_parse(request, response, EXECUTR_REQUEST_SUBMIT);
    if (!body)
        return;
    executr_request_set_idempotency_key(body, request->idempotency_key);
    const executr_job_spec *spec = executr_request_spec(body, 0, &err);
    if (!spec || executr_queue_submit(queue, &spec, 1, NULL, &jobs, &err))
        api_error(response, &err);
    else
        api_put_job(response, 201, jobs, 0);
    executr_jobs_free(jobs);
    executr_request_free(body);
}

/* The fate of one submission of a bulk. */
typedef struct fate {
    executr_status status;
    executr_error err;
    const executr_job *job;
} fate;

static void put_fate(ex_json_writer *w, size_t index, const fate *f)
{
    ex_json_open(w, '{');
    ex_json_add_i64(w, "index", (int64_t)index);
    ex_json_add_bool(w, "success", f->job != NULL);
    if (f->job) {
        const char *status =
            executr_job_status_word(executr_job_status(f->job));
        ex_json_add_string(w, "job_id", executr_job_id(f->job));
        ex_json_add_string(w, "id", executr_job_id(f->job));
        ex_json_add_string(w, "status", status);
    } else {
        ex_json_add_string(w, "error", f->err.message);
        ex_json_add_string(w, "code", executr_status_word(f->err.status));
        if (f->err.field[0])
            ex_json_add_string(w, "field", f->err.field);
    }
    ex_json_close(w, '}');
}

static void put_bulk(api_response *response, const fate *fates, size_t count)
{
    ex_json_writer w;
    int64_t good = 0;
    for (size_t i = 0; i < count; i++)
        good += fates[i].job != NULL;
    response->status = good == (int64_t)count ? 201 : good ? 207 : 400;
    ex_json_begin(&w, &response->body);
    ex_json_open(&w, '{');
    if (!good) { /* nothing accepted: also in the shape of an error */
        ex_json_add_string(&w, "error", "no job was accepted; see results");
        ex_json_add_string(&w, "code", "invalid_argument");
        ex_json_key(&w, "context");
        ex_json_open(&w, '{');
        ex_json_close(&w, '}');
    }
    ex_json_add_i64(&w, "total", (int64_t)count);
    ex_json_add_i64(&w, "successful", good);
    ex_json_add_i64(&w, "failed", (int64_t)count - good);
    ex_json_key(&w, "results");
    ex_json_open(&w, '[');
    for (size_t i = 0; i < count; i++)
        put_fate(&w, i, &fates[i]);
    ex_json_close(&w, ']');
    ex_json_close(&w, '}');
}

/* The valid specs of a body, and how many. */
static size_t sort_specs(
    const executr_request *body, fate *fates, const executr_job_spec **specs)
{
    size_t count = executr_request_count(body);
    size_t valid = 0;
    for (size_t i = 0; i < count; i++) {
        const executr_job_spec *spec =
            executr_request_spec(body, i, &fates[i].err);
        fates[i].status = spec ? EXECUTR_OK : fates[i].err.status;
        if (spec)
            specs[valid++] = spec;
    }
    return valid;
}

/* Lay verdicts and records of the valid specs beside their fates. */
static void deal_out(
    fate *fates, size_t count, const executr_status *verdicts,
    const executr_jobs *jobs)
{
    size_t at = 0;
    size_t given = 0;
    for (size_t i = 0; i < count; i++) {
        if (fates[i].status)
            continue;
        fates[i].status = verdicts[at++];
        fates[i].err.status = fates[i].status;
        if (!fates[i].status)
            fates[i].job = executr_jobs_at(jobs, given++);
        else
            snprintf(
                fates[i].err.message, sizeof fates[i].err.message,
                "no binary_url, and no binary with this binary_sha256 is "
                "stored here; upload it first or name its URL");
    }
}

/* Submit the valid specs in one call. */
static executr_status submit_valid(
    executr_queue *queue, const executr_request *body, fate *fates,
    executr_jobs **jobs, executr_error *err)
{
    size_t count = executr_request_count(body);
    void *specs = NULL;
    void *verdicts = NULL;
    executr_status st =
        ex_alloc_array(&specs, count, sizeof(executr_job_spec *), err);
    if (!st)
        st = ex_alloc_array(&verdicts, count, sizeof(executr_status), err);
    if (!st) {
        size_t valid = sort_specs(body, fates, specs);
        if (valid)
            st = executr_queue_submit(queue, specs, valid, verdicts, jobs, err);
    }
    if (!st)
        deal_out(fates, count, verdicts, *jobs);
    ex_free(verdicts);
    ex_free(specs);
    return st;
}

void route_bulk(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    void *fates = NULL;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_request *body = api_parse(request, response, EXECUTR_REQUEST_BULK);
    if (!body)
        return;
    size_t count = executr_request_count(body);
    executr_status st = ex_alloc_array(&fates, count, sizeof(fate), &err);
    if (!st)
        st = submit_valid(queue, body, fates, &jobs, &err);
    if (st)
        api_error(response, &err);
    else
        put_bulk(response, fates, count);
    ex_free(fates);
    executr_jobs_free(jobs);
    executr_request_free(body);
}

/* A word of a query parameter as its number; -1 answered. */
static int query_word(
    const api_request *request, const char *name,
    int32_t (*parse)(const char *), int32_t *out, api_response *response)
{
    ex_buf text;
    ex_buf_init(&text, 64);
    int found = api_query(request, name, &text, response);
    if (found > 0) {
        *out = text.failed ? 0 : parse(ex_buf_text(&text));
        if (!*out) {
            api_errorf(
                response, 400, "invalid_argument", name, "%s has no such value",
                name);
            found = -1;
        }
    }
    ex_buf_clear(&text);
    return found < 0 ? -1 : 0;
}

/* Texts of a listing's query, kept while it runs. */
typedef struct listing {
    executr_filter filter;
    ex_buf type;
    ex_buf executor_id;
    ex_buf before;
} listing;

static int read_listing(
    const api_request *request, listing *l, api_response *response)
{
    int64_t limit = 100;
    if (query_word(
            request, "status", executr_job_status_parse, &l->filter.status,
            response) ||
        query_word(
            request, "priority", executr_priority_parse, &l->filter.priority,
            response) ||
        api_query_i64(request, "limit", 1, 1000, &limit, response) ||
        api_query_i64(
            request, "offset", 0, INT64_C(1) << 40, &l->filter.offset,
            response))
        return -1;
    l->filter.limit = (int32_t)limit;
    int type = api_query(request, "type", &l->type, response);
    int executor = api_query(request, "executor_id", &l->executor_id, response);
    int before = api_query(request, "before", &l->before, response);
    if (type < 0 || executor < 0 || before < 0)
        return -1;
    l->filter.type = type ? ex_buf_text(&l->type) : NULL;
    l->filter.executor_id = executor ? ex_buf_text(&l->executor_id) : NULL;
    l->filter.before_id = before ? ex_buf_text(&l->before) : NULL;
    return 0;
}

/* The URL of the next page: the same filters, and a cursor. */
static void put_link(
    const listing *l, const executr_jobs *jobs, api_response *response)
{
    ex_buf *out = &response->headers;
    const executr_filter *f = &l->filter;
    const executr_job *last =
        executr_jobs_at(jobs, executr_jobs_count(jobs) - 1);
    ex_buf_printf(out, "Link: </api/v1/jobs?limit=%d", (int)f->limit);
    if (f->status)
        ex_buf_printf(out, "&status=%s", executr_job_status_word(f->status));
    if (f->priority)
        ex_buf_printf(out, "&priority=%s", executr_priority_word(f->priority));
    if (f->type) {
        ex_buf_puts(out, "&type=");
        ex_url_encode(out, f->type);
    }
    if (f->executor_id) {
        ex_buf_puts(out, "&executor_id=");
        ex_url_encode(out, f->executor_id);
    }
    ex_buf_printf(out, "&before=%s>; rel=\"next\"\r\n", executr_job_id(last));
}

void route_list(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    int32_t more = 0;
    listing l = {.filter = EXECUTR_FILTER_INIT};
    ex_buf_init(&l.type, 1024);
    ex_buf_init(&l.executor_id, 1024);
    ex_buf_init(&l.before, 256);
    executr_queue *queue = api_queue(a, response);
    if (!queue || read_listing(request, &l, response))
        goto done;
    if (executr_queue_list(queue, &l.filter, &jobs, &more, &err)) {
        if (strcmp(err.field, "before_id") == 0)
            snprintf(err.field, sizeof err.field, "before");
        api_error(response, &err);
        goto done;
    }
    api_put_jobs(response, 200, jobs);
    if (more)
        put_link(&l, jobs, response);
done:
    executr_jobs_free(jobs);
    ex_buf_clear(&l.type);
    ex_buf_clear(&l.executor_id);
    ex_buf_clear(&l.before);
}

void route_get(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    if (executr_queue_get(queue, request->id, EXECUTR_PART_ALL, &jobs, &err))
        api_error(response, &err);
    else
        api_put_job(response, 200, jobs, EXECUTR_PART_ALL);
    executr_jobs_free(jobs);
}

void route_retry(api *a, api_request *request, api_response *response)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    if (executr_queue_retry(queue, request->id, &jobs, &err))
        api_error(response, &err);
    else
        api_put_job(response, 200, jobs, 0);
    executr_jobs_free(jobs);
}

void route_cancel(api *a, api_request *request, api_response *response)
{
    executr_error err = {0};
    executr_status result = EXECUTR_OK;
    const char *id = request->id;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_status st = executr_queue_cancel(queue, &id, 1, &result, &err);
    if (st) {
        api_error(response, &err);
    } else if (result == EXECUTR_OK) {
        response->status = 204;
    } else if (result == EXECUTR_E_CANCELLED) {
        response->status = 202;
        ex_buf_puts(&response->body, "{\"cancel\":true}");
    } else if (result == EXECUTR_E_CONFLICT) {
        api_errorf(
            response, 409, "conflict", "id",
            "job %s is over already and can't be cancelled", id);
    } else if (result == EXECUTR_E_NOT_FOUND) {
        api_errorf(response, 404, "not_found", "id", "there is no job %s", id);
    } else {
        api_errorf(
            response, 400, "invalid_argument", "id", "'%s' is no job id", id);
    }
}

static void put_cancelled(ex_json_writer *w, int64_t cancelled, int64_t failed)
{
    ex_json_add_i64(w, "cancelled", cancelled);
    ex_json_add_i64(w, "failed", failed);
    ex_json_add_i64(w, "total", cancelled + failed);
}

static void cancel_ids(
    executr_queue *queue, const executr_request *body, api_response *response)
{
    executr_error err;
    void *memory = NULL;
    size_t count = executr_request_count(body);
    const char *const *ids = executr_request_job_ids(body);
    executr_status st =
        ex_alloc_array(&memory, count, sizeof(executr_status), &err);
    executr_status *results = memory;
    if (!st)
        st = executr_queue_cancel(queue, ids, count, results, &err);
    if (st) {
        api_error(response, &err);
        ex_free(memory);
        return;
    }
    ex_json_writer w;
    int64_t failed = 0;
    for (size_t i = 0; i < count; i++)
        failed += results[i] && results[i] != EXECUTR_E_CANCELLED;
    ex_json_begin(&w, &response->body);
    ex_json_open(&w, '{');
    put_cancelled(&w, (int64_t)count - failed, failed);
    ex_json_key(&w, "errors");
    ex_json_open(&w, '[');
    for (size_t i = 0; i < count; i++) {
        if (!results[i] || results[i] == EXECUTR_E_CANCELLED)
            continue;
        ex_json_open(&w, '{');
        ex_json_add_string(&w, "job_id", ids[i]);
        ex_json_add_string(&w, "error", executr_status_word(results[i]));
        ex_json_close(&w, '}');
    }
    ex_json_close(&w, ']');
    ex_json_close(&w, '}');
    response->status = 200;
    ex_free(memory);
}

void route_bulk_cancel(api *a, api_request *request, api_response *response)
{
    executr_error err;
    int64_t cancelled = 0;
    executr_queue *queue = api_queue(a, response);
    if (!queue)
        return;
    executr_request *body =
        api_parse(request, response, EXECUTR_REQUEST_BULK_CANCEL);
    if (!body)
        return;
    if (executr_request_count(body)) {
        cancel_ids(queue, body, response);
    } else if (executr_queue_cancel_matching(
                   queue, executr_request_filter(body), &cancelled, &err)) {
        api_error(response, &err);
    } else {
        ex_json_writer w;
        ex_json_begin(&w, &response->body);
        ex_json_open(&w, '{');
        put_cancelled(&w, cancelled, 0);
        ex_json_key(&w, "errors");
        ex_json_open(&w, '[');
        ex_json_close(&w, ']');
        ex_json_close(&w, '}');
        response->status = 200;
    }
    executr_request_free(body);
}
