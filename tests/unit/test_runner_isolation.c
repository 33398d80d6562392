/* SPDX-License-Identifier: MIT */
/* What programs of each level can and can't do. */
#include <criterion/criterion.h>
#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner.h"
#include "support/attack.h"
#include "support/home.h"
#include "support/programs.h"

TestSuite(runner_isolation, .init = prepare_attack, .fini = close_attack);

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

static const end *run_hidden_script(const char *name, const char *text)
{
    static char path[512];
    executr_program program = EXECUTR_PROGRAM_INIT;
    size_t before = end_count;

    make_file(name, text);
    snprintf(path, sizeof path, "%s", in_home(name));
    cr_assert_eq(chmod(path, 0555), 0);
    program.path = path;
    program.name = "script";
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    wait_for_ends(before + 1);
    return &ends[before % ENDS];
}

Test(runner_isolation, t73_a_user_need_not_reach_a_script_by_its_path)
{
    if (needs_root())
        return;
    cr_assert_eq(mkdir(in_home("cache"), 0700), 0);
    options.run_as = "nobody";
    open_it();
    const end *e =
        run_hidden_script("cache/script", "#!/bin/sh\n/usr/bin/id -u\n");
    cr_expect_str_eq(e->out, "65534\n", "%s%s", e->message, e->err);
    e = run_hidden_script("cache/odd", "#!/no/such/shell\n");
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_EXEC_FAILED);
    cr_expect(strstr(e->message, "No such file") != NULL, "%s", e->message);
    cr_expect(strstr(e->message, "/no/such/shell") != NULL, "%s", e->message);
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

/* What programs may not do to the process that runs them. */
static void expect_hidden(int32_t level)
{
    char environment[64];
    char memory[64];
    char trace[64];

    snprintf(environment, 64, "read:/proc/%d/environ", (int)getpid());
    snprintf(memory, 64, "write:/proc/%d/mem", (int)getpid());
    snprintf(trace, 64, "trace:%d", (int)getpid());
    const char *out = attack_at(level, ARGS(environment, memory, trace));
    int caged = level > EXECUTR_ISOLATION_BASIC;
    expect_line(out, "%s %d", environment, caged ? ENOENT : EACCES);
    expect_line(out, "%s %d", memory, caged ? ENOENT : EACCES);
    expect_line(out, "%s %d", trace, caged ? ESRCH : EPERM);
}

Test(runner_isolation, t78_root_programs_do_not_read_their_executor)
{
    if (needs_root())
        return;
    open_it();
    expect_hidden(EXECUTR_ISOLATION_BASIC);
    if (executr_runner_offers(runner) & EXECUTR_OFFER_STANDARD)
        expect_hidden(EXECUTR_ISOLATION_STANDARD);
}

/* An executor that is not root and not dumpable, as ours is: its programs have
 * its user and still all that others get. */
static void become_nobody(void)
{
    char path[256];

    snprintf(path, sizeof path, "%s", in_home(""));
    if (geteuid() == 0) {
        cr_assert_eq(chown(path, 65534, 65534), 0);
        cr_assert_eq(setgroups(0, NULL), 0);
        cr_assert_eq(setresgid(65534, 65534, 65534), 0);
        cr_assert_eq(setresuid(65534, 65534, 65534), 0);
    }
    cr_assert_eq(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), 0);
}

Test(runner_isolation, t78_programs_of_its_user_do_not_read_their_executor)
{
    become_nobody();
    open_it();
    expect_hidden(EXECUTR_ISOLATION_BASIC);
    if (executr_runner_offers(runner) & EXECUTR_OFFER_STANDARD)
        expect_hidden(EXECUTR_ISOLATION_STANDARD);
    else
        cr_skip_test("standard: %s", executr_runner_abilities(runner));
}

/* It is told from outside, so a moment after the program has begun. */
Test(runner_isolation, t69_programs_go_before_an_executor_that_is_not_dumpable)
{
    executr_program program = EXECUTR_PROGRAM_INIT;
    char path[64];
    char score[16] = "";

    become_nobody();
    open_it();
    program.path = job_path();
    program.name = "job";
    program.arguments = ARGS("sleep");
    program.argument_count = 1;
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    snprintf(path, 64, "/proc/%d/oom_score_adj", (int)runner->runs->pid);
    FILE *file = fopen(path, "re");
    cr_assert_not_null(file);
    cr_assert_not_null(fgets(score, sizeof score, file));
    fclose(file);
    cr_expect_str_eq(score, "500\n");
}

/* ---- standard and strict. */

/* What both levels promise. */
static void expect_caged(const char *out)
{
    expect_line(out, "pid 2 parent 1");
    expect_line(out, "write:here 0");
    expect_line(out, "write:/tmp/private 0");
    expect_line(out, "write:/executr-was-here %d", EROFS);
    expect_line(out, "write:/etc/executr-was-here %d", EROFS);
    expect_line(out, "write:/dev/null 0");
    expect_line(out, "mount:/tmp %d", EPERM);
    expect_line(out, "umount:/proc %d", EPERM);
    expect_line(out, "remount:/ %d", EPERM);
    expect_line(out, "user-namespace %d", EPERM);
    expect_line(out, "keyring %d", EPERM);
    expect_line(out, "io_uring %d", EPERM);
    expect_line(out, "module %d", EPERM);
    expect_line(out, "unknown-call %d", ENOSYS);
    expect_line(out, "trace:1 %d", EPERM);
    expect_line(out, "raise-mark %d", EPERM);
    expect_line(out, "NoNewPrivs:\t1");
    expect_line(out, "Seccomp:\t2");
}

#define CAGED                                                                  \
    "pid", "write:here", "write:/tmp/private", "write:/executr-was-here",      \
        "write:/etc/executr-was-here", "write:/dev/null", "mount:/tmp",        \
        "umount:/proc", "remount:/", "user-namespace", "keyring", "io_uring",  \
        "module", "unknown-call", "trace:1", "raise-mark",                     \
        "status:NoNewPrivs", "status:Seccomp:"

static void check_caged(int32_t level)
{
    char other[64];

    if (lacks(level))
        return;
    snprintf(other, sizeof other, "see:/proc/%d/", (int)getpid());
    const char *out = attack_at(level, ARGS(CAGED, other));
    expect_caged(out);
    expect_line(out, "%s %d", other, ENOENT);
    cr_expect_neq(access("/tmp/private", F_OK), 0);
    cr_expect_neq(access("/executr-was-here", F_OK), 0);
}

Test(runner_isolation, t76_standard_holds_a_program_in_its_directory)
{
    check_caged(EXECUTR_ISOLATION_STANDARD);
}

Test(runner_isolation, t76_strict_holds_a_program_in_its_directory)
{
    check_caged(EXECUTR_ISOLATION_STRICT);
}

Test(runner_isolation, strict_has_no_network_and_traces_nothing)
{
    if (lacks(EXECUTR_ISOLATION_STRICT))
        return;
    const char *out = attack_at(
        EXECUTR_ISOLATION_STRICT,
        ARGS("outside:192.0.2.1", "connect:1", "trace-me", "status:CapEff"));
    expect_line(out, "outside:192.0.2.1 %d", ENETUNREACH);
    expect_line(out, "connect:1 %d", ECONNREFUSED);
    expect_line(out, "trace-me %d", EPERM);
    expect_line(out, "CapEff:\t0000000000000000");
}

static const int32_t caged_levels[] = {
    EXECUTR_ISOLATION_STANDARD, EXECUTR_ISOLATION_STRICT};

/* Start a program of job.c (or another) on a level. */
static void start_at(
    uint64_t token, int32_t level, const char *path, const char *name,
    const char *const *arguments)
{
    executr_program program = EXECUTR_PROGRAM_INIT;

    program.path = path;
    program.name = name;
    program.isolation = level;
    program.kill_grace_ms = 1;
    program.arguments = arguments;
    while (arguments[program.argument_count])
        program.argument_count++;
    executr_status st = start_program(token, &program);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
}

static void check_ends(int32_t level)
{
    if (lacks(level))
        return;
    start_at(1, level, job_path(), "code", ARGS("exit", "7"));
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(ends[0].exit_code, 7);
    start_at(2, level, job_path(), "signal", ARGS("raise", "6"));
    wait_for_ends(2);
    cr_expect_eq(ends[1].outcome, EXECUTR_OUTCOME_SIGNAL);
    cr_expect_eq(ends[1].signal, 6);
    start_at(
        3, level, "/bin/sh", "shell",
        ARGS("-c", "(sleep 600 &) ; echo out; echo err >&2; exit 3"));
    wait_for_ends(3);
    cr_expect_eq(ends[2].exit_code, 3, "%s", ends[2].message);
    cr_expect_str_eq(ends[2].out, "out\n");
    cr_expect_str_eq(ends[2].err, "err\n");
    cr_expect_eq(executr_runner_running(runner), 0);
}

Test(runner_isolation, standard_tells_how_programs_end)
{
    check_ends(caged_levels[0]);
}

Test(runner_isolation, strict_tells_how_programs_end)
{
    check_ends(caged_levels[1]);
}

static void check_stop(int32_t level)
{
    if (lacks(level))
        return;
    start_at(
        1, level, "/bin/sh", "job",
        ARGS("-c", "trap '' TERM; sleep 600 & setsid sleep 600 & wait; wait"));
    executr_runner_stop(runner, 1, EXECUTR_OUTCOME_CANCELLED, 50);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_CANCELLED);
    executr_program program = EXECUTR_PROGRAM_INIT;
    program.path = "/bin/sleep";
    program.name = "late";
    program.isolation = level;
    program.timeout_ms = 20;
    program.arguments = ARGS("600");
    program.argument_count = 1;
    cr_assert_eq(start_program(2, &program), EXECUTR_OK);
    wait_for_ends(2);
    cr_expect_eq(ends[1].outcome, EXECUTR_OUTCOME_TIMEOUT);
}

Test(runner_isolation, standard_ends_whole_trees_when_stopped)
{
    check_stop(caged_levels[0]);
}

Test(runner_isolation, strict_ends_whole_trees_when_stopped)
{
    check_stop(caged_levels[1]);
}

/* The allow list must let an ordinary interpreter do its work. */
Test(runner_isolation, strict_runs_python)
{
    if (lacks(EXECUTR_ISOLATION_STRICT))
        return;
    if (access("/usr/bin/python3", X_OK) != 0)
        cr_skip_test("there is no /usr/bin/python3");
    start_at(
        1, EXECUTR_ISOLATION_STRICT, "/usr/bin/python3", "python",
        ARGS(
            "-c", "import subprocess, threading, tempfile, socket, ssl, json\n"
                  "t = threading.Thread(target=print, args=('thread',))\n"
                  "t.start(); t.join()\n"
                  "print(subprocess.check_output(['echo', 'child']).decode())\n"
                  "tempfile.NamedTemporaryFile(); open('mine', 'w').close()\n"
                  "a, b = socket.socketpair(); a.send(b'x'); b.recv(1)\n"));
    wait_for_ends(1);
    cr_expect_eq(ends[0].exit_code, 0, "%s%s", ends[0].message, ends[0].err);
}

/* An operator who asks for a level gets it or no runner at all. */
Test(runner_isolation, a_level_that_can_not_be_had_opens_no_runner)
{
    options.isolation = EXECUTR_ISOLATION_STRICT;
    options.cgroups = -1;
    executr_runner *none = NULL;
    executr_error why = {0};
    char work[256];
    snprintf(work, sizeof work, "%s", in_home("work"));
    options.work_directory = work;
    cr_expect_eq(
        executr_runner_open(&options, &none, &why), EXECUTR_E_UNSUPPORTED);
    cr_expect_null(none);
    cr_expect_not_null(strstr(why.message, "strict"), "%s", why.message);
    cr_expect_not_null(strstr(why.message, "control groups"));
}

/* An init that ends by itself and says nothing is no success. */
Test(runner_isolation, an_end_that_nobody_told_is_lost)
{
    int silent[2];

    if (lacks(EXECUTR_ISOLATION_STANDARD))
        return;
    start_at(
        1, EXECUTR_ISOLATION_STANDARD, job_path(), "job", ARGS("exit", "0"));
    cr_assert_eq(pipe2(silent, O_CLOEXEC | O_NONBLOCK), 0);
    cr_assert_geq(dup2(silent[0], runner->runs->report_fd), 0);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_LOST);
    cr_expect_eq(ends[0].exit_code, -1);
    cr_expect_not_null(strstr(ends[0].message, "without telling"));
    close(silent[0]);
    close(silent[1]);
}
