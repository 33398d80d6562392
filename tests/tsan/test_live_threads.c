/* SPDX-License-Identifier: MIT */
/*
 * Live output of a few jobs at once, by threads: one executor a job prints and
 * ends it, three followers a job come and go, and every one of them must be
 * told every byte, once. A plain program, like test_queue_threads.c.
 */
#include <executr/executr.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOBS 4
#define FOLLOWERS 3
#define LINES 400
#define LINE 16 /* bytes */

static executr_queue *queue;
static char ids[JOBS][40];
static char output[LINES * LINE + 1];

static void stop(const char *what, const executr_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err ? err->message : "");
    exit(1);
}

static void submit_all(void)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    const executr_job_spec *specs[JOBS];
    executr_jobs *jobs;
    executr_error err;

    spec.type = "t";
    spec.binary_url = "http://127.0.0.1/x";
    spec.binary_sha256 =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    for (int i = 0; i < JOBS; i++)
        specs[i] = &spec;
    if (executr_queue_submit(queue, specs, JOBS, NULL, &jobs, &err))
        stop("submit", &err);
    for (int i = 0; i < JOBS; i++)
        strcpy(ids[i], executr_job_id(executr_jobs_at(jobs, (size_t)i)));
    executr_jobs_free(jobs);
}

static void report(const char *executor, const char *id)
{
    executr_report end = EXECUTR_REPORT_INIT;
    const executr_report *ends[] = {&end};
    executr_status result;
    executr_error err;

    end.job_id = id;
    end.status = EXECUTR_ATTEMPT_COMPLETED;
    end.has_exit_code = 1;
    end.stdout_data = output;
    end.stdout_length = LINES * LINE;
    if (executr_queue_report(queue, executor, ends, 1, &result, &err) || result)
        stop("report", &err);
}

/* Claims one job and prints, most of it; the rest comes with its end. */
static void *executor(void *ctx)
{
    const char *name = ctx;
    executr_claim claim = EXECUTR_CLAIM_INIT;
    executr_output piece = EXECUTR_OUTPUT_INIT;
    executr_jobs *jobs;
    executr_error err;
    int32_t followed;

    claim.executor_id = name;
    claim.executor_ip = "127.0.0.1";
    if (executr_queue_claim(queue, &claim, &jobs, &err) ||
        executr_jobs_count(jobs) != 1)
        stop("claim", &err);
    piece.job_id = executr_job_id(executr_jobs_at(jobs, 0));
    piece.stream = 1;
    piece.length = LINE;
    for (int i = 0; i < LINES * 9 / 10; i++) {
        piece.data = output + i * LINE;
        piece.offset = i * INT64_C(16);
        if (executr_queue_put_output(queue, name, &piece, &followed, &err))
            stop("put", &err);
        if (!followed)
            i = -1; /* from the start, as for one who comes later */
        usleep(500);
    }
    report(name, piece.job_id);
    executr_jobs_free(jobs);
    return NULL;
}

typedef struct seen {
    char bytes[LINES * LINE];
    size_t length;
    int asked;
} seen;

static int32_t on_write(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length)
{
    seen *s = ctx;

    if (stream != 1 || attempt != 1 || offset != (int64_t)s->length ||
        s->length + length > sizeof s->bytes)
        stop("a byte came twice or not at all", NULL);
    memcpy(s->bytes + s->length, data, length);
    s->length += length;
    return 0;
}

static int32_t on_idle(void *ctx)
{
    seen *s = ctx;

    return ++s->asked % 7 == 0;
}

static void *follower(void *ctx)
{
    executr_follow follow = EXECUTR_FOLLOW_INIT;
    executr_error err;
    executr_status st;
    seen *s = calloc(1, sizeof *s);

    if (!s)
        stop("no memory", NULL);
    follow.job_id = ctx;
    follow.write = on_write;
    follow.idle = on_idle;
    follow.ctx = s;
    do
        st = executr_queue_follow(queue, &follow, &err);
    while (st == EXECUTR_E_CANCELLED);
    if (st)
        stop("follow", &err);
    if (s->length != sizeof s->bytes ||
        memcmp(s->bytes, output, s->length) != 0)
        stop("a follower was told something else", NULL);
    free(s);
    return NULL;
}

static void run_threads(void)
{
    static const char *const names[JOBS] = {"e1", "e2", "e3", "e4"};
    pthread_t executors[JOBS];
    pthread_t followers[JOBS][FOLLOWERS];

    for (int i = 0; i < JOBS; i++) {
        for (int k = 0; k < FOLLOWERS; k++)
            pthread_create(&followers[i][k], NULL, follower, ids[i]);
        pthread_create(&executors[i], NULL, executor, (void *)names[i]);
    }
    for (int i = 0; i < JOBS; i++) {
        pthread_join(executors[i], NULL);
        for (int k = 0; k < FOLLOWERS; k++)
            pthread_join(followers[i][k], NULL);
    }
}

int main(void)
{
    char directory[] = "/tmp/executr-live-XXXXXX";
    char url[128];
    char command[128];
    executr_store *store;
    executr_error err;

    for (int i = 0; i < LINES; i++) {
        char line[32];

        snprintf(line, sizeof line, "line number %03d\n", i);
        memcpy(output + i * LINE, line, LINE);
    }
    if (!mkdtemp(directory))
        stop("cannot make a directory", NULL);
    snprintf(url, sizeof url, "sqlite://%s/db", directory);
    if (executr_store_open(url, NULL, &store, &err) ||
        executr_queue_open(store, NULL, &queue, &err))
        stop("open", &err);
    submit_all();
    run_threads();
    executr_queue_free(queue);
    executr_store_free(store);
    snprintf(command, sizeof command, "rm -r %s", directory);
    if (system(command))
        stop("cannot remove the directory", NULL);
    return 0;
}
