/* SPDX-License-Identifier: MIT */
/* Takes in a program: checks, copies, makes its directory and its pipes. */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/options.h"
#include "base/time.h"

/* Of a strict program that says no number: no fork bomb is without end. */
#define STRICT_PROCESSES 1024

#define LONGEST_MS (INT64_C(366) * 24 * 3600 * 1000)
#define MOST_STRINGS ((size_t)1 << 20)

static executr_status check_name(const char *name, executr_error *err)
{
    if (!name || !name[0] || name[0] == '.' || strchr(name, '/') ||
        strlen(name) > NAME_MAX)
        return ex_fail_field(
            err, "name",
            "the name of a program is that of its directory: 1 to %d bytes, no "
            "'/', no '.' in front",
            NAME_MAX);
    return EXECUTR_OK;
}

static executr_status check_strings(
    const char *const *strings, size_t count, const char *field,
    executr_error *err)
{
    if (count > MOST_STRINGS || (count > 0 && !strings))
        return ex_fail_field(err, field, "%s is missing or too long", field);
    for (size_t i = 0; i < count; i++) {
        if (!strings[i])
            return ex_fail_field(err, field, "%s[%zu] is NULL", field, i);
    }
    return EXECUTR_OK;
}

static executr_status check(const executr_program *program, executr_error *err)
{
    if (!program->path || program->path[0] != '/')
        return ex_fail_field(
            err, "path", "the path of a program must be absolute");
    if (program->timeout_ms < 0 || program->timeout_ms > LONGEST_MS ||
        program->kill_grace_ms < 0 || program->kill_grace_ms > LONGEST_MS)
        return ex_fail_field(
            err, "timeout_ms",
            "timeout_ms and kill_grace_ms must be 0 to 366 days");
    executr_status st = check_name(program->name, err);
    if (!st)
        st = check_strings(
            program->arguments, program->argument_count, "arguments", err);
    if (!st)
        st = check_strings(
            program->environment, program->environment_count, "environment",
            err);
    return st;
}

static executr_status check_free(
    const executr_runner *runner, uint64_t token, executr_error *err)
{
    if (runner->running >= (size_t)runner->max_running)
        return ex_fail(
            err, EXECUTR_E_UNAVAILABLE,
            "%d programs run already, the most allowed", runner->max_running);
    const ex_run *lists[2] = {runner->runs, runner->over};
    for (size_t i = 0; i < 2; i++) {
        const ex_run *run = lists[i];
        while (run && run->token != token)
            run = run->next;
        if (run)
            return ex_fail(
                err, EXECUTR_E_CONFLICT, "token %llu is in use",
                (unsigned long long)token);
    }
    return EXECUTR_OK;
}

/* A vector for exec: `first` (if any), the strings, NULL. */
static const char **make_vector(
    ex_arena *arena, const char *first, const char *const *strings,
    size_t count)
{
    size_t n = 0;
    const char **vector = ex_arena_get(arena, (count + 2) * sizeof *vector);

    if (!vector)
        return NULL;
    if (first)
        vector[n++] = first;
    for (size_t i = 0; i < count; i++)
        vector[n++] = strings[i];
    return vector;
}

static executr_status make_run(
    const executr_runner *runner, const executr_program *program,
    uint64_t token, ex_run **out, executr_error *err)
{
    void *memory;

    executr_status st = ex_alloc(&memory, sizeof(ex_run), err);
    if (st)
        return st;
    ex_run *run = memory;
    *out = run;
    run->token = token;
    run->process = (ex_watch){-1, EX_WATCH_PROCESS, run, NULL};
    run->out = (ex_watch){-1, EX_WATCH_OUTPUT, run, NULL};
    run->err = (ex_watch){-1, EX_WATCH_OUTPUT, run, NULL};
    run->report_fd = -1;
    run->out_fd = -1;
    run->err_fd = -1;
    run->timeout_at_us = EX_NEVER;
    run->kill_at_us = EX_NEVER;
    run->drain_until_us = EX_NEVER;
    run->look_at_us = EX_NEVER;
    run->isolation =
        program->isolation ? program->isolation : runner->iso.standard;
    run->cpu_at_us = EX_NEVER;
    ex_group_init(&run->group);
    run->timeout_ms = program->timeout_ms;
    run->grace_ms =
        program->kill_grace_ms ? program->kill_grace_ms : runner->kill_grace_ms;
    run->limits = (ex_allowance){
        program->memory_mb, program->cpu_seconds, program->max_processes,
        program->max_file_mb};
    if (run->isolation == EXECUTR_ISOLATION_STRICT &&
        !run->limits.max_processes)
        run->limits.max_processes = STRICT_PROCESSES;
    run->path = program->path;
    run->name = ex_arena_strdup(&run->arena, program->name);
    run->argv = make_vector(
        &run->arena, program->path, program->arguments,
        program->argument_count);
    run->envp = make_vector(
        &run->arena, NULL, program->environment, program->environment_count);
    if (!run->name || !run->argv || !run->envp)
        return ex_fail_nomem(err);
    st = ex_capture_open(runner->max_output, &run->out.capture, err);
    if (!st)
        st = ex_capture_open(runner->max_output, &run->err.capture, err);
    return st;
}

/* The reading end does not block; the writing end is the child's. */
static executr_status make_pipe(
    ex_watch *reader, int *writer, executr_error *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return ex_start_failed(err, errno, "cannot make a pipe");
    reader->fd = ends[0];
    *writer = ex_fd_above_stdio(ends[1]);
    if (*writer < 0)
        return ex_start_failed(err, errno, "cannot move a descriptor");
    if (fcntl(reader->fd, F_SETFL, O_NONBLOCK) != 0)
        return ex_fail_errno(err, errno, "cannot set up a pipe");
    return EXECUTR_OK;
}

void ex_run_free(executr_runner *runner, ex_run *run)
{
    if (!run)
        return;
    ex_watch_close(runner, &run->process);
    ex_watch_close(runner, &run->out);
    ex_watch_close(runner, &run->err);
    ex_run_close_ends(run);
    ex_group_remove(runner, run);
    if (run->report_fd >= 0)
        close(run->report_fd);
    ex_deadline_clear(run);
    ex_capture_free(run->out.capture);
    ex_capture_free(run->err.capture);
    ex_arena_clear(&run->arena);
    ex_free(run);
}

static void link_run(executr_runner *runner, ex_run *run)
{
    run->next = runner->runs;
    run->previous = NULL;
    if (run->next)
        run->next->previous = run;
    runner->runs = run;
    runner->running++;
}

static void unlink_run(executr_runner *runner, ex_run *run)
{
    runner->runs = run->next;
    if (run->next)
        run->next->previous = NULL;
    runner->running--;
}

/* Launch what is ready; on failure nothing of it stays. */
static executr_status launch(
    executr_runner *runner, ex_run *run, executr_error *err)
{
    if (runner->mark_base)
        run->mark =
            runner->mark_base - 1 - runner->mark_serial++ % (EX_MARK_RANGE - 1);
    link_run(runner, run);
    if (runner->next_deadline_us != EX_NEVER)
        ex_deadline_set(runner, run, runner->next_deadline_us);
    runner->next_deadline_us = EX_NEVER;
    executr_status st = EXECUTR_OK;
    int number = ex_group_make(runner, run);
    if (number)
        st = ex_start_failed(err, number, "cannot make a control group");
    if (!st)
        st = ex_run_launch(runner, run, err);
    if (st) {
        unlink_run(runner, run);
        ex_workdir_remove(&runner->dir, run->name);
        return st;
    }
    if (ex_deadline_struck(run)) /* we were stopped before it had a process */
        ex_run_stop(runner, run, EXECUTR_OUTCOME_LOST, 0);
    if (runner->subreaper && runner->reap_at_us == EX_NEVER) {
        runner->reap_at_us = ex_monotonic_us() + EX_REAP_US;
        ex_runner_wake_at(runner, runner->reap_at_us);
    }
    return EXECUTR_OK;
}

executr_status executr_runner_start(
    executr_runner *runner, const executr_program *program, uint64_t token,
    executr_error *err)
{
    executr_program given;
    ex_run *run = NULL;

    executr_status st = ex_options_read(
        &given, sizeof given, sizeof(executr_program), program, err);
    if (!st)
        st = check(&given, err);
    if (!st)
        st = ex_limits_check(runner, &given, err);
    if (!st)
        st = ex_isolation_check(&runner->iso, given.isolation, err);
    if (!st)
        st = check_free(runner, token, err);
    if (!st)
        st = make_run(runner, &given, token, &run, err);
    if (!st)
        st = make_pipe(&run->out, &run->out_fd, err);
    if (!st)
        st = make_pipe(&run->err, &run->err_fd, err);
    if (!st)
        st = ex_workdir_make(&runner->dir, run->name, err);
    if (!st)
        st = launch(runner, run, err);
    if (st && run)
        ex_run_free(runner, run);
    if (st == EXECUTR_E_NOMEM)
        return ex_start_failed(err, ENOMEM, "cannot start a program");
    return st;
}
