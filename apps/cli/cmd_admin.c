/* SPDX-License-Identifier: MIT */
/* Commands about the whole: list, stats, executors. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* Begin a command without arguments: its client, or the exit code. */
static executr_client *begin(
    const app_command *command, int argc, char **argv, int *code)
{
    *code = app_flags_only(command, argc, argv);
    return *code == APP_GO_ON ? cli_open(code) : NULL;
}

static void put_job_line(const executr_job *job)
{
    char age[32];
    int32_t code;
    cli_put(executr_job_id(job), 38);
    cli_put(executr_job_type(job), 20);
    putchar(' ');
    cli_put(executr_priority_word(executr_job_priority(job)), 12);
    cli_put(executr_job_status_word(executr_job_status(job)), 11);
    cli_put(cli_age(executr_job_created_at_us(job), age), 10);
    if (executr_job_exit_code(job, &code))
        printf(" exit %d", (int)code);
    if (*executr_job_error_message(job)) {
        putchar(' ');
        cli_put(executr_job_error_message(job), 0);
    }
    putchar('\n');
}

static int print_jobs_json(const executr_jobs *jobs)
{
    executr_error err;
    ex_buf out;
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_buf_putc(&out, '[');
    for (size_t i = 0; i < executr_jobs_count(jobs); i++) {
        if (i)
            ex_buf_puts(&out, ",\n ");
        if (executr_job_json(
                executr_jobs_at(jobs, i), 0, ex_buf_write, &out, &err)) {
            ex_buf_clear(&out);
            return app_fail(&err);
        }
    }
    ex_buf_putc(&out, ']');
    return cli_print(&out);
}

static int print_jobs(const executr_jobs *jobs, int32_t more)
{
    if (cli_json())
        return print_jobs_json(jobs);
    printf(
        "%-37s %-20s %-11s %-10s %-10s\n", "ID", "TYPE", "PRIORITY", "STATUS",
        "CREATED");
    for (size_t i = 0; i < executr_jobs_count(jobs); i++)
        put_job_line(executr_jobs_at(jobs, i));
    if (more)
        printf(
            "more: --before %s\n", executr_job_id(executr_jobs_at(
                                       jobs, executr_jobs_count(jobs) - 1)));
    return APP_OK;
}

int cmd_list(int argc, char **argv)
{
    static const char *status, *type, *priority, *executor_id, *before;
    static int64_t limit, offset;
    static const app_flag flags[] = {
        {"status", 0, APP_CHOICE, &status,
         "pending|running|completed|failed|cancelled", NULL,
         "only jobs with this status", 0, 0},
        {"type", 't', APP_STRING, &type, "TYPE", NULL, "only of this type", 0,
         0},
        {"priority", 'p', APP_CHOICE, &priority,
         "foreground|background|best_effort", NULL, "only of this priority", 0,
         0},
        {"executor-id", 0, APP_STRING, &executor_id, "ID", NULL,
         "only of this executor", 0, 0},
        {"limit", 'n', APP_INT, &limit, "N", "100", "at most so many", 1, 1000},
        {"offset", 0, APP_INT, &offset, "N", "0", "skip so many", 0, 0},
        {"before", 0, APP_STRING, &before, "ID", NULL,
         "only older than this job", 0, 0},
        {0}};
    static const app_flag *const tables[] = {flags, cli_flags, NULL};
    static const app_command command = {
        "executr list", "", "list jobs, newest first", NULL, tables};
    executr_error err;
    executr_jobs *jobs = NULL;
    int32_t more = 0;
    int code;
    executr_client *client = begin(&command, argc, argv, &code);
    if (!client)
        return code;
    executr_filter filter = EXECUTR_FILTER_INIT;
    filter.status = executr_job_status_parse(status);
    filter.priority = executr_priority_parse(priority);
    filter.type = type;
    filter.executor_id = executor_id;
    filter.before_id = before;
    filter.limit = (int32_t)limit;
    filter.offset = offset;
    if (executr_client_list(client, &filter, &jobs, &more, &err))
        code = app_fail(&err);
    else
        code = print_jobs(jobs, more);
    executr_jobs_free(jobs);
    executr_client_free(client);
    return code;
}

static int print_stats(const executr_stats *stats)
{
    if (cli_json()) {
        executr_error err;
        ex_buf out;
        ex_buf_init(&out, EX_BUF_UNLIMITED);
        if (executr_stats_json(stats, ex_buf_write, &out, &err)) {
            ex_buf_clear(&out);
            return app_fail(&err);
        }
        return cli_print(&out);
    }
    for (int32_t s = EXECUTR_JOB_PENDING; s <= EXECUTR_JOB_CANCELLED; s++)
        printf(
            "%-20s %lld\n", executr_job_status_word(s),
            (long long)executr_stats_jobs(stats, s));
    for (int32_t p = 1; p <= EXECUTR_PRIORITY_BEST_EFFORT; p++)
        printf(
            "  pending %-10s %lld\n", executr_priority_word(p),
            (long long)executr_stats_pending(stats, p));
    printf(
        "%-20s %lld\n", "active executors",
        (long long)executr_stats_active_executors(stats));
    return APP_OK;
}

int cmd_stats(int argc, char **argv)
{
    static const app_flag *const tables[] = {cli_flags, NULL};
    static const app_command command = {
        "executr stats", "", "count jobs and executors", NULL, tables};
    executr_error err;
    executr_stats *stats = NULL;
    int code;
    executr_client *client = begin(&command, argc, argv, &code);
    if (!client)
        return code;
    if (executr_client_stats(client, &stats, &err))
        code = app_fail(&err);
    else
        code = print_stats(stats);
    executr_stats_free(stats);
    executr_client_free(client);
    return code;
}

static int print_executors(const executr_executors *all)
{
    char age[32];
    if (cli_json()) {
        executr_error err;
        ex_buf out;
        ex_buf_init(&out, EX_BUF_UNLIMITED);
        if (executr_executors_json(all, ex_buf_write, &out, &err)) {
            ex_buf_clear(&out);
            return app_fail(&err);
        }
        return cli_print(&out);
    }
    printf(
        "%-32s %-16s %-10s %-9s %-9s %s\n", "ID", "ADDRESS", "HEARTBEAT",
        "RUNNING", "COMPLETED", "CURRENT JOB");
    for (size_t i = 0; i < executr_executors_count(all); i++) {
        cli_put(executr_executors_id(all, i), 33);
        cli_put(executr_executors_ip(all, i), 17);
        cli_put(cli_age(executr_executors_last_heartbeat_us(all, i), age), 11);
        printf(
            "%3d of %-3d %9lld ", (int)executr_executors_running_jobs(all, i),
            (int)executr_executors_max_jobs(all, i),
            (long long)executr_executors_jobs_completed(all, i));
        cli_put(executr_executors_current_job_id(all, i), 0);
        putchar('\n');
    }
    return APP_OK;
}

int cmd_executors(int argc, char **argv)
{
    static const app_flag *const tables[] = {cli_flags, NULL};
    static const app_command command = {
        "executr executors", "", "list executors", NULL, tables};
    executr_error err;
    executr_executors *all = NULL;
    int code;
    executr_client *client = begin(&command, argc, argv, &code);
    if (!client)
        return code;
    if (executr_client_executors(client, &all, &err))
        code = app_fail(&err);
    else
        code = print_executors(all);
    executr_executors_free(all);
    executr_client_free(client);
    return code;
}
