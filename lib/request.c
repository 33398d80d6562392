/* SPDX-License-Identifier: MIT */
/*
 * The bodies of the REST API: submissions, claims and cancellations, and what
 * all requests share. Everything here comes from the network.
 */
#include "request_body.h"

#include <string.h>

#include "base/fail.h"

executr_status ex_request_count_check(
    const char *name, size_t count, size_t max, executr_error *err)
{
    if (count <= max)
        return EXECUTR_OK;
    ex_fail_field(
        err, name, "%s has %zu elements, but at most %zu are allowed",
        *name ? name : "the array", count, max);
    return ex_as_too_large(err);
}

executr_status ex_request_array(
    const ex_json *object, const char *name, size_t min, size_t max,
    ex_json **out, executr_error *err)
{
    *out = NULL;
    executr_status st =
        ex_json_read_container(object, name, EX_JSON_ARRAY, out, err);
    if (st)
        return st;
    if (ex_json_count(*out) < min)
        return ex_fail_field(
            err, name, "%s must be an array that is not empty", name);
    return ex_request_count_check(name, ex_json_count(*out), max, err);
}

static executr_status parse_submit(executr_request *request, executr_error *err)
{
    request->specs = ex_arena_get(&request->arena, sizeof *request->specs);
    if (!request->specs)
        return ex_fail_nomem(err);
    request->count = 1;
    return ex_spec_read(
        request->document, &request->arena, request->specs, err);
}

/* One element of a BULK: a bad one keeps its own error. */
static executr_status parse_element(
    executr_request *request, size_t i, executr_error *err)
{
    executr_error own;

    executr_status st = ex_spec_read(
        ex_json_at(request->document, i), &request->arena, &request->specs[i],
        &own);
    if (!st)
        return EXECUTR_OK;
    if (st == EXECUTR_E_NOMEM)
        return ex_fail_nomem(err);
    request->errors[i] = ex_arena_get(&request->arena, sizeof own);
    if (!request->errors[i])
        return ex_fail_nomem(err);
    *request->errors[i] = own;
    return EXECUTR_OK;
}

static executr_status parse_bulk(executr_request *request, executr_error *err)
{
    size_t count = ex_json_count(request->document);

    if (ex_json_type(request->document) != EX_JSON_ARRAY || count == 0)
        return ex_fail(
            err, EXECUTR_E_ARGUMENT,
            "the body must be a JSON array of 1 to %d submissions",
            EX_BULK_MAX);
    executr_status st = ex_request_count_check("", count, EX_BULK_MAX, err);
    if (st)
        return st;
    request->specs =
        ex_arena_get(&request->arena, count * sizeof *request->specs);
    request->errors =
        ex_arena_get(&request->arena, count * sizeof(executr_error *));
    if (!request->specs || !request->errors)
        return ex_fail_nomem(err);
    request->count = count;
    for (size_t i = 0; i < count && !st; i++)
        st = parse_element(request, i, err);
    return st;
}

/* An array of words as bits. Words that `bit_of` does not know are refused, or
 * skipped if a newer peer may use them. */
static executr_status read_bits(
    executr_request *request, const char *name,
    uint32_t (*bit_of)(const char *), int32_t skip_unknown, uint32_t *bits,
    executr_error *err)
{
    const char **words;
    size_t count;

    executr_status st = ex_strings_read(
        ex_json_get(request->document, name), name, &request->arena, &words,
        &count, err);
    if (st)
        return st;
    for (size_t i = 0; i < count; i++) {
        uint32_t bit = bit_of(words[i]);
        if (!bit && !skip_unknown)
            return ex_fail_field(
                err, name, "%s can't have \"%s\"", name, words[i]);
        *bits |= bit;
    }
    return EXECUTR_OK;
}

static uint32_t priority_bit(const char *word)
{
    int32_t priority = executr_priority_parse(word);
    return priority ? 1u << priority : 0;
}

static executr_status read_wait(
    const ex_json *object, int64_t *wait_ms, executr_error *err)
{
    executr_status st = ex_duration_read(object, "wait", 0, wait_ms, err);
    if (!st && *wait_ms > EX_WAIT_MAX_MS)
        st = ex_fail_field(err, "wait", "wait is longer than 60s, the most");
    return st;
}

static executr_status parse_claim(executr_request *request, executr_error *err)
{
    const ex_json *object = request->document;
    executr_claim claim = EXECUTR_CLAIM_INIT;
    const char **types = NULL;

    executr_status st =
        ex_json_read_string(object, "executor_id", &claim.executor_id, err);
    if (!st)
        st =
            ex_json_read_string(object, "executor_ip", &claim.executor_ip, err);
    if (!st)
        st = ex_json_read_i32(
            object, "max_jobs", 1, EX_CLAIM_MAX, &claim.max_jobs, err);
    if (!st)
        st = read_wait(object, &claim.wait_ms, err);
    if (!st)
        st = ex_strings_read(
            ex_json_get(object, "types"), "types", &request->arena, &types,
            &claim.type_count, err);
    claim.types = types;
    if (!st)
        st = read_bits(
            request, "priorities", priority_bit, 0, &claim.priorities, err);
    if (!st)
        st =
            read_bits(request, "offers", ex_offer_parse, 1, &claim.offers, err);
    if (!st)
        st = ex_claim_check(&claim, &request->claim, err);
    request->wants_array = ex_json_get(object, "max_jobs") != NULL;
    request->executor_id = request->claim.executor_id;
    return st;
}

static executr_status parse_criteria(
    executr_request *request, executr_error *err)
{
    const ex_json *object = request->document;
    executr_filter filter = EXECUTR_FILTER_INIT;

    executr_status st = ex_json_read_string(object, "type", &filter.type, err);
    if (!st && filter.type)
        st = ex_word_check(filter.type, "type", EX_TYPE_MAX, 1, err);
    if (!st)
        st = ex_word_read(
            object, "status", executr_job_status_parse, &filter.status, err);
    if (!st)
        st = ex_word_read(
            object, "priority", executr_priority_parse, &filter.priority, err);
    request->filter = filter;
    return st;
}

/*
 * Ids or criteria, and one of them for certain: an empty list must not become
 * "all jobs", nor criteria that stand beside ids be passed over in silence.
 */
static executr_status parse_cancel(executr_request *request, executr_error *err)
{
    const ex_json *ids = ex_json_get(request->document, "job_ids");
    ex_json *array;

    executr_status st = parse_criteria(request, err);
    if (st)
        return st;
    const executr_filter *filter = &request->filter;
    int has_criteria = filter->type || filter->status || filter->priority;
    if (ids && has_criteria)
        return ex_fail_field(
            err, "job_ids",
            "name job_ids or criteria (type, status, priority), not both");
    if (!ids && !has_criteria)
        return ex_fail_field(
            err, "job_ids",
            "name job_ids, or at least one of type, status and priority");
    if (!ids)
        return EXECUTR_OK;
    st = ex_request_array(
        request->document, "job_ids", 1, EX_BULK_MAX, &array, err);
    return st ? st
              : ex_strings_read(
                    array, "job_ids", &request->arena, &request->job_ids,
                    &request->count, err);
}

static executr_status parse_kind(
    executr_request *request, const char *id, executr_error *err)
{
    if (request->kind != EXECUTR_REQUEST_BULK &&
        ex_json_type(request->document) != EX_JSON_OBJECT)
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "the body must be a JSON object");
    switch (request->kind) {
    case EXECUTR_REQUEST_SUBMIT:
        return parse_submit(request, err);
    case EXECUTR_REQUEST_BULK:
        return parse_bulk(request, err);
    case EXECUTR_REQUEST_CLAIM:
        return parse_claim(request, err);
    case EXECUTR_REQUEST_COMPLETE:
    case EXECUTR_REQUEST_FAIL:
        return ex_request_report(request, id, err);
    case EXECUTR_REQUEST_REPORT:
        return ex_request_reports(request, err);
    case EXECUTR_REQUEST_HEARTBEAT:
        return ex_request_heartbeat(request, id, err);
    case EXECUTR_REQUEST_JOB_HEARTBEAT:
        return ex_request_job_heartbeat(request, id, err);
    case EXECUTR_REQUEST_BULK_CANCEL:
        return parse_cancel(request, err);
    default:
        return ex_fail_field(
            err, "kind", "%d is no kind of request", request->kind);
    }
}

executr_status executr_request_parse(
    int32_t kind, const char *id, const char *body, size_t length,
    executr_request **out, executr_error *err)
{
    void *memory = NULL;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(executr_request), err);
    if (st)
        return st;
    executr_request *request = memory;
    request->kind = kind;
    st = ex_json_parse_nul(body, length, &request->document, err);
    if (st)
        goto done;
    if (id) { /* the caller's path may not live as long as the request */
        id = ex_arena_strdup(&request->arena, id);
        if (!id)
            st = ex_fail_nomem(err);
    }
    if (!st)
        st = parse_kind(request, id, err);
    if (st)
        goto done;
    *out = request;
    request = NULL;
done:
    executr_request_free(request);
    return st;
}

void executr_request_free(executr_request *request)
{
    if (!request)
        return;
    ex_json_free(request->document);
    ex_arena_clear(&request->arena);
    ex_free(request);
}

size_t executr_request_count(const executr_request *request)
{
    return request->count;
}

const executr_job_spec *executr_request_spec(
    const executr_request *request, size_t i, executr_error *err)
{
    if (!request->specs || i >= request->count) {
        ex_ignore(ex_fail(
            err, EXECUTR_E_ARGUMENT, "the request has no submission %zu", i));
        return NULL;
    }
    const executr_error *own = request->errors ? request->errors[i] : NULL;
    if (!own)
        return &request->specs[i];
    if (err)
        *err = *own;
    return NULL;
}

void executr_request_set_idempotency_key(
    executr_request *request, const char *key)
{
    if (request->kind == EXECUTR_REQUEST_SUBMIT)
        request->specs[0].idempotency_key = key;
}

int32_t executr_request_wants_array(const executr_request *request)
{
    return request->wants_array;
}

const executr_claim *executr_request_claim(const executr_request *request)
{
    return request->kind == EXECUTR_REQUEST_CLAIM ? &request->claim : NULL;
}

const char *executr_request_executor_id(const executr_request *request)
{
    return request->executor_id ? request->executor_id : "";
}

const executr_report *executr_request_report(
    const executr_request *request, size_t i)
{
    return request->reports && i < request->count ? &request->reports[i] : NULL;
}

executr_heartbeat *executr_request_heartbeat(executr_request *request)
{
    return request->kind == EXECUTR_REQUEST_HEARTBEAT ? &request->heartbeat
                                                      : NULL;
}

executr_lease *executr_request_lease(executr_request *request)
{
    return request->kind == EXECUTR_REQUEST_JOB_HEARTBEAT ? &request->lease
                                                          : NULL;
}

const char *const *executr_request_job_ids(const executr_request *request)
{
    return request->job_ids;
}

const executr_filter *executr_request_filter(const executr_request *request)
{
    return request->kind == EXECUTR_REQUEST_BULK_CANCEL ? &request->filter
                                                        : NULL;
}
