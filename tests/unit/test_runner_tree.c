/* SPDX-License-Identifier: MIT */
/* Nothing of a program stays: processes, directories, descriptors. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <executr/job.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "runner.h"
#include "support/home.h"
#include "support/programs.h"

TestSuite(runner_tree, .init = open_runner, .fini = close_runner);
TestSuite(runner_reaping, .init = open_reaping_runner, .fini = close_runner);
TestSuite(runner_directory, .init = open_runner, .fini = close_runner);

static char pid_file[256];

static const char *pid_path(const char *name)
{
    snprintf(pid_file, sizeof pid_file, "%s", in_home(name));
    return pid_file;
}

static int run_daemon(const char *name, const char *how)
{
    const end *e = run(ARGS("daemon", pid_path(name), how));

    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_EXIT);
    return e->exit_code;
}

Test(runner_tree, t64_grandchild_holding_the_pipe_cannot_hold_the_job)
{
    const end *e = run(ARGS("grandchild", pid_path("pid")));

    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(e->exit_code, 7);
    cr_expect_str_eq(e->out, "said");
    cr_expect(is_gone("pid"));
}

/* As a process can that was handed the descriptor, and is no descendant. */
Test(runner_tree, t64_a_foreign_process_holds_the_job_for_two_seconds)
{
    char path[64];

    cr_assert_eq(start(1, ARGS("wait", in_home("go"))), EXECUTR_OK);
    snprintf(path, sizeof path, "/proc/%d/fd/1", (int)runner->runs->pid);
    int held = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_geq(held, 0);
    make_file("go", "");
    int64_t begun = ex_monotonic_us();
    wait_for_ends(1);
    int64_t waited_ms = (ex_monotonic_us() - begun) / 1000;
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(ends[0].exit_code, 0);
    cr_expect(waited_ms >= 1900 && waited_ms < 20000, "%d ms", (int)waited_ms);
    close(held);
}

Test(runner_tree, t65_daemon_holding_the_pipe_is_killed)
{
    cr_expect_eq(run_daemon("pid", "keep"), 0);
    cr_expect(is_gone("pid"));
}

Test(runner_tree, t65_daemon_that_closed_everything_is_killed)
{
    cr_expect_eq(run_daemon("pid", "close"), 0);
    cr_expect(is_gone("pid"));
}

Test(runner_reaping, t65_daemon_is_killed_and_reaped)
{
    cr_expect_eq(run_daemon("one", "keep"), 0);
    cr_expect(is_gone("one"));
    cr_expect_eq(run_daemon("two", "close"), 0);
    cr_expect(is_gone("two"));
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
}

Test(runner_reaping, t65_daemon_of_a_live_job_outlives_another_job)
{
    cr_assert_eq(
        start(500, ARGS("daemon", pid_path("pid"), "close", "stay")),
        EXECUTR_OK);
    wait_for_file("pid");
    cr_expect_eq(run(ARGS("exit", "0"))->exit_code, 0);
    cr_expect_not(is_gone("pid"));
    executr_runner_stop(runner, 500, EXECUTR_OUTCOME_CANCELLED, 0);
    wait_for_ends(2);
    cr_expect(is_gone("pid"));
}

Test(runner_reaping, children_of_the_program_itself_are_left_alone)
{
    char *argv[] = {"job", "sleep", NULL};
    pid_t own;

    cr_assert_eq(posix_spawn(&own, job_path(), NULL, NULL, argv, NULL), 0);
    cr_expect_eq(run_daemon("pid", "close"), 0);
    cr_expect_eq(run(ARGS("exit", "0"))->exit_code, 0);
    cr_expect_eq(waitpid(own, NULL, WNOHANG), 0);
    kill(own, SIGKILL);
    int status;
    cr_expect_eq(waitpid(own, &status, 0), own);
}

Test(runner_tree, freeing_the_runner_kills_what_runs)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;

    cr_assert_eq(
        start(1, ARGS("daemon", pid_path("pid"), "close", "stay")), EXECUTR_OK);
    wait_for_file("pid");
    executr_runner_free(runner);
    cr_expect(is_gone("pid"));
    cr_expect_eq(entries(in_home("work")), 0);
    options.work_directory = in_home("work");
    open_runner_with(&options);
}

/* In a process of its own: 0 if its program died with it. */
static void hold_a_program(const char *work, const char *pid)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    executr_program program = EXECUTR_PROGRAM_INIT;
    const char *arguments[] = {"stubborn", pid};
    executr_runner *other;

    /* Whatever ends the test, nobody pauses on. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    options.work_directory = work;
    program.path = job_path();
    program.name = "held";
    program.arguments = arguments;
    program.argument_count = 2;
    if (executr_runner_open(&options, &other, NULL) ||
        executr_runner_start(other, &program, 1, NULL))
        _exit(1);
    for (;;)
        pause();
}

Test(runner_tree, t34_programs_die_with_their_runner)
{
    char work[256];
    int waited = 0;

    snprintf(work, sizeof work, "%s", in_home("work"));
    const char *pid = pid_path("pid");
    pid_t child = fork();
    if (child == 0)
        hold_a_program(work, pid);
    wait_for_file("pid");
    cr_expect_not(is_gone("pid"));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (!is_gone("pid") && waited++ < 1000)
        usleep(10000);
    cr_expect(is_gone("pid"));
}

static int open_descriptors(void)
{
    return entries("/proc/self/fd");
}

/* Where this runner keeps its directories. */
static void own_directory(char *out, size_t size)
{
    struct dirent **list;
    int count = scandir(in_home("work"), &list, NULL, alphasort);

    cr_assert_eq(count, 3);
    snprintf(out, size, "%s/%s", in_home("work"), list[2]->d_name);
    for (int i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

/* A thousand, or as many as EXECUTR_TEST_JOBS says. */
static uint64_t job_count(void)
{
    const char *given = getenv("EXECUTR_TEST_JOBS");
    uint64_t count = given ? strtoull(given, NULL, 10) : 0;

    return count ? count : 1000;
}

static void run_thousand(void)
{
    char own[600];
    uint64_t count = job_count();

    cr_assert_eq(run(ARGS("exit", "0"))->exit_code, 0);
    int before = open_descriptors();
    for (uint64_t i = 0; i < count; i++) {
        cr_assert_eq(start(10000 + i, ARGS("exit", "0")), EXECUTR_OK);
        if (executr_runner_running(runner) >= 16)
            wait_for_ends(end_count + 1);
    }
    wait_for_ends(count + 1);
    own_directory(own, sizeof own);
    cr_expect_eq(entries(own), 0);
    cr_expect_eq(open_descriptors(), before);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "a zombie is left");
}

Test(runner_tree, t79_thousand_short_jobs_leave_nothing)
{
    run_thousand();
}

Test(runner_reaping, t79_thousand_short_jobs_leave_nothing)
{
    run_thousand();
}

Test(runner_directory, t75_is_private_and_fresh)
{
    const end *e = run(ARGS("state"));
    char wanted[300];

    snprintf(wanted, sizeof wanted, "cwd %s/runner-", in_home("work"));
    cr_expect(strstr(e->out, wanted) != NULL, "%s", e->out);
    cr_expect(strstr(e->out, "mode 700\n") != NULL);
}

Test(runner_directory, t75_litter_goes_and_links_are_not_followed)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    char precious[256];

    make_dir("precious");
    make_file("precious/file", "x");
    snprintf(precious, sizeof precious, "%s", in_home("precious"));
    cr_expect_eq(run(ARGS("litter", precious))->exit_code, 0);
    executr_runner_free(runner);
    cr_expect_eq(entries(in_home("work")), 0);
    cr_expect(exists("precious/file"));
    options.work_directory = in_home("work");
    open_runner_with(&options);
}

Test(runner_directory, name_can_be_used_again_at_once)
{
    char target[256];

    snprintf(target, sizeof target, "%s", in_home(""));
    for (size_t i = 0; i < 20; i++) {
        cr_assert_eq(start(1, ARGS("litter", target)), EXECUTR_OK);
        wait_for_ends(i + 1);
        cr_expect_eq(ends[i].exit_code, 0);
    }
}

Test(runner_directory, what_dead_runners_left_is_removed_and_no_more)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    executr_runner *other;

    make_dir("work/runner-dead/job/deep");
    make_dir("work/runner-alive/job");
    make_dir("work/other");
    int lock = open(in_home("work/runner-alive"), O_RDONLY | O_CLOEXEC);
    cr_assert_eq(flock(lock, LOCK_EX), 0);
    options.work_directory = in_home("work");
    cr_assert_eq(executr_runner_open(&options, &other, &err), EXECUTR_OK);
    executr_runner_free(other);
    cr_expect_not(exists("work/runner-dead"));
    cr_expect(exists("work/runner-alive/job"));
    cr_expect(exists("work/other"));
    cr_expect_eq(entries(in_home("work")), 3);
    cr_expect_eq(run(ARGS("exit", "1"))->exit_code, 1);
}

Test(runner_directory, others_may_not_write_to_it)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    executr_runner *other = NULL;

    make_dir("open");
    chmod(in_home("open"), 0777);
    options.work_directory = in_home("open");
    cr_expect_eq(executr_runner_open(&options, &other, &err), EXECUTR_E_IO);
    cr_expect_null(other);
}
