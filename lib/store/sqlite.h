/* SPDX-License-Identifier: MIT */
/*
 * The inside of the SQLite store: one writer connection under a mutex and a
 * few readers that never wait for it (write-ahead log). A statement is named
 * by the address of its text and prepared once per connection.
 */
#ifndef EX_STORE_SQLITE_H
#define EX_STORE_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "store.h"
#include "store/live.h"

#define EX_SQLITE_READERS 4
#define EX_SQLITE_STATEMENTS 128 /* of one connection; a power of two */

/* Net changes of job_counts in one transaction. */
typedef struct ex_deltas {
    int64_t pending[4]; /* by priority */
    int64_t jobs[6];    /* by status; [EXECUTR_JOB_PENDING] is not used */
    int32_t any;
} ex_deltas;

typedef struct ex_sqlite {
    sqlite3 *db;
    const char *path;    /* of the store */
    int64_t now_us;      /* the moment of the transaction */
    int64_t deadline_us; /* on the monotonic clock */
    ex_deltas deltas;    /* written out by the commit */
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } cache[EX_SQLITE_STATEMENTS];
} ex_sqlite;

typedef struct ex_sqlite_store {
    executr_store base; /* first */
    char *path;
    int lock_fd;
    int32_t writer_ready;
    /*
     * Added to the monotonic clock it gives the store's time: what the wall
     * clock said at opening. A wall clock that steps later on neither ends
     * leases nor keeps them.
     */
    int64_t clock_us;
    pthread_mutex_t write_lock;
    ex_sqlite writer;
    pthread_mutex_t read_lock;
    pthread_cond_t read_free;
    ex_sqlite readers[EX_SQLITE_READERS];
    ex_sqlite *idle[EX_SQLITE_READERS];
    int32_t idle_count;
    atomic_int active;
    ex_live_memory live;
} ex_sqlite_store;

/* Connections (sqlite_open.c). Closing takes half-opened ones too. */
executr_status ex_sqlite_connect(
    ex_sqlite_store *store, ex_sqlite *db, int32_t reader,
    executr_error *err) EXECUTR_CHECKED;
void ex_sqlite_disconnect(ex_sqlite *db);
executr_status ex_sqlite_migrate(ex_sqlite *db, executr_error *err)
    EXECUTR_CHECKED;
/* Make the file and its directory and take its lock. */
executr_status ex_sqlite_take_file(
    ex_sqlite_store *store, const char *url,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Transactions. A writer's begin takes the mutex and the database's lock; its
 * end commits if `st` is OK, else rolls back, and gives the status of the
 * whole. Every begin that returned OK needs its end.
 */
executr_status ex_sqlite_begin_write(ex_sqlite_store *store, executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_sqlite_end_write(
    ex_sqlite_store *store, executr_status st,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_sqlite_begin_read(
    ex_sqlite_store *store, ex_sqlite **out,
    executr_error *err) EXECUTR_CHECKED;
void ex_sqlite_end_read(ex_sqlite_store *store, ex_sqlite *db);

/* The failure of an SQLite call. */
executr_status ex_sqlite_fail(ex_sqlite *db, int rc, executr_error *err);
/* Run SQL without parameters or rows. */
executr_status ex_sqlite_exec(
    ex_sqlite *db, const char *sql, executr_error *err) EXECUTR_CHECKED;

/*
 * A statement in use: bind its parameters in order (a failure sticks and comes
 * out of the next step), then run it, or ask for rows until there is none. A
 * text or blob must last until then. Whoever leaves rows unread ends it.
 */
typedef struct ex_stmt {
    ex_sqlite *db;
    sqlite3_stmt *stmt;
    int next;
    int rc;
} ex_stmt;

executr_status ex_stmt_use(
    ex_stmt *s, ex_sqlite *db, const char *sql,
    executr_error *err) EXECUTR_CHECKED;
void ex_stmt_i64(ex_stmt *s, int64_t value);
void ex_stmt_i64_or_null(ex_stmt *s, int32_t known, int64_t value);
void ex_stmt_double_or_null(ex_stmt *s, int32_t known, double value);
void ex_stmt_text(ex_stmt *s, const char *text);   /* NULL and "" are NULL */
void ex_stmt_string(ex_stmt *s, const char *text); /* "" is itself */
void ex_stmt_uuid(ex_stmt *s, const ex_uuid *id);
void ex_stmt_blob(ex_stmt *s, const void *data, size_t length);
executr_status ex_stmt_row(ex_stmt *s, int32_t *row, executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_stmt_run(ex_stmt *s, executr_error *err) EXECUTR_CHECKED;
void ex_stmt_end(ex_stmt *s);

/* Columns of the current row; texts last until the next step. */
int64_t ex_column_i64(const ex_stmt *s, int column);
const char *ex_column_text(const ex_stmt *s, int column); /* NULL: "" */
ex_uuid ex_column_uuid(const ex_stmt *s, int column);
/* A copy of a text or blob; "" without memory for NULL. */
executr_status ex_column_copy(
    const ex_stmt *s, int column, ex_arena *arena, const char **out,
    size_t *length, executr_error *err) EXECUTR_CHECKED;

/* Rows changed by the last statement that ran. */
int64_t ex_sqlite_changes(const ex_sqlite *db);

/* Note that a job moved from one status to another, 0 for new and deleted. */
void ex_deltas_move(
    ex_deltas *deltas, int32_t priority, int32_t from, int32_t to);

/* What ex_sqlite_record reads, from a table or alias named jobs. */
#define EX_SQLITE_JOB_COLUMNS                                                  \
    "jobs.id, jobs.type, jobs.status, jobs.priority, jobs.created_at,"         \
    " jobs.started_at, jobs.completed_at, jobs.last_heartbeat, jobs.attempt,"  \
    " jobs.max_retries, jobs.retry_count, jobs.retry_after, jobs.exclusive,"   \
    " jobs.executor_id, jobs.exit_code, jobs.outcome, jobs.signal,"            \
    " jobs.error_message, jobs.limits, jobs.binary_url, jobs.binary_sha256,"   \
    " jobs.arguments, jobs.env_variables"
#define EX_SQLITE_JOB_COLUMN_COUNT 23

/* The same for readers, with what ex_sqlite_see_leases needs. */
#define EX_SQLITE_SELECT_JOB                                                   \
    "SELECT " EX_SQLITE_JOB_COLUMNS                                            \
    ", e.leases_at, jobs.executor_ip FROM jobs LEFT JOIN executors e"          \
    " ON e.executor_id = jobs.executor_id AND jobs.status = 'running'"

/* A whole heartbeat extends leases in executors, not in jobs. */
void ex_sqlite_see_leases(const ex_stmt *s, struct executr_job *job);

/* Append the row under a statement as a record. */
executr_status ex_sqlite_record(
    const ex_stmt *s, executr_jobs *jobs, struct executr_job **out,
    executr_error *err) EXECUTR_CHECKED;

/* A running job about to end its attempt, or a job about to be moved. */
typedef struct ex_held {
    int64_t seq;
    ex_uuid id;
    int32_t status;
    int32_t priority;
    int32_t attempt;
    int32_t retry_count;
    int32_t max_retries;
    int32_t lost_count;
    int32_t cancel_requested;
    uint32_t demands;
    int64_t started_at_us;
    char executor_id[EX_EXECUTOR_ID_MAX * 4 + 1];
    char executor_ip[64 * 4 + 1];
    char type[EX_TYPE_MAX * 4 + 1];
} ex_held;

/* E_NOT_FOUND (without a message) if there is no such job. */
executr_status ex_sqlite_hold(
    ex_sqlite *db, const ex_uuid *id, ex_held *out,
    executr_error *err) EXECUTR_CHECKED;

/* The end of an attempt: what is recorded, and what becomes of the job. */
typedef struct ex_end {
    int32_t attempt_status;
    int32_t job_status;   /* after it; pending: queued, or waits for retry */
    int32_t retry;        /* count a retry */
    int32_t lost_count;   /* after it */
    int32_t keep_results; /* of the attempt before */
    int64_t due_at_us;    /* 0: claimable at once */
    int32_t outcome;
    const char *error_message;    /* of the attempt */
    const char *job_message;      /* of the job; NULL: the same */
    const executr_report *report; /* NULL if there was none */
} ex_end;

executr_status ex_sqlite_end_attempt(
    ex_sqlite *db, const ex_held *job, const ex_end *end,
    executr_error *err) EXECUTR_CHECKED;
/* Give a running job back, uncounted. */
executr_status ex_sqlite_release(
    ex_sqlite *db, const ex_held *job, executr_error *err) EXECUTR_CHECKED;
/* Into the queue table, at its old place. */
executr_status ex_sqlite_enqueue(
    ex_sqlite *db, const ex_held *job, executr_error *err) EXECUTR_CHECKED;

/* A list of ids gathered before they are changed. */
typedef struct ex_ids {
    ex_uuid *items;
    size_t count;
    size_t capacity;
} ex_ids;

/* All ids in the first column of a statement that is ready to run. */
executr_status ex_sqlite_gather(ex_stmt *s, ex_ids *ids, executr_error *err)
    EXECUTR_CHECKED;

/* The operations (lib/store.h). */
executr_status ex_sqlite_submit(
    executr_store *base, ex_submit *jobs, size_t count, executr_error *err);
executr_status ex_sqlite_claim(
    executr_store *base, ex_claim *claims, size_t count, executr_error *err);
executr_status ex_sqlite_finish(
    executr_store *base, ex_finish *ends, size_t count, const ex_rules *rules,
    executr_error *err);
executr_status ex_sqlite_heartbeat(
    executr_store *base, ex_heartbeat *beats, size_t count, executr_error *err);
executr_status ex_sqlite_goodbye(
    executr_store *base, const char *executor_id, executr_error *err);
executr_status ex_sqlite_cancel(
    executr_store *base, ex_cancel *jobs, size_t count, executr_error *err);
executr_status ex_sqlite_matching(
    executr_store *base, const executr_filter *filter, const ex_uuid *after,
    ex_uuid out[1000], size_t *count, executr_error *err);
executr_status ex_sqlite_retry(
    executr_store *base, const ex_uuid *id, executr_error *err);
executr_status ex_sqlite_get(
    executr_store *base, const ex_uuid *id, int32_t parts, executr_jobs *jobs,
    executr_error *err);
executr_status ex_sqlite_list(
    executr_store *base, const executr_filter *filter, executr_jobs *jobs,
    executr_error *err);
executr_status ex_sqlite_stats(
    executr_store *base, int64_t active_within_ms, struct executr_stats *out,
    executr_error *err);
executr_status ex_sqlite_executors(
    executr_store *base, int64_t seen_within_ms, executr_executors *out,
    executr_error *err);
executr_status ex_sqlite_upkeep(
    executr_store *base, const ex_rules *rules, int32_t reap, ex_upkeep *out,
    executr_error *err);
executr_status ex_sqlite_cleanup(
    executr_store *base, int64_t retention_ms, int64_t *deleted,
    executr_error *err);
executr_status ex_sqlite_binary_begin(
    executr_store *base, const ex_uuid *upload, executr_error *err);
executr_status ex_sqlite_binary_part(
    executr_store *base, const ex_uuid *upload, int32_t part, const void *data,
    size_t length, executr_error *err);
executr_status ex_sqlite_binary_end(
    executr_store *base, const ex_uuid *upload, const char *sha256,
    int64_t bytes, int32_t *created, executr_error *err);
executr_status ex_sqlite_binary_drop(
    executr_store *base, const ex_uuid *upload, executr_error *err);
executr_status ex_sqlite_binary_size(
    executr_store *base, const char *sha256, int64_t *bytes,
    executr_error *err);
executr_status ex_sqlite_binary_read(
    executr_store *base, const char *sha256, int32_t part, ex_buf *out,
    executr_error *err);
executr_status ex_sqlite_live_follow(
    executr_store *base, const ex_uuid *id, int64_t for_ms, executr_error *err);
executr_status ex_sqlite_live_put(
    executr_store *base, const ex_piece *piece, int32_t *followed,
    executr_error *err);
executr_status ex_sqlite_live_read(
    executr_store *base, const ex_uuid *id, int32_t attempt,
    const int64_t from[2], ex_view *out, executr_error *err);
executr_status ex_sqlite_attempt_output(
    executr_store *base, const ex_uuid *id, int32_t attempt, ex_buf out[2],
    executr_error *err);
/* Kept leases of jobs that are followed. */
void ex_sqlite_live_mark(
    ex_sqlite_store *store, ex_heartbeat *beats, size_t count);
/* Drop a few uploads nobody has touched for a day. */
executr_status ex_sqlite_sweep_uploads(
    ex_sqlite_store *store, executr_error *err) EXECUTR_CHECKED;

#endif
