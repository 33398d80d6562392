/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_WORKER_H
#define EXECUTR_WORKER_H

#include <executr/cache.h>
#include <executr/client.h>
#include <executr/queue.h>
#include <executr/runner.h>

EXECUTR_BEGIN_DECLS

/*
 * An executor: claims as many jobs as it has free slots, and a few more while
 * they are short (what 50 ms are enough for), fetches their binaries, runs them, reports their ends until they are taken, and keeps its
 * leases alive by one heartbeat for all. It works for a server (server_url) or
 * for a queue in the same process.
 */
typedef struct executr_worker executr_worker;

typedef struct executr_worker_options {
    uint32_t struct_size;
    int32_t max_jobs;            /* slots, 1 to 1,024; 1 */
    const char *server_url;      /* this one … */
    const char *token;           /* … with this token; or NULL */
    executr_queue *queue;        /* … or that one, which outlives it */
    const char *name;            /* host name; the id is name-8 hex digits */
    const char *cache_directory; /* ~/.executr/cache */
    const char *work_directory;  /* /tmp/executr-jobs */
    int64_t max_cache_bytes;     /* 400 MB */
    int64_t max_output_bytes;    /* 1 MiB */
    /* between claims when nothing is there and the server doesn't hold them;
     * 5 s */
    int64_t poll_interval_ms;
    /* at most a third of the server's heartbeat timeout; 5 s */
    int64_t heartbeat_interval_ms;
    int64_t network_timeout_ms; /* 60 s */
    int64_t kill_grace_ms;      /* 10 s */
    const char *const *types;   /* claim only these; none: all */
    size_t type_count;
    uint32_t priorities; /* bits 1 << EXECUTR_PRIORITY_…; 0: all */
    /* 1: see runner.h; programs that do nothing else set it */
    int32_t subreaper;
    executr_log log;
    /* Of results that were not taken yet; ~/.executr/spool. */
    const char *spool_directory;
    const char *run_as; /* user of the programs; see runner.h */
    int32_t isolation;  /* of every job at least; basic */
    /* 1: jobs' URLs may lead to link-local addresses; see cache.h */
    int32_t allow_link_local;
    /* An exclusive job is dead so long before its lease can be another's; 0: a
     * third of the lease. */
    int64_t fence_margin_ms;
    /* These five are for jobs that ask for no such limit; 0: none. */
    int64_t timeout_ms;
    int64_t memory_mb;
    int64_t cpu_seconds;
    int64_t max_processes;
    int64_t max_file_mb;
    int64_t max_download_ms; /* longest fetch of a binary; 1 h */
} executr_worker_options;

/* clang-format off */
#define EXECUTR_WORKER_OPTIONS_INIT {sizeof(executr_worker_options), 0, NULL, \
    NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, NULL, 0, 0, 0, {NULL, NULL}, \
    NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0}
/* clang-format on */

/* E_ARGUMENT: bad options; E_IO: cache or work directory can't be used. */
EXECUTR_API executr_status executr_worker_open(
    const executr_worker_options *options, executr_worker **out,
    executr_error *err) EXECUTR_CHECKED;

/* The id this worker goes by. */
EXECUTR_API const char *executr_worker_id(const executr_worker *worker);

/*
 * Work until stopped; a server that is away is waited for. Blocks. Must be
 * called once, from one thread; its programs die with that thread.
 */
EXECUTR_API executr_status
executr_worker_run(executr_worker *worker, executr_error *err) EXECUTR_CHECKED;

/*
 * Any thread, and signal handlers. The first call stops claiming and lets
 * running jobs finish and their results be delivered; the second kills them
 * and gives them back.
 */
EXECUTR_API void executr_worker_stop(executr_worker *worker);

/* Waits for downloads that are under way. NULL is fine. */
EXECUTR_API void executr_worker_free(executr_worker *worker);

EXECUTR_END_DECLS

#endif
