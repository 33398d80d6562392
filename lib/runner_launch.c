/* SPDX-License-Identifier: MIT */
/* The start of a program; hides tries, shortages and failed starts. */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/time.h"

/*
 * A file that another process has open for writing can't be executed: a fetch
 * thread's descriptor that a child of ours inherited for the moment between
 * clone and exec is enough, and gone soon.
 */
#define BUSY_TRIES 50
#define BUSY_DELAY_US 2000

static int is_shortage(int number)
{
    return number == EAGAIN || number == ENOMEM || number == EMFILE ||
           number == ENFILE || number == ENOSPC || number == EDQUOT;
}

/* What is short, and what to do about it. */
static const char *shortage_of(int number)
{
    switch (number) {
    case EAGAIN:
        return "no more processes are allowed; raise the limit (ulimit -u, or "
               "pids.max of the control group) or run fewer programs at once";
    case ENOMEM:
        return "the system has no memory left; free some or run fewer programs "
               "at once";
    case EMFILE:
        return "this process has too many files open; raise the limit "
               "(ulimit -n) or run fewer programs at once";
    case ENFILE:
        return "the system has too many files open; raise fs.file-max";
    case ENOSPC:
        return "no space or no inode is left on the volume of the work "
               "directory; free some or choose another one";
    default:
        return "the disk quota for the work directory is used up; free some "
               "space or choose another one";
    }
}

executr_status ex_start_failed(executr_error *err, int number, const char *what)
{
    if (!is_shortage(number))
        return ex_fail_errno(err, number, "%s", what);
    executr_status st = ex_fail(
        err, EXECUTR_E_UNAVAILABLE, "%s: %s", what, shortage_of(number));
    if (err)
        err->native = number;
    return st;
}

void ex_run_forget_pid(executr_runner *runner, ex_run *run)
{
    ex_run **at = &runner->by_pid[(size_t)run->pid % EX_PID_BUCKETS];

    while (*at && *at != run)
        at = &(*at)->next_by_pid;
    if (*at)
        *at = run->next_by_pid;
    run->next_by_pid = NULL;
}

void ex_run_close_ends(ex_run *run)
{
    if (run->out_fd >= 0)
        close(run->out_fd);
    if (run->err_fd >= 0)
        close(run->err_fd);
    run->out_fd = -1;
    run->err_fd = -1;
}

/* Its strings were the caller's; a run that waits needs its own. */
static int keep_strings(ex_run *run)
{
    char *path = ex_arena_strdup(&run->arena, run->path);

    if (!path)
        return -1;
    run->path = path;
    const char **lists[2] = {run->argv, run->envp};
    for (size_t n = 0; n < 2; n++) {
        for (size_t i = 0; lists[n][i]; i++) {
            char *copy = ex_arena_strdup(&run->arena, lists[n][i]);
            if (!copy)
                return -1;
            lists[n][i] = copy;
        }
    }
    return 0;
}

static executr_status wait_for_file(
    executr_runner *runner, ex_run *run, executr_error *err)
{
    if (run->state != EX_RUN_WAITING && keep_strings(run))
        return ex_fail_nomem(err);
    run->state = EX_RUN_WAITING;
    run->look_at_us = ex_monotonic_us() + BUSY_DELAY_US * run->tries;
    ex_runner_wake_at(runner, run->look_at_us);
    return EXECUTR_OK;
}

static executr_status start_failed(executr_error *err, const ex_launch *launch)
{
    char what[128];

    snprintf(
        what, sizeof what, "cannot start a program%s%s",
        launch->what ? ": can't " : "", launch->what ? launch->what : "");
    return ex_start_failed(err, launch->error, what);
}

static executr_status launch_failed(
    executr_runner *runner, ex_run *run, const ex_launch *launch,
    executr_error *err)
{
    int number = launch->error;
    int busy = launch->stage == EX_STAGE_EXEC && number == ETXTBSY;

    if (number == ETIME && ex_deadline_struck(run)) {
        ex_result_exec_failed(run, number);
        run->result.outcome = EXECUTR_OUTCOME_LOST;
        ex_run_over(runner, run);
        return EXECUTR_OK;
    }
    /* Of its own memory, not the machine's. */
    if (launch->stage == EX_STAGE_EXEC && number == ENOMEM &&
        run->limits.memory_mb) {
        ex_result_no_memory(run);
        ex_run_over(runner, run);
        return EXECUTR_OK;
    }
    if (busy && run->tries < BUSY_TRIES)
        return wait_for_file(runner, run, err);
    /* One that waits was promised an end, so nothing can be returned. */
    if (run->state == EX_RUN_WAITING && is_shortage(number))
        return wait_for_file(runner, run, err);
    if (run->state != EX_RUN_WAITING &&
        (is_shortage(number) || launch->stage != EX_STAGE_EXEC))
        return start_failed(err, launch);
    ex_result_exec_failed(run, number);
    ex_run_over(runner, run);
    return EXECUTR_OK;
}

static void kill_leader(const ex_run *run)
{
    siginfo_t info;

    kill(run->pid, SIGKILL);
    while (waitid(P_PID, (id_t)run->pid, &info, WEXITED | __WALL) != 0 &&
           errno == EINTR)
        continue;
}

/* From here on the loop looks after it. */
static executr_status watch_all(
    executr_runner *runner, ex_run *run, executr_error *err)
{
    executr_status st = ex_watch_add(runner, &run->process, EPOLLIN, err);
    if (!st)
        st = ex_watch_add(runner, &run->out, EPOLLIN, err);
    if (!st)
        st = ex_watch_add(runner, &run->err, EPOLLIN, err);
    return st;
}

static void now_alive(executr_runner *runner, ex_run *run, pid_t pid)
{
    size_t bucket = (size_t)pid % EX_PID_BUCKETS;

    ex_run_close_ends(run);
    run->pid = pid;
    ex_group_joined(run);
    run->next_by_pid = runner->by_pid[bucket];
    runner->by_pid[bucket] = run;
    run->state = EX_RUN_ALIVE;
    run->look_at_us = EX_NEVER;
    run->started_us = ex_monotonic_us();
    ex_limits_look(runner, run, run->started_us);
    if (run->timeout_ms > 0) {
        run->timeout_at_us = run->started_us + run->timeout_ms * 1000;
        ex_runner_wake_at(runner, run->timeout_at_us);
    }
}

executr_status ex_run_launch(
    executr_runner *runner, ex_run *run, executr_error *err)
{
    ex_launch launch = {
        .path = run->path,
        .argv = run->argv,
        .envp = run->envp,
        .directory = run->name,
        .directory_fd = runner->dir.fd,
        .stdin_fd = runner->null_fd,
        .stdout_fd = run->out_fd,
        .stderr_fd = run->err_fd,
        .mark = run->mark,
        .deadline = ex_deadline_of(run),
        .isolation = run->isolation,
        .iso = &runner->iso,
    };
    char place[PATH_MAX];
    pid_t pid;
    int pidfd = -1;

    run->tries++;
    if (run->isolation > EXECUTR_ISOLATION_BASIC) {
        snprintf(place, sizeof place, "%s/%s", runner->iso.work, run->name);
        launch.place = place;
    }
    ex_limits_launch(runner, run, &launch);
    launch.error = ex_spawn(&runner->stack, &launch, &pid, &pidfd);
    if (launch.error)
        return launch_failed(runner, run, &launch, err);
    run->process.fd = pidfd;
    run->report_fd = launch.report_fd;
    executr_status st = EXECUTR_OK;
    int waited = run->state == EX_RUN_WAITING;
    now_alive(runner, run, pid);
    st = watch_all(runner, run, err);
    if (!st)
        return EXECUTR_OK;
    /* It can't be watched, so it can't be let run. */
    kill(-pid, SIGKILL);
    ex_group_kill(runner, run);
    kill_leader(run);
    ex_run_forget_pid(runner, run);
    if (!waited)
        return ex_fail(err, EXECUTR_E_UNAVAILABLE, "cannot watch a program");
    ex_result_exec_failed(run, ENOMEM);
    ex_run_over(runner, run);
    return EXECUTR_OK;
}
