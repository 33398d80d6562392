/* SPDX-License-Identifier: MIT */
/*
 * Finds out, when a runner is opened, how its programs can be kept apart: a
 * level is offered only if a child could be made that has all of it.
 */
#include <errno.h>
#include <executr/job.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"
#include "runner.h"

static const uint32_t offers[EX_LEVELS] = {
    0, 0, EXECUTR_OFFER_BASIC, EXECUTR_OFFER_STANDARD, EXECUTR_OFFER_STRICT};

executr_status ex_isolation_check(
    const ex_isolation *iso, int32_t level, executr_error *err)
{
    if (level < 0 || level >= EX_LEVELS)
        return ex_fail_field(
            err, "isolation", "there is no isolation level %d", level);
    if (iso->missing[level][0])
        return ex_fail(
            err, EXECUTR_E_UNSUPPORTED, "no isolation level %s here: %s",
            executr_isolation_word(level), iso->missing[level]);
    return EXECUTR_OK;
}

/*
 * A child that changes its user shares our memory until it is a program, and
 * its new user's other processes must not get at that by ptrace.
 */
static executr_status find_user(
    executr_runner *runner, const char *name, executr_error *err)
{
    executr_status st = ex_user_find(name, &runner->iso.user, err);
    if (st)
        return st;
    runner->dir.user = &runner->iso.user;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return ex_fail_errno(err, errno, "cannot become undumpable");
    return EXECUTR_OK;
}

executr_status ex_isolation_open(
    executr_runner *runner, const executr_runner_options *options,
    executr_error *err)
{
    ex_isolation *iso = &runner->iso;
    executr_status st = EXECUTR_OK;

    iso->standard =
        options->isolation ? options->isolation : EXECUTR_ISOLATION_BASIC;
    iso->own_users = geteuid() != 0;
    snprintf(
        iso->uid_map, sizeof iso->uid_map, "%u %u 1\n", geteuid(), geteuid());
    snprintf(
        iso->gid_map, sizeof iso->gid_map, "%u %u 1\n", getegid(), getegid());
    iso->self = pidfd_open(getpid(), 0);
    if (iso->self < 0)
        return ex_fail_errno(err, errno, "cannot hold this process");
    ex_capabilities_read(iso);
    if (options->run_as)
        st = find_user(runner, options->run_as, err);
    if (!st)
        st = ex_filter_open(iso, err);
    return st;
}

/* Why, where errno alone would not help. */
static const char *explain(const ex_launch *launch)
{
    int number = launch->error;

    if (launch->stage == EX_STAGE_CLONE && number == EPERM)
        return "; it takes root with CAP_SYS_ADMIN, or a kernel that lets "
               "users make namespaces";
    if (launch->stage == EX_STAGE_CLONE && number == ENOSPC)
        return "; user.max_user_namespaces is too low";
    if (number == ENOSYS)
        return "; Linux is too old: 5.19 has all that it takes";
    return "";
}

static void miss(ex_isolation *iso, const ex_launch *launch)
{
    char *missing = iso->missing[launch->isolation];
    const char *reason = strerrordesc_np(launch->error);

    snprintf(
        missing, sizeof *iso->missing, "can't %s: %s%s",
        launch->what ? launch->what : "start a process as it needs",
        reason ? reason : "unknown error", explain(launch));
}

/* A level counts only if a program really ran on it and its end was told. */
static void judge(ex_isolation *iso, ex_launch *launch, pid_t pid)
{
    int expected = launch->program_fd >= 0 ? EX_PROBE_CODE : 0;
    int status = 0;
    struct rusage usage;
    pid_t ended;

    do
        ended = waitpid(pid, &status, __WALL);
    while (ended < 0 && errno == EINTR);
    int told = ex_init_report(&launch->report_fd, &status, &usage);
    if (ended != pid || !told || !WIFEXITED(status) ||
        WEXITSTATUS(status) != expected)
        snprintf(
            iso->missing[launch->isolation], sizeof *iso->missing,
            "a program that was tried there did not end as it should "
            "(wait status %#x)",
            (unsigned)status);
}

static executr_status try_level(
    executr_runner *runner, int32_t level, executr_error *err)
{
    static const char name[] = ".try";
    static const char word[] = "probe";
    static const char *words[] = {word, NULL};
    ex_isolation *iso = &runner->iso;
    ex_launch launch = {
        .directory = name,
        .directory_fd = runner->dir.fd,
        .stdin_fd = runner->null_fd,
        .stdout_fd = runner->null_fd,
        .stderr_fd = runner->null_fd,
        .argv = words,
        .envp = words + 1,
        .program_fd = -1,
        .isolation = level,
        .iso = iso};
    char place[PATH_MAX];
    pid_t pid;
    int pidfd = -1;

    executr_status st = ex_workdir_make(&runner->dir, name, err);
    if (st)
        return st;
    snprintf(place, sizeof place, "%s/%s", iso->work, name);
    launch.place = place;
    if (level > EXECUTR_ISOLATION_BASIC)
        launch.program_fd = ex_probe_open();
    launch.error = ex_spawn(&runner->stack, &launch, &pid, &pidfd);
    if (launch.error)
        miss(iso, &launch);
    else
        judge(iso, &launch, pid);
    if (!launch.error && pidfd >= 0)
        close(pidfd);
    if (launch.program_fd >= 0)
        close(launch.program_fd);
    ex_workdir_remove(&runner->dir, name);
    return EXECUTR_OK;
}

static void say(executr_runner *runner)
{
    ex_buf *out = &runner->abilities;
    ex_isolation *iso = &runner->iso;

    if (iso->user.set)
        ex_buf_printf(
            out, "programs run as user %lu, group %lu\n",
            (unsigned long)iso->user.uid, (unsigned long)iso->user.gid);
    ex_buf_puts(out, "isolation:");
    for (int32_t level = EXECUTR_ISOLATION_NONE; level < EX_LEVELS; level++) {
        if (iso->missing[level][0])
            continue;
        runner->offers |= offers[level];
        ex_buf_printf(
            out, " %s%s", executr_isolation_word(level),
            level == iso->standard ? " (unless a job demands another)" : "");
    }
    ex_buf_puts(out, "\n");
    for (int32_t level = EXECUTR_ISOLATION_NONE; level < EX_LEVELS; level++) {
        if (iso->missing[level][0])
            ex_buf_printf(
                out, "isolation: no %s: %s\n", executr_isolation_word(level),
                iso->missing[level]);
    }
}

/* Without them limits are approximate, and a fork bomb is everybody's. */
static void need_groups(executr_runner *runner)
{
    char *missing = runner->iso.missing[EXECUTR_ISOLATION_STRICT];

    if (runner->groups.memory_in < 0 || runner->groups.pids_in < 0)
        snprintf(
            missing, sizeof *runner->iso.missing,
            "it takes writable control groups for memory and for processes");
}

executr_status ex_isolation_try(
    executr_runner *runner, const executr_runner_options *options,
    executr_error *err)
{
    ex_isolation *iso = &runner->iso;

    executr_status st = ex_view_open(
        iso, &runner->dir, options->hidden, options->hidden_count, err);
    for (int32_t level = EXECUTR_ISOLATION_NONE; !st && level < EX_LEVELS;
         level++)
        st = try_level(runner, level, err);
    if (st)
        return st;
    need_groups(runner);
    say(runner);
    st = ex_isolation_check(iso, EXECUTR_ISOLATION_NONE, err);
    if (!st)
        st = ex_isolation_check(iso, iso->standard, err);
    return st;
}

void ex_isolation_close(ex_isolation *iso)
{
    ex_user_clear(&iso->user);
    ex_filter_close(iso);
    ex_view_close(iso);
    if (iso->self >= 0)
        close(iso->self);
    iso->self = -1;
}
