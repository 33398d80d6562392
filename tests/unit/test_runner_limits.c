/* SPDX-License-Identifier: MIT */
/* Programs that want more than they may have, and those that do not die. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <executr/job.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "runner.h"
#include "support/freezer.h"
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

/* ---- One that does not die. */

Test(runner_limits, t67_one_that_does_not_die_is_told_and_counted)
{
    runner->unkillable_us = 50000;
    cr_assert_eq(start(1, ARGS("sleep")), EXECUTR_OK);
    freeze((int)runner->runs->pid);
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

/* Until SIGKILL, in milliseconds, of a program that was just told to end. */
static int64_t grace_of(int64_t asked_ms)
{
    limited.kill_grace_ms = asked_ms;
    cr_assert_eq(start_limited(ARGS("sleep")), EXECUTR_OK);
    const ex_run *run = runner->runs;
    int64_t before = ex_monotonic_us();
    executr_runner_stop(
        runner, 1000 + end_count, EXECUTR_OUTCOME_CANCELLED, -1);
    int64_t grace = (run->kill_at_us - before) / 1000;
    wait_for_ends(end_count + 1);
    return grace;
}

Test(runner_limits, t66_grace_is_ten_seconds_or_what_the_job_says)
{
    int64_t usual = grace_of(0);
    int64_t own = grace_of(500);

    cr_expect(usual >= 10000 && usual < 15000, "%d ms", (int)usual);
    cr_expect(own >= 500 && own < 5000, "%d ms", (int)own);
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

static void expect_message(const end *e, const char *text)
{
    cr_expect(
        strstr(e->message, text) != NULL, "'%s' is not in '%s'", text,
        e->message);
}

static void want_groups(int32_t hierarchy, const char *name)
{
    if (hierarchy < 0)
        cr_skip_test("there is no writable control group for %s", name);
}

Test(runner_limits, t69_more_memory_than_its_limit_is_oom)
{
    want_groups(runner->groups.memory_in, "memory");
    limited.memory_mb = 16;
    const end *e = run_limited(ARGS("memory", "8"));
    cr_expect_eq(e->exit_code, 0, "%s", e->message);
    cr_expect_gt(e->max_rss, 8 << 20);
    e = run_limited(ARGS("memory", "64"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_OOM);
    cr_expect_eq(e->signal, SIGKILL);
    expect_message(e, "memory_mb 16");
    cr_expect_leq(e->max_rss, 17 << 20);
}

Test(runner_limits, t69_a_child_that_needs_too_much_is_oom)
{
    want_groups(runner->groups.memory_in, "memory");
    limited.memory_mb = 16;
    const end *e = run_limited(ARGS("memory-child", "64"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_OOM);
    expect_message(e, "memory_mb 16");
}

Test(runner_limits, t69_the_memory_of_one_is_not_the_memory_of_another)
{
    limited.memory_mb = 16;
    cr_assert_eq(start_limited(ARGS("memory", "64")), EXECUTR_OK);
    cr_assert_eq(start(1, ARGS("memory", "64")), EXECUTR_OK);
    wait_for_ends(2);
    const end *free = ends[0].token == 1 ? &ends[0] : &ends[1];
    const end *bound = ends[0].token == 1 ? &ends[1] : &ends[0];
    cr_expect_eq(free->exit_code, 0);
    cr_expect_neq(bound->exit_code, 0);
}

Test(runner_limits, t68_a_fork_bomb_is_held_and_ends)
{
    char file[256];

    want_groups(runner->groups.pids_in, "max_processes");
    snprintf(file, sizeof file, "%s", in_home("full"));
    limited.max_processes = 20;
    limited.timeout_ms = 200;
    limited.kill_grace_ms = 1;
    const end *e = run_limited(ARGS("bomb", file));
    cr_expect(exists("full"), "it was not held");
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_TIMEOUT);
    expect_message(e, "timeout 200ms");
}

Test(runner_limits, t68_no_more_processes_than_allowed)
{
    want_groups(runner->groups.pids_in, "max_processes");
    limited.max_processes = 4;
    cr_expect_eq(run_limited(ARGS("forks", "3"))->exit_code, 0);
    const end *e = run_limited(ARGS("forks", "4"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(e->exit_code, 6);
    expect_message(
        e, "exited with code 6; it reached its limit, "
           "max_processes 4");
}

/* A number that no user of the machine has. */
Test(runner_limits, t68_without_groups_those_of_a_user_are_counted)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;

    if (geteuid() != 0)
        cr_skip_test("this needs root, to run programs as another user");
    executr_runner_free(runner);
    options.work_directory = in_home("work");
    options.cgroups = -1;
    options.run_as = "54321";
    open_runner_with(&options);
    cr_expect(executr_runner_offers(runner) & EXECUTR_OFFER_PROCESSES);
    limited.max_processes = 4;
    cr_expect_eq(run_limited(ARGS("forks", "3"))->exit_code, 0);
    cr_expect_eq(run_limited(ARGS("forks", "4"))->exit_code, 6);
}

Test(runner_limits, t74_one_that_uses_too_much_cpu_time_ends)
{
    limited.cpu_seconds = 1;
    const end *e = run_limited(ARGS("burn", "1"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_LIMIT);
    cr_expect_eq(e->signal, SIGXCPU);
    expect_message(e, "cpu_seconds 1");
    cr_expect_geq(e->user_seconds, 0.5);
}

Test(runner_limits, t74_one_that_ignores_the_cpu_limit_is_killed)
{
    limited.cpu_seconds = 1;
    const end *e = run_limited(ARGS("burn", "1", "ignore"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_LIMIT);
    cr_expect_eq(e->signal, SIGKILL);
    expect_message(e, "cpu_seconds 1");
}

Test(runner_limits, t74_cpu_time_is_of_all_processes_together)
{
    if (runner->groups.fd[EX_CGROUP_UNIFIED] < 0)
        cr_skip_test("there is no writable control group of version 2");
    limited.cpu_seconds = 1;
    const end *e = run_limited(ARGS("burn", "8", "ignore"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_LIMIT);
    cr_expect_geq(e->user_seconds, 1.5);
    expect_message(e, "cpu_seconds 1");
}

/* Processes that are in no group may not be killed, ours least of all. */
Test(runner_limits, t65_daemon_with_limits_is_killed)
{
    char pid[256];

    snprintf(pid, sizeof pid, "%s", in_home("pid"));
    limited.memory_mb = 64;
    const end *e = run_limited(ARGS("daemon", pid, "keep"));
    cr_expect_eq(e->exit_code, 0);
    cr_expect(is_gone("pid"));
}

Test(runner_limits, t74_a_file_may_not_grow_beyond_its_limit)
{
    limited.max_file_mb = 1;
    const end *e = run_limited(ARGS("file", "1048576"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(e->exit_code, 0);
    e = run_limited(ARGS("file", "1048577"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_LIMIT);
    cr_expect_eq(e->signal, SIGXFSZ);
    expect_message(e, "max_file_mb 1");
}

/* ---- The same above basic, where an init tells how a program ended. */

static void check_caged_limits(int32_t level, uint32_t offer)
{
    if (!(executr_runner_offers(runner) & offer))
        cr_skip_test("%s", executr_runner_abilities(runner));
    limited.isolation = level;
    limited.cpu_seconds = 1;
    const end *e = run_limited(ARGS("burn", "1", "ignore"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_LIMIT);
    expect_message(e, "cpu_seconds 1");
    limited.cpu_seconds = 0;
    limited.max_file_mb = 1;
    e = run_limited(ARGS("file", "1048577"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_LIMIT);
    expect_message(e, "max_file_mb 1");
    limited.max_file_mb = 0;
    want_groups(runner->groups.pids_in, "max_processes");
    limited.max_processes = 4;
    cr_expect_eq(run_limited(ARGS("forks", "3"))->exit_code, 0);
    e = run_limited(ARGS("forks", "4"));
    cr_expect_eq(e->exit_code, 6);
    expect_message(e, "max_processes 4");
    limited.max_processes = 0;
    want_groups(runner->groups.memory_in, "memory");
    limited.memory_mb = 16;
    e = run_limited(ARGS("memory", "64"));
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_OOM);
    expect_message(e, "memory_mb 16");
}

Test(runner_limits, t74_standard_holds_limits)
{
    check_caged_limits(EXECUTR_ISOLATION_STANDARD, EXECUTR_OFFER_STANDARD);
}

Test(runner_limits, t74_strict_holds_limits)
{
    check_caged_limits(EXECUTR_ISOLATION_STRICT, EXECUTR_OFFER_STRICT);
}

/* ---- Control groups: none are left, none but ours are touched. */

static int groups_in(size_t kind)
{
    char path[64];

    if (runner->groups.fd[kind] < 0)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", runner->groups.fd[kind]);
    DIR *list = opendir(path);
    cr_assert_not_null(list);
    int count = 0;
    const struct dirent *entry = readdir(list);
    for (; entry; entry = readdir(list))
        count += strncmp(entry->d_name, "job-", 4) == 0;
    closedir(list);
    return count;
}

Test(runner_limits, t79_no_control_group_is_left)
{
    int seen = 0;

    limited.memory_mb = 64;
    limited.max_processes = 8;
    cr_assert_eq(start_limited(ARGS("sleep")), EXECUTR_OK);
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++)
        seen += groups_in(i);
    executr_runner_stop(runner, 1000, EXECUTR_OUTCOME_CANCELLED, 0);
    wait_for_ends(1);
    for (int i = 0; i < 50; i++)
        cr_assert_eq(run_limited(ARGS("exit", "0"))->exit_code, 0);
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++)
        cr_expect_eq(groups_in(i), 0);
    cr_expect(seen > 0 || runner->groups.memory_in < 0);
}

/* It is the lock that tells, not a number that may be another's by now. */
Test(runner_limits, t34_groups_of_a_living_runner_are_left_alone)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    executr_runner *other;
    char dead[64];

    want_groups(runner->groups.pids_in, "max_processes");
    size_t kind = (size_t)runner->groups.pids_in;
    snprintf(
        dead, sizeof dead, "/proc/self/fd/%d/../executr-dead-%d",
        runner->groups.fd[kind], (int)getpid());
    cr_assert_eq(mkdir(dead, 0755), 0);
    limited.max_processes = 8;
    cr_assert_eq(start_limited(ARGS("sleep")), EXECUTR_OK);
    options.work_directory = in_home("work");
    cr_assert_eq(executr_runner_open(&options, &other, &err), EXECUTR_OK);
    executr_runner_free(other);
    cr_expect_neq(access(dead, F_OK), 0);
    cr_expect_eq(groups_in(kind), 1);
    cr_assert_eq(executr_runner_step(runner, 0, NULL, NULL, &err), EXECUTR_OK);
    cr_expect_eq(executr_runner_running(runner), 1);
}

Test(runner_limits, t80_what_cannot_be_enforced_is_not_offered)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;

    executr_runner_free(runner);
    options.work_directory = in_home("work");
    options.cgroups = -1;
    open_runner_with(&options);
    uint32_t offers = executr_runner_offers(runner);
    cr_expect(offers & EXECUTR_OFFER_MEMORY);
    cr_expect(strstr(executr_runner_abilities(runner), "approximate") != NULL);
    limited.max_processes = 16;
    if (geteuid() == 0) {
        cr_expect_not(offers & EXECUTR_OFFER_PROCESSES);
        cr_expect_eq(start_limited(ARGS("exit", "0")), EXECUTR_E_UNSUPPORTED);
        cr_expect(strstr(err.message, "max_processes") != NULL);
    } else {
        cr_expect(offers & EXECUTR_OFFER_PROCESSES);
    }
    limited.max_processes = 0;
    limited.memory_mb = 16;
    cr_expect_eq(run_limited(ARGS("memory", "8"))->exit_code, 0);
    cr_expect_eq(run_limited(ARGS("memory", "64"))->exit_code, 99);
}
