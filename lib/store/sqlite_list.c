/* SPDX-License-Identifier: MIT */
/* Lists of jobs in SQLite. */
#include "store/sqlite.h"

#include <string.h>

#include "base/fail.h"

#define MATCHING_LIMIT 1000

/*
 * The conditions of a filter; their values are bound in the same order. Being
 * made of constant pieces, the texts are few, but they have no fixed address,
 * so that these statements are prepared anew each time.
 */
static void add_conditions(ex_buf *sql, const executr_filter *filter)
{
    /* This one is a literal for the sake of the index on running jobs. */
    if (filter->status == EXECUTR_JOB_RUNNING)
        ex_buf_puts(sql, " AND jobs.status = 'running'");
    else if (filter->status)
        ex_buf_puts(sql, " AND jobs.status = ?");
    if (filter->priority)
        ex_buf_puts(sql, " AND jobs.priority = ?");
    if (filter->type && *filter->type)
        ex_buf_puts(sql, " AND jobs.type = ?");
    if (filter->executor_id && *filter->executor_id)
        ex_buf_puts(sql, " AND jobs.executor_id = ?");
}

static void bind_conditions(ex_stmt *s, const executr_filter *filter)
{
    if (filter->status && filter->status != EXECUTR_JOB_RUNNING)
        ex_stmt_string(s, executr_job_status_word(filter->status));
    if (filter->priority)
        ex_stmt_string(s, executr_priority_word(filter->priority));
    if (filter->type && *filter->type)
        ex_stmt_string(s, filter->type);
    if (filter->executor_id && *filter->executor_id)
        ex_stmt_string(s, filter->executor_id);
}

static executr_status prepare(
    ex_stmt *s, ex_sqlite *db, const ex_buf *sql, executr_error *err)
{
    memset(s, 0, sizeof *s);
    s->db = db;
    s->next = 1;
    executr_status st = ex_buf_status(sql, "the statement", err);
    if (st)
        return st;
    int rc = sqlite3_prepare_v2(db->db, ex_buf_text(sql), -1, &s->stmt, NULL);
    return rc == SQLITE_OK ? EXECUTR_OK : ex_sqlite_fail(db, rc, err);
}

static executr_status read_list(
    ex_stmt *s, executr_jobs *jobs, executr_error *err)
{
    struct executr_job *job;
    executr_status st = EXECUTR_OK;
    int32_t row = 1;

    while (!st && row) {
        st = ex_stmt_row(s, &row, err);
        if (!st && row)
            st = ex_sqlite_record(s, jobs, &job, err);
        if (!st && row)
            ex_sqlite_see_leases(s, job);
    }
    return st;
}

static executr_status list(
    ex_sqlite *db, const executr_filter *filter, executr_jobs *jobs,
    executr_error *err)
{
    int32_t after = filter->before_id && *filter->before_id;
    ex_buf sql;
    ex_stmt s;

    ex_buf_init(&sql, 4096);
    ex_buf_puts(&sql, EX_SQLITE_SELECT_JOB " WHERE 1");
    add_conditions(&sql, filter);
    if (after)
        ex_buf_puts(&sql, " AND jobs.id < ?");
    ex_buf_puts(&sql, " ORDER BY jobs.id DESC LIMIT ? OFFSET ?");
    executr_status st = prepare(&s, db, &sql, err);
    if (!st) {
        bind_conditions(&s, filter);
        if (after)
            ex_stmt_string(&s, filter->before_id);
        ex_stmt_i64(&s, (filter->limit ? filter->limit : 100) + 1);
        ex_stmt_i64(&s, filter->offset);
        st = read_list(&s, jobs, err);
    }
    sqlite3_finalize(s.stmt);
    ex_buf_clear(&sql);
    return st;
}

executr_status ex_sqlite_list(
    executr_store *base, const executr_filter *filter, executr_jobs *jobs,
    executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_sqlite *db;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = list(db, filter, jobs, err);
    ex_sqlite_end_read(store, db);
    return st;
}

static executr_status match(
    ex_sqlite *db, const executr_filter *filter, const ex_uuid *after,
    ex_ids *ids, executr_error *err)
{
    ex_buf sql;
    ex_stmt s;

    ex_buf_init(&sql, 4096);
    ex_buf_puts(
        &sql, "SELECT jobs.id FROM jobs"
              " WHERE jobs.status IN ('pending', 'running')");
    add_conditions(&sql, filter);
    ex_buf_puts(&sql, " AND jobs.id > ? ORDER BY jobs.id LIMIT ?");
    executr_status st = prepare(&s, db, &sql, err);
    if (!st) {
        bind_conditions(&s, filter);
        ex_stmt_uuid(&s, after);
        ex_stmt_i64(&s, MATCHING_LIMIT);
        st = ex_sqlite_gather(&s, ids, err);
    }
    sqlite3_finalize(s.stmt);
    ex_buf_clear(&sql);
    return st;
}

executr_status ex_sqlite_matching(
    executr_store *base, const executr_filter *filter, const ex_uuid *after,
    ex_uuid out[1000], size_t *count, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_ids ids = {NULL, 0, 0};
    ex_sqlite *db;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = match(db, filter, after, &ids, err);
    ex_sqlite_end_read(store, db);
    if (!st) {
        *count = ids.count;
        if (ids.count)
            memcpy(out, ids.items, ids.count * sizeof *out);
    }
    ex_free(ids.items);
    return st;
}
