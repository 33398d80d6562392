/* SPDX-License-Identifier: MIT */
/* Programs end when their time is up or their runner is gone, even if nobody
 * steps. */
#include <criterion/criterion.h>
#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"
#include "runner.h"
#include "support/home.h"
#include "support/programs.h"

TestSuite(runner_guard, .init = open_runner, .fini = close_runner);

static char pid_file[256];

static const char *const *staying_daemon(void)
{
    static const char *arguments[5] = {"daemon", NULL, "close", "stay", NULL};

    snprintf(pid_file, sizeof pid_file, "%s", in_home("pid"));
    arguments[1] = pid_file;
    return arguments;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static int goes(const char *name)
{
    for (int i = 0; i < 2000 && !is_gone(name); i++)
        pause_ms(5);
    return is_gone(name);
}

static int64_t in_us(int64_t us)
{
    return ex_boottime_us() + us;
}

Test(runner_guard, a_deadline_kills_all_of_a_program_that_nobody_steps)
{
    ex_runner_next_deadline(runner, in_us(3600 * INT64_C(1000000)));
    cr_assert_eq(start(1, staying_daemon()), EXECUTR_OK);
    wait_for_file("pid");
    pause_ms(50);
    cr_expect_not(is_gone("pid"));
    ex_runner_deadline(runner, 1, in_us(1000));
    cr_expect(goes("pid"));
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_LOST);
}

/* Nothing but its control group leads to what took off the mark. */
static const char *const *unmarked_daemon(void)
{
    const char *const *arguments = staying_daemon();

    ((const char **)arguments)[0] = "unmarked";
    if (!runner->groups.has_kill)
        cr_skip_test("no writable control groups with cgroup.kill here");
    return arguments;
}

Test(runner_guard, t65_deadline_kills_what_took_off_its_mark)
{
    executr_program program = EXECUTR_PROGRAM_INIT;

    program.path = job_path();
    program.name = "job";
    program.arguments = unmarked_daemon();
    program.argument_count = 4;
    program.memory_mb = 64;
    ex_runner_next_deadline(runner, in_us(3600 * INT64_C(1000000)));
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    wait_for_file("pid");
    cr_expect_not(is_gone("pid"));
    ex_runner_deadline(runner, 1, in_us(1000));
    cr_expect(goes("pid"));
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_LOST);
}

Test(runner_guard, a_deadline_that_was_put_off_kills_nothing)
{
    ex_runner_next_deadline(runner, in_us(2000000));
    cr_assert_eq(start(1, staying_daemon()), EXECUTR_OK);
    ex_runner_deadline(runner, 1, EX_NEVER);
    wait_for_file("pid");
    pause_ms(2500);
    cr_expect_not(is_gone("pid"));
}

Test(runner_guard, a_deadline_is_of_one_program_only)
{
    cr_assert_eq(start(1, staying_daemon()), EXECUTR_OK);
    wait_for_file("pid");
    ex_runner_next_deadline(runner, in_us(0));
    cr_assert_eq(start(2, ARGS("sleep")), EXECUTR_OK);
    wait_for_ends(1);
    cr_expect_eq(ends[0].token, 2);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_LOST);
    cr_expect_not(is_gone("pid"));
}

/* The executor was stopped between the look at the lease and the start. */
Test(runner_guard, t35_program_whose_deadline_has_struck_is_not_executed)
{
    static const _Atomic int64_t struck = EX_STRUCK;
    static _Atomic int64_t later;
    const char *argv[] = {job_path(), "exit", "0", NULL};
    const char *envp[] = {NULL};
    ex_child_stack stack = {0};
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    const ex_isolation plain = {.has_caps = 0};
    ex_launch launch = {
        .path = argv[0],
        .argv = argv,
        .envp = envp,
        .directory = ".",
        .directory_fd = open(in_home(""), O_DIRECTORY | O_CLOEXEC),
        .stdin_fd = null_fd,
        .stdout_fd = null_fd,
        .stderr_fd = null_fd,
        .iso = &plain,
        .deadline = &struck};
    pid_t pid;
    int pidfd;

    later = INT64_MAX;
    cr_assert_eq(ex_child_stack_open(&stack, NULL), EXECUTR_OK);
    cr_expect_eq(ex_spawn(&stack, &launch, &pid, &pidfd), ETIME);
    launch.deadline = &later;
    cr_expect_eq(ex_spawn(&stack, &launch, &pid, &pidfd), 0);
    cr_expect_eq(waitpid(pid, NULL, 0), pid);
    ex_child_stack_close(&stack);
}

/* In a child: has a program running and is killed. Exits only on failure. */
static void die_with_a_program(
    const char *directory, const char *const *arguments, int64_t memory_mb)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    executr_program program = EXECUTR_PROGRAM_INIT;
    executr_runner *own;

    options.work_directory = directory;
    program.path = job_path();
    program.name = "job";
    program.arguments = arguments;
    program.argument_count = 4;
    program.memory_mb = memory_mb;
    if (executr_runner_open(&options, &own, NULL) ||
        executr_runner_start(own, &program, 1, NULL))
        _exit(1);
    while (access(pid_file, F_OK) != 0)
        pause_ms(1);
    raise(SIGKILL);
}

static void expect_end_with_runner(
    const char *const *arguments, int64_t memory_mb)
{
    int status = 0;
    char directory[256];

    snprintf(directory, sizeof directory, "%s", in_home("other"));
    pid_t child = fork();
    if (child == 0)
        die_with_a_program(directory, arguments, memory_mb);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cr_expect(goes("pid"));
}

Test(runner_guard, the_end_of_its_process_ends_all_programs)
{
    expect_end_with_runner(staying_daemon(), 0);
}

Test(runner_guard, t65_end_of_its_process_ends_what_took_off_its_mark)
{
    expect_end_with_runner(unmarked_daemon(), 64);
}

Test(runner_guard, is_no_child_that_others_wait_for)
{
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
}
