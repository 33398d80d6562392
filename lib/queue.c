/* SPDX-License-Identifier: MIT */
/* The queue's life, its view of the store's health, and the calls that mostly
 * read. */
#include "queue.h"

#include <string.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/options.h"
#include "base/time.h"

executr_status ex_queue_note(executr_queue *queue, executr_status status)
{
    if (status == EXECUTR_E_UNAVAILABLE || status == EXECUTR_E_TIMEOUT) {
        if (!atomic_exchange(&queue->away, 1))
            ex_log(
                &queue->options.log, EXECUTR_LOG_WARN, "the store is away",
                NULL);
        return status;
    }
    if (!atomic_load(&queue->away))
        return status;
    /* Executors could not reach us through the outage either. */
    atomic_store(&queue->quiet_from_us, ex_monotonic_us());
    if (atomic_exchange(&queue->away, 0))
        ex_log(
            &queue->options.log, EXECUTR_LOG_INFO, "the store is back", NULL);
    return status;
}

int32_t executr_queue_healthy(const executr_queue *queue)
{
    return !atomic_load(&queue->away);
}

void ex_queue_event(
    executr_queue *queue, int32_t event, const char *type, int32_t priority,
    int64_t waited_us, int64_t ran_us)
{
    const executr_events *events = &queue->options.events;

    if (events->notify)
        events->notify(
            events->ctx, event, type, priority, 1, waited_us, ran_us);
}

void ex_queue_rules(executr_queue *queue, ex_rules *out)
{
    const executr_queue_options *opt = &queue->options;

    out->heartbeat_timeout_ms = opt->heartbeat_timeout_ms;
    out->max_lost_attempts = opt->max_lost_attempts;
    ex_retry_table(
        opt->retry_base_ms, opt->retry_max_ms,
        atomic_fetch_add(&queue->seed, 1), out->retry_ms);
}

/* A duration or count that is not set takes its default. */
static executr_status set_default(
    int64_t *value, const char *name, int64_t fallback, executr_error *err)
{
    if (*value == 0)
        *value = fallback;
    if (*value < 0 || *value > EX_FOR_EVER_MS)
        return ex_fail_field(
            err, name, "%s is %lld, but should be 0 to %lld", name,
            (long long)*value, (long long)EX_FOR_EVER_MS);
    return EXECUTR_OK;
}

static executr_status read_options(
    const executr_queue_options *options, executr_queue_options *out,
    executr_error *err)
{
    executr_status st =
        ex_options_read(out, sizeof *out, sizeof *out, options, err);
    if (st)
        return st;
    struct {
        int64_t *value;
        const char *name;
        int64_t fallback;
    } const numbers[] = {
        {&out->heartbeat_timeout_ms, "heartbeat_timeout_ms", 15000},
        {&out->cleanup_interval_ms, "cleanup_interval_ms", 3600000},
        {&out->poll_interval_ms, "poll_interval_ms", 1000},
        {&out->retry_base_ms, "retry_base_ms", 1000},
        {&out->retry_max_ms, "retry_max_ms", 300000},
        {&out->max_output_bytes, "max_output_bytes", 1024 * 1024},
        {&out->job_retention_ms, "job_retention_ms", 48 * 3600 * 1000},
        {&out->max_parked, "max_parked", 10000}};
    if (out->job_retention_ms == -1)
        out->job_retention_ms = EX_FOR_EVER_MS;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && !st; i++)
        st = set_default(
            numbers[i].value, numbers[i].name, numbers[i].fallback, err);
    if (!st && out->max_lost_attempts < 0)
        st = ex_fail_field(
            err, "max_lost_attempts", "max_lost_attempts can't be negative");
    if (out->max_lost_attempts == 0)
        out->max_lost_attempts = 5;
    return st;
}

executr_status executr_queue_open(
    executr_store *store, const executr_queue_options *options,
    executr_queue **out, executr_error *err)
{
    void *memory;
    ex_uuid random;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof **out, err);
    if (st)
        return st;
    executr_queue *queue = memory;
    queue->store = store;
    queue->wake_fd = -1;
    st = read_options(options, &queue->options, err);
    if (st)
        goto done;
    st = ex_uuid_make(&random, 1, err);
    if (st)
        goto done;
    uint64_t seed;
    memcpy(&seed, random.bytes + 8, sizeof seed);
    atomic_init(&queue->seed, seed);
    atomic_init(&queue->quiet_from_us, ex_monotonic_us());
    int rc = pthread_mutex_init(&queue->lock, NULL);
    if (rc) {
        st = ex_fail_errno(err, rc, "cannot make a lock");
        goto done;
    }
    queue->has_lock = 1;
    st = ex_lanes_open(queue, err);
    if (!st)
        st = ex_queue_upkeep_start(queue, err);
    if (st)
        goto done;
    *out = queue;
    queue = NULL;
done:
    executr_queue_free(queue);
    return st;
}

void executr_queue_free(executr_queue *queue)
{
    if (!queue)
        return;
    ex_queue_upkeep_stop(queue);
    ex_lanes_close(queue);
    if (queue->has_lock)
        pthread_mutex_destroy(&queue->lock);
    ex_free(queue);
}

executr_status ex_queue_id(const char *text, ex_uuid *out, executr_error *err)
{
    if (!text || ex_uuid_parse(text, out))
        return ex_fail_field(
            err, "id", "'%.64s' is no job id: those are UUIDs in lower case",
            text ? text : "");
    return EXECUTR_OK;
}

executr_status ex_jobs_unpack(executr_jobs *jobs, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    for (size_t i = 0; i < jobs->count && !st; i++)
        st = ex_job_unpack(jobs, jobs->items[i], err);
    return st;
}

executr_status executr_queue_get(
    executr_queue *queue, const char *job_id, int32_t parts, executr_jobs **out,
    executr_error *err)
{
    executr_jobs *jobs = NULL;
    ex_uuid id;

    *out = NULL;
    executr_status st = ex_queue_id(job_id, &id, err);
    if (!st)
        st = ex_jobs_new(&jobs, err);
    if (!st)
        st = ex_queue_note(
            queue, queue->store->ops->get(
                       queue->store, &id, parts & EXECUTR_PART_ALL, jobs, err));
    if (!st)
        st = ex_jobs_unpack(jobs, err);
    if (!st) {
        *out = jobs;
        jobs = NULL;
    }
    executr_jobs_free(jobs);
    return st;
}

executr_status executr_queue_retry(
    executr_queue *queue, const char *job_id, executr_jobs **out,
    executr_error *err)
{
    ex_uuid id;

    *out = NULL;
    executr_status st = ex_queue_id(job_id, &id, err);
    if (!st)
        st = ex_queue_note(
            queue, queue->store->ops->retry(queue->store, &id, err));
    if (st)
        return st;
    ex_queue_wake_any(queue);
    return executr_queue_get(queue, job_id, 0, out, err);
}

executr_status ex_filter_check(
    const executr_filter *filter, executr_filter *out, executr_error *err)
{
    ex_uuid id;

    executr_status st =
        ex_options_read(out, sizeof *out, sizeof *out, filter, err);
    if (st)
        return st;
    if (out->limit == 0)
        out->limit = 100;
    if (out->status < 0 || out->status > EXECUTR_JOB_CANCELLED)
        return ex_fail_field(err, "status", "unknown status");
    if (out->priority < 0 || out->priority > EXECUTR_PRIORITY_BEST_EFFORT)
        return ex_fail_field(err, "priority", "unknown priority");
    if (out->limit < 1 || out->limit > 1000)
        return ex_fail_field(err, "limit", "limit is 1 to 1000");
    if (out->offset < 0)
        return ex_fail_field(err, "offset", "offset can't be negative");
    if (out->before_id && ex_uuid_parse(out->before_id, &id))
        return ex_fail_field(err, "before_id", "the cursor is no job id");
    if (out->type)
        st = ex_word_check(out->type, "type", EX_TYPE_MAX, 1, err);
    if (!st && out->executor_id)
        st = ex_executor_id_check(out->executor_id, err);
    return st;
}

executr_status executr_queue_list(
    executr_queue *queue, const executr_filter *filter, executr_jobs **out,
    int32_t *more, executr_error *err)
{
    executr_filter f;
    executr_jobs *jobs = NULL;

    *out = NULL;
    executr_status st = ex_filter_check(filter, &f, err);
    if (!st)
        st = ex_jobs_new(&jobs, err);
    if (!st)
        st = ex_queue_note(
            queue, queue->store->ops->list(queue->store, &f, jobs, err));
    if (st)
        goto done;
    *more = jobs->count > (size_t)f.limit;
    if (*more)
        jobs->count = (size_t)f.limit;
    st = ex_jobs_unpack(jobs, err);
    if (st)
        goto done;
    *out = jobs;
    jobs = NULL;
done:
    executr_jobs_free(jobs);
    return st;
}

executr_status executr_queue_stats(
    executr_queue *queue, executr_stats **out, executr_error *err)
{
    void *memory;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof **out, err);
    if (st)
        return st;
    st = ex_queue_note(
        queue,
        queue->store->ops->stats(
            queue->store, queue->options.heartbeat_timeout_ms, memory, err));
    if (st)
        ex_free(memory);
    else
        *out = memory;
    return st;
}

executr_status executr_queue_executors(
    executr_queue *queue, executr_executors **out, executr_error *err)
{
    executr_executors *executors;

    *out = NULL;
    executr_status st = ex_executors_new(&executors, err);
    if (st)
        return st;
    st = ex_queue_note(
        queue, queue->store->ops->executors(
                   queue->store, 10 * queue->options.heartbeat_timeout_ms,
                   executors, err));
    if (st)
        executr_executors_free(executors);
    else
        *out = executors;
    return st;
}
