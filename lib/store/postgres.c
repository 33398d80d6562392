/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: opens, migrates and closes it. */
#include "store/postgres.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"

/* ---- Migrations. */

static executr_status read_version(
    void *ctx, int32_t *version, executr_error *err)
{
    static const char exists[] = "SELECT to_regclass('schema_migrations')"
                                 " IS NOT NULL";
    ex_pg_session *session = ctx;
    PGresult *rows = NULL;

    *version = 0;
    executr_status st = ex_pg_query(session, exists, NULL, &rows, err);
    int32_t there = !st && ex_pg_bool(rows, 0, 0);
    PQclear(rows);
    if (!there)
        return st;
    st = ex_pg_query(
        session, "SELECT coalesce(max(version), 0) FROM schema_migrations",
        NULL, &rows, err);
    if (!st)
        *version = ex_pg_i32(rows, 0, 0);
    PQclear(rows);
    return st;
}

/* A text of many statements, which only the simple protocol takes. */
static executr_status apply(
    void *ctx, const ex_migration *migration, executr_error *err)
{
    ex_pg_session *session = ctx;
    ex_params p;

    executr_status st = ex_pg_script(session, migration->sql, err);
    if (st)
        return st;
    ex_params_init(&p);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, migration->version);
    ex_params_one(&p, EX_PG_TEXT);
    ex_item_text(&p, migration->name);
    st = ex_pg_query(
        session,
        "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", &p,
        NULL, err);
    ex_params_clear(&p);
    return st;
}

/*
 * All in one transaction, under a lock that ends with it: whoever is killed
 * half-way leaves nothing, and servers that start together wait for the first.
 */
static executr_status migrate(
    ex_pg_session *session, void *ctx, executr_error *err)
{
    const ex_migrator migrator = {session, read_version, apply};

    (void)ctx;
    executr_status st = ex_pg_begin(session, err);
    if (!st)
        st = ex_pg_query(
            session, "SELECT pg_advisory_xact_lock(812617, 0)", NULL, NULL,
            err);
    if (!st)
        st = ex_migrate(
            &migrator, ex_migrations_postgres, ex_migrations_postgres_count,
            err);
    return st ? st : ex_pg_commit(session, err);
}

/* ---- Small operations. */

static executr_status ping(executr_store *base, executr_error *err)
{
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE, "SELECT 1", NULL, NULL, err);

    if (st && st != EXECUTR_E_UNAVAILABLE && st != EXECUTR_E_NOMEM) {
        if (err)
            err->status = EXECUTR_E_UNAVAILABLE;
        st = EXECUTR_E_UNAVAILABLE;
    }
    return st;
}

void ex_pg_tend(ex_pg_store *store)
{
    executr_error err;

    if (ex_pool_tend(
            store->pool,
            ex_monotonic_us() + store->base.query_timeout_ms * 1000, &err))
        ex_log(
            &store->base.log, EXECUTR_LOG_DEBUG,
            "fewer database connections than pool_min_conns", "error",
            err.message, NULL);
}

static int32_t connections_active(executr_store *base)
{
    ex_pg_store *store = (ex_pg_store *)base;

    return ex_pool_active(store->pool) + atomic_load(&store->direct);
}

static void close_store(executr_store *base)
{
    ex_pg_store *store = (ex_pg_store *)base;

    PQfinish(store->watcher.pg);
    ex_pool_free(store->pool);
    if (store->news_fd >= 0)
        close(store->news_fd);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->cleanup_lock);
    ex_free(store);
}

static const ex_store_ops operations = {
    .kind = "postgres",
    .parallel = 2,
    .submit = ex_pg_submit,
    .claim = ex_pg_claim,
    .finish = ex_pg_finish,
    .heartbeat = ex_pg_heartbeat,
    .goodbye = ex_pg_goodbye,
    .cancel = ex_pg_cancel,
    .matching = ex_pg_matching,
    .retry = ex_pg_retry,
    .get = ex_pg_get,
    .list = ex_pg_list,
    .stats = ex_pg_stats,
    .executors = ex_pg_executors,
    .upkeep = ex_pg_upkeep,
    .cleanup = ex_pg_cleanup,
    .watch = ex_pg_watch,
    .binary_begin = ex_pg_binary_begin,
    .binary_part = ex_pg_binary_part,
    .binary_end = ex_pg_binary_end,
    .binary_drop = ex_pg_binary_drop,
    .binary_size = ex_pg_binary_size,
    .binary_read = ex_pg_binary_read,
    .live_follow = ex_pg_live_follow,
    .live_put = ex_pg_live_put,
    .live_read = ex_pg_live_read,
    .attempt_output = ex_pg_attempt_output,
    .ping = ping,
    .connections_active = connections_active,
    .close = close_store,
};

static executr_status open_all(
    ex_pg_store *store, const char *url, executr_error *err)
{
    executr_status st = ex_pool_open(url, &store->pool, err);

    if (!st)
        st = ex_uuid_make(&store->watcher.id, 1, err);
    store->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!st && store->news_fd < 0)
        st = ex_fail_errno(err, errno, "make an eventfd");
    if (!st)
        st = ex_pg_run(store, EX_PG_REPEATABLE, migrate, NULL, err);
    if (!st)
        ex_pg_tend(store);
    return st;
}

executr_status ex_store_postgres_check(const char *url, executr_error *err)
{
    ex_pool_settings settings;

    executr_status st = ex_pool_settings_read(url, &settings, err);
    if (!st)
        ex_pool_settings_clear(&settings);
    return st;
}

executr_status ex_store_postgres_open(
    const char *url, const executr_store_options *options, executr_store **out,
    executr_error *err)
{
    ex_pg_store *store = NULL;

    *out = NULL;
    executr_status st = ex_alloc((void **)&store, sizeof *store, err);
    if (st)
        return st;
    store->base.ops = &operations;
    store->base.log = options->log;
    store->base.query_timeout_ms = options->query_timeout_ms;
    store->news_fd = -1;
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->cleanup_lock, NULL);
    st = open_all(store, url, err);
    if (st)
        close_store(&store->base);
    else
        *out = &store->base;
    return st;
}
