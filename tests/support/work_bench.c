/* SPDX-License-Identifier: MIT */
/* A queue on SQLite in a home of its own, and a worker on it in a thread. */
#include "support/work_bench.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/home.h"

executr_queue *queue;
executr_worker *worker;
executr_error err;
executr_worker_options options;

static executr_store *store;
static pthread_t thread;
static atomic_int returned;
static executr_status run_status;
static char sha256[65];
static char work_directory[256];
static char cache_directory[256];
static char spool_directory[256];

#define KEPT 2048
static executr_jobs *kept[KEPT]; /* ring of records given out */
static size_t kept_count;

static void must(executr_status status)
{
    cr_assert_eq(
        status, EXECUTR_OK, "%s: %s", executr_status_word(status), err.message);
}

static const executr_job *keep(executr_jobs *jobs)
{
    executr_jobs **place = &kept[kept_count++ % KEPT];

    executr_jobs_free(*place);
    *place = jobs;
    return executr_jobs_at(jobs, 0);
}

static int32_t read_file(void *ctx, void *data, size_t size, size_t *length)
{
    ssize_t got = read(*(int *)ctx, data, size);

    *length = got > 0 ? (size_t)got : 0;
    return got < 0;
}

static void store_job(void)
{
    int32_t created;
    int fd = open(TEST_JOB, O_RDONLY | O_CLOEXEC);

    cr_assert_geq(fd, 0);
    must(executr_hash_file(TEST_JOB, sha256, &err));
    must(executr_queue_put_binary(
        queue, sha256, read_file, &fd, 0, &created, &err));
    close(fd);
}

void set_options(void)
{
    options = (executr_worker_options)EXECUTR_WORKER_OPTIONS_INIT;
    snprintf(work_directory, sizeof work_directory, "%s", in_home("work"));
    snprintf(cache_directory, sizeof cache_directory, "%s", in_home("cache"));
    snprintf(spool_directory, sizeof spool_directory, "%s", in_home("spool"));
    options.spool_directory = spool_directory;
    options.queue = queue;
    options.name = "bench";
    options.work_directory = work_directory;
    options.cache_directory = cache_directory;
    options.poll_interval_ms = 50;
    options.heartbeat_interval_ms = 100;
    options.kill_grace_ms = 100;
    options.subreaper = 1;
}

void open_bench(void)
{
    executr_queue_options rules = EXECUTR_QUEUE_OPTIONS_INIT;
    char url[300];

    make_fast_home();
    snprintf(url, sizeof url, "sqlite://%s", in_home("jobs.db"));
    must(executr_store_open(url, NULL, &store, &err));
    rules.poll_interval_ms = 100;
    rules.heartbeat_timeout_ms = 600000;
    must(executr_queue_open(store, &rules, &queue, &err));
    store_job();
    set_options();
}

static void *run(void *ctx)
{
    (void)ctx;
    run_status = executr_worker_run(worker, &err);
    atomic_store(&returned, 1);
    return NULL;
}

void start_worker(void)
{
    must(executr_worker_open(&options, &worker, &err));
    atomic_store(&returned, 0);
    cr_assert_eq(pthread_create(&thread, NULL, run, NULL), 0);
}

int worker_returned(void)
{
    return atomic_load(&returned);
}

void join_worker(void)
{
    pthread_join(thread, NULL);
    cr_expect_eq(run_status, EXECUTR_OK);
    executr_worker_free(worker);
    worker = NULL;
}

void stop_worker(int times)
{
    for (int i = 0; i < times; i++)
        executr_worker_stop(worker);
    join_worker();
}

void close_bench(void)
{
    if (worker)
        stop_worker(2);
    for (size_t i = 0; i < KEPT; i++)
        executr_jobs_free(kept[i]);
    executr_queue_free(queue);
    executr_store_free(store);
    drop_home();
}

const char *job_sha256(void)
{
    return sha256;
}

const char *submit_spec(executr_job_spec *spec, const char *const *arguments)
{
    const executr_job_spec *one = spec;
    executr_jobs *jobs;

    if (!spec->type)
        spec->type = "test";
    spec->binary_sha256 = sha256;
    spec->arguments = arguments;
    while (arguments[spec->argument_count])
        spec->argument_count++;
    must(executr_queue_submit(queue, &one, 1, NULL, &jobs, &err));
    return executr_job_id(keep(jobs));
}

const char *submit_job(const char *const *arguments)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    return submit_spec(&spec, arguments);
}

const executr_job *get_job(const char *id)
{
    executr_jobs *jobs;

    must(executr_queue_get(queue, id, EXECUTR_PART_ALL, &jobs, &err));
    return keep(jobs);
}

/* The ring may lose the id while we wait. */
static const executr_job *wait_for(
    const char *id, int32_t (*get)(const executr_job *), int32_t wanted)
{
    char own[40];

    snprintf(own, sizeof own, "%s", id);
    for (;;) {
        const executr_job *job = get_job(own);
        if (get(job) == wanted)
            return job;
        usleep(2000);
    }
}

const executr_job *wait_for_status(const char *id, int32_t status)
{
    return wait_for(id, executr_job_status, status);
}

const executr_job *wait_for_attempt(const char *id, int32_t attempt)
{
    return wait_for(id, executr_job_attempt, attempt);
}

int wait_for_pid(const char *name)
{
    int pid = 0;

    while (pid == 0) {
        FILE *file = fopen(in_home(name), "re");
        if (file && fscanf(file, "%d", &pid) != 1)
            pid = 0;
        if (file)
            fclose(file);
        usleep(1000);
    }
    return pid;
}

int has_ended(int pid)
{
    char line[64];
    char state = 'X';

    snprintf(line, sizeof line, "/proc/%d/stat", pid);
    FILE *file = fopen(line, "re");
    if (!file)
        return 1;
    if (fscanf(file, "%*d %*s %c", &state) != 1)
        state = 'X';
    fclose(file);
    return state == 'X' || state == 'Z';
}

void wait_for_death(int pid)
{
    while (!has_ended(pid))
        usleep(1000);
}
