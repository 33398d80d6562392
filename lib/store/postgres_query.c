/* SPDX-License-Identifier: MIT */
/*
 * Runs statements under a deadline, and operations again where that is safe.
 * Hides libpq's asynchronous calls and what its errors mean.
 */
#include "store/postgres.h"

#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/fail.h"
#include "base/time.h"

#define MOST_TRIES 8

/* ---- Errors. */

static int in_class(const char *state, const char *class)
{
    return strncmp(state, class, 2) == 0;
}

/* Conflicts with other transactions, a server that goes down or is a standby
 * now: the transaction was rolled back, and the next may do better. */
static int is_transient(const char *state)
{
    static const char *const states[] = {
        "40001", "40P01", "57P01", "57P02", "57P03", "25006", "55P03"};

    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (strcmp(state, states[i]) == 0)
            return 1;
    }
    return 0;
}

static executr_status status_of(const char *state)
{
    if (is_transient(state) || in_class(state, "08") || in_class(state, "53") ||
        in_class(state, "58"))
        return EXECUTR_E_UNAVAILABLE;
    if (strcmp(state, "57014") == 0)
        return EXECUTR_E_TIMEOUT;
    if (in_class(state, "22"))
        return EXECUTR_E_ARGUMENT;
    return EXECUTR_E_INTERNAL;
}

static executr_status fail(
    ex_pg_store *store, executr_status st, const char *what,
    const char *message, executr_error *err)
{
    ex_buf text;

    ex_buf_init(&text, 2000);
    ex_pool_explain(ex_pool_get_settings(store->pool), message, &text);
    ex_fail(err, st, "%s: %s", what, ex_buf_text(&text));
    ex_buf_clear(&text);
    return st;
}

static executr_status fail_lost(
    ex_pg_store *store, PGconn *pg, executr_error *err)
{
    const char *message = PQerrorMessage(pg);

    return fail(
        store, EXECUTR_E_UNAVAILABLE, "the database connection broke",
        *message ? message : "closed by the server", err);
}

static executr_status fail_expired(ex_pg_store *store, executr_error *err)
{
    return ex_fail(
        err, EXECUTR_E_TIMEOUT,
        "the database did not answer within %lld ms, the query timeout",
        (long long)store->base.query_timeout_ms);
}

/* ---- One statement. */

typedef struct exchange {
    ex_pg_store *store;
    PGconn *pg;
    int64_t deadline_us;
    int32_t fate; /* EX_PG_…, when it failed */
    int32_t autocommit;
    PGresult *rows; /* the result so far */
    char state[6];  /* SQLSTATE of its error */
    int32_t script; /* many statements */
} exchange;

static int send_statement(PGconn *pg, const char *sql, const ex_params *params)
{
    static const int binary[EX_PG_PARAMS_MAX] = {
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const char *values[EX_PG_PARAMS_MAX];
    int lengths[EX_PG_PARAMS_MAX];
    int count = params ? params->count : 0;

    for (int i = 0; i < count; i++) {
        size_t start = params->starts[i];
        size_t end =
            i + 1 < count ? params->starts[i + 1] : params->bytes.length;
        const unsigned char *at =
            (const unsigned char *)params->bytes.data + start;
        values[i] = (const char *)at;
        lengths[i] = (int)(end - start);
        if (params->is_array[i] && params->items[i] == EX_PG_NULLS) {
            values[i] = NULL;
        } else if (!params->is_array[i]) {
            /* A lone item carries its length in front; 0xff…: NULL. */
            values[i] = at[0] == 0xff ? NULL : (const char *)at + 4;
            lengths[i] -= 4;
        }
    }
    return PQsendQueryParams(
        pg, sql, count, params ? params->types : NULL, values, lengths, binary,
        1);
}

/* All of it out, taking in what comes meanwhile, or both sides would wait. */
static executr_status flush(exchange *x, executr_error *err)
{
    for (;;) {
        int left = PQflush(x->pg);
        if (left == 0)
            return EXECUTR_OK;
        if (left < 0)
            return fail_lost(x->store, x->pg, err);
        if (ex_pool_wait(x->pg, POLLIN | POLLOUT, x->deadline_us) != 1) {
            x->fate = EX_PG_EXPIRED;
            return fail_expired(x->store, err);
        }
        if (!PQconsumeInput(x->pg))
            return fail_lost(x->store, x->pg, err);
    }
}

static executr_status await(exchange *x, executr_error *err)
{
    while (PQisBusy(x->pg)) {
        if (ex_pool_wait(x->pg, POLLIN, x->deadline_us) != 1) {
            x->fate = EX_PG_EXPIRED;
            return fail_expired(x->store, err);
        }
        /* Even when this fails, libpq has a result that says why. */
        if (!PQconsumeInput(x->pg) && PQisBusy(x->pg))
            return fail_lost(x->store, x->pg, err);
    }
    return EXECUTR_OK;
}

/*
 * An error as the first result was raised before the commit. Rows come before
 * the commit too, so an error behind them leaves the outcome open, and so does
 * a connection that breaks.
 */
static executr_status take_error(
    exchange *x, const PGresult *result, executr_error *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (state)
        memcpy(x->state, state, strnlen(state, sizeof x->state - 1));
    if (!state || PQstatus(x->pg) != CONNECTION_OK) {
        if (state && is_transient(state) && !x->rows)
            x->fate = EX_PG_RETRY;
        return fail(
            x->store, EXECUTR_E_UNAVAILABLE, "the database connection broke",
            message ? message : PQresultErrorMessage(result), err);
    }
    if (!x->rows)
        x->fate = is_transient(state) ? EX_PG_RETRY : EX_PG_FAILED;
    return fail(
        x->store, status_of(state), "the database refused a statement",
        message ? message : state, err);
}

static executr_status take_results(exchange *x, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    for (;;) {
        executr_status waited = await(x, err);
        if (waited)
            return waited;
        PGresult *result = PQgetResult(x->pg);
        if (!result)
            break;
        ExecStatusType kind = PQresultStatus(result);
        if (kind == PGRES_TUPLES_OK || kind == PGRES_COMMAND_OK) {
            PQclear(x->rows);
            x->rows = result;
            continue;
        }
        /* Later errors only repeat that the connection is gone. */
        if (!st)
            st = take_error(x, result, err);
        PQclear(result);
    }
    if (!st && !x->rows)
        st = fail_lost(x->store, x->pg, err);
    return st;
}

static executr_status run_exchange(
    exchange *x, const char *sql, const ex_params *params, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    x->deadline_us = ex_monotonic_us() + x->store->base.query_timeout_ms * 1000;
    x->fate = EX_PG_FAILED;
    if (params)
        st = ex_buf_status(&params->bytes, "a database statement", err);
    if (st)
        return st;
    /* Nothing was sent yet if this fails. */
    x->fate = EX_PG_RETRY;
    int sent = x->script ? PQsendQuery(x->pg, sql)
                         : send_statement(x->pg, sql, params);
    if (!sent)
        return fail_lost(x->store, x->pg, err);
    x->fate = x->autocommit ? EX_PG_UNKNOWN : EX_PG_RETRY;
    st = flush(x, err);
    if (!st)
        st = take_results(x, err);
    if (st) {
        PQclear(x->rows);
        x->rows = NULL;
    } else {
        x->fate = EX_PG_FAILED; /* whatever fails now is not the statement */
    }
    return st;
}

static executr_status run_in_session(
    ex_pg_session *session, exchange *x, const char *sql,
    const ex_params *params, executr_error *err)
{
    x->store = session->store;
    x->pg = session->conn->pg;
    x->autocommit = !session->in_transaction;
    executr_status st = run_exchange(x, sql, params, err);
    session->fate = x->fate;
    memcpy(session->state, x->state, sizeof session->state);
    /* A standby now: the next connection goes where the primary is. */
    if (strcmp(x->state, "25006") == 0)
        session->conn->unfit = 1;
    return st;
}

executr_status ex_pg_query(
    ex_pg_session *session, const char *sql, const ex_params *params,
    PGresult **out, executr_error *err)
{
    exchange x = {.script = 0};

    executr_status st = run_in_session(session, &x, sql, params, err);
    if (out)
        *out = x.rows;
    else
        PQclear(x.rows);
    return st;
}

executr_status ex_pg_script(
    ex_pg_session *session, const char *sql, executr_error *err)
{
    exchange x = {.script = 1};

    executr_status st = run_in_session(session, &x, sql, NULL, err);
    PQclear(x.rows);
    return st;
}

executr_status ex_pg_direct(
    ex_pg_store *store, PGconn *pg, const char *sql, const ex_params *params,
    PGresult **out, executr_error *err)
{
    exchange x = {.store = store, .pg = pg, .autocommit = 1};

    atomic_fetch_add(&store->direct, 1);
    executr_status st = run_exchange(&x, sql, params, err);
    atomic_fetch_sub(&store->direct, 1);
    if (out)
        *out = x.rows;
    else
        PQclear(x.rows);
    return st;
}

executr_status ex_pg_begin(ex_pg_session *session, executr_error *err)
{
    session->in_transaction = 1;
    return ex_pg_query(session, "BEGIN", NULL, NULL, err);
}

executr_status ex_pg_commit(ex_pg_session *session, executr_error *err)
{
    session->in_transaction = 0;
    return ex_pg_query(session, "COMMIT", NULL, NULL, err);
}

/* ---- Operations. */

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
    ex_pg_session session = {store, NULL, 0, 0, EX_PG_FAILED, ""};
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
