/* SPDX-License-Identifier: MIT */
/* Turns the flags of an executor into options of a worker. */
#include "common/worker_flags.h"

#include <executr/job.h>

#define MOST INT64_C(1000000000) /* of a limit */

app_worker app_worker_settings;

#define S app_worker_settings

const app_flag app_worker_flags[] = {
    {"name", 0, APP_STRING, &S.name, "NAME", NULL,
     "its id is NAME-8 hex digits; the host name if not given", 0, 0},
    {"max-jobs", 'j', APP_INT, &S.max_jobs, "N", "1", "jobs at once", 1, 1024},
    {"poll-interval", 0, APP_DURATION, &S.poll_interval_ms, "TIME", "5s",
     "pause when there is nothing to do", 0, 0},
    {"heartbeat-interval", 0, APP_DURATION, &S.heartbeat_interval_ms, "TIME",
     "5s", "between signs of life", 0, 0},
    {"network-timeout", 0, APP_DURATION, &S.network_timeout_ms, "TIME", "60s",
     "longest silence of a network call", 0, 0},
    {"kill-grace", 0, APP_DURATION, &S.kill_grace_ms, "TIME", "10s",
     "from SIGTERM to SIGKILL", 0, 0},
    {"cache-dir", 0, APP_STRING, &S.cache_directory, "DIR", "~/.executr/cache",
     "where binaries are kept", 0, 0},
    {"work-dir", 0, APP_STRING, &S.work_directory, "DIR", "/tmp/executr-jobs",
     "where jobs run", 0, 0},
    {"spool-dir", 0, APP_STRING, &S.spool_directory, "DIR", "~/.executr/spool",
     "where results wait until the server has them", 0, 0},
    {"max-cache-size", 0, APP_MEGABYTES, &S.max_cache_bytes, "SIZE", "400",
     "MB of binaries to keep; also 10GB", 1, 0},
    {"download-timeout", 0, APP_DURATION, &S.max_download_ms, "TIME", "1h",
     "longest fetch of a binary", 0, 0},
    {"allow-link-local", 0, APP_SWITCH, &S.allow_link_local, NULL, NULL,
     "let URLs of jobs lead to link-local addresses and metadata services", 0,
     0},
    {"types", 0, APP_WORDS, &S.types, "A,B", NULL,
     "claim only jobs of these types", 0, 0},
    {"priorities", 0, APP_WORDS, &S.priorities, "A,B", NULL,
     "claim only jobs of these priorities", 0, 0},
    {"isolation", 0, APP_CHOICE, &S.isolation, "none|basic|standard|strict",
     "basic", "what every job gets at least; one may demand more", 0, 0},
    {"run-as", 0, APP_STRING, &S.run_as, "USER", NULL,
     "run programs with this user's rights; needs root", 0, 0},
    {"timeout", 0, APP_DURATION, &S.timeout_ms, "TIME", NULL,
     "longest run of a job that sets none", 0, 0},
    {"memory-mb", 0, APP_INT, &S.memory_mb, "N", NULL,
     "most memory of a job that sets none", 0, MOST},
    {"cpu-seconds", 0, APP_INT, &S.cpu_seconds, "N", NULL,
     "most CPU time of a job that sets none", 0, MOST},
    {"max-processes", 0, APP_INT, &S.max_processes, "N", NULL,
     "most processes of a job that sets none", 0, MOST},
    {"max-file-mb", 0, APP_INT, &S.max_file_mb, "N", NULL,
     "largest file of a job that sets none", 0, MOST},
    {"fence-margin", 0, APP_DURATION, &S.fence_margin_ms, "TIME", NULL,
     "exclusive jobs are killed so long before their lease ends; a third of it",
     0, 0},
    {0}};

static int read_priorities(const app_command *command, uint32_t *mask)
{
    *mask = 0;
    for (size_t i = 0; i < S.priorities.count; i++) {
        int32_t priority = executr_priority_parse(S.priorities.items[i]);
        if (!priority)
            return app_usage(
                command,
                "--priorities has '%s', wanted foreground, background or "
                "best_effort",
                S.priorities.items[i]);
        *mask |= UINT32_C(1) << priority;
    }
    return APP_GO_ON;
}

int app_worker_options(const app_command *command, executr_worker_options *out)
{
    *out = (executr_worker_options)EXECUTR_WORKER_OPTIONS_INIT;
    out->max_jobs = (int32_t)S.max_jobs;
    out->name = S.name;
    out->cache_directory = S.cache_directory;
    out->work_directory = S.work_directory;
    out->max_cache_bytes = S.max_cache_bytes;
    out->max_output_bytes = S.max_output_bytes;
    out->poll_interval_ms = S.poll_interval_ms;
    out->heartbeat_interval_ms = S.heartbeat_interval_ms;
    out->network_timeout_ms = S.network_timeout_ms;
    out->kill_grace_ms = S.kill_grace_ms;
    out->max_download_ms = S.max_download_ms;
    out->allow_link_local = S.allow_link_local;
    out->types = S.types.items;
    out->type_count = S.types.count;
    out->spool_directory = S.spool_directory;
    out->isolation = executr_isolation_parse(S.isolation);
    out->run_as = S.run_as;
    out->fence_margin_ms = S.fence_margin_ms;
    out->timeout_ms = S.timeout_ms;
    out->memory_mb = S.memory_mb;
    out->cpu_seconds = S.cpu_seconds;
    out->max_processes = S.max_processes;
    out->max_file_mb = S.max_file_mb;
    out->subreaper = 1;
    return read_priorities(command, &out->priorities);
}
