/* SPDX-License-Identifier: MIT */
/*
 * Finds and kills what a program left behind outside its process group. Hides
 * the mark that every descendant of a program carries.
 *
 * The mark is the hard limit RLIMIT_RTTIME, a number too large to ever matter:
 * it is inherited by fork, kept by exec and setsid, can be lowered but never
 * raised without privileges, and is read by one system call. Each run has a
 * number of its own, and each runner a random range of its own, so that runners
 * of other programs are safe from us and we from them. A runner inside a job
 * of another runner takes marks below its own limit.
 */
#include "runner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

#define HIGHEST_MARK (UINT64_C(1) << 62)
#define LOWEST_MARK (UINT64_C(1) << 60)
#define RANGES (UINT64_C(1) << 26)

/* Passes over all processes while new ones turn up. */
#define PASSES 20

/* So many in a row must find nothing, once one has: of a chain of forks whose
 * parents end, a single pass may miss the one that lives. */
#define CLEAN_PASSES 3

/* The children of a thread: orphans come to the first one. Kept open, as a
 * look at it follows every program; -1: the kernel has no such file. */
static int open_children(const executr_runner *runner)
{
    char path[64];

    snprintf(
        path, sizeof path, "/proc/self/task/%ld/children", (long)runner->pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static uint64_t limit_of(pid_t pid)
{
    struct rlimit limit;

    if (prlimit(pid, RLIMIT_RTTIME, NULL, &limit) != 0)
        return 0;
    return limit.rlim_max;
}

void ex_strays_open(executr_runner *runner)
{
    uint64_t chance;

    runner->own_limit = limit_of(0);
    uint64_t top = runner->own_limit;
    if (top > HIGHEST_MARK)
        top = HIGHEST_MARK;
    if (top < LOWEST_MARK + EX_MARK_RANGE * RANGES ||
        getrandom(&chance, sizeof chance, 0) != sizeof chance) {
        ex_log(
            &runner->log, EXECUTR_LOG_WARN,
            "programs that leave their session can't be found: RLIMIT_RTTIME "
            "is low",
            NULL);
        return;
    }
    runner->mark_base = top - EX_MARK_RANGE * (chance % RANGES);
    if (runner->subreaper)
        runner->children = open_children(runner);
}

void ex_strays_close(executr_runner *runner)
{
    if (runner->children >= 0)
        close(runner->children);
    runner->children = -1;
}

ex_run *ex_run_by_pid(const executr_runner *runner, pid_t pid)
{
    ex_run *run = runner->by_pid[(size_t)pid % EX_PID_BUCKETS];

    while (run && run->pid != pid)
        run = run->next_by_pid;
    return run;
}

/* 1 if a run that has not ended yet carries this mark. */
static int is_live(const executr_runner *runner, uint64_t mark)
{
    for (const ex_run *run = runner->runs; run; run = run->next) {
        if (run->mark == mark)
            return run->state == EX_RUN_ALIVE;
    }
    return 0;
}

/*
 * Whether a process that is no leader has to go, now that `run` (may be NULL)
 * ended.
 * What carries the mark of a live run is that run's business. Another limit
 * than ours was lowered from a mark (by a runner inside a job, or to get out
 * of sight): it goes when no program is left that it may belong to.
 */
static int must_die(
    const executr_runner *runner, const ex_run *run, uint64_t limit)
{
    if (run && limit == run->mark)
        return 1;
    if (!runner->subreaper || limit == runner->own_limit || limit == 0)
        return 0;
    if (limit < runner->mark_base && limit > runner->mark_base - EX_MARK_RANGE)
        return !is_live(runner, limit);
    for (const ex_run *other = runner->runs; other; other = other->next) {
        if (other->state == EX_RUN_ALIVE)
            return 0;
    }
    return 1;
}

/* 1 if the process has ended; a child is reaped then. */
static int has_ended(int pidfd, int is_child)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    siginfo_t info;

    if (poll(&ended, 1, 0) <= 0)
        return 0;
    /* ECHILD: init, or a runner inside the job, was quicker. */
    if (is_child &&
        waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | __WALL) != 0)
        errno = 0;
    return 1;
}

/* Look at one process; 1 if it had to be killed. */
static size_t visit(
    const executr_runner *runner, const ex_run *run, pid_t pid, int is_child)
{
    size_t killed = 0;

    if (is_child && ex_run_by_pid(runner, pid))
        return 0;
    uint64_t limit = limit_of(pid);
    if (is_child ? limit == runner->own_limit : !run || limit != run->mark)
        return 0;
    /* The descriptor pins whom we look at; the number may change hands. */
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return errno != ESRCH;
    if (!has_ended(fd, is_child)) {
        limit = limit_of(pid);
        if (must_die(runner, run, limit))
            killed = pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0;
    }
    close(fd);
    return killed;
}

/* Visit the numbers in a piece of the file; *pid is one that is cut. */
static size_t visit_piece(
    const executr_runner *runner, const ex_run *run, ssize_t length, long *pid)
{
    size_t killed = 0;

    for (ssize_t i = 0; i < length; i++) {
        char c = runner->bite[i];
        if (c >= '0' && c <= '9') {
            *pid = *pid * 10 + (c - '0');
        } else if (*pid > 0) {
            killed += visit(runner, run, (pid_t)*pid, 1);
            *pid = 0;
        }
    }
    return killed;
}

static size_t visit_children(executr_runner *runner, const ex_run *run)
{
    size_t killed = 0;
    off_t from = 0;
    long pid = 0;
    ssize_t got;

    do {
        got = pread(runner->children, runner->bite, sizeof runner->bite, from);
        killed += visit_piece(runner, run, got, &pid);
        from += got;
    } while (got > 0);
    return killed;
}

static size_t visit_all(const executr_runner *runner, const ex_run *run)
{
    size_t killed = 0;
    DIR *list = opendir("/proc");

    if (!list) {
        ex_log(
            &runner->log, EXECUTR_LOG_ERROR,
            "cannot read /proc to look for what a program left behind", NULL);
        return 0;
    }
    const struct dirent *entry = readdir(list);
    for (; entry; entry = readdir(list)) {
        long pid = strtol(entry->d_name, NULL, 10);
        if (pid > 1 && pid != runner->pid)
            killed += visit(runner, run, (pid_t)pid, 0);
    }
    closedir(list);
    return killed;
}

/* One look. The cheap one comes first; finding anything calls for all. */
static size_t look(executr_runner *runner, const ex_run *run)
{
    if (runner->children < 0)
        return run ? visit_all(runner, run) : 0;
    size_t killed = visit_children(runner, run);
    if (killed && run)
        killed += visit_all(runner, run);
    return killed;
}

size_t ex_strays_kill(executr_runner *runner, const ex_run *run)
{
    size_t found = 0;
    int clean = CLEAN_PASSES - 1; /* the first one is believed */

    if (!runner->mark_base)
        return 0;
    for (int pass = 0; pass < PASSES && clean < CLEAN_PASSES; pass++) {
        found = look(runner, run);
        clean = found ? 0 : clean + 1;
    }
    return clean < CLEAN_PASSES;
}
