/* SPDX-License-Identifier: MIT */
/*
 * A program with a job system inside: store, queue and worker in one process,
 * no server, no HTTP. It runs a program (default /bin/date) as a job and prints
 * what it wrote.
 *
 *   cc embed.c $(pkg-config --cflags --libs executr) -o embed
 *   ./embed jobs.db /usr/bin/wc -l /etc/passwd
 */
#include <executr/executr.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static executr_error err;

static void check(executr_status status)
{
    if (status == EXECUTR_OK)
        return;
    fprintf(stderr, "embed: %s\n", err.message);
    exit(1);
}

static int32_t read_file(void *ctx, void *data, size_t size, size_t *length)
{
    ssize_t n = read(*(int *)ctx, data, size);
    *length = n > 0 ? (size_t)n : 0;
    return n < 0;
}

static void *work(void *worker)
{
    executr_error failure;
    if (executr_worker_run(worker, &failure))
        fprintf(stderr, "embed: %s\n", failure.message);
    return NULL;
}

/* The finished record of a job. */
static executr_jobs *wait_for(executr_queue *queue, const char *id)
{
    for (;;) {
        executr_jobs *jobs;
        check(executr_queue_get(queue, id, EXECUTR_PART_ALL, &jobs, &err));
        int32_t status = executr_job_status(executr_jobs_at(jobs, 0));
        if (status != EXECUTR_JOB_PENDING && status != EXECUTR_JOB_RUNNING)
            return jobs;
        executr_jobs_free(jobs);
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
}

int main(int argc, char **argv)
{
    const char *path = argc > 2 ? argv[2] : "/bin/date";
    char url[512];
    char sha256[65];
    snprintf(url, sizeof url, "sqlite:%s", argc > 1 ? argv[1] : "jobs.db");

    executr_store *store;
    executr_queue *queue;
    check(executr_store_open(url, NULL, &store, &err));
    check(executr_queue_open(store, NULL, &queue, &err));

    /* Keep the binary in the store, under its hash. */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int32_t created;
    check(executr_hash_file(path, sha256, &err));
    check(executr_queue_put_binary(
        queue, sha256, read_file, &fd, 0, &created, &err));
    close(fd);

    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    spec.type = "example";
    spec.binary_sha256 = sha256;
    spec.arguments = argc > 3 ? (const char *const *)&argv[3] : NULL;
    spec.argument_count = argc > 3 ? (size_t)argc - 3 : 0;
    const executr_job_spec *specs[] = {&spec};
    executr_jobs *submitted;
    check(executr_queue_submit(queue, specs, 1, NULL, &submitted, &err));

    executr_worker_options options = EXECUTR_WORKER_OPTIONS_INIT;
    executr_worker *worker;
    pthread_t thread;
    options.queue = queue;
    options.max_jobs = 2;
    check(executr_worker_open(&options, &worker, &err));
    pthread_create(&thread, NULL, work, worker);

    executr_jobs *done =
        wait_for(queue, executr_job_id(executr_jobs_at(submitted, 0)));
    const executr_job *job = executr_jobs_at(done, 0);
    size_t length;
    const char *output = executr_job_stdout(job, &length);
    fwrite(output, 1, length, stdout);
    fprintf(
        stderr, "job %s: %s\n", executr_job_id(job),
        executr_job_status_word(executr_job_status(job)));

    executr_worker_stop(worker);
    pthread_join(thread, NULL);
    executr_worker_free(worker);
    executr_jobs_free(done);
    executr_jobs_free(submitted);
    executr_queue_free(queue);
    executr_store_free(store);
    return 0;
}
