/* SPDX-License-Identifier: MIT */
/*
 * A program from its start to its end: deadlines, signals, output. Hides the
 * order in which things must be taken down.
 */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"

/* Between looks for strays that were killed and have still to go. */
#define LOOK_FIRST_US 1000
#define LOOK_LONGEST_US 100000

/* Bites of output taken at once from a program that ended, so that one that
 * left much in its pipes does not hold up the others. */
#define LAST_BITES 4

int64_t ex_run_due_us(const ex_run *run)
{
    int64_t due = run->look_at_us;

    if (run->cpu_at_us < due)
        due = run->cpu_at_us;
    if (run->timeout_at_us < due)
        due = run->timeout_at_us;
    if (run->kill_at_us < due)
        due = run->kill_at_us;
    if (run->drain_until_us < due)
        due = run->drain_until_us;
    return due;
}

/* 1 if the leader has ended already, though the loop has not seen it. */
static int leader_ended(const ex_run *run)
{
    siginfo_t info = {0};
    int flags = WEXITED | WNOHANG | WNOWAIT | __WALL;

    return waitid(P_PIDFD, (id_t)run->process.fd, &info, flags) != 0 ||
           info.si_pid != 0;
}

/* The group of a leader that is not reaped: its number is no one else's. */
static void signal_group(executr_runner *runner, const ex_run *run, int number)
{
    if (kill(-run->pid, number) != 0 && errno != ESRCH)
        ex_log(
            &runner->log, EXECUTR_LOG_ERROR, "cannot signal a program", "job",
            run->name, "signal", EX_I64(number), "errno", EX_I64(errno), NULL);
}

static void kill_now(executr_runner *runner, ex_run *run, int64_t now_us)
{
    signal_group(runner, run, SIGKILL);
    ex_group_kill(runner, run);
    run->killed = 1;
    run->cpu_at_us = EX_NEVER;
    run->kill_at_us = now_us + runner->unkillable_us;
    ex_runner_wake_at(runner, run->kill_at_us);
}

void ex_run_stop(
    executr_runner *runner, ex_run *run, int32_t outcome, int64_t grace_ms)
{
    int64_t now = ex_monotonic_us();

    if (run->state == EX_RUN_WAITING) {
        ex_result_ended(run, 0, 0, outcome);
        ex_run_over(runner, run);
        return;
    }
    if (run->state != EX_RUN_ALIVE || run->killed || leader_ended(run))
        return;
    if (!run->stopped)
        run->stopped = outcome;
    run->timeout_at_us = EX_NEVER;
    int64_t grace = grace_ms < 0 ? run->grace_ms : grace_ms;
    if (grace == 0) {
        kill_now(runner, run, now);
        return;
    }
    signal_group(runner, run, SIGTERM);
    signal_group(runner, run, SIGCONT); /* a stopped one can't obey */
    if (now + grace * 1000 < run->kill_at_us)
        run->kill_at_us = now + grace * 1000;
    ex_runner_wake_at(runner, run->kill_at_us);
}

/* Take one bite of output; 1 if there may be more right now. */
static int take_bite(executr_runner *runner, ex_watch *watch)
{
    executr_error err;

    if (watch->fd < 0)
        return 0;
    ssize_t got = read(watch->fd, runner->bite, sizeof runner->bite);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (got <= 0) {
        ex_watch_close(runner, watch);
        return 0;
    }
    if (ex_capture_add(watch->capture, runner->bite, (size_t)got, &err))
        ex_log(
            &runner->log, EXECUTR_LOG_ERROR, "output was cut", "job",
            watch->run->name, "error", err.message, NULL);
    return 1;
}

/*
 * A leader is gone: it is over when nothing it started is left and its pipes
 * are at their end. What holds a pipe without being its descendant (it was
 * handed the descriptor) is waited for until drain_until.
 */
static void settle(executr_runner *runner, ex_run *run)
{
    size_t left = ex_group_kill(runner, run);

    left += ex_strays_kill(runner, run);
    if (left == 0 && run->out.fd < 0 && run->err.fd < 0) {
        ex_run_over(runner, run);
        return;
    }
    int64_t delay = LOOK_FIRST_US << (run->looks < 10 ? run->looks : 10);
    run->looks++;
    if (delay > LOOK_LONGEST_US)
        delay = LOOK_LONGEST_US;
    run->look_at_us = ex_monotonic_us() + delay;
    ex_runner_wake_at(runner, ex_run_due_us(run));
}

static void give_up(executr_runner *runner, ex_run *run)
{
    if (ex_group_kill(runner, run) + ex_strays_kill(runner, run) > 0)
        ex_log(
            &runner->log, EXECUTR_LOG_ERROR,
            "processes of a program that ended can't be killed", "job",
            run->name, NULL);
    else
        ex_log(
            &runner->log, EXECUTR_LOG_INFO,
            "a foreign process keeps the output of a program that ended", "job",
            run->name, NULL);
    ex_run_over(runner, run);
}

void ex_run_output(executr_runner *runner, ex_watch *watch)
{
    ex_run *run = watch->run;

    take_bite(runner, watch);
    if (run->state == EX_RUN_DRAINING && run->out.fd < 0 && run->err.fd < 0)
        settle(runner, run);
}

static void read_rest(executr_runner *runner, ex_watch *watch)
{
    for (int i = 0; i < LAST_BITES; i++) {
        if (!take_bite(runner, watch))
            break;
    }
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* Reap the leader and fill the result. */
static void reap_leader(executr_runner *runner, ex_run *run, int64_t now_us)
{
    executr_result *result = &run->result;
    struct rusage usage = {0};
    int status = 0;
    int code = 0;
    int told = 1;

    if (wait4(run->pid, &status, WNOHANG | __WALL, &usage) == run->pid) {
        told = ex_init_report(&run->report_fd, &status, &usage);
        if (told)
            code = WIFEXITED(status)   ? CLD_EXITED
                   : WCOREDUMP(status) ? CLD_DUMPED
                                       : CLD_KILLED;
    }
    ex_run_forget_pid(runner, run);
    result->user_seconds = seconds(usage.ru_utime);
    result->system_seconds = seconds(usage.ru_stime);
    result->wall_seconds = (double)(now_us - run->started_us) / 1e6;
    result->max_rss_bytes = (int64_t)usage.ru_maxrss * 1024;
    ex_result_ended(
        run, code, code == CLD_EXITED ? WEXITSTATUS(status) : WTERMSIG(status),
        run->stopped);
    if (!told && !run->stopped)
        ex_result_untold(run);
    ex_limits_judge(runner, run);
}

void ex_run_leader_ended(executr_runner *runner, ex_run *run)
{
    int64_t now = ex_monotonic_us();

    if (ex_deadline_struck(run) && !run->stopped)
        run->stopped = EXECUTR_OUTCOME_LOST;
    /* Before it is reaped, while its number can't be another group's. */
    signal_group(runner, run, SIGKILL);
    reap_leader(runner, run, now);
    ex_watch_close(runner, &run->process);
    run->state = EX_RUN_DRAINING;
    run->timeout_at_us = EX_NEVER;
    run->kill_at_us = EX_NEVER;
    run->cpu_at_us = EX_NEVER;
    run->drain_until_us = now + runner->drain_ms * 1000;
    read_rest(runner, &run->out);
    read_rest(runner, &run->err);
    settle(runner, run);
}

static void alive_due(executr_runner *runner, ex_run *run, int64_t now_us)
{
    if (run->cpu_at_us <= now_us)
        ex_limits_look(runner, run, now_us);
    else if (run->timeout_at_us <= now_us) {
        run->timeout_at_us = EX_NEVER;
        ex_run_stop(runner, run, EXECUTR_OUTCOME_TIMEOUT, -1);
    } else if (run->killed) {
        ex_stuck_keep(runner, run);
    } else {
        kill_now(runner, run, now_us);
    }
}

void ex_run_due(executr_runner *runner, ex_run *run, int64_t now_us)
{
    switch (run->state) {
    case EX_RUN_WAITING:
        ex_ignore(ex_run_launch(runner, run, NULL));
        break;
    case EX_RUN_ALIVE:
        alive_due(runner, run, now_us);
        break;
    case EX_RUN_DRAINING:
        if (run->drain_until_us <= now_us)
            give_up(runner, run);
        else
            settle(runner, run);
        break;
    default:
        break;
    }
}

void ex_run_over(executr_runner *runner, ex_run *run)
{
    ex_limits_usage(runner, run);
    ex_watch_close(runner, &run->process);
    ex_watch_close(runner, &run->out);
    ex_watch_close(runner, &run->err);
    ex_run_close_ends(run);
    run->state = EX_RUN_OVER;
    if (run->previous)
        run->previous->next = run->next;
    else
        runner->runs = run->next;
    if (run->next)
        run->next->previous = run->previous;
    run->previous = NULL;
    run->next = runner->over;
    runner->over = run;
    if (!runner->stepping)
        ex_runner_wake_at(runner, 0);
}
