/* SPDX-License-Identifier: MIT */
/* Submitting jobs to PostgreSQL. */
#include <string.h>

#include "base/fail.h"
#include "store/limits.h"
#include "store/postgres.h"

static const ex_pg_kept kept = {
    EX_PG_KEEP_SUBMIT, "executr_submit",
    "SELECT * FROM executr_submit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
    " $12, $13, $14, $15, $16, $17)"};

/* What executr_submit says of a job it did not insert. */
enum {
    REPEATED = 1,
    OTHER_JOB = 2,
    NO_BINARY = 3,
    TAKEN = 4, /* by a try before this one */
    STANDS = 5 /* likewise, but it is not its taker's, or not any more */
};

typedef struct submission {
    ex_submit *jobs;
    size_t count;
    int64_t lowest_seq; /* of those that are pending now */
} submission;

static size_t size_of(const ex_submit *job)
{
    return strlen(job->arguments) + strlen(job->environment) + 1024;
}

static void add_texts(ex_params *p, const ex_submit *jobs, size_t count)
{
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, jobs[i].spec->type);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text_or_null(p, jobs[i].spec->binary_url);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, jobs[i].spec->binary_sha256);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, jobs[i].arguments);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, jobs[i].environment);
}

static int32_t priority_of(const executr_job_spec *spec)
{
    return spec->priority ? spec->priority : EXECUTR_PRIORITY_BACKGROUND;
}

static void add_numbers(ex_params *p, const ex_submit *jobs, size_t count)
{
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, executr_priority_word(priority_of(jobs[i].spec)));
    ex_params_array(p, EX_PG_BOOLS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_bool(p, jobs[i].spec->exclusive);
    ex_params_array(p, EX_PG_INT4S, count);
    for (size_t i = 0; i < count; i++)
        ex_item_i32(p, jobs[i].spec->max_retries);
    ex_params_array(p, EX_PG_INT4S, count);
    for (size_t i = 0; i < count; i++)
        ex_item_i32(p, (int32_t)ex_spec_demands(jobs[i].spec));
}

static void add_limits(ex_params *p, const ex_submit *jobs, size_t count)
{
    ex_buf text;

    ex_buf_init(&text, 4096);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++) {
        ex_buf_reset(&text);
        ex_limits_store(jobs[i].spec, &text);
        if (text.failed)
            p->bytes.failed = text.failed;
        ex_item_text_or_null(p, ex_buf_text(&text));
    }
    ex_buf_clear(&text);
}

static void add_keys(ex_params *p, const ex_submit *jobs, size_t count)
{
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text_or_null(p, jobs[i].spec->idempotency_key);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text_or_null(p, jobs[i].digest);
}

/* 1 if a binary has to be stored here already. */
static int32_t need_stored(const ex_submit *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *url = jobs[i].spec->binary_url;
        if (!url || !*url)
            return 1;
    }
    return 0;
}

/* Whose each job is at once. */
static void add_takers(ex_params *p, const ex_submit *jobs, size_t count)
{
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, jobs[i].taker ? jobs[i].taker->executor_id : NULL);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, jobs[i].taker ? jobs[i].taker->executor_ip : NULL);
}

static void add_params(
    ex_params *p, const ex_submit *jobs, size_t count, int32_t again)
{
    ex_params_array(p, EX_PG_UUIDS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_uuid(p, &jobs[i].id);
    add_texts(p, jobs, count);
    add_numbers(p, jobs, count);
    add_limits(p, jobs, count);
    add_keys(p, jobs, count);
    add_takers(p, jobs, count);
    ex_params_one(p, EX_PG_BOOL);
    ex_item_bool(p, need_stored(jobs, count));
    ex_params_one(p, EX_PG_BOOL);
    ex_item_bool(p, again);
}

static void read_row(const PGresult *rows, int row, ex_submit *job)
{
    int32_t result = ex_pg_i32(rows, row, 1);

    job->taken = result == TAKEN;
    job->created_at_us = ex_pg_time(rows, row, 3);
    if (result == REPEATED) {
        job->repeated = 1;
        job->id = ex_pg_uuid(rows, row, 2);
    } else if (result == OTHER_JOB) {
        job->result = EXECUTR_E_CONFLICT;
    } else if (result == NO_BINARY) {
        job->result = EXECUTR_E_NOT_FOUND;
    }
}

/* Row 0 speaks of all; the others of one job each. */
static void read_answer(
    const PGresult *rows, ex_submit *jobs, size_t count, int64_t *base)
{
    int64_t created_at = ex_pg_time(rows, 0, 3);

    *base = ex_pg_i64(rows, 0, 4);
    for (size_t i = 0; i < count; i++) {
        jobs[i].created_at_us = created_at;
        jobs[i].repeated = 0;
        jobs[i].taken = jobs[i].taker != NULL;
        jobs[i].result = EXECUTR_OK;
    }
    for (int row = 1; row < PQntuples(rows); row++) {
        int32_t index = ex_pg_i32(rows, row, 0);
        if (index >= 1 && (size_t)index <= count)
            read_row(rows, row, &jobs[index - 1]);
    }
}

static int32_t some_pend(const ex_submit *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!jobs[i].taken && !jobs[i].repeated && !jobs[i].result)
            return 1;
    }
    return 0;
}

static executr_status submit_chunk(
    ex_pg_session *session, submission *s, size_t first, size_t count,
    executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;
    int64_t base = 0;

    ex_params_init(&p);
    add_params(&p, s->jobs + first, count, session->again);
    executr_status st = ex_pg_run_kept(session, &kept, &p, &rows, err);
    if (!st && PQntuples(rows) < 1)
        st = ex_fail(err, EXECUTR_E_INTERNAL, "executr_submit gave no row");
    if (!st) {
        read_answer(rows, s->jobs + first, count, &base);
        if (some_pend(s->jobs + first, count) && base < s->lowest_seq)
            s->lowest_seq = base;
    }
    /* The try before is being committed just now. */
    if (st && session->again && strcmp(session->state, "23505") == 0)
        session->fate = EX_PG_RETRY;
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

/* How many jobs from `first` go into one statement. */
static size_t chunk_at(const submission *s, size_t first)
{
    size_t bytes = 0;
    size_t count = 0;

    while (first + count < s->count && count < EX_PG_SUBMIT_MAX) {
        bytes += size_of(&s->jobs[first + count]);
        if (count && bytes > EX_PG_CHUNK_BYTES)
            break;
        count++;
    }
    return count;
}

static executr_status submit_all(
    ex_pg_session *session, void *ctx, executr_error *err)
{
    submission *s = ctx;
    size_t chunk = chunk_at(s, 0);
    executr_status st = EXECUTR_OK;

    s->lowest_seq = INT64_MAX;
    if (chunk == s->count)
        return submit_chunk(session, s, 0, chunk, err);
    st = ex_pg_begin(session, err);
    for (size_t first = 0; first < s->count && !st; first += chunk) {
        chunk = chunk_at(s, first);
        st = submit_chunk(session, s, first, chunk, err);
    }
    return st ? st : ex_pg_commit(session, err);
}

executr_status ex_pg_submit(
    executr_store *base, ex_submit *jobs, size_t count, executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    submission s = {jobs, count, INT64_MAX};

    if (!count)
        return EXECUTR_OK;
    /* Ids are new, so a job that is there already is one of these. */
    executr_status st = ex_pg_run(store, EX_PG_REPEATABLE, submit_all, &s, err);
    if (!st && s.lowest_seq < INT64_MAX) {
        ex_pg_floor_lower(store, s.lowest_seq + 1);
        ex_pg_tell(store);
    }
    return st;
}
