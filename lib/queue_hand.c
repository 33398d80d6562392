/* SPDX-License-Identifier: MIT */
/*
 * Jobs for claims that sleep: they are inserted as running, for the executor
 * that waits, and never enter the queue. That spares a statement, its commit
 * and most of what a job costs the database.
 *
 * A sleeping waiter that may take a job is *held* before the store is asked:
 * off the list, so that nobody tells it anything, and bound to stay, whatever
 * its deadline, until the submitter lets it go. Between the two its list of
 * jobs belongs to the submitter, who needs no memory any more once the store
 * has committed: a job that runs for somebody is always told to it.
 *
 * Nobody is overtaken for long: a claim asks the store before it sleeps, so
 * what was there before goes first. A waiter that is let go with nothing asks
 * the store again, because it heard of nothing meanwhile.
 */
#include "queue.h"

#include <string.h>

#include "base/fail.h"

static int32_t is_free(const ex_waiter *waiter, const ex_word *word)
{
    return waiter->sleeps && !waiter->sent_away &&
           ex_waiter_takes(waiter, word);
}

/* One that is held already, has room and takes such a job. Those that are full
 * leave `open`. */
static ex_waiter *find_held(ex_handover *hand, const ex_word *word)
{
    ex_waiter **link = &hand->open;

    while (*link && !ex_waiter_takes(*link, word))
        link = &(*link)->next_held;
    ex_waiter *waiter = *link;
    if (waiter && waiter->promised + 1 == waiter->claim->request->max_jobs) {
        *link = waiter->next_held;
        waiter->next_held = hand->full;
        hand->full = waiter;
    }
    return waiter;
}

static ex_waiter *hold(
    executr_queue *queue, ex_handover *hand, const ex_word *word)
{
    ex_waiter *waiter = queue->first;

    while (waiter && !is_free(waiter, word))
        waiter = waiter->next;
    if (!waiter)
        return NULL;
    ex_waiter_unlist(queue, waiter);
    waiter->held = 1;
    waiter->promised = 0;
    ex_waiter **list =
        waiter->claim->request->max_jobs > 1 ? &hand->open : &hand->full;
    waiter->next_held = *list;
    *list = waiter;
    return waiter;
}

/* Set promises[k].waiter of every job that somebody waits for. */
static void hold_all(
    executr_queue *queue, const ex_submit *jobs, size_t count,
    ex_handover *hand)
{
    ex_word unwanted = {0};
    ex_word word;

    pthread_mutex_lock(&queue->lock);
    for (size_t k = 0; k < count && !queue->draining; k++) {
        ex_word_set(&word, &jobs[k]);
        if (unwanted.told && ex_words_alike(&unwanted, &word))
            continue;
        ex_waiter *waiter = find_held(hand, &word);
        if (!waiter)
            waiter = hold(queue, hand, &word);
        if (!waiter) {
            unwanted = word;
            continue;
        }
        waiter->promised++;
        hand->promises[k].waiter = waiter;
    }
    pthread_mutex_unlock(&queue->lock);
}

/* Its record for the waiter, complete but for what the store will say. */
static executr_status copy_record(
    ex_promise *promise, const struct executr_job *from)
{
    ex_claim *claim = promise->waiter->claim;

    executr_status st = ex_jobs_copy(claim->jobs, from, &promise->record, NULL);
    if (st)
        return st;
    struct executr_job *record = promise->record;
    record->executor_id =
        ex_arena_strdup(&claim->jobs->arena, claim->request->executor_id);
    record->status = EXECUTR_JOB_RUNNING;
    record->attempt = 1;
    return record->executor_id ? EXECUTR_OK : EXECUTR_E_NOMEM;
}

static int32_t somebody_sleeps(executr_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    int32_t one = queue->first && queue->asleep > 0;
    pthread_mutex_unlock(&queue->lock);
    return one;
}

void ex_queue_promise(
    executr_queue *queue, ex_submit *jobs, const executr_jobs *records,
    size_t count, ex_handover *hand)
{
    void *memory;

    memset(hand, 0, sizeof *hand);
    /* Without memory all goes the other way, through the queue. */
    if (count == 0 || !somebody_sleeps(queue) ||
        ex_alloc_array(&memory, count, sizeof *hand->promises, NULL))
        return;
    hand->promises = memory;
    hold_all(queue, jobs, count, hand);
    for (size_t k = 0; k < count; k++) {
        ex_promise *promise = &hand->promises[k];
        if (promise->waiter && !copy_record(promise, records->items[k]))
            jobs[k].taker = promise->waiter->claim->request;
    }
}

/* Complete the records of jobs that run, and mark them by their ids. */
static void keep_promises(
    const ex_submit *jobs, size_t count, const ex_handover *hand)
{
    for (size_t k = 0; k < count && hand->promises; k++) {
        struct executr_job *record = hand->promises[k].record;
        if (!record || !jobs[k].taken)
            continue;
        ex_uuid_format(&jobs[k].id, record->id);
        record->created_at_us = jobs[k].created_at_us;
        record->started_at_us = jobs[k].created_at_us;
        record->last_heartbeat_us = jobs[k].created_at_us;
    }
}

/* Drop the records of jobs that did not become its own. */
static void tidy(executr_jobs *jobs)
{
    size_t kept = 0;

    for (size_t i = 0; i < jobs->count; i++) {
        if (jobs->items[i]->id[0])
            jobs->items[kept++] = jobs->items[i];
    }
    jobs->count = kept;
}

static void let_go(executr_queue *queue, ex_waiter *waiter)
{
    while (waiter) {
        /* Once it is let go it may be gone at any moment. */
        ex_waiter *next = waiter->next_held;
        tidy(waiter->claim->jobs);
        pthread_mutex_lock(&queue->lock);
        waiter->held = 0;
        if (waiter->claim->jobs->count == 0)
            waiter->word.told = EX_TOLD_OF_SOME;
        pthread_cond_signal(&waiter->woken);
        pthread_mutex_unlock(&queue->lock);
        waiter = next;
    }
}

void ex_queue_hand_over(
    executr_queue *queue, const ex_submit *jobs, size_t count,
    ex_handover *hand)
{
    keep_promises(jobs, count, hand);
    let_go(queue, hand->open);
    let_go(queue, hand->full);
    ex_free(hand->promises);
}
