/* SPDX-License-Identifier: MIT */
/* Results: what ended a program, in words a user can act on. */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/time.h"

int32_t executr_result_outcome(const executr_result *result)
{
    return result->outcome;
}

int32_t executr_result_exit_code(const executr_result *result, int32_t *code)
{
    if (result->has_exit_code)
        *code = result->exit_code;
    return result->has_exit_code;
}

int32_t executr_result_signal(const executr_result *result)
{
    return result->signal;
}

const char *executr_result_message(const executr_result *result)
{
    return result->message;
}

const char *executr_result_stdout(const executr_result *result, size_t *length)
{
    *length = result->stdout_length;
    return result->stdout_data ? result->stdout_data : "";
}

const char *executr_result_stderr(const executr_result *result, size_t *length)
{
    *length = result->stderr_length;
    return result->stderr_data ? result->stderr_data : "";
}

double executr_result_user_seconds(const executr_result *result)
{
    return result->user_seconds;
}

double executr_result_system_seconds(const executr_result *result)
{
    return result->system_seconds;
}

double executr_result_wall_seconds(const executr_result *result)
{
    return result->wall_seconds;
}

int64_t executr_result_max_rss_bytes(const executr_result *result)
{
    return result->max_rss_bytes;
}

static void say_signal(executr_result *result, int number, int dumped)
{
    const char *name = sigabbrev_np(number);

    snprintf(
        result->message, sizeof result->message, "killed by signal %d%s%s%s%s",
        number, name ? " (SIG" : "", name ? name : "", name ? ")" : "",
        dumped ? ", core dumped" : "");
}

static void say_stopped(ex_run *run, int32_t outcome)
{
    executr_result *result = &run->result;
    char duration[32];

    if (outcome == EXECUTR_OUTCOME_TIMEOUT) {
        ex_duration_format(run->timeout_ms, duration, sizeof duration);
        snprintf(
            result->message, sizeof result->message,
            "timed out: it ran longer than its limit, timeout %s", duration);
        return;
    }
    const char *text = outcome == EXECUTR_OUTCOME_CANCELLED ? "cancelled"
                       : outcome == EXECUTR_OUTCOME_LOST
                           ? "stopped, as its lease was lost"
                           : "stopped";
    snprintf(result->message, sizeof result->message, "%s", text);
}

void ex_result_ended(ex_run *run, int32_t code, int32_t value, int32_t stopped)
{
    executr_result *result = &run->result;

    if (code == CLD_KILLED || code == CLD_DUMPED)
        result->signal = value;
    if (stopped) {
        result->outcome = stopped;
        result->lease_lost = stopped == EXECUTR_OUTCOME_LOST;
        say_stopped(run, stopped);
    } else if (code == CLD_EXITED) {
        result->outcome = EXECUTR_OUTCOME_EXIT;
        result->has_exit_code = 1;
        result->exit_code = value;
    } else if (result->signal) {
        result->outcome = EXECUTR_OUTCOME_SIGNAL;
        say_signal(result, value, code == CLD_DUMPED);
    } else {
        result->outcome = EXECUTR_OUTCOME_LOST;
        snprintf(
            result->message, sizeof result->message,
            "how it ended is unknown: the process that runs it ignores SIGCHLD "
            "or waits for children that are not its own");
    }
}

void ex_result_untold(ex_run *run)
{
    executr_result *result = &run->result;

    result->outcome = EXECUTR_OUTCOME_LOST;
    snprintf(
        result->message, sizeof result->message,
        "how it ended is unknown: the first process of its namespaces ended "
        "without telling");
}

void ex_result_unkillable(ex_run *run)
{
    executr_result *result = &run->result;

    result->outcome = EXECUTR_OUTCOME_LOST;
    result->wall_seconds = (double)(ex_monotonic_us() - run->started_us) / 1e6;
    snprintf(
        result->message, sizeof result->message,
        "does not end on SIGKILL: its process waits in the kernel, most likely "
        "for a disk or a network file system; its end is no longer waited for");
}

/* The interpreter a script asks for, or "". */
static void read_interpreter(const char *path, char *out, size_t size)
{
    char head[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = fd < 0 ? -1 : read(fd, head, sizeof head - 1);

    out[0] = '\0';
    if (fd >= 0)
        close(fd);
    if (got < 3 || head[0] != '#' || head[1] != '!')
        return;
    head[got] = '\0';
    const char *name = head + 2 + strspn(head + 2, " \t");
    snprintf(out, size, "%.*s", (int)strcspn(name, " \t\r\n"), name);
}

/* Why, where errno alone would mislead. */
static const char *explain(const char *path, int number, int is_script)
{
    switch (number) {
    case ENOENT:
        if (access(path, F_OK) != 0)
            return "";
        return is_script ? "the interpreter that it names is not there"
                         : "the file is there, but not the dynamic loader that "
                           "it names (is it built for another C library?)";
    case EACCES:
        return is_script ? "it or its interpreter may not be executed"
                         : "it is not an executable file, or is on a file "
                           "system mounted noexec";
    case ENOEXEC:
        return "neither a script with #! nor a program for this machine";
    case E2BIG:
        return "arguments and environment are too long";
    case ETXTBSY:
        return "somebody keeps it open for writing";
    default:
        return "";
    }
}

void ex_result_exec_failed(ex_run *run, int number)
{
    executr_result *result = &run->result;
    char interpreter[128];

    read_interpreter(run->path, interpreter, sizeof interpreter);
    const char *why = explain(run->path, number, interpreter[0] != '\0');
    int named = interpreter[0] && (number == ENOENT || number == EACCES);
    const char *reason = strerrordesc_np(number);
    result->outcome = EXECUTR_OUTCOME_EXEC_FAILED;
    snprintf(
        result->message, sizeof result->message,
        "could not execute %.160s: %s%s%s%s%s", run->path,
        reason ? reason : "unknown error", why[0] ? "; " : "", why,
        named ? ": " : "", named ? interpreter : "");
    /* Of a file that anyone may have written: it ends on terminals. */
    for (char *c = result->message; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    }
}

static void take_text(
    const executr_runner *runner, const ex_run *run, ex_capture *capture,
    const char **data, size_t *length)
{
    executr_error err;

    if (ex_capture_text(capture, data, length, &err)) {
        *data = NULL;
        *length = 0;
        ex_log(
            &runner->log, EXECUTR_LOG_ERROR, "output was lost", "job",
            run->name, "error", err.message, NULL);
    }
}

void ex_result_output(const executr_runner *runner, ex_run *run)
{
    executr_result *result = &run->result;

    take_text(
        runner, run, run->out.capture, &result->stdout_data,
        &result->stdout_length);
    take_text(
        runner, run, run->err.capture, &result->stderr_data,
        &result->stderr_length);
}
