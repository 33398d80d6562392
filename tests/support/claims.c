/* SPDX-License-Identifier: MIT */
/* Claims that wait, on threads of their own. */
#include "support/claims.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#define SHA "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

memory_store *store;
executr_queue *queue;

void open_queue(executr_queue_options options)
{
    executr_error err;

    store = memory_store_open();
    if (!options.poll_interval_ms)
        options.poll_interval_ms = LONG_MS;
    executr_status st =
        executr_queue_open(&store->base, &options, &queue, &err);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
}

void open_default(void)
{
    open_queue((executr_queue_options)EXECUTR_QUEUE_OPTIONS_INIT);
}

void close_all(void)
{
    executr_queue_free(queue);
    memory_store_free(store);
}

executr_status try_submit(const char *type, size_t count)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    const executr_job_spec *specs[100];
    executr_jobs *jobs;
    executr_error err;

    spec.type = type;
    spec.binary_url = "http://example.com/tool";
    spec.binary_sha256 = SHA;
    for (size_t i = 0; i < count; i++)
        specs[i] = &spec;
    executr_status st =
        executr_queue_submit(queue, specs, count, NULL, &jobs, &err);
    cr_assert_eq(executr_jobs_count(jobs), st ? 0 : count);
    executr_jobs_free(jobs);
    return st;
}

void submit_many(const char *type, size_t count)
{
    cr_assert_eq(try_submit(type, count), EXECUTR_OK);
}

void *claim_in_thread(void *ctx)
{
    waiting *w = ctx;
    executr_claim claim = EXECUTR_CLAIM_INIT;
    executr_jobs *jobs;

    claim.executor_id = "tester";
    claim.executor_ip = "127.0.0.1";
    claim.wait_ms = w->wait_ms ? w->wait_ms : LONG_MS;
    claim.max_jobs = w->max_jobs;
    claim.offers = w->offers;
    claim.types = &w->type;
    claim.type_count = w->type != NULL;
    w->status = executr_queue_claim(queue, &claim, &jobs, NULL);
    w->got = executr_jobs_count(jobs);
    if (w->got)
        strncpy(
            w->got_type, executr_job_type(executr_jobs_at(jobs, 0)),
            sizeof w->got_type - 1);
    if (w->keep)
        *w->keep = jobs;
    else
        executr_jobs_free(jobs);
    return NULL;
}

int64_t asleep(void)
{
    pthread_mutex_lock(&queue->lock);
    int64_t n = queue->asleep;
    pthread_mutex_unlock(&queue->lock);
    return n;
}

void start(waiting *all, size_t count)
{
    int64_t before = asleep();

    for (size_t i = 0; i < count; i++)
        pthread_create(&all[i].thread, NULL, claim_in_thread, &all[i]);
    while (asleep() < before + (int64_t)count)
        usleep(1000);
}

size_t finish(waiting *all, size_t count)
{
    size_t got = 0;

    for (size_t i = 0; i < count; i++) {
        pthread_join(all[i].thread, NULL);
        cr_assert_eq(all[i].status, EXECUTR_OK);
        got += all[i].got;
    }
    return got;
}
