/* SPDX-License-Identifier: MIT */
/* What the commands of the CLI share: the server to talk to, and output. */
#ifndef CLI_H
#define CLI_H

#include <executr/executr.h>

#include "base/buf.h"
#include "common/common.h"

/* The flags every command that talks to a server takes. */
typedef struct cli_settings {
    const char *server_url;
    const char *token_file;
    const char *output; /* table, json */
    int64_t network_timeout_ms;
} cli_settings;

extern cli_settings cli;
extern const app_flag cli_flags[];

/* 1 when --output json was asked for. */
int cli_json(void);

/* A client for the server of the settings; NULL after an explained error, whose
 * exit code is in *code. */
executr_client *cli_open(int *code);

/* Write a buffer and a line feed to stdout and clear it; the exit code. */
int cli_print(ex_buf *text);

/* executr_write to stdout and stderr (ctx unused). */
int32_t cli_write_stdout(void *ctx, const void *data, size_t length);
int32_t cli_write_stderr(void *ctx, const void *data, size_t length);

/* Print a text made by others with control characters replaced, so that it
 * can't talk to the terminal; at least `width` columns wide. */
void cli_put(const char *text, int width);

/* A job as a few lines, or as JSON (job_id beside id). */
int cli_print_job(const executr_job *job, int32_t parts);

/* "3s ago" and such from a moment; "-" for 0. */
const char *cli_age(int64_t us, char out[32]);

/* The exit code that tells how a finished job ended. */
int cli_exit_code(const executr_job *job);

/*
 * Wait until the job is over; *out is its whole record. Ctrl-C tells it to
 * stop when `cancel_on_interrupt` is 1. The exit code, or APP_GO_ON.
 */
int cli_wait(
    executr_client *client, const char *id, int cancel_on_interrupt,
    executr_jobs **out);

/*
 * Print what a job prints, its stdout to stdout and its stderr to stderr, until
 * it is over. `streams` as in executr_follow; Ctrl-C as in cli_wait. APP_GO_ON
 * or the exit code.
 */
int cli_follow(
    executr_client *client, const char *id, int32_t streams,
    int cancel_on_interrupt);

/* The same for those who follow by other means: its state, and what it does
 * with output. */
typedef struct cli_follower {
    const char *id;
    int cancel_on_interrupt;
    int32_t attempt; /* printed last */
} cli_follower;
int32_t cli_on_output(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length);

/* The first Ctrl-C is told by cli_interrupted, the second ends us. */
void cli_catch_interrupt(void);
int cli_interrupted(void);
/* Cancel a job because of it. */
void cli_tell_to_stop(executr_client *client, const char *id);

/* The flags that describe a job, and the spec they make. */
extern const app_flag cli_job_flags[];

/*
 * Make the spec of a submission from the flags and the line: hash the local
 * file, or the URL when no hash was given. APP_GO_ON or the exit code. `sha256`
 * must outlive the spec.
 */
int cli_job_spec(
    const app_command *used, const app_rest *rest, executr_job_spec *spec,
    char sha256[65]);

/* Upload the local file unless the server has it. APP_GO_ON or exit code. */
int cli_upload(executr_client *client, const char *sha256, const char *path);

/* Run a file here and now without a server (run --local). */
int cli_run_local(const executr_job_spec *spec, const char *path);

int cmd_submit(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_retry(int argc, char **argv);
int cmd_wait(int argc, char **argv);
int cmd_logs(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_executors(int argc, char **argv);
int cmd_cache(int argc, char **argv);

#endif
