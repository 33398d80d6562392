/* SPDX-License-Identifier: MIT */
/* Cancelling, by id and by what jobs have in common. */
#include "queue.h"

#include "base/fail.h"

#define PAGE 1000

executr_status ex_queue_run_cancel(
    executr_queue *queue, void *records, size_t count, executr_error *err)
{
    return queue->store->ops->cancel(queue->store, records, count, err);
}

/* Cancel through the lane and tell the hook of what is over now. */
static executr_status cancel(
    executr_queue *queue, ex_cancel *jobs, size_t count, executr_error *err)
{
    executr_status st = ex_lane_call(&queue->cancel, jobs, count, err);

    for (size_t i = 0; i < count && !st; i++) {
        if (!jobs[i].result)
            ex_queue_event(
                queue, EXECUTR_EVENT_CANCELLED, jobs[i].type, jobs[i].priority,
                -1, -1);
    }
    return st;
}

executr_status executr_queue_cancel(
    executr_queue *queue, const char *const *job_ids, size_t count,
    executr_status *results, executr_error *err)
{
    void *memory;
    size_t n = 0;

    executr_status st = ex_alloc_array(&memory, count, sizeof(ex_cancel), err);
    if (st)
        return st;
    ex_cancel *jobs = memory;
    for (size_t i = 0; i < count; i++) {
        results[i] = ex_queue_id(job_ids[i], &jobs[n].id, NULL);
        if (!results[i])
            n++;
    }
    st = cancel(queue, jobs, n, err);
    n = 0;
    for (size_t i = 0; i < count && !st; i++) {
        if (!results[i])
            results[i] = jobs[n++].result;
    }
    ex_free(memory);
    return st;
}

/* A page of jobs to cancel. */
typedef struct page {
    ex_uuid ids[PAGE];
    ex_cancel jobs[PAGE];
    size_t count;
} page;

/* Cancel a page; jobs that ended meanwhile don't count. */
static executr_status cancel_page(
    executr_queue *queue, page *p, int64_t *cancelled, executr_error *err)
{
    for (size_t i = 0; i < p->count; i++) {
        p->jobs[i] = (ex_cancel){.id = p->ids[i]};
    }
    executr_status st = cancel(queue, p->jobs, p->count, err);
    for (size_t i = 0; i < p->count && !st; i++) {
        executr_status result = p->jobs[i].result;
        if (result == EXECUTR_OK || result == EXECUTR_E_CANCELLED)
            (*cancelled)++;
    }
    return st;
}

executr_status executr_queue_cancel_matching(
    executr_queue *queue, const executr_filter *filter, int64_t *cancelled,
    executr_error *err)
{
    executr_filter f;
    ex_uuid after = {{0}};
    void *memory;

    *cancelled = 0;
    executr_status st = ex_filter_check(filter, &f, err);
    if (st)
        return st;
    st = ex_alloc(&memory, sizeof(page), err);
    if (st)
        return st;
    page *p = memory;
    do {
        st = ex_queue_note(
            queue, queue->store->ops->matching(
                       queue->store, &f, &after, p->ids, &p->count, err));
        if (st)
            break;
        st = cancel_page(queue, p, cancelled, err);
        if (p->count)
            after = p->ids[p->count - 1];
    } while (!st && p->count == PAGE);
    ex_free(memory);
    return st;
}
