/* SPDX-License-Identifier: MIT */
/* Programs that want more than they may have, and those that do not die. */
#include <criterion/criterion.h>
#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"
#include "support/home.h"
#include "support/programs.h"

TestSuite(runner_limits, .init = open_runner, .fini = close_runner);

static executr_program limited;

/* Start the limited program with these arguments. */
static executr_status start_limited(const char *const *arguments)
{
    limited.struct_size = sizeof limited;
    limited.path = job_path();
    limited.name = "limited";
    limited.arguments = arguments;
    limited.argument_count = 0;
    while (arguments[limited.argument_count])
        limited.argument_count++;
    return start_program(1000 + end_count, &limited);
}

static const end *run_limited(const char *const *arguments)
{
    size_t before = end_count;

    executr_status st = start_limited(arguments);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
    wait_for_ends(before + 1);
    return &ends[before % ENDS];
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return ok;
}

/* ---- One that does not die. */

#define FREEZER "/sys/fs/cgroup/freezer/executr-test"
static char freezer[128];

static const char *in_freezer(const char *file)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", freezer, file);
    return path;
}

/* A frozen process takes no signal, like one that waits for a disk. */
static int freeze_child(void)
{
    char pid[32];

    snprintf(freezer, sizeof freezer, "%s-%d", FREEZER, (int)getpid());
    if (mkdir(freezer, 0755) != 0)
        return 0;
    snprintf(pid, sizeof pid, "%d", (int)runner->runs->pid);
    return write_text(in_freezer("cgroup.procs"), pid) &&
           write_text(in_freezer("freezer.state"), "FROZEN");
}

static void thaw(void)
{
    write_text(in_freezer("freezer.state"), "THAWED");
    for (int i = 0; i < 1000 && rmdir(freezer) != 0 && errno == EBUSY; i++)
        usleep(1000);
}

Test(runner_limits, t67_one_that_does_not_die_is_told_and_counted)
{
    runner->unkillable_us = 50000;
    cr_assert_eq(start(1, ARGS("sleep")), EXECUTR_OK);
    if (!freeze_child()) {
        rmdir(freezer);
        cr_skip_test("there is no freezer of control groups to make a program "
                     "that does not die");
    }
    executr_runner_stop(runner, 1, EXECUTR_OUTCOME_CANCELLED, 0);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_LOST);
    cr_expect(strstr(ends[0].message, "SIGKILL") != NULL);
    cr_expect_eq(executr_runner_running(runner), 0);
    cr_expect_eq(executr_runner_unkillable(runner), 1);
    thaw();
    while (executr_runner_unkillable(runner) > 0)
        cr_assert_eq(
            executr_runner_step(runner, 10000, NULL, NULL, &err), EXECUTR_OK);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "a zombie is left");
}

Test(runner_limits, t67_a_stopped_program_is_killed)
{
    cr_assert_eq(start(1, ARGS("stop")), EXECUTR_OK);
    executr_runner_stop(runner, 1, EXECUTR_OUTCOME_CANCELLED, 0);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_CANCELLED);
    cr_expect_eq(ends[0].signal, SIGKILL);
}

/* ---- What is asked for. */

Test(runner_limits, t74_what_is_out_of_range_is_refused)
{
    limited.cpu_seconds = -1;
    cr_expect_eq(start_limited(ARGS("exit", "0")), EXECUTR_E_ARGUMENT);
    limited.cpu_seconds = 0;
    limited.memory_mb = INT64_MAX;
    cr_expect_eq(start_limited(ARGS("exit", "0")), EXECUTR_E_ARGUMENT);
    cr_expect(strstr(err.message, "memory_mb") != NULL);
}

Test(runner_limits, t74_a_file_may_not_grow_beyond_its_limit)
{
    limited.max_file_mb = 1;
    const end *e = run_limited(ARGS("file", "1048576"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(e->exit_code, 0);
    e = run_limited(ARGS("file", "1048577"));
    cr_expect_eq(e->signal, SIGXFSZ);
}
