/* SPDX-License-Identifier: MIT */
/* Printing what a job prints, while it does. */
#include <stdio.h>

#include "cli.h"

int32_t cli_on_output(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length)
{
    cli_follower *f = ctx;
    (void)offset; /* a note about what was skipped is printed like the rest */
    if (f->attempt && f->attempt != attempt)
        fprintf(stderr, "executr: attempt %d begins\n", (int)attempt);
    f->attempt = attempt;
    return stream == 1 ? cli_write_stdout(NULL, data, length)
                       : cli_write_stderr(NULL, data, length);
}

/* The client is at the other call, so this takes one of its own. */
static void cancel(const char *id)
{
    int code = APP_GO_ON;
    executr_client *client = cli_open(&code);
    if (client)
        cli_tell_to_stop(client, id);
    executr_client_free(client);
}

static int32_t on_idle(void *ctx)
{
    const cli_follower *f = ctx;
    if (f->cancel_on_interrupt && cli_interrupted())
        cancel(f->id);
    return 0;
}

int cli_follow(
    executr_client *client, const char *id, int32_t streams,
    int cancel_on_interrupt)
{
    executr_error err;
    cli_follower f = {id, cancel_on_interrupt, 0};
    executr_follow follow = EXECUTR_FOLLOW_INIT;
    follow.job_id = id;
    follow.streams = streams;
    follow.write = cli_on_output;
    follow.idle = on_idle;
    follow.ctx = &f;
    if (cancel_on_interrupt)
        cli_catch_interrupt();
    executr_status st = executr_client_follow(client, &follow, &err);
    if (st == EXECUTR_E_CALLBACK)
        return app_failf("can't write the output of the job");
    return st ? app_fail(&err) : APP_GO_ON;
}
