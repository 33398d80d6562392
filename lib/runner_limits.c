/* SPDX-License-Identifier: MIT */
/* What a program may use. Hides which means of the kernel hold it to that. */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fail.h"

#define MOST_MB (INT64_C(1) << 40)
#define MOST_SECONDS (INT64_C(1) << 40)
#define MOST_PROCESSES (INT64_C(1) << 22) /* pids there are */
#define MB (UINT64_C(1) << 20)

/* Root is not bound by RLIMIT_NPROC. */
static int32_t counts_processes(void)
{
    return geteuid() != 0;
}

void ex_limits_open(executr_runner *runner)
{
    runner->offers |=
        EXECUTR_OFFER_MEMORY | EXECUTR_OFFER_CPU | EXECUTR_OFFER_FILE_SIZE;
    ex_buf_puts(
        &runner->abilities,
        "cpu_seconds and max_file_mb: of each process, by its limits\n"
        "memory_mb: address space of each process, which is only near what it "
        "uses\n");
    if (counts_processes()) {
        runner->offers |= EXECUTR_OFFER_PROCESSES;
        ex_buf_puts(
            &runner->abilities,
            "max_processes: all processes of the user are counted\n");
    } else {
        ex_buf_puts(
            &runner->abilities,
            "max_processes: no; it does not bind root where there is no "
            "control group\n");
    }
}

static executr_status check_one(
    const executr_runner *runner, int64_t value, int64_t most, const char *name,
    uint32_t offer, executr_error *err)
{
    if (value < 0 || value > most)
        return ex_fail_field(
            err, name, "%s is %lld, but must be 0 (no limit) to %lld", name,
            (long long)value, (long long)most);
    if (value > 0 && !(runner->offers & offer))
        return ex_fail(
            err, EXECUTR_E_UNSUPPORTED,
            "%s can't be enforced on this machine: it takes a control group "
            "or a user that is not root",
            name);
    return EXECUTR_OK;
}

executr_status ex_limits_check(
    const executr_runner *runner, const executr_program *program,
    executr_error *err)
{
    executr_status st = check_one(
        runner, program->memory_mb, MOST_MB, "memory_mb", EXECUTR_OFFER_MEMORY,
        err);
    if (!st)
        st = check_one(
            runner, program->cpu_seconds, MOST_SECONDS, "cpu_seconds",
            EXECUTR_OFFER_CPU, err);
    if (!st)
        st = check_one(
            runner, program->max_processes, MOST_PROCESSES, "max_processes",
            EXECUTR_OFFER_PROCESSES, err);
    if (!st)
        st = check_one(
            runner, program->max_file_mb, MOST_MB, "max_file_mb",
            EXECUTR_OFFER_FILE_SIZE, err);
    return st;
}

/* Never above the one that we ourselves have. */
static void add(
    ex_launch *launch, int32_t resource, uint64_t soft, uint64_t hard)
{
    struct rlimit own;

    if (getrlimit((__rlimit_resource_t)resource, &own) == 0) {
        soft = soft < own.rlim_max ? soft : own.rlim_max;
        hard = hard < own.rlim_max ? hard : own.rlim_max;
    }
    launch->rlimits[launch->rlimit_count++] = (ex_rlimit){resource, soft, hard};
}

void ex_limits_launch(const ex_run *run, ex_launch *launch)
{
    uint64_t memory = (uint64_t)run->limits.memory_mb * MB;
    uint64_t file = (uint64_t)run->limits.max_file_mb * MB;
    uint64_t cpu = (uint64_t)run->limits.cpu_seconds;
    uint64_t processes = (uint64_t)run->limits.max_processes;

    if (memory)
        add(launch, RLIMIT_AS, memory, memory);
    /* The soft one sends SIGXCPU, which a program may ignore. */
    if (cpu)
        add(launch, RLIMIT_CPU, cpu, cpu + 1);
    if (processes)
        add(launch, RLIMIT_NPROC, processes, processes);
    if (file)
        add(launch, RLIMIT_FSIZE, file, file);
}

/* ---- In the child, which shares our memory: bare system calls only. */

__attribute__((no_sanitize("address", "undefined", "thread"))) int
ex_child_limits(const ex_launch *launch)
{
    for (size_t i = 0; i < launch->rlimit_count; i++) {
        const ex_rlimit *limit = &launch->rlimits[i];
        const uint64_t values[2] = {limit->soft, limit->hard};
        if (syscall(SYS_prlimit64, 0, limit->resource, values, NULL) != 0)
            return errno;
    }
    return 0;
}
