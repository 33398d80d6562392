/* SPDX-License-Identifier: MIT */
/* A runner for one test, and what became of the programs it ran. */
#include "support/programs.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/home.h"

executr_runner *runner;
end ends[ENDS];
size_t end_count;
executr_error err;

static char pid_path[256];

void open_runner_with(const executr_runner_options *options)
{
    executr_status st = executr_runner_open(options, &runner, &err);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
}

static void open_with_subreaper(int32_t subreaper)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    char work[256];

    make_home();
    snprintf(work, sizeof work, "%s", in_home("work"));
    options.work_directory = work;
    options.subreaper = subreaper;
    open_runner_with(&options);
}

void open_runner(void)
{
    open_with_subreaper(0);
}

void open_reaping_runner(void)
{
    open_with_subreaper(1);
}

void close_runner(void)
{
    executr_runner_free(runner);
    runner = NULL;
    drop_home();
}

const char *job_path(void)
{
    return TEST_JOB;
}

executr_status start_program(uint64_t token, const executr_program *program)
{
    return executr_runner_start(runner, program, token, &err);
}

executr_status start(uint64_t token, const char *const *arguments)
{
    executr_program program = EXECUTR_PROGRAM_INIT;
    char name[32];

    snprintf(name, sizeof name, "job-%llu", (unsigned long long)token);
    program.path = job_path();
    program.name = name;
    program.arguments = arguments;
    while (arguments[program.argument_count])
        program.argument_count++;
    return start_program(token, &program);
}

static void keep(
    char *to, size_t size, size_t *length, const char *data, size_t have)
{
    *length = have;
    memcpy(to, data, have < size ? have : size - 1);
    to[have < size ? have : size - 1] = '\0';
}

static void on_end(void *ctx, uint64_t token, const executr_result *result)
{
    end *e = &ends[end_count++ % ENDS];
    size_t length;

    (void)ctx;
    memset(e, 0, sizeof *e);
    e->token = token;
    e->outcome = executr_result_outcome(result);
    e->exit_code = -1;
    executr_result_exit_code(result, &e->exit_code);
    e->signal = executr_result_signal(result);
    snprintf(
        e->message, sizeof e->message, "%s", executr_result_message(result));
    const char *out = executr_result_stdout(result, &length);
    keep(e->out, sizeof e->out, &e->out_length, out, length);
    const char *text = executr_result_stderr(result, &length);
    keep(e->err, sizeof e->err, &e->err_length, text, length);
    e->user_seconds = executr_result_user_seconds(result);
    e->wall_seconds = executr_result_wall_seconds(result);
    e->max_rss = executr_result_max_rss_bytes(result);
}

static void step(int64_t timeout_ms)
{
    executr_status st =
        executr_runner_step(runner, timeout_ms, on_end, NULL, &err);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
}

void wait_for_ends(size_t count)
{
    while (end_count < count)
        step(-1);
}

void wait_for_file(const char *name)
{
    while (!exists(name))
        step(1);
}

const end *run(const char *const *arguments)
{
    size_t before = end_count;

    executr_status st = start(before + 1, arguments);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
    wait_for_ends(before + 1);
    return &ends[before % ENDS];
}

/* A zombie is gone, too: that its parent has not looked is not our doing. */
int is_gone(const char *pid_file)
{
    char line[256];
    char state = 'Z';
    int pid = 0;

    snprintf(pid_path, sizeof pid_path, "%s", in_home(pid_file));
    FILE *file = fopen(pid_path, "re");
    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%d", &pid), 1);
    fclose(file);
    snprintf(line, sizeof line, "/proc/%d/stat", pid);
    file = fopen(line, "re");
    if (!file)
        return errno == ENOENT;
    if (fscanf(file, "%*d %*s %c", &state) != 1)
        state = 'Z';
    fclose(file);
    return state == 'Z' || state == 'X';
}

int entries(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);

    cr_assert_not_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}
