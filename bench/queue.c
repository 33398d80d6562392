/* SPDX-License-Identifier: MIT */
/*
 * The life of jobs through a server: producers submit, executors claim, run
 * nothing and report, each on a connection of its own and all at once, in one
 * thread.
 *
 *   bench_queue --port PORT --executors N --producers N --group N [--batch N]
 *               [--jobs N]
 *
 * With a group of 1 each job is claimed and reported by calls of its own; else
 * executors take and report as many at a time, at most. Submissions hold
 * `batch` jobs, or a group. Producers pause when as much as two submissions
 * and two groups for each connection are unfinished, so that no backlog grows.
 */
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

typedef struct producer {
    wire wire;
    struct producer *next; /* of those that pause */
} producer;

typedef struct executor {
    wire wire;
    char name[32];
    int reporting;
    double claimed_at; /* when it asked */
    int64_t count;
    int64_t numbers[GROUP_MOST];
} executor;

static struct {
    int64_t jobs;
    int64_t group;
    int64_t batch;
    int64_t unfinished_most;
    int64_t submitted;
    int64_t done;
    int64_t claims;
    int64_t under_way; /* calls */
    producer *pausing;
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

static void call(wire *w, const char *method, const char *path, size_t length)
{
    load.under_way++;
    wire_begin(w, method, path, length);
}

static void submit(producer *p, int64_t first, int64_t count)
{
    char *body = wire_body(&p->wire, JOB_MOST * (size_t)(count + 1));
    size_t length = 0;
    double now = bench_seconds();

    if (load.batch > 1)
        body[length++] = '[';
    for (int64_t i = 0; i < count; i++) {
        if (i > 0)
            body[length++] = ',';
        length += write_job(body + length, first + i);
        load.submitted_at[first + i] = now;
    }
    if (load.batch > 1)
        body[length++] = ']';
    call(&p->wire, "POST", load.batch > 1 ? "/jobs/bulk" : "/jobs", length);
}

static void produce(producer *p)
{
    int64_t left = load.jobs - load.submitted;
    int64_t count = left < load.batch ? left : load.batch;

    if (count == 0)
        return;
    if (load.submitted - load.done + count > load.unfinished_most) {
        p->next = load.pausing;
        load.pausing = p;
        return;
    }
    int64_t first = load.submitted;
    load.submitted += count;
    submit(p, first, count);
}

static void submitted(wire *w)
{
    load.under_way--;
    if (w->status != 201)
        bench_fail("a submission was answered with %d: %s", w->status, w->body);
    produce((producer *)w);
}

/* All that pause look again; those that still may not go on pause anew. */
static void resume(void)
{
    producer *next = load.pausing;

    load.pausing = NULL;
    while (next) {
        producer *p = next;
        next = p->next;
        produce(p);
    }
}

static void claim(executor *e)
{
    char *body = wire_body(&e->wire, JOB_MOST);
    char more[48] = "";

    if (load.done >= load.jobs)
        return;
    if (load.group > 1)
        snprintf(
            more, sizeof more, ",\"max_jobs\":%lld", (long long)load.group);
    int length = snprintf(
        body, JOB_MOST,
        "{\"executor_id\":\"%s\",\"executor_ip\":\"127.0.0.1\","
        "\"wait\":\"500ms\"%s}",
        e->name, more);
    e->reporting = 0;
    e->claimed_at = bench_seconds();
    call(&e->wire, "POST", "/jobs/claim", (size_t)length);
}

/* The number of the job whose id is at `id`; `at` moves behind it. */
static int64_t read_number(const char *id, const char **at)
{
    *at = wire_find(id, "\"arguments\":[\"");
    int64_t number = *at ? strtoll(*at, NULL, 10) : -1;
    if (number < 0 || number >= load.jobs)
        bench_fail("a job of somebody else was claimed");
    return number;
}

static void report_one(executor *e, const char *id)
{
    char path[80];
    const char *at;

    e->count = 1;
    e->numbers[0] = read_number(id, &at);
    snprintf(path, sizeof path, "/jobs/%.36s/complete", id);
    int length = snprintf(
        wire_body(&e->wire, JOB_MOST), JOB_MOST,
        "{\"executor_id\":\"%s\",\"attempt\":1,\"exit_code\":0,"
        "\"stdout\":\"done\\n\"}",
        e->name);
    call(&e->wire, "PUT", path, (size_t)length);
}

static void report_group(executor *e, const char *id)
{
    char *body = wire_body(&e->wire, JOB_MOST * (size_t)(load.group + 2));
    size_t length = (size_t)snprintf(
        body, JOB_MOST, "{\"executor_id\":\"%s\",\"reports\":[", e->name);

    e->count = 0;
    while (id && e->count < load.group) {
        length += (size_t)snprintf(
            body + length, JOB_MOST,
            "%s{\"id\":\"%.36s\",\"attempt\":1,\"status\":\"completed\","
            "\"exit_code\":0,\"stdout\":\"done\\n\"}",
            e->count > 0 ? "," : "", id);
        e->numbers[e->count++] = read_number(id, &id);
        id = wire_find(id, "\"id\":\"");
    }
    body[length++] = ']';
    body[length++] = '}';
    call(&e->wire, "POST", "/jobs/report", length);
}

static void claimed(executor *e)
{
    double took = bench_seconds() - e->claimed_at;
    const wire *w = &e->wire;

    if (w->status == 204) {
        claim(e);
        return;
    }
    const char *id = w->status == 200 ? wire_find(w->body, "\"id\":\"") : NULL;
    if (!id)
        bench_fail("a claim was answered with %d: %s", w->status, w->body);
    load.claimed_in[load.claims++] = took;
    e->reporting = 1;
    if (load.group > 1)
        report_group(e, id);
    else
        report_one(e, id);
}

static void reported(executor *e)
{
    double now = bench_seconds();
    const wire *w = &e->wire;

    if (w->status != (load.group > 1 ? 200 : 204) ||
        (load.group > 1 && strstr(w->body, "\"accepted\":false")))
        bench_fail("a report was answered with %d: %s", w->status, w->body);
    for (int64_t i = 0; i < e->count; i++)
        load.lived[e->numbers[i]] = now - load.submitted_at[e->numbers[i]];
    load.done += e->count;
    load.ended = now;
    resume();
    claim(e);
}

static void executed(wire *w)
{
    executor *e = (executor *)w;

    load.under_way--;
    if (e->reporting)
        reported(e);
    else
        claimed(e);
}

static void *take(int64_t count, size_t size)
{
    void *memory = calloc((size_t)count, size);

    if (!memory)
        bench_fail("no memory");
    return memory;
}

static void run(int64_t port, int64_t executors, int64_t producers)
{
    executor *claiming = take(executors, sizeof *claiming);
    producer *submitting = take(producers, sizeof *submitting);
    crowd c;

    crowd_open(&c);
    for (int64_t i = 0; i < executors; i++) {
        executor *e = &claiming[i];
        snprintf(e->name, sizeof e->name, "bench-%08llx", (long long)i);
        e->wire.answered = executed;
        crowd_join(&c, &e->wire, port);
        claim(e);
    }
    for (int64_t i = 0; i < producers; i++) {
        submitting[i].wire.answered = submitted;
        crowd_join(&c, &submitting[i].wire, port);
        produce(&submitting[i]);
    }
    /* Claims that found nothing at the end are waited for: a connection that
     * is closed might still be given jobs of the next run. */
    while (load.under_way > 0)
        crowd_wait(&c, -1);
    for (int64_t i = 0; i < executors; i++)
        wire_close(&claiming[i].wire);
    for (int64_t i = 0; i < producers; i++)
        wire_close(&submitting[i].wire);
    crowd_close(&c);
    free(claiming);
    free(submitting);
}

int main(int argc, char **argv)
{
    int64_t port = bench_number(argv, "port", -1);
    int64_t executors = bench_number(argv, "executors", -1);
    int64_t producers = bench_number(argv, "producers", -1);

    (void)argc;
    load.group = bench_number(argv, "group", -1);
    load.jobs = bench_number(argv, "jobs", 10000);
    load.batch = bench_number(argv, "batch", load.group);
    if (load.group < 1 || load.group > GROUP_MOST || load.batch < 1 ||
        load.jobs < 1)
        bench_fail("groups of 1 to %d, and at least a job", GROUP_MOST);
    load.unfinished_most =
        2 * (load.group * executors + load.batch * producers);
    load.submitted_at = take(load.jobs, sizeof(double));
    load.lived = take(load.jobs, sizeof(double));
    load.claimed_in = take(load.jobs, sizeof(double));
    double cpu = bench_own_cpu();
    double begin = bench_seconds();
    run(port, executors, producers);
    double jobs = (double)load.jobs;
    size_t claims = (size_t)load.claims;
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
