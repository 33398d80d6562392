/* SPDX-License-Identifier: MIT */
/* Leases in SQLite: heartbeats, goodbyes, and the upkeep that ends silent
 * ones and puts due retries back. */
#include "store/sqlite.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

#define UPKEEP_LIMIT 1000

executr_status ex_sqlite_gather(ex_stmt *s, ex_ids *ids, executr_error *err)
{
    executr_status st = EXECUTR_OK;
    int32_t row = 1;

    ids->count = 0;
    while (!st && row) {
        st = ex_stmt_row(s, &row, err);
        if (!st && row && ids->count == ids->capacity) {
            size_t capacity = ids->capacity ? ids->capacity * 2 : 64;
            st = ex_realloc(
                (void **)&ids->items, capacity * sizeof *ids->items, err);
            if (!st)
                ids->capacity = capacity;
        }
        if (!st && row)
            ids->items[ids->count++] = ex_column_uuid(s, 0);
    }
    ex_stmt_end(s);
    return st;
}

/* ---- Heartbeats. */

static executr_status note_whole(
    ex_sqlite *db, const executr_heartbeat *info, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO executors (executor_id, executor_ip, version, max_jobs,"
        " cache_hits, cache_misses, cache_bytes, cache_max_bytes, first_seen,"
        " last_heartbeat, leases_at)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?9)"
        " ON CONFLICT (executor_id) DO UPDATE SET"
        " executor_ip = CASE WHEN excluded.executor_ip <> ''"
        " THEN excluded.executor_ip ELSE executor_ip END,"
        " version = excluded.version,"
        " max_jobs = excluded.max_jobs, cache_hits = excluded.cache_hits,"
        " cache_misses = excluded.cache_misses,"
        " cache_bytes = excluded.cache_bytes,"
        " cache_max_bytes = excluded.cache_max_bytes,"
        " last_heartbeat = excluded.last_heartbeat,"
        " leases_at = excluded.leases_at";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, info->executor_id);
    ex_stmt_string(&s, info->executor_ip ? info->executor_ip : "");
    ex_stmt_string(&s, info->version ? info->version : "");
    ex_stmt_i64(&s, info->max_jobs);
    ex_stmt_i64(&s, info->cache_hits);
    ex_stmt_i64(&s, info->cache_misses);
    ex_stmt_i64(&s, info->cache_bytes);
    ex_stmt_i64(&s, info->cache_max_bytes);
    ex_stmt_i64(&s, db->now_us);
    return ex_stmt_run(&s, err);
}

/* A heartbeat for one job tells nothing of the executor but that it lives. */
static executr_status note_life(
    ex_sqlite *db, const executr_heartbeat *info, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO executors (executor_id, executor_ip, max_jobs,"
        " first_seen, last_heartbeat) VALUES (?1, ?2, 1, ?3, ?3)"
        " ON CONFLICT (executor_id) DO UPDATE SET"
        " last_heartbeat = excluded.last_heartbeat";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, info->executor_id);
    ex_stmt_string(&s, info->executor_ip ? info->executor_ip : "");
    ex_stmt_i64(&s, db->now_us);
    return ex_stmt_run(&s, err);
}

static executr_status extend(ex_sqlite *db, int64_t seq, executr_error *err)
{
    static const char sql[] =
        "UPDATE jobs SET last_heartbeat = ? WHERE seq = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, db->now_us);
    ex_stmt_i64(&s, seq);
    return ex_stmt_run(&s, err);
}

static executr_status judge_lease(
    ex_sqlite *db, const ex_heartbeat *beat, ex_lease *lease,
    executr_error *err)
{
    ex_held job;

    executr_status st = ex_sqlite_hold(db, &lease->id, &job, err);
    if (st == EXECUTR_E_NOT_FOUND) {
        lease->verdict = EXECUTR_LEASE_UNKNOWN;
        return EXECUTR_OK;
    }
    if (st)
        return st;
    if (job.status != EXECUTR_JOB_RUNNING ||
        strcmp(job.executor_id, beat->info->executor_id) != 0 ||
        (lease->attempt && lease->attempt != job.attempt)) {
        lease->verdict = EXECUTR_LEASE_LOST;
        return EXECUTR_OK;
    }
    lease->verdict =
        job.cancel_requested ? EXECUTR_LEASE_CANCEL : EXECUTR_LEASE_KEPT;
    /* A whole heartbeat has extended them all by executors.leases_at. */
    return beat->unnamed_after_ms < 0 ? extend(db, job.seq, err) : EXECUTR_OK;
}

static int32_t is_named(const ex_heartbeat *beat, const ex_held *job)
{
    for (size_t i = 0; i < beat->lease_count; i++) {
        if (ex_uuid_compare(&beat->leases[i].id, &job->id) == 0 &&
            beat->leases[i].verdict != EXECUTR_LEASE_LOST)
            return 1;
    }
    return 0;
}

/* Running jobs of an executor that started before a moment. */
static executr_status gather_running(
    ex_sqlite *db, const char *executor_id, int64_t before_us, ex_ids *ids,
    executr_error *err)
{
    static const char sql[] =
        "SELECT id FROM jobs WHERE status = 'running' AND executor_id = ?"
        " AND started_at < ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, executor_id);
    ex_stmt_i64(&s, before_us);
    return ex_sqlite_gather(&s, ids, err);
}

/* The answers to their claims were lost: nobody runs them. */
static executr_status release_unnamed(
    ex_sqlite *db, const ex_heartbeat *beat, executr_error *err)
{
    int64_t before = db->now_us - ex_heartbeat_unnamed_ms(beat) * 1000;
    ex_ids ids = {NULL, 0, 0};
    ex_held job;

    executr_status st =
        gather_running(db, beat->info->executor_id, before, &ids, err);
    for (size_t i = 0; i < ids.count && !st; i++) {
        st = ex_sqlite_hold(db, &ids.items[i], &job, err);
        if (!st && !is_named(beat, &job))
            st = ex_sqlite_release(db, &job, err);
    }
    ex_free(ids.items);
    return st;
}

static executr_status beat_one(
    ex_sqlite *db, ex_heartbeat *beat, executr_error *err)
{
    int32_t whole = beat->unnamed_after_ms >= 0;

    executr_status st = whole ? note_whole(db, beat->info, err)
                              : note_life(db, beat->info, err);
    for (size_t i = 0; i < beat->lease_count && !st; i++)
        st = judge_lease(db, beat, &beat->leases[i], err);
    if (!st && whole)
        st = release_unnamed(db, beat, err);
    return st;
}

executr_status ex_sqlite_heartbeat(
    executr_store *base, ex_heartbeat *beats, size_t count, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    for (size_t i = 0; i < count && !st; i++)
        st = beat_one(&store->writer, &beats[i], err);
    st = ex_sqlite_end_write(store, st, err);
    if (!st)
        ex_sqlite_live_mark(store, beats, count);
    return st;
}

static executr_status forget(
    ex_sqlite *db, const char *executor_id, executr_error *err)
{
    static const char sql[] = "DELETE FROM executors WHERE executor_id = ?";
    ex_ids ids = {NULL, 0, 0};
    ex_held job;
    ex_stmt s;

    executr_status st = gather_running(db, executor_id, INT64_MAX, &ids, err);
    for (size_t i = 0; i < ids.count && !st; i++) {
        st = ex_sqlite_hold(db, &ids.items[i], &job, err);
        if (!st)
            st = ex_sqlite_release(db, &job, err);
    }
    ex_free(ids.items);
    if (!st)
        st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, executor_id);
    return ex_stmt_run(&s, err);
}

executr_status ex_sqlite_goodbye(
    executr_store *base, const char *executor_id, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    st = forget(&store->writer, executor_id, err);
    return ex_sqlite_end_write(store, st, err);
}

/* ---- Upkeep. */

static executr_status time_out(
    ex_sqlite *db, const ex_held *job, const ex_rules *rules, ex_upkeep *out,
    executr_error *err)
{
    char silent[sizeof job->executor_id + 40];
    char gave_up[160];
    ex_end end = {
        .attempt_status = EXECUTR_ATTEMPT_TIMEOUT,
        .job_status = EXECUTR_JOB_PENDING,
        .lost_count = job->lost_count + 1,
        .outcome = EXECUTR_OUTCOME_LOST,
        .error_message = silent};

    (void)snprintf(
        silent, sizeof silent, "executor %s fell silent", job->executor_id);
    if (rules->max_lost_attempts > 0 &&
        end.lost_count >= rules->max_lost_attempts) {
        (void)snprintf(
            gave_up, sizeof gave_up,
            "gave up after %d attempts in a row were lost (executors fell "
            "silent while running it)",
            (int)end.lost_count);
        end.job_status = EXECUTR_JOB_FAILED;
        end.job_message = gave_up;
        out->failed++;
    } else if (job->cancel_requested) {
        end.job_status = EXECUTR_JOB_CANCELLED;
    }
    out->recovered++;
    return ex_sqlite_end_attempt(db, job, &end, err);
}

static executr_status reap_silent(
    ex_sqlite *db, const ex_rules *rules, ex_upkeep *out, executr_error *err)
{
    static const char sql[] =
        "SELECT j.id FROM jobs j LEFT JOIN executors e"
        " ON e.executor_id = j.executor_id WHERE j.status = 'running'"
        " AND max(coalesce(j.last_heartbeat, 0), coalesce(e.leases_at, 0))"
        " <= ? LIMIT ?";
    ex_ids ids = {NULL, 0, 0};
    ex_held job;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, db->now_us - rules->heartbeat_timeout_ms * 1000);
    ex_stmt_i64(&s, UPKEEP_LIMIT);
    st = ex_sqlite_gather(&s, &ids, err);
    for (size_t i = 0; i < ids.count && !st; i++) {
        st = ex_sqlite_hold(db, &ids.items[i], &job, err);
        if (!st)
            st = time_out(db, &job, rules, out, err);
    }
    if (ids.count == UPKEEP_LIMIT)
        out->more = 1;
    ex_free(ids.items);
    return st;
}

static executr_status stop_waiting(
    ex_sqlite *db, const ex_uuid *id, executr_error *err)
{
    static const char sql[] = "DELETE FROM waiting WHERE job_id = ?";
    ex_held job;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, id);
    st = ex_stmt_run(&s, err);
    if (!st)
        st = ex_sqlite_hold(db, id, &job, err);
    if (st)
        return st == EXECUTR_E_NOT_FOUND ? EXECUTR_OK : st;
    return ex_sqlite_enqueue(db, &job, err);
}

static executr_status queue_due(
    ex_sqlite *db, ex_upkeep *out, executr_error *err)
{
    static const char sql[] =
        "SELECT job_id FROM waiting WHERE due_at <= ? ORDER BY due_at LIMIT ?";
    ex_ids ids = {NULL, 0, 0};
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, db->now_us);
    ex_stmt_i64(&s, UPKEEP_LIMIT);
    st = ex_sqlite_gather(&s, &ids, err);
    for (size_t i = 0; i < ids.count && !st; i++)
        st = stop_waiting(db, &ids.items[i], err);
    out->due = (int64_t)ids.count;
    if (ids.count == UPKEEP_LIMIT)
        out->more = 1;
    ex_free(ids.items);
    return st;
}

static executr_status ask_claimable(
    ex_sqlite *db, int32_t *claimable, executr_error *err)
{
    static const char sql[] = "SELECT 1 FROM queue LIMIT 1";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    st = ex_stmt_row(&s, claimable, err);
    ex_stmt_end(&s);
    return st;
}

executr_status ex_sqlite_upkeep(
    executr_store *base, const ex_rules *rules, int32_t reap, ex_upkeep *out,
    executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_sqlite *db = &store->writer;

    memset(out, 0, sizeof *out);
    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    st = queue_due(db, out, err);
    if (!st && reap)
        st = reap_silent(db, rules, out, err);
    if (!st)
        st = ask_claimable(db, &out->claimable, err);
    ex_live_sweep(&store->live);
    return ex_sqlite_end_write(store, st, err);
}
