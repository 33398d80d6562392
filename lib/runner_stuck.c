/* SPDX-License-Identifier: MIT */
/*
 * Programs that SIGKILL does not end. Hides the leaders that are kept, without
 * a run, until the kernel lets them go.
 */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

/* The descriptor of the leader goes from the run to what is stuck. If that
 * can't be, the leader is reaped by nobody; a zombie is all that is lost. */
static void take_leader(executr_runner *runner, ex_run *run)
{
    void *memory;

    if (ex_alloc(&memory, sizeof(ex_stuck), NULL))
        return;
    ex_stuck *stuck = memory;
    ex_watch watch = {-1, EX_WATCH_STUCK, NULL, NULL};
    stuck->process = watch;
    stuck->process.fd = fcntl(run->process.fd, F_DUPFD_CLOEXEC, 3);
    ex_watch_close(runner, &run->process);
    stuck->pid = run->pid;
    if (stuck->process.fd < 0 ||
        ex_watch_add(runner, &stuck->process, EPOLLIN, NULL)) {
        ex_watch_close(runner, &stuck->process);
        ex_free(stuck);
        return;
    }
    stuck->next = runner->stuck;
    runner->stuck = stuck;
    runner->stuck_count++;
}

void ex_stuck_keep(executr_runner *runner, ex_run *run)
{
    ex_log(
        &runner->log, EXECUTR_LOG_ERROR,
        "a program does not end on SIGKILL: is a disk or network file system "
        "stuck?",
        "job", run->name, "pid", EX_I64(run->pid), NULL);
    take_leader(runner, run);
    ex_run_forget_pid(runner, run);
    ex_result_unkillable(run);
    ex_run_over(runner, run);
}

static void let_go(executr_runner *runner, ex_stuck *stuck)
{
    ex_watch_close(runner, &stuck->process);
    ex_free(stuck);
}

void ex_stuck_gone(executr_runner *runner, ex_watch *watch)
{
    ex_stuck **at = &runner->stuck;
    siginfo_t info;

    while (*at && &(*at)->process != watch)
        at = &(*at)->next;
    ex_stuck *stuck = *at;
    if (!stuck)
        return;
    if (waitid(P_PIDFD, (id_t)watch->fd, &info, WEXITED | WNOHANG | __WALL))
        errno = 0; /* somebody else was quicker */
    ex_log(
        &runner->log, EXECUTR_LOG_INFO,
        "a program that did not end on SIGKILL is gone", "pid",
        EX_I64(stuck->pid), NULL);
    *at = stuck->next;
    runner->stuck_count--;
    let_go(runner, stuck);
}

void ex_stuck_close(executr_runner *runner)
{
    while (runner->stuck) {
        ex_stuck *stuck = runner->stuck;
        runner->stuck = stuck->next;
        let_go(runner, stuck);
    }
}

size_t executr_runner_unkillable(const executr_runner *runner)
{
    return runner->stuck_count;
}
