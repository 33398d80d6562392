/* SPDX-License-Identifier: MIT */
/* Grouping of concurrent calls: who runs them, in what batches, and what a
 * failure does to whom. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "group.h"

#define THREADS 16
#define CALLS 500

/* A batch runner that counts, and holds its first batch at a gate so that
 * others must gather behind it. */
typedef struct bench {
    ex_group *group;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int32_t closed; /* the gate */
    int32_t held;   /* batches that stand at it */
    int32_t inside; /* batches under way */
    int32_t most;   /* the most at one time */
    size_t batches;
    size_t largest;
    size_t items;
    executr_status everyones; /* fails every batch */
} bench;

typedef struct work {
    bench *bench;
    pthread_t thread;
    size_t weight;
    int32_t bad; /* fails every batch that holds it */
    int32_t runs;
    executr_status status;
    executr_error err;
} work;

static void bench_init(bench *b)
{
    memset(b, 0, sizeof *b);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
}

static void enter(bench *b, size_t count)
{
    pthread_mutex_lock(&b->lock);
    b->batches++;
    b->items += count;
    b->inside++;
    if (b->inside > b->most)
        b->most = b->inside;
    if (count > b->largest)
        b->largest = count;
    b->held++;
    pthread_cond_broadcast(&b->changed);
    while (b->closed)
        pthread_cond_wait(&b->changed, &b->lock);
    b->held--;
    b->inside--;
    pthread_mutex_unlock(&b->lock);
}

static executr_status run(
    void *ctx, void *const *items, size_t count, executr_error *err)
{
    bench *b = ctx;

    enter(b, count);
    for (size_t i = 0; i < count; i++) {
        const work *w = items[i];
        if (w->bad)
            return ex_fail(err, EXECUTR_E_CONFLICT, "a bad item");
    }
    if (b->everyones)
        return ex_fail(err, b->everyones, "nobody is served");
    for (size_t i = 0; i < count; i++)
        ((work *)items[i])->runs++;
    return EXECUTR_OK;
}

static size_t weigh(const void *item)
{
    return ((const work *)item)->weight;
}

static void *call(void *ctx)
{
    work *w = ctx;

    w->status = ex_group_call(w->bench->group, w, &w->err);
    return NULL;
}

static void gate(bench *b, int32_t closed)
{
    pthread_mutex_lock(&b->lock);
    b->closed = closed;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void wait_for_held(bench *b, int32_t count)
{
    pthread_mutex_lock(&b->lock);
    while (b->held < count)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

/* The last thing a call does before it lines up; a moment later it stands
 * there. (Should one be late all the same, it comes in a batch of its own, and
 * no test below minds that.) */
static atomic_int weighed;

static size_t weigh_and_tell(const void *item)
{
    atomic_fetch_add(&weighed, 1);
    return weigh(item);
}

/* Start calls, the first of which stands at the gate so that the others line
 * up behind it. */
static void call_together(bench *b, work *all, size_t count)
{
    gate(b, 1);
    for (size_t i = 0; i < count; i++) {
        all[i].bench = b;
        pthread_create(&all[i].thread, NULL, call, &all[i]);
        if (i == 0)
            wait_for_held(b, 1);
    }
    while (atomic_load(&weighed) < (int)count)
        sched_yield();
    usleep(20000);
    gate(b, 0);
    for (size_t i = 0; i < count; i++)
        pthread_join(all[i].thread, NULL);
}

Test(group_call, runs_a_lone_call_as_a_batch_of_one)
{
    bench b;
    work w = {.bench = &b};

    bench_init(&b);
    cr_assert_eq(ex_group_open(run, &b, 1, 10, NULL, &b.group, NULL), 0);
    call(&w);
    cr_assert_eq(w.status, EXECUTR_OK);
    cr_assert_eq(w.runs, 1);
    cr_assert_eq(b.batches, 1);
    ex_group_free(b.group);
}

Test(group_call, hands_each_failure_to_its_caller)
{
    bench b;
    work w = {.bench = &b, .bad = 1};

    bench_init(&b);
    cr_assert_eq(ex_group_open(run, &b, 1, 10, NULL, &b.group, NULL), 0);
    call(&w);
    cr_assert_eq(w.status, EXECUTR_E_CONFLICT);
    cr_assert_str_eq(w.err.message, "a bad item");
    ex_group_free(b.group);
}

Test(group_call, gathers_what_waits_within_the_limit)
{
    bench b;
    work all[THREADS] = {0};

    bench_init(&b);
    for (size_t i = 0; i < THREADS; i++)
        all[i].weight = 10;
    cr_assert_eq(
        ex_group_open(run, &b, 1, 40, weigh_and_tell, &b.group, NULL), 0);
    call_together(&b, all, THREADS);
    cr_assert_leq(b.largest, 4);
    cr_assert_eq(b.items, THREADS);
    cr_assert_lt(b.batches, THREADS);
    for (size_t i = 0; i < THREADS; i++)
        cr_assert_eq(all[i].runs, 1);
    ex_group_free(b.group);
}

Test(group_call, runs_what_is_heavier_than_the_limit_alone)
{
    bench b;
    work all[4] = {
        {.weight = 1}, {.weight = 100}, {.weight = 100}, {.weight = 1}};

    bench_init(&b);
    cr_assert_eq(
        ex_group_open(run, &b, 1, 40, weigh_and_tell, &b.group, NULL), 0);
    call_together(&b, all, 4);
    cr_assert_eq(b.items, 4);
    for (size_t i = 0; i < 4; i++)
        cr_assert(all[i].status == EXECUTR_OK && all[i].runs == 1);
    ex_group_free(b.group);
}

Test(group_call, fails_the_bad_item_alone)
{
    bench b;
    work all[THREADS] = {0};

    bench_init(&b);
    all[5].bad = 1;
    all[11].bad = 1;
    cr_assert_eq(
        ex_group_open(run, &b, 1, 1000, weigh_and_tell, &b.group, NULL), 0);
    call_together(&b, all, THREADS);
    cr_assert_gt(b.largest, 2);
    for (size_t i = 0; i < THREADS; i++) {
        cr_assert_eq(
            all[i].status, all[i].bad ? EXECUTR_E_CONFLICT : EXECUTR_OK);
        cr_assert_eq(all[i].runs, all[i].bad ? 0 : 1);
    }
    ex_group_free(b.group);
}

Test(group_call, fails_all_at_once_when_nobody_is_to_blame)
{
    bench b;
    work all[THREADS] = {0};

    bench_init(&b);
    b.everyones = EXECUTR_E_UNAVAILABLE;
    cr_assert_eq(
        ex_group_open(run, &b, 1, 1000, weigh_and_tell, &b.group, NULL), 0);
    call_together(&b, all, THREADS);
    cr_assert_eq(b.items, THREADS); /* nothing was run again */
    for (size_t i = 0; i < THREADS; i++) {
        cr_assert_eq(all[i].status, EXECUTR_E_UNAVAILABLE);
        cr_assert_str_eq(all[i].err.message, "nobody is served");
    }
    ex_group_free(b.group);
}

static void *call_often(void *ctx)
{
    work *w = ctx;

    for (int i = 0; i < CALLS; i++) {
        call(w);
        if (w->status)
            return w;
    }
    return NULL;
}

Test(group_call, serves_every_call_once_under_load)
{
    bench b;
    work all[THREADS] = {0};
    void *failed;

    bench_init(&b);
    cr_assert_eq(ex_group_open(run, &b, 3, 5, NULL, &b.group, NULL), 0);
    for (size_t i = 0; i < THREADS; i++) {
        all[i].bench = &b;
        pthread_create(&all[i].thread, NULL, call_often, &all[i]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(all[i].thread, &failed);
        cr_assert_null(failed);
        cr_assert_eq(all[i].runs, CALLS);
    }
    cr_assert_eq(b.items, THREADS * CALLS);
    cr_assert_leq(b.most, 3);
    ex_group_free(b.group);
}

/* The first batch stands at the gate as a statement that hangs would. */
Test(group_call, goes_past_a_batch_that_hangs, .timeout = 30)
{
    bench b;
    work first = {.bench = &b};
    work second = {.bench = &b};

    bench_init(&b);
    cr_assert_eq(ex_group_open(run, &b, 2, 1000, NULL, &b.group, NULL), 0);
    gate(&b, 1);
    pthread_create(&first.thread, NULL, call, &first);
    wait_for_held(&b, 1);
    pthread_create(&second.thread, NULL, call, &second);
    wait_for_held(&b, 2);
    gate(&b, 0);
    pthread_join(first.thread, NULL);
    pthread_join(second.thread, NULL);
    cr_assert_eq(first.runs + second.runs, 2);
    cr_assert_eq(b.batches, 2);
    ex_group_free(b.group);
}
