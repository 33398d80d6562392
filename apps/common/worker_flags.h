/* SPDX-License-Identifier: MIT */
/* The flags of an executor, for every program that runs one. */
#ifndef APP_WORKER_FLAGS_H
#define APP_WORKER_FLAGS_H

#include <executr/worker.h>

#include "common/flags.h"

typedef struct app_worker {
    const char *name;
    int64_t max_jobs;
    int64_t poll_interval_ms;
    int64_t heartbeat_interval_ms;
    int64_t network_timeout_ms;
    int64_t kill_grace_ms;
    int64_t max_cache_bytes;
    int64_t max_download_ms;
    int32_t allow_link_local;
    int64_t max_output_bytes;
    int64_t fence_margin_ms;
    int64_t timeout_ms;
    int64_t memory_mb;
    int64_t cpu_seconds;
    int64_t max_processes;
    int64_t max_file_mb;
    const char *cache_directory;
    const char *work_directory;
    const char *spool_directory;
    const char *isolation;
    const char *run_as;
    app_list types;
    app_list priorities;
} app_worker;

extern app_worker app_worker_settings;
extern const app_flag app_worker_flags[];

/* Options for executr_worker_open from the settings; the caller adds where the
 * jobs come from. APP_GO_ON, or the exit code after an explained error. */
int app_worker_options(const app_command *command, executr_worker_options *out);

#endif
