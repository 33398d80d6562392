/* SPDX-License-Identifier: MIT */
/* Gathers concurrent calls into batches; hides who runs them and how a batch
 * that fails is taken apart. */
#include "group.h"

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>

#include "base/fail.h"

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
 * Invariant under the lock: callers wait in the line only while `leaders`
 * equals `parallel`. Whoever finds a free place leads; a leader that stops
 * hands its place to the first in the line, or gives it up if none is there.
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
        all->callers[all->count] = next;
        all->items[all->count++] = next->item;
        group->first = next->next;
    }
    if (!group->first)
        group->last = &group->first;
    pthread_mutex_unlock(&group->lock);
}

/*
 * Run one batch, then pass the place on. Its new holder is taken off the line
 * before it is told, so no other leader can end its call meanwhile.
 */
static void lead(ex_group *group, caller *self)
{
    batch all;
    executr_error error;

    gather(group, self, &all);
    ex_ignore(run_part(group, &all, 0, all.count, &error));
    pthread_mutex_lock(&group->lock);
    caller *heir = group->first;
    if (heir)
        group->first = heir->next;
    else
        group->leaders--;
    if (!group->first)
        group->last = &group->first;
    pthread_mutex_unlock(&group->lock);
    if (heir)
        sem_post(&heir->turn);
    for (size_t i = 1; i < all.count; i++) {
        all.callers[i]->done = 1;
        sem_post(&all.callers[i]->turn);
    }
}

executr_status ex_group_call(ex_group *group, void *item, executr_error *err)
{
    caller self = {.item = item, .weight = 1, .err = err};

    if (group->weigh)
        self.weight = group->weigh(item);
    pthread_mutex_lock(&group->lock);
    int32_t leads = group->leaders < group->parallel;
    if (leads) {
        group->leaders++;
    } else {
        sem_init(&self.turn, 0, 0);
        *group->last = &self;
        group->last = &self.next;
    }
    pthread_mutex_unlock(&group->lock);
    if (!leads) {
        while (sem_wait(&self.turn))
            continue; /* interrupted by a signal handler */
        sem_destroy(&self.turn);
    }
    if (!self.done)
        lead(group, &self);
    return self.status;
}
