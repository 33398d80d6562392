/* SPDX-License-Identifier: MIT */
/*
 * Word between servers that jobs are there. NOTIFY takes a lock of the whole
 * database when it commits, so it is never part of a submit: this thread sends
 * it, and only while another server says that claims wait there. The first
 * words after a quiet time go out at once; only a stream is thinned.
 *
 * No word is lost while two servers hear each other. Who begins to wait says
 * so (a row in `watchers`, and word of it) and then looks again: a job
 * committed before that look is found by it. A submit that commits later may
 * still miss that somebody waits, but leaves its news, which goes out when the
 * word of the waiting arrives. What is lost with a connection costs a poll
 * interval.
 *
 * Behind a pooler that hands out its connections by transactions LISTEN would
 * stay with whatever connection it met; there this server only polls.
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
/* How long an announcement stands (executr_watch), and how much of that must
 * be left to lean on. */
#define STANDS_US INT64_C(5000000)
#define LEAST_LEFT_US INT64_C(2500000)
/* One word each NOTIFY_US in the long run, BURST of them in a row. */
#define NOTIFY_US INT64_C(10000)
#define BURST 16
#define RETRY_BASE_MS 500
#define RETRY_MAX_MS 30000

/*
 * The news is left before the flag is read, and the watcher sets the flag
 * before it reads the news: one of the two sees the other.
 */
void ex_pg_tell(ex_pg_store *store)
{
    uint64_t one = 1;

    int known = atomic_exchange(&store->news, 1);
    if (known || !atomic_load(&store->others_parked))
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

/*
 * A pooler gives its clients process ids of its own making; one that hands out
 * connections by sessions is taken for the other kind, at the same small cost.
 */
static executr_status find_pooler(ex_pg_store *store, executr_error *err)
{
    ex_pg_watcher *w = &store->watcher;
    PGresult *rows = NULL;

    executr_status st =
        ex_pg_direct(store, w->pg, "SELECT pg_backend_pid()", NULL, &rows, err);
    if (!st)
        w->deaf = ex_pg_i32(rows, 0, 0) != PQbackendPID(w->pg);
    PQclear(rows);
    if (!st && w->deaf)
        ex_log(
            &store->base.log, EXECUTR_LOG_DEBUG,
            "behind a pooler, polling for jobs of other servers", NULL);
    return st;
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
        st = find_pooler(store, &err);
    if (!st && !w->deaf)
        st =
            ex_pg_direct(store, w->pg, "LISTEN executr_jobs", NULL, NULL, &err);
    if (st) {
        disconnect(store, &err);
        return;
    }
    w->failures = 0;
    w->announced_us = 0;
    w->stands_until_us = 0; /* words were missed: announce, and look again */
}

static executr_status ask_watchers(
    ex_pg_store *store, int32_t parked, int32_t begins, executr_error *err)
{
    ex_pg_watcher *w = &store->watcher;
    PGresult *rows = NULL;
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, &w->id);
    ex_params_one(&p, EX_PG_BOOL);
    ex_item_bool(&p, parked);
    ex_params_one(&p, EX_PG_BOOL);
    ex_item_bool(&p, begins);
    executr_status st = ex_pg_direct(
        store, w->pg, "SELECT executr_watch($1, $2, $3)", &p, &rows, err);
    if (!st)
        atomic_store(&store->others_parked, ex_pg_bool(rows, 0, 0));
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

/*
 * Say whether claims wait here, and learn whether they do elsewhere: each
 * second, and at once when claims begin to wait. An announcement outlives
 * short pauses between claims. 1 if this server has to look again now.
 */
static int32_t announce(ex_pg_store *store, int32_t parked)
{
    ex_pg_watcher *w = &store->watcher;
    int64_t now = ex_monotonic_us();
    executr_error err;

    if (!w->pg)
        return 0;
    int32_t waits = parked && !w->deaf;
    int32_t begins = waits && w->stands_until_us - now < LEAST_LEFT_US;
    if (!begins && w->announced_us && now - w->announced_us < ANNOUNCE_US)
        return 0;
    if (ask_watchers(store, waits, begins, &err)) {
        disconnect(store, &err);
        return 0;
    }
    w->announced_us = now;
    if (waits)
        w->stands_until_us = now + STANDS_US;
    return begins;
}

/* When the next word may be sent. */
static int64_t next_word_us(const ex_pg_watcher *w)
{
    return w->paid_until_us - BURST * NOTIFY_US;
}

static int32_t has_word(const ex_pg_store *store)
{
    return store->watcher.pg && atomic_load(&store->others_parked) &&
           atomic_load(&store->news);
}

static void notify(ex_pg_store *store)
{
    ex_pg_watcher *w = &store->watcher;
    int64_t now = ex_monotonic_us();
    executr_error err;

    if (!has_word(store) || now < next_word_us(w))
        return;
    w->paid_until_us =
        (w->paid_until_us > now ? w->paid_until_us : now) + NOTIFY_US;
    atomic_store(&store->news, 0);
    if (!ex_pg_direct(store, w->pg, "NOTIFY executr_jobs", NULL, NULL, &err))
        return;
    atomic_store(&store->news, 1);
    disconnect(store, &err);
}

/* Take in what came; 1 if another server has jobs. */
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
        if (n->be_pid != PQbackendPID(w->pg)) {
            if (strcmp(n->extra, "waits") == 0)
                atomic_store(&store->others_parked, 1);
            else
                told = 1;
        }
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
    if (has_word(store) && next_word_us(w) < until)
        until = next_word_us(w);
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
        if (announce(store, parked))
            *told = 1;
        if (listen(store))
            *told = 1;
        notify(store);
        if (*told || ex_monotonic_us() >= deadline_us)
            return EXECUTR_OK;
        int32_t woken = doze(store, deadline_us, wake, err);
        if (woken)
            return woken < 0 ? EXECUTR_E_IO : EXECUTR_OK;
    }
}
