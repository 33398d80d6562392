/* SPDX-License-Identifier: MIT */
/* Opens and frees a worker: its name and address, its parts. */
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/time.h"
#include "job.h"

static executr_status make_id(executr_worker *worker, executr_error *err)
{
    char host[128] = "executor";
    const char *name = worker->options.name;
    uint32_t digits;

    if (!name || !name[0]) {
        if (gethostname(host, sizeof host - 1) != 0 || !host[0])
            snprintf(host, sizeof host, "executor");
        name = host;
    }
    if (strlen(name) > sizeof worker->id - 10)
        return ex_fail_field(
            err, "name", "a name has at most %zu bytes",
            sizeof worker->id - 10);
    if (getrandom(&digits, sizeof digits, 0) != sizeof digits ||
        getrandom(&worker->random, sizeof worker->random, 0) !=
            sizeof worker->random)
        return ex_fail_errno(err, errno, "cannot get random bytes");
    snprintf(worker->id, sizeof worker->id, "%s-%08" PRIx32, name, digits);
    return ex_executor_id_check(worker->id, err);
}

/* Host and port of a URL, for getaddrinfo. */
static void split_url(const char *url, char *host, char *port, size_t size)
{
    const char *at = strstr(url, "://");
    const char *start = at ? at + 3 : url;
    size_t length = strcspn(start, "/?#");
    const char *user = memchr(start, '@', length);

    if (user) {
        length -= (size_t)(user + 1 - start);
        start = user + 1;
    }
    snprintf(port, size, "%s", strncmp(url, "https", 5) == 0 ? "443" : "80");
    size_t name = start[0] == '[' ? strcspn(start, "]") : strcspn(start, ":/");
    int bracket = start[0] == '[';
    if (name > length)
        name = length;
    snprintf(
        host, size, "%.*s", (int)(name - (size_t)bracket), start + bracket);
    const char *rest = start + name + bracket;
    if (rest < start + length && *rest == ':')
        snprintf(
            port, size, "%.*s", (int)(start + length - rest - 1), rest + 1);
}

/* The address this machine has towards `to`, without sending anything. */
static int local_address(const struct addrinfo *to, char *out, size_t size)
{
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    int failed = connect(fd, to->ai_addr, to->ai_addrlen) != 0 ||
                 getsockname(fd, (struct sockaddr *)&own, &length) != 0 ||
                 getnameinfo(
                     (struct sockaddr *)&own, length, out, (socklen_t)size,
                     NULL, 0, NI_NUMERICHOST) != 0;
    close(fd);
    return failed ? -1 : 0;
}

/* What the server will show for us; it decides nothing. */
static void find_address(executr_worker *worker)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    struct addrinfo *found = NULL;
    char host[256];
    char port[256];
    const char *url = worker->options.server_url;

    snprintf(worker->ip, sizeof worker->ip, "127.0.0.1");
    if (worker->options.queue || !url)
        return;
    split_url(url, host, port, sizeof host);
    int failed = getaddrinfo(host, port, &hints, &found);
    if (!failed)
        failed = local_address(found, worker->ip, sizeof worker->ip);
    if (failed)
        snprintf(worker->ip, sizeof worker->ip, "unknown");
    if (found)
        freeaddrinfo(found);
}

static executr_status open_cache(executr_worker *worker, executr_error *err)
{
    executr_cache_options options = EXECUTR_CACHE_OPTIONS_INIT;

    options.directory = worker->options.cache_directory;
    options.max_bytes = worker->options.max_cache_bytes;
    options.network_timeout_ms = worker->options.network_timeout_ms;
    options.max_download_ms = worker->options.max_download_ms;
    options.allow_link_local = worker->options.allow_link_local != 0;
    options.log = worker->log;
    return executr_cache_open(&options, &worker->cache, err);
}

static executr_status open_runner(executr_worker *worker, executr_error *err)
{
    executr_runner_options options = EXECUTR_RUNNER_OPTIONS_INIT;
    ex_buf path;
    executr_status st = EXECUTR_OK;

    ex_buf_init(&path, EX_BUF_UNLIMITED);
    if (worker->options.work_directory) {
        st = ex_fs_expand(&path, worker->options.work_directory, err);
        options.work_directory = ex_buf_text(&path);
    }
    /* One more than slots: a lost job may still be dying in one. */
    options.max_running = worker->options.max_jobs * 2;
    options.max_output_bytes = worker->options.max_output_bytes;
    options.kill_grace_ms = worker->options.kill_grace_ms;
    options.subreaper = worker->options.subreaper;
    options.isolation = worker->options.isolation;
    options.run_as = worker->options.run_as;
    options.log = worker->log;
    if (!st)
        st = executr_runner_open(&options, &worker->runner, err);
    if (!st)
        st = ex_worker_check_defaults(worker, err);
    ex_buf_clear(&path);
    return st;
}

static executr_status open_source(executr_worker *worker, executr_error *err)
{
    const executr_worker_options *o = &worker->options;
    ex_source_events events = {ex_worker_claimed, ex_worker_reported,
                               ex_worker_beaten,  ex_worker_put,
                               ex_worker_left,    worker};

    if (o->queue)
        return ex_source_queue_open(
            o->queue, &worker->log, &events, &worker->source, err);
    return ex_source_client_open(
        o->server_url, o->token, o->network_timeout_ms, &worker->log, &events,
        &worker->source, err);
}

static executr_status watch(executr_worker *worker, int fd, executr_error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

    if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return ex_fail_errno(err, errno, "cannot watch a descriptor");
    return EXECUTR_OK;
}

static executr_status open_loop(executr_worker *worker, executr_error *err)
{
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->epoll_fd < 0 || worker->stop_fd < 0)
        return ex_fail_errno(err, errno, "cannot make a descriptor");
    executr_status st = watch(worker, worker->stop_fd, err);
    if (!st)
        st = watch(worker, worker->fetcher.done_fd, err);
    if (!st && worker->spooler.used)
        st = watch(worker, worker->spooler.done_fd, err);
    if (!st)
        st = watch(worker, executr_runner_fd(worker->runner), err);
    if (!st)
        st = watch(worker, worker->source->ops->fd(worker->source), err);
    if (!st)
        st = ex_worker_keep_spares(worker, err);
    return st;
}

static executr_status open_lists(executr_worker *worker, executr_error *err)
{
    worker->report_limit = EX_REPORTS_PER_CALL;
    worker->interval_us = worker->options.heartbeat_interval_ms * 1000;
    worker->reported =
        ex_arena_get(&worker->arena, EX_REPORTS_PER_CALL * sizeof(ex_work *));
    worker->reports = ex_arena_get(
        &worker->arena, EX_REPORTS_PER_CALL * sizeof(executr_report *));
    if (!worker->reported || !worker->reports)
        return ex_fail_nomem(err);
    return EXECUTR_OK;
}

/* What the runner found out, a line a message. */
static void log_abilities(executr_worker *worker)
{
    const char *line = executr_runner_abilities(worker->runner);
    char text[512];

    while (*line) {
        int length = (int)strcspn(line, "\n");
        snprintf(text, sizeof text, "%.*s", length, line);
        if (length > 0)
            ex_log(
                &worker->log, EXECUTR_LOG_INFO, "this executor", "ability",
                text, NULL);
        line += length + (line[length] == '\n');
    }
}

static executr_status open_parts(executr_worker *worker, executr_error *err)
{
    executr_status st = make_id(worker, err);
    if (!st)
        st = open_lists(worker, err);
    if (!st)
        st = open_cache(worker, err);
    if (!st)
        st = open_runner(worker, err);
    if (!st)
        st = open_source(worker, err);
    if (!st)
        st = ex_fetcher_open(
            &worker->fetcher, worker->cache, worker->source,
            (size_t)worker->options.max_jobs, err);
    if (!st)
        st = ex_spooler_open(worker, err);
    if (!st)
        st = open_loop(worker, err);
    if (st)
        return st;
    find_address(worker);
    log_abilities(worker);
    return EXECUTR_OK;
}

executr_status executr_worker_open(
    const executr_worker_options *options, executr_worker **out,
    executr_error *err)
{
    void *memory = NULL;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(executr_worker), err);
    if (st)
        return st;
    executr_worker *worker = memory;
    worker->epoll_fd = -1;
    worker->stop_fd = -1;
    worker->fetcher.done_fd = -1;
    worker->spooler.done_fd = -1;
    worker->spooler.spool.dir_fd = -1;
    worker->spooler.spool.fd = -1;
    worker->spooler.adoption.orphan.fd = -1;
    pthread_mutex_init(&worker->spooler.lock, NULL);
    pthread_cond_init(&worker->spooler.wake, NULL);
    pthread_mutex_init(&worker->fetcher.lock, NULL);
    pthread_cond_init(&worker->fetcher.wake, NULL);
    st = ex_worker_take_options(worker, options, err);
    if (!st)
        st = open_parts(worker, err);
    if (st) {
        executr_worker_free(worker);
        return st;
    }
    *out = worker;
    return EXECUTR_OK;
}

void executr_worker_free(executr_worker *worker)
{
    if (!worker)
        return;
    /* Threads use the source; calls under way borrow leases and reports. */
    ex_fetcher_stop(&worker->fetcher);
    executr_runner_free(worker->runner);
    if (worker->source)
        worker->source->ops->free(worker->source);
    ex_spooler_close(worker);
    while (worker->works)
        ex_work_free(worker, worker->works);
    ex_fetcher_close(&worker->fetcher);
    ex_free(worker->leases);
    ex_free(worker->piece);
    executr_cache_free(worker->cache);
    ex_worker_give_spares(worker);
    if (worker->stop_fd >= 0)
        close(worker->stop_fd);
    if (worker->epoll_fd >= 0)
        close(worker->epoll_fd);
    ex_arena_clear(&worker->arena);
    ex_free(worker);
}
