/* SPDX-License-Identifier: MIT */
/* What executors say about their attempts: ends, heartbeats and goodbyes. */
#include "queue.h"

#include <string.h>

#include "base/fail.h"
#include "base/time.h"
#include "capture.h"

#define LEASES_MAX 100000

/* A lease that a whole heartbeat does not name is given back only when it is
 * older than this: the answer to its claim may still be on its way. */
#define UNNAMED_AFTER_MS 10000

/* One report call. ends[k] are the reports that passed their checks. */
typedef struct reporting {
    ex_arena arena; /* texts that had to be changed */
    executr_report *reports;
    ex_finish *ends;
    size_t count;
} reporting;

executr_status ex_queue_run_finish(
    executr_queue *queue, void *records, size_t count, executr_error *err)
{
    ex_rules rules;

    ex_queue_rules(queue, &rules);
    return queue->store->ops->finish(queue->store, records, count, &rules, err);
}

size_t ex_queue_weigh_finish(const void *record)
{
    const executr_report *report = ((const ex_finish *)record)->report;

    return report->stdout_length + report->stderr_length;
}

executr_status ex_queue_run_heartbeat(
    executr_queue *queue, void *records, size_t count, executr_error *err)
{
    return queue->store->ops->heartbeat(queue->store, records, count, err);
}

size_t ex_queue_weigh_heartbeat(const void *record)
{
    return ((const ex_heartbeat *)record)->lease_count * sizeof(ex_lease);
}

/* Bring one output within the limit. */
static executr_status cut_output(
    reporting *all, size_t limit, const void **data, size_t *length,
    executr_error *err)
{
    ex_buf cut;

    if (*length <= limit)
        return EXECUTR_OK;
    ex_buf_init(&cut, limit);
    executr_status st = ex_capture_cut(*data, *length, limit, &cut, err);
    if (!st) {
        *data = ex_arena_copy(&all->arena, ex_buf_text(&cut), cut.length);
        *length = cut.length;
        if (!*data)
            st = ex_fail_nomem(err);
    }
    ex_buf_clear(&cut);
    return st;
}

/* Check a report and make it ends[count]. */
static executr_status add(
    executr_queue *queue, reporting *all, const char *executor_id,
    const executr_report *given, executr_error *err)
{
    size_t limit = (size_t)queue->options.max_output_bytes;
    executr_report *report = &all->reports[all->count];
    ex_finish *end = &all->ends[all->count];

    executr_status st = ex_report_check(given, &all->arena, report, err);
    if (!st)
        st = ex_queue_id(report->job_id, &end->id, err);
    if (!st)
        st = cut_output(
            all, limit, &report->stdout_data, &report->stdout_length, err);
    if (!st)
        st = cut_output(
            all, limit, &report->stderr_data, &report->stderr_length, err);
    if (st)
        return st;
    end->executor_id = executor_id;
    end->report = report;
    all->count++;
    return EXECUTR_OK;
}

static executr_status prepare(
    executr_queue *queue, reporting *all, const char *executor_id,
    const executr_report *const *reports, size_t count, executr_status *results,
    executr_error *err)
{
    void *memory;

    executr_status st = ex_executor_id_check(executor_id, err);
    if (st)
        return st;
    st = ex_alloc_array(&memory, count, sizeof *all->reports, err);
    if (st)
        return st;
    all->reports = memory;
    st = ex_alloc_array(&memory, count, sizeof *all->ends, err);
    if (st)
        return st;
    all->ends = memory;
    for (size_t i = 0; i < count; i++) {
        results[i] = add(queue, all, executor_id, reports[i], NULL);
        if (results[i] == EXECUTR_E_NOMEM)
            return ex_fail_nomem(err);
    }
    return EXECUTR_OK;
}

/* The hook hears of what was recorded now, not of repeats. */
static void tell_end(executr_queue *queue, const ex_finish *end)
{
    int32_t event = 0;

    if (end->result || end->repeated)
        return;
    switch (end->job_status) {
    case EXECUTR_JOB_COMPLETED:
        event = EXECUTR_EVENT_COMPLETED;
        break;
    case EXECUTR_JOB_FAILED:
        event = EXECUTR_EVENT_FAILED;
        break;
    case EXECUTR_JOB_CANCELLED:
        event = EXECUTR_EVENT_CANCELLED;
        break;
    default: /* pending again */
        event = end->report->uncounted ? 0 : EXECUTR_EVENT_RETRIED;
        break;
    }
    if (event)
        ex_queue_event(queue, event, end->type, end->priority, -1, end->ran_us);
}

/* Hand out the results; 1 if a job went back to pending for anyone to take. */
static int32_t settle(
    executr_queue *queue, const reporting *all, size_t count,
    executr_status *results)
{
    int32_t given_back = 0;
    size_t k = 0;

    for (size_t i = 0; i < count; i++) {
        if (results[i])
            continue;
        const ex_finish *end = &all->ends[k++];
        results[i] = end->result;
        tell_end(queue, end);
        if (!end->result && end->report->uncounted)
            given_back = 1;
    }
    return given_back;
}

executr_status executr_queue_report(
    executr_queue *queue, const char *executor_id,
    const executr_report *const *reports, size_t count, executr_status *results,
    executr_error *err)
{
    reporting all = {.arena = EX_ARENA_INIT};

    executr_status st =
        prepare(queue, &all, executor_id, reports, count, results, err);
    if (!st)
        st = ex_lane_call(&queue->finish, all.ends, all.count, err);
    if (!st && settle(queue, &all, count, results))
        ex_queue_wake_any(queue);
    ex_free(all.ends);
    ex_free(all.reports);
    ex_arena_clear(&all.arena);
    return st;
}

/* Read the leases of the caller; what is no job id is no job of ours. */
static size_t read_leases(executr_lease *from, size_t count, ex_lease *out)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        from[i].verdict = EXECUTR_LEASE_UNKNOWN;
        if (ex_uuid_parse(from[i].job_id, &out[n].id))
            continue;
        out[n].attempt = from[i].attempt;
        out[n].verdict = 0;
        n++;
    }
    return n;
}

static void write_verdicts(
    const ex_lease *from, executr_lease *leases, size_t count)
{
    ex_uuid id;

    for (size_t i = 0; i < count; i++) {
        if (!ex_uuid_parse(leases[i].job_id, &id))
            leases[i].verdict = (from++)->verdict;
    }
}

executr_status executr_queue_heartbeat(
    executr_queue *queue, executr_heartbeat *heartbeat, executr_error *err)
{
    executr_heartbeat info;
    void *memory;

    executr_status st = ex_heartbeat_check(heartbeat, &info, err);
    if (st)
        return st;
    if (info.lease_count > LEASES_MAX)
        return ex_fail(
            err, EXECUTR_E_TOO_LARGE,
            "a heartbeat names %zu leases, at most %d are allowed",
            info.lease_count, LEASES_MAX);
    st = ex_alloc_array(&memory, info.lease_count, sizeof(ex_lease), err);
    if (st)
        return st;
    ex_heartbeat beat = {&info, memory, 0, UNNAMED_AFTER_MS, ex_monotonic_us()};
    beat.lease_count = read_leases(info.leases, info.lease_count, beat.leases);
    st = ex_lane_call(&queue->heartbeat, &beat, 1, err);
    if (!st)
        write_verdicts(beat.leases, info.leases, info.lease_count);
    heartbeat->lease_ms = queue->options.heartbeat_timeout_ms;
    ex_free(memory);
    return st;
}

executr_status executr_queue_heartbeat_job(
    executr_queue *queue, const char *executor_id, executr_lease *lease,
    executr_error *err)
{
    executr_heartbeat info = EXECUTR_HEARTBEAT_INIT;
    ex_lease inner = {.attempt = lease->attempt};

    executr_status st = ex_executor_id_check(executor_id, err);
    if (!st)
        st = ex_queue_id(lease->job_id, &inner.id, err);
    if (st)
        return st;
    info.executor_id = executor_id;
    info.executor_ip = "";
    info.version = "";
    ex_heartbeat beat = {&info, &inner, 1, -1, 0};
    st = ex_lane_call(&queue->heartbeat, &beat, 1, err);
    if (!st)
        lease->verdict = inner.verdict;
    return st;
}

executr_status executr_queue_goodbye(
    executr_queue *queue, const char *executor_id, executr_error *err)
{
    executr_status st = ex_executor_id_check(executor_id, err);
    if (st)
        return st;
    ex_queue_unpark(queue, executor_id);
    st = ex_queue_note(
        queue, queue->store->ops->goodbye(queue->store, executor_id, err));
    if (!st)
        ex_queue_wake_any(queue);
    return st;
}
