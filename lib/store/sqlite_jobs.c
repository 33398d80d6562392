/* SPDX-License-Identifier: MIT */
/* Submitting to and claiming from SQLite. */
#include "store/sqlite.h"

#include <string.h>

#include "base/fail.h"
#include "base/sha256.h"
#include "store/limits.h"

/* ---- Submit. */

/* If its key was used before, its result is set. */
static executr_status look_up_key(
    ex_sqlite *db, ex_submit *job, int32_t *known, executr_error *err)
{
    static const char sql[] =
        "SELECT k.job_id, k.digest, j.created_at FROM idempotency_keys k"
        " JOIN jobs j ON j.id = k.job_id WHERE k.key = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, job->spec->idempotency_key);
    st = ex_stmt_row(&s, known, err);
    if (st || !*known)
        return st;
    if (strcmp(ex_column_text(&s, 1), job->digest) == 0) {
        job->id = ex_column_uuid(&s, 0);
        job->created_at_us = ex_column_i64(&s, 2);
        job->repeated = 1;
    } else {
        job->result = EXECUTR_E_CONFLICT;
    }
    ex_stmt_end(&s);
    return EXECUTR_OK;
}

static executr_status keep_key(
    ex_sqlite *db, const ex_submit *job, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO idempotency_keys (key, job_id, digest, created_at)"
        " VALUES (?, ?, ?, ?)";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, job->spec->idempotency_key);
    ex_stmt_uuid(&s, &job->id);
    ex_stmt_string(&s, job->digest);
    ex_stmt_i64(&s, db->now_us);
    return ex_stmt_run(&s, err);
}

static executr_status look_up_binary(
    ex_sqlite *db, const char *sha256, int32_t *stored, executr_error *err)
{
    static const char sql[] = "SELECT 1 FROM binaries WHERE sha256 = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, sha256);
    st = ex_stmt_row(&s, stored, err);
    ex_stmt_end(&s);
    return st;
}

static executr_status insert_job(
    ex_sqlite *db, const ex_submit *job, const ex_held *held,
    const char *sha256, const char *limits, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO jobs (id, status, priority, type, created_at,"
        " max_retries, exclusive, demands, limits, binary_url, binary_sha256,"
        " arguments, env_variables, attempt, executor_id, executor_ip,"
        " started_at, last_heartbeat)"
        " VALUES (?1, iif(?13 IS NULL, 'pending', 'running'), ?2, ?3, ?4, ?5,"
        " ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13 IS NOT NULL, ?13, ?14,"
        " iif(?13 IS NULL, NULL, ?4), iif(?13 IS NULL, NULL, ?4))";
    const executr_job_spec *spec = job->spec;
    const executr_claim *taker = job->taker;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, &job->id);
    ex_stmt_string(&s, executr_priority_word(held->priority));
    ex_stmt_string(&s, held->type);
    ex_stmt_i64(&s, db->now_us);
    ex_stmt_i64(&s, spec->max_retries);
    ex_stmt_i64(&s, spec->exclusive != 0);
    ex_stmt_i64(&s, held->demands);
    ex_stmt_text(&s, limits);
    ex_stmt_text(&s, spec->binary_url);
    ex_stmt_string(&s, sha256);
    ex_stmt_string(&s, job->arguments);
    ex_stmt_string(&s, job->environment);
    if (taker) {
        ex_stmt_string(&s, taker->executor_id);
        ex_stmt_string(&s, taker->executor_ip ? taker->executor_ip : "");
    } else {
        ex_stmt_string(&s, NULL);
        ex_stmt_string(&s, NULL);
    }
    return ex_stmt_run(&s, err);
}

static executr_status add_job(
    ex_sqlite *db, ex_submit *job, const char *sha256, executr_error *err)
{
    const executr_job_spec *spec = job->spec;
    ex_held held = {.id = job->id, .demands = ex_spec_demands(spec)};
    ex_buf limits;

    held.priority =
        spec->priority ? spec->priority : EXECUTR_PRIORITY_BACKGROUND;
    memcpy(held.type, spec->type, strnlen(spec->type, sizeof held.type - 1));
    ex_buf_init(&limits, 4096);
    ex_limits_store(spec, &limits);
    executr_status st = ex_buf_status(&limits, "the limits", err);
    if (!st)
        st = insert_job(db, job, &held, sha256, ex_buf_text(&limits), err);
    ex_buf_clear(&limits);
    if (st)
        return st;
    held.seq = sqlite3_last_insert_rowid(db->db);
    job->created_at_us = db->now_us;
    job->taken = job->taker != NULL;
    ex_deltas_move(
        &db->deltas, held.priority, 0,
        job->taken ? EXECUTR_JOB_RUNNING : EXECUTR_JOB_PENDING);
    return job->taken ? EXECUTR_OK : ex_sqlite_enqueue(db, &held, err);
}

static executr_status submit_one(
    ex_sqlite *db, ex_submit *job, executr_error *err)
{
    const executr_job_spec *spec = job->spec;
    int32_t keyed = spec->idempotency_key && *spec->idempotency_key;
    char sha256[EX_SHA256_HEX];
    int32_t found = 0;

    job->result = EXECUTR_OK;
    job->repeated = 0;
    job->taken = 0;
    executr_status st = keyed ? look_up_key(db, job, &found, err) : EXECUTR_OK;
    if (st || found)
        return st;
    st = ex_sha256_normalize(spec->binary_sha256, sha256, "binary_sha256", err);
    if (!st && !(spec->binary_url && *spec->binary_url)) {
        st = look_up_binary(db, sha256, &found, err);
        if (!st && !found)
            job->result = EXECUTR_E_NOT_FOUND;
    }
    if (!st && !job->result)
        st = add_job(db, job, sha256, err);
    if (!st && !job->result && keyed)
        st = keep_key(db, job, err);
    return st;
}

executr_status ex_sqlite_submit(
    executr_store *base, ex_submit *jobs, size_t count, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    for (size_t i = 0; i < count && !st; i++)
        st = submit_one(&store->writer, &jobs[i], err);
    return ex_sqlite_end_write(store, st, err);
}

/* ---- Claim. */

/* The claimable rows found for one request. */
typedef struct picked {
    int64_t *seqs;
    size_t count;
    size_t wanted;
} picked;

/* A claim is a sign of life, noted at most once a second. */
static executr_status meet_executor(
    ex_sqlite *db, const executr_claim *request, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO executors (executor_id, executor_ip, max_jobs,"
        " first_seen, last_heartbeat) VALUES (?1, ?2, ?3, ?4, ?4)"
        " ON CONFLICT (executor_id) DO UPDATE SET"
        " last_heartbeat = excluded.last_heartbeat,"
        " executor_ip = excluded.executor_ip"
        " WHERE last_heartbeat < excluded.last_heartbeat - 1000000";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, request->executor_id);
    ex_stmt_string(&s, request->executor_ip ? request->executor_ip : "");
    ex_stmt_i64(&s, request->max_jobs);
    ex_stmt_i64(&s, db->now_us);
    return ex_stmt_run(&s, err);
}

static executr_status pick(
    ex_sqlite *db, const executr_claim *request, int32_t priority,
    const char *types, picked *found, executr_error *err)
{
    static const char any_type[] =
        "SELECT seq FROM queue WHERE priority = ? AND (demands & ?) = 0"
        " ORDER BY seq LIMIT ?";
    static const char some_types[] =
        "SELECT seq FROM queue WHERE priority = ? AND (demands & ?) = 0"
        " AND type IN (SELECT value FROM json_each(?))"
        " ORDER BY seq LIMIT ?";
    int32_t row = 1;
    ex_stmt s;

    found->count = 0;
    executr_status st = ex_stmt_use(&s, db, types ? some_types : any_type, err);
    if (st)
        return st;
    ex_stmt_i64(&s, priority);
    ex_stmt_i64(&s, (int64_t)(uint32_t)~request->offers);
    if (types)
        ex_stmt_string(&s, types);
    ex_stmt_i64(&s, (int64_t)found->wanted);
    while (!st && row) {
        st = ex_stmt_row(&s, &row, err);
        if (!st && row)
            found->seqs[found->count++] = ex_column_i64(&s, 0);
    }
    return st;
}

/*
 * A row of the queue table whose job is not pending: a person claimed the job
 * by hand, and the counters have not heard of it.
 */
static executr_status drop_stale(
    ex_sqlite *db, int32_t priority, int64_t seq, executr_error *err)
{
    static const char sql[] = "SELECT 1 FROM jobs WHERE seq = ?";
    int32_t exists = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, seq);
    st = ex_stmt_row(&s, &exists, err);
    ex_stmt_end(&s);
    ex_deltas_move(
        &db->deltas, priority, EXECUTR_JOB_PENDING,
        exists ? EXECUTR_JOB_RUNNING : 0);
    return st;
}

static executr_status leave_queue(
    ex_sqlite *db, int32_t priority, int64_t seq, executr_error *err)
{
    static const char sql[] =
        "DELETE FROM queue WHERE priority = ? AND seq = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, priority);
    ex_stmt_i64(&s, seq);
    return ex_stmt_run(&s, err);
}

static executr_status take(
    ex_sqlite *db, ex_claim *claim, int32_t priority, int64_t seq,
    executr_error *err)
{
    static const char sql[] =
        "UPDATE jobs SET status = 'running', executor_id = ?1,"
        " executor_ip = ?2, started_at = ?3, last_heartbeat = ?3,"
        " attempt = attempt + 1, retry_after = NULL"
        " WHERE seq = ?4 AND status = 'pending'"
        " RETURNING " EX_SQLITE_JOB_COLUMNS;
    struct executr_job *record;
    int32_t row = 0;
    ex_stmt s;

    executr_status st = leave_queue(db, priority, seq, err);
    if (!st)
        st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, claim->request->executor_id);
    ex_stmt_string(
        &s, claim->request->executor_ip ? claim->request->executor_ip : "");
    ex_stmt_i64(&s, db->now_us);
    ex_stmt_i64(&s, seq);
    st = ex_stmt_row(&s, &row, err);
    if (!st && !row)
        return drop_stale(db, priority, seq, err);
    if (!st)
        st = ex_sqlite_record(&s, claim->jobs, &record, err);
    ex_stmt_end(&s);
    ex_deltas_move(
        &db->deltas, priority, EXECUTR_JOB_PENDING, EXECUTR_JOB_RUNNING);
    return st;
}

/* Take jobs of one priority until there are enough or none is left; again
 * only if some of the rows were stale. */
static executr_status claim_priority(
    ex_sqlite *db, ex_claim *claim, int32_t priority, const char *types,
    picked *found, executr_error *err)
{
    size_t limit = (size_t)claim->request->max_jobs;
    executr_status st = EXECUTR_OK;
    int32_t more = 1;

    while (!st && more && claim->jobs->count < limit) {
        found->wanted = limit - claim->jobs->count;
        st = pick(db, claim->request, priority, types, found, err);
        more = found->count == found->wanted;
        for (size_t i = 0; i < found->count && !st; i++)
            st = take(db, claim, priority, found->seqs[i], err);
    }
    return st;
}

static executr_status write_types(
    const executr_claim *request, ex_buf *out, executr_error *err)
{
    ex_json_writer w;

    ex_json_begin(&w, out);
    ex_json_open(&w, '[');
    for (size_t i = 0; i < request->type_count; i++)
        ex_json_put_string(&w, request->types[i]);
    ex_json_close(&w, ']');
    return ex_buf_status(out, "the list of types", err);
}

static executr_status claim_one(
    ex_sqlite *db, ex_claim *claim, executr_error *err)
{
    const executr_claim *request = claim->request;
    uint32_t priorities = request->priorities ? request->priorities : ~0u;
    picked found = {NULL, 0, 0};
    ex_buf types;

    ex_buf_init(&types, EX_STRINGS_BYTES_MAX);
    executr_status st = meet_executor(db, request, err);
    if (!st && request->type_count)
        st = write_types(request, &types, err);
    if (!st)
        st = ex_alloc_array(
            (void **)&found.seqs, (size_t)request->max_jobs, sizeof *found.seqs,
            err);
    for (int32_t p = EXECUTR_PRIORITY_FOREGROUND;
         p <= EXECUTR_PRIORITY_BEST_EFFORT && !st; p++) {
        if (priorities & 1u << p)
            st = claim_priority(
                db, claim, p, request->type_count ? ex_buf_text(&types) : NULL,
                &found, err);
    }
    ex_free(found.seqs);
    ex_buf_clear(&types);
    return st;
}

executr_status ex_sqlite_claim(
    executr_store *base, ex_claim *claims, size_t count, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    for (size_t i = 0; i < count && !st; i++)
        st = claim_one(&store->writer, &claims[i], err);
    return ex_sqlite_end_write(store, st, err);
}
