/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_QUEUE_H
#define EXECUTR_QUEUE_H

#include <executr/job.h>
#include <executr/store.h>

EXECUTR_BEGIN_DECLS

/*
 * The rules over a store: who may claim, keep, finish and take back a job.
 * A queue is safe for any number of threads. Calls that arrive while a
 * statement is under way are gathered, and the next statement takes all of
 * them; each caller returns after the commit that holds its own job.
 *
 * Every fallible call below may also return E_UNAVAILABLE (the store is away),
 * E_TIMEOUT (it did not answer in time), E_NOMEM and E_INTERNAL; none of
 * them says whether the call took effect, and each call can be repeated safely
 * (submissions with an idempotency key).
 */
typedef struct executr_queue executr_queue;

/* What happened to a job, told to the hook after it was committed. */
enum {
    EXECUTR_EVENT_SUBMITTED = 1,
    EXECUTR_EVENT_CLAIMED = 2,
    EXECUTR_EVENT_COMPLETED = 3,
    EXECUTR_EVENT_FAILED = 4,  /* for good */
    EXECUTR_EVENT_RETRIED = 5, /* failed, will be tried again */
    EXECUTR_EVENT_CANCELLED = 6,
    EXECUTR_EVENT_RECOVERED = 7, /* taken from a silent executor; count */
    EXECUTR_EVENT_CLEANED = 8    /* old jobs deleted; count */
};

/*
 * The event hook, called from any thread of the queue; it must not call back
 * into it, and be quick: whole batches of calls wait for it. `type` is "" and
 * `priority` 0 for RECOVERED, CLEANED and those FAILED that upkeep gave up
 * because too many executors fell silent. `waited_us` (CLAIMED: submit to
 * start) and `ran_us` (COMPLETED, FAILED, RETRIED: start to end) are -1 where
 * unknown.
 */
typedef struct executr_events {
    void (*notify)(
        void *ctx, int32_t event, const char *type, int32_t priority,
        int64_t count, int64_t waited_us, int64_t ran_us);
    void *ctx;
} executr_events;

typedef struct executr_queue_options {
    uint32_t struct_size;
    int32_t max_lost_attempts;    /* in a row, then the job fails; 5 */
    int64_t heartbeat_timeout_ms; /* silence that ends a lease; 15 s */
    int64_t job_retention_ms;     /* of finished jobs; 48 h, -1 for ever */
    int64_t cleanup_interval_ms;  /* 1 h */
    int64_t poll_interval_ms;     /* net under lost wake-ups; 1 s */
    int64_t retry_base_ms;        /* first back-off; 1 s */
    int64_t retry_max_ms;         /* longest back-off; 5 min */
    int64_t max_output_bytes;     /* of stdout and of stderr; 1 MiB */
    int64_t max_parked;           /* claims waiting at once; 10,000 */
    executr_log log;
    executr_events events;
} executr_queue_options;

/* clang-format off */
#define EXECUTR_QUEUE_OPTIONS_INIT {sizeof(executr_queue_options), 0, 0, 0, \
    0, 0, 0, 0, 0, 0, {NULL, NULL}, {NULL, NULL}}
/* clang-format on */

/*
 * Open a queue on a store, which must outlive it. It starts one thread for
 * upkeep: leases that ran out, retries that fell due, old jobs, wake-ups from
 * other programs on the same store. No lease is taken away before one whole
 * heartbeat timeout has passed since opening, or since the store came back.
 */
EXECUTR_API executr_status executr_queue_open(
    executr_store *store, const executr_queue_options *options,
    executr_queue **out, executr_error *err) EXECUTR_CHECKED;

/*
 * Stop accepting waits: parked claims return empty at once and later ones
 * don't park. Other calls go on. Any thread.
 */
EXECUTR_API void executr_queue_drain(executr_queue *queue);

/* Close it; no call may be under way. NULL is fine. */
EXECUTR_API void executr_queue_free(executr_queue *queue);

/*
 * Submit jobs. Each stands for itself: results[i] (`results` may be NULL) is
 * OK when specs[i] is stored, and *out has the records of those that are, in
 * order. A spec whose idempotency key was used before gives the first job
 * back. Otherwise it is refused: E_ARGUMENT and E_TOO_LARGE when it fails
 * executr_job_spec_check, E_ARGUMENT with field "binary_sha256" when it names
 * no URL and that binary is not stored, E_CONFLICT with field
 * "Idempotency-Key" when the key was used for another description.
 *
 * With `results` the call is OK when all of them are set. Without, a refused
 * spec makes the call return its status (of the first, if there are several),
 * and *out is NULL; a spec that fails its check is found before any is stored,
 * the other reasons leave the other jobs submitted.
 */
EXECUTR_API executr_status executr_queue_submit(
    executr_queue *queue, const executr_job_spec *const *specs, size_t count,
    executr_status *results, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;

typedef struct executr_claim {
    uint32_t struct_size;
    int32_t max_jobs;         /* 1 to 1,000; 0 is 1 */
    const char *executor_id;  /* 1 to 255 characters, required */
    const char *executor_ip;  /* 1 to 64 characters, required */
    int64_t wait_ms;          /* park this long for a job; at most 60 s */
    const char *const *types; /* only these; none: all */
    size_t type_count;        /* at most 100 */
    uint32_t priorities;      /* bits 1 << EXECUTR_PRIORITY_…; 0: all */
    uint32_t offers;          /* EXECUTR_OFFER_… */
} executr_claim;

/* clang-format off */
#define EXECUTR_CLAIM_INIT {sizeof(executr_claim), 0, NULL, NULL, 0, NULL, 0, \
    0, 0}
/* clang-format on */

/*
 * Claim up to max_jobs jobs: by priority, then oldest first. Each gets a new
 * attempt number, which every later call about it names. An empty list when
 * there is nothing to do (after wait_ms).
 */
EXECUTR_API executr_status executr_queue_claim(
    executr_queue *queue, const executr_claim *claim, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;

/* How an attempt ended. */
typedef struct executr_report {
    uint32_t struct_size;
    int32_t attempt; /* 0: the current one of the executor */
    const char *job_id;
    int32_t status; /* EXECUTR_ATTEMPT_COMPLETED or _FAILED */
    /* EXECUTR_OUTCOME_…; 0: exit if it completed or has an exit code, else
     * unknown */
    int32_t outcome;
    int32_t has_exit_code;
    int32_t exit_code; /* 0 to 255 */
    int32_t signal;
    int32_t uncounted;       /* 1: give back to pending; nobody's fault */
    const void *stdout_data; /* any bytes */
    size_t stdout_length;
    const void *stderr_data;
    size_t stderr_length;
    const char *error_message; /* required when failed and counted */
    double user_seconds;       /* usage; all 0: not measured */
    double system_seconds;
    double wall_seconds;
    int64_t max_rss_bytes;
} executr_report;

/* clang-format off */
#define EXECUTR_REPORT_INIT {sizeof(executr_report), 0, NULL, 0, 0, 0, 0, 0, \
    0, NULL, 0, NULL, 0, NULL, 0, 0, 0, 0}
/* clang-format on */

/*
 * Record the ends of `count` attempts of one executor. results[i] is OK
 * (recorded, or this very end was recorded before), E_LOST (not the current
 * attempt of this executor; nothing was changed), E_NOT_FOUND, E_ARGUMENT or
 * E_TOO_LARGE. The return value is OK when every results[i] was set; on any
 * other, none may be relied on. A failed attempt is tried again while retries
 * are left; a job that was told to stop becomes cancelled when its attempt
 * fails, and completed when it completes.
 */
EXECUTR_API executr_status executr_queue_report(
    executr_queue *queue, const char *executor_id,
    const executr_report *const *reports, size_t count, executr_status *results,
    executr_error *err) EXECUTR_CHECKED;

/* One lease an executor holds, and what the queue says to it. */
typedef struct executr_lease {
    char job_id[40];
    int32_t attempt; /* 0: the current one of the executor */
    int32_t verdict; /* out: EXECUTR_LEASE_… */
} executr_lease;

enum {
    EXECUTR_LEASE_KEPT = 1,
    EXECUTR_LEASE_CANCEL = 2,  /* kept, and the job shall stop */
    EXECUTR_LEASE_LOST = 3,    /* not its job (any more): kill it */
    EXECUTR_LEASE_UNKNOWN = 4, /* no such job: lost */
    /* kept, and somebody follows its output: send it (put_output) */
    EXECUTR_LEASE_FOLLOWED = 5
};

/* The state of an executor, as its heartbeat tells it. */
typedef struct executr_heartbeat {
    uint32_t struct_size;
    int32_t max_jobs;
    const char *executor_id;
    const char *executor_ip;
    const char *version;
    executr_lease *leases; /* everything it holds */
    size_t lease_count;
    int64_t cache_hits;
    int64_t cache_misses;
    int64_t cache_bytes;
    int64_t cache_max_bytes;
    /* Out: how long a lease lasts from when the queue hears of it; 0 from a
     * server that does not say. */
    int64_t lease_ms;
} executr_heartbeat;

/* clang-format off */
#define EXECUTR_HEARTBEAT_INIT {sizeof(executr_heartbeat), 0, NULL, NULL, \
    NULL, NULL, 0, 0, 0, 0, 0, 0}
/* clang-format on */

/*
 * One heartbeat for a whole executor: extends every lease it names and sets
 * their verdicts. A lease of this executor older than 10 s that is not named
 * goes back to pending, uncounted: the answer to its claim was lost.
 */
EXECUTR_API executr_status executr_queue_heartbeat(
    executr_queue *queue, executr_heartbeat *heartbeat,
    executr_error *err) EXECUTR_CHECKED;

/* A heartbeat for one job; sets the verdict. */
EXECUTR_API executr_status executr_queue_heartbeat_job(
    executr_queue *queue, const char *executor_id, executr_lease *lease,
    executr_error *err) EXECUTR_CHECKED;

/* An executor says goodbye: its jobs go back to pending at once, uncounted, and
 * its claims that wait here return empty. */
EXECUTR_API executr_status executr_queue_goodbye(
    executr_queue *queue, const char *executor_id,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Cancel jobs by id. results[i]: OK (pending, is cancelled now), E_CANCELLED
 * (running, was told to stop), E_CONFLICT (finished already), E_NOT_FOUND,
 * E_ARGUMENT (no id).
 */
EXECUTR_API executr_status executr_queue_cancel(
    executr_queue *queue, const char *const *job_ids, size_t count,
    executr_status *results, executr_error *err) EXECUTR_CHECKED;

/* Selects jobs. Zero or NULL means any. */
typedef struct executr_filter {
    uint32_t struct_size;
    int32_t status; /* EXECUTR_JOB_… */
    int32_t priority;
    int32_t limit; /* 1 to 1,000; 0 is 100 */
    const char *type;
    const char *executor_id;
    const char *before_id; /* cursor: only jobs older than this one */
    int64_t offset;        /* skips so many; its cost grows */
} executr_filter;

/* clang-format off */
#define EXECUTR_FILTER_INIT {sizeof(executr_filter), 0, 0, 0, NULL, NULL, \
    NULL, 0}
/* clang-format on */

/*
 * Cancel all pending and running jobs that match; limit, offset and cursor
 * are ignored. *cancelled counts pending ones that are cancelled now and
 * running ones that were told to stop.
 */
EXECUTR_API executr_status executr_queue_cancel_matching(
    executr_queue *queue, const executr_filter *filter, int64_t *cancelled,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Live output. Whoever wants what a job prints while it runs follows it; its
 * executor hears of that with its next heartbeat (EXECUTR_LEASE_FOLLOWED) and
 * puts pieces until it is told that nobody follows any more. Pieces are kept
 * for a moment only, are bounded per stream, and never touch the job. Streams
 * are 1 (stdout) and 2 (stderr); an offset counts the bytes that an attempt
 * wrote to a stream, those that were dropped too.
 */
typedef struct executr_output {
    uint32_t struct_size;
    int32_t attempt; /* 0: the one under way */
    const char *job_id;
    int32_t stream;
    int32_t reserved; /* 0 */
    int64_t offset;   /* of the first byte */
    const void *data; /* any bytes */
    size_t length;    /* at most EXECUTR_OUTPUT_MAX */
} executr_output;

#define EXECUTR_OUTPUT_MAX 1048576

/* clang-format off */
#define EXECUTR_OUTPUT_INIT \
    {sizeof(executr_output), 0, NULL, 0, 0, 0, NULL, 0}
/* clang-format on */

/*
 * Put a piece of what a running attempt of this executor printed, in order.
 * *followed is 0 when nobody wants any (now). E_LOST: not its attempt (any
 * more). E_NOT_FOUND.
 */
EXECUTR_API executr_status executr_queue_put_output(
    executr_queue *queue, const char *executor_id, const executr_output *output,
    int32_t *followed, executr_error *err) EXECUTR_CHECKED;

/*
 * What a follower is told: bytes of a stream from `offset` on, in order and
 * each once; or, with offset -1, a line that is no output but says what was
 * skipped. Anything but 0 stops following (E_CALLBACK).
 */
typedef int32_t (*executr_output_write)(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length);

/*
 * Where to begin, and after the call where it ended: handed in again it goes
 * on there. `attempt` 0 is the attempt under way, of a pending job the next
 * one, of a job that is over the last.
 */
typedef struct executr_follow {
    uint32_t struct_size;
    int32_t attempt;
    const char *job_id;
    int32_t streams;  /* bits 1 << stream; 0: both */
    int32_t reserved; /* 0 */
    int64_t stdout_offset;
    int64_t stderr_offset;
    executr_output_write write;
    int32_t (*idle)(void *ctx); /* asked several times a second, or NULL;
                                   anything but 0 stops (E_CANCELLED) */
    void *ctx;
} executr_follow;

/* clang-format off */
#define EXECUTR_FOLLOW_INIT \
    {sizeof(executr_follow), 0, NULL, 0, 0, 0, 0, NULL, NULL, NULL}
/* clang-format on */

/*
 * Tell what a job prints until it is over, attempt after attempt, each from
 * its beginning. What is not told live comes at an attempt's end out of its
 * output: all of it unless that was too long to be kept. Blocks; a store that
 * is away is waited for. E_NOT_FOUND; E_UNAVAILABLE: the queue is draining.
 */
EXECUTR_API executr_status executr_queue_follow(
    executr_queue *queue, executr_follow *follow,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Put a failed or cancelled job back to pending with its retries anew; *out is
 * its record. E_NOT_FOUND; E_CONFLICT for any other status.
 */
EXECUTR_API executr_status executr_queue_retry(
    executr_queue *queue, const char *job_id, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;

/* One job with the parts asked for (EXECUTR_PART_…). E_NOT_FOUND. */
EXECUTR_API executr_status executr_queue_get(
    executr_queue *queue, const char *job_id, int32_t parts, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;

/* Jobs, newest first. *more is 1 when older ones match. */
EXECUTR_API executr_status executr_queue_list(
    executr_queue *queue, const executr_filter *filter, executr_jobs **out,
    int32_t *more, executr_error *err) EXECUTR_CHECKED;

/* Counts of jobs; cost does not grow with their number. */
typedef struct executr_stats executr_stats;
EXECUTR_API executr_status executr_queue_stats(
    executr_queue *queue, executr_stats **out,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API int64_t
executr_stats_jobs(const executr_stats *stats, int32_t status);
EXECUTR_API int64_t
executr_stats_pending(const executr_stats *stats, int32_t priority);
EXECUTR_API int64_t executr_stats_active_executors(const executr_stats *stats);
EXECUTR_API int64_t executr_stats_timestamp_us(const executr_stats *stats);
/* Sum over active executors, for utilization and the cache hit ratio. */
EXECUTR_API int64_t executr_stats_slots(const executr_stats *stats);
EXECUTR_API int64_t executr_stats_cache_hits(const executr_stats *stats);
EXECUTR_API int64_t executr_stats_cache_misses(const executr_stats *stats);
EXECUTR_API executr_status executr_stats_json(
    const executr_stats *stats, executr_write write, void *ctx,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API void executr_stats_free(executr_stats *stats);

/* Executors seen within ten heartbeat timeouts. */
typedef struct executr_executors executr_executors;
EXECUTR_API executr_status executr_queue_executors(
    executr_queue *queue, executr_executors **out,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API size_t executr_executors_count(const executr_executors *executors);
EXECUTR_API const char *executr_executors_id(
    const executr_executors *executors, size_t i);
EXECUTR_API const char *executr_executors_ip(
    const executr_executors *executors, size_t i);
EXECUTR_API const char *executr_executors_current_job_id(
    const executr_executors *executors, size_t i); /* "" when idle */
EXECUTR_API int64_t executr_executors_last_heartbeat_us(
    const executr_executors *executors, size_t i);
EXECUTR_API int32_t
executr_executors_max_jobs(const executr_executors *executors, size_t i);
EXECUTR_API int32_t
executr_executors_running_jobs(const executr_executors *executors, size_t i);
EXECUTR_API int64_t
executr_executors_jobs_completed(const executr_executors *executors, size_t i);
/* The array of GET /admin/executors. */
EXECUTR_API executr_status executr_executors_json(
    const executr_executors *executors, executr_write write, void *ctx,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API void executr_executors_free(executr_executors *executors);

/*
 * Binaries kept in the store. put streams `read` in, hashing on the way, and
 * keeps nothing if the hash differs (E_MISMATCH) or more than max_bytes come
 * (E_TOO_LARGE; 0: no limit); *created is 0 when it was there already (then
 * `read` is not called). No transaction is open while `read` runs.
 */
EXECUTR_API executr_status executr_queue_put_binary(
    executr_queue *queue, const char *sha256, executr_read read, void *ctx,
    int64_t max_bytes, int32_t *created, executr_error *err) EXECUTR_CHECKED;
/* The size of a stored binary. E_NOT_FOUND. */
EXECUTR_API executr_status executr_queue_binary_size(
    executr_queue *queue, const char *sha256, int64_t *bytes,
    executr_error *err) EXECUTR_CHECKED;
/* Stream a stored binary from `offset`. E_NOT_FOUND. */
EXECUTR_API executr_status executr_queue_get_binary(
    executr_queue *queue, const char *sha256, int64_t offset,
    executr_write write, void *ctx, executr_error *err) EXECUTR_CHECKED;

/* 1 if the store answered the last call it was asked, else 0. */
EXECUTR_API int32_t executr_queue_healthy(const executr_queue *queue);

EXECUTR_END_DECLS

#endif
