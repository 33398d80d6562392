/* SPDX-License-Identifier: MIT */
/* Commands about jobs that are there: status, cancel, retry, wait, logs. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const app_flag *const tables[] = {cli_flags, NULL};

/* Read the line of a command that takes one job id, or (most 0) any number. */
static int read_ids(
    const app_command *command, int argc, char **argv, size_t most,
    app_rest *rest)
{
    int code = app_flags_read(command, argc, argv, rest);
    if (code != APP_GO_ON)
        return code;
    if (rest->count == 0)
        return app_usage(command, "give the id of a job");
    if ((most && rest->count > most) || rest->after_count)
        return app_usage(command, "one job id is all it takes");
    return APP_GO_ON;
}

/* Ask the server for something about one job and print the record it gives. */
static int show(
    const app_command *command, int argc, char **argv,
    executr_status (*ask)(
        executr_client *, const char *, executr_jobs **, executr_error *),
    int32_t parts)
{
    app_rest rest;
    executr_error err;
    executr_jobs *jobs = NULL;
    int code = read_ids(command, argc, argv, 1, &rest);
    if (code != APP_GO_ON)
        return code;
    executr_client *client = cli_open(&code);
    if (!client)
        return code;
    if (ask(client, rest.words[0], &jobs, &err))
        code = app_fail(&err);
    else
        code = cli_print_job(executr_jobs_at(jobs, 0), parts);
    executr_jobs_free(jobs);
    executr_client_free(client);
    return code;
}

int cmd_status(int argc, char **argv)
{
    static const app_command command = {
        "executr status", "ID", "show a job", NULL, tables};
    return show(&command, argc, argv, executr_client_get, EXECUTR_PART_ALL);
}

int cmd_retry(int argc, char **argv)
{
    static const app_command command = {
        "executr retry", "ID", "run a failed or cancelled job again", NULL,
        tables};
    return show(&command, argc, argv, executr_client_retry, 0);
}

int cmd_cancel(int argc, char **argv)
{
    static const app_command command = {
        "executr cancel", "ID...", "cancel jobs",
        "A pending job is cancelled at once, a running one is told to stop.",
        tables};
    app_rest rest;
    executr_error err;
    int code = read_ids(&command, argc, argv, 0, &rest);
    if (code != APP_GO_ON)
        return code;
    executr_client *client = cli_open(&code);
    if (!client)
        return code;
    code = APP_OK;
    for (size_t i = 0; i < rest.count; i++) {
        int32_t running = 0;
        if (executr_client_cancel(client, rest.words[i], &running, &err))
            code = app_fail(&err);
        else if (cli_json())
            printf(
                "{\"id\":\"%s\",\"status\":\"%s\"}\n", rest.words[i],
                running ? "running" : "cancelled");
        else
            printf(
                "%s %s\n", rest.words[i],
                running ? "was told to stop" : "is cancelled");
    }
    executr_client_free(client);
    return code;
}

int cmd_wait(int argc, char **argv)
{
    static const app_command command = {
        "executr wait", "ID...", "wait until jobs are over",
        "It exits with the exit code of the job; of several, with that of the "
        "first that failed.",
        tables};
    app_rest rest;
    int code = read_ids(&command, argc, argv, 0, &rest);
    if (code != APP_GO_ON)
        return code;
    executr_client *client = cli_open(&code);
    if (!client)
        return code;
    int first = APP_OK;
    for (size_t i = 0; i < rest.count; i++) {
        executr_jobs *jobs = NULL;
        code = cli_wait(client, rest.words[i], 0, &jobs);
        if (code == APP_GO_ON) {
            const executr_job *job = executr_jobs_at(jobs, 0);
            code = cli_exit_code(job);
            if (cli_json())
                cli_print_job(job, EXECUTR_PART_ALL);
            else
                printf(
                    "%s %s\n", executr_job_id(job),
                    executr_job_status_word(executr_job_status(job)));
        }
        executr_jobs_free(jobs);
        if (first == APP_OK)
            first = code;
    }
    executr_client_free(client);
    return first;
}

/* What there is by now. */
static int print_outputs(
    executr_client *client, const char *id, int32_t streams)
{
    executr_error err;
    if (streams & 1 << 1 &&
        executr_client_output(
            client, id, 1, 0, 0, cli_write_stdout, NULL, &err))
        return app_fail(&err);
    if (streams & 1 << 2 &&
        executr_client_output(
            client, id, 2, 0, 0, cli_write_stderr, NULL, &err))
        return app_fail(&err);
    return APP_OK;
}

int cmd_logs(int argc, char **argv)
{
    static int32_t follow;
    static const char *stream;
    static const app_flag flags[] = {
        {"follow", 'f', APP_SWITCH, &follow, NULL, NULL,
         "print what the job prints until it is over", 0, 0},
        {"stream", 0, APP_CHOICE, &stream, "both|stdout|stderr", "both",
         "which output to print", 0, 0},
        {0}};
    static const app_flag *const both[] = {flags, cli_flags, NULL};
    static const app_command command = {
        "executr logs", "ID", "print what a job wrote",
        "Its stdout goes to stdout and its stderr to stderr, byte by byte.",
        both};
    app_rest rest;
    int code = read_ids(&command, argc, argv, 1, &rest);
    if (code != APP_GO_ON)
        return code;
    executr_client *client = cli_open(&code);
    if (!client)
        return code;
    int32_t streams = strcmp(stream, "stdout") == 0   ? 1 << 1
                      : strcmp(stream, "stderr") == 0 ? 1 << 2
                                                      : 1 << 1 | 1 << 2;
    code = follow ? cli_follow(client, rest.words[0], streams, 0)
                  : print_outputs(client, rest.words[0], streams);
    executr_client_free(client);
    return code == APP_GO_ON ? APP_OK : code;
}
