/* SPDX-License-Identifier: MIT */
/* The runner: one epoll set over all programs; hides the loop's inside. */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/options.h"
#include "base/time.h"

#define DEFAULT_RUNNING 1024
#define DEFAULT_DIRECTORY "/tmp/executr-jobs"
#define DEFAULT_OUTPUT (INT64_C(1) << 20)
#define DEFAULT_GRACE_MS 10000
#define DEFAULT_DRAIN_MS 2000
#define LONGEST_MS (INT64_C(366) * 24 * 3600 * 1000)

/* After SIGKILL it must be gone by then, or something is wrong with the
 * machine. */
#define UNKILLABLE_US (INT64_C(60) * 1000 * 1000)

/* How long free waits for what was killed. */
#define END_WAIT_US (INT64_C(10) * 1000 * 1000)

#define EVENTS 128
#define PROC_MOST ((size_t)1 << 20)
#define ABILITIES_MOST ((size_t)4096)

executr_status ex_watch_add(
    executr_runner *runner, ex_watch *watch, uint32_t events,
    executr_error *err)
{
    struct epoll_event event = {.events = events, .data = {.ptr = watch}};

    if (epoll_ctl(runner->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) != 0)
        return ex_fail_errno(err, errno, "cannot watch a descriptor");
    return EXECUTR_OK;
}

void ex_watch_close(executr_runner *runner, ex_watch *watch)
{
    if (watch->fd < 0)
        return;
    /*
     * Closing alone is not enough: a child between clone and exec has a copy,
     * and the set would go on telling about it. ENOENT: was not in the set.
     */
    if (epoll_ctl(runner->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL) != 0)
        errno = 0;
    close(watch->fd);
    watch->fd = -1;
}

void ex_runner_wake_at(executr_runner *runner, int64_t at_us)
{
    struct itimerspec spec = {0};

    if (at_us >= runner->armed_us)
        return;
    runner->armed_us = at_us;
    spec.it_value.tv_sec = at_us / 1000000;
    spec.it_value.tv_nsec = at_us % 1000000 * 1000;
    if (at_us <= 0)
        spec.it_value.tv_nsec = 1;
    if (timerfd_settime(runner->timer.fd, TFD_TIMER_ABSTIME, &spec, NULL) != 0)
        ex_log(
            &runner->log, EXECUTR_LOG_ERROR, "cannot set a timer", "errno",
            EX_I64(errno), NULL);
}

/* The range of an option; 0 stands for the default. */
static executr_status take(
    int64_t given, int64_t standard, int64_t most, const char *field,
    int64_t *out, executr_error *err)
{
    if (given < 0 || given > most)
        return ex_fail_field(
            err, field, "%s is %lld, but must be 0 to %lld", field,
            (long long)given, (long long)most);
    *out = given ? given : standard;
    return EXECUTR_OK;
}

static executr_status take_options(
    executr_runner *runner, const executr_runner_options *opt,
    executr_error *err)
{
    int64_t running = 0;
    int64_t output = 0;

    executr_status st = take(
        opt->max_running, DEFAULT_RUNNING, 65536, "max_running", &running, err);
    if (!st)
        st = take(
            opt->max_output_bytes, DEFAULT_OUTPUT, INT64_C(1) << 30,
            "max_output_bytes", &output, err);
    if (!st)
        st = take(
            opt->kill_grace_ms, DEFAULT_GRACE_MS, LONGEST_MS, "kill_grace_ms",
            &runner->kill_grace_ms, err);
    if (!st)
        st = take(
            opt->drain_ms, DEFAULT_DRAIN_MS, LONGEST_MS, "drain_ms",
            &runner->drain_ms, err);
    if (st)
        return st;
    runner->max_running = (int32_t)running;
    runner->max_output = (size_t)output;
    runner->subreaper = opt->subreaper != 0;
    runner->log = opt->log;
    return EXECUTR_OK;
}

int ex_fd_above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int number = errno;
    close(fd);
    errno = number;
    return moved;
}

static executr_status open_descriptors(
    executr_runner *runner, executr_error *err)
{
    runner->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (runner->epoll_fd < 0)
        return ex_fail_errno(err, errno, "cannot make an epoll set");
    runner->null_fd =
        ex_fd_above_stdio(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (runner->null_fd < 0)
        return ex_fail_errno(err, errno, "cannot open /dev/null");
    runner->timer.fd =
        timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (runner->timer.fd < 0)
        return ex_fail_errno(err, errno, "cannot make a timer");
    return ex_watch_add(runner, &runner->timer, EPOLLIN, err);
}

/* Without them there are other means, so nothing here is an error. */
static void open_groups(executr_runner *runner, int32_t how)
{
    ex_cgroup_places places;
    ex_buf mounts;
    ex_buf own;

    if (how < 0)
        return;
    ex_buf_init(&mounts, PROC_MOST);
    ex_buf_init(&own, PROC_MOST);
    if (!ex_fs_read("/proc/self/mountinfo", &mounts, NULL) &&
        !ex_fs_read("/proc/self/cgroup", &own, NULL)) {
        ex_cgroup_find(ex_buf_text(&mounts), ex_buf_text(&own), &places);
        ex_cgroups_open(&runner->groups, &places, runner->subreaper);
    }
    ex_buf_clear(&mounts);
    ex_buf_clear(&own);
}

static executr_status open_all(
    executr_runner *runner, const executr_runner_options *opt,
    executr_error *err)
{
    const char *directory =
        opt->work_directory ? opt->work_directory : DEFAULT_DIRECTORY;
    executr_status st = open_descriptors(runner, err);
    if (!st)
        st = ex_child_stack_open(&runner->stack, err);
    if (!st && runner->subreaper &&
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        st = ex_fail_errno(err, errno, "cannot become a subreaper");
    if (!st)
        st = ex_workdir_open(&runner->dir, directory, err);
    if (!st)
        ex_strays_open(runner);
    if (!st)
        open_groups(runner, opt->cgroups);
    if (!st)
        ex_limits_open(runner);
    if (!st)
        st = ex_guard_open(runner, err);
    if (!st)
        st = ex_isolation_try(runner, opt, err);
    return st;
}

executr_status executr_runner_open(
    const executr_runner_options *options, executr_runner **out,
    executr_error *err)
{
    executr_runner_options opt;
    executr_runner *runner = NULL;
    void *memory = NULL;

    *out = NULL;
    executr_status st = ex_options_read(
        &opt, sizeof opt, sizeof(executr_runner_options), options, err);
    if (st)
        goto done;
    st = ex_alloc(&memory, sizeof *runner, err);
    if (st)
        goto done;
    runner = memory;
    runner->epoll_fd = -1;
    runner->null_fd = -1;
    runner->children = -1;
    runner->guard = -1;
    runner->iso.self = -1;
    runner->guard_wake = -1;
    runner->next_deadline_us = EX_NEVER;
    runner->timer = (ex_watch){.fd = -1, .kind = EX_WATCH_TIMER};
    runner->unkillable_us = UNKILLABLE_US;
    runner->armed_us = EX_NEVER;
    runner->reap_at_us = EX_NEVER;
    runner->pid = getpid();
    ex_workdir_init(&runner->dir, &opt.log);
    ex_cgroups_init(&runner->groups, &opt.log);
    ex_buf_init(&runner->abilities, ABILITIES_MOST);
    runner->offers = EXECUTR_OFFER_TIMEOUT;
    st = take_options(runner, &opt, err);
    if (!st)
        st = ex_isolation_open(runner, &opt, err);
    if (!st)
        st = open_all(runner, &opt, err);
    if (st)
        goto done;
    ex_log(
        &runner->log, EXECUTR_LOG_INFO, "what this runner can enforce",
        "abilities", ex_buf_text(&runner->abilities), NULL);
    *out = runner;
    runner = NULL;
done:
    executr_runner_free(runner);
    return st;
}

uint32_t executr_runner_offers(const executr_runner *runner)
{
    return runner->offers;
}

const char *executr_runner_abilities(const executr_runner *runner)
{
    return ex_buf_text(&runner->abilities);
}

/* Wait for the last ones, but not for what the kernel can't kill. */
static void end_runs(executr_runner *runner)
{
    int64_t until = ex_monotonic_us() + runner->drain_ms * 1000 + END_WAIT_US;
    executr_error err = {0};
    executr_status st = EXECUTR_OK;

    for (ex_run *run = runner->runs; run;) {
        ex_run *next = run->next;
        ex_run_stop(runner, run, EXECUTR_OUTCOME_LOST, 0);
        run = next;
    }
    while (!st && runner->runs && ex_monotonic_us() < until)
        st = executr_runner_step(runner, 1000, NULL, NULL, &err);
    if (runner->runs)
        ex_log(
            &runner->log, EXECUTR_LOG_ERROR,
            "killed programs are left without waiting for their end", "error",
            err.message, NULL);
    while (runner->runs)
        ex_run_over(runner, runner->runs);
}

void executr_runner_free(executr_runner *runner)
{
    if (!runner)
        return;
    end_runs(runner);
    while (runner->over) {
        ex_run *run = runner->over;
        runner->over = run->next;
        ex_workdir_remove(&runner->dir, run->name);
        ex_run_free(runner, run);
    }
    ex_guard_close(runner);
    ex_strays_close(runner);
    ex_stuck_close(runner);
    ex_cgroups_close(&runner->groups);
    ex_workdir_close(&runner->dir);
    ex_child_stack_close(&runner->stack);
    ex_watch_close(runner, &runner->timer);
    ex_buf_clear(&runner->abilities);
    ex_isolation_close(&runner->iso);
    if (runner->null_fd >= 0)
        close(runner->null_fd);
    if (runner->epoll_fd >= 0)
        close(runner->epoll_fd);
    ex_free(runner);
}

void executr_runner_stop(
    executr_runner *runner, uint64_t token, int32_t outcome, int64_t grace_ms)
{
    ex_run *run = runner->runs;

    while (run && run->token != token)
        run = run->next;
    if (run)
        ex_run_stop(runner, run, outcome, grace_ms);
}

size_t executr_runner_running(const executr_runner *runner)
{
    return runner->running;
}

int32_t executr_runner_fd(const executr_runner *runner)
{
    return runner->epoll_fd;
}

/* Runs that have to do something now; the timer is set for the next one. */
static void run_due(executr_runner *runner)
{
    uint64_t expirations;
    int64_t now = ex_monotonic_us();
    int64_t next = EX_NEVER;

    if (runner->armed_us > now)
        return;
    if (read(runner->timer.fd, &expirations, sizeof expirations) < 0)
        errno = 0; /* it has not fired yet; it is late, we are not */
    if (runner->reap_at_us <= now && runner->runs) {
        runner->reap_at_us = now + EX_REAP_US;
        ex_strays_kill(runner, NULL);
    }
    for (ex_run *run = runner->runs; run;) {
        ex_run *following = run->next;
        if (ex_run_due_us(run) <= now)
            ex_run_due(runner, run, now);
        run = following;
    }
    for (const ex_run *run = runner->runs; run; run = run->next) {
        int64_t due = ex_run_due_us(run);
        next = due < next ? due : next;
    }
    if (!runner->runs)
        runner->reap_at_us = EX_NEVER;
    if (runner->reap_at_us < next)
        next = runner->reap_at_us;
    runner->armed_us = EX_NEVER;
    ex_runner_wake_at(runner, next);
}

static void run_event(executr_runner *runner, ex_watch *watch)
{
    /* Closed by an event before it in the same batch. */
    if (watch->fd < 0)
        return;
    if (watch->kind == EX_WATCH_PROCESS)
        ex_run_leader_ended(runner, watch->run);
    else if (watch->kind == EX_WATCH_OUTPUT)
        ex_run_output(runner, watch);
    else if (watch->kind == EX_WATCH_STUCK)
        ex_stuck_gone(runner, watch);
}

/* Tell the ends. No event of this step refers to these runs any more. */
static void tell(executr_runner *runner, executr_ended ended, void *ctx)
{
    ex_run *run = runner->over;

    runner->over = NULL;
    while (run) {
        ex_run *next = run->next;
        ex_workdir_remove(&runner->dir, run->name);
        ex_result_output(runner, run);
        runner->running--;
        if (ended)
            ended(ctx, run->token, &run->result);
        ex_run_free(runner, run);
        run = next;
    }
}

executr_status executr_runner_step(
    executr_runner *runner, int64_t timeout_ms, executr_ended ended, void *ctx,
    executr_error *err)
{
    struct epoll_event events[EVENTS];
    int timeout = timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms;

    if (runner->over)
        timeout = 0;
    int count = epoll_wait(runner->epoll_fd, events, EVENTS, timeout);
    if (count < 0 && errno != EINTR)
        return ex_fail_errno(err, errno, "cannot wait for programs");
    runner->stepping = 1;
    for (int i = 0; i < count; i++)
        run_event(runner, events[i].data.ptr);
    run_due(runner);
    runner->stepping = 0;
    tell(runner, ended, ctx);
    return EXECUTR_OK;
}
