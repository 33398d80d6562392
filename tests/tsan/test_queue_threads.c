/* SPDX-License-Identifier: MIT */
/*
 * Hammers a queue over SQLite with threads: submitters, waiting claimers that
 * report, and a canceller. Every job must be claimed at most once and end
 * exactly once, and no waiter may sleep while there is work. A plain program,
 * because the thread sanitizer and the test framework don't go together.
 *
 *     test_queue_threads        on SQLite in a new directory
 *     test_queue_threads URL    on an empty database
 */
#include <executr/executr.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUBMITTERS 3
#define CLAIMERS 8
#define BATCHES 60
#define BATCH 5
#define LONG_MS 60000
#define JOBS (SUBMITTERS * BATCHES * BATCH)

static executr_queue *queue;
static atomic_int over; /* completed or cancelled */
static atomic_int claimed;
static atomic_int cancelled;
static atomic_int repeated; /* claims of a job that was claimed before */
static atomic_int all_told;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char submitted[JOBS][40];
static int submitted_count;

static void stop(const char *what, const executr_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err ? err->message : "");
    exit(1);
}

static void note_submitted(const executr_jobs *jobs)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < executr_jobs_count(jobs); i++)
        strcpy(
            submitted[submitted_count++],
            executr_job_id(executr_jobs_at(jobs, i)));
    pthread_mutex_unlock(&lock);
}

static void *submitter(void *ctx)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    const executr_job_spec *specs[BATCH];
    executr_jobs *jobs;
    executr_error err;

    spec.type = ctx;
    spec.binary_url = "http://example.com/tool";
    spec.binary_sha256 =
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for (int i = 0; i < BATCH; i++)
        specs[i] = &spec;
    for (int i = 0; i < BATCHES; i++) {
        if (executr_queue_submit(queue, specs, BATCH, NULL, &jobs, &err))
            stop("submit", &err);
        note_submitted(jobs);
        executr_jobs_free(jobs);
        if (i % 10 == 9)
            usleep(2000); /* let the claimers fall asleep */
    }
    return NULL;
}

static void end_over(int count)
{
    if (atomic_fetch_add(&over, count) + count == JOBS)
        executr_queue_drain(queue);
}

/* Report all of a list as completed. Told to stop or not, they complete. */
static void report_all(const char *executor, const executr_jobs *jobs)
{
    executr_report reports[2];
    const executr_report *pointers[2];
    executr_status results[2];
    executr_error err;
    size_t count = executr_jobs_count(jobs);

    for (size_t i = 0; i < count; i++) {
        const executr_job *job = executr_jobs_at(jobs, i);
        reports[i] = (executr_report)EXECUTR_REPORT_INIT;
        reports[i].job_id = executr_job_id(job);
        reports[i].attempt = executr_job_attempt(job);
        reports[i].status = EXECUTR_ATTEMPT_COMPLETED;
        if (executr_job_attempt(job) != 1)
            atomic_fetch_add(&repeated, 1);
        pointers[i] = &reports[i];
    }
    if (executr_queue_report(queue, executor, pointers, count, results, &err))
        stop("report", &err);
    for (size_t i = 0; i < count; i++) {
        if (results[i])
            stop("a report was refused", NULL);
    }
    atomic_fetch_add(&claimed, (int)count);
    end_over((int)count);
}

static void *claimer(void *ctx)
{
    static const char *const types[] = {"a", "b", "c"};
    int number = *(const int *)ctx;
    char executor[32];
    executr_claim claim = EXECUTR_CLAIM_INIT;
    executr_error err;

    snprintf(executor, sizeof executor, "executor-%d", number);
    claim.executor_id = executor;
    claim.executor_ip = "127.0.0.1";
    claim.max_jobs = 1 + number % 2;
    claim.wait_ms = number % 3 ? LONG_MS : 2; /* ends as it is woken */
    claim.types = &types[number % 3];
    claim.type_count = number < 6;
    while (atomic_load(&over) < JOBS) {
        executr_jobs *jobs;
        if (executr_queue_claim(queue, &claim, &jobs, &err))
            stop("claim", &err);
        if (executr_jobs_count(jobs) > 0)
            report_all(executor, jobs);
        else if (claim.wait_ms == LONG_MS && atomic_load(&over) < JOBS)
            stop("a waiter was not woken", NULL);
        executr_jobs_free(jobs);
    }
    return NULL;
}

/* Cancels now and then the newest job, which is often still pending. */
static void *canceller(void *ctx)
{
    char id[40];
    const char *ids[] = {id};
    executr_status result;
    executr_error err;

    (void)ctx;
    while (!atomic_load(&all_told)) {
        pthread_mutex_lock(&lock);
        id[0] = '\0';
        if (submitted_count)
            strcpy(id, submitted[submitted_count - 1]);
        pthread_mutex_unlock(&lock);
        if (id[0] && executr_queue_cancel(queue, ids, 1, &result, &err))
            stop("cancel", &err);
        if (id[0] && result == EXECUTR_OK) {
            atomic_fetch_add(&cancelled, 1);
            end_over(1);
        }
        usleep(1000);
    }
    return NULL;
}

static int64_t jobs_with(const executr_stats *stats, int32_t status)
{
    return executr_stats_jobs(stats, status);
}

static int check(void)
{
    executr_stats *stats;
    executr_error err;

    if (executr_queue_stats(queue, &stats, &err))
        stop("stats", &err);
    int64_t completed = jobs_with(stats, EXECUTR_JOB_COMPLETED);
    int64_t dropped = jobs_with(stats, EXECUTR_JOB_CANCELLED);
    executr_stats_free(stats);
    printf(
        "%d jobs: %d claimed, %d cancelled; the store says %lld and %lld\n",
        JOBS, atomic_load(&claimed), atomic_load(&cancelled),
        (long long)completed, (long long)dropped);
    return completed == atomic_load(&claimed) &&
           dropped == atomic_load(&cancelled) && completed + dropped == JOBS &&
           atomic_load(&repeated) == 0;
}

static void run_threads(void)
{
    static const char *const types[] = {"a", "b", "c"};
    static int numbers[CLAIMERS];
    pthread_t submitters[SUBMITTERS];
    pthread_t claimers[CLAIMERS];
    pthread_t one;

    for (int i = 0; i < CLAIMERS; i++) {
        numbers[i] = i;
        pthread_create(&claimers[i], NULL, claimer, &numbers[i]);
    }
    pthread_create(&one, NULL, canceller, NULL);
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_create(&submitters[i], NULL, submitter, (void *)types[i]);
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(submitters[i], NULL);
    atomic_store(&all_told, 1);
    pthread_join(one, NULL);
    for (int i = 0; i < CLAIMERS; i++)
        pthread_join(claimers[i], NULL);
}

static void run_on(const char *url)
{
    executr_store *store;
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;
    executr_error err;

    if (executr_store_open(url, NULL, &store, &err))
        stop("open the store", &err);
    /* Upkeep's net would hide a lost wake-up. */
    options.poll_interval_ms = 600000;
    if (executr_queue_open(store, &options, &queue, &err))
        stop("open the queue", &err);
    run_threads();
    if (!check())
        stop("the counts don't fit", NULL);
    executr_queue_free(queue);
    executr_store_free(store);
}

int main(int argc, char *argv[])
{
    char directory[] = "/tmp/executr-threads-XXXXXX";
    char url[128];
    char command[128];

    if (argc > 1) {
        run_on(argv[1]);
        return 0;
    }
    if (!mkdtemp(directory))
        stop("cannot make a directory", NULL);
    snprintf(url, sizeof url, "sqlite://%s/db", directory);
    run_on(url);
    snprintf(command, sizeof command, "rm -r %s", directory);
    if (system(command))
        stop("cannot remove the directory", NULL);
    return 0;
}
