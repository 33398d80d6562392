/* SPDX-License-Identifier: MIT */
/* Waiting claims, upkeep and health, on a store that can be scripted. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "support/claims.h"

TestSuite(queue_wait, .init = open_default, .fini = close_all);

Test(queue_wait, ends_when_a_job_comes)
{
    waiting one[1] = {0};

    start(one, 1);
    submit_many("a", 1);
    cr_assert_eq(finish(one, 1), 1);
}

Test(queue_wait, ends_empty_at_its_time)
{
    waiting one = {.wait_ms = 20};

    claim_in_thread(&one);
    cr_assert_eq(one.status, EXECUTR_OK);
    cr_assert_eq(one.got, 0);
}

Test(queue_wait, takes_a_job_that_is_there_already)
{
    waiting one = {0};

    submit_many("a", 1);
    claim_in_thread(&one);
    cr_assert_eq(one.got, 1);
    cr_assert_eq(memory_store_read(store, &store->claim_requests), 1);
}

Test(queue_wait, of_all_but_one_goes_on_when_one_job_comes)
{
    waiting all[8] = {0};

    start(all, 8);
    cr_assert_eq(memory_store_read(store, &store->claim_requests), 8);
    submit_many("a", 1);
    while (asleep() > 7)
        usleep(1000);
    executr_queue_drain(queue);
    cr_assert_eq(finish(all, 8), 1);
    cr_assert_eq(memory_store_read(store, &store->claim_requests), 8);
}

Test(queue_wait, ends_for_as_many_as_there_are_jobs)
{
    waiting all[20] = {0};

    start(all, 20);
    submit_many("a", 12);
    submit_many("a", 8);
    cr_assert_eq(finish(all, 20), 20);
    for (size_t i = 0; i < 20; i++)
        cr_assert_eq(all[i].got, 1);
}

Test(queue_wait, of_many_jobs_ends_once_for_all_of_them)
{
    waiting all[4] = {
        {.max_jobs = 8}, {.max_jobs = 8}, {.max_jobs = 8}, {.max_jobs = 8}};

    start(all, 4);
    submit_many("a", 8);
    while (asleep() > 3)
        usleep(1000);
    cr_assert_eq(asleep(), 3, "more waiters were woken than needed");
    submit_many("a", 20);
    cr_assert_eq(finish(all, 4), 28);
}

Test(queue_wait, of_many_jobs_passes_on_what_it_had_no_room_for)
{
    waiting all[5] = {
        {.max_jobs = 3},
        {.max_jobs = 3},
        {.max_jobs = 3},
        {.max_jobs = 3},
        {.max_jobs = 3}};

    start(all, 5);
    submit_many("a", 1);
    submit_many("a", 14);
    cr_assert_geq(finish(all, 5), 13);
    for (size_t i = 0; i < 5; i++)
        cr_assert_gt(all[i].got, 0);
}

Test(queue_wait, is_not_disturbed_by_jobs_of_other_types)
{
    waiting a[3] = {{.type = "a"}, {.type = "a"}, {.type = "a"}};
    waiting b[1] = {{.type = "b"}};

    start(a, 3);
    start(b, 1);
    submit_many("b", 1);
    cr_assert_eq(finish(b, 1), 1);
    cr_assert_str_eq(b[0].got_type, "b");
    cr_assert_eq(asleep(), 3);
    cr_assert_eq(memory_store_read(store, &store->claim_requests), 4);
    executr_queue_drain(queue);
    cr_assert_eq(finish(a, 3), 0);
}

Test(queue_wait, passes_word_on_when_it_was_for_another_job)
{
    waiting any[1] = {0};
    waiting b[1] = {{.type = "b"}};

    store->declines = 1;
    start(any, 1);
    start(b, 1);
    /* The first is told of b, but takes the older job that nobody told. */
    memory_store_slip_in(store, "a");
    submit_many("b", 1);
    cr_assert_eq(finish(any, 1), 1);
    cr_assert_str_eq(any[0].got_type, "a");
    cr_assert_eq(finish(b, 1), 1);
}

Test(queue_wait, spreads_unannounced_jobs_over_all)
{
    waiting all[10] = {0};

    start(all, 10);
    for (int i = 0; i < 10; i++)
        memory_store_slip_in(store, "a");
    ex_queue_wake_any(queue);
    cr_assert_eq(finish(all, 10), 10);
}

Test(queue_wait, of_every_filter_hears_of_unannounced_jobs)
{
    waiting a[2] = {{.type = "a"}, {.type = "a"}};
    waiting b[2] = {{.type = "b"}, {.type = "b"}};

    start(a, 2);
    start(b, 2);
    memory_store_slip_in(store, "b");
    memory_store_slip_in(store, "b");
    ex_queue_wake_any(queue);
    cr_assert_eq(finish(b, 2), 2);
    executr_queue_drain(queue);
    cr_assert_eq(finish(a, 2), 0);
}

Test(queue_wait, ends_when_the_queue_is_drained)
{
    waiting all[5] = {0};
    waiting late = {0};

    start(all, 5);
    executr_queue_drain(queue);
    cr_assert_eq(finish(all, 5), 0);
    claim_in_thread(&late);
    cr_assert_eq(late.got, 0);
}

/* The one waiter asks the store, which does not answer yet. */
static void wake_behind_lock(void)
{
    ex_waiter *listed = NULL;

    pthread_mutex_lock(&store->lock);
    ex_queue_wake_any(queue);
    while (!listed || asleep() > 0) {
        pthread_mutex_lock(&queue->lock);
        listed = queue->first;
        pthread_mutex_unlock(&queue->lock);
        usleep(100);
    }
}

Test(queue_wait, ends_with_its_executor_though_it_was_told_of_jobs)
{
    waiting one[1] = {0};

    start(one, 1);
    wake_behind_lock();
    ex_queue_wake_any(queue);
    ex_queue_unpark(queue, "tester");
    pthread_mutex_unlock(&store->lock);
    cr_assert_eq(finish(one, 1), 0);
    cr_assert_eq(store->claim_requests, 2);
    cr_assert_null(queue->waiters);
}

Test(queue_wait, gives_back_what_comes_after_its_executor_left)
{
    waiting one[1] = {0};

    start(one, 1);
    memory_store_slip_in(store, "a");
    wake_behind_lock();
    ex_queue_unpark(queue, "tester");
    pthread_mutex_unlock(&store->lock);
    cr_assert_eq(finish(one, 1), 0);
    cr_assert_eq(store->job_count, 1);
    cr_assert_eq(store->jobs[0].claimed, 0);
}

Test(queue_wait, fails_with_the_store_and_leaves_no_trace)
{
    waiting one = {0};

    memory_store_fail(store, EXECUTR_E_UNAVAILABLE);
    claim_in_thread(&one);
    cr_assert_eq(one.status, EXECUTR_E_UNAVAILABLE);
    cr_assert_eq(queue->parked, 0);
    cr_assert_null(queue->first);
    cr_assert_null(queue->waiters);
    cr_assert_eq(executr_queue_healthy(queue), 0);
}

TestSuite(queue_limits, .fini = close_all);

Test(queue_limits, park_no_more_than_allowed)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;
    waiting first[1] = {0};
    waiting second = {0};

    options.max_parked = 1;
    open_queue(options);
    start(first, 1);
    claim_in_thread(&second);
    cr_assert_eq(second.status, EXECUTR_OK);
    cr_assert_eq(second.got, 0);
    submit_many("a", 1);
    cr_assert_eq(finish(first, 1), 1);
}

Test(queue_limits, are_refused_when_negative)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;
    executr_error err;

    open_default();
    executr_queue *none = queue;
    options.max_parked = -1;
    cr_assert_eq(
        executr_queue_open(&store->base, &options, &none, &err),
        EXECUTR_E_ARGUMENT);
    cr_assert_str_eq(err.field, "max_parked");
    cr_assert_null(none);
}

static size_t wait_for(const size_t *field, size_t value)
{
    while (memory_store_read(store, field) < value)
        usleep(1000);
    return memory_store_read(store, field);
}

TestSuite(queue_upkeep, .fini = close_all);

Test(queue_upkeep, wakes_waiters_when_something_is_claimable)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;
    waiting one[1] = {0};

    options.poll_interval_ms = 5;
    open_queue(options);
    start(one, 1);
    memory_store_slip_in(store, "a");
    pthread_mutex_lock(&store->lock);
    store->upkeep.claimable = 1;
    pthread_mutex_unlock(&store->lock);
    cr_assert_eq(finish(one, 1), 1);
}

Test(queue_upkeep, wakes_waiters_on_word_from_others)
{
    waiting one[1] = {0};

    open_default();
    start(one, 1);
    pthread_mutex_lock(&store->lock);
    while (!store->parked) { /* the sleeper makes upkeep announce it */
        pthread_mutex_unlock(&store->lock);
        usleep(100);
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    memory_store_slip_in(store, "a");
    pthread_mutex_lock(&store->lock);
    store->told = 1;
    pthread_mutex_unlock(&store->lock);
    ex_queue_poke(queue);
    cr_assert_eq(finish(one, 1), 1);
}

Test(queue_upkeep, takes_no_lease_before_a_quiet_timeout)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;

    options.poll_interval_ms = 1;
    options.heartbeat_timeout_ms = LONG_MS;
    open_queue(options);
    wait_for(&store->upkeeps, 20);
    cr_assert_eq(memory_store_read(store, &store->reaps), 0);
}

Test(queue_upkeep, takes_leases_after_it)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;

    options.poll_interval_ms = 1;
    options.heartbeat_timeout_ms = 200;
    open_queue(options);
    wait_for(&store->reaps, 1);
    cr_assert_geq(memory_store_read(store, &store->upkeeps), 2);
}

Test(queue_upkeep, begins_the_quiet_time_again_when_the_store_is_back)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;

    options.poll_interval_ms = 1;
    options.heartbeat_timeout_ms = 100;
    open_queue(options);
    wait_for(&store->reaps, 1);
    int64_t before = atomic_load(&queue->quiet_from_us);
    memory_store_fail(store, EXECUTR_E_TIMEOUT);
    while (executr_queue_healthy(queue))
        usleep(1000);
    memory_store_fail(store, EXECUTR_OK);
    while (!executr_queue_healthy(queue))
        usleep(1000);
    cr_assert_gt(atomic_load(&queue->quiet_from_us), before);
    wait_for(&store->reaps, memory_store_read(store, &store->reaps) + 1);
}

Test(queue_upkeep, cleans_up_in_batches_until_done)
{
    store = NULL;
    open_default();
    wait_for(&store->cleanups, 1);
    executr_queue_free(queue);
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;
    options.poll_interval_ms = 1;
    store->cleanups = 0;
    store->full_cleanups = 3;
    cr_assert_eq(
        executr_queue_open(&store->base, &options, &queue, NULL), EXECUTR_OK);
    wait_for(&store->cleanups, 4);
    wait_for(&store->upkeeps, memory_store_read(store, &store->upkeeps) + 5);
    cr_assert_eq(memory_store_read(store, &store->cleanups), 4);
}
