/* SPDX-License-Identifier: MIT */
/* Programs: what they are given, what they say, how they end. */
#include <criterion/criterion.h>
#include <executr/job.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/home.h"
#include "support/programs.h"

TestSuite(runner, .init = open_runner, .fini = close_runner);

static void expect_line(const char *text, const char *line)
{
    cr_expect(strstr(text, line) != NULL, "'%s' is not in:\n%s", line, text);
}

/* Copy the job program to the home with a mode. */
static void copy_job(const char *name, unsigned mode)
{
    char command[600];

    snprintf(
        command, sizeof command, "install -m %o %s %s", mode, job_path(),
        in_home(name));
    cr_assert_eq(system(command), 0);
}

static const end *run_path(const char *name, const char *const *arguments)
{
    char path[256];
    executr_program program = EXECUTR_PROGRAM_INIT;

    snprintf(path, sizeof path, "%s", in_home(name));
    program.path = path;
    program.name = "odd";
    program.arguments = arguments;
    program.argument_count = 1;
    size_t before = end_count;
    executr_status st = start_program(1000 + before, &program);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
    wait_for_ends(before + 1);
    return &ends[before % ENDS];
}

Test(runner, t49_program_has_three_descriptors)
{
    int leaked = open("/dev/null", O_RDONLY); /* not close-on-exec */

    expect_line(run(ARGS("state"))->out, "descriptors 3\n");
    close(leaked);
}

Test(runner, t50_program_starts_with_default_signals)
{
    sigset_t blocked;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sigfillset(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    const end *e = run(ARGS("state"));
    expect_line(e->out, "SigBlk:\t0000000000000000\n");
    expect_line(e->out, "SigIgn:\t0000000000000000\n");
}

Test(runner, t50_program_has_session_umask_and_empty_stdin)
{
    const end *e = run(ARGS("state"));

    expect_line(e->out, "leader 1\n");
    expect_line(e->out, "umask 077\n");
    expect_line(e->out, "stdin 0\n");
    expect_line(e->out, "core 0\n");
}

Test(runner, t50_environment_is_exactly_what_is_given)
{
    const char *environment[] = {"B=2", "A=x=y", "EMPTY="};
    const char *arguments[] = {"environment"};
    executr_program program = EXECUTR_PROGRAM_INIT;

    program.path = job_path();
    program.name = "env";
    program.arguments = arguments;
    program.argument_count = 1;
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    program.name = "env2";
    program.environment = environment;
    program.environment_count = 3;
    wait_for_ends(1);
    cr_expect_str_eq(ends[0].out, "");
    cr_assert_eq(start_program(2, &program), EXECUTR_OK);
    wait_for_ends(2);
    cr_expect_str_eq(ends[1].out, "B=2\nA=x=y\nEMPTY=\n");
}

Test(runner, arguments_arrive_as_given)
{
    const end *e = run(ARGS("arguments", "", "a b", "'\"$(x)\\"));
    char wanted[300];

    snprintf(wanted, sizeof wanted, "%s\n[][a b]['\"$(x)\\]", job_path());
    cr_expect_str_eq(e->out, wanted);
}

Test(runner, works_where_stdio_is_closed)
{
    int kept = fcntl(2, F_DUPFD_CLOEXEC, 10);

    for (int fd = 0; fd < 3; fd++)
        close(fd);
    const end *e = run(ARGS("bytes"));
    dup2(kept, 2);
    cr_expect_eq(e->out_length, 11);
    cr_expect_eq(e->err_length, 4);
    expect_line(run(ARGS("state"))->out, "descriptors 3\n");
}

Test(runner, t60_endless_output_is_bounded_and_blocks_nobody)
{
    struct rusage before;
    struct rusage after;

    getrusage(RUSAGE_SELF, &before);
    const end *e = run(ARGS("out", "300000000", "100"));
    getrusage(RUSAGE_SELF, &after);
    cr_expect_eq(e->exit_code, 0);
    cr_expect_leq(e->out_length, 1 << 20);
    cr_expect_gt(e->out_length, 1 << 19);
    cr_expect_lt(after.ru_maxrss - before.ru_maxrss, 64 * 1024);
}

Test(runner, t61_one_line_without_end_is_bounded)
{
    const end *e = run(ARGS("out", "100000000", "0"));

    cr_expect_eq(e->exit_code, 0);
    cr_expect_leq(e->out_length, 1 << 20);
    cr_expect_gt(e->out_length, 0);
}

Test(runner, t62_any_bytes_come_back)
{
    const end *e = run(ARGS("bytes"));

    cr_expect_eq(e->out_length, 11);
    cr_expect_arr_eq(e->out, "a\0b\xff\xed\xa0\x80\033[1m", 11);
    cr_expect_arr_eq(e->err, "err\0", 4);
}

Test(runner, t63_program_may_close_its_output_and_go_on)
{
    cr_assert_eq(start(1, ARGS("quiet", in_home("go"))), EXECUTR_OK);
    cr_assert_eq(executr_runner_step(runner, 50, NULL, NULL, &err), EXECUTR_OK);
    cr_expect_eq(executr_runner_running(runner), 1);
    make_file("go", "");
    wait_for_ends(1);
    cr_expect_eq(ends[0].exit_code, 3);
    cr_expect_str_eq(ends[0].out, "before");
}

Test(runner, t70_exit_codes_are_the_programs_own)
{
    const char *codes[] = {"0", "1", "127", "128", "255"};

    for (size_t i = 0; i < 5; i++) {
        const end *e = run(ARGS("exit", codes[i]));
        cr_expect_eq(e->outcome, EXECUTR_OUTCOME_EXIT);
        cr_expect_eq(e->exit_code, atoi(codes[i]));
        cr_expect_eq(e->signal, 0);
        cr_expect_str_eq(e->message, "");
    }
}

Test(runner, t70_death_by_signal_is_no_exit)
{
    const end *e = run(ARGS("raise", "9"));

    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_SIGNAL);
    cr_expect_eq(e->exit_code, -1);
    cr_expect_eq(e->signal, SIGKILL);
    cr_expect_str_eq(e->message, "killed by signal 9 (SIGKILL)");
    e = run(ARGS("raise", "40"));
    cr_expect_str_eq(e->message, "killed by signal 40");
}

/* Does this machine write core files where programs may have them? */
static int dumps_core(void)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        abort();
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WCOREDUMP(status);
}

/* Each program says so itself; from basic on there are no core files. */
Test(runner, t70_a_core_file_is_told)
{
    const struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
    executr_program program = EXECUTR_PROGRAM_INIT;

    cr_assert_eq(chdir(in_home("")), 0);
    if (setrlimit(RLIMIT_CORE, &most) != 0 || !dumps_core())
        cr_skip_test("this machine writes no core files");
    const end *e = run(ARGS("raise", "6"));
    cr_expect_str_eq(e->message, "killed by signal 6 (SIGABRT)");
    program.path = job_path();
    program.name = "dumps";
    program.isolation = EXECUTR_ISOLATION_NONE;
    program.arguments = ARGS("raise", "6");
    program.argument_count = 2;
    cr_assert_eq(start_program(9, &program), EXECUTR_OK);
    wait_for_ends(2);
    cr_expect_eq(ends[1].outcome, EXECUTR_OUTCOME_SIGNAL);
    cr_expect_str_eq(
        ends[1].message, "killed by signal 6 (SIGABRT), core dumped");
}

static void expect_exec_failed(const end *e, const char *why)
{
    cr_expect_eq(e->outcome, EXECUTR_OUTCOME_EXEC_FAILED);
    cr_expect_eq(e->exit_code, -1);
    cr_expect_eq(e->signal, 0);
    expect_line(e->message, why);
}

Test(runner, t70_file_of_no_known_kind_can_not_be_executed)
{
    make_file("text", "hello\n");
    chmod(in_home("text"), 0555);
    expect_exec_failed(run_path("text", ARGS("x")), "Exec format error");
}

Test(runner, t70_missing_and_forbidden_files_are_named)
{
    copy_job("plain", 0444);
    expect_exec_failed(run_path("plain", ARGS("x")), "Permission denied");
    expect_line(ends[0].message, "/plain");
    expect_exec_failed(run_path("nowhere", ARGS("x")), "No such file");
    expect_line(ends[1].message, "/nowhere");
}

Test(runner, t70_missing_interpreter_is_named)
{
    make_file("script", "#! /no/such/shell -x\n");
    chmod(in_home("script"), 0555);
    expect_exec_failed(run_path("script", ARGS("x")), ": /no/such/shell");
}

Test(runner, t70_cut_executable_does_not_pass)
{
    copy_job("cut", 0755);
    cr_assert_eq(truncate(in_home("cut"), 100), 0);
    const end *e = run_path("cut", ARGS("exit"));
    cr_expect_neq(e->outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(e->exit_code, -1);
}

Test(runner, t71_longest_argument_and_one_more)
{
    static char longest[131073];

    /* The kernel counts the NUL; 131,072 bytes are one too many. */
    memset(longest, 'x', 131071);
    cr_expect_eq(run(ARGS("exit", "0", longest))->exit_code, 0);
    longest[131071] = 'x';
    expect_exec_failed(run(ARGS("exit", "0", longest)), "too long");
}

Test(runner, t71_more_in_all_than_the_kernel_takes)
{
    static char text[131072];
    const char *arguments[200] = {"exit", "0"};

    memset(text, 'x', 131071);
    for (size_t i = 2; i < 199; i++)
        arguments[i] = text;
    expect_exec_failed(run(arguments), "too long");
}

Test(runner, t73_program_can_not_gain_privileges)
{
    expect_line(run(ARGS("state"))->out, "new_privs 1\n");
}

Test(runner, program_dies_before_its_executor_when_memory_is_out)
{
    expect_line(run(ARGS("state"))->out, "oom 500\n");
}

Test(runner, t48_busy_file_is_tried_again)
{
    copy_job("busy", 0755);
    int fd = open(in_home("busy"), O_WRONLY | O_CLOEXEC);
    char *path = strdup(in_home("busy"));
    const char *arguments[] = {"exit", "4"};
    executr_program program = EXECUTR_PROGRAM_INIT;

    program.path = path;
    program.name = "busy";
    program.arguments = arguments;
    program.argument_count = 2;
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    cr_assert_eq(executr_runner_step(runner, 10, NULL, NULL, &err), EXECUTR_OK);
    cr_expect_eq(executr_runner_running(runner), 1);
    close(fd);
    wait_for_ends(1);
    cr_expect_eq(ends[0].exit_code, 4, "%s", ends[0].message);
    free(path);
}

Test(runner, t48_file_that_stays_busy_can_not_be_executed)
{
    copy_job("busy", 0755);
    int fd = open(in_home("busy"), O_WRONLY | O_CLOEXEC);

    expect_exec_failed(run_path("busy", ARGS("exit")), "Text file busy");
    close(fd);
}

Test(runner, usage_is_measured)
{
    const end *e = run(ARGS("busy"));

    cr_expect_gt(e->user_seconds, 0);
    cr_expect_geq(e->wall_seconds, 0.9 * e->user_seconds);
    cr_expect_gt(e->max_rss, 0);
}

Test(runner, timeout_ends_a_program)
{
    const char *arguments[] = {"sleep"};
    executr_program program = EXECUTR_PROGRAM_INIT;

    program.path = job_path();
    program.name = "slow";
    program.arguments = arguments;
    program.argument_count = 1;
    program.timeout_ms = 100;
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_TIMEOUT);
    cr_expect_eq(ends[0].signal, SIGTERM);
    cr_expect_str_eq(
        ends[0].message,
        "timed out: it ran longer than its limit, timeout 100ms");
}

Test(runner, program_that_ends_within_its_time_keeps_its_own_end)
{
    const char *arguments[] = {"exit", "6"};
    executr_program program = EXECUTR_PROGRAM_INIT;

    program.path = job_path();
    program.name = "fast";
    program.arguments = arguments;
    program.argument_count = 2;
    program.timeout_ms = 60000;
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(ends[0].exit_code, 6);
}

Test(runner, stopped_program_says_why)
{
    cr_assert_eq(start(1, ARGS("polite", in_home("ready"))), EXECUTR_OK);
    wait_for_file("ready");
    executr_runner_stop(runner, 1, EXECUTR_OUTCOME_CANCELLED, -1);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_CANCELLED);
    cr_expect_eq(ends[0].exit_code, -1);
    cr_expect_str_eq(ends[0].message, "cancelled");
}

Test(runner, stop_after_the_end_changes_nothing)
{
    siginfo_t info;

    cr_assert_eq(start(1, ARGS("exit", "2")), EXECUTR_OK);
    cr_assert_eq(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
    executr_runner_stop(runner, 1, EXECUTR_OUTCOME_CANCELLED, 0);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(ends[0].exit_code, 2);
    executr_runner_stop(runner, 1, EXECUTR_OUTCOME_CANCELLED, 0);
}

Test(runner, t66_program_that_ignores_term_is_killed)
{
    cr_assert_eq(start(1, ARGS("stubborn", in_home("ready"))), EXECUTR_OK);
    wait_for_file("ready");
    executr_runner_stop(runner, 1, EXECUTR_OUTCOME_LOST, 50);
    wait_for_ends(1);
    cr_expect_eq(ends[0].outcome, EXECUTR_OUTCOME_LOST);
    cr_expect_eq(ends[0].signal, SIGKILL);
}

Test(runner, t67_halted_program_obeys_term)
{
    cr_assert_eq(start(1, ARGS("stop")), EXECUTR_OK);
    executr_runner_stop(runner, 1, EXECUTR_OUTCOME_CANCELLED, 60000);
    wait_for_ends(1);
    cr_expect_eq(ends[0].signal, SIGTERM);
}

Test(runner, token_and_name_are_taken_once)
{
    executr_program program = EXECUTR_PROGRAM_INIT;

    cr_assert_eq(start(1, ARGS("sleep")), EXECUTR_OK);
    cr_expect_eq(start(1, ARGS("sleep")), EXECUTR_E_CONFLICT);
    program.path = job_path();
    program.name = "job-1";
    cr_expect_eq(start_program(2, &program), EXECUTR_E_CONFLICT);
    cr_expect_eq(executr_runner_running(runner), 1);
}

Test(runner, bad_programs_are_refused)
{
    executr_program program = EXECUTR_PROGRAM_INIT;
    const char *names[] = {"", ".", "..", "a/b", ".hidden", NULL};

    program.path = job_path();
    for (size_t i = 0; i < 6; i++) {
        program.name = names[i];
        cr_expect_eq(start_program(1, &program), EXECUTR_E_ARGUMENT);
        cr_expect_str_eq(err.field, "name");
    }
    program.name = "x";
    program.path = "relative";
    cr_expect_eq(start_program(1, &program), EXECUTR_E_ARGUMENT);
    program.path = job_path();
    program.isolation = EXECUTR_ISOLATION_STRICT;
    if (!(executr_runner_offers(runner) & EXECUTR_OFFER_STRICT))
        cr_expect_eq(start_program(1, &program), EXECUTR_E_UNSUPPORTED);
}

Test(runner, shortage_of_descriptors_is_not_the_programs_fault)
{
    struct rlimit before;
    struct rlimit low;

    cr_assert_eq(run(ARGS("exit", "0"))->exit_code, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = (rlim_t)dup(0) + 1;
    setrlimit(RLIMIT_NOFILE, &low);
    executr_status st = start(9, ARGS("exit", "0"));
    setrlimit(RLIMIT_NOFILE, &before);
    cr_expect_eq(st, EXECUTR_E_UNAVAILABLE, "%s", err.message);
    cr_expect_eq(executr_runner_running(runner), 0);
    cr_expect_eq(run(ARGS("exit", "8"))->exit_code, 8);
}

Test(runner_options, limit_the_number_of_programs, .fini = close_runner)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;

    make_home();
    options.work_directory = in_home("work");
    options.max_running = 1;
    open_runner_with(&options);
    cr_assert_eq(start(1, ARGS("sleep")), EXECUTR_OK);
    cr_expect_eq(start(2, ARGS("sleep")), EXECUTR_E_UNAVAILABLE);
}

Test(runner_options, out_of_range_are_refused)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    executr_runner *none = NULL;

    options.drain_ms = -1;
    cr_expect_eq(
        executr_runner_open(&options, &none, &err), EXECUTR_E_ARGUMENT);
    cr_expect_str_eq(err.field, "drain_ms");
    cr_expect_null(none);
}

/* Step until so much of a stream can be read; what it is, as a text. */
static size_t read_live(
    uint64_t token, int32_t stream, int64_t offset, char *data, size_t size,
    size_t wanted)
{
    int64_t at;
    size_t length = 0;

    while (length < wanted && end_count == 0) {
        cr_assert_eq(
            executr_runner_step(runner, 10, NULL, NULL, &err), EXECUTR_OK);
        length = executr_runner_output(
            runner, token, stream, offset, data, size, &at);
        cr_assert_eq(at, offset);
    }
    data[length] = '\0';
    return length;
}

TestSuite(runner_output, .init = open_runner, .fini = close_runner);

Test(runner_output, t60_is_read_while_the_program_runs)
{
    char data[64];
    int64_t at;

    cr_assert_eq(start(7, ARGS("talk")), EXECUTR_OK);
    read_live(7, 1, 0, data, sizeof data - 1, 4);
    cr_expect_str_eq(data, "said");
    read_live(7, 1, 2, data, sizeof data - 1, 2);
    cr_expect_str_eq(data, "id");
    read_live(7, 2, 0, data, sizeof data - 1, 5);
    cr_expect_str_eq(data, "erred");
    cr_expect_eq(executr_runner_output(runner, 7, 1, 4, data, 9, &at), 0);
    cr_expect_eq(executr_runner_output(runner, 7, 3, 0, data, 9, &at), 0);
    cr_expect_eq(executr_runner_output(runner, 8, 1, 0, data, 9, &at), 0);
    cr_expect_eq(executr_runner_output(runner, 7, 1, -1, data, 9, &at), 0);
}
