/* SPDX-License-Identifier: MIT */
/*
 * A fleet of executors that have nothing to do: each has a claim that waits at
 * the server and sends a heartbeat every five seconds. Meanwhile one client
 * calls the API, a call at a time, and submits jobs, each of which one executor
 * gets.
 *
 *   bench_fleet --port PORT --executors N [--rounds N]
 *
 * Says `parked` when all claims wait, goes on after a line on stdin, and says
 * `fleet` at the end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"
#include "wire.h"

#define JOB                                                                    \
    "{\"type\":\"bench\",\"binary_url\":\"http://127.0.0.1/tool\","            \
    "\"binary_sha256\":"                                                       \
    "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}"
#define BODY_MOST ((size_t)256)
#define HEARTBEAT_SECONDS 5.0
#define CARRIERS 16
#define CLAIM_SECONDS 60.0
#define AT_ONCE 64
#define SETTLE_MS 1000
#define PAUSE_MS 3
#define OTHER_FILES 64

enum {
    HEALTH,
    STATS,
    GET,
    SUBMIT,
    WAKE,
    PROBES
};

typedef struct executor {
    wire wire;
    int64_t number;
    int reporting;
    double claimed_at;
} executor;

static struct {
    crowd crowd;
    int64_t executors;
    int64_t given;     /* jobs, to executors */
    int64_t early;     /* claims that were answered for nothing */
    int64_t reporting; /* calls under way */
    double woken_at;
    wire carriers[CARRIERS]; /* of heartbeats */
    int64_t heartbeats;
    double begin;
    double *took[PROBES];
} fleet;

static void claim(executor *e)
{
    int length = snprintf(
        wire_body(&e->wire, BODY_MOST), BODY_MOST,
        "{\"executor_id\":\"fleet-%08llx\",\"executor_ip\":\"127.0.0.1\","
        "\"wait\":\"60s\"}",
        (unsigned long long)e->number);
    e->reporting = 0;
    e->claimed_at = bench_seconds();
    wire_begin(&e->wire, "POST", "/jobs/claim", (size_t)length);
}

static void report(executor *e, const char *id)
{
    char path[80];

    snprintf(path, sizeof path, "/jobs/%.36s/complete", id);
    int length = snprintf(
        wire_body(&e->wire, BODY_MOST), BODY_MOST,
        "{\"executor_id\":\"fleet-%08llx\",\"attempt\":1,\"exit_code\":0}",
        (unsigned long long)e->number);
    e->reporting = 1;
    fleet.reporting++;
    wire_begin(&e->wire, "PUT", path, (size_t)length);
}

static void executed(wire *w)
{
    executor *e = (executor *)w;
    double now = bench_seconds();

    if (e->reporting) {
        if (w->status != 204)
            bench_fail("a report was answered with %d: %s", w->status, w->body);
        fleet.reporting--;
        claim(e);
        return;
    }
    if (w->status == 204) {
        fleet.early += now - e->claimed_at < CLAIM_SECONDS - 1;
        claim(e);
        return;
    }
    const char *id = w->status == 200 ? wire_find(w->body, "\"id\":\"") : NULL;
    if (!id)
        bench_fail("a claim was answered with %d: %s", w->status, w->body);
    fleet.given++;
    fleet.woken_at = now;
    report(e, id);
}

static void carried(wire *w)
{
    if (w->status != 200)
        bench_fail("a heartbeat was answered with %d: %s", w->status, w->body);
}

/* Send the heartbeats that are due, on each connection in turn (a silent one
 * would be closed) as they get free. */
static void send_heartbeats(void)
{
    double passed = bench_seconds() - fleet.begin;
    int64_t due =
        (int64_t)(passed / HEARTBEAT_SECONDS * (double)fleet.executors);

    for (int i = 0; i < CARRIERS && fleet.heartbeats < due; i++) {
        wire *w = &fleet.carriers[fleet.heartbeats % CARRIERS];
        char path[48];
        if (w->due)
            return;
        snprintf(
            path, sizeof path, "/executors/fleet-%08llx",
            (unsigned long long)(fleet.heartbeats++ % fleet.executors));
        int length = snprintf(
            wire_body(w, BODY_MOST), BODY_MOST,
            "{\"executor_ip\":\"127.0.0.1\",\"max_jobs\":1,\"running\":[]}");
        wire_begin(w, "PUT", path, (size_t)length);
    }
}

/* Let everything else happen for a moment. */
static void attend(int ms)
{
    double until = bench_seconds() + ms / 1e3;

    do {
        send_heartbeats();
        crowd_wait(&fleet.crowd, 1);
    } while (bench_seconds() < until);
}

static void allow_files(int64_t count)
{
    struct rlimit files;

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        bench_fail_errno("cannot raise the limit of open files");
    if (files.rlim_max < (rlim_t)count)
        bench_fail(
            "%lld open files are allowed, %lld are needed: raise ulimit -n",
            (long long)files.rlim_max, (long long)count);
}

/* One time of a call: from before it is sent to its answer. */
static void probe(
    wire *w, int which, int64_t round, const char *method, const char *path)
{
    double begin = bench_seconds();
    int status = wire_call(w, method, path, 0);
    fleet.took[which][round] = bench_seconds() - begin;
    if (status != 200)
        bench_fail("%s was answered with %d: %s", path, status, w->body);
}

/* A job is submitted; some executor gets it. Leaves the path of the job. */
static void submit(wire *w, int64_t round, char path[80])
{
    int64_t given = fleet.given;

    memcpy(wire_body(w, sizeof JOB), JOB, sizeof JOB);
    double begin = bench_seconds();
    int status = wire_call(w, "POST", "/jobs", sizeof JOB - 1);
    fleet.took[SUBMIT][round] = bench_seconds() - begin;
    const char *id = wire_find(w->body, "\"id\":\"");
    if (status != 201 || !id)
        bench_fail("a submission was answered with %d: %s", status, w->body);
    snprintf(path, 80, "/jobs/%.36s", id);
    while (fleet.given == given)
        crowd_wait(&fleet.crowd, 1);
    fleet.took[WAKE][round] = fleet.woken_at - begin;
}

static void assemble(executor *executors, int64_t port)
{
    for (int64_t i = 0; i < fleet.executors; i++) {
        executor *e = &executors[i];
        e->number = i;
        e->wire.answered = executed;
        crowd_join(&fleet.crowd, &e->wire, port);
        claim(e);
        if (i % AT_ONCE == 0)
            crowd_wait(&fleet.crowd, 1);
    }
    for (int i = 0; i < CARRIERS; i++) {
        fleet.carriers[i].answered = carried;
        crowd_join(&fleet.crowd, &fleet.carriers[i], port);
    }
    fleet.begin = bench_seconds();
    attend(SETTLE_MS);
}

static void measure(int64_t port, int64_t rounds)
{
    char path[80];
    wire client;

    wire_open(&client, port);
    for (int64_t round = 0; round < rounds; round++) {
        submit(&client, round, path);
        attend(PAUSE_MS);
        probe(&client, GET, round, "GET", path);
        attend(PAUSE_MS);
        probe(&client, STATS, round, "GET", "/admin/stats");
        attend(PAUSE_MS);
        probe(&client, HEALTH, round, "GET", "/health");
        attend(PAUSE_MS);
    }
    while (fleet.reporting > 0)
        crowd_wait(&fleet.crowd, 1);
    wire_close(&client);
}

static double ms(int which, int64_t rounds, double q)
{
    return bench_quantile(fleet.took[which], (size_t)rounds, q) * 1e3;
}

static void say(int64_t rounds)
{
    bench_sample(
        "fleet", "submit_p50_ms", ms(SUBMIT, rounds, 0.5), "submit_p99_ms",
        ms(SUBMIT, rounds, 0.99), "wake_p50_ms", ms(WAKE, rounds, 0.5),
        "wake_p99_ms", ms(WAKE, rounds, 0.99), "get_p99_ms",
        ms(GET, rounds, 0.99), "stats_p99_ms", ms(STATS, rounds, 0.99),
        "health_p99_ms", ms(HEALTH, rounds, 0.99), "woken",
        (double)(fleet.given + fleet.early) / (double)rounds,
        (const char *)NULL);
}

int main(int argc, char **argv)
{
    int64_t port = bench_number(argv, "port", -1);
    int64_t rounds = bench_number(argv, "rounds", 200);

    (void)argc;
    fleet.executors = bench_number(argv, "executors", -1);
    allow_files(fleet.executors + OTHER_FILES);
    executor *executors = calloc((size_t)fleet.executors, sizeof *executors);
    for (int i = 0; i < PROBES; i++)
        fleet.took[i] = calloc((size_t)rounds, sizeof(double));
    if (!executors || !fleet.took[PROBES - 1])
        bench_fail("no memory");
    crowd_open(&fleet.crowd);
    assemble(executors, port);
    bench_sample("parked", (const char *)NULL);
    if (getchar() != '\n')
        bench_fail("nobody wants to go on");
    measure(port, rounds);
    say(rounds);
    return 0; /* all connections end at once */
}
