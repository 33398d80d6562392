/* SPDX-License-Identifier: MIT */
/*
 * Live output beside SQLite: the file belongs to one program, so what jobs
 * print while they run is passed on in its memory and costs no flush.
 */
#include <string.h>

#include "base/fail.h"
#include "store/sqlite.h"

executr_status ex_sqlite_live_follow(
    executr_store *base, const ex_uuid *id, int64_t for_ms, executr_error *err)
{
    return ex_live_follow(&((ex_sqlite_store *)base)->live, id, for_ms, err);
}

/* The number of the attempt under way, if it is this executor's. */
static executr_status check_fence(
    ex_sqlite_store *store, const ex_piece *piece, int32_t *attempt,
    executr_error *err)
{
    char text[EX_UUID_TEXT];
    ex_sqlite *db;
    ex_held job;

    *attempt = 0;
    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = ex_sqlite_hold(db, &piece->id, &job, err);
    ex_sqlite_end_read(store, db);
    ex_uuid_format(&piece->id, text);
    if (st == EXECUTR_E_NOT_FOUND)
        return ex_fail(err, st, "there is no job %s", text);
    if (!st && (job.status != EXECUTR_JOB_RUNNING ||
                strcmp(job.executor_id, piece->executor_id) != 0 ||
                (piece->attempt && piece->attempt != job.attempt)))
        st = ex_fail(
            err, EXECUTR_E_LOST,
            "this attempt of job %s is not this executor's (any more)", text);
    if (!st)
        *attempt = job.attempt;
    return st;
}

executr_status ex_sqlite_live_put(
    executr_store *base, const ex_piece *piece, int32_t *followed,
    executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    int32_t attempt;

    *followed = 0;
    executr_status st = check_fence(store, piece, &attempt, err);
    return st ? st : ex_live_put(&store->live, piece, attempt, followed, err);
}

static executr_status read_state(
    ex_sqlite_store *store, const ex_uuid *id, ex_view *out, executr_error *err)
{
    char text[EX_UUID_TEXT];
    ex_sqlite *db;
    ex_held job;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = ex_sqlite_hold(db, id, &job, err);
    ex_sqlite_end_read(store, db);
    ex_uuid_format(id, text);
    if (st == EXECUTR_E_NOT_FOUND)
        return ex_fail(err, st, "there is no job %s", text);
    if (!st) {
        out->status = job.status;
        out->attempt = job.attempt;
    }
    return st;
}

executr_status ex_sqlite_live_read(
    executr_store *base, const ex_uuid *id, int32_t attempt,
    const int64_t from[2], ex_view *out, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;

    /* The pieces behind the state: an attempt that is over when it is read
     * gets no more of them. */
    ex_view_reset(out);
    executr_status st = read_state(store, id, out, err);
    if (st)
        return st;
    ex_live_read(&store->live, id, attempt, from, out);
    return ex_view_status(out, err);
}

executr_status ex_sqlite_attempt_output(
    executr_store *base, const ex_uuid *id, int32_t attempt, ex_buf out[2],
    executr_error *err)
{
    static const char sql[] =
        "SELECT stdout, stderr FROM job_attempts WHERE job_id = ?"
        " AND attempt = ?";
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    int32_t row = 0;
    ex_sqlite *db;
    ex_stmt s;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = ex_stmt_use(&s, db, sql, err);
    if (!st) {
        ex_stmt_uuid(&s, id);
        ex_stmt_i64(&s, attempt);
        st = ex_stmt_row(&s, &row, err);
    }
    for (int i = 0; !st && row && i < 2; i++) {
        ex_buf_add(
            &out[i], sqlite3_column_blob(s.stmt, i),
            (size_t)sqlite3_column_bytes(s.stmt, i));
        st = ex_buf_status(&out[i], "output", err);
    }
    if (row)
        ex_stmt_end(&s);
    ex_sqlite_end_read(store, db);
    return st;
}

void ex_sqlite_live_mark(
    ex_sqlite_store *store, ex_heartbeat *beats, size_t count)
{
    if (atomic_load(&store->live.count) == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < beats[i].lease_count; k++) {
            ex_lease *lease = &beats[i].leases[k];
            if (lease->verdict == EXECUTR_LEASE_KEPT &&
                ex_live_is_followed(&store->live, &lease->id))
                lease->verdict = EXECUTR_LEASE_FOLLOWED;
        }
    }
}
