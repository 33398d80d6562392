/* SPDX-License-Identifier: MIT */
/*
 * Runs statements under a deadline. Hides libpq's asynchronous calls, what its
 * errors mean, and which statements a session keeps.
 */
#include "store/postgres.h"

#include <poll.h>
#include <string.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"

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

enum {
    PLAIN = 0,
    SCRIPT = 1,  /* many statements */
    PREPARE = 2, /* give it a name, and don't run it */
    NAMED = 3    /* one that has a name */
};

typedef struct exchange {
    int32_t how;
    const char *sql;
    const char *name;
    ex_pg_store *store;
    PGconn *pg;
    int64_t deadline_us;
    int32_t fate;    /* EX_PG_…, when it failed */
    int32_t commits; /* if it succeeds, without another statement */
    PGresult *rows;  /* the result so far */
    char state[6];   /* SQLSTATE of its error */
} exchange;

static int send_params(const exchange *x, const ex_params *params)
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
    if (x->how == NAMED)
        return PQsendQueryPrepared(
            x->pg, x->name, count, values, lengths, binary, 1);
    return PQsendQueryParams(
        x->pg, x->sql, count, params ? params->types : NULL, values, lengths,
        binary, 1);
}

static int send_statement(const exchange *x, const ex_params *params)
{
    if (x->how == SCRIPT)
        return PQsendQuery(x->pg, x->sql);
    if (x->how == PREPARE)
        return PQsendPrepare(
            x->pg, x->name, x->sql, params->count, params->types);
    return send_params(x, params);
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
    exchange *x, const ex_params *params, executr_error *err)
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
    if (!send_statement(x, params))
        return fail_lost(x->store, x->pg, err);
    x->fate = x->commits ? EX_PG_UNKNOWN : EX_PG_RETRY;
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

static void give_rows(exchange *x, PGresult **out)
{
    if (out)
        *out = x->rows;
    else
        PQclear(x->rows);
}

static executr_status run_in_session(
    ex_pg_session *session, exchange *x, const ex_params *params,
    executr_error *err)
{
    x->store = session->store;
    x->pg = session->conn->pg;
    x->commits = x->how != PREPARE && !session->in_transaction;
    executr_status st = run_exchange(x, params, err);
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
    exchange x = {.how = PLAIN, .sql = sql};

    executr_status st = run_in_session(session, &x, params, err);
    give_rows(&x, out);
    return st;
}

executr_status ex_pg_script(
    ex_pg_session *session, const char *sql, executr_error *err)
{
    exchange x = {.how = SCRIPT, .sql = sql};

    executr_status st = run_in_session(session, &x, NULL, err);
    give_rows(&x, NULL);
    return st;
}

executr_status ex_pg_direct(
    ex_pg_store *store, PGconn *pg, const char *sql, const ex_params *params,
    PGresult **out, executr_error *err)
{
    exchange x = {
        .how = PLAIN, .sql = sql, .store = store, .pg = pg, .commits = 1};

    atomic_fetch_add(&store->direct, 1);
    executr_status st = run_exchange(&x, params, err);
    atomic_fetch_sub(&store->direct, 1);
    give_rows(&x, out);
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

/* ---- Statements that a session keeps. */

static void keep_no_more(ex_pg_session *session, const char *why)
{
    if (!atomic_exchange(&session->store->nameless, 1))
        ex_log(
            &session->store->base.log, EXECUTR_LOG_INFO,
            "sessions of the database keep no statements for us", "reason", why,
            NULL);
}

/* The name is gone, or somebody else's, perhaps with other parameters: sessions
 * are dealt out after all. */
static int is_foreign(const char *state)
{
    return strcmp(state, "26000") == 0 || strcmp(state, "42P05") == 0 ||
           strcmp(state, "08P01") == 0;
}

/*
 * Run what needs or makes a name. If that is no good any more, or the function
 * behind it was replaced by one with other columns (0A000), nothing was done,
 * and the next try does without names.
 */
static executr_status run_named(
    ex_pg_session *session, exchange *x, const ex_params *params,
    executr_error *err)
{
    executr_status st = run_in_session(session, x, params, err);

    if (!st || x->fate == EX_PG_UNKNOWN)
        return st;
    int foreign = is_foreign(session->state);
    if (foreign)
        keep_no_more(session, err ? err->message : session->state);
    if (foreign || strcmp(session->state, "0A000") == 0) {
        session->fate = EX_PG_RETRY;
        session->unnamed = 1;
        session->conn->unfit = 1;
    }
    return st;
}

/* Whether the session is ours as long as the connection; see find_pooler. */
static executr_status find_owner(ex_pg_session *session, executr_error *err)
{
    ex_conn *conn = session->conn;
    PGresult *rows = NULL;

    if (conn->ours)
        return EXECUTR_OK;
    executr_status st =
        ex_pg_query(session, "SELECT pg_backend_pid()", NULL, &rows, err);
    if (st && session->fate == EX_PG_UNKNOWN)
        session->fate = EX_PG_RETRY;
    if (!st)
        conn->ours = ex_pg_i32(rows, 0, 0) == PQbackendPID(conn->pg);
    if (!st && !conn->ours)
        keep_no_more(session, "behind a pooler");
    PQclear(rows);
    return st;
}

/*
 * See that the session has the statement, from the second time on that it runs
 * it: that takes another exchange, which has to pay.
 */
static executr_status keep(
    ex_pg_session *session, const ex_pg_kept *kept, const ex_params *params,
    executr_error *err)
{
    exchange x = {.how = PREPARE, .sql = kept->sql, .name = kept->name};
    ex_conn *conn = session->conn;
    uint32_t ran = conn->ran & kept->bit;

    conn->ran |= kept->bit;
    if (!ran || conn->kept & kept->bit || session->in_transaction)
        return EXECUTR_OK;
    executr_status st = find_owner(session, err);
    if (st || !conn->ours)
        return st;
    st = run_named(session, &x, params, err);
    give_rows(&x, NULL);
    if (!st)
        conn->kept |= kept->bit;
    else
        session->unnamed = 1; /* if it was that which broke the connection */
    return st;
}

executr_status ex_pg_run_kept(
    ex_pg_session *session, const ex_pg_kept *kept, const ex_params *params,
    PGresult **out, executr_error *err)
{
    exchange x = {.how = NAMED, .sql = kept->sql, .name = kept->name};
    int may = !session->unnamed && !atomic_load(&session->store->nameless);

    *out = NULL;
    executr_status st = may ? keep(session, kept, params, err) : EXECUTR_OK;
    if (st && session->fate != EX_PG_FAILED)
        return st;
    /* A database that won't keep it may run it. */
    if (st)
        keep_no_more(session, err ? err->message : session->state);
    if (!may || !(session->conn->kept & kept->bit))
        return ex_pg_query(session, kept->sql, params, out, err);
    st = run_named(session, &x, params, err);
    give_rows(&x, out);
    return st;
}
