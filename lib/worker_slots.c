/* SPDX-License-Identifier: MIT */
/*
 * Slots: which of the held jobs runs next, and how many more are worth holding.
 *
 * A slot is taken by a program that runs or can't be killed, and by nothing
 * else: it is free as soon as that has ended. Where jobs are short, the way to the source takes
 * longer than a job; then some more are held than there are slots, as many as
 * are run in HORIZON_US, so that no slot waits for a claim. They stand in line
 * with their binary at hand. What has stood there for PATIENCE_US, because
 * others took longer than was to be expected, is given back: somebody else may
 * have a slot for it.
 */
#include "base/time.h"
#include "worker.h"

#define HORIZON_US (INT64_C(50) * 1000)
#define PATIENCE_US (INT64_C(1000) * 1000)
#define MOST_SPARE 256

/* The estimate is a mean in which a run counts for an eighth. */
#define WEIGHT 8

/* After a line that did not move: no spare ones until many short runs. */
#define LONG_US (INT64_C(3600) * 1000 * 1000)

/*
 * Ended jobs whose report was not taken yet occupy no slot, so that reporting
 * costs no time. But behind a source that takes no reports memory must not
 * grow: from here on nothing is claimed.
 */
#define MOST_ENDED 1000
#define MOST_ENDED_BYTES ((size_t)16 * 1024 * 1024)

/* ---- Lists by state, first in, first out. */

static void unlink_work(executr_worker *worker, ex_work *work)
{
    ex_works *list = &worker->lists[work->state];

    if (work->before)
        work->before->after = work->after;
    else
        list->first = work->after;
    if (work->after)
        work->after->before = work->before;
    else
        list->last = work->before;
    list->count--;
}

void ex_work_move(executr_worker *worker, ex_work *work, int32_t state)
{
    ex_works *list = &worker->lists[state];

    if (work->state)
        unlink_work(worker, work);
    work->state = state;
    work->after = NULL;
    work->before = list->last;
    if (list->last)
        list->last->after = work;
    else
        list->first = work;
    list->last = work;
    list->count++;
}

void ex_work_add(executr_worker *worker, ex_work *work)
{
    work->next = worker->works;
    if (work->next)
        work->next->previous = work;
    worker->works = work;
    worker->held++;
    ex_work_move(worker, work, EX_WORK_WAITING);
}

void ex_work_remove(executr_worker *worker, ex_work *work)
{
    unlink_work(worker, work);
    if (work->previous)
        work->previous->next = work->next;
    else
        worker->works = work->next;
    if (work->next)
        work->next->previous = work->previous;
    worker->held--;
}

/* ---- How many to hold. */

static size_t slots_of(const executr_worker *worker)
{
    size_t slots = (size_t)worker->options.max_jobs;
    size_t lost = executr_runner_unkillable(worker->runner);

    return lost < slots ? slots - lost : 0;
}

void ex_worker_ran(executr_worker *worker, int64_t us)
{
    if (worker->mean_run_us == 0)
        worker->mean_run_us = us;
    worker->mean_run_us += (us - worker->mean_run_us) / WEIGHT;
    if (worker->mean_run_us <= 0)
        worker->mean_run_us = 1;
}

/* Beyond the slots. While binaries are fetched, nobody knows how long what is
 * held will take. */
static size_t spare(const executr_worker *worker)
{
    if (worker->mean_run_us == 0 || worker->lists[EX_WORK_FETCHING].count > 0)
        return 0;
    int64_t count = worker->options.max_jobs * HORIZON_US / worker->mean_run_us;
    return count < MOST_SPARE ? (size_t)count : MOST_SPARE;
}

/* Half of the spare ones are claimed at a time: less would be many claims, more
 * would leave the last ones little time to come. */
size_t ex_worker_room(const executr_worker *worker)
{
    size_t ended = worker->lists[EX_WORK_ENDED].count;
    size_t active = worker->held - ended;
    size_t slots = slots_of(worker);
    size_t more = slots > 0 ? spare(worker) : 0;

    if (ended >= MOST_ENDED || worker->ended_bytes >= MOST_ENDED_BYTES)
        return 0;
    return active < slots + (more + 1) / 2 ? slots + more - active : 0;
}

/* ---- The line. */

static int has_slot(const executr_worker *worker)
{
    return worker->lists[EX_WORK_RUNNING].count < slots_of(worker);
}

void ex_work_ready(executr_worker *worker, ex_work *work)
{
    if (worker->lists[EX_WORK_READY].count == 0 && has_slot(worker)) {
        ex_work_start(worker, work);
    } else if (worker->stopping) {
        ex_work_return(worker, work, EX_STOPPING);
    } else {
        ex_work_move(worker, work, EX_WORK_READY);
        work->since_us = ex_boottime_us();
    }
}

void ex_worker_fill(executr_worker *worker)
{
    while (worker->lists[EX_WORK_READY].first && has_slot(worker))
        ex_work_resume(worker, worker->lists[EX_WORK_READY].first);
}

void ex_worker_return_line(executr_worker *worker, const char *why)
{
    while (worker->lists[EX_WORK_READY].first)
        ex_work_return(worker, worker->lists[EX_WORK_READY].first, why);
}

/* The first one that stands beyond the slots, in line or for a thread that
 * fetches; NULL: none. */
static ex_work *first_spare(const executr_worker *worker)
{
    ex_work *work = worker->lists[EX_WORK_READY].first;
    size_t fetches = worker->lists[EX_WORK_FETCHING].count;

    if (work || fetches <= (size_t)worker->options.max_jobs)
        return work;
    work = worker->lists[EX_WORK_FETCHING].first;
    for (int32_t i = 0; i < worker->options.max_jobs; i++)
        work = work->after;
    return work;
}

int64_t ex_worker_line_due_us(const executr_worker *worker)
{
    const ex_work *work = first_spare(worker);

    return work ? work->since_us + PATIENCE_US : EX_NEVER_US;
}

void ex_worker_keep_line(executr_worker *worker, int64_t now_us)
{
    while (ex_worker_line_due_us(worker) <= now_us) {
        worker->mean_run_us = LONG_US;
        ex_work_return(
            worker, first_spare(worker),
            "no slot became free for it on this executor");
    }
}
