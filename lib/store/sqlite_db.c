/* SPDX-License-Identifier: MIT */
/* Statements, transactions and failures of SQLite connections. */
#include "store/sqlite.h"

#include <string.h>

#include "base/fail.h"
#include "base/time.h"

static executr_status status_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return EXECUTR_E_NOMEM;
    case SQLITE_INTERRUPT:
        return EXECUTR_E_TIMEOUT;
    case SQLITE_TOOBIG:
        return EXECUTR_E_TOO_LARGE;
    case SQLITE_CONSTRAINT:
        return EXECUTR_E_CONFLICT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return EXECUTR_E_IO;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return EXECUTR_E_UNAVAILABLE;
    default:
        return EXECUTR_E_INTERNAL;
    }
}

static const char *advice_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return "the disk is full, free some space";
    case SQLITE_INTERRUPT:
        return "it took longer than the query timeout";
    case SQLITE_BUSY:
        return "another program keeps it locked";
    case SQLITE_CORRUPT:
        return "the file is damaged, restore it from a backup";
    case SQLITE_NOTADB:
        return "this is not an SQLite database, name another file";
    default:
        return NULL;
    }
}

executr_status ex_sqlite_fail(ex_sqlite *db, int rc, executr_error *err)
{
    const char *advice = advice_of(rc);
    executr_status st = ex_fail(
        err, status_of(rc), "%s: %s", db->path,
        advice   ? advice
        : db->db ? sqlite3_errmsg(db->db)
                 : sqlite3_errstr(rc));

    if (err)
        err->native = rc;
    return st;
}

executr_status ex_sqlite_exec(
    ex_sqlite *db, const char *sql, executr_error *err)
{
    int rc = sqlite3_exec(db->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? EXECUTR_OK : ex_sqlite_fail(db, rc, err);
}

int64_t ex_sqlite_changes(const ex_sqlite *db)
{
    return sqlite3_changes64(db->db);
}

/* ---- Statements. */

executr_status ex_stmt_use(
    ex_stmt *s, ex_sqlite *db, const char *sql, executr_error *err)
{
    const size_t mask = EX_SQLITE_STATEMENTS - 1;
    size_t at = ((uintptr_t)sql >> 3) & mask;

    memset(s, 0, sizeof *s);
    s->db = db;
    s->next = 1;
    /* There are fewer statements than places (each file's texts, counted
     * together, are about forty), so this ends. */
    while (db->cache[at].sql && db->cache[at].sql != sql)
        at = (at + 1) & mask;
    if (!db->cache[at].sql) {
        int rc = sqlite3_prepare_v3(
            db->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &db->cache[at].stmt,
            NULL);
        if (rc != SQLITE_OK)
            return ex_sqlite_fail(db, rc, err);
        db->cache[at].sql = sql;
    }
    s->stmt = db->cache[at].stmt;
    sqlite3_reset(s->stmt);
    return EXECUTR_OK;
}

static void note(ex_stmt *s, int rc)
{
    if (s->rc == SQLITE_OK)
        s->rc = rc;
}

void ex_stmt_i64(ex_stmt *s, int64_t value)
{
    note(s, sqlite3_bind_int64(s->stmt, s->next++, value));
}

void ex_stmt_i64_or_null(ex_stmt *s, int32_t known, int64_t value)
{
    if (known)
        ex_stmt_i64(s, value);
    else
        note(s, sqlite3_bind_null(s->stmt, s->next++));
}

void ex_stmt_double_or_null(ex_stmt *s, int32_t known, double value)
{
    note(
        s, known ? sqlite3_bind_double(s->stmt, s->next, value)
                 : sqlite3_bind_null(s->stmt, s->next));
    s->next++;
}

void ex_stmt_string(ex_stmt *s, const char *text)
{
    note(s, sqlite3_bind_text(s->stmt, s->next++, text, -1, SQLITE_STATIC));
}

void ex_stmt_text(ex_stmt *s, const char *text)
{
    ex_stmt_string(s, text && *text ? text : NULL);
}

void ex_stmt_uuid(ex_stmt *s, const ex_uuid *id)
{
    char text[EX_UUID_TEXT];

    ex_uuid_format(id, text);
    note(
        s, sqlite3_bind_text(
               s->stmt, s->next++, text, EX_UUID_TEXT - 1, SQLITE_TRANSIENT));
}

/* Never NULL: no bytes are bytes too. */
void ex_stmt_blob(ex_stmt *s, const void *data, size_t length)
{
    note(
        s, sqlite3_bind_blob64(
               s->stmt, s->next++, length ? data : "", length, SQLITE_STATIC));
}

executr_status ex_stmt_row(ex_stmt *s, int32_t *row, executr_error *err)
{
    int rc = s->rc ? s->rc : sqlite3_step(s->stmt);
    executr_status st = EXECUTR_OK;

    *row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW)
        return EXECUTR_OK;
    if (rc != SQLITE_DONE)
        st = ex_sqlite_fail(s->db, rc, err);
    sqlite3_reset(s->stmt);
    return st;
}

executr_status ex_stmt_run(ex_stmt *s, executr_error *err)
{
    int32_t row = 1;
    executr_status st = EXECUTR_OK;

    while (!st && row)
        st = ex_stmt_row(s, &row, err);
    return st;
}

void ex_stmt_end(ex_stmt *s)
{
    if (s->stmt)
        sqlite3_reset(s->stmt);
}

int64_t ex_column_i64(const ex_stmt *s, int column)
{
    return sqlite3_column_int64(s->stmt, column);
}

const char *ex_column_text(const ex_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s->stmt, column);

    return text ? text : "";
}

ex_uuid ex_column_uuid(const ex_stmt *s, int column)
{
    ex_uuid id;

    /* Only uuids are stored; one that a person spoiled finds no job. */
    if (ex_uuid_parse(ex_column_text(s, column), &id))
        memset(&id, 0, sizeof id);
    return id;
}

executr_status ex_column_copy(
    const ex_stmt *s, int column, ex_arena *arena, const char **out,
    size_t *length, executr_error *err)
{
    const void *data = sqlite3_column_blob(s->stmt, column);
    size_t size = (size_t)sqlite3_column_bytes(s->stmt, column);

    if (length)
        *length = size;
    *out = size ? ex_arena_copy(arena, data, size) : "";
    return *out ? EXECUTR_OK : ex_fail_nomem(err);
}

/* ---- Counters. */

static void count(ex_deltas *deltas, int32_t priority, int32_t status, int by)
{
    if (status == EXECUTR_JOB_PENDING)
        deltas->pending[priority] += by;
    else
        deltas->jobs[status] += by;
}

void ex_deltas_move(
    ex_deltas *deltas, int32_t priority, int32_t from, int32_t to)
{
    if (from)
        count(deltas, priority, from, -1);
    if (to)
        count(deltas, priority, to, 1);
    deltas->any = 1;
}

static executr_status write_deltas(ex_sqlite *db, executr_error *err)
{
    static const char sql[] =
        "UPDATE job_counts SET foreground = foreground + ?,"
        " background = background + ?, best_effort = best_effort + ?,"
        " running = running + ?, completed = completed + ?,"
        " failed = failed + ?, cancelled = cancelled + ?";
    ex_stmt s;

    if (!db->deltas.any)
        return EXECUTR_OK;
    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    for (int p = EXECUTR_PRIORITY_FOREGROUND; p <= 3; p++)
        ex_stmt_i64(&s, db->deltas.pending[p]);
    for (int j = EXECUTR_JOB_RUNNING; j <= EXECUTR_JOB_CANCELLED; j++)
        ex_stmt_i64(&s, db->deltas.jobs[j]);
    return ex_stmt_run(&s, err);
}

/* ---- Transactions. */

static executr_status begin(
    ex_sqlite_store *store, ex_sqlite *db, const char *how, executr_error *err)
{
    int64_t monotonic = ex_monotonic_us();

    atomic_fetch_add(&store->active, 1);
    db->now_us = store->clock_us + monotonic;
    db->deadline_us = monotonic + store->base.query_timeout_ms * 1000;
    memset(&db->deltas, 0, sizeof db->deltas);
    return ex_sqlite_exec(db, how, err);
}

/* Errors such as a full disk have rolled back already. */
static void roll_back(ex_sqlite *db)
{
    db->deadline_us = INT64_MAX;
    if (!sqlite3_get_autocommit(db->db))
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
}

/* A statement left in the middle would keep its snapshot. */
static void reset_all(ex_sqlite *db)
{
    for (size_t i = 0; i < EX_SQLITE_STATEMENTS; i++) {
        if (db->cache[i].stmt && sqlite3_stmt_busy(db->cache[i].stmt))
            sqlite3_reset(db->cache[i].stmt);
    }
}

executr_status ex_sqlite_begin_write(ex_sqlite_store *store, executr_error *err)
{
    pthread_mutex_lock(&store->write_lock);
    executr_status st = begin(store, &store->writer, "BEGIN IMMEDIATE", err);
    if (st) {
        atomic_fetch_sub(&store->active, 1);
        pthread_mutex_unlock(&store->write_lock);
    }
    return st;
}

executr_status ex_sqlite_end_write(
    ex_sqlite_store *store, executr_status st, executr_error *err)
{
    ex_sqlite *db = &store->writer;

    reset_all(db);
    if (!st)
        st = write_deltas(db, err);
    if (!st)
        st = ex_sqlite_exec(db, "COMMIT", err);
    if (st)
        roll_back(db);
    atomic_fetch_sub(&store->active, 1);
    pthread_mutex_unlock(&store->write_lock);
    return st;
}

executr_status ex_sqlite_begin_read(
    ex_sqlite_store *store, ex_sqlite **out, executr_error *err)
{
    pthread_mutex_lock(&store->read_lock);
    while (store->idle_count == 0)
        pthread_cond_wait(&store->read_free, &store->read_lock);
    ex_sqlite *db = store->idle[--store->idle_count];
    pthread_mutex_unlock(&store->read_lock);
    executr_status st = begin(store, db, "BEGIN", err);
    if (st)
        ex_sqlite_end_read(store, db);
    *out = st ? NULL : db;
    return st;
}

void ex_sqlite_end_read(ex_sqlite_store *store, ex_sqlite *db)
{
    reset_all(db);
    roll_back(db);
    atomic_fetch_sub(&store->active, 1);
    pthread_mutex_lock(&store->read_lock);
    store->idle[store->idle_count++] = db;
    pthread_cond_signal(&store->read_free);
    pthread_mutex_unlock(&store->read_lock);
}
