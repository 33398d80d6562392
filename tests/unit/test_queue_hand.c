/* SPDX-License-Identifier: MIT */
/* Jobs that go to sleeping claims past the queue. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "support/claims.h"

#define SHA "9F86D081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

TestSuite(queue_hand, .init = open_default, .fini = close_all);

static size_t asked(void)
{
    return memory_store_read(store, &store->claim_requests);
}

static executr_job_spec full_spec(void)
{
    static const char *const arguments[] = {"-v", "a \"b\""};
    static const char *const environment[] = {"K=v"};
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.type = "whole";
    spec.binary_url = "http://example.com/tool";
    spec.binary_sha256 = SHA;
    spec.arguments = arguments;
    spec.argument_count = 2;
    spec.environment = environment;
    spec.environment_count = 1;
    spec.priority = EXECUTR_PRIORITY_FOREGROUND;
    spec.max_retries = 4;
    spec.exclusive = 1;
    spec.timeout_ms = 1234;
    return spec;
}

Test(queue_hand, makes_the_whole_record)
{
    executr_jobs *got = NULL;
    waiting one[1] = {{.keep = &got, .offers = EXECUTR_OFFER_TIMEOUT}};
    executr_job_spec spec = full_spec();
    const executr_job_spec *specs[] = {&spec};
    executr_jobs *submitted;
    executr_error err;

    start(one, 1);
    cr_assert_eq(
        executr_queue_submit(queue, specs, 1, NULL, &submitted, &err),
        EXECUTR_OK);
    cr_assert_eq(finish(one, 1), 1);
    cr_assert_eq(asked(), 1, "it asked the store for what it was given");
    const executr_job *job = executr_jobs_at(got, 0);
    const executr_job *same = executr_jobs_at(submitted, 0);
    cr_expect_str_eq(executr_job_id(job), executr_job_id(same));
    cr_expect_eq(executr_job_status(job), EXECUTR_JOB_RUNNING);
    cr_expect_eq(job->attempt, 1);
    cr_expect_str_eq(job->executor_id, "tester");
    cr_expect_str_eq(job->type, "whole");
    cr_expect_str_eq(job->binary_url, "http://example.com/tool");
    cr_expect_str_eq(job->binary_sha256, same->binary_sha256);
    cr_expect_eq(job->argument_count, 2);
    cr_expect_str_eq(job->arguments[1], "a \"b\"");
    cr_expect_eq(job->environment_count, 1);
    cr_expect_str_eq(job->environment[0], "K=v");
    cr_expect_eq(job->priority, EXECUTR_PRIORITY_FOREGROUND);
    cr_expect_eq(job->max_retries, 4);
    cr_expect_eq(job->exclusive, 1);
    cr_expect_eq(job->timeout_ms, 1234);
    cr_expect_gt(job->created_at_us, 0);
    cr_expect_eq(job->started_at_us, job->created_at_us);
    cr_expect_eq(executr_job_status(same), EXECUTR_JOB_PENDING);
    executr_jobs_free(submitted);
    executr_jobs_free(got);
}

Test(queue_hand, leaves_what_nobody_has_room_for)
{
    waiting all[3] = {{.max_jobs = 2}, {.max_jobs = 1}, {.max_jobs = 3}};
    waiting late = {.max_jobs = 9};

    start(all, 3);
    submit_many("a", 8);
    cr_assert_eq(finish(all, 3), 6);
    cr_assert_eq(asked(), 3);
    claim_in_thread(&late);
    cr_assert_eq(late.got, 2);
}

Test(queue_hand, gives_everybody_what_it_takes)
{
    waiting a[1] = {{.type = "a", .max_jobs = 9}};
    waiting b[1] = {{.type = "b", .max_jobs = 9}};
    executr_job_spec specs[7];
    const executr_job_spec *list[7];
    executr_jobs *jobs;

    start(a, 1);
    start(b, 1);
    for (int i = 0; i < 7; i++) {
        specs[i] = full_spec();
        specs[i].type = i % 2 ? "b" : i == 4 ? "c" : "a";
        specs[i].timeout_ms = i == 6 ? 1000 : 0; /* which nobody offers */
        list[i] = &specs[i];
    }
    cr_assert_eq(
        executr_queue_submit(queue, list, 7, NULL, &jobs, NULL), EXECUTR_OK);
    executr_jobs_free(jobs);
    cr_assert_eq(finish(a, 1), 2);
    cr_assert_str_eq(a[0].got_type, "a");
    cr_assert_eq(finish(b, 1), 3);
    cr_assert_str_eq(b[0].got_type, "b");
    cr_assert_eq(asked(), 2);
}

Test(queue_hand, goes_through_the_queue_when_the_store_declines)
{
    waiting all[2] = {{.max_jobs = 2}, {.max_jobs = 2}};

    store->declines = 1;
    start(all, 2);
    submit_many("a", 4);
    cr_assert_eq(finish(all, 2), 4);
    cr_assert_eq(asked(), 4);
}

/* What was refused runs for nobody, and whoever waited for it waits on. */
Test(queue_hand, does_not_keep_a_claim_for_a_refused_job)
{
    waiting one[1] = {{.max_jobs = 5}};
    executr_job_spec specs[3] = {full_spec(), full_spec(), full_spec()};
    const executr_job_spec *list[] = {&specs[0], &specs[1], &specs[2]};
    executr_status results[3];
    executr_jobs *jobs;

    specs[1].binary_url = NULL; /* not stored either */
    one[0].offers = EXECUTR_OFFER_TIMEOUT;
    start(one, 1);
    cr_assert_eq(
        executr_queue_submit(queue, list + 1, 1, results, &jobs, NULL),
        EXECUTR_OK);
    cr_assert_eq(results[0], EXECUTR_E_ARGUMENT);
    executr_jobs_free(jobs);
    cr_assert_eq(
        executr_queue_submit(queue, list, 3, results, &jobs, NULL), EXECUTR_OK);
    cr_assert_eq(executr_jobs_count(jobs), 2);
    executr_jobs_free(jobs);
    cr_assert_eq(finish(one, 1), 2);
    cr_assert_eq(asked(), 1, "it was woken for nothing");
}

/* It sleeps on, and can be given other jobs. */
Test(queue_hand, a_submission_that_fails_gives_nothing)
{
    waiting one[1] = {0};

    start(one, 1);
    memory_store_fail(store, EXECUTR_E_CONFLICT);
    cr_assert_eq(try_submit("a", 1), EXECUTR_E_CONFLICT);
    cr_assert_eq(asked(), 1);
    cr_assert_eq(asleep(), 1);
    memory_store_fail(store, EXECUTR_OK);
    submit_many("b", 1);
    cr_assert_eq(finish(one, 1), 1);
    cr_assert_str_eq(one[0].got_type, "b");
    cr_assert_eq(asked(), 1);
}

/* The first one in time is not the first one to run. */
Test(queue_hand, goes_by_priority)
{
    waiting one[1] = {{.max_jobs = 2, .offers = EXECUTR_OFFER_TIMEOUT}};
    executr_job_spec specs[4] = {
        full_spec(), full_spec(), full_spec(), full_spec()};
    const executr_job_spec *list[4];
    executr_jobs *got = NULL;
    executr_jobs *jobs;

    specs[0].priority = EXECUTR_PRIORITY_BEST_EFFORT;
    specs[1].priority = EXECUTR_PRIORITY_BACKGROUND;
    specs[2].priority = EXECUTR_PRIORITY_BACKGROUND;
    for (int i = 0; i < 4; i++)
        list[i] = &specs[i];
    one[0].keep = &got;
    start(one, 1);
    cr_assert_eq(
        executr_queue_submit(queue, list, 4, NULL, &jobs, NULL), EXECUTR_OK);
    cr_assert_eq(finish(one, 1), 2);
    cr_expect_str_eq(got->items[0]->id, jobs->items[3]->id);
    cr_expect_str_eq(got->items[1]->id, jobs->items[1]->id);
    executr_jobs_free(jobs);
    executr_jobs_free(got);
}

/* ---- While the store does not answer. */

static void *submit_one(void *type)
{
    ex_ignore(try_submit(type, 1));
    return NULL;
}

static void await_held(int32_t count)
{
    int32_t held = 0;

    while (held < count) {
        usleep(100);
        held = 0;
        pthread_mutex_lock(&queue->lock);
        for (ex_waiter *w = queue->waiters; w; w = w->next_parked)
            held += w->held;
        pthread_mutex_unlock(&queue->lock);
    }
}

static pthread_t submitter;

/* The store is locked, and a submission holds the one waiter. */
static void hold(waiting *one)
{
    start(one, 1);
    pthread_mutex_lock(&store->lock);
    pthread_create(&submitter, NULL, submit_one, "a");
    await_held(1);
}

static void let_go(void)
{
    pthread_mutex_unlock(&store->lock);
    pthread_join(submitter, NULL);
}

Test(queue_hand, outlasts_the_time_of_the_claim)
{
    waiting one[1] = {{.wait_ms = 200}};

    hold(one);
    usleep(300000);
    let_go();
    cr_assert_eq(finish(one, 1), 1);
    cr_assert_eq(asked(), 1);
}

Test(queue_hand, outlasts_a_drain)
{
    waiting one[1] = {0};

    hold(one);
    executr_queue_drain(queue);
    usleep(20000);
    let_go();
    cr_assert_eq(finish(one, 1), 1);
}

Test(queue_hand, gives_back_what_comes_after_its_executor_left)
{
    waiting one[1] = {0};

    hold(one);
    ex_queue_unpark(queue, "tester");
    usleep(20000);
    let_go();
    cr_assert_eq(finish(one, 1), 0);
    cr_assert_eq(store->job_count, 1);
    cr_assert_eq(store->jobs[0].claimed, 0);
}

/* Nobody told it of the other job, so it has to look for itself. */
Test(queue_hand, hears_of_what_came_meanwhile)
{
    waiting one[1] = {0};

    hold(one);
    store->failing = EXECUTR_E_CONFLICT;
    ex_queue_wake_any(queue);
    pthread_mutex_unlock(&store->lock);
    while (asleep() > 0) /* what it is told, it asks for */
        usleep(1000);
    pthread_join(one[0].thread, NULL);
    pthread_join(submitter, NULL);
    cr_assert_eq(one[0].status, EXECUTR_E_CONFLICT);
}

Test(queue_hand, holds_one_waiter_for_one_submission)
{
    waiting all[40] = {0};
    pthread_t threads[40];

    start(all, 40);
    for (int i = 0; i < 40; i++)
        pthread_create(&threads[i], NULL, submit_one, "a");
    for (int i = 0; i < 40; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(finish(all, 40), 40);
    for (int i = 0; i < 40; i++)
        cr_assert_eq(all[i].got, 1);
}

/*
 * Whoever submits the first one does not have the claim to itself. Both places
 * of those who ask the store are taken, so the others gather, and make two
 * batches at most.
 */
Test(queue_hand, fills_a_claim_from_many_submissions)
{
    waiting many[2] = {
        {.type = "many", .max_jobs = 100}, {.type = "many", .max_jobs = 100}};
    waiting others[2] = {{.type = "a"}, {.type = "b"}};
    pthread_t threads[22];

    start(many, 2);
    start(others, 2);
    pthread_mutex_lock(&store->lock);
    pthread_create(&threads[0], NULL, submit_one, "a");
    await_held(1);
    pthread_create(&threads[1], NULL, submit_one, "b");
    await_held(2);
    for (int i = 2; i < 22; i++)
        pthread_create(&threads[i], NULL, submit_one, "many");
    usleep(50000);
    pthread_mutex_unlock(&store->lock);
    for (int i = 0; i < 22; i++)
        pthread_join(threads[i], NULL);
    executr_queue_drain(queue); /* nothing may have been left for one of them */
    cr_assert_eq(finish(others, 2), 2);
    cr_assert_gt(finish(many, 2), 2);
}

/* Whoever is to wake it does so without the lock, and must find it there. */
Test(queue_hand, does_not_leave_before_the_post_it_is_owed)
{
    waiting one[1] = {{.wait_ms = 500}};

    start(one, 1);
    pthread_mutex_lock(&queue->lock);
    ex_waiter *waiter = queue->waiters;
    cr_assert(waiter);
    ex_waiter_wake(queue, waiter);
    ex_waiter_wake(queue, waiter); /* which is the same post */
    queue->woken = NULL;           /* we post it ourselves */
    pthread_mutex_unlock(&queue->lock);
    usleep(700000);
    cr_assert_eq(pthread_tryjoin_np(one[0].thread, NULL), EBUSY);
    sem_post(&waiter->woken);
    cr_assert_eq(finish(one, 1), 0);
}

/* Without memory for its record a job goes another way, and is not lost. */
Test(queue_hand, needs_no_memory_after_the_commit)
{
    for (uint64_t n = 1; n < 60; n++) {
        waiting one[1] = {0};
        start(one, 1);
        ex_alloc_fail_at(n);
        executr_status st = try_submit("a", 1);
        ex_alloc_fail_at(0);
        if (st)
            executr_queue_drain(queue);
        pthread_join(one[0].thread, NULL);
        /* It may also have been an allocation of the claim itself. */
        int32_t failed = one[0].status == EXECUTR_E_NOMEM;
        cr_assert_eq(one[0].got, !st && !failed, "allocation %u", (unsigned)n);
        if (st) {
            close_all();
            open_default();
        }
    }
}
