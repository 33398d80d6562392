/* SPDX-License-Identifier: MIT */
/* Reads counts and executors from a server's answers. */
#include "job.h"

#include "base/fail.h"

static executr_status read_count(
    const ex_json *object, const char *name, int64_t *out, executr_error *err)
{
    return ex_json_read_i64(object, name, 0, INT64_MAX, out, err);
}

static executr_status read_counts(
    const ex_json *object, struct executr_stats *stats, executr_error *err)
{
    const ex_json *jobs = ex_json_get(object, "jobs_by_status");
    const ex_json *pending = ex_json_get(object, "pending_by_priority");
    executr_status st = EXECUTR_OK;

    for (int32_t i = EXECUTR_JOB_PENDING; i <= EXECUTR_JOB_CANCELLED && !st;
         i++)
        st = read_count(jobs, executr_job_status_word(i), &stats->jobs[i], err);
    for (int32_t i = EXECUTR_PRIORITY_FOREGROUND;
         i <= EXECUTR_PRIORITY_BEST_EFFORT && !st; i++)
        st = read_count(
            pending, executr_priority_word(i), &stats->pending[i], err);
    return st;
}

static executr_status read_stats(
    const ex_json *object, struct executr_stats *stats, executr_error *err)
{
    executr_status st = read_counts(object, stats, err);
    if (!st)
        st = read_count(
            object, "active_executors", &stats->active_executors, err);
    if (!st)
        st = read_count(object, "slots", &stats->slots, err);
    if (!st)
        st = read_count(object, "cache_hits", &stats->cache_hits, err);
    if (!st)
        st = read_count(object, "cache_misses", &stats->cache_misses, err);
    return st ? st
              : ex_time_read(object, "timestamp", &stats->timestamp_us, err);
}

executr_status ex_stats_read(
    const ex_json *object, struct executr_stats **out, executr_error *err)
{
    void *memory;

    *out = NULL;
    if (ex_json_type(object) != EX_JSON_OBJECT)
        return ex_fail(
            err, EXECUTR_E_PROTOCOL, "the counts must be a JSON object");
    executr_status st = ex_alloc(&memory, sizeof(struct executr_stats), err);
    if (st)
        return st;
    st = read_stats(object, memory, err);
    if (st)
        ex_free(memory);
    else
        *out = memory;
    return ex_as_protocol(st, err);
}

static executr_status read_texts(
    const ex_json *object, ex_arena *arena, ex_executor *executor,
    executr_error *err)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {
        {"executor_id", &executor->id},
        {"executor_ip", &executor->ip},
        {"version", &executor->version},
        {"current_job_id", &executor->current_job_id},
        {"job_type", &executor->job_type},
    };
    executr_status st = EXECUTR_OK;

    for (size_t i = 0; i < sizeof texts / sizeof *texts && !st; i++)
        st = ex_text_read(object, texts[i].name, arena, texts[i].text, err);
    return st;
}

static executr_status read_numbers(
    const ex_json *object, ex_executor *executor, executr_error *err)
{
    const ex_json *cache = ex_json_get(object, "cache");

    executr_status st = ex_time_read(
        object, "last_heartbeat", &executor->last_heartbeat_us, err);
    if (!st)
        st = ex_json_read_i32(
            object, "max_jobs", 0, INT32_MAX, &executor->max_jobs, err);
    if (!st)
        st = ex_json_read_i32(
            object, "running_jobs", 0, INT32_MAX, &executor->running_jobs, err);
    if (!st)
        st = read_count(
            object, "jobs_completed", &executor->jobs_completed, err);
    return st ? st
              : ex_cache_read(
                    cache, &executor->cache_hits, &executor->cache_misses,
                    &executor->cache_bytes, &executor->cache_max_bytes, err);
}

executr_status ex_cache_read(
    const ex_json *object, int64_t *hits, int64_t *misses, int64_t *bytes,
    int64_t *max_bytes, executr_error *err)
{
    executr_status st = read_count(object, "hits", hits, err);
    if (!st)
        st = read_count(object, "misses", misses, err);
    if (!st)
        st = read_count(object, "bytes", bytes, err);
    return st ? st : read_count(object, "max_bytes", max_bytes, err);
}

executr_status ex_executor_read(
    const ex_json *object, executr_executors *executors, executr_error *err)
{
    ex_executor *executor;

    if (ex_json_type(object) != EX_JSON_OBJECT)
        return ex_fail(
            err, EXECUTR_E_PROTOCOL, "an executor must be a JSON object");
    executr_status st = ex_executors_add(executors, &executor, err);
    if (st)
        return st;
    st = read_texts(object, &executors->arena, executor, err);
    if (!st)
        st = read_numbers(object, executor, err);
    if (st)
        executors->count--;
    return ex_as_protocol(st, err);
}
