/* SPDX-License-Identifier: MIT */
/* Reads the options of a worker: ranges, defaults, copies of its texts. */
#include "worker.h"

#include "base/fail.h"
#include "base/options.h"
#include "job.h"

#define MOST_JOBS 1024
#define DEFAULT_POLL_MS 5000
#define DEFAULT_BEAT_MS 5000
#define DEFAULT_NETWORK_MS 60000
#define DEFAULT_GRACE_MS 10000
#define LONGEST_MS (INT64_C(366) * 24 * 3600 * 1000)

static executr_status take_ms(
    int64_t *value, int64_t standard, const char *field, executr_error *err)
{
    if (*value < 0 || *value > LONGEST_MS)
        return ex_fail_field(
            err, field, "%s must be 0 to 366 days, in milliseconds", field);
    if (*value == 0)
        *value = standard;
    return EXECUTR_OK;
}

static executr_status take_durations(
    executr_worker_options *o, executr_error *err)
{
    const struct {
        const char *field;
        int64_t *value;
        int64_t standard;
    } durations[] = {
        {"poll_interval_ms", &o->poll_interval_ms, DEFAULT_POLL_MS},
        {"heartbeat_interval_ms", &o->heartbeat_interval_ms, DEFAULT_BEAT_MS},
        {"network_timeout_ms", &o->network_timeout_ms, DEFAULT_NETWORK_MS},
        {"kill_grace_ms", &o->kill_grace_ms, DEFAULT_GRACE_MS},
        {"fence_margin_ms", &o->fence_margin_ms, 0},
        {"timeout_ms", &o->timeout_ms, 0},
        {"max_download_ms", &o->max_download_ms, 0},
    };

    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        executr_status st = take_ms(
            durations[i].value, durations[i].standard, durations[i].field, err);
        if (st)
            return st;
    }
    return EXECUTR_OK;
}

static executr_status take_numbers(
    executr_worker_options *o, executr_error *err)
{
    const struct {
        const char *field;
        int64_t value;
        int64_t most;
    } numbers[] = {
        {"max_jobs", o->max_jobs, MOST_JOBS},
        {"isolation", o->isolation, EXECUTR_ISOLATION_STRICT},
        {"memory_mb", o->memory_mb, EX_LIMIT_MAX},
        {"cpu_seconds", o->cpu_seconds, EX_LIMIT_MAX},
        {"max_processes", o->max_processes, EX_LIMIT_MAX},
        {"max_file_mb", o->max_file_mb, EX_LIMIT_MAX},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].value < 0 || numbers[i].value > numbers[i].most)
            return ex_fail_field(
                err, numbers[i].field, "%s is %lld, but must be 0 to %lld",
                numbers[i].field, (long long)numbers[i].value,
                (long long)numbers[i].most);
    }
    if (o->max_jobs == 0)
        o->max_jobs = 1;
    if (o->isolation == EXECUTR_ISOLATION_UNSET)
        o->isolation = EXECUTR_ISOLATION_BASIC;
    return take_durations(o, err);
}

/* The caller's texts need not outlive the call. */
static executr_status keep_texts(executr_worker *worker, executr_error *err)
{
    executr_worker_options *o = &worker->options;
    const char **texts[] = {
        &o->server_url,     &o->token,           &o->name,  &o->cache_directory,
        &o->work_directory, &o->spool_directory, &o->run_as};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *copy = ex_arena_strdup(&worker->arena, *texts[i]);
        if (*texts[i] && !copy)
            return ex_fail_nomem(err);
        *texts[i] = copy;
    }
    const char **types =
        ex_arena_get(&worker->arena, (o->type_count + 1) * sizeof *types);
    if (!types)
        return ex_fail_nomem(err);
    for (size_t i = 0; i < o->type_count; i++) {
        types[i] = ex_arena_strdup(&worker->arena, o->types[i]);
        if (!types[i])
            return ex_fail_nomem(err);
    }
    o->types = types;
    return EXECUTR_OK;
}

executr_status ex_worker_take_options(
    executr_worker *worker, const executr_worker_options *options,
    executr_error *err)
{
    executr_worker_options *o = &worker->options;

    executr_status st = ex_options_read(o, sizeof *o, sizeof *o, options, err);
    if (st)
        return st;
    worker->log = o->log;
    if (o->queue && o->server_url)
        return ex_fail_field(
            err, "server_url",
            "a worker works for a server or for a queue, not for both");
    if (o->type_count > 0 && !o->types)
        return ex_fail_field(err, "types", "types is missing");
    st = take_numbers(o, err);
    if (!st)
        st = keep_texts(worker, err);
    return st;
}
