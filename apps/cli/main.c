/* SPDX-License-Identifier: MIT */
/* The executr command: finds the subcommand and hands the line over. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli.h"

static int cmd_server(int argc, char **argv)
{
    (void)argc;
    return app_exec("executr-server", argv);
}

static int cmd_executor(int argc, char **argv)
{
    (void)argc;
    return app_exec("executr-executor", argv);
}

/* executr up: the server with an executor in the same process. */
static int cmd_up(int argc, char **argv)
{
    executr_error err;
    void *memory = NULL;
    if (ex_alloc_array(&memory, (size_t)argc + 2, sizeof(char *), &err))
        return app_fail(&err);
    char **line = memory;
    line[0] = argv[0];
    line[1] = (char[]){"--with-executor"};
    for (int i = 1; i < argc; i++)
        line[i + 1] = argv[i];
    int code = app_exec("executr-server", line);
    ex_free(memory);
    return code;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"submit", cmd_submit, "queue a job: a local file, or a binary by URL"},
    {"run", cmd_run,
     "submit a job, wait, print its output (--local: no server)"},
    {"status", cmd_status, "show a job"},
    {"list", cmd_list, "list jobs, newest first"},
    {"wait", cmd_wait, "wait until jobs are over; exit with their exit code"},
    {"logs", cmd_logs, "print what a job wrote"},
    {"cancel", cmd_cancel, "cancel jobs"},
    {"retry", cmd_retry, "run a failed or cancelled job again"},
    {"stats", cmd_stats, "count jobs and executors"},
    {"executors", cmd_executors, "list executors"},
    {"cache", cmd_cache, "list, verify or prune the binaries kept here"},
    {"up", cmd_up, "server and executor in one, on the embedded store"},
    {"server", cmd_server, "start a server (executr-server)"},
    {"executor", cmd_executor, "start an executor (executr-executor)"},
};

#define COMMANDS (sizeof commands / sizeof *commands)

static int help(void)
{
    printf("executr runs programs on many machines and never loses one.\n\n"
           "usage: executr COMMAND [flags]\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].help);
    printf("\n'executr COMMAND --help' tells more. Try it out: 'executr up' in "
           "one terminal,\n'executr run /bin/date' in another; or 'executr run "
           "--local /bin/date'.\n");
    return APP_OK;
}

static int run(int argc, char **argv)
{
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
        strcmp(name, "help") == 0)
        return help();
    if (strcmp(name, "--version") == 0) {
        printf("executr %s\n", executr_version());
        return APP_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    app_failf("there is no command '%s'; see 'executr --help'", name);
    return APP_USAGE;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error we report */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file that may not grow */
    if (argc < 2) {
        help();
        return APP_USAGE;
    }
    int code = run(argc, argv);
    /* What was printed and did not arrive is a failure, too. */
    if ((fflush(stdout) || ferror(stdout)) && code == APP_OK)
        code = app_failf("can't write: %s", strerror(errno));
    return code;
}
