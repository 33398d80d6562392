/* SPDX-License-Identifier: MIT */
/*
 * From the moment before a job is submitted to the first line of its program,
 * one job at a time on a system that is idle in between. The program prints
 * the monotonic clock, which all processes share.
 *
 *   bench_latency --port PORT --sha256 OF_BENCH_STAMP [--jobs N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "wire.h"

#define IDLE_US 15000
#define LOOK_US 3000
#define LOOKS 10000

static double started_at(wire *w, const char *id)
{
    char path[80];

    snprintf(path, sizeof path, "/jobs/%s", id);
    for (int i = 0; i < LOOKS; i++) {
        usleep(LOOK_US);
        int status = wire_call(w, "GET", path, 0);
        if (status != 200 || strstr(w->body, "\"status\":\"failed\""))
            bench_fail("the job failed: %s", w->body);
        const char *output = wire_find(w->body, "\"stdout\":\"");
        if (output && strstr(w->body, "\"status\":\"completed\""))
            return strtod(output, NULL) / 1e9;
    }
    bench_fail("the job does not end: %s", w->body);
}

static double one(wire *w, const char *body)
{
    char id[37];

    double begin = bench_seconds();
    size_t length = strlen(body);
    memcpy(wire_body(w, length), body, length);
    int status = wire_call(w, "POST", "/jobs", length);
    const char *given = wire_find(w->body, "\"id\":\"");
    if (status != 201 || !given)
        bench_fail("a submission was answered with %d: %s", status, w->body);
    snprintf(id, sizeof id, "%.36s", given);
    return started_at(w, id) - begin;
}

int main(int argc, char **argv)
{
    int64_t jobs = bench_number(argv, "jobs", 100);
    double *took = calloc((size_t)jobs + 1, sizeof *took);
    char body[256];
    wire w;

    (void)argc;
    if (!took)
        bench_fail("no memory");
    snprintf(
        body, sizeof body, "{\"type\":\"bench\",\"binary_sha256\":\"%s\"}",
        bench_text(argv, "sha256", NULL));
    wire_open(&w, bench_number(argv, "port", -1));
    one(&w, body); /* fetches the program */
    for (int64_t i = 0; i < jobs; i++) {
        usleep(IDLE_US);
        took[i] = one(&w, body);
    }
    bench_sample(
        "latency", "p50_ms", bench_quantile(took, (size_t)jobs, 0.5) * 1e3,
        "p99_ms", bench_quantile(took, (size_t)jobs, 0.99) * 1e3,
        (const char *)NULL);
    wire_close(&w);
    free(took);
    return 0;
}
