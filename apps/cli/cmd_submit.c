/* SPDX-License-Identifier: MIT */
/* executr submit, and what run shares with it: the spec, hash and upload. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli.h"

typedef struct job_settings {
    const char *binary_url;
    const char *binary_sha256;
    const char *type;
    const char *priority;
    app_list arguments;
    app_list environment;
    int64_t max_retries;
    int32_t exclusive;
    int64_t timeout_ms;
    int64_t kill_grace_ms;
    int64_t memory_mb;
    int64_t cpu_seconds;
    int64_t max_processes;
    int64_t max_file_mb;
    const char *isolation;
    const char *idempotency_key;
} job_settings;

static job_settings job;

const app_flag cli_job_flags[] = {
    {"type", 't', APP_STRING, &job.type, "TYPE", "default",
     "kind of job, for filters", 0, 0},
    {"priority", 'p', APP_CHOICE, &job.priority,
     "foreground|background|best_effort", "background", "which goes first", 0,
     0},
    {"binary-url", 'u', APP_STRING, &job.binary_url, "URL", NULL,
     "where executors fetch the binary, instead of FILE", 0, 0},
    {"binary-sha256", 0, APP_STRING, &job.binary_sha256, "HEX", NULL,
     "its SHA-256; computed from the URL if not given", 0, 0},
    {"args", 'a', APP_LIST, &job.arguments, "WORD", NULL,
     "an argument; repeat for more", 0, 0},
    {"env", 'e', APP_LIST, &job.environment, "K=V", NULL,
     "an environment variable; repeat for more", 0, 0},
    {"max-retries", 'r', APP_INT, &job.max_retries, "N", "0",
     "times to try again after a failure", 0, 1000},
    {"exclusive", 0, APP_SWITCH, &job.exclusive, NULL, NULL,
     "two attempts must never overlap", 0, 0},
    {"timeout", 0, APP_DURATION, &job.timeout_ms, "TIME", NULL,
     "longest run of one attempt", 0, 0},
    {"job-kill-grace", 0, APP_DURATION, &job.kill_grace_ms, "TIME", NULL,
     "from SIGTERM to SIGKILL", 0, 0},
    {"memory-mb", 0, APP_INT, &job.memory_mb, "N", NULL, "most memory", 1, 0},
    {"cpu-seconds", 0, APP_INT, &job.cpu_seconds, "N", NULL, "most CPU time", 1,
     0},
    {"max-processes", 0, APP_INT, &job.max_processes, "N", NULL,
     "most processes", 1, 0},
    {"max-file-mb", 0, APP_INT, &job.max_file_mb, "N", NULL,
     "largest file it may write", 1, 0},
    {"isolation", 0, APP_CHOICE, &job.isolation, "none|basic|standard|strict",
     NULL, "isolation it demands", 0, 0},
    {"idempotency-key", 0, APP_STRING, &job.idempotency_key, "KEY", NULL,
     "a repeat with the same key gives the first job", 0, 0},
    {0}};

static const app_flag *const tables[] = {cli_flags, cli_job_flags, NULL};

static const app_command command = {
    "executr submit", "[FILE] [-- WORDS...]", "queue a job",
    "FILE is hashed, and uploaded if the server lacks it. Words behind -- are "
    "arguments of the\nprogram, after those of --args.",
    tables};

/* Progress on a terminal: one line, rewritten, gone at the end. */
static int32_t show_progress(void *ctx, int64_t done, int64_t total)
{
    const char *what = ctx;
    if (total > 0)
        fprintf(
            stderr, "\r%s %lld of %lld MB (%d %%) ", what,
            (long long)(done >> 20), (long long)(total >> 20),
            (int)(done * 100 / total));
    else
        fprintf(stderr, "\r%s %lld MB ", what, (long long)(done >> 20));
    return 0;
}

static executr_progress progress_hook(void)
{
    return isatty(STDERR_FILENO) ? show_progress : NULL;
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

/* Arguments of --args and those behind "--", one after the other. */
static int join_arguments(const app_rest *rest, executr_job_spec *spec)
{
    executr_error err;
    void *memory = NULL;
    size_t count = job.arguments.count + rest->after_count;
    if (count == 0)
        return APP_GO_ON;
    if (ex_alloc_array(&memory, count, sizeof(char *), &err))
        return app_fail(&err);
    const char **all = memory; /* lives as long as the program */
    for (size_t i = 0; i < job.arguments.count; i++)
        all[i] = job.arguments.items[i];
    for (size_t i = 0; i < rest->after_count; i++)
        all[job.arguments.count + i] = rest->after[i];
    spec->arguments = all;
    spec->argument_count = count;
    return APP_GO_ON;
}

static int check_file(const char *path)
{
    struct stat info;
    if (stat(path, &info))
        return app_failf("can't read %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return app_failf("%s is not a file that can be run", path);
    return APP_GO_ON;
}

static int hash_binary(const char *file, char sha256[65])
{
    executr_error err;
    if (!file && job.binary_sha256) {
        if (strlen(job.binary_sha256) != 64) {
            app_failf("--binary-sha256 must be 64 hex digits");
            return APP_USAGE;
        }
        memcpy(sha256, job.binary_sha256, 65);
        return APP_GO_ON;
    }
    if (file) {
        int code = check_file(file);
        if (code != APP_GO_ON)
            return code;
    }
    executr_status st =
        file ? executr_hash_file(file, sha256, &err)
             : executr_hash_url(
                   job.binary_url, cli.network_timeout_ms, progress_hook(),
                   (char[]){"hashing"}, sha256, &err);
    end_progress();
    if (st)
        return app_fail(&err);
    if (job.binary_sha256 && strcasecmp(job.binary_sha256, sha256) != 0)
        return app_failf(
            "%s hashes to %s, not to --binary-sha256",
            file ? file : job.binary_url, sha256);
    return APP_GO_ON;
}

int cli_job_spec(
    const app_command *used, const app_rest *rest, executr_job_spec *spec,
    char sha256[65])
{
    executr_error err;
    const char *file = rest->count ? rest->words[0] : NULL;
    if (rest->count > 1)
        return app_usage(
            used,
            "'%s' is one word too many; arguments of the program go "
            "behind --",
            rest->words[1]);
    if (file && job.binary_url)
        return app_usage(used, "give FILE or --binary-url, not both");
    if (!file && !job.binary_url && !job.binary_sha256)
        return app_usage(used, "give FILE, --binary-url or --binary-sha256");
    *spec = (executr_job_spec)EXECUTR_JOB_SPEC_INIT;
    spec->type = job.type;
    spec->priority = executr_priority_parse(job.priority);
    spec->binary_url = job.binary_url;
    spec->binary_sha256 = sha256;
    spec->environment = job.environment.items;
    spec->environment_count = job.environment.count;
    spec->max_retries = (int32_t)job.max_retries;
    spec->exclusive = job.exclusive;
    spec->timeout_ms = job.timeout_ms;
    spec->kill_grace_ms = job.kill_grace_ms;
    spec->memory_mb = job.memory_mb;
    spec->cpu_seconds = job.cpu_seconds;
    spec->max_processes = job.max_processes;
    spec->max_file_mb = job.max_file_mb;
    spec->isolation = executr_isolation_parse(job.isolation);
    spec->idempotency_key = job.idempotency_key;
    int code = join_arguments(rest, spec);
    if (code == APP_GO_ON)
        code = hash_binary(file, sha256);
    if (code != APP_GO_ON)
        return code;
    if (executr_job_spec_check(spec, &err))
        return app_fail(&err);
    return APP_GO_ON;
}

int cli_upload(executr_client *client, const char *sha256, const char *path)
{
    executr_error err;
    int64_t bytes;
    executr_status st = executr_client_has_binary(client, sha256, &bytes, &err);
    if (st == EXECUTR_E_NOT_FOUND) {
        st = executr_client_put_binary(
            client, sha256, path, progress_hook(), (char[]){"uploading"}, &err);
        end_progress();
    }
    return st ? app_fail(&err) : APP_GO_ON;
}

int cmd_submit(int argc, char **argv)
{
    app_rest rest;
    executr_error err;
    executr_job_spec spec;
    char sha256[65];
    executr_jobs *jobs = NULL;
    int code = app_flags_read(&command, argc, argv, &rest);
    if (code == APP_GO_ON)
        code = cli_job_spec(&command, &rest, &spec, sha256);
    if (code != APP_GO_ON)
        return code;
    executr_client *client = cli_open(&code);
    if (client && rest.count)
        code = cli_upload(client, sha256, rest.words[0]);
    if (client && code == APP_GO_ON) {
        const executr_job_spec *one = &spec;
        if (executr_client_submit(client, &one, 1, NULL, &jobs, &err))
            code = app_fail(&err);
        else
            code = cli_print_job(executr_jobs_at(jobs, 0), 0);
    }
    executr_jobs_free(jobs);
    executr_client_free(client);
    return code;
}
