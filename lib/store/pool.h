/* SPDX-License-Identifier: MIT */
/*
 * Connections to PostgreSQL: a bounded pool, opened when needed, every wait
 * under a deadline (moments of ex_monotonic_us).
 */
#ifndef EX_STORE_POOL_H
#define EX_STORE_POOL_H

#include <libpq-fe.h>

#include "base/buf.h"

#define EX_POOL_HOSTS_MAX 16
#define EX_POOL_OPTIONS_MAX 64

/* What a database URL says: our pool parameters, and the rest for libpq. */
typedef struct ex_pool_settings {
    int32_t max_conns;
    int32_t min_conns;
    int64_t lifetime_us;
    int64_t idle_us;
    PQconninfoOption *options; /* libpq's own, parsed */
} ex_pool_settings;

/* E_ARGUMENT; never quotes the URL, it may hold a password. */
executr_status ex_pool_settings_read(
    const char *url, ex_pool_settings *out, executr_error *err) EXECUTR_CHECKED;
void ex_pool_settings_clear(ex_pool_settings *settings);
/* The value of a libpq parameter, NULL if the URL has none. */
const char *ex_pool_setting(const ex_pool_settings *settings, const char *name);

/*
 * Open a connection, trying each host of the settings, beginning with number
 * *preferred, which becomes the one that answered. E_UNAVAILABLE.
 */
executr_status ex_pool_dial(
    const ex_pool_settings *settings, int32_t *preferred, int64_t deadline_us,
    PGconn **out, executr_error *err) EXECUTR_CHECKED;

/* Wait until the socket is ready for `events` of poll(2): 1, or 0 when the
 * deadline came first (-1 for a connection without a socket). */
int32_t ex_pool_wait(PGconn *pg, short events, int64_t deadline_us);

/* Append what libpq says as one line, without any password. */
void ex_pool_explain(
    const ex_pool_settings *settings, const char *message, ex_buf *out);

typedef struct ex_pool ex_pool;

typedef struct ex_conn {
    struct ex_conn *next;
    PGconn *pg;
    int64_t opened_us;
    int64_t idle_since_us;
    int32_t unfit; /* not to be used again */
    /* For the user of the pool: */
    int32_t ours;  /* its session ends with it */
    uint32_t ran;  /* statements that it ran, by their bits */
    uint32_t kept; /* those that its session keeps */
} ex_conn;

executr_status ex_pool_open(const char *url, ex_pool **out, executr_error *err)
    EXECUTR_CHECKED;
/*
 * Close what died, is too old or was idle too long, and open what is missing
 * of pool_min_conns: at the start and now and then.
 */
executr_status ex_pool_tend(
    ex_pool *pool, int64_t deadline_us, executr_error *err) EXECUTR_CHECKED;
/* Every connection must be back. NULL is fine. */
void ex_pool_free(ex_pool *pool);

/*
 * A connection that was alive a moment ago, for this thread alone. When no
 * other can be opened, as in a database that is full, those that this pool has
 * must do. E_UNAVAILABLE: none came free before the deadline, or there is none
 * and the database can't be reached.
 */
executr_status ex_pool_get(
    ex_pool *pool, int64_t deadline_us, ex_conn **out,
    executr_error *err) EXECUTR_CHECKED;
/* Give it back; it is closed if it is not fit for another statement. */
void ex_pool_put(ex_pool *pool, ex_conn *conn);

/* A connection outside the pool, closed by PQfinish. */
executr_status ex_pool_connect(
    ex_pool *pool, int64_t deadline_us, PGconn **out,
    executr_error *err) EXECUTR_CHECKED;

const ex_pool_settings *ex_pool_get_settings(const ex_pool *pool);
/* Connections handed out right now; one that is being opened is none yet. */
int32_t ex_pool_active(ex_pool *pool);

#endif
