/* SPDX-License-Identifier: MIT */
/*
 * One connection's calls on a queue that is as deep after them as before: jobs
 * are submitted, as many claimed, which is what is timed, and reported.
 *
 *   bench_depth --port PORT --group N [--rounds N]
 *   bench_depth --port PORT --path PATH [--rounds N]     times GET instead
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "wire.h"

#define JOB                                                                    \
    "{\"type\":\"bench\",\"binary_url\":\"http://127.0.0.1/tool\","            \
    "\"binary_sha256\":"                                                       \
    "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}"
#define JOB_MOST ((size_t)256)
#define GROUP_MOST 1000
#define EXECUTOR "depth-00000001"

static void must(const wire *w, int status, int wanted, const char *what)
{
    if (status != wanted)
        bench_fail("%s was answered with %d: %s", what, status, w->body);
}

static void submit(wire *w, int64_t group)
{
    char *body = wire_body(w, JOB_MOST * (size_t)group);
    size_t length = 0;

    for (int64_t i = 0; i < group; i++) {
        body[length++] = i > 0 ? ',' : '[';
        memcpy(body + length, JOB, sizeof JOB);
        length += sizeof JOB - 1;
    }
    body[length++] = ']';
    must(w, wire_call(w, "POST", "/jobs/bulk", length), 201, "a submission");
}

static double claim(wire *w, int64_t group)
{
    int length = snprintf(
        wire_body(w, JOB_MOST), JOB_MOST,
        "{\"executor_id\":\"" EXECUTOR "\",\"executor_ip\":\"127.0.0.1\","
        "\"max_jobs\":%lld}",
        (long long)group);
    double begin = bench_seconds();
    int status = wire_call(w, "POST", "/jobs/claim", (size_t)length);
    double took = bench_seconds() - begin;
    must(w, status, 200, "a claim");
    return took;
}

/* The claim's answer is read while the report is written. */
static void report(wire *w, int64_t group)
{
    char *body = wire_body(w, JOB_MOST * (size_t)(group + 1));
    const char *id = wire_find(w->body, "\"id\":\"");
    size_t length = (size_t)snprintf(
        body, JOB_MOST, "{\"executor_id\":\"" EXECUTOR "\",\"reports\":");

    int64_t count = 0;
    for (; id && count < group; count++) {
        length += (size_t)snprintf(
            body + length, JOB_MOST,
            "%c{\"id\":\"%.36s\",\"attempt\":1,\"status\":\"completed\","
            "\"exit_code\":0,\"stdout\":\"done\\n\"}",
            count > 0 ? ',' : '[', id);
        id = wire_find(id, "\"id\":\"");
    }
    if (count != group)
        bench_fail(
            "%lld jobs were claimed, not %lld", (long long)count,
            (long long)group);
    body[length++] = ']';
    body[length++] = '}';
    must(w, wire_call(w, "POST", "/jobs/report", length), 200, "a report");
    if (strstr(w->body, "\"accepted\":false"))
        bench_fail("a report was refused: %s", w->body);
}

static double get(wire *w, const char *path)
{
    double begin = bench_seconds();
    int status = wire_call(w, "GET", path, 0);
    double took = bench_seconds() - begin;
    must(w, status, 200, path);
    return took;
}

int main(int argc, char **argv)
{
    const char *path = bench_text(argv, "path", "");
    int64_t group = bench_number(argv, "group", 1);
    int64_t rounds = bench_number(argv, "rounds", 100);
    double *took = calloc((size_t)rounds + 1, sizeof *took);
    wire w;

    (void)argc;
    if (!took || group < 1 || group > GROUP_MOST)
        bench_fail("groups of 1 to %d", GROUP_MOST);
    wire_open(&w, bench_number(argv, "port", -1));
    for (int64_t i = 0; i < rounds; i++) {
        if (path[0]) {
            took[i] = get(&w, path);
            continue;
        }
        submit(&w, group);
        took[i] = claim(&w, group);
        report(&w, group);
    }
    bench_sample(
        "depth", "p50_ms", bench_quantile(took, (size_t)rounds, 0.5) * 1e3,
        "p99_ms", bench_quantile(took, (size_t)rounds, 0.99) * 1e3,
        (const char *)NULL);
    wire_close(&w);
    free(took);
    return 0;
}
