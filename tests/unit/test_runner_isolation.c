/* SPDX-License-Identifier: MIT */
/* What programs of each level can and can't do. */
#include <criterion/criterion.h>
#include <errno.h>
#include <executr/job.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/home.h"
#include "support/programs.h"

static executr_runner_options options;

/* A runner of its own for each test, with options of its own. */
static void prepare(void)
{
    options = (executr_runner_options)EXECUTR_RUNNER_OPTIONS_INIT;
    make_home();
    options.work_directory = in_home("work");
}

static void finish(void)
{
    executr_runner_free(runner);
    runner = NULL;
    drop_home();
}

TestSuite(runner_isolation, .init = prepare, .fini = finish);

static void open_it(void)
{
    static char work[256];

    snprintf(work, sizeof work, "%s", in_home("work"));
    options.work_directory = work;
    open_runner_with(&options);
}

static int needs_root(void)
{
    if (geteuid() == 0)
        return 0;
    cr_skip_test("this needs root");
    return 1;
}

/* What the attacker says to these tries, on a level. */
static const char *attack_at(int32_t level, const char *const *tries)
{
    executr_program program = EXECUTR_PROGRAM_INIT;
    size_t before = end_count;
    char name[32];

    snprintf(name, sizeof name, "job-%zu", before);
    program.path = TEST_ATTACKER;
    program.name = name;
    program.isolation = level;
    program.arguments = tries;
    while (tries[program.argument_count])
        program.argument_count++;
    executr_status st = start_program(before + 1, &program);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
    wait_for_ends(before + 1);
    const end *e = &ends[before % ENDS];
    cr_assert_eq(e->outcome, EXECUTR_OUTCOME_EXIT, "%s", e->message);
    cr_assert_eq(e->exit_code, 0);
    return e->out;
}

static void expect_line(const char *out, const char *format, ...)
{
    char line[512] = "\n";
    char all[8192];
    va_list args;

    va_start(args, format);
    vsnprintf(line + 1, sizeof line - 2, format, args);
    va_end(args);
    strcat(line, "\n");
    snprintf(all, sizeof all, "\n%s", out);
    cr_expect(
        strstr(all, line), "no line '%.*s' in:\n%s", (int)strlen(line) - 2,
        line + 1, out);
}

/* ---- Users. */

Test(runner_isolation, t73_a_program_runs_as_the_user_it_is_told)
{
    if (needs_root())
        return;
    options.run_as = "nobody";
    open_it();
    const char *out = attack_at(
        0, ARGS(
               "ids", "write:here", "write:/etc/executr-was-here",
               "status:CapPrm", "status:CapEff", "see:/proc/1/root/"));
    expect_line(out, "user 65534 group 65534 groups 65534");
    expect_line(out, "write:here 0");
    expect_line(out, "write:/etc/executr-was-here %d", EACCES);
    expect_line(out, "CapPrm:\t0000000000000000");
    expect_line(out, "CapEff:\t0000000000000000");
    expect_line(out, "see:/proc/1/root/ %d", EACCES);
}

Test(runner_isolation, a_user_may_be_given_by_number_and_with_a_group)
{
    if (needs_root())
        return;
    options.run_as = "54321:daemon";
    options.isolation = EXECUTR_ISOLATION_NONE;
    open_it();
    const char *out = attack_at(0, ARGS("ids", "write:here"));
    expect_line(out, "user 54321 group 1 groups");
    expect_line(out, "write:here 0");
}

/* The cache is nobody's but the executor's; what is in it must run all the
 * same. */
Test(runner_isolation, a_user_need_not_reach_the_file_by_its_path)
{
    char copy[512];
    char command[1200];

    if (needs_root())
        return;
    cr_assert_eq(mkdir(in_home("cache"), 0700), 0);
    snprintf(copy, sizeof copy, "%s", in_home("cache/program"));
    snprintf(command, sizeof command, "cp %s %s", TEST_ATTACKER, copy);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(chmod(copy, 0555), 0);
    options.run_as = "nobody";
    open_it();
    executr_program program = EXECUTR_PROGRAM_INIT;
    program.path = copy;
    program.name = "job";
    program.arguments = ARGS("ids");
    program.argument_count = 1;
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    wait_for_ends(1);
    cr_expect_str_eq(ends[0].message, "");
    expect_line(ends[0].out, "user 65534 group 65534 groups 65534");
}

static void expect_refused(const char *user, const char *words)
{
    char work[256];

    snprintf(work, sizeof work, "%s", in_home("work"));
    options.work_directory = work;
    options.run_as = user;
    cr_expect_eq(
        executr_runner_open(&options, &runner, &err), EXECUTR_E_ARGUMENT);
    cr_expect_null(runner);
    cr_expect(strstr(err.message, words), "%s", err.message);
}

Test(runner_isolation, users_that_are_not_there_are_refused)
{
    if (needs_root())
        return;
    expect_refused("nobody-of-that-name", "no user 'nobody-of-that-name'");
    expect_refused("nobody:nor-that-group", "no group 'nor-that-group'");
    expect_refused("", "names no user");
    expect_refused(":daemon", "names no user");
    expect_refused("4294967295", "no user '4294967295'");
}

Test(runner_isolation, only_root_may_run_programs_as_others)
{
    if (geteuid() == 0)
        cr_assert_eq(seteuid(65534), 0);
    expect_refused("nobody", "needs root");
    cr_expect_eq(geteuid() == 0 || seteuid(getuid()) == 0, 1);
}

/* ---- none and basic. */

Test(runner_isolation, t77_basic_leaves_root_only_what_is_its_own)
{
    if (needs_root())
        return;
    open_it();
    const char *out = attack_at(
        0, ARGS(
               "raise-mark", "clock", "reboot", "device:null", "mount:.",
               "write:file", "status:NoNewPrivs"));
    expect_line(out, "raise-mark %d", EPERM);
    expect_line(out, "clock %d", EPERM);
    expect_line(out, "reboot %d", EPERM);
    expect_line(out, "device:null %d", EPERM);
    expect_line(out, "mount:. %d", EPERM);
    expect_line(out, "write:file 0");
    expect_line(out, "NoNewPrivs:\t1");
}

static unsigned long long effective(const char *out)
{
    unsigned long long caps = 0;
    const char *at = strstr(out, "CapEff:");

    cr_assert_not_null(at);
    cr_assert_eq(sscanf(at, "CapEff: %llx", &caps), 1);
    return caps;
}

/* And what is done to programs of one level is not done to us. */
Test(runner_isolation, none_drops_nothing_but_new_privileges)
{
    if (needs_root())
        return;
    options.isolation = EXECUTR_ISOLATION_NONE;
    open_it();
    unsigned long long basic =
        effective(attack_at(EXECUTR_ISOLATION_BASIC, ARGS("status:CapEff")));
    const char *out = attack_at(0, ARGS("status:CapEff", "status:NoNewPrivs"));
    cr_expect_gt(effective(out), basic);
    expect_line(out, "NoNewPrivs:\t1");
}

Test(runner_isolation, a_program_that_demands_basic_gets_it_where_none_is_usual)
{
    options.isolation = EXECUTR_ISOLATION_NONE;
    open_it();
    executr_program program = EXECUTR_PROGRAM_INIT;
    program.path = job_path();
    program.name = "none";
    program.arguments = ARGS("state");
    program.argument_count = 1;
    umask(022);
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    wait_for_ends(1);
    expect_line(ends[0].out, "umask 022");
    program.isolation = EXECUTR_ISOLATION_BASIC;
    cr_assert_eq(start_program(2, &program), EXECUTR_OK);
    wait_for_ends(2);
    expect_line(ends[1].out, "umask 077");
    expect_line(ends[1].out, "core 0");
}

Test(runner_isolation, levels_that_do_not_exist_are_refused)
{
    executr_program program = EXECUTR_PROGRAM_INIT;

    open_it();
    program.path = job_path();
    program.name = "job";
    program.isolation = 5;
    cr_expect_eq(start_program(1, &program), EXECUTR_E_ARGUMENT);
    program.isolation = -1;
    cr_expect_eq(start_program(1, &program), EXECUTR_E_ARGUMENT);
    cr_expect_eq(executr_runner_running(runner), 0);
}
