/* SPDX-License-Identifier: MIT */
/* Lists, counts and executors in PostgreSQL. */
#include <string.h>

#include "base/fail.h"
#include "store/postgres.h"

#define MATCHING_LIMIT 1000

/* Status, priority, type and executor of a filter; NULL is any. */
static void add_filter(ex_params *p, const executr_filter *filter)
{
    ex_params_one(p, EX_PG_TEXT);
    ex_item_text(
        p, filter->status ? executr_job_status_word(filter->status) : NULL);
    ex_params_one(p, EX_PG_TEXT);
    ex_item_text(
        p, filter->priority ? executr_priority_word(filter->priority) : NULL);
    ex_params_one(p, EX_PG_TEXT);
    ex_item_text_or_null(p, filter->type);
    ex_params_one(p, EX_PG_TEXT);
    ex_item_text_or_null(p, filter->executor_id);
}

executr_status ex_pg_list(
    executr_store *base, const executr_filter *filter, executr_jobs *jobs,
    executr_error *err)
{
    PGresult *rows = NULL;
    ex_uuid before;
    ex_params p;

    ex_params_init(&p);
    add_filter(&p, filter);
    ex_params_one(&p, EX_PG_UUID);
    if (filter->before_id && ex_uuid_parse(filter->before_id, &before) == 0)
        ex_item_uuid(&p, &before);
    else
        ex_item_null(&p);
    ex_params_one(&p, EX_PG_INT8);
    ex_item_i64(&p, filter->offset);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, (filter->limit ? filter->limit : 100) + 1);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT * FROM executr_list($1, $2, $3, $4, $5, $6, $7)", &p, &rows,
        err);
    for (int row = 0; !st && row < PQntuples(rows); row++)
        st = ex_pg_record(rows, row, jobs, NULL, err);
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

executr_status ex_pg_matching(
    executr_store *base, const executr_filter *filter, const ex_uuid *after,
    ex_uuid out[1000], size_t *count, executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;

    *count = 0;
    ex_params_init(&p);
    add_filter(&p, filter);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, after);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, MATCHING_LIMIT);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT * FROM executr_matching($1, $2, $3, $4, $5, $6)", &p, &rows,
        err);
    for (int row = 0; !st && row < PQntuples(rows) && row < MATCHING_LIMIT;
         row++)
        out[(*count)++] = ex_pg_uuid(rows, row, 0);
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

/* Jobs changed by hand may leave a counter below nothing for a while. */
static int64_t count_at(const PGresult *rows, int column)
{
    int64_t value = ex_pg_i64(rows, 0, column);

    return value > 0 ? value : 0;
}

static void read_stats(const PGresult *rows, struct executr_stats *out)
{
    memset(out, 0, sizeof *out);
    for (int p = 1; p <= 3; p++) {
        out->pending[p] = count_at(rows, p - 1);
        out->jobs[EXECUTR_JOB_PENDING] += out->pending[p];
    }
    out->jobs[EXECUTR_JOB_RUNNING] = count_at(rows, 3);
    out->jobs[EXECUTR_JOB_COMPLETED] = count_at(rows, 4);
    out->jobs[EXECUTR_JOB_FAILED] = count_at(rows, 5);
    out->jobs[EXECUTR_JOB_CANCELLED] = count_at(rows, 6);
    out->active_executors = ex_pg_i64(rows, 0, 7);
    out->slots = ex_pg_i64(rows, 0, 8);
    out->cache_hits = ex_pg_i64(rows, 0, 9);
    out->cache_misses = ex_pg_i64(rows, 0, 10);
    out->timestamp_us = ex_pg_time(rows, 0, 11);
}

/* A statement with one bigint. */
static executr_status ask(
    executr_store *base, const char *sql, int64_t value, PGresult **out,
    executr_error *err)
{
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_INT8);
    ex_item_i64(&p, value);
    executr_status st =
        ex_pg_once((ex_pg_store *)base, EX_PG_REPEATABLE, sql, &p, out, err);
    ex_params_clear(&p);
    return st;
}

executr_status ex_pg_stats(
    executr_store *base, int64_t active_within_ms, struct executr_stats *out,
    executr_error *err)
{
    PGresult *rows = NULL;

    executr_status st = ask(
        base, "SELECT * FROM executr_stats($1)", active_within_ms, &rows, err);
    if (!st)
        read_stats(rows, out);
    PQclear(rows);
    return st;
}

static const char *copy(
    ex_arena *arena, const PGresult *rows, int row, int column)
{
    return ex_arena_strdup(arena, ex_pg_text(rows, row, column));
}

static executr_status read_executor(
    const PGresult *rows, int row, executr_executors *list, executr_error *err)
{
    char job[EX_UUID_TEXT] = "";
    ex_executor *e;

    executr_status st = ex_executors_add(list, &e, err);
    if (st)
        return st;
    if (!PQgetisnull(rows, row, 3)) {
        ex_uuid id = ex_pg_uuid(rows, row, 3);
        ex_uuid_format(&id, job);
    }
    e->id = copy(&list->arena, rows, row, 0);
    e->ip = copy(&list->arena, rows, row, 1);
    e->version = copy(&list->arena, rows, row, 2);
    e->current_job_id = ex_arena_strdup(&list->arena, job);
    e->job_type = copy(&list->arena, rows, row, 4);
    if (!e->id || !e->ip || !e->version || !e->current_job_id || !e->job_type)
        return ex_fail_nomem(err);
    e->last_heartbeat_us = ex_pg_time(rows, row, 5);
    e->max_jobs = ex_pg_i32(rows, row, 6);
    e->running_jobs = ex_pg_i32(rows, row, 7);
    e->jobs_completed = ex_pg_i64(rows, row, 8);
    e->cache_hits = ex_pg_i64(rows, row, 9);
    e->cache_misses = ex_pg_i64(rows, row, 10);
    e->cache_bytes = ex_pg_i64(rows, row, 11);
    e->cache_max_bytes = ex_pg_i64(rows, row, 12);
    return EXECUTR_OK;
}

executr_status ex_pg_executors(
    executr_store *base, int64_t seen_within_ms, executr_executors *out,
    executr_error *err)
{
    PGresult *rows = NULL;

    executr_status st =
        ask(base, "SELECT * FROM executr_executors($1)", seen_within_ms, &rows,
            err);
    for (int row = 0; !st && row < PQntuples(rows); row++)
        st = read_executor(rows, row, out, err);
    PQclear(rows);
    return st;
}
