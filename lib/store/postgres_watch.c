/* SPDX-License-Identifier: MIT */
/*
 * Word between servers that jobs are there. NOTIFY takes a lock of the whole
 * database when it commits, so it is never part of a submit: this thread sends
 * it, a few times a second at most, and only while another server says that
 * claims wait there. Losing all of it costs a poll interval.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"
#include "store/postgres.h"

#define ANNOUNCE_US INT64_C(1000000)
#define NOTIFY_US INT64_C(50000)
#define RETRY_BASE_MS 500
#define RETRY_MAX_MS 30000

void ex_pg_tell(ex_pg_store *store)
{
    uint64_t one = 1;

    if (!atomic_load(&store->others_parked))
        return;
    if (atomic_exchange(&store->news, 1))
        return;
    /* A full counter is readable as well. */
    if (write(store->news_fd, &one, sizeof one) < 0)
        return;
}

static void disconnect(ex_pg_store *store, const executr_error *why)
{
    ex_pg_watcher *w = &store->watcher;

    PQfinish(w->pg);
    w->pg = NULL;
    w->retry_at_us = ex_monotonic_us() +
                     1000 * ex_reconnect_delay_ms(
                                w->failures, RETRY_BASE_MS, RETRY_MAX_MS, 0.5);
    w->failures++;
    ex_log(
        &store->base.log, EXECUTR_LOG_DEBUG,
        "no word from other servers, polling only", "error", why->message,
        NULL);
}

static void connect_watcher(ex_pg_store *store)
{
    ex_pg_watcher *w = &store->watcher;
    int64_t now = ex_monotonic_us();
    executr_error err;

    if (w->pg || now < w->retry_at_us)
        return;
    executr_status st = ex_pool_connect(
        store->pool, now + store->base.query_timeout_ms * 1000, &w->pg, &err);
    if (!st)
        st =
            ex_pg_direct(store, w->pg, "LISTEN executr_jobs", NULL, NULL, &err);
    if (st)
        disconnect(store, &err);
    else
        w->failures = 0;
}

/* Say whether claims wait here, and learn whether they do elsewhere. */
static void announce(ex_pg_store *store, int32_t parked)
{
    ex_pg_watcher *w = &store->watcher;
    int64_t now = ex_monotonic_us();
    PGresult *rows = NULL;
    executr_error err;
    ex_params p;

    if (!w->pg || (w->announced_us && now - w->announced_us < ANNOUNCE_US))
        return;
    w->announced_us = now;
    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, &w->id);
    ex_params_one(&p, EX_PG_BOOL);
    ex_item_bool(&p, parked);
    executr_status st = ex_pg_direct(
        store, w->pg, "SELECT executr_watch($1, $2)", &p, &rows, &err);
    if (st)
        disconnect(store, &err);
    else
        atomic_store(&store->others_parked, ex_pg_bool(rows, 0, 0));
    PQclear(rows);
    ex_params_clear(&p);
}

static void notify(ex_pg_store *store)
{
    ex_pg_watcher *w = &store->watcher;
    int64_t now = ex_monotonic_us();
    executr_error err;

    if (!w->pg || !atomic_load(&store->news) ||
        now - w->notified_us < NOTIFY_US)
        return;
    w->notified_us = now;
    atomic_store(&store->news, 0);
    if (ex_pg_direct(store, w->pg, "NOTIFY executr_jobs", NULL, NULL, &err))
        disconnect(store, &err);
}

/* Take in what came; 1 if another server sent some of it. */
static int32_t listen(ex_pg_store *store)
{
    ex_pg_watcher *w = &store->watcher;
    int32_t told = 0;
    executr_error err;

    if (!w->pg)
        return 0;
    if (!PQconsumeInput(w->pg) || PQstatus(w->pg) != CONNECTION_OK) {
        ex_fail(&err, EXECUTR_E_UNAVAILABLE, "the connection broke");
        disconnect(store, &err);
        return 0;
    }
    for (;;) {
        PGnotify *n = PQnotifies(w->pg);
        if (!n)
            return told;
        if (n->be_pid != PQbackendPID(w->pg))
            told = 1;
        PQfreemem(n);
    }
}

/* Until when to sleep: the call's end, the next announcement, or the moment
 * when news may be sent again. */
static int sleep_ms(const ex_pg_store *store, int64_t deadline_us)
{
    const ex_pg_watcher *w = &store->watcher;
    int64_t until = deadline_us;

    if (w->pg && w->announced_us + ANNOUNCE_US < until)
        until = w->announced_us + ANNOUNCE_US;
    if (w->pg && atomic_load(&store->news) &&
        w->notified_us + NOTIFY_US < until)
        until = w->notified_us + NOTIFY_US;
    int64_t left = until - ex_monotonic_us();
    return left <= 0 ? 0 : (int)((left + 999) / 1000);
}

/* 1 when `wake` is readable. */
static int32_t doze(
    ex_pg_store *store, int64_t deadline_us, int wake, executr_error *err)
{
    ex_pg_watcher *w = &store->watcher;
    uint64_t count;
    struct pollfd fds[3] = {
        {wake, POLLIN, 0},
        {store->news_fd, POLLIN, 0},
        {w->pg ? PQsocket(w->pg) : -1, POLLIN, 0}};

    if (poll(fds, 3, sleep_ms(store, deadline_us)) < 0 && errno != EINTR) {
        ex_ignore(ex_fail_errno(err, errno, "poll"));
        return -1;
    }
    /* The counter starts over; `news` says whether there is any. */
    if (fds[1].revents && read(store->news_fd, &count, sizeof count) < 0 &&
        errno != EAGAIN) {
        ex_ignore(ex_fail_errno(err, errno, "read an eventfd"));
        return -1;
    }
    return fds[0].revents != 0;
}

executr_status ex_pg_watch(
    executr_store *base, int32_t parked, int64_t timeout_ms, int wake,
    int32_t *told, executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    int64_t deadline_us =
        ex_monotonic_us() + (timeout_ms > 0 ? timeout_ms : 0) * 1000;

    *told = 0;
    for (;;) {
        connect_watcher(store);
        announce(store, parked);
        notify(store);
        if (listen(store))
            *told = 1;
        if (*told || ex_monotonic_us() >= deadline_us)
            return EXECUTR_OK;
        int32_t woken = doze(store, deadline_us, wake, err);
        if (woken)
            return woken < 0 ? EXECUTR_E_IO : EXECUTR_OK;
    }
}
