/* SPDX-License-Identifier: MIT */
/* Gathers concurrent calls into batches; hides who runs them and how a batch
 * that fails is taken apart. */
#include "group.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "base/fail.h"

/* One batch beside another is worth it when it is this part of the largest. */
#define WORTH 32

/* So long a call waits behind a batch that does not end. */
#define PATIENCE_NS (20 * 1000 * 1000)

/*
 * One call. It lies on its caller's stack: whoever posts `turn` must not touch
 * it afterwards. Off the line and before that post, the leader that took it
 * has it to itself; after it, its owner.
 */
typedef struct caller {
    struct caller *next;
    void *item;
    size_t weight;
    sem_t turn;   /* posted when done, or when it shall lead */
    int32_t done; /* somebody else's batch held it */
    executr_status status;
    executr_error *err;
} caller;

/*
 * Invariant under the lock: callers wait in the line only while there is a
 * leader. A leader that stops hands its place to the first in the line, or
 * gives it up if none is there. Further places (up to `parallel`) are taken
 * when the line has become heavy, or when a caller lost patience: small batches
 * side by side cost more than one that is larger, but a batch that hangs must
 * not hold up everybody.
 */
struct ex_group {
    ex_group_run run;
    void *ctx;
    size_t (*weigh)(const void *item);
    size_t limit;
    int32_t parallel;
    pthread_mutex_t lock;
    int32_t leaders;
    caller *first;
    caller **last;
    size_t line; /* weight of those in the line */
};

executr_status ex_group_open(
    ex_group_run run, void *ctx, int32_t parallel, size_t limit,
    size_t (*weigh)(const void *item), ex_group **out, executr_error *err)
{
    void *memory;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof **out, err);
    if (st)
        return st;
    ex_group *group = memory;
    group->run = run;
    group->ctx = ctx;
    group->weigh = weigh;
    group->limit = limit;
    group->parallel = parallel > 0 ? parallel : 1;
    group->last = &group->first;
    int rc = pthread_mutex_init(&group->lock, NULL);
    if (rc) {
        ex_free(group);
        return ex_fail_errno(err, rc, "cannot make a lock");
    }
    *out = group;
    return EXECUTR_OK;
}

void ex_group_free(ex_group *group)
{
    if (!group)
        return;
    assert(!group->first && !group->leaders);
    pthread_mutex_destroy(&group->lock);
    ex_free(group);
}

static int32_t is_everyones(executr_status status)
{
    return status == EXECUTR_E_UNAVAILABLE || status == EXECUTR_E_TIMEOUT ||
           status == EXECUTR_E_NOMEM;
}

static void set_all(
    caller **callers, size_t count, executr_status status,
    const executr_error *err)
{
    for (size_t i = 0; i < count; i++) {
        callers[i]->status = status;
        if (status && callers[i]->err)
            *callers[i]->err = *err;
    }
}

/* Callers and their items, side by side. */
typedef struct batch {
    caller *callers[EX_GROUP_MAX];
    void *items[EX_GROUP_MAX];
    size_t count;
} batch;

/*
 * Run `count` calls of a batch; after a failure that one item may have caused,
 * each half by itself. The recursion is as deep as EX_GROUP_MAX has bits.
 */
static executr_status run_part(
    ex_group *group, batch *all, size_t from, size_t count, executr_error *err)
{
    executr_status st = group->run(group->ctx, all->items + from, count, err);

    if (!st || count == 1 || is_everyones(st)) {
        set_all(all->callers + from, count, st, err);
        return st;
    }
    size_t half = count / 2;
    st = run_part(group, all, from, half, err);
    if (is_everyones(st)) {
        set_all(all->callers + from + half, count - half, st, err);
        return st;
    }
    return run_part(group, all, from + half, count - half, err);
}

static void line_up(ex_group *group, caller *self)
{
    *group->last = self;
    group->last = &self->next;
    group->line += self->weight;
}

/* Take a caller off the line; `link` is what points at it. */
static caller *take(ex_group *group, caller **link)
{
    caller *taken = *link;

    *link = taken->next;
    if (!taken->next)
        group->last = link;
    group->line -= taken->weight;
    return taken;
}

/* Make a batch of `self` and those in the line that fit beside it. */
static void gather(ex_group *group, caller *self, batch *all)
{
    size_t weight = self->weight;

    all->callers[0] = self;
    all->items[0] = self->item;
    all->count = 1;
    pthread_mutex_lock(&group->lock);
    while (group->first && all->count < EX_GROUP_MAX) {
        caller *next = group->first;
        if (weight > group->limit || next->weight > group->limit - weight)
            break;
        weight += next->weight;
        all->callers[all->count] = take(group, &group->first);
        all->items[all->count++] = next->item;
    }
    pthread_mutex_unlock(&group->lock);
}

/*
 * Run one batch, then pass the place on. Its new holder is taken off the line
 * before it is told, so no other leader can end its call meanwhile. It is told
 * last: those that were served may be back with their next calls by then, and
 * one batch of many costs less than two of few.
 */
static void lead(ex_group *group, caller *self)
{
    batch all;
    executr_error error;

    gather(group, self, &all);
    ex_ignore(run_part(group, &all, 0, all.count, &error));
    pthread_mutex_lock(&group->lock);
    caller *heir = group->first ? take(group, &group->first) : NULL;
    if (!heir)
        group->leaders--;
    pthread_mutex_unlock(&group->lock);
    for (size_t i = 1; i < all.count; i++) {
        all.callers[i]->done = 1;
        sem_post(&all.callers[i]->turn);
    }
    if (heir)
        sem_post(&heir->turn);
}

/* 1 if it leads at once; else it stands in the line. */
static int32_t enter(ex_group *group, caller *self)
{
    pthread_mutex_lock(&group->lock);
    int32_t leads =
        group->leaders == 0 || (group->leaders < group->parallel &&
                                group->line >= group->limit / WORTH);
    if (leads) {
        group->leaders++;
    } else {
        sem_init(&self->turn, 0, 0);
        line_up(group, self);
    }
    pthread_mutex_unlock(&group->lock);
    return leads;
}

/* After a while in the line: 1 if it still stands there and leads now. */
static int32_t step_out(ex_group *group, caller *self)
{
    caller **link = &group->first;

    pthread_mutex_lock(&group->lock);
    while (*link && *link != self)
        link = &(*link)->next;
    int32_t leads = *link && group->leaders < group->parallel;
    if (leads) {
        take(group, link);
        self->next = NULL;
        group->leaders++;
    }
    pthread_mutex_unlock(&group->lock);
    return leads;
}

/* Until its batch is done, or it shall lead. */
static void wait_in_line(ex_group *group, caller *self)
{
    struct timespec until;
    int rc = -1;

    if (group->parallel > 1) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PATIENCE_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        do {
            rc = sem_timedwait(&self->turn, &until);
        } while (rc && errno == EINTR);
        if (rc && step_out(group, self))
            rc = 0;
    }
    while (rc)
        rc = sem_wait(&self->turn); /* interrupted by a signal handler */
    sem_destroy(&self->turn);
}

executr_status ex_group_call(ex_group *group, void *item, executr_error *err)
{
    caller self = {.item = item, .weight = 1, .err = err};

    if (group->weigh)
        self.weight = group->weigh(item);
    if (!enter(group, &self))
        wait_in_line(group, &self);
    if (!self.done)
        lead(group, &self);
    return self.status;
}
