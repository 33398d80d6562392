/* SPDX-License-Identifier: MIT */
/* The list of waiting claims and who of them is told of what; hides how few
 * are woken. */
#include "queue.h"

#include <string.h>

#include "base/fail.h"

/* Filters that one round of ex_queue_wake_any tells apart. */
#define FILTERS_MAX 64

int32_t ex_waiter_takes(const ex_waiter *waiter, const ex_word *word)
{
    const executr_claim *request = waiter->request;

    if (word->demands & ~request->offers)
        return 0;
    if (request->priorities &&
        !(request->priorities & UINT32_C(1) << word->priority))
        return 0;
    for (size_t i = 0; i < request->type_count; i++) {
        if (strcmp(request->types[i], word->type) == 0)
            return 1;
    }
    return request->type_count == 0;
}

/* The list; all of this under the lock. */

void ex_waiter_unlist(executr_queue *queue, ex_waiter *waiter)
{
    if (!waiter->listed)
        return;
    if (waiter->before)
        waiter->before->next = waiter->next;
    else
        queue->first = waiter->next;
    if (waiter->next)
        waiter->next->before = waiter->before;
    else
        queue->last = waiter->before;
    waiter->listed = 0;
}

/* Back to the place of its turn: the end for a new one; for others near the
 * beginning, because those are told first. */
void ex_waiter_enlist(executr_queue *queue, ex_waiter *waiter)
{
    ex_waiter *next = NULL;

    if (waiter->listed)
        return;
    if (queue->last && queue->last->turn > waiter->turn) {
        next = queue->first;
        while (next->turn < waiter->turn)
            next = next->next;
    }
    waiter->next = next;
    waiter->before = next ? next->before : queue->last;
    if (waiter->before)
        waiter->before->next = waiter;
    else
        queue->first = waiter;
    if (next)
        next->before = waiter;
    else
        queue->last = waiter;
    waiter->listed = 1;
}

/*
 * A thread that wakes while its waker has the lock would sleep again at once,
 * and to wake it twice takes a multiple of the time. So waiters are woken after
 * the lock is free, when one might be gone, had it not to stay until it has
 * taken the post it is owed. That is one, whatever it is woken for meanwhile:
 * it looks at everything once it is awake.
 */
void ex_waiter_wake(executr_queue *queue, ex_waiter *waiter)
{
    if (waiter->owed)
        return;
    waiter->owed = 1;
    waiter->next_woken = queue->woken;
    queue->woken = waiter;
}

void ex_queue_unlock(executr_queue *queue)
{
    ex_waiter *waiter = queue->woken;

    queue->woken = NULL;
    pthread_mutex_unlock(&queue->lock);
    while (waiter) {
        ex_waiter *next = waiter->next_woken;
        sem_post(&waiter->woken);
        waiter = next;
    }
}

static void tell_some(executr_queue *queue, ex_waiter *waiter)
{
    ex_waiter_unlist(queue, waiter);
    waiter->word.told = EX_TOLD_OF_SOME;
    ex_waiter_wake(queue, waiter);
}

/* Word that finds nobody is noted in `unheard`, for waiters that are held just
 * then. */

/* Tell the first that may take the job; 0 if nobody is there who may. */
static int32_t tell_job(executr_queue *queue, const ex_word *word)
{
    ex_waiter *waiter = queue->first;

    while (waiter && !ex_waiter_takes(waiter, word))
        waiter = waiter->next;
    if (!waiter) {
        queue->unheard++;
        return 0;
    }
    ex_waiter_unlist(queue, waiter);
    waiter->word = *word;
    queue->hearing = waiter;
    ex_waiter_wake(queue, waiter);
    return 1;
}

/* Tell up to `count` waiters with this filter. */
void ex_queue_tell_alike(executr_queue *queue, uint64_t filter, int32_t count)
{
    ex_waiter *waiter = queue->first;

    while (waiter && count > 0) {
        ex_waiter *next = waiter->next;
        if (waiter->filter == filter) {
            tell_some(queue, waiter);
            count--;
        }
        waiter = next;
    }
    queue->unheard += count > 0;
}

/* Word that was left unanswered goes to another waiter. */
void ex_queue_pass_on(
    executr_queue *queue, const ex_word *word, uint64_t filter)
{
    if (word->told == EX_TOLD_OF_JOB)
        ex_ignore(tell_job(queue, word));
    else if (word->told == EX_TOLD_OF_SOME)
        ex_queue_tell_alike(queue, filter, 1);
}

uint64_t ex_word_sum(const ex_uuid *id)
{
    uint64_t half[2];

    memcpy(half, id, sizeof half);
    return half[0] * UINT64_C(0x9e3779b97f4a7c15) + half[1];
}

void ex_word_set(ex_word *word, const ex_submit *job)
{
    word->told = EX_TOLD_OF_JOB;
    word->count = 1;
    word->sum = ex_word_sum(&job->id);
    word->priority = job->spec->priority;
    word->demands = ex_spec_demands(job->spec);
    size_t length = strnlen(job->spec->type, sizeof word->type - 1);
    memcpy(word->type, job->spec->type, length);
    word->type[length] = '\0';
}

int32_t ex_words_alike(const ex_word *a, const ex_word *b)
{
    return a->priority == b->priority && a->demands == b->demands &&
           strcmp(a->type, b->type) == 0;
}

/* One more job for the waiter that was told last, which has yet to ask. */
static int32_t tell_more(executr_queue *queue, const ex_word *word)
{
    ex_waiter *waiter = queue->hearing;

    if (!waiter || !ex_words_alike(&waiter->word, word) ||
        waiter->word.count >= waiter->request->max_jobs)
        return 0;
    waiter->word.count++;
    waiter->word.sum += word->sum;
    return 1;
}

static int32_t is_for_all(const ex_submit *job)
{
    return !job->result && !job->repeated && !job->taken;
}

void ex_queue_wake(executr_queue *queue, const ex_submit *jobs, size_t count)
{
    ex_word unwanted = {0}; /* nobody waits for a job like this */
    ex_word word;
    size_t i = 0;

    /* Who was just let go is not to find the lock taken. */
    while (i < count && !is_for_all(&jobs[i]))
        i++;
    if (i == count)
        return;
    pthread_mutex_lock(&queue->lock);
    for (; i < count; i++) {
        if (!is_for_all(&jobs[i]))
            continue;
        ex_word_set(&word, &jobs[i]);
        if (tell_more(queue, &word))
            continue;
        if (unwanted.told && ex_words_alike(&unwanted, &word))
            continue;
        if (!tell_job(queue, &word))
            unwanted = word;
    }
    ex_queue_unlock(queue);
}

/*
 * One waiter of each filter is told; if its claim is filled it tells two more
 * of its like, and so on, so that much work wakes many quickly and no work
 * wakes few. With more filters than one round tells apart, the next begins
 * where this one ended.
 */
void ex_queue_wake_any(executr_queue *queue)
{
    uint64_t seen[FILTERS_MAX];
    size_t count = 0;

    pthread_mutex_lock(&queue->lock);
    queue->unheard++;
    ex_waiter *waiter = queue->first;
    while (waiter && waiter->turn < queue->told_turn)
        waiter = waiter->next;
    while (waiter && count < FILTERS_MAX) {
        ex_waiter *next = waiter->next;
        size_t i = 0;
        while (i < count && seen[i] != waiter->filter)
            i++;
        if (i == count) {
            seen[count++] = waiter->filter;
            tell_some(queue, waiter);
        }
        waiter = next;
    }
    queue->told_turn = waiter ? waiter->turn : 0;
    ex_queue_unlock(queue);
}
