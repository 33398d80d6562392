/* SPDX-License-Identifier: MIT */
/*
 * Jobs for claims that sleep: they are inserted as running, for the executor
 * that waits, and never enter the queue. That spares a statement, its commit
 * and most of what a job costs the database.
 *
 * The jobs of a whole batch are given away together, whoever submitted them: a
 * claim of many is filled as if they had come in one call.
 *
 * A sleeping waiter that may take a job is *held* before the store is asked:
 * off the list, so that nobody tells it anything, and bound to stay, whatever
 * its deadline, until the batch lets it go. Between the two its list of jobs
 * belongs to whoever runs the batch, who needs no memory any more once the
 * store has committed: a job that runs for somebody is always told to it.
 *
 * A claim asks the store before it sleeps, so a job is overtaken only by those
 * whose submission was under way when it came. A waiter that is let go with
 * nothing goes back to sleep, unless somebody had word for one like it and
 * found nobody (queue->unheard) while it was held: then it asks again.
 */
#include "queue.h"

#include <string.h>

#include "base/fail.h"

static int32_t is_free(const ex_waiter *waiter, const ex_word *word)
{
    return waiter->sleeps && !waiter->sent_away &&
           ex_waiter_takes(waiter, word);
}

/* What points at one that is held, has room and takes such a job; else at the
 * end of `open`. */
static ex_waiter **find_held(ex_handover *hand, const ex_word *word)
{
    ex_waiter **link = &hand->open;

    while (*link && !ex_waiter_takes(*link, word))
        link = &(*link)->next_held;
    return link;
}

/* Hold another: 1, or 0 if nobody sleeps who takes such a job. */
static int32_t hold(
    executr_queue *queue, ex_handover *hand, const ex_word *word)
{
    ex_waiter *waiter = queue->first;

    while (waiter && !is_free(waiter, word))
        waiter = waiter->next;
    if (!waiter)
        return 0;
    ex_waiter_unlist(queue, waiter);
    waiter->held = 1;
    waiter->promised = 0;
    waiter->unheard = queue->unheard;
    waiter->next_held = hand->open;
    hand->open = waiter;
    return 1;
}

static void promise(ex_handover *hand, ex_waiter **link, size_t k)
{
    ex_waiter *waiter = *link;

    hand->promises[k].waiter = waiter;
    waiter->promised++;
    if (waiter->promised < waiter->request->max_jobs)
        return;
    *link = waiter->next_held;
    waiter->next_held = hand->full;
    hand->full = waiter;
}

/* Set promises[k].waiter of every job of this priority that somebody waits
 * for. */
static void hold_for(
    executr_queue *queue, const ex_submit *jobs, size_t count, int32_t priority,
    ex_handover *hand)
{
    ex_word unwanted = {0};
    ex_word word;

    for (size_t k = 0; k < count; k++) {
        if (jobs[k].spec->priority != priority)
            continue;
        ex_word_set(&word, &jobs[k]);
        if (unwanted.told && ex_words_alike(&unwanted, &word))
            continue;
        ex_waiter **link = find_held(hand, &word);
        if (!*link && hold(queue, hand, &word))
            link = &hand->open;
        if (*link)
            promise(hand, link, k);
        else
            unwanted = word;
    }
}

/* Its record for the waiter, complete but for what the store will say. */
static executr_status copy_record(
    ex_promise *promised, const struct executr_job *from)
{
    const ex_waiter *waiter = promised->waiter;
    struct executr_job *record;

    executr_status st = ex_jobs_copy(waiter->jobs, from, &record, NULL);
    if (st)
        return st;
    record->executor_id =
        ex_arena_strdup(&waiter->jobs->arena, waiter->request->executor_id);
    if (!record->executor_id)
        return EXECUTR_E_NOMEM;
    record->status = EXECUTR_JOB_RUNNING;
    record->attempt = 1;
    promised->record = record;
    return ex_job_unpack(waiter->jobs, record, NULL);
}

static void copy_for(
    ex_submit *jobs, size_t count, int32_t priority, ex_handover *hand)
{
    for (size_t k = 0; k < count; k++) {
        ex_promise *promised = &hand->promises[k];
        if (promised->waiter && jobs[k].spec->priority == priority &&
            !copy_record(promised, jobs[k].record))
            jobs[k].taker = promised->waiter->request;
    }
}

/* Whether it is worth while; not on a store that is away. */
static int32_t somebody_sleeps(executr_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    int32_t one = queue->first && queue->asleep > 0 && !queue->draining &&
                  !atomic_load(&queue->away);
    pthread_mutex_unlock(&queue->lock);
    return one;
}

void ex_queue_promise(
    executr_queue *queue, ex_submit *jobs, size_t count, ex_handover *hand)
{
    void *memory;

    memset(hand, 0, sizeof *hand);
    for (size_t k = 0; k < count; k++)
        jobs[k].taker = NULL; /* a batch may be a part of one that failed */
    /* Without memory all goes the other way, through the queue. */
    if (!somebody_sleeps(queue) ||
        ex_alloc_array(&memory, count, sizeof *hand->promises, NULL))
        return;
    hand->promises = memory;
    pthread_mutex_lock(&queue->lock);
    for (int32_t p = EXECUTR_PRIORITY_FOREGROUND;
         p <= EXECUTR_PRIORITY_BEST_EFFORT; p++)
        hold_for(queue, jobs, count, p, hand);
    pthread_mutex_unlock(&queue->lock);
    for (int32_t p = EXECUTR_PRIORITY_FOREGROUND;
         p <= EXECUTR_PRIORITY_BEST_EFFORT; p++)
        copy_for(jobs, count, p, hand);
}

/* Complete the records of jobs that run, and mark them by their ids. */
static void keep_promises(
    const ex_submit *jobs, size_t count, const ex_handover *hand)
{
    for (size_t k = 0; k < count; k++) {
        struct executr_job *record = hand->promises[k].record;
        if (!jobs[k].taken)
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

/* Under the lock. */
static void let_go(executr_queue *queue, ex_waiter *waiter)
{
    while (waiter) {
        ex_waiter *next = waiter->next_held;
        tidy(waiter->jobs);
        waiter->held = 0;
        if (waiter->jobs->count == 0) {
            if (waiter->unheard != queue->unheard)
                waiter->word.told = EX_TOLD_OF_SOME;
            else
                ex_waiter_enlist(queue, waiter);
        }
        ex_waiter_wake(queue, waiter);
        waiter = next;
    }
}

void ex_queue_hand_over(
    executr_queue *queue, const ex_submit *jobs, size_t count,
    ex_handover *hand)
{
    if (!hand->promises)
        return;
    keep_promises(jobs, count, hand);
    pthread_mutex_lock(&queue->lock);
    let_go(queue, hand->open);
    let_go(queue, hand->full);
    ex_queue_unlock(queue);
    ex_free(hand->promises);
}
