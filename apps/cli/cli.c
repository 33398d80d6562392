/* SPDX-License-Identifier: MIT */
/* Talking to the server, to the terminal, and waiting for jobs. */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/time.h"
#include "common/plain.h"

cli_settings cli;

const app_flag cli_flags[] = {
    {"server-url", 's', APP_STRING, &cli.server_url, "URL",
     "http://127.0.0.1:8080", "where the server is", 0, 0},
    {"token-file", 0, APP_STRING, &cli.token_file, "FILE", NULL,
     "its first line is the token to send (or EXECUTR_TOKEN)", 0, 0},
    {"network-timeout", 0, APP_DURATION, &cli.network_timeout_ms, "TIME", "60s",
     "longest time for one call", 0, 0},
    {"output", 'o', APP_CHOICE, &cli.output, "table|json", "table",
     "how to print", 0, 0},
    {0}};

int cli_json(void)
{
    return strcmp(cli.output, "json") == 0;
}

executr_client *cli_open(int *code)
{
    executr_error err;
    executr_client *client = NULL;
    executr_client_options options = EXECUTR_CLIENT_OPTIONS_INIT;
    options.token = app_token(cli.token_file, code);
    if (*code != APP_GO_ON)
        return NULL;
    options.server_url = cli.server_url;
    options.network_timeout_ms = cli.network_timeout_ms;
    if (executr_client_open(&options, &client, &err))
        *code = app_fail(&err);
    return client;
}

static int32_t write_all(int fd, const void *data, size_t length)
{
    executr_error err;
    return ex_fs_write_all(fd, data, length, &err) ? -1 : 0;
}

int32_t cli_write_stdout(void *ctx, const void *data, size_t length)
{
    (void)ctx;
    return write_all(STDOUT_FILENO, data, length);
}

int32_t cli_write_stderr(void *ctx, const void *data, size_t length)
{
    (void)ctx;
    return write_all(STDERR_FILENO, data, length);
}

int cli_print(ex_buf *text)
{
    executr_error err;
    ex_buf_putc(text, '\n');
    executr_status st = ex_buf_status(text, "output", &err);
    if (!st)
        st = ex_fs_write_all(STDOUT_FILENO, text->data, text->length, &err);
    ex_buf_clear(text);
    return st ? app_fail(&err) : APP_OK;
}

void cli_put(const char *text, int width)
{
    for (int column = (int)app_plain(stdout, text); column < width; column++)
        putchar(' ');
}

const char *cli_age(int64_t us, char out[32])
{
    int64_t seconds = (ex_now_us() - us) / 1000000;
    if (us == 0)
        snprintf(out, 32, "-");
    else if (seconds < 120)
        snprintf(out, 32, "%llds ago", (long long)(seconds > 0 ? seconds : 0));
    else if (seconds < 7200)
        snprintf(out, 32, "%lldm ago", (long long)(seconds / 60));
    else if (seconds < 172800)
        snprintf(out, 32, "%lldh ago", (long long)(seconds / 3600));
    else
        snprintf(out, 32, "%lldd ago", (long long)(seconds / 86400));
    return out;
}

static void put_line(const char *name, const char *text)
{
    if (!*text)
        return;
    printf("%-14s ", name);
    cli_put(text, 0);
    putchar('\n');
}

static void put_moment(const char *name, int64_t us)
{
    char text[EX_TIME_TEXT];
    if (us == 0)
        return;
    ex_time_format(us, text);
    put_line(name, text);
}

static void put_attempts(const executr_job *job)
{
    for (size_t i = 0; i < executr_job_attempt_count(job); i++) {
        const executr_attempt *a = executr_job_attempt_at(job, i);
        printf(
            "%-14s %d %s on ", i ? "" : "attempts",
            (int)executr_attempt_number(a),
            executr_attempt_status_word(executr_attempt_status(a)));
        cli_put(executr_attempt_executor_id(a), 0);
        if (*executr_attempt_error_message(a)) {
            fputs(": ", stdout);
            cli_put(executr_attempt_error_message(a), 0);
        }
        putchar('\n');
    }
}

static int print_table(const executr_job *job, int32_t parts)
{
    int32_t code;
    put_line("id", executr_job_id(job));
    put_line("type", executr_job_type(job));
    put_line("status", executr_job_status_word(executr_job_status(job)));
    put_line("priority", executr_priority_word(executr_job_priority(job)));
    put_line("binary", executr_job_binary_sha256(job));
    put_line("url", executr_job_binary_url(job));
    put_line("executor", executr_job_executor_id(job));
    if (executr_job_exit_code(job, &code))
        printf("%-14s %d\n", "exit code", (int)code);
    if (executr_job_signal(job))
        printf("%-14s %d\n", "signal", (int)executr_job_signal(job));
    put_line("error", executr_job_error_message(job));
    put_moment("created", executr_job_created_at_us(job));
    put_moment("started", executr_job_started_at_us(job));
    put_moment("completed", executr_job_completed_at_us(job));
    if (executr_job_max_retries(job))
        printf(
            "%-14s %d of %d\n", "retries", (int)executr_job_retry_count(job),
            (int)executr_job_max_retries(job));
    if (parts & EXECUTR_PART_ATTEMPTS)
        put_attempts(job);
    return fflush(stdout) ? app_failf("can't write: %s", strerror(errno))
                          : APP_OK;
}

int cli_print_job(const executr_job *job, int32_t parts)
{
    executr_error err;
    ex_buf json;
    ex_buf text;
    if (!cli_json())
        return print_table(job, parts);
    ex_buf_init(&json, EX_BUF_UNLIMITED);
    ex_buf_init(&text, EX_BUF_UNLIMITED);
    if (executr_job_json(job, parts, ex_buf_write, &json, &err)) {
        ex_buf_clear(&json);
        return app_fail(&err);
    }
    /* job_id beside id, for scripts that know it by this name. */
    ex_buf_printf(&text, "{\"job_id\":\"%s\",", executr_job_id(job));
    ex_buf_puts(&text, ex_buf_text(&json) + 1);
    ex_buf_clear(&json);
    return cli_print(&text);
}

int cli_exit_code(const executr_job *job)
{
    int32_t code;
    if (executr_job_status(job) == EXECUTR_JOB_COMPLETED)
        return executr_job_exit_code(job, &code) ? code & 255 : APP_OK;
    if (executr_job_signal(job)) /* whatever number the server names */
        return 128 + (executr_job_signal(job) & 127);
    if (executr_job_exit_code(job, &code) && (code & 255))
        return code & 255;
    return APP_FAILED;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

void cli_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    action.sa_flags = (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

int cli_interrupted(void)
{
    return interrupted;
}

void cli_tell_to_stop(executr_client *client, const char *id)
{
    executr_error err;
    int32_t running;
    interrupted = 0;
    fprintf(stderr, "executr: cancelling %s (Ctrl-C again to leave it)\n", id);
    if (executr_client_cancel(client, id, &running, &err))
        app_fail(&err);
}

static int is_over(const executr_job *job)
{
    int32_t status = executr_job_status(job);
    return status != EXECUTR_JOB_PENDING && status != EXECUTR_JOB_RUNNING;
}

int cli_wait(
    executr_client *client, const char *id, int cancel_on_interrupt,
    executr_jobs **out)
{
    executr_error err;
    int64_t pause_ms = 10;
    int64_t patience_us = ex_monotonic_us() + cli.network_timeout_ms * 1000;
    if (cancel_on_interrupt)
        cli_catch_interrupt();
    for (;;) {
        executr_status st = executr_client_get(client, id, out, &err);
        if (st &&
            (!executr_status_retriable(st) || ex_monotonic_us() > patience_us))
            return app_fail(&err);
        if (!st) {
            patience_us = ex_monotonic_us() + cli.network_timeout_ms * 1000;
            if (is_over(executr_jobs_at(*out, 0)))
                return APP_GO_ON;
            executr_jobs_free(*out);
            *out = NULL;
        }
        struct timespec pause = {0, pause_ms * 1000000};
        nanosleep(&pause, NULL);
        if (interrupted)
            cli_tell_to_stop(client, id);
        pause_ms = pause_ms < 500 ? pause_ms * 3 / 2 : 500;
    }
}
