/* SPDX-License-Identifier: MIT */
/* The control group of one program. Hides its files in both versions. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner.h"

#define MB (INT64_C(1) << 20)

static int write_number(int fd, const char *group, const char *file, int64_t n)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, n);
    return ex_cgroup_write(fd, group, file, text);
}

/* What need not be there and is no loss then. */
static void write_optional(
    int fd, const char *group, const char *file, int64_t n)
{
    if (write_number(fd, group, file, n) != 0)
        errno = 0;
}

static int limit_memory(const ex_cgroups *groups, const ex_run *run)
{
    int fd = groups->fd[groups->memory_in];
    const char *name = run->group.name;
    int64_t bytes = run->limits.memory_mb * MB;

    if (groups->memory_in == EX_CGROUP_UNIFIED) {
        write_optional(fd, name, "memory.swap.max", 0);
        write_optional(fd, name, "memory.oom.group", 1);
        return write_number(fd, name, "memory.max", bytes);
    }
    if (write_number(fd, name, "memory.limit_in_bytes", bytes) != 0)
        return -1;
    /* Memory and swap together; only where swap is counted. */
    write_optional(fd, name, "memory.memsw.limit_in_bytes", bytes);
    return 0;
}

/* The hierarchies in which this program gets a group. */
static uint32_t wanted(const ex_cgroups *groups, const ex_allowance *limits)
{
    uint32_t in = 0;

    if (!limits->memory_mb && !limits->max_processes && !limits->cpu_seconds)
        return 0;
    if (groups->fd[EX_CGROUP_UNIFIED] >= 0)
        in |= 1U << EX_CGROUP_UNIFIED;
    if (limits->memory_mb && groups->memory_in >= 0)
        in |= 1U << groups->memory_in;
    if (limits->max_processes && groups->pids_in >= 0)
        in |= 1U << groups->pids_in;
    return in;
}

static int make_in(const ex_cgroups *groups, ex_cgroup *group, size_t kind)
{
    char path[64];
    int fd = groups->fd[kind];

    if (mkdirat(fd, group->name, 0755) != 0)
        return -1;
    group->in |= 1U << kind;
    snprintf(path, sizeof path, "%s/cgroup.procs", group->name);
    group->joins[kind] =
        ex_fd_above_stdio(openat(fd, path, O_WRONLY | O_CLOEXEC));
    return group->joins[kind] < 0 ? -1 : 0;
}

void ex_group_init(ex_cgroup *group)
{
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++)
        group->joins[i] = -1;
}

int ex_group_make(const executr_runner *runner, ex_run *run)
{
    const ex_cgroups *groups = &runner->groups;
    ex_cgroup *group = &run->group;
    uint32_t in = wanted(groups, &run->limits);
    int failed = 0;

    if (!in)
        return 0;
    snprintf(
        group->name, sizeof group->name, EX_GROUP_NAME "%016" PRIx64,
        run->mark ? run->mark : run->token);
    for (size_t i = 0; !failed && i < EX_CGROUP_KINDS; i++) {
        if (in & 1U << i)
            failed = make_in(groups, group, i);
    }
    if (!failed && run->limits.memory_mb && groups->memory_in >= 0)
        failed = limit_memory(groups, run);
    if (!failed && run->limits.max_processes && groups->pids_in >= 0)
        failed = write_number(
            groups->fd[groups->pids_in], group->name, "pids.max",
            run->limits.max_processes);
    int number = failed ? errno : 0;
    if (failed)
        ex_group_remove(runner, run);
    return number;
}

void ex_group_joined(ex_run *run)
{
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++) {
        if (run->group.joins[i] >= 0)
            close(run->group.joins[i]);
        run->group.joins[i] = -1;
    }
}

/* One hierarchy is enough to kill in: all hold the same processes. */
size_t ex_group_kill(const executr_runner *runner, const ex_run *run)
{
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++) {
        if (run->group.in & 1U << i)
            return (size_t)ex_cgroup_kill(
                runner->groups.fd[i], run->group.name);
    }
    return 0;
}

void ex_group_remove(const executr_runner *runner, ex_run *run)
{
    ex_group_joined(run);
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++) {
        /* What stays goes with the runner's own directory. */
        if (run->group.in & 1U << i &&
            ex_cgroup_remove(runner->groups.fd[i], run->group.name) != 0)
            errno = 0;
    }
    run->group.in = 0;
}

static int64_t read_number(int fd, const char *group, const char *file)
{
    char text[32];

    if (ex_cgroup_read(fd, group, file, text, sizeof text) != 0 ||
        text[0] < '0' || text[0] > '9')
        return -1;
    return strtoll(text, NULL, 10);
}

static int64_t read_figure(
    int fd, const char *group, const char *file, const char *word)
{
    char text[2048];

    if (ex_cgroup_read(fd, group, file, text, sizeof text) != 0)
        return -1;
    return ex_cgroup_figure(text, word);
}

static void measure_memory(
    const ex_cgroups *groups, const char *name, ex_cgroup_figures *out)
{
    int fd = groups->fd[groups->memory_in];

    if (groups->memory_in == EX_CGROUP_UNIFIED) {
        out->oom_kills = read_figure(fd, name, "memory.events", "oom_kill");
        out->peak_bytes = read_number(fd, name, "memory.peak");
        return;
    }
    out->oom_kills = read_figure(fd, name, "memory.oom_control", "oom_kill");
    out->peak_bytes = read_number(fd, name, "memory.max_usage_in_bytes");
}

void ex_group_measure(
    const executr_runner *runner, const ex_run *run, ex_cgroup_figures *out)
{
    const ex_cgroups *groups = &runner->groups;
    const char *name = run->group.name;
    uint32_t in = run->group.in;
    int unified = groups->fd[EX_CGROUP_UNIFIED];

    *out = (ex_cgroup_figures){-1, -1, -1, -1, -1};
    if (groups->memory_in >= 0 && in & 1U << groups->memory_in)
        measure_memory(groups, name, out);
    if (groups->pids_in >= 0 && in & 1U << groups->pids_in)
        out->pids_refused = read_figure(
            groups->fd[groups->pids_in], name, "pids.events", "max");
    if (in & 1U << EX_CGROUP_UNIFIED) {
        out->user_us = read_figure(unified, name, "cpu.stat", "user_usec");
        out->system_us = read_figure(unified, name, "cpu.stat", "system_usec");
    }
}
