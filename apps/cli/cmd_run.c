/* SPDX-License-Identifier: MIT */
/* executr run: submit, wait, print; with --local all of it in this process. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli.h"

static int32_t local;
static const char *cache_directory;
static const char *work_directory;
static int64_t max_cache_bytes;
static const char *run_as;

static const app_flag flags[] = {
    {"local", 'l', APP_SWITCH, &local, NULL, NULL,
     "no server: run it here, in this process", 0, 0},
    {"cache-dir", 0, APP_STRING, &cache_directory, "DIR", "~/.executr/cache",
     "where --local keeps binaries", 0, 0},
    {"work-dir", 0, APP_STRING, &work_directory, "DIR", "/tmp/executr-jobs",
     "where --local runs jobs", 0, 0},
    {"max-cache-size", 0, APP_MEGABYTES, &max_cache_bytes, "SIZE", "400",
     "MB of binaries that --local keeps", 1, 0},
    {"run-as", 0, APP_STRING, &run_as, "USER", NULL,
     "whose rights --local gives the program; needs root", 0, 0},
    {0}};

static const app_flag *const tables[] = {flags, cli_flags, cli_job_flags, NULL};

static const app_command command = {
    "executr run", "FILE [-- WORDS...]",
    "run a job, wait for it and print its output",
    "It exits with the exit code of the program (128 + N when signal N ended "
    "it). Ctrl-C cancels\nthe job, a second one leaves it alone.",
    tables};

/* Its output was printed as it came: say what went wrong (or print the record
 * as JSON) and tell the exit code. */
static int finish(const executr_job *job)
{
    if (cli_json()) {
        int printed = cli_print_job(job, EXECUTR_PART_ALL);
        return printed ? printed : cli_exit_code(job);
    }
    if (*executr_job_error_message(job) &&
        executr_job_status(job) != EXECUTR_JOB_COMPLETED)
        app_failf(
            "job %s %s: %s", executr_job_id(job),
            executr_job_status_word(executr_job_status(job)),
            executr_job_error_message(job));
    return cli_exit_code(job);
}

static int run_remote(const executr_job_spec *spec, const char *path)
{
    executr_error err;
    executr_jobs *jobs = NULL;
    executr_jobs *ended = NULL;
    int code;
    executr_client *client = cli_open(&code);
    if (!client)
        return code;
    code = path ? cli_upload(client, spec->binary_sha256, path) : APP_GO_ON;
    if (code == APP_GO_ON &&
        executr_client_submit(client, &spec, 1, NULL, &jobs, &err))
        code = app_fail(&err);
    const char *id =
        code == APP_GO_ON ? executr_job_id(executr_jobs_at(jobs, 0)) : NULL;
    if (code == APP_GO_ON && !cli_json())
        code = cli_follow(client, id, 0, 1);
    if (code == APP_GO_ON)
        code = cli_wait(client, id, 1, &ended);
    if (code == APP_GO_ON)
        code = finish(executr_jobs_at(ended, 0));
    executr_jobs_free(ended);
    executr_jobs_free(jobs);
    executr_client_free(client);
    return code;
}

/* What main and the worker's thread share in a local run. */
typedef struct local_run {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int over; /* the job ended, or the worker did */
    int left; /* the worker did */
    executr_worker *worker;
} local_run;

static void tell_over(local_run *run)
{
    pthread_mutex_lock(&run->lock);
    run->over = 1;
    pthread_cond_signal(&run->changed);
    pthread_mutex_unlock(&run->lock);
}

static void on_event(
    void *ctx, int32_t event, const char *type, int32_t priority, int64_t count,
    int64_t waited_us, int64_t ran_us)
{
    (void)type;
    (void)priority;
    (void)count;
    (void)waited_us;
    (void)ran_us;
    if (event == EXECUTR_EVENT_COMPLETED || event == EXECUTR_EVENT_FAILED ||
        event == EXECUTR_EVENT_CANCELLED)
        tell_over(ctx);
}

static void *run_worker(void *ctx)
{
    local_run *run = ctx;
    executr_error err;
    if (executr_worker_run(run->worker, &err))
        app_fail(&err);
    pthread_mutex_lock(&run->lock);
    run->left = 1;
    pthread_mutex_unlock(&run->lock);
    tell_over(run);
    return NULL;
}

static int32_t read_file(void *ctx, void *data, size_t size, size_t *length)
{
    ssize_t n;
    do
        n = read(*(int *)ctx, data, size);
    while (n < 0 && errno == EINTR);
    *length = n > 0 ? (size_t)n : 0;
    return n < 0;
}

static int store_file(
    executr_queue *queue, const char *sha256, const char *path)
{
    executr_error err;
    int32_t created;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return app_failf("can't read %s: %s", path, strerror(errno));
    executr_status st = executr_queue_put_binary(
        queue, sha256, read_file, &fd, 0, &created, &err);
    close(fd);
    return st ? app_fail(&err) : APP_GO_ON;
}

static executr_worker *interruptible; /* of the local run */
static volatile sig_atomic_t interrupted;

/* Ctrl-C and SIGTERM end the job at once; main cleans up behind it. */
static void on_signal(int number)
{
    interrupted = number;
    executr_worker_stop(interruptible);
    executr_worker_stop(interruptible);
}

static void catch_signals(executr_worker *worker)
{
    struct sigaction action = {.sa_handler = on_signal};
    interruptible = worker;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

typedef struct local_follower {
    cli_follower printer; /* first, so that it can be taken for one */
    local_run *run;
} local_follower;

static int32_t on_idle(void *ctx)
{
    local_run *run = ((local_follower *)ctx)->run;
    pthread_mutex_lock(&run->lock);
    int left = run->left;
    pthread_mutex_unlock(&run->lock);
    return left;
}

/* Print what the job prints until it is over; APP_GO_ON or the exit code. */
static int follow_local(executr_queue *queue, const char *id, local_run *run)
{
    executr_error err;
    local_follower f = {{id, 0, 0}, run};
    executr_follow follow = EXECUTR_FOLLOW_INIT;
    follow.job_id = id;
    follow.write = cli_on_output;
    follow.idle = on_idle;
    follow.ctx = &f;
    executr_status st = executr_queue_follow(queue, &follow, &err);
    if (!st || st == EXECUTR_E_CANCELLED)
        return APP_GO_ON;
    tell_over(run);
    if (st == EXECUTR_E_CALLBACK)
        return app_failf("can't write the output of the job");
    return app_fail(&err);
}

static int wait_local(executr_queue *queue, const char *id, local_run *run)
{
    executr_error err;
    executr_jobs *ended = NULL;
    pthread_t thread;
    catch_signals(run->worker);
    if (pthread_create(&thread, NULL, run_worker, run))
        return app_failf("can't start a thread");
    int code = cli_json() ? APP_GO_ON : follow_local(queue, id, run);
    pthread_mutex_lock(&run->lock);
    while (!run->over)
        pthread_cond_wait(&run->changed, &run->lock);
    pthread_mutex_unlock(&run->lock);
    executr_worker_stop(run->worker);
    executr_worker_stop(run->worker);
    pthread_join(thread, NULL);
    if (interrupted)
        return 128 + interrupted;
    if (code != APP_GO_ON)
        return code;
    if (executr_queue_get(queue, id, EXECUTR_PART_ALL, &ended, &err))
        return app_fail(&err);
    code = finish(executr_jobs_at(ended, 0));
    executr_jobs_free(ended);
    return code;
}

static int run_in_store(
    executr_store *store, const executr_job_spec *spec, const char *path)
{
    executr_error err;
    executr_queue *queue = NULL;
    executr_jobs *jobs = NULL;
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;
    executr_worker_options work = EXECUTR_WORKER_OPTIONS_INIT;
    local_run run = {
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
    int code = APP_GO_ON;
    options.events = (executr_events){on_event, &run};
    if (executr_queue_open(store, &options, &queue, &err))
        return app_fail(&err);
    work.queue = queue;
    work.cache_directory = cache_directory;
    work.work_directory = work_directory;
    work.max_cache_bytes = max_cache_bytes;
    work.run_as = run_as;
    work.subreaper = 1;
    if (path)
        code = store_file(queue, spec->binary_sha256, path);
    if (code == APP_GO_ON &&
        (executr_queue_submit(queue, &spec, 1, NULL, &jobs, &err) ||
         executr_worker_open(&work, &run.worker, &err)))
        code = app_fail(&err);
    if (code == APP_GO_ON)
        code =
            wait_local(queue, executr_job_id(executr_jobs_at(jobs, 0)), &run);
    executr_worker_free(run.worker);
    executr_jobs_free(jobs);
    executr_queue_free(queue);
    return code;
}

/* A store of its own for this run, in a directory that goes with it. */
int cli_run_local(const executr_job_spec *spec, const char *path)
{
    executr_error err;
    executr_store *store = NULL;
    char directory[256];
    char url[512];
    const char *base = getenv("TMPDIR");
    if (!base || base[0] != '/' || strlen(base) > 200)
        base = "/tmp";
    snprintf(directory, sizeof directory, "%s/executr-run-XXXXXX", base);
    if (!mkdtemp(directory))
        return app_failf(
            "can't make a directory in %s: %s; set TMPDIR to one where that "
            "is possible",
            base, strerror(errno));
    snprintf(url, sizeof url, "sqlite://%s/executr.db", directory);
    int code = APP_FAILED;
    if (executr_store_open(url, NULL, &store, &err))
        app_fail(&err);
    else
        code = run_in_store(store, spec, path);
    executr_store_free(store);
    if (ex_fs_remove_tree(AT_FDCWD, directory, &err))
        app_fail(&err);
    return code;
}

int cmd_run(int argc, char **argv)
{
    app_rest rest;
    executr_job_spec spec;
    char sha256[65];
    int code = app_flags_read(&command, argc, argv, &rest);
    if (code == APP_GO_ON)
        code = cli_job_spec(&command, &rest, &spec, sha256);
    if (code != APP_GO_ON)
        return code;
    const char *path = rest.count ? rest.words[0] : NULL;
    return local ? cli_run_local(&spec, path) : run_remote(&spec, path);
}
