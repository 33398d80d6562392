/* SPDX-License-Identifier: MIT */
/* What the files of the PostgreSQL store share. */
#ifndef EX_STORE_POSTGRES_H
#define EX_STORE_POSTGRES_H

#include <pthread.h>
#include <stdatomic.h>

#include "store.h"
#include "store/pool.h"

/* ---- Parameters, in binary: nothing to quote, nothing to cut at a NUL. */

/* Types by their numbers in every PostgreSQL. */
enum {
    EX_PG_BOOL = 16,
    EX_PG_BYTEA = 17,
    EX_PG_INT8 = 20,
    EX_PG_INT4 = 23,
    EX_PG_TEXT = 25,
    EX_PG_FLOAT8 = 701,
    EX_PG_UUID = 2950,
    EX_PG_BOOLS = 1000, /* arrays of them */
    EX_PG_BYTEAS = 1001,
    EX_PG_INT4S = 1007,
    EX_PG_TEXTS = 1009,
    EX_PG_INT8S = 1016,
    EX_PG_FLOAT8S = 1022,
    EX_PG_UUIDS = 2951
};

#define EX_PG_PARAMS_MAX 17
/* What one message may hold, with room to spare. */
#define EX_PG_MESSAGE_MAX ((size_t)900 * 1024 * 1024)
/* Jobs in one submit: the step of queue_seq. */
#define EX_PG_SUBMIT_MAX 10000
/* Outputs and descriptions in one statement, about. */
#define EX_PG_CHUNK_BYTES ((size_t)32 * 1024 * 1024)

typedef struct ex_params {
    ex_buf bytes;
    int count;
    uint32_t types[EX_PG_PARAMS_MAX];
    size_t starts[EX_PG_PARAMS_MAX]; /* where each begins in `bytes` */
    int is_array[EX_PG_PARAMS_MAX];
    int items[EX_PG_PARAMS_MAX]; /* EX_PG_NULLS, EX_PG_VALUES it has */
} ex_params;
enum {
    EX_PG_NULLS = 1,
    EX_PG_VALUES = 2
};

void ex_params_init(ex_params *p);
void ex_params_clear(ex_params *p);
/* Begin the next parameter: `type` with one item, or an array with `count`. */
void ex_params_one(ex_params *p, uint32_t type);
void ex_params_array(ex_params *p, uint32_t type, size_t count);
/* Its items, in order. NULL pointers are SQL's NULL. An array of nothing but
 * NULL arrives as NULL, which costs nothing to take apart. */
void ex_item_null(ex_params *p);
void ex_item_bytes(ex_params *p, const void *data, size_t length);
void ex_item_text(ex_params *p, const char *text);
void ex_item_text_or_null(ex_params *p, const char *text); /* "": NULL */
void ex_item_bool(ex_params *p, int32_t value);
void ex_item_i32(ex_params *p, int32_t value);
void ex_item_i64(ex_params *p, int64_t value);
void ex_item_f64(ex_params *p, double value);
void ex_item_uuid(ex_params *p, const ex_uuid *id);

/* ---- Results, in binary. NULL reads as 0, "" or all zero. */

int32_t ex_pg_i32(const PGresult *rows, int row, int column);
int64_t ex_pg_i64(const PGresult *rows, int row, int column);
double ex_pg_f64(const PGresult *rows, int row, int column);
int32_t ex_pg_bool(const PGresult *rows, int row, int column);
/* A timestamptz as µs since 1970. */
int64_t ex_pg_time(const PGresult *rows, int row, int column);
ex_uuid ex_pg_uuid(const PGresult *rows, int row, int column);
/* Lasts as long as the result. */
const char *ex_pg_text(const PGresult *rows, int row, int column);

/* ---- Statements. */

/* Where a claim with this filter may start to look; see postgres_floor.c. */
#define EX_PG_FLOORS 16
#define EX_PG_FLOOR_EVENTS 256
typedef struct ex_pg_floor {
    char filter[160];
    int64_t seq[4];    /* by priority: nothing claimable lies before */
    int64_t reread_us; /* when seq was last taken from the start */
    int64_t used_us;
} ex_pg_floor;

/* The listener of ex_pg_watch; its thread alone touches it. */
typedef struct ex_pg_watcher {
    ex_uuid id;
    PGconn *pg;              /* NULL while there is none */
    int64_t retry_at_us;     /* don't connect before */
    int64_t announced_us;    /* when the watchers table was last asked */
    int64_t stands_until_us; /* till then others know that claims wait here */
    int64_t paid_until_us;   /* words sent, as time that they took up */
    int32_t failures;
    int32_t deaf; /* behind a pooler: LISTEN does not work */
} ex_pg_watcher;

typedef struct ex_pg_store {
    executr_store base;
    ex_pool *pool;
    atomic_int direct;    /* statements under way outside the pool */
    pthread_mutex_t lock; /* of floors and floor_changes */
    ex_pg_floor floors[EX_PG_FLOORS];
    uint64_t floor_changes;                   /* how many events there were */
    int64_t floor_events[EX_PG_FLOOR_EVENTS]; /* the last: see floor_lower */
    atomic_int others_parked; /* another server has claims waiting */
    atomic_int nameless;      /* sessions keep no statements for us */
    atomic_int news;          /* jobs others should hear of */
    int news_fd;              /* readable when `news` was set */
    ex_pg_watcher watcher;
    pthread_mutex_t cleanup_lock;
    ex_uuid cleanup_after;
} ex_pg_store;

/* How sure it is that a failed statement changed nothing. */
enum {
    EX_PG_FAILED = 0,  /* nothing was changed, and trying again is no use */
    EX_PG_RETRY = 1,   /* nothing was changed; it may well work again */
    EX_PG_UNKNOWN = 2, /* it may have been committed */
    EX_PG_EXPIRED = 3  /* the same, and the time is up */
};

/* One try of an operation, on one connection. */
typedef struct ex_pg_session {
    ex_pg_store *store;
    ex_conn *conn;
    int32_t again;          /* a try before may have been committed */
    int32_t in_transaction; /* BEGIN was done: nothing is committed yet */
    int32_t unnamed;        /* a kept statement failed as such: no more */
    int32_t fate;           /* of the statement that failed: EX_PG_… */
    char state[6];          /* its SQLSTATE, "" if it had none */
} ex_pg_session;

typedef executr_status (*ex_pg_work)(
    ex_pg_session *session, void *ctx, executr_error *err);

enum {
    EX_PG_ONCE = 0,      /* not again once it may have been committed */
    EX_PG_REPEATABLE = 1 /* doing it twice is doing it once */
};

/*
 * Run `work` on a connection of the pool, and again on another as often as is
 * safe and useful: after conflicts with other transactions and when a
 * connection turns out to be dead.
 */
executr_status ex_pg_run(
    ex_pg_store *store, int32_t repeatable, ex_pg_work work, void *ctx,
    executr_error *err) EXECUTR_CHECKED;

/* One statement; it is committed when this returns OK outside a transaction.
 * PQclear(*out). NULL `params` is none, NULL `out` drops the rows. */
executr_status ex_pg_query(
    ex_pg_session *session, const char *sql, const ex_params *params,
    PGresult **out, executr_error *err) EXECUTR_CHECKED;
/*
 * A statement that runs all the time. Sessions that are ours alone keep it
 * prepared, which saves its parsing and planning; behind a pooler, or when it
 * turns out that there is one, it is sent like any other.
 */
enum {
    EX_PG_KEEP_SUBMIT = 1,
    EX_PG_KEEP_CLAIM = 2,
    EX_PG_KEEP_FINISH = 4
};
typedef struct ex_pg_kept {
    uint32_t bit; /* EX_PG_KEEP_… */
    const char *name;
    const char *sql;
} ex_pg_kept;
executr_status ex_pg_run_kept(
    ex_pg_session *session, const ex_pg_kept *kept, const ex_params *params,
    PGresult **out, executr_error *err) EXECUTR_CHECKED;
/* Many statements without parameters or rows, in a transaction. */
executr_status ex_pg_script(
    ex_pg_session *session, const char *sql,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_pg_begin(ex_pg_session *session, executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_pg_commit(ex_pg_session *session, executr_error *err)
    EXECUTR_CHECKED;

/* ex_pg_run for a single statement. */
executr_status ex_pg_once(
    ex_pg_store *store, int32_t repeatable, const char *sql,
    const ex_params *params, PGresult **out,
    executr_error *err) EXECUTR_CHECKED;

/* A statement on a connection outside the pool. */
executr_status ex_pg_direct(
    ex_pg_store *store, PGconn *pg, const char *sql, const ex_params *params,
    PGresult **out, executr_error *err) EXECUTR_CHECKED;

/* Keep pool_min_conns connections as far as that is possible: a database with
 * no room for them is no reason not to work with fewer. */
void ex_pg_tend(ex_pg_store *store);

/* ---- Floors of claims. */

/* Fill seq[1..3] and *stamp for a claim with this filter. */
void ex_pg_floor_get(
    ex_pg_store *store, const char *filter, int64_t seq[4], uint64_t *stamp);
/* A claim that began with this seq and stamp got everything up to top[p] (0:
 * tells nothing). */
void ex_pg_floor_raise(
    ex_pg_store *store, const char *filter, const int64_t seq[4],
    const int64_t top[4], uint64_t stamp);
/* A job with this number, and none before it, became claimable. 0: look at
 * everything. */
void ex_pg_floor_lower(ex_pg_store *store, int64_t seq);

/* Jobs became claimable: tell other servers, soon, if they want to know. */
void ex_pg_tell(ex_pg_store *store);

/* Append a row of type executr_job_row. */
executr_status ex_pg_record(
    const PGresult *rows, int row, executr_jobs *jobs, struct executr_job **out,
    executr_error *err) EXECUTR_CHECKED;
/* Append a row of type executr_claimed_row, claimed just now by this one. */
executr_status ex_pg_claimed(
    const PGresult *rows, int row, const char *executor_id, executr_jobs *jobs,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_pg_no_job(const ex_uuid *id, executr_error *err);
/* Columns of both that others need. */
enum {
    EX_PG_ROW_SLOT = 0,
    EX_PG_ROW_SEQ = 2,
    EX_PG_ROW_PRIORITY = 4
};

/* The operations (lib/store.h). */
executr_status ex_pg_submit(
    executr_store *base, ex_submit *jobs, size_t count, executr_error *err);
executr_status ex_pg_claim(
    executr_store *base, ex_claim *claims, size_t count, executr_error *err);
executr_status ex_pg_finish(
    executr_store *base, ex_finish *ends, size_t count, const ex_rules *rules,
    executr_error *err);
executr_status ex_pg_heartbeat(
    executr_store *base, ex_heartbeat *beats, size_t count, executr_error *err);
executr_status ex_pg_goodbye(
    executr_store *base, const char *executor_id, executr_error *err);
executr_status ex_pg_cancel(
    executr_store *base, ex_cancel *jobs, size_t count, executr_error *err);
executr_status ex_pg_matching(
    executr_store *base, const executr_filter *filter, const ex_uuid *after,
    ex_uuid out[1000], size_t *count, executr_error *err);
executr_status ex_pg_retry(
    executr_store *base, const ex_uuid *id, executr_error *err);
executr_status ex_pg_get(
    executr_store *base, const ex_uuid *id, int32_t parts, executr_jobs *jobs,
    executr_error *err);
executr_status ex_pg_list(
    executr_store *base, const executr_filter *filter, executr_jobs *jobs,
    executr_error *err);
executr_status ex_pg_stats(
    executr_store *base, int64_t active_within_ms, struct executr_stats *out,
    executr_error *err);
executr_status ex_pg_executors(
    executr_store *base, int64_t seen_within_ms, executr_executors *out,
    executr_error *err);
executr_status ex_pg_upkeep(
    executr_store *base, const ex_rules *rules, int32_t reap, ex_upkeep *out,
    executr_error *err);
executr_status ex_pg_cleanup(
    executr_store *base, int64_t retention_ms, int64_t *deleted,
    executr_error *err);
executr_status ex_pg_watch(
    executr_store *base, int32_t parked, int64_t timeout_ms, int wake,
    int32_t *told, executr_error *err);
executr_status ex_pg_binary_begin(
    executr_store *base, const ex_uuid *upload, executr_error *err);
executr_status ex_pg_binary_part(
    executr_store *base, const ex_uuid *upload, int32_t part, const void *data,
    size_t length, executr_error *err);
executr_status ex_pg_binary_end(
    executr_store *base, const ex_uuid *upload, const char *sha256,
    int64_t bytes, int32_t *created, executr_error *err);
executr_status ex_pg_binary_drop(
    executr_store *base, const ex_uuid *upload, executr_error *err);
executr_status ex_pg_binary_size(
    executr_store *base, const char *sha256, int64_t *bytes,
    executr_error *err);
executr_status ex_pg_binary_read(
    executr_store *base, const char *sha256, int32_t part, ex_buf *out,
    executr_error *err);
executr_status ex_pg_live_follow(
    executr_store *base, const ex_uuid *id, int64_t for_ms, executr_error *err);
executr_status ex_pg_live_put(
    executr_store *base, const ex_piece *piece, int32_t *followed,
    executr_error *err);
executr_status ex_pg_live_read(
    executr_store *base, const ex_uuid *id, int32_t attempt,
    const int64_t from[2], ex_view *out, executr_error *err);
executr_status ex_pg_attempt_output(
    executr_store *base, const ex_uuid *id, int32_t attempt, ex_buf out[2],
    executr_error *err);

#endif
