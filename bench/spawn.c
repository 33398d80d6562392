/* SPDX-License-Identifier: MIT */
/*
 * Rounds of the same jobs through bare loops and through the runner at each
 * level of isolation it has, by turns.
 *
 *   bench_spawn --program PATH --directory DIR [--rounds N] [--jobs N]
 *               [--concurrency N] [--loop NAME]
 */
#include <executr/job.h>
#include <executr/runner.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bare.h"
#include "bench.h"

typedef struct load {
    const char *program;
    const char *loop; /* the only one; "" for all */
    int64_t jobs;
    int64_t concurrency;
} load;

static void ended(void *ctx, uint64_t token, const executr_result *result)
{
    int64_t *count = ctx;
    int32_t code = -1;

    executr_result_exit_code(result, &code);
    if (code != 0)
        bench_fail(
            "job %llu: exit code %d %s", (unsigned long long)token, code,
            executr_result_message(result));
    ++*count;
}

static void must(executr_status status, const executr_error *err)
{
    if (status)
        bench_fail("%s", err->message);
}

static void runner_loop(
    executr_runner *runner, int32_t isolation, const load *l)
{
    executr_program program = EXECUTR_PROGRAM_INIT;
    executr_error err;
    char name[24];
    int64_t started = 0;
    int64_t count = 0;

    program.path = l->program;
    program.name = name;
    program.isolation = isolation;
    while (count < l->jobs) {
        for (; started < l->jobs && started - count < l->concurrency;
             started++) {
            snprintf(name, sizeof name, "%lld", (long long)started);
            must(
                executr_runner_start(runner, &program, (uint64_t)started, &err),
                &err);
        }
        must(executr_runner_step(runner, -1, ended, &count, &err), &err);
    }
}

typedef struct loop {
    const char *name;
    uint32_t offer; /* what the runner must have; 0: a bare loop */
    int32_t isolation;
    int how; /* of a bare one */
} loop;

static const loop loops[] = {
    {"bare", 0, 0, BARE_SPAWN},
    {"vfork", 0, 0, BARE_VFORK},
    {"session", 0, 0, BARE_SESSION},
    {"basic", EXECUTR_OFFER_BASIC, EXECUTR_ISOLATION_BASIC, 0},
    {"standard", EXECUTR_OFFER_STANDARD, EXECUTR_ISOLATION_STANDARD, 0},
    {"strict", EXECUTR_OFFER_STRICT, EXECUTR_ISOLATION_STRICT, 0},
};

static void run(executr_runner *runner, const loop *which, const load *l)
{
    if (which->offer)
        runner_loop(runner, which->isolation, l);
    else
        bare_loop(l->program, l->jobs, l->concurrency, which->how);
}

static void measure(executr_runner *runner, const loop *which, const load *l)
{
    double cpu = bench_own_cpu();
    double begin = bench_seconds();

    run(runner, which, l);
    double wall = bench_seconds() - begin;
    cpu = bench_own_cpu() - cpu;
    double jobs = (double)l->jobs;
    bench_sample(
        which->name, "jobs_per_s", jobs / wall, "own_cpu_us", cpu / jobs * 1e6,
        (const char *)NULL);
}

static int wanted(const loop *which, const load *l, uint32_t offers)
{
    if (l->loop[0] && strcmp(l->loop, which->name) != 0)
        return 0;
    return !which->offer || (offers & which->offer);
}

static void measure_all(executr_runner *runner, const load *l, int64_t rounds)
{
    uint32_t offers = executr_runner_offers(runner);
    load warm = *l;

    warm.jobs = l->jobs / 10 + 1;
    /* The first round is to warm up and counts for nothing. */
    for (int64_t round = 0; round <= rounds; round++) {
        for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
            if (!wanted(&loops[i], l, offers))
                continue;
            if (round == 0)
                run(runner, &loops[i], &warm);
            else
                measure(runner, &loops[i], l);
        }
    }
}

int main(int argc, char **argv)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    executr_runner *runner;
    executr_error err;
    load l = {
        .program = bench_text(argv, "program", NULL),
        .loop = bench_text(argv, "loop", ""),
        .jobs = bench_number(argv, "jobs", 1000),
        .concurrency = bench_number(argv, "concurrency", 4),
    };

    (void)argc;
    options.work_directory = bench_text(argv, "directory", NULL);
    options.subreaper = 1;
    if (chdir(options.work_directory) != 0)
        bench_fail_errno(options.work_directory);
    must(executr_runner_open(&options, &runner, &err), &err);
    measure_all(runner, &l, bench_number(argv, "rounds", 5));
    executr_runner_free(runner);
    return 0;
}
