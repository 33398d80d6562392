/* SPDX-License-Identifier: MIT */
/* Cancelling in SQLite, and the way back from it. */
#include "store/sqlite.h"

#include <string.h>

#include "base/fail.h"

static executr_status leave_queue(
    ex_sqlite *db, const ex_held *job, executr_error *err)
{
    static const char queue[] =
        "DELETE FROM queue WHERE priority = ? AND seq = ?";
    static const char waiting[] = "DELETE FROM waiting WHERE job_id = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, queue, err);
    if (!st) {
        ex_stmt_i64(&s, job->priority);
        ex_stmt_i64(&s, job->seq);
        st = ex_stmt_run(&s, err);
    }
    if (!st)
        st = ex_stmt_use(&s, db, waiting, err);
    if (!st) {
        ex_stmt_uuid(&s, &job->id);
        st = ex_stmt_run(&s, err);
    }
    return st;
}

static executr_status cancel_pending(
    ex_sqlite *db, const ex_held *job, executr_error *err)
{
    static const char sql[] =
        "UPDATE jobs SET status = 'cancelled', completed_at = ?,"
        " retry_after = NULL WHERE seq = ?";
    ex_stmt s;

    executr_status st = leave_queue(db, job, err);
    if (!st)
        st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, db->now_us);
    ex_stmt_i64(&s, job->seq);
    ex_deltas_move(
        &db->deltas, job->priority, EXECUTR_JOB_PENDING, EXECUTR_JOB_CANCELLED);
    return ex_stmt_run(&s, err);
}

/* Its executor hears of it with the next heartbeat. */
static executr_status ask_to_stop(
    ex_sqlite *db, const ex_held *job, executr_error *err)
{
    static const char sql[] =
        "UPDATE jobs SET cancel_requested = 1 WHERE seq = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, job->seq);
    return ex_stmt_run(&s, err);
}

static executr_status cancel_one(
    ex_sqlite *db, ex_cancel *cancel, executr_error *err)
{
    ex_held job;

    executr_status st = ex_sqlite_hold(db, &cancel->id, &job, err);
    if (st == EXECUTR_E_NOT_FOUND) {
        cancel->result = st;
        return EXECUTR_OK;
    }
    if (st)
        return st;
    cancel->priority = job.priority;
    memcpy(cancel->type, job.type, sizeof cancel->type);
    if (job.status == EXECUTR_JOB_PENDING) {
        cancel->result = EXECUTR_OK;
        return cancel_pending(db, &job, err);
    }
    if (job.status == EXECUTR_JOB_RUNNING) {
        cancel->result = EXECUTR_E_CANCELLED;
        return job.cancel_requested ? EXECUTR_OK : ask_to_stop(db, &job, err);
    }
    cancel->result = EXECUTR_E_CONFLICT;
    return EXECUTR_OK;
}

executr_status ex_sqlite_cancel(
    executr_store *base, ex_cancel *jobs, size_t count, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    for (size_t i = 0; i < count && !st; i++)
        st = cancel_one(&store->writer, &jobs[i], err);
    return ex_sqlite_end_write(store, st, err);
}

/* As new, but for its attempts, its place and its age. */
static executr_status start_anew(
    ex_sqlite *db, const ex_held *job, executr_error *err)
{
    static const char sql[] =
        "UPDATE jobs SET status = 'pending', retry_count = 0, lost_count = 0,"
        " cancel_requested = 0, retry_after = NULL, executor_id = NULL,"
        " executor_ip = NULL, started_at = NULL, last_heartbeat = NULL,"
        " completed_at = NULL, exit_code = NULL, outcome = NULL,"
        " signal = NULL, error_message = NULL WHERE seq = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, job->seq);
    st = ex_stmt_run(&s, err);
    ex_deltas_move(
        &db->deltas, job->priority, job->status, EXECUTR_JOB_PENDING);
    return st ? st : ex_sqlite_enqueue(db, job, err);
}

executr_status ex_sqlite_retry(
    executr_store *base, const ex_uuid *id, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_sqlite *db = &store->writer;
    char text[EX_UUID_TEXT];
    ex_held job;

    ex_uuid_format(id, text);
    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    st = ex_sqlite_hold(db, id, &job, err);
    if (st == EXECUTR_E_NOT_FOUND)
        ex_ignore(ex_fail(err, st, "there is no job %s", text));
    else if (
        !st && job.status != EXECUTR_JOB_FAILED &&
        job.status != EXECUTR_JOB_CANCELLED)
        st = ex_fail(
            err, EXECUTR_E_CONFLICT,
            "job %s is %s: only failed and cancelled jobs can be retried", text,
            executr_job_status_word(job.status));
    if (!st)
        st = start_anew(db, &job, err);
    return ex_sqlite_end_write(store, st, err);
}
