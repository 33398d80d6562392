/* SPDX-License-Identifier: MIT */
/*
 * Claims and their waiting.
 *
 * No wake-up is lost because a waiter stands in the list *before* its claim
 * asks the store. A job committed before that statement began is seen by it;
 * the submitter of a job committed later comes to the list later still and
 * finds the waiter there. It takes the waiter off the list and leaves word of
 * its job; a waiter looks for word before it sleeps. Word is answered by one
 * claim: the waiter goes back into the list (which clears its word) and asks
 * again. Whoever leaves without having answered its word, or whose claim was
 * filled up with other jobs, passes it on to the next waiter that may take
 * that job. A claim of many jobs is told once for as many like the first as it
 * has room for, if it has not begun to ask. What other programs or a rolled-back
 * statement make claimable unheard is found by upkeep, once a poll interval.
 * A waiter that sleeps is mostly told of nothing: it gets the job itself
 * (queue_hand.c).
 */
#include "queue.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/fail.h"

executr_status ex_queue_run_claim(
    executr_queue *queue, void *records, size_t count, executr_error *err)
{
    ex_claim *claims = records;

    executr_status st =
        queue->store->ops->claim(queue->store, claims, count, err);
    /* A failed run may have left something in a list; nothing was claimed. */
    for (size_t i = 0; i < count && st; i++)
        claims[i].jobs->count = 0;
    return st;
}

size_t ex_queue_weigh_claim(const void *record)
{
    const executr_claim *request = ((const ex_claim *)record)->request;

    return (size_t)(request->max_jobs - 1) * EX_RECORD_BYTES;
}

static uint64_t mix(uint64_t hash, const void *data, size_t length)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

/* Equal for equal filters; two filters that share it by chance only make a
 * waiter wait for the next poll. */
static uint64_t filter_hash(const executr_claim *request)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    hash = mix(hash, &request->priorities, sizeof request->priorities);
    hash = mix(hash, &request->offers, sizeof request->offers);
    for (size_t i = 0; i < request->type_count; i++)
        hash = mix(hash, request->types[i], strlen(request->types[i]) + 1);
    return hash;
}

static executr_status init_waiter(
    ex_waiter *waiter, const ex_claim *claim, executr_error *err)
{
    memset(waiter, 0, sizeof *waiter);
    waiter->request = claim->request;
    waiter->jobs = claim->jobs;
    waiter->filter = filter_hash(claim->request);
    if (sem_init(&waiter->woken, 0, 0) != 0)
        return ex_fail_errno(err, errno, "cannot make a semaphore");
    return EXECUTR_OK;
}

/* 1 if it may wait: a place is free and nobody drains the queue. */
static int32_t park(executr_queue *queue, ex_waiter *waiter)
{
    pthread_mutex_lock(&queue->lock);
    int32_t may = !queue->draining && queue->parked < queue->options.max_parked;
    if (may) {
        queue->parked++;
        waiter->turn = ++queue->turns;
        waiter->next_parked = queue->waiters;
        if (queue->waiters)
            queue->waiters->before_parked = waiter;
        queue->waiters = waiter;
    }
    pthread_mutex_unlock(&queue->lock);
    return may;
}

/* Hear of jobs from now on; *answered is the word that the next claim
 * answers. */
static void listen_up(
    executr_queue *queue, ex_waiter *waiter, ex_word *answered)
{
    pthread_mutex_lock(&queue->lock);
    *answered = waiter->word;
    waiter->word.told = EX_TOLD_NOTHING;
    if (queue->hearing == waiter)
        queue->hearing = NULL;
    ex_waiter_enlist(queue, waiter);
    pthread_mutex_unlock(&queue->lock);
}

/* 1 if the list is what the word is of; a lone job is in the list. */
static int32_t has(const executr_jobs *jobs, const ex_word *word)
{
    uint64_t sum = 0;
    ex_uuid id;

    if (word->told != EX_TOLD_OF_JOB)
        return 0;
    for (size_t i = 0; i < jobs->count; i++) {
        if (ex_uuid_parse(jobs->items[i]->id, &id))
            continue;
        sum += ex_word_sum(&id);
        if (word->count == 1 && ex_word_sum(&id) == word->sum)
            return 1;
    }
    return jobs->count == (size_t)word->count && sum == word->sum;
}

static void unpark(executr_queue *queue, ex_waiter *waiter)
{
    ex_waiter_unlist(queue, waiter);
    if (queue->hearing == waiter)
        queue->hearing = NULL;
    if (waiter->before_parked)
        waiter->before_parked->next_parked = waiter->next_parked;
    else
        queue->waiters = waiter->next_parked;
    if (waiter->next_parked)
        waiter->next_parked->before_parked = waiter->before_parked;
    queue->parked--;
}

/*
 * After the last claim, which answered `word` unless it failed: off the lists,
 * and pass on what others should hear.
 */
static void leave(
    executr_queue *queue, ex_waiter *waiter, const ex_word *word,
    const executr_jobs *jobs, executr_status claimed)
{
    int32_t filled = jobs->count >= (size_t)waiter->request->max_jobs;
    int32_t unanswered = claimed || (filled && !has(jobs, word));

    pthread_mutex_lock(&queue->lock);
    unpark(queue, waiter);
    if (!has(jobs, &waiter->word))
        ex_queue_pass_on(queue, &waiter->word, waiter->filter);
    if (!claimed && filled && word->told == EX_TOLD_OF_SOME)
        ex_queue_tell_alike(queue, waiter->filter, 2);
    else if (unanswered)
        ex_queue_pass_on(queue, word, waiter->filter);
    int32_t owed = waiter->owed;
    ex_queue_unlock(queue);
    while (owed && sem_wait(&waiter->woken) != 0)
        continue; /* interrupted by a signal handler */
    sem_destroy(&waiter->woken);
}

static struct timespec deadline_after(int64_t wait_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += wait_ms / 1000;
    at.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

static int32_t has_passed(const struct timespec *deadline)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* What ends its sleep. */
static int32_t may_sleep(const executr_queue *queue, const ex_waiter *waiter)
{
    return !waiter->word.told && waiter->jobs->count == 0 && !queue->draining &&
           !waiter->sent_away;
}

#if defined(__SANITIZE_THREAD__)
/* The thread sanitizer does not know sem_clockwait: it would not see that what
 * its poster did comes before what we do. */
#include <sanitizer/tsan_interface.h>
#define acquired(semaphore) __tsan_acquire(semaphore)
#else
#define acquired(semaphore) ((void)(semaphore))
#endif

/* Without the lock, until woken: 0, or ETIMEDOUT, or EINTR for no reason. */
static int doze(
    executr_queue *queue, ex_waiter *waiter, const struct timespec *deadline)
{
    ex_queue_unlock(queue);
    int rc = deadline ? sem_clockwait(&waiter->woken, CLOCK_MONOTONIC, deadline)
                      : sem_wait(&waiter->woken);
    int number = rc == 0 ? 0 : errno;
    pthread_mutex_lock(&queue->lock);
    if (number == 0) {
        acquired(&waiter->woken);
        waiter->owed = 0;
    }
    return number;
}

/* Sleep until told: 1, or 0 with jobs that were handed over, at the deadline,
 * when the queue is drained and when the executor left. */
static int32_t sleep_until(
    executr_queue *queue, ex_waiter *waiter, const struct timespec *deadline)
{
    int rc = 0;

    pthread_mutex_lock(&queue->lock);
    queue->asleep++;
    queue->slept = 1;
    int32_t unheard = !queue->announced;
    queue->announced = 1;
    if (unheard)
        ex_queue_poke(queue); /* other programs must hear that we wait */
    waiter->sleeps = 1;
    while (waiter->held || (may_sleep(queue, waiter) && rc != ETIMEDOUT))
        rc = doze(queue, waiter, waiter->held ? NULL : deadline);
    waiter->sleeps = 0;
    queue->asleep--;
    int32_t told = waiter->word.told && !queue->draining && !waiter->sent_away;
    pthread_mutex_unlock(&queue->lock);
    return told && !has_passed(deadline);
}

static executr_status claim_now(
    executr_queue *queue, ex_claim *claim, executr_error *err)
{
    return ex_lane_call(&queue->claim, claim, 1, err);
}

/*
 * Its executor left while a claim was asking the store: the jobs it got may
 * have come after the goodbye, which then did not give them back.
 */
static executr_status give_back(
    executr_queue *queue, ex_claim *claim, executr_error *err)
{
    executr_report report = EXECUTR_REPORT_INIT;
    executr_status st = EXECUTR_OK;

    report.status = EXECUTR_ATTEMPT_FAILED;
    report.uncounted = 1;
    report.error_message = "its executor left";
    for (size_t i = 0; i < claim->jobs->count && !st; i++) {
        const struct executr_job *job = claim->jobs->items[i];
        ex_finish end = {
            .executor_id = claim->request->executor_id, .report = &report};
        report.attempt = job->attempt;
        st = ex_queue_id(job->id, &end.id, err);
        if (!st)
            st = ex_lane_call(&queue->finish, &end, 1, err);
    }
    claim->jobs->count = 0;
    if (!st)
        ex_queue_wake_any(queue);
    return st;
}

static executr_status claim_waiting(
    executr_queue *queue, ex_claim *claim, executr_error *err)
{
    struct timespec deadline = deadline_after(claim->request->wait_ms);
    ex_waiter waiter;
    ex_word word;

    executr_status st = init_waiter(&waiter, claim, err);
    if (st)
        return st;
    if (!park(queue, &waiter)) {
        sem_destroy(&waiter.woken);
        return claim_now(queue, claim, err);
    }
    for (;;) {
        listen_up(queue, &waiter, &word);
        st = claim_now(queue, claim, err);
        if (st || claim->jobs->count > 0)
            break;
        word.told = EX_TOLD_NOTHING; /* that was the answer */
        if (!sleep_until(queue, &waiter, &deadline))
            break;
    }
    leave(queue, &waiter, &word, claim->jobs, st);
    if (!st && waiter.sent_away && claim->jobs->count > 0)
        st = give_back(queue, claim, err);
    return st;
}

executr_status executr_queue_claim(
    executr_queue *queue, const executr_claim *claim, executr_jobs **out,
    executr_error *err)
{
    executr_claim request;
    ex_claim record = {&request, NULL};

    *out = NULL;
    executr_status st = ex_claim_check(claim, &request, err);
    if (!st)
        st = ex_jobs_new(&record.jobs, err);
    if (!st && request.wait_ms > 0)
        st = claim_waiting(queue, &record, err);
    else if (!st)
        st = claim_now(queue, &record, err);
    for (size_t i = 0; i < executr_jobs_count(record.jobs) && !st; i++) {
        const struct executr_job *job = record.jobs->items[i];
        ex_queue_event(
            queue, EXECUTR_EVENT_CLAIMED, job->type, job->priority,
            job->started_at_us - job->created_at_us, -1);
    }
    if (!st)
        st = ex_jobs_unpack(record.jobs, err);
    if (!st) {
        *out = record.jobs;
        record.jobs = NULL;
    }
    executr_jobs_free(record.jobs);
    return st;
}

void ex_queue_unpark(executr_queue *queue, const char *executor_id)
{
    pthread_mutex_lock(&queue->lock);
    for (ex_waiter *w = queue->waiters; w; w = w->next_parked) {
        if (strcmp(w->request->executor_id, executor_id) != 0)
            continue;
        w->sent_away = 1;
        ex_waiter_wake(queue, w);
    }
    ex_queue_unlock(queue);
}

void executr_queue_drain(executr_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->draining = 1;
    for (ex_waiter *w = queue->first; w; w = w->next)
        ex_waiter_wake(queue, w);
    ex_queue_unlock(queue);
}
