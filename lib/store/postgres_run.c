/* SPDX-License-Identifier: MIT */
/* Runs operations, and again where that is safe and of use. */
#include <time.h>

#include "base/time.h"
#include "store/postgres.h"

#define MOST_TRIES 8

/* A moment for the others, longer each time and never the same. */
static void pause_between(int tries)
{
    uint64_t most_us = UINT64_C(2000) << (tries < 6 ? tries : 6);
    uint64_t us = (uint64_t)ex_monotonic_us() * 2654435761 % most_us;
    struct timespec wait = {0, (long)us * 1000};

    nanosleep(&wait, NULL);
}

static int may_try_again(const ex_pg_session *session, int32_t repeatable)
{
    return session->fate == EX_PG_RETRY ||
           (session->fate == EX_PG_UNKNOWN && repeatable);
}

executr_status ex_pg_run(
    ex_pg_store *store, int32_t repeatable, ex_pg_work work, void *ctx,
    executr_error *err)
{
    int64_t deadline_us =
        ex_monotonic_us() + store->base.query_timeout_ms * 1000;
    ex_pg_session session = {.store = store};
    executr_status st;

    for (int tries = 1;; tries++) {
        st = ex_pool_get(store->pool, deadline_us, &session.conn, err);
        if (st)
            return st;
        session.fate = EX_PG_FAILED;
        session.in_transaction = 0;
        st = work(&session, ctx, err);
        ex_pool_put(store->pool, session.conn);
        if (!st || tries == MOST_TRIES || !may_try_again(&session, repeatable))
            return st;
        if (session.fate == EX_PG_UNKNOWN)
            session.again = 1;
        if (ex_monotonic_us() >= deadline_us)
            return st;
        pause_between(tries);
    }
}

typedef struct single {
    const char *sql;
    const ex_params *params;
    PGresult **out;
} single;

static executr_status run_single(
    ex_pg_session *session, void *ctx, executr_error *err)
{
    const single *s = ctx;

    return ex_pg_query(session, s->sql, s->params, s->out, err);
}

executr_status ex_pg_once(
    ex_pg_store *store, int32_t repeatable, const char *sql,
    const ex_params *params, PGresult **out, executr_error *err)
{
    single s = {sql, params, out};

    return ex_pg_run(store, repeatable, run_single, &s, err);
}
