/* SPDX-License-Identifier: MIT */
/* What a program may use. Hides which means of the kernel hold it to that. */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fail.h"

#define MOST_MB (INT64_C(1) << 40)
#define MOST_SECONDS (INT64_C(1) << 40)
#define MOST_PROCESSES (INT64_C(1) << 22) /* pids there are */
#define MB (UINT64_C(1) << 20)

/* The CPU time of all processes is looked at no more often than so. */
#define LOOK_US (INT64_C(50) * 1000)
#define SECOND_US (INT64_C(1000) * 1000)

/* Root is not bound by RLIMIT_NPROC. */
static int32_t counts_processes(const executr_runner *runner)
{
    const ex_user *user = &runner->iso.user;

    return user->set ? user->uid != 0 : geteuid() != 0;
}

static const char *version_of(int32_t hierarchy)
{
    return hierarchy == EX_CGROUP_UNIFIED ? "2" : "1";
}

static void say_ends(executr_runner *runner)
{
    ex_buf_printf(
        &runner->abilities, "end of a program: its session%s%s%s\n",
        runner->mark_base ? ", and all descendants by a mark they carry" : "",
        runner->subreaper ? ", orphans return to this process" : "",
        runner->groups.has_kill ? "; with limits, its control group at once"
                                : "");
}

static void say_processes(executr_runner *runner)
{
    ex_buf *say = &runner->abilities;

    if (runner->groups.pids_in >= 0)
        ex_buf_printf(
            say, "max_processes: by control group, version %s\n",
            version_of(runner->groups.pids_in));
    else if (counts_processes(runner))
        ex_buf_puts(
            say,
            "max_processes: by RLIMIT_NPROC, which counts all processes of "
            "the user (approximate)\n");
    else
        ex_buf_puts(
            say, "max_processes: no; there is no writable control group, and "
                 "RLIMIT_NPROC does not bind root\n");
}

void ex_limits_open(executr_runner *runner)
{
    const ex_cgroups *groups = &runner->groups;
    ex_buf *say = &runner->abilities;

    runner->offers |=
        EXECUTR_OFFER_MEMORY | EXECUTR_OFFER_CPU | EXECUTR_OFFER_FILE_SIZE;
    if (groups->pids_in >= 0 || counts_processes(runner))
        runner->offers |= EXECUTR_OFFER_PROCESSES;
    say_ends(runner);
    if (groups->memory_in >= 0)
        ex_buf_printf(
            say, "memory_mb: by control group, version %s\n",
            version_of(groups->memory_in));
    else
        ex_buf_puts(
            say, "memory_mb: by RLIMIT_AS, the address space of each process "
                 "(approximate)\n");
    ex_buf_puts(
        say, groups->fd[EX_CGROUP_UNIFIED] >= 0
                 ? "cpu_seconds: of all processes together\n"
                 : "cpu_seconds: by RLIMIT_CPU, of each process\n");
    say_processes(runner);
    ex_buf_puts(say, "max_file_mb: by RLIMIT_FSIZE\n");
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

void ex_limits_launch(
    const executr_runner *runner, const ex_run *run, ex_launch *launch)
{
    const ex_allowance *limits = &run->limits;
    uint64_t memory = (uint64_t)limits->memory_mb * MB;
    uint64_t file = (uint64_t)limits->max_file_mb * MB;
    uint64_t cpu = (uint64_t)limits->cpu_seconds;
    uint64_t processes = (uint64_t)limits->max_processes;

    launch->joins = run->group.joins;
    if (memory && runner->groups.memory_in < 0)
        add(launch, RLIMIT_AS, memory, memory);
    /* The soft one sends SIGXCPU, which a program may ignore. */
    if (cpu)
        add(launch, RLIMIT_CPU, cpu, cpu + 1);
    if (processes && runner->groups.pids_in < 0)
        add(launch, RLIMIT_NPROC, processes, processes);
    if (file)
        add(launch, RLIMIT_FSIZE, file, file);
}

/* Time that all processes of a program used; -1: nobody counts it. */
static int64_t cpu_us(const executr_runner *runner, const ex_run *run)
{
    ex_cgroup_figures figures;

    ex_group_measure(runner, run, &figures);
    if (figures.user_us < 0 || figures.system_us < 0)
        return -1;
    return figures.user_us + figures.system_us;
}

void ex_limits_look(executr_runner *runner, ex_run *run, int64_t now_us)
{
    run->cpu_at_us = EX_NEVER;
    if (!run->limits.cpu_seconds || run->killed)
        return;
    int64_t used = cpu_us(runner, run);
    if (used < 0)
        return;
    /* A second more: first the kernel sends SIGXCPU to who used all alone. */
    int64_t left = (run->limits.cpu_seconds + 1) * SECOND_US - used;
    if (left <= 0) {
        ex_run_stop(runner, run, EXECUTR_OUTCOME_LIMIT, 0);
        return;
    }
    /* No sooner can it be used up. */
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    left /= processors > 0 ? processors : 1;
    run->cpu_at_us = now_us + (left > LOOK_US ? left : LOOK_US);
    ex_runner_wake_at(runner, run->cpu_at_us);
}

static void say_cpu(ex_run *run)
{
    executr_result *result = &run->result;

    result->outcome = EXECUTR_OUTCOME_LIMIT;
    snprintf(
        result->message, sizeof result->message,
        "used more CPU time than its limit, cpu_seconds %lld",
        (long long)run->limits.cpu_seconds);
}

static void say_file(ex_run *run)
{
    executr_result *result = &run->result;

    result->outcome = EXECUTR_OUTCOME_LIMIT;
    snprintf(
        result->message, sizeof result->message,
        "wrote a larger file than its limit, max_file_mb %lld",
        (long long)run->limits.max_file_mb);
}

void ex_result_no_memory(ex_run *run)
{
    executr_result *result = &run->result;

    result->outcome = EXECUTR_OUTCOME_OOM;
    snprintf(
        result->message, sizeof result->message,
        "out of memory: it needs more than its limit, memory_mb %lld",
        (long long)run->limits.memory_mb);
}

/* An end of its own that a limit may have to do with. */
static void add_hint(ex_run *run, const char *text, int64_t value)
{
    char *message = run->result.message;
    size_t size = sizeof run->result.message;

    if (!message[0])
        snprintf(
            message, size, "exited with code %d", (int)run->result.exit_code);
    size_t length = strlen(message);
    snprintf(
        message + length, size - length, "; %s %lld", text, (long long)value);
}

/* Whether the limit on CPU time ended it. */
static int ran_out(
    const ex_run *run, const ex_cgroup_figures *figures, int64_t limit)
{
    int64_t used =
        (int64_t)((run->result.user_seconds + run->result.system_seconds) * (double)SECOND_US);

    if (figures->user_us + figures->system_us > used)
        used = figures->user_us + figures->system_us;
    if (run->result.signal == SIGXCPU)
        return limit > 0;
    return run->result.signal == SIGKILL && limit > 0 &&
           used >= limit * SECOND_US;
}

void ex_limits_judge(const executr_runner *runner, ex_run *run)
{
    const ex_allowance *limits = &run->limits;
    const executr_result *result = &run->result;
    ex_cgroup_figures figures;

    if (run->stopped == EXECUTR_OUTCOME_LIMIT)
        say_cpu(run);
    if (run->stopped || result->outcome == EXECUTR_OUTCOME_LOST ||
        (result->has_exit_code && result->exit_code == 0))
        return;
    ex_group_measure(runner, run, &figures);
    if (figures.oom_kills > 0)
        ex_result_no_memory(run);
    else if (ran_out(run, &figures, limits->cpu_seconds))
        say_cpu(run);
    else if (result->signal == SIGXFSZ && limits->max_file_mb)
        say_file(run);
    else if (figures.pids_refused > 0)
        add_hint(
            run, "it reached its limit, max_processes", limits->max_processes);
    else if (
        result->signal && limits->memory_mb && runner->groups.memory_in < 0)
        add_hint(
            run, "its address space was limited to memory_mb",
            limits->memory_mb);
}

void ex_limits_usage(const executr_runner *runner, ex_run *run)
{
    executr_result *result = &run->result;
    ex_cgroup_figures figures;

    if (!run->group.in)
        return;
    ex_group_measure(runner, run, &figures);
    if (figures.user_us >= 0)
        result->user_seconds = (double)figures.user_us / SECOND_US;
    if (figures.system_us >= 0)
        result->system_seconds = (double)figures.system_us / SECOND_US;
    if (figures.peak_bytes >= 0)
        result->max_rss_bytes = figures.peak_bytes;
}

/* ---- In the child, which shares our memory: bare system calls only. */

EX_CHILD_CODE int ex_child_limits(const ex_launch *launch)
{
    for (size_t i = 0; launch->joins && i < EX_CGROUP_KINDS; i++) {
        if (launch->joins[i] >= 0 &&
            syscall(SYS_write, launch->joins[i], "0", 1) != 1)
            return errno;
    }
    for (size_t i = 0; i < launch->rlimit_count; i++) {
        const ex_rlimit *limit = &launch->rlimits[i];
        const uint64_t values[2] = {limit->soft, limit->hard};
        if (syscall(SYS_prlimit64, 0, limit->resource, values, NULL) != 0)
            return errno;
    }
    return 0;
}
