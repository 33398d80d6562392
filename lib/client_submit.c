/* SPDX-License-Identifier: MIT */
/* Submits jobs, one or many in a call. */
#include "client.h"

#include <string.h>

#include "base/fail.h"

static executr_status submit_one(
    executr_client *client, const executr_job_spec *spec, executr_jobs **out,
    executr_error *err)
{
    ex_arena arena = EX_ARENA_INIT;
    ex_call call;
    ex_http_response response = {0};
    executr_job_spec s;
    ex_buf key;
    ex_json_writer w;

    ex_buf_init(&key, EX_BUF_UNLIMITED);
    ex_call_begin(&call, client, "POST", "/jobs");
    executr_status st = ex_spec_take(spec, &arena, &s, err);
    if (st)
        goto done;
    if (s.idempotency_key)
        ex_buf_printf(&key, "Idempotency-Key: %s", s.idempotency_key);
    const char *const headers[] = {
        "Content-Type: application/json", key.length ? key.data : NULL, NULL};
    call.request.headers = headers;
    ex_json_begin(&w, &call.body);
    ex_spec_write(&s, &w);
    st = ex_buf_status(&key, "Idempotency-Key", err);
    if (!st)
        st = ex_call_finish(&call, err);
    if (!st)
        st = ex_client_call(client, &call, &response, err);
    if (!st)
        st = ex_answer_job(&response, out, err);
done:
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    ex_buf_clear(&key);
    ex_arena_clear(&arena);
    return st;
}

/* What a bulk is about while it is under way. */
typedef struct bulk {
    const executr_job_spec *const *specs;
    executr_status *results; /* OK here: sent, or accepted */
    size_t count;
    size_t sent;
    executr_jobs *jobs;
    executr_error first; /* why the first one was refused */
} bulk;

static void refuse(bulk *b, size_t i, const executr_error *why)
{
    b->results[i] = why->status;
    if (!b->first.status)
        b->first = *why;
}

/* Those that break a rule stay here and have their result already. */
static executr_status write_bulk(bulk *b, ex_buf *body, executr_error *err)
{
    ex_arena arena = EX_ARENA_INIT;
    ex_json_writer w;
    executr_status st = EXECUTR_OK;

    ex_json_begin(&w, body);
    ex_json_open(&w, '[');
    for (size_t i = 0; i < b->count && !st; i++) {
        executr_job_spec spec;
        executr_error why = {0};
        st = ex_spec_take(b->specs[i], &arena, &spec, &why);
        if (!st && spec.idempotency_key)
            st = ex_fail_field(
                &why, "Idempotency-Key",
                "an idempotency key goes with a single submission only");
        if (st == EXECUTR_E_NOMEM)
            break;
        if (st)
            refuse(b, i, &why);
        else
            ex_spec_write(&spec, &w);
        b->sent += !st;
        st = EXECUTR_OK;
    }
    ex_json_close(&w, ']');
    ex_arena_clear(&arena);
    return st ? ex_fail_nomem(err) : EXECUTR_OK;
}

static executr_status read_refusal(
    const ex_json *object, executr_error *why, executr_error *err)
{
    const char *words = "refused";
    const char *code = NULL;
    const char *field = "";

    executr_status st = ex_json_read_string(object, "error", &words, err);
    if (!st)
        st = ex_json_read_string(object, "code", &code, err);
    if (!st)
        st = ex_json_read_string(object, "field", &field, err);
    if (st)
        return st;
    ex_fail_field(why, field, "%s", words);
    why->status = ex_answer_word(code, EXECUTR_E_ARGUMENT);
    return EXECUTR_OK;
}

/* One element of the answer, about specs[i]. */
static executr_status read_fate(
    bulk *b, size_t i, const ex_json *object, executr_error *err)
{
    int32_t success = 0;
    executr_error why = {0};

    executr_status st = ex_json_read_bool(object, "success", &success, err);
    if (!st && !success) {
        st = read_refusal(object, &why, err);
        if (!st)
            refuse(b, i, &why);
        return st;
    }
    if (!st)
        st = ex_job_read(object, b->jobs, err);
    if (st)
        return st;
    struct executr_job *job = b->jobs->items[b->jobs->count - 1];
    const executr_job_spec *spec = b->specs[i];
    job->priority =
        spec->priority ? spec->priority : EXECUTR_PRIORITY_BACKGROUND;
    job->type = ex_arena_strdup(&b->jobs->arena, spec->type);
    return job->type ? EXECUTR_OK : ex_fail_nomem(err);
}

static executr_status read_fates(
    bulk *b, const ex_http_response *response, executr_error *err)
{
    ex_json *json = NULL;
    ex_json *array = NULL;
    size_t at = 0;

    executr_status st = ex_answer_json(response, EX_JSON_OBJECT, &json, err);
    if (!st)
        st =
            ex_json_read_container(json, "results", EX_JSON_ARRAY, &array, err);
    /* 400 without results is a refusal of the call as a whole. */
    if (!st && !array)
        st = ex_answer_status(response, err);
    if (!st && ex_json_count(array) != b->sent)
        st = ex_fail(
            err, EXECUTR_E_PROTOCOL, "the server answered %zu of %zu jobs",
            ex_json_count(array), b->sent);
    for (size_t i = 0; !st && i < b->count; i++) {
        if (b->results[i] == EXECUTR_OK)
            st = read_fate(b, i, ex_json_at(array, at++), err);
    }
    ex_json_free(json);
    return response->status == 400 ? st : ex_as_protocol(st, err);
}

static executr_status send_bulk(
    executr_client *client, bulk *b, ex_call *call, executr_error *err)
{
    ex_http_response response = {0};

    executr_status st = ex_call_finish(call, err);
    if (!st)
        st = ex_client_call(client, call, &response, err);
    /* When none is accepted, the answer is an error and has results, too. */
    if (!st || response.status == 400)
        st = read_fates(b, &response, err);
    ex_http_response_clear(&response);
    return st;
}

static executr_status submit_many(
    executr_client *client, bulk *b, executr_error *err)
{
    ex_call call;

    ex_call_begin(&call, client, "POST", "/jobs/bulk");
    executr_status st = ex_jobs_new(&b->jobs, err);
    if (!st)
        st = write_bulk(b, &call.body, err);
    if (!st && b->sent)
        st = send_bulk(client, b, &call, err);
    if (!st && b->jobs->count == 0 && b->first.status) {
        st = b->first.status;
        if (err)
            *err = b->first;
    }
    ex_call_clear(&call);
    return st;
}

executr_status executr_client_submit(
    executr_client *client, const executr_job_spec *const *specs, size_t count,
    executr_status *results, executr_jobs **out, executr_error *err)
{
    void *memory;
    bulk b = {.specs = specs, .count = count};

    *out = NULL;
    if (count == 1) {
        executr_status st = submit_one(client, specs[0], out, err);
        if (results)
            results[0] = st;
        return st;
    }
    executr_status st =
        ex_alloc_array(&memory, count, sizeof(executr_status), err);
    if (st)
        return st;
    b.results = memory;
    st = submit_many(client, &b, err);
    if (results && count)
        memcpy(results, b.results, count * sizeof *results);
    ex_free(memory);
    if (st)
        executr_jobs_free(b.jobs);
    else
        *out = b.jobs;
    return st;
}
