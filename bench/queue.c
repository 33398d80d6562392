/* SPDX-License-Identifier: MIT */
/*
 * The life of jobs through a server: producers submit, executors claim, run
 * nothing and report, all at once.
 *
 *   bench_queue --port PORT --executors N --producers N --group N [--jobs N]
 *
 * With a group of 1 each job is submitted, claimed and reported by calls of its
 * own; else `group` jobs go into one submission, and executors take and report
 * as many at a time, at most.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "wire.h"

#define SHA256                                                                 \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define JOB_MOST ((size_t)256)
#define GROUP_MOST 1000
#define ID_LENGTH 36

static struct {
    int64_t port;
    int64_t jobs;
    int64_t group;
    atomic_int_fast64_t submitted; /* handed to producers */
    atomic_int_fast64_t done;
    atomic_int_fast64_t claims;
    double ended;         /* when the last one was done */
    double *submitted_at; /* by the number of the job */
    double *lived;        /* submit to done, likewise */
    double *claimed_in;   /* by the number of the claim */
} load;

/* A job as it is submitted; its argument is its number. */
static size_t write_job(char *out, int64_t number)
{
    return (size_t)snprintf(
        out, JOB_MOST,
        "{\"type\":\"bench\",\"binary_url\":\"http://127.0.0.1/tool\","
        "\"binary_sha256\":\"" SHA256 "\",\"arguments\":[\"%lld\"]}",
        (long long)number);
}

static void submit(wire *w, char *body, int64_t first, int64_t count)
{
    size_t length = 0;
    double now = bench_seconds();

    if (load.group > 1)
        body[length++] = '[';
    for (int64_t i = 0; i < count; i++) {
        if (i > 0)
            body[length++] = ',';
        length += write_job(body + length, first + i);
        load.submitted_at[first + i] = now;
    }
    if (load.group > 1)
        body[length++] = ']';
    const char *path = load.group > 1 ? "/jobs/bulk" : "/jobs";
    int status = wire_call(w, "POST", path, body, length);
    if (status != 201)
        bench_fail("a submission was answered with %d: %s", status, w->body);
}

static void *produce(void *arg)
{
    wire w;
    char *body = malloc(JOB_MOST * (size_t)(load.group + 1));

    (void)arg;
    if (!body)
        bench_fail("no memory");
    wire_open(&w, load.port);
    for (;;) {
        int64_t first = atomic_fetch_add(&load.submitted, load.group);
        int64_t left = load.jobs - first;
        if (left <= 0)
            break;
        submit(&w, body, first, left < load.group ? left : load.group);
    }
    wire_close(&w);
    free(body);
    return NULL;
}

typedef struct executor {
    wire wire;
    char name[32];
    char *body;
    int64_t count;
    int64_t numbers[GROUP_MOST];
    char ids[GROUP_MOST][ID_LENGTH + 1];
} executor;

static void read_jobs(executor *e)
{
    const char *at = wire_find(e->wire.body, "\"id\":\"");

    for (e->count = 0; at && e->count < GROUP_MOST; e->count++) {
        memcpy(e->ids[e->count], at, ID_LENGTH);
        e->ids[e->count][ID_LENGTH] = '\0';
        at = wire_find(at, "\"arguments\":[\"");
        int64_t number = at ? strtoll(at, NULL, 10) : -1;
        if (number < 0 || number >= load.jobs)
            bench_fail("a job of somebody else was claimed");
        e->numbers[e->count] = number;
        at = wire_find(at, "\"id\":\"");
    }
}

static void claim(executor *e)
{
    char more[48] = "";

    if (load.group > 1)
        snprintf(
            more, sizeof more, ",\"max_jobs\":%lld", (long long)load.group);
    int length = snprintf(
        e->body, JOB_MOST,
        "{\"executor_id\":\"%s\",\"executor_ip\":\"127.0.0.1\","
        "\"wait\":\"500ms\"%s}",
        e->name, more);
    double begin = bench_seconds();
    int status =
        wire_call(&e->wire, "POST", "/jobs/claim", e->body, (size_t)length);
    double took = bench_seconds() - begin;
    e->count = 0;
    if (status == 204)
        return;
    if (status != 200)
        bench_fail("a claim was answered with %d: %s", status, e->wire.body);
    read_jobs(e);
    load.claimed_in[atomic_fetch_add(&load.claims, 1)] = took;
}

static void report_one(executor *e)
{
    char path[80];

    snprintf(path, sizeof path, "/jobs/%s/complete", e->ids[0]);
    int length = snprintf(
        e->body, JOB_MOST,
        "{\"executor_id\":\"%s\",\"attempt\":1,\"exit_code\":0,"
        "\"stdout\":\"done\\n\"}",
        e->name);
    int status = wire_call(&e->wire, "PUT", path, e->body, (size_t)length);
    if (status != 204)
        bench_fail("a report was answered with %d: %s", status, e->wire.body);
}

static void report_group(executor *e)
{
    size_t length = (size_t)snprintf(
        e->body, JOB_MOST, "{\"executor_id\":\"%s\",\"reports\":[", e->name);

    for (int64_t i = 0; i < e->count; i++)
        length += (size_t)snprintf(
            e->body + length, JOB_MOST,
            "%s{\"id\":\"%s\",\"attempt\":1,\"status\":\"completed\","
            "\"exit_code\":0,\"stdout\":\"done\\n\"}",
            i > 0 ? "," : "", e->ids[i]);
    length += (size_t)snprintf(e->body + length, JOB_MOST, "]}");
    int status = wire_call(&e->wire, "POST", "/jobs/report", e->body, length);
    if (status != 200 || strstr(e->wire.body, "\"accepted\":false"))
        bench_fail("a report was answered with %d: %s", status, e->wire.body);
}

static void *execute(void *arg)
{
    executor *e = calloc(1, sizeof *e);

    if (!e)
        bench_fail("no memory");
    e->body = malloc(JOB_MOST * (size_t)(load.group + 2));
    if (!e->body)
        bench_fail("no memory");
    snprintf(e->name, sizeof e->name, "bench-%08zx", (size_t)arg);
    wire_open(&e->wire, load.port);
    while (atomic_load(&load.done) < load.jobs) {
        claim(e);
        if (e->count == 0)
            continue;
        if (load.group > 1)
            report_group(e);
        else
            report_one(e);
        double now = bench_seconds();
        for (int64_t i = 0; i < e->count; i++)
            load.lived[e->numbers[i]] = now - load.submitted_at[e->numbers[i]];
        if (atomic_fetch_add(&load.done, e->count) + e->count >= load.jobs)
            load.ended = now;
    }
    wire_close(&e->wire);
    free(e->body);
    free(e);
    return NULL;
}

static pthread_t *start(void *(*run)(void *), int64_t count)
{
    pthread_t *threads = calloc((size_t)count, sizeof *threads);

    if (!threads)
        bench_fail("no memory");
    for (int64_t i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, run, (void *)(size_t)i) != 0)
            bench_fail("cannot start a thread");
    }
    return threads;
}

static void join(pthread_t *threads, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

int main(int argc, char **argv)
{
    int64_t executors = bench_number(argv, "executors", -1);
    int64_t producers = bench_number(argv, "producers", -1);

    (void)argc;
    load.port = bench_number(argv, "port", -1);
    load.group = bench_number(argv, "group", -1);
    load.jobs = bench_number(argv, "jobs", 10000);
    if (load.group < 1 || load.group > GROUP_MOST || load.jobs < 1)
        bench_fail("groups of 1 to %d, and at least a job", GROUP_MOST);
    load.submitted_at = calloc((size_t)load.jobs, sizeof(double));
    load.lived = calloc((size_t)load.jobs, sizeof(double));
    load.claimed_in = calloc((size_t)load.jobs, sizeof(double));
    if (!load.submitted_at || !load.lived || !load.claimed_in)
        bench_fail("no memory");
    double cpu = bench_own_cpu();
    double begin = bench_seconds();
    pthread_t *claiming = start(execute, executors);
    pthread_t *submitting = start(produce, producers);
    join(submitting, producers);
    join(claiming, executors);
    double jobs = (double)load.jobs;
    size_t claims = (size_t)atomic_load(&load.claims);
    bench_sample(
        "queue", "jobs_per_s", jobs / (load.ended - begin), "claim_p50_ms",
        bench_quantile(load.claimed_in, claims, 0.5) * 1e3, "claim_p99_ms",
        bench_quantile(load.claimed_in, claims, 0.99) * 1e3, "life_p50_ms",
        bench_quantile(load.lived, (size_t)load.jobs, 0.5) * 1e3, "life_p99_ms",
        bench_quantile(load.lived, (size_t)load.jobs, 0.99) * 1e3,
        "generator_cpu_us", (bench_own_cpu() - cpu) / jobs * 1e6,
        "claimed_jobs", jobs / (double)claims, (const char *)NULL);
    free(load.submitted_at);
    free(load.lived);
    free(load.claimed_in);
    return 0;
}
