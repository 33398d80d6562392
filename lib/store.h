/* SPDX-License-Identifier: MIT */
/*
 * The table of set-based operations that a store implements. Every operation
 * is atomic (all of it committed and durable when it returns OK, nothing of it
 * otherwise, except that E_UNAVAILABLE and E_TIMEOUT may mean "outcome
 * unknown"), is safe from any thread, and takes time from the database's
 * clock. One at a time is an array of one.
 *
 * Invariants every store keeps (tests/store checks them on each):
 *  - a job is in the queue table, or waiting for a retry, exactly while pending;
 *  - attempt numbers of a job only grow; an attempt belongs to one executor;
 *  - only the current attempt of a running job can be finished or released;
 *    (job, attempt) is recorded at most once;
 *  - completed, failed and cancelled never change, except by retry (failed and
 *    cancelled go back to pending);
 *  - the counters equal what counting rows would give.
 */
#ifndef EX_STORE_H
#define EX_STORE_H

#include <executr/store.h>

#include "job.h"
#include "retry.h"

/* One job to insert. */
typedef struct ex_submit {
    /* checked; its priority is set, its SHA-256 in lower case */
    const executr_job_spec *spec;
    ex_uuid id;            /* in: proposed; out: of the job */
    const char *arguments; /* compact JSON */
    const char *environment;
    const char *digest;               /* "" without idempotency key */
    const struct executr_job *record; /* for the queue: as it is accepted */
    /* Somebody's claim that waits for such a job, or NULL. A job that is
     * inserted for it never enters the queue: it is running, by its first
     * attempt, from created_at_us on. A store may decline, and then the job is
     * pending as any other. */
    const executr_claim *taker;
    int32_t taken;         /* out: it was inserted for its taker */
    int64_t created_at_us; /* out */
    /* out: the key was used before: id is the first job's, and nothing was
     * inserted */
    int32_t repeated;
    /* out: OK; E_CONFLICT: key used for another description; E_NOT_FOUND: no
     * URL and the binary is not stored. Such a one is not inserted; the others
     * of the call are. */
    executr_status result;
} ex_submit;

/* One executor's request; the jobs it got are appended to its own list. */
typedef struct ex_claim {
    const executr_claim *request; /* checked; max_jobs at least 1 */
    executr_jobs *jobs;           /* in: empty list; out: filled */
} ex_claim;

/* One end of an attempt. */
typedef struct ex_finish {
    const char *executor_id;
    const executr_report *report; /* checked; output within limits */
    ex_uuid id;
    executr_status result;          /* out: OK, E_LOST, E_NOT_FOUND */
    int32_t repeated;               /* out: OK, but it was recorded before */
    int32_t job_status;             /* out: EXECUTR_JOB_… after it */
    int32_t priority;               /* out, for the event hook */
    char type[EX_TYPE_MAX * 4 + 1]; /* out */
    int64_t ran_us;                 /* out: start to end; -1 unknown */
} ex_finish;

typedef struct ex_lease {
    ex_uuid id;
    int32_t attempt; /* 0: whatever is current */
    int32_t verdict; /* out: EXECUTR_LEASE_… */
} ex_lease;

typedef struct ex_heartbeat {
    /* its leases are not used, these are; texts are never NULL */
    const executr_heartbeat *info;
    ex_lease *leases;
    size_t lease_count;
    /* release unnamed leases older than this; -1: this is not a whole heartbeat
     * (one job's), touch nothing that is not named, and use nothing of `info`
     * but executor_id */
    int64_t unnamed_after_ms;
    /* when the leases were gathered (ex_monotonic_us): what was claimed since
     * can't be named; 0: just now */
    int64_t named_us;
} ex_heartbeat;

/* unnamed_after_ms, and what a statement that begins now is late by. */
int64_t ex_heartbeat_unnamed_ms(const ex_heartbeat *beat);

typedef struct ex_cancel {
    ex_uuid id;
    executr_status result; /* out: OK, E_CANCELLED, E_CONFLICT, E_NOT_FOUND */
    int32_t priority;      /* out when OK */
    char type[EX_TYPE_MAX * 4 + 1];
} ex_cancel;

/* A piece of what a running attempt prints. */
typedef struct ex_piece {
    ex_uuid id;
    const char *executor_id;
    int32_t attempt; /* 0: the one under way */
    int32_t stream;  /* 1 stdout, 2 stderr */
    int64_t offset;  /* of its first byte in the whole stream */
    const void *data;
    size_t length;
    int64_t window; /* bytes of a stream to keep; older ones go */
} ex_piece;

/* What a follower finds; init, reset and clear as those of ex_buf. */
typedef struct ex_view {
    int32_t status;  /* of the job */
    int32_t attempt; /* the job's latest */
    struct {
        int64_t offset;
        ex_buf data; /* empty: nothing there */
    } pieces[2];     /* of stdout, of stderr */
} ex_view;

void ex_view_init(ex_view *view);
void ex_view_reset(ex_view *view);
void ex_view_clear(ex_view *view);
executr_status ex_view_status(const ex_view *view, executr_error *err)
    EXECUTR_CHECKED;

typedef struct ex_rules {
    int64_t heartbeat_timeout_ms;
    int32_t max_lost_attempts;
    int64_t retry_ms[EX_RETRY_STEPS]; /* delays of retries 1, 2, … */
} ex_rules;

/* What one round of upkeep did. */
typedef struct ex_upkeep {
    int64_t recovered; /* attempts that timed out, jobs back to pending */
    int64_t failed;    /* of them: out of attempts, now failed */
    int64_t due;       /* retries put back into the queue table */
    int32_t claimable; /* 1 if anything is claimable now */
    int32_t more;      /* a batch limit was reached: call again soon */
} ex_upkeep;

typedef struct ex_store_ops {
    const char *kind;
    int32_t parallel; /* statements worth running at once (group leaders) */

    executr_status (*submit)(
        executr_store *store, ex_submit *jobs, size_t count,
        executr_error *err);
    executr_status (*claim)(
        executr_store *store, ex_claim *claims, size_t count,
        executr_error *err);
    /* The calls of many callers come together in these, so one executor, job
     * or key may stand in an array several times. Rules give retry delays. */
    executr_status (*finish)(
        executr_store *store, ex_finish *ends, size_t count,
        const ex_rules *rules, executr_error *err);
    executr_status (*heartbeat)(
        executr_store *store, ex_heartbeat *beats, size_t count,
        executr_error *err);
    executr_status (*goodbye)(
        executr_store *store, const char *executor_id, executr_error *err);
    executr_status (*cancel)(
        executr_store *store, ex_cancel *jobs, size_t count,
        executr_error *err);
    /* Ids of up to 1,000 pending or running jobs that match and come after
     * `after` (all zero: from the start) in id order. */
    executr_status (*matching)(
        executr_store *store, const executr_filter *filter,
        const ex_uuid *after, ex_uuid out[1000], size_t *count,
        executr_error *err);
    /* E_NOT_FOUND, E_CONFLICT. */
    executr_status (*retry)(
        executr_store *store, const ex_uuid *id, executr_error *err);
    /* Append the record, or E_NOT_FOUND. */
    executr_status (*get)(
        executr_store *store, const ex_uuid *id, int32_t parts,
        executr_jobs *jobs, executr_error *err);
    /* Append up to filter->limit + 1 records, newest first (the one too many
     * tells that there are more; the queue drops it). */
    executr_status (*list)(
        executr_store *store, const executr_filter *filter, executr_jobs *jobs,
        executr_error *err);
    executr_status (*stats)(
        executr_store *store, int64_t active_within_ms,
        struct executr_stats *out, executr_error *err);
    executr_status (*executors)(
        executr_store *store, int64_t seen_within_ms, executr_executors *out,
        executr_error *err);

    /*
     * One bounded round of upkeep: put due retries into the queue table, and
     * (with `reap`) take back jobs whose lease ran out, at most 1,000 each. Only
     * one server at a time does it; the others get zeroes and `claimable`.
     * Every change re-checks its condition, so a finish that comes between
     * wins.
     */
    executr_status (*upkeep)(
        executr_store *store, const ex_rules *rules, int32_t reap,
        ex_upkeep *out, executr_error *err);
    /* Delete up to 1,000 finished jobs older than `retention_ms` with their
     * attempts and keys, unseen executors and abandoned uploads; *deleted
     * counts jobs. */
    executr_status (*cleanup)(
        executr_store *store, int64_t retention_ms, int64_t *deleted,
        executr_error *err);
    /*
     * Wait up to `timeout_ms` for word from another program that jobs were
     * submitted; *told is 1 if so. Called by one thread. `parked` says whether
     * anyone here waits at all (it is announced to the others). `wake` is
     * readable when the call shall return early.
     */
    executr_status (*watch)(
        executr_store *store, int32_t parked, int64_t timeout_ms, int wake,
        int32_t *told, executr_error *err);

    /* Binaries, in parts of up to 1 MiB; an upload is visible once ended. */
    executr_status (*binary_begin)(
        executr_store *store, const ex_uuid *upload, executr_error *err);
    executr_status (*binary_part)(
        executr_store *store, const ex_uuid *upload, int32_t part,
        const void *data, size_t length, executr_error *err);
    /* *created 0: another upload of the same binary was first; this one's
     * parts are gone. */
    executr_status (*binary_end)(
        executr_store *store, const ex_uuid *upload, const char *sha256,
        int64_t bytes, int32_t *created, executr_error *err);
    executr_status (*binary_drop)(
        executr_store *store, const ex_uuid *upload, executr_error *err);
    /* E_NOT_FOUND. */
    executr_status (*binary_size)(
        executr_store *store, const char *sha256, int64_t *bytes,
        executr_error *err);
    /* Part number `part` (all but the last have the size of part 0) into
     * `out`; empty behind the last. */
    executr_status (*binary_read)(
        executr_store *store, const char *sha256, int32_t part, ex_buf *out,
        executr_error *err);

    /*
     * Live output: what running jobs print, for those who follow them. It is
     * not durable and never in the way of anything else: a heartbeat's verdict
     * on a kept lease is _FOLLOWED while its job is followed, pieces are taken
     * for followed jobs only, and upkeep drops them soon after.
     */
    executr_status (*live_follow)(
        executr_store *store, const ex_uuid *id, int64_t for_ms,
        executr_error *err);
    /* E_LOST, E_NOT_FOUND. *followed 0: nobody wants it. */
    executr_status (*live_put)(
        executr_store *store, const ex_piece *piece, int32_t *followed,
        executr_error *err);
    /*
     * Where the job stands, and of each stream of this attempt the first piece
     * that reaches behind byte `from` (negative: not wanted). E_NOT_FOUND.
     */
    executr_status (*live_read)(
        executr_store *store, const ex_uuid *id, int32_t attempt,
        const int64_t from[2], ex_view *out, executr_error *err);
    /* Append the outputs of an attempt that ended; nothing if there is none. */
    executr_status (*attempt_output)(
        executr_store *store, const ex_uuid *id, int32_t attempt, ex_buf out[2],
        executr_error *err);

    executr_status (*ping)(executr_store *store, executr_error *err);
    int32_t (*connections_active)(executr_store *store);
    void (*close)(executr_store *store);
} ex_store_ops;

#define EX_BINARY_PART (1024 * 1024)

/* Every store begins with this. */
struct executr_store {
    const ex_store_ops *ops;
    executr_log log;
    int64_t query_timeout_ms;
};

/* The two stores; `url` was recognised by its scheme. */
executr_status ex_store_postgres_open(
    const char *url, const executr_store_options *options, executr_store **out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_store_sqlite_open(
    const char *url, const executr_store_options *options, executr_store **out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_store_postgres_check(const char *url, executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_store_sqlite_check(const char *url, executr_error *err)
    EXECUTR_CHECKED;

/*
 * Migrations: numbered SQL texts embedded at build time from store/sql/. A
 * store hands over how to run SQL; the loop (lock, table schema_migrations,
 * apply what is missing each in its transaction, refuse a newer schema) is the
 * same for both.
 */
typedef struct ex_migration {
    int32_t version;
    const char *name;
    const char *sql;
} ex_migration;

extern const ex_migration ex_migrations_postgres[];
extern const size_t ex_migrations_postgres_count;
extern const ex_migration ex_migrations_sqlite[];
extern const size_t ex_migrations_sqlite_count;

typedef struct ex_migrator {
    void *ctx;
    /* Highest applied version, 0 on an empty database. */
    executr_status (*version)(void *ctx, int32_t *version, executr_error *err);
    /* Run one migration and record it, in one transaction. */
    executr_status (*apply)(
        void *ctx, const ex_migration *migration, executr_error *err);
} ex_migrator;

/* Under the store's lock. E_UNSUPPORTED: the database is newer. */
executr_status ex_migrate(
    const ex_migrator *migrator, const ex_migration *migrations, size_t count,
    executr_error *err) EXECUTR_CHECKED;

#endif
