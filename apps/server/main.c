/* SPDX-License-Identifier: MIT */
/*
 * executr-server: the REST API over a store, and with --with-executor one
 * executor in the same process. Wiring, signals and order of start and end.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "api.h"
#include "base/log.h"
#include "common/common.h"
#include "common/worker_flags.h"
#include "http.h"

/* These many connections are never parked, so that calls other than claims
 * find a thread. */
#define UNPARKED 64
#define STORE_RETRY_MS 1000

typedef struct settings {
    const char *db_url;
    http_settings http;
    int64_t cleanup_interval_ms;
    int64_t job_retention_ms;
    int64_t heartbeat_timeout_ms;
    int64_t max_output_bytes;
    int64_t max_binary_bytes;
    int64_t max_lost_attempts;
    const char *token_file;
    int32_t insecure;
    int32_t with_executor;
    app_log_flags log;
} settings;

static settings set;

static const app_flag flags[] = {
    {"db-url", 0, APP_STRING, &set.db_url, "URL", NULL,
     "postgres://… or sqlite:///path; SQLite in $XDG_DATA_HOME/executr if not "
     "given",
     0, 0},
    {"host", 0, APP_STRING, &set.http.host, "ADDRESS", "127.0.0.1",
     "address to listen on", 0, 0},
    {"port", 'p', APP_INT, &set.http.port, "PORT", "8080",
     "port to listen on; 0 picks a free one", 0, 65535},
    {"cleanup-interval", 0, APP_DURATION, &set.cleanup_interval_ms, "TIME",
     "1h", "between deletions of old jobs", 0, 0},
    {"job-retention", 0, APP_DURATION, &set.job_retention_ms, "TIME", "48h",
     "how long finished jobs are kept", 0, 0},
    {"heartbeat-timeout", 0, APP_DURATION, &set.heartbeat_timeout_ms, "TIME",
     "15s", "silence of an executor that ends its leases", 0, 0},
    {"max-output-size", 0, APP_BYTES, &set.max_output_bytes, "BYTES", "1048576",
     "kept of stdout and of stderr", 1024, INT64_C(64) << 20},
    {"max-binary-size", 0, APP_BYTES, &set.max_binary_bytes, "BYTES", "4GB",
     "largest binary that can be uploaded", 1, 0},
    {"max-lost-attempts", 0, APP_INT, &set.max_lost_attempts, "N", "5",
     "attempts lost in a row before a job fails", 1, 1000},
    {"max-connections", 0, APP_INT, &set.http.max_connections, "N", "256",
     "connections served at once; each is a thread", 128, 20000},
    {"token-file", 0, APP_STRING, &set.token_file, "FILE", NULL,
     "its first line is the token that requests must carry", 0, 0},
    {"insecure", 0, APP_SWITCH, &set.insecure, NULL, NULL,
     "listen beyond this machine without tokens", 0, 0},
    {"with-executor", 0, APP_SWITCH, &set.with_executor, NULL, NULL,
     "run an executor in this process too", 0, 0},
    APP_LOG_FLAGS(set.log),
    {0}};

static const app_flag no_flags[] = {{0}};
static const app_flag *tables[] = {flags, no_flags, NULL};

static const app_command command = {
    "executr-server", "", "serve the REST API over a store of jobs",
    "The token may also stand in EXECUTR_TOKEN. The flags of executr-executor "
    "are taken with --with-executor.",
    tables};

static const int end_signals[] = {SIGTERM, SIGINT};

/* Block the signals that end us in all threads; main waits for them. */
static sigset_t block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof end_signals / sizeof *end_signals; i++)
        sigaddset(&signals, end_signals[i]);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error */
    return signals;
}

/* 1 when a signal to end came within the time. */
static int end_comes(const sigset_t *signals, int64_t ms)
{
    struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    return sigtimedwait(signals, NULL, &wait) > 0;
}

static int is_loopback(const char *host)
{
    struct in_addr address;
    if (inet_pton(AF_INET, host, &address) != 1)
        return 0;
    return (ntohl(address.s_addr) >> 24) == 127;
}

/* Closed unless opened: beyond this machine only with a token or --insecure. */
static int check_access(const api *a)
{
    struct in_addr address;
    if (strcmp(set.http.host, "localhost") == 0)
        set.http.host = "127.0.0.1";
    if (inet_pton(AF_INET, set.http.host, &address) != 1)
        return app_usage(
            &command, "--host is '%s', wanted an IPv4 address", set.http.host);
    if (is_loopback(set.http.host) || a->token)
        return APP_GO_ON;
    if (!set.insecure)
        return app_usage(
            &command,
            "listening on %s lets anyone who reaches it run programs here; "
            "give a token (--token-file, EXECUTR_TOKEN) or say --insecure",
            set.http.host);
    ex_log(
        &a->log, EXECUTR_LOG_WARN,
        "listening beyond this machine without tokens: anyone who reaches "
        "this address can run programs",
        "host", set.http.host, NULL);
    return APP_GO_ON;
}

/* One descriptor a connection, and some for the store and ourselves. */
static void raise_limits(const api *a)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)set.http.max_connections + 512;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < wanted)
        ex_log(
            &a->log, EXECUTR_LOG_WARN,
            "fewer descriptors than connections; raise the limit (ulimit -n)",
            "descriptors", EX_I64((int64_t)limit.rlim_cur), NULL);
}

static executr_status open_queue(api *a, executr_error *err)
{
    executr_store_options store = EXECUTR_STORE_OPTIONS_INIT;
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;
    executr_queue *queue = NULL;
    store.log = a->log;
    executr_status st = executr_store_open(set.db_url, &store, &a->store, err);
    if (st)
        return st;
    options.heartbeat_timeout_ms = set.heartbeat_timeout_ms;
    options.job_retention_ms = set.job_retention_ms;
    options.cleanup_interval_ms = set.cleanup_interval_ms;
    options.max_output_bytes = set.max_output_bytes;
    options.max_lost_attempts = (int32_t)set.max_lost_attempts;
    options.max_parked = set.http.max_connections - UNPARKED - a->max_follows;
    options.log = a->log;
    options.events = metrics_events(a->metrics);
    st = executr_queue_open(a->store, &options, &queue, err);
    if (st) {
        executr_store_free(a->store);
        a->store = NULL;
        return st;
    }
    atomic_store(&a->queue, queue);
    ex_log(
        &a->log, EXECUTR_LOG_INFO, "database connected", "store",
        executr_store_kind(a->store), NULL);
    return EXECUTR_OK;
}

/* Open the store, however long it is away. APP_GO_ON when it is open, else the
 * exit code: 0 when we were told to end, 1 when it can never work. */
static int wait_for_store(api *a, const sigset_t *signals)
{
    executr_error err;
    for (;;) {
        executr_status st = open_queue(a, &err);
        if (!st)
            return APP_GO_ON;
        if (!executr_status_retriable(st))
            return app_fail(&err);
        ex_log(
            &a->log, EXECUTR_LOG_WARN, "no database yet, trying again", "error",
            err.message, NULL);
        if (end_comes(signals, STORE_RETRY_MS))
            return APP_OK;
    }
}

static void *run_worker(void *ctx)
{
    executr_error err;
    if (executr_worker_run(ctx, &err))
        app_fail(&err);
    kill(getpid(), SIGTERM); /* an executor that ends, ends us all */
    return NULL;
}

/* Serve until told to end; with an executor beside, whose jobs may finish. */
static int serve(api *a, const sigset_t *signals)
{
    executr_error err;
    executr_worker *worker = NULL;
    pthread_t thread;
    int code = APP_OK;
    if (set.with_executor) {
        executr_worker_options options;
        code = app_worker_options(&command, &options);
        if (code != APP_GO_ON)
            return code;
        options.queue = atomic_load(&a->queue);
        options.log = a->log;
        if (executr_worker_open(&options, &worker, &err))
            return app_fail(&err);
        if (pthread_create(&thread, NULL, run_worker, worker)) {
            executr_worker_free(worker);
            return app_failf("can't start a thread for the executor");
        }
    }
    while (!end_comes(signals, 3600000))
        ;
    ex_log(&a->log, EXECUTR_LOG_INFO, "stopping", NULL);
    if (worker) {
        executr_worker_stop(worker);
        while (pthread_tryjoin_np(thread, NULL)) {
            if (end_comes(signals, 50))
                executr_worker_stop(worker);
        }
        executr_worker_free(worker);
    }
    return APP_OK;
}

/* Listen, then open the store (503 until then), then serve; end in order. */
static int run(api *a)
{
    executr_error err;
    http_server *http = NULL;
    sigset_t signals = block_signals();
    raise_limits(a);
    if (metrics_open(&a->metrics, &err) ||
        http_open(a, &set.http, &http, &err)) {
        metrics_free(a->metrics);
        return app_fail(&err);
    }
    ex_log(
        &a->log, EXECUTR_LOG_INFO, "listening", "host", set.http.host, "port",
        EX_I64(http_port(http)), "version", executr_version(), NULL);
    int code = wait_for_store(a, &signals);
    if (code == APP_GO_ON)
        code = serve(a, &signals);
    executr_queue *queue = atomic_load(&a->queue);
    atomic_store(&a->stopping, 1);
    if (queue)
        executr_queue_drain(queue);
    http_close(http);
    executr_queue_free(queue);
    executr_store_free(a->store);
    metrics_free(a->metrics);
    if (code == APP_OK)
        ex_log(&a->log, EXECUTR_LOG_INFO, "stopped", NULL);
    return code;
}

/* Find out early whether the executor's flags are wanted. */
static void choose_flags(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--with-executor") == 0)
            tables[1] = app_worker_flags;
    }
}

int main(int argc, char **argv)
{
    static api a;
    choose_flags(argc, argv);
    int code = app_flags_only(&command, argc, argv);
    if (code != APP_GO_ON)
        return code;
    a.log = app_log(&set.log);
    app_outlive();
    code = app_hide();
    if (code != APP_GO_ON)
        return code;
    a.token = app_token(set.token_file, &code);
    if (code != APP_GO_ON)
        return code;
    a.max_binary_bytes = set.max_binary_bytes;
    a.max_output_bytes = set.max_output_bytes;
    a.max_follows = (int32_t)(set.http.max_connections / 8);
    app_worker_settings.max_output_bytes = set.max_output_bytes;
    ex_buf url;
    ex_buf_init(&url, 8192);
    if (!set.db_url) {
        const char *path = app_data_path("executr.db");
        if (!path)
            return app_failf("no home directory; give --db-url");
        ex_buf_printf(&url, "sqlite://%s", path);
        set.db_url = ex_buf_text(&url);
    }
    executr_error err;
    code = check_access(&a);
    if (code == APP_GO_ON && executr_store_check(set.db_url, &err))
        code = app_fail(&err); /* not first after "listening" */
    if (code == APP_GO_ON)
        code = run(&a);
    ex_buf_clear(&url);
    return code;
}
