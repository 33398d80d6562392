/* SPDX-License-Identifier: MIT */
/*
 * A pool of connections; hides when they are opened and closed. The newest
 * idle one is used first, so that those not needed grow old and are closed.
 */
#include "store/pool.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/time.h"

/* How soon to try again to open a connection that the database had no room
 * for, while others of this pool are busy. */
#define REOPEN_US INT64_C(100000)

struct ex_pool {
    ex_pool_settings settings;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    ex_conn *idle;     /* a stack */
    int32_t total;     /* idle, active, or being opened */
    int32_t active;    /* handed out */
    int32_t preferred; /* the host that answered last */
};

executr_status ex_pool_open(const char *url, ex_pool **out, executr_error *err)
{
    pthread_condattr_t attributes;
    ex_pool *pool = NULL;

    *out = NULL;
    executr_status st = ex_alloc((void **)&pool, sizeof *pool, err);
    if (st)
        return st;
    st = ex_pool_settings_read(url, &pool->settings, err);
    if (st) {
        ex_free(pool);
        return st;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->freed, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = pool;
    return EXECUTR_OK;
}

static void close_conn(ex_conn *conn)
{
    PQfinish(conn->pg);
    ex_free(conn);
}

void ex_pool_free(ex_pool *pool)
{
    if (!pool)
        return;
    while (pool->idle) {
        ex_conn *conn = pool->idle;
        pool->idle = conn->next;
        close_conn(conn);
    }
    ex_pool_settings_clear(&pool->settings);
    pthread_cond_destroy(&pool->freed);
    pthread_mutex_destroy(&pool->lock);
    ex_free(pool);
}

const ex_pool_settings *ex_pool_get_settings(const ex_pool *pool)
{
    return &pool->settings;
}

int32_t ex_pool_active(ex_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    int32_t active = pool->active;
    pthread_mutex_unlock(&pool->lock);
    return active;
}

executr_status ex_pool_connect(
    ex_pool *pool, int64_t deadline_us, PGconn **out, executr_error *err)
{
    pthread_mutex_lock(&pool->lock);
    int32_t preferred = pool->preferred;
    pthread_mutex_unlock(&pool->lock);
    executr_status st =
        ex_pool_dial(&pool->settings, &preferred, deadline_us, out, err);
    pthread_mutex_lock(&pool->lock);
    pool->preferred = preferred;
    pthread_mutex_unlock(&pool->lock);
    return st;
}

/* What a server says of itself. Its farewell to an idle connection comes as a
 * notice, and the end of the stream a little later. */
static void hear_notice(void *ctx, const PGresult *notice)
{
    const char *severity =
        PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    ex_conn *conn = ctx;

    if (severity && strcmp(severity, "FATAL") == 0)
        conn->unfit = 1;
}

/* Mostly nothing comes on an idle connection, and then nothing is read. */
static int is_alive(ex_conn *conn)
{
    struct pollfd fd = {PQsocket(conn->pg), POLLIN, 0};

    if (PQstatus(conn->pg) != CONNECTION_OK || fd.fd < 0)
        return 0;
    if (poll(&fd, 1, 0) == 0)
        return 1;
    if (!PQconsumeInput(conn->pg) || PQstatus(conn->pg) != CONNECTION_OK)
        return 0;
    PQisBusy(conn->pg); /* takes apart what was read: hear_notice */
    return !conn->unfit && poll(&fd, 1, 0) == 0;
}

/* Held lock. */
static int is_expired(const ex_pool *pool, const ex_conn *conn, int64_t now)
{
    if (now - conn->opened_us > pool->settings.lifetime_us)
        return 1;
    return now - conn->idle_since_us > pool->settings.idle_us &&
           pool->total > pool->settings.min_conns;
}

/* Take those out of the stack that are too old or were idle too long, and on
 * demand those that died; the caller closes them, outside the lock. */
static ex_conn *take_expired(ex_pool *pool, int32_t and_dead)
{
    int64_t now = ex_monotonic_us();
    ex_conn **at = &pool->idle;
    ex_conn *expired = NULL;

    while (*at) {
        ex_conn *conn = *at;
        if (is_expired(pool, conn, now) || (and_dead && !is_alive(conn))) {
            *at = conn->next;
            pool->total--;
            conn->next = expired;
            expired = conn;
        } else {
            at = &conn->next;
        }
    }
    return expired;
}

static void close_all(ex_conn *list)
{
    while (list) {
        ex_conn *next = list->next;
        close_conn(list);
        list = next;
    }
}

static executr_status fail_busy(const ex_pool *pool, executr_error *err)
{
    return ex_fail(
        err, EXECUTR_E_UNAVAILABLE,
        "all %d database connections are busy: raise pool_max_conns in the "
        "database URL, or try again later",
        (int)pool->settings.max_conns);
}

/* Wait until something changed; 0 at the deadline. Held lock. */
static int wait_changed(ex_pool *pool, int64_t deadline_us)
{
    struct timespec until = {
        deadline_us / 1000000, (deadline_us % 1000000) * 1000};

    pthread_cond_timedwait(&pool->freed, &pool->lock, &until);
    return ex_monotonic_us() < deadline_us;
}

/*
 * An idle connection, or the right to open one (*out NULL, counted already).
 * Held lock.
 */
static executr_status reserve(
    ex_pool *pool, int64_t deadline_us, ex_conn **out, executr_error *err)
{
    int in_time = 1;

    while (!pool->idle && pool->total >= pool->settings.max_conns) {
        if (!in_time)
            return fail_busy(pool, err);
        in_time = wait_changed(pool, deadline_us);
    }
    *out = pool->idle;
    if (*out) {
        pool->idle = (*out)->next;
        pool->active++;
    } else {
        pool->total++;
    }
    return EXECUTR_OK;
}

/* Give back the place of a connection that is no more, or never was. All who
 * wait have to look: they wait for different things. */
static void forget(ex_pool *pool, int32_t was_active)
{
    pthread_mutex_lock(&pool->lock);
    pool->total--;
    pool->active -= was_active;
    pthread_cond_broadcast(&pool->freed);
    pthread_mutex_unlock(&pool->lock);
}

/* In a place that was reserved. */
static executr_status open_conn(
    ex_pool *pool, int64_t deadline_us, ex_conn **out, executr_error *err)
{
    ex_conn *conn = NULL;

    *out = NULL;
    executr_status st = ex_alloc((void **)&conn, sizeof *conn, err);
    if (!st)
        st = ex_pool_connect(pool, deadline_us, &conn->pg, err);
    if (st) {
        ex_free(conn);
        forget(pool, 0);
        return st;
    }
    PQsetNoticeReceiver(conn->pg, hear_notice, conn);
    conn->opened_us = ex_monotonic_us();
    pthread_mutex_lock(&pool->lock);
    pool->active++;
    pthread_mutex_unlock(&pool->lock);
    *out = conn;
    return EXECUTR_OK;
}

/*
 * No other connection could be opened, as when the database has no room for
 * more: wait for one that this pool has, or until it is time to try again. 0
 * if there is none to wait for, or no time.
 */
static int wait_for_another(ex_pool *pool, int64_t deadline_us)
{
    int64_t until_us = ex_monotonic_us() + REOPEN_US;

    if (until_us > deadline_us)
        until_us = deadline_us;
    pthread_mutex_lock(&pool->lock);
    while (!pool->idle && pool->active > 0 && wait_changed(pool, until_us))
        continue;
    int again =
        pool->idle || (pool->active > 0 && ex_monotonic_us() < deadline_us);
    pthread_mutex_unlock(&pool->lock);
    return again;
}

executr_status ex_pool_get(
    ex_pool *pool, int64_t deadline_us, ex_conn **out, executr_error *err)
{
    *out = NULL;
    for (;;) {
        ex_conn *conn = NULL;
        pthread_mutex_lock(&pool->lock);
        ex_conn *expired = take_expired(pool, 0);
        executr_status st = reserve(pool, deadline_us, &conn, err);
        pthread_mutex_unlock(&pool->lock);
        close_all(expired);
        if (st)
            return st;
        if (!conn) {
            st = open_conn(pool, deadline_us, out, err);
            if (!st || !wait_for_another(pool, deadline_us))
                return st;
        } else if (is_alive(conn)) {
            *out = conn;
            return EXECUTR_OK;
        } else {
            close_conn(conn);
            forget(pool, 1);
        }
    }
}

/* Behind a pooler, word for somebody else may arrive here. */
static void drop_notifications(PGconn *pg)
{
    PGnotify *word = PQnotifies(pg);

    while (word) {
        PQfreemem(word);
        word = PQnotifies(pg);
    }
}

void ex_pool_put(ex_pool *pool, ex_conn *conn)
{
    int64_t now = ex_monotonic_us();

    if (!conn)
        return;
    if (conn->unfit || PQstatus(conn->pg) != CONNECTION_OK ||
        PQtransactionStatus(conn->pg) != PQTRANS_IDLE ||
        now - conn->opened_us > pool->settings.lifetime_us) {
        close_conn(conn);
        forget(pool, 1);
        return;
    }
    drop_notifications(conn->pg);
    conn->idle_since_us = now;
    pthread_mutex_lock(&pool->lock);
    conn->next = pool->idle;
    pool->idle = conn;
    pool->active--;
    pthread_cond_signal(&pool->freed);
    pthread_mutex_unlock(&pool->lock);
}

/* 1 if a connection is missing; its place is reserved. */
static int reserve_missing(ex_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    int missing = pool->total < pool->settings.min_conns;
    pool->total += missing;
    pthread_mutex_unlock(&pool->lock);
    return missing;
}

executr_status ex_pool_tend(
    ex_pool *pool, int64_t deadline_us, executr_error *err)
{
    executr_status st = EXECUTR_OK;
    ex_conn *conn;

    pthread_mutex_lock(&pool->lock);
    ex_conn *expired = take_expired(pool, 1);
    pthread_mutex_unlock(&pool->lock);
    close_all(expired);
    for (int32_t i = 0; i < pool->settings.min_conns && !st; i++) {
        if (!reserve_missing(pool))
            break;
        st = open_conn(pool, deadline_us, &conn, err);
        if (!st)
            ex_pool_put(pool, conn);
    }
    return st;
}
