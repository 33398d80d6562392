/* SPDX-License-Identifier: MIT */
/*
 * A pool of connections; hides when they are opened and closed. The newest
 * idle one is used first, so that those not needed grow old and are closed.
 */
#include "store/pool.h"

#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/time.h"

struct ex_pool {
    ex_pool_settings settings;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    ex_conn *idle; /* a stack */
    int32_t total; /* idle, in use, or being opened */
    int32_t active;
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

/* Nothing comes on an idle connection but a farewell. */
static int is_alive(ex_conn *conn)
{
    struct pollfd fd = {PQsocket(conn->pg), POLLIN, 0};

    if (PQstatus(conn->pg) != CONNECTION_OK || fd.fd < 0)
        return 0;
    if (poll(&fd, 1, 0) == 0)
        return 1;
    if (!PQconsumeInput(conn->pg) || PQstatus(conn->pg) != CONNECTION_OK)
        return 0;
    /* Parameter changes and notices are fine; the end of the stream shows
     * at the next read. */
    return poll(&fd, 1, 0) == 0;
}

/* Take those out of the stack that were idle too long; the caller closes
 * them, outside the lock. */
static ex_conn *take_expired(ex_pool *pool, int64_t now)
{
    ex_conn **at = &pool->idle;
    ex_conn *expired = NULL;

    while (*at) {
        ex_conn *conn = *at;
        int idle_long = now - conn->idle_since_us > pool->settings.idle_us &&
                        pool->total > pool->settings.min_conns;
        if (idle_long || now - conn->opened_us > pool->settings.lifetime_us) {
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

/*
 * An idle connection, or the right to open one (*out NULL, counted already).
 * Held lock.
 */
static executr_status reserve(
    ex_pool *pool, int64_t deadline_us, ex_conn **out, executr_error *err)
{
    struct timespec until = {
        deadline_us / 1000000, (deadline_us % 1000000) * 1000};

    while (!pool->idle && pool->total >= pool->settings.max_conns) {
        if (pthread_cond_timedwait(&pool->freed, &pool->lock, &until) != 0 &&
            ex_monotonic_us() >= deadline_us)
            return fail_busy(pool, err);
    }
    *out = pool->idle;
    if (*out) {
        pool->idle = (*out)->next;
    } else {
        pool->total++;
    }
    pool->active++;
    return EXECUTR_OK;
}

/* Give back the place of a connection that is no more. */
static void forget(ex_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->total--;
    pool->active--;
    pthread_cond_signal(&pool->freed);
    pthread_mutex_unlock(&pool->lock);
}

static executr_status open_conn(
    ex_pool *pool, int64_t deadline_us, ex_conn **out, executr_error *err)
{
    ex_conn *conn = NULL;

    executr_status st = ex_alloc((void **)&conn, sizeof *conn, err);
    if (!st)
        st = ex_pool_connect(pool, deadline_us, &conn->pg, err);
    if (st) {
        ex_free(conn);
        forget(pool);
        return st;
    }
    conn->opened_us = ex_monotonic_us();
    *out = conn;
    return EXECUTR_OK;
}

executr_status ex_pool_get(
    ex_pool *pool, int64_t deadline_us, ex_conn **out, executr_error *err)
{
    *out = NULL;
    for (;;) {
        ex_conn *conn = NULL;
        pthread_mutex_lock(&pool->lock);
        ex_conn *expired = take_expired(pool, ex_monotonic_us());
        executr_status st = reserve(pool, deadline_us, &conn, err);
        pthread_mutex_unlock(&pool->lock);
        close_all(expired);
        if (st)
            return st;
        if (!conn)
            return open_conn(pool, deadline_us, out, err);
        if (is_alive(conn)) {
            *out = conn;
            return EXECUTR_OK;
        }
        close_conn(conn);
        forget(pool);
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
        forget(pool);
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

executr_status ex_pool_warm(
    ex_pool *pool, int64_t deadline_us, executr_error *err)
{
    executr_status st = EXECUTR_OK;
    ex_conn *list = NULL;

    for (int32_t i = 0; i < pool->settings.min_conns && !st; i++) {
        ex_conn *conn;
        st = ex_pool_get(pool, deadline_us, &conn, err);
        if (!st) {
            conn->next = list;
            list = conn;
        }
    }
    while (list) {
        ex_conn *next = list->next;
        ex_pool_put(pool, list);
        list = next;
    }
    return st;
}
