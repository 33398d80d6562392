/* SPDX-License-Identifier: MIT */
/* The SQLite store: opens and closes it; its operations stand beside. */
#include "store/sqlite.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/time.h"

/* Nobody else can submit to this file, so there is no word to wait for. */
static executr_status watch(
    executr_store *store, int32_t parked, int64_t timeout_ms, int wake,
    int32_t *told, executr_error *err)
{
    struct pollfd fd = {wake, POLLIN, 0};
    int timeout = timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms;

    (void)store;
    (void)parked;
    *told = 0;
    if (poll(&fd, 1, timeout < 0 ? 0 : timeout) < 0 && errno != EINTR)
        return ex_fail_errno(err, errno, "poll");
    return EXECUTR_OK;
}

static executr_status ping(executr_store *base, executr_error *err)
{
    static const char sql[] = "SELECT version FROM schema_migrations LIMIT 1";
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_sqlite *db;
    ex_stmt s;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = ex_stmt_use(&s, db, sql, err);
    if (!st)
        st = ex_stmt_run(&s, err);
    ex_sqlite_end_read(store, db);
    return st;
}

static int32_t connections_active(executr_store *base)
{
    return atomic_load(&((ex_sqlite_store *)base)->active);
}

/* The last connection to go folds the log into the file. */
static void close_store(executr_store *base)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;

    for (int i = 0; i < EX_SQLITE_READERS; i++)
        ex_sqlite_disconnect(&store->readers[i]);
    if (store->writer_ready)
        sqlite3_wal_checkpoint_v2(
            store->writer.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    ex_sqlite_disconnect(&store->writer);
    pthread_mutex_destroy(&store->write_lock);
    pthread_mutex_destroy(&store->read_lock);
    pthread_cond_destroy(&store->read_free);
    ex_live_close(&store->live);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    ex_free(store->path);
    ex_free(store);
}

static const ex_store_ops operations = {
    .kind = "sqlite",
    .parallel = 1,
    .submit = ex_sqlite_submit,
    .claim = ex_sqlite_claim,
    .finish = ex_sqlite_finish,
    .heartbeat = ex_sqlite_heartbeat,
    .goodbye = ex_sqlite_goodbye,
    .cancel = ex_sqlite_cancel,
    .matching = ex_sqlite_matching,
    .retry = ex_sqlite_retry,
    .get = ex_sqlite_get,
    .list = ex_sqlite_list,
    .stats = ex_sqlite_stats,
    .executors = ex_sqlite_executors,
    .upkeep = ex_sqlite_upkeep,
    .cleanup = ex_sqlite_cleanup,
    .watch = watch,
    .binary_begin = ex_sqlite_binary_begin,
    .binary_part = ex_sqlite_binary_part,
    .binary_end = ex_sqlite_binary_end,
    .binary_drop = ex_sqlite_binary_drop,
    .binary_size = ex_sqlite_binary_size,
    .binary_read = ex_sqlite_binary_read,
    .live_follow = ex_sqlite_live_follow,
    .live_put = ex_sqlite_live_put,
    .live_read = ex_sqlite_live_read,
    .attempt_output = ex_sqlite_attempt_output,
    .ping = ping,
    .connections_active = connections_active,
    .close = close_store,
};

static executr_status open_connections(
    ex_sqlite_store *store, executr_error *err)
{
    executr_status st = ex_sqlite_connect(store, &store->writer, 0, err);

    if (!st)
        st = ex_sqlite_migrate(&store->writer, err);
    store->writer_ready = !st;
    for (int i = 0; i < EX_SQLITE_READERS && !st; i++) {
        st = ex_sqlite_connect(store, &store->readers[i], 1, err);
        if (!st)
            store->idle[store->idle_count++] = &store->readers[i];
    }
    return st;
}

executr_status ex_store_sqlite_open(
    const char *url, const executr_store_options *options, executr_store **out,
    executr_error *err)
{
    ex_sqlite_store *store = NULL;

    *out = NULL;
    executr_status st = ex_alloc((void **)&store, sizeof *store, err);
    if (st)
        return st;
    store->base.ops = &operations;
    store->base.log = options->log;
    store->base.query_timeout_ms = options->query_timeout_ms;
    store->lock_fd = -1;
    store->clock_us = ex_now_us() - ex_monotonic_us();
    pthread_mutex_init(&store->write_lock, NULL);
    pthread_mutex_init(&store->read_lock, NULL);
    pthread_cond_init(&store->read_free, NULL);
    ex_live_open(&store->live);
    st = ex_sqlite_take_file(store, url, err);
    if (!st)
        st = open_connections(store, err);
    if (st)
        close_store(&store->base);
    else
        *out = &store->base;
    return st;
}
