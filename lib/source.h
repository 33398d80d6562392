/* SPDX-License-Identifier: MIT */
/*
 * Where a worker gets jobs from and brings results to: a server or a queue in
 * the same process. Calls start here and end in callbacks made by ex_source
 * step on the worker's thread; at most one call of each kind is under way.
 */
#ifndef EX_SOURCE_H
#define EX_SOURCE_H

#include <executr/cache.h>
#include <executr/queue.h>

typedef struct ex_source ex_source;

/* Called on the worker's thread from step. */
typedef struct ex_source_events {
    /* The end of a claim; the worker owns `jobs` (NULL on failure). */
    void (*claimed)(
        void *ctx, executr_status status, executr_jobs *jobs,
        const executr_error *err);
    /* The end of a report: results of the reports handed in, in order. */
    void (*reported)(
        void *ctx, executr_status status, const executr_status *results,
        size_t count, const executr_error *err);
    /* The end of a heartbeat; verdicts stand in the leases handed in. */
    void (*beaten)(
        void *ctx, executr_status status, const executr_lease *leases,
        size_t count, const executr_error *err);
    /* The end of a piece of output; whether more is wanted. */
    void (*put)(
        void *ctx, executr_status status, int32_t followed,
        const executr_error *err);
    /* The end of a goodbye. */
    void (*left)(void *ctx, executr_status status, const executr_error *err);
    void *ctx;
} ex_source_events;

typedef struct ex_source_ops {
    /* What is handed in is borrowed until the callback. */
    executr_status (*claim)(
        ex_source *source, const executr_claim *claim, executr_error *err);
    executr_status (*report)(
        ex_source *source, const char *executor_id,
        const executr_report *const *reports, size_t count, executr_error *err);
    executr_status (*heartbeat)(
        ex_source *source, executr_heartbeat *heartbeat, executr_error *err);
    executr_status (*output)(
        ex_source *source, const char *executor_id,
        const executr_output *output, executr_error *err);
    executr_status (*goodbye)(
        ex_source *source, const char *executor_id, executr_error *err);
    /* Give up a claim under way: its callback comes soon, with jobs if some
     * were claimed already. */
    void (*unclaim)(ex_source *source);
    /* Readable when step has work. */
    int (*fd)(const ex_source *source);
    executr_status (*step)(ex_source *source, executr_error *err);
    /* Fetches a stored binary (an executr_fetch with the source as ctx); safe
     * from any thread. NULL: they have URLs, see below. */
    executr_fetch fetch;
    void (*free)(ex_source *source);
} ex_source_ops;

struct ex_source {
    const ex_source_ops *ops;
    ex_source_events events;
    /* The longest a heartbeat may take, set by the worker; 0: 5 s. */
    int64_t heartbeat_timeout_ms;
    /* Where stored binaries are, the hash to be appended; or NULL. */
    const char *binaries_url;
    const char *token; /* for that; or NULL */
};

executr_status ex_source_client_open(
    const char *server_url, const char *token, int64_t network_timeout_ms,
    const executr_log *log, const ex_source_events *events, ex_source **out,
    executr_error *err) EXECUTR_CHECKED;

executr_status ex_source_queue_open(
    executr_queue *queue, const executr_log *log,
    const ex_source_events *events, ex_source **out,
    executr_error *err) EXECUTR_CHECKED;

#endif
