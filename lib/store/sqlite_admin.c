/* SPDX-License-Identifier: MIT */
/* Figures about an SQLite store, and the sweeping out of what is old. */
#include "store/sqlite.h"

#include <string.h>

#include "base/fail.h"

#define CLEANUP_LIMIT 1000
#define CLEANUP_STEP 50 /* jobs a transaction: each may bring 2 MiB output */
#define DAY_US INT64_C(86400000000)

/* ---- Figures. */

static int64_t at_least_zero(int64_t value)
{
    return value < 0 ? 0 : value;
}

static executr_status read_counts(
    ex_sqlite *db, struct executr_stats *out, executr_error *err)
{
    static const char sql[] =
        "SELECT foreground, background, best_effort, running, completed,"
        " failed, cancelled FROM job_counts";
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (!st)
        st = ex_stmt_row(&s, &row, err);
    if (st || !row)
        return st;
    for (int p = EXECUTR_PRIORITY_FOREGROUND; p <= EXECUTR_PRIORITY_BEST_EFFORT;
         p++) {
        out->pending[p] = at_least_zero(ex_column_i64(&s, p - 1));
        out->jobs[EXECUTR_JOB_PENDING] += out->pending[p];
    }
    for (int j = EXECUTR_JOB_RUNNING; j <= EXECUTR_JOB_CANCELLED; j++)
        out->jobs[j] = at_least_zero(ex_column_i64(&s, j + 1));
    ex_stmt_end(&s);
    return EXECUTR_OK;
}

static executr_status sum_executors(
    ex_sqlite *db, int64_t since_us, struct executr_stats *out,
    executr_error *err)
{
    static const char sql[] =
        "SELECT count(*), coalesce(sum(max_jobs), 0),"
        " coalesce(sum(cache_hits), 0), coalesce(sum(cache_misses), 0)"
        " FROM executors WHERE last_heartbeat > ?";
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, since_us);
    st = ex_stmt_row(&s, &row, err);
    if (st || !row)
        return st;
    out->active_executors = ex_column_i64(&s, 0);
    out->slots = ex_column_i64(&s, 1);
    out->cache_hits = ex_column_i64(&s, 2);
    out->cache_misses = ex_column_i64(&s, 3);
    ex_stmt_end(&s);
    return EXECUTR_OK;
}

executr_status ex_sqlite_stats(
    executr_store *base, int64_t active_within_ms, struct executr_stats *out,
    executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_sqlite *db;

    memset(out, 0, sizeof *out);
    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    out->timestamp_us = db->now_us;
    st = read_counts(db, out, err);
    if (!st)
        st = sum_executors(db, db->now_us - active_within_ms * 1000, out, err);
    ex_sqlite_end_read(store, db);
    return st;
}

static executr_status add_executor(
    const ex_stmt *s, executr_executors *out, executr_error *err)
{
    ex_executor *one;

    executr_status st = ex_executors_add(out, &one, err);
    if (st)
        return st;
    const char **const texts[] = {
        &one->id, &one->ip, &one->version, &one->current_job_id,
        &one->job_type};
    for (int i = 0; i < 5 && !st; i++)
        st = ex_column_copy(s, i, &out->arena, texts[i], NULL, err);
    one->last_heartbeat_us = ex_column_i64(s, 5);
    one->max_jobs = (int32_t)ex_column_i64(s, 6);
    one->running_jobs = (int32_t)ex_column_i64(s, 7);
    one->jobs_completed = ex_column_i64(s, 8);
    one->cache_hits = ex_column_i64(s, 9);
    one->cache_misses = ex_column_i64(s, 10);
    one->cache_bytes = ex_column_i64(s, 11);
    one->cache_max_bytes = ex_column_i64(s, 12);
    return st;
}

executr_status ex_sqlite_executors(
    executr_store *base, int64_t seen_within_ms, executr_executors *out,
    executr_error *err)
{
    static const char sql[] =
        "SELECT e.executor_id, e.executor_ip, e.version, j.id, j.type,"
        " e.last_heartbeat, e.max_jobs, (SELECT count(*) FROM jobs r"
        " WHERE r.status = 'running' AND r.executor_id = e.executor_id),"
        " e.jobs_completed, e.cache_hits, e.cache_misses, e.cache_bytes,"
        " e.cache_max_bytes FROM executors e LEFT JOIN jobs j ON j.seq ="
        " (SELECT r.seq FROM jobs r WHERE r.status = 'running'"
        " AND r.executor_id = e.executor_id ORDER BY r.started_at DESC LIMIT 1)"
        " WHERE e.last_heartbeat > ? ORDER BY e.executor_id";
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    int32_t row = 1;
    ex_sqlite *db;
    ex_stmt s;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = ex_stmt_use(&s, db, sql, err);
    if (!st)
        ex_stmt_i64(&s, db->now_us - seen_within_ms * 1000);
    while (!st && row) {
        st = ex_stmt_row(&s, &row, err);
        if (!st && row)
            st = add_executor(&s, out, err);
    }
    ex_sqlite_end_read(store, db);
    return st;
}

/* ---- Cleanup. */

/*
 * Finished jobs that ended before a moment, from the oldest on. The walk goes
 * by age and stops where jobs are younger than that, so it never reads the
 * whole table.
 */
static executr_status gather_old(
    ex_sqlite *db, int64_t before_us, ex_ids *ids, executr_error *err)
{
    static const char sql[] =
        "SELECT seq, id, status, created_at, completed_at FROM jobs"
        " ORDER BY seq";
    int32_t row = 1;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    while (!st && row && ids->count < CLEANUP_LIMIT) {
        st = ex_stmt_row(&s, &row, err);
        if (st || !row || ex_column_i64(&s, 3) >= before_us)
            break;
        int32_t status = executr_job_status_parse(ex_column_text(&s, 2));
        if (status >= EXECUTR_JOB_COMPLETED && ex_column_i64(&s, 4) < before_us)
            ids->items[ids->count++] = ex_column_uuid(&s, 1);
    }
    return st;
}

/* 1 in *deleted if it is still finished and old. */
static executr_status delete_job(
    ex_sqlite *db, const ex_uuid *id, int64_t before_us, int32_t *deleted,
    executr_error *err)
{
    static const char sql[] =
        "DELETE FROM jobs WHERE id = ? AND completed_at < ?"
        " AND status IN ('completed', 'failed', 'cancelled')"
        " RETURNING status, priority";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, id);
    ex_stmt_i64(&s, before_us);
    st = ex_stmt_row(&s, deleted, err);
    if (!st && *deleted)
        ex_deltas_move(
            &db->deltas, executr_priority_parse(ex_column_text(&s, 1)),
            executr_job_status_parse(ex_column_text(&s, 0)), 0);
    ex_stmt_end(&s);
    return st;
}

static executr_status delete_rest(
    ex_sqlite *db, const ex_uuid *id, executr_error *err)
{
    static const char attempts[] = "DELETE FROM job_attempts WHERE job_id = ?";
    static const char keys[] = "DELETE FROM idempotency_keys WHERE job_id = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, attempts, err);
    if (!st) {
        ex_stmt_uuid(&s, id);
        st = ex_stmt_run(&s, err);
    }
    if (!st)
        st = ex_stmt_use(&s, db, keys, err);
    if (!st) {
        ex_stmt_uuid(&s, id);
        st = ex_stmt_run(&s, err);
    }
    return st;
}

static executr_status delete_some(
    ex_sqlite_store *store, const ex_uuid *ids, size_t count, int64_t before_us,
    int64_t *deleted, executr_error *err)
{
    ex_sqlite *db = &store->writer;
    int64_t done = 0;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    for (size_t i = 0; i < count && !st; i++) {
        int32_t gone = 0;
        st = delete_job(db, &ids[i], before_us, &gone, err);
        if (!st && gone)
            st = delete_rest(db, &ids[i], err);
        done += gone;
    }
    st = ex_sqlite_end_write(store, st, err);
    if (!st)
        *deleted += done;
    return st;
}

static executr_status delete_old(
    ex_sqlite_store *store, int64_t retention_ms, int64_t *deleted,
    executr_error *err)
{
    ex_ids ids = {NULL, 0, CLEANUP_LIMIT};
    ex_sqlite *db;

    executr_status st = ex_alloc_array(
        (void **)&ids.items, ids.capacity, sizeof *ids.items, err);
    if (!st)
        st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        goto done;
    int64_t before = db->now_us - retention_ms * 1000;
    st = gather_old(db, before, &ids, err);
    ex_sqlite_end_read(store, db);
    for (size_t at = 0; at < ids.count && !st; at += CLEANUP_STEP) {
        size_t left = ids.count - at;
        st = delete_some(
            store, ids.items + at, left < CLEANUP_STEP ? left : CLEANUP_STEP,
            before, deleted, err);
    }
done:
    ex_free(ids.items);
    return st;
}

/* Executors get a new id at each start, so their rows pile up. */
static executr_status forget_unseen(ex_sqlite_store *store, executr_error *err)
{
    static const char sql[] =
        "DELETE FROM executors WHERE last_heartbeat < ? AND NOT EXISTS"
        " (SELECT 1 FROM jobs j WHERE j.status = 'running'"
        " AND j.executor_id = executors.executor_id)";
    ex_sqlite *db = &store->writer;
    ex_stmt s;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    st = ex_stmt_use(&s, db, sql, err);
    if (!st) {
        ex_stmt_i64(&s, db->now_us - DAY_US);
        st = ex_stmt_run(&s, err);
    }
    return ex_sqlite_end_write(store, st, err);
}

executr_status ex_sqlite_cleanup(
    executr_store *base, int64_t retention_ms, int64_t *deleted,
    executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;

    *deleted = 0;
    executr_status st = EXECUTR_OK;
    if (retention_ms >= 0)
        st = delete_old(store, retention_ms, deleted, err);
    if (!st)
        st = forget_unseen(store, err);
    if (!st)
        st = ex_sqlite_sweep_uploads(store, err);
    return st;
}
