/* SPDX-License-Identifier: MIT */
/* The queue's lanes into the store; hides how the calls of many callers become
 * one statement. */
#include "queue.h"

#include <string.h>

/* One caller's records on their way through a lane. */
typedef struct parcel {
    void *records;
    size_t count;
    size_t weight;
} parcel;

static size_t parcel_weight(const void *item)
{
    return ((const parcel *)item)->weight;
}

/* Run the parcels of several callers as one array. */
static executr_status run_joined(
    ex_lane *lane, void *const *items, size_t count, executr_error *err)
{
    void *memory;
    size_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += ((const parcel *)items[i])->count;
    executr_status st = ex_alloc_array(&memory, total, lane->size, err);
    if (st)
        return st;
    char *at = memory;
    for (size_t i = 0; i < count; i++) {
        const parcel *p = items[i];
        memcpy(at, p->records, p->count * lane->size);
        at += p->count * lane->size;
    }
    st = lane->run(lane->queue, memory, total, err);
    at = memory;
    for (size_t i = 0; i < count && !st; i++) {
        parcel *p = items[i];
        memcpy(p->records, at, p->count * lane->size);
        at += p->count * lane->size;
    }
    ex_free(memory);
    return st;
}

static executr_status run_lane(
    void *ctx, void *const *items, size_t count, executr_error *err)
{
    ex_lane *lane = ctx;
    const parcel *only = items[0];
    executr_status st;

    if (count == 1)
        st = lane->run(lane->queue, only->records, only->count, err);
    else
        st = run_joined(lane, items, count, err);
    return ex_queue_note(lane->queue, st);
}

/* As many of `count` records as make one batch. */
static parcel pack(const ex_lane *lane, void *records, size_t count)
{
    parcel p = {records, 0, 0};
    const char *at = records;

    for (; p.count < count; p.count++, at += lane->size) {
        size_t weight = EX_RECORD_BYTES;
        if (lane->weigh)
            weight += lane->weigh(at);
        if (p.count && p.weight + weight > EX_BATCH_BYTES)
            break;
        p.weight += weight;
    }
    return p;
}

executr_status ex_lane_call(
    ex_lane *lane, void *records, size_t count, executr_error *err)
{
    executr_status st = EXECUTR_OK;
    char *at = records;

    while (count > 0 && !st) {
        parcel p = pack(lane, at, count);
        at += p.count * lane->size;
        count -= p.count;
        st = ex_group_call(lane->group, &p, err);
    }
    return st;
}

executr_status ex_lanes_open(executr_queue *queue, executr_error *err)
{
    int32_t parallel = queue->store->ops->parallel;
    executr_status st = EXECUTR_OK;

    queue->submit = (ex_lane){
        queue, NULL, sizeof(ex_submit), ex_queue_run_submit,
        ex_queue_weigh_submit};
    queue->claim = (ex_lane){
        queue, NULL, sizeof(ex_claim), ex_queue_run_claim,
        ex_queue_weigh_claim};
    queue->finish = (ex_lane){
        queue, NULL, sizeof(ex_finish), ex_queue_run_finish,
        ex_queue_weigh_finish};
    queue->heartbeat = (ex_lane){
        queue, NULL, sizeof(ex_heartbeat), ex_queue_run_heartbeat,
        ex_queue_weigh_heartbeat};
    queue->cancel =
        (ex_lane){queue, NULL, sizeof(ex_cancel), ex_queue_run_cancel, NULL};
    ex_lane *const lanes[] = {
        &queue->submit, &queue->claim, &queue->finish, &queue->heartbeat,
        &queue->cancel};
    for (size_t i = 0; i < sizeof lanes / sizeof lanes[0] && !st; i++)
        st = ex_group_open(
            run_lane, lanes[i], parallel, EX_BATCH_BYTES, parcel_weight,
            &lanes[i]->group, err);
    return st;
}

void ex_lanes_close(executr_queue *queue)
{
    ex_group_free(queue->submit.group);
    ex_group_free(queue->claim.group);
    ex_group_free(queue->finish.group);
    ex_group_free(queue->heartbeat.group);
    ex_group_free(queue->cancel.group);
}
