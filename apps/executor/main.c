/* SPDX-License-Identifier: MIT */
/* executr-executor: flags, signals and one worker for a server. */
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "common/common.h"
#include "common/pages.h"
#include "common/worker_flags.h"

static const char *server_url;
static const char *token_file;
static app_log_flags log_flags;

static const app_flag flags[] = {
    {"server-url", 's', APP_STRING, &server_url, "URL", "http://127.0.0.1:8080",
     "where the server is", 0, 0},
    {"token-file", 0, APP_STRING, &token_file, "FILE", NULL,
     "its first line is the token to send", 0, 0},
    {"max-output-size", 0, APP_BYTES, &app_worker_settings.max_output_bytes,
     "BYTES", "1048576", "kept of stdout and of stderr", 1024,
     INT64_C(64) << 20},
    APP_LOG_FLAGS(log_flags),
    {0}};

static const app_flag *const tables[] = {flags, app_worker_flags, NULL};

static const app_command command = {
    "executr-executor", "",
    "claim jobs from a server, run them, report their results",
    "The first SIGTERM or SIGINT lets running jobs finish, the second kills "
    "them and gives them back.\nThe token may also stand in EXECUTR_TOKEN.",
    tables};

static executr_worker *worker;

static void on_signal(int number)
{
    (void)number;
    executr_worker_stop(worker);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error */
}

int main(int argc, char **argv)
{
    executr_error err;
    executr_worker_options options;
    int code = app_flags_only(&command, argc, argv);
    if (code != APP_GO_ON)
        return code;
    executr_log log = app_log(&log_flags);
    app_outlive();
    code = app_hide();
    if (code != APP_GO_ON)
        return code;
    const char *token = app_token(token_file, &code);
    if (code != APP_GO_ON)
        return code;
    code = app_worker_options(&command, &options);
    if (code != APP_GO_ON)
        return code;
    options.server_url = server_url;
    options.token = token;
    options.log = log;
    if (executr_worker_open(&options, &worker, &err))
        return app_fail(&err);
    catch_signals();
    app_give_back_code();
    ex_log(
        &log, EXECUTR_LOG_INFO, "executor started", "executor_id",
        executr_worker_id(worker), "server", server_url, "version",
        executr_version(), NULL);
    code = APP_OK;
    if (executr_worker_run(worker, &err))
        code = app_fail(&err);
    executr_worker_free(worker);
    ex_log(&log, EXECUTR_LOG_INFO, "executor stopped", NULL);
    return code;
}
