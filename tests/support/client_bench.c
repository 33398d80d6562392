/* SPDX-License-Identifier: MIT */
/* A client and a scripted server for it. */
#include "support/client_bench.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"

http_fixture *server;
executr_client *client;
executr_jobs *jobs;
executr_error err;

executr_client *open_client(const char *url, const char *token)
{
    executr_client_options options = EXECUTR_CLIENT_OPTIONS_INIT;
    executr_client *opened;

    options.server_url = url;
    options.token = token;
    cr_assert_eq(
        executr_client_open(&options, &opened, &err), EXECUTR_OK, "%s",
        err.message);
    return opened;
}

void client_setup(void)
{
    server = http_fixture_start();
    client = open_client(http_fixture_url(server, "/"), NULL);
}

void client_teardown(void)
{
    executr_jobs_free(jobs);
    executr_client_free(client);
    http_fixture_stop(server);
}

void answer(int status, const char *body)
{
    http_script script = {.status = status, .body = body};

    http_fixture_add(server, &script);
}

int sent_to(const char *line)
{
    return strncmp(http_fixture_head(server), line, strlen(line)) == 0;
}

int sent(const char *text)
{
    return strstr(http_fixture_body(server), text) != NULL;
}

int32_t add_text(void *ctx, const void *data, size_t length)
{
    return ex_buf_write(ctx, data, length);
}
