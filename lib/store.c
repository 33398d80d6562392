/* SPDX-License-Identifier: MIT */
/* Stores by URL; hides which store it is behind the table of operations. */
#include "store.h"

#include <stddef.h>
#include <string.h>

#include "base/fail.h"
#include "base/options.h"
#include "base/time.h"

#define QUERY_TIMEOUT_MS 10000

static int32_t has_scheme(const char *url, const char *scheme)
{
    return strncmp(url, scheme, strlen(scheme)) == 0;
}

/* What there is of each kind. The URL may hold a password, so no message quotes
 * more than its scheme. */
typedef struct kind {
    const char *scheme;
    executr_status (*open)(
        const char *url, const executr_store_options *options,
        executr_store **out, executr_error *err);
    executr_status (*check)(const char *url, executr_error *err);
} kind;

static const kind kinds[] = {
    {"postgres://", ex_store_postgres_open, ex_store_postgres_check},
    {"postgresql://", ex_store_postgres_open, ex_store_postgres_check},
    {"sqlite:", ex_store_sqlite_open, ex_store_sqlite_check}};

/* NULL, and why, of a URL of no kind. */
static const kind *kind_of(const char *url, executr_error *err)
{
    if (!url) {
        ex_ignore(
            ex_fail(err, EXECUTR_E_ARGUMENT, "no URL of a store was given"));
        return NULL;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (has_scheme(url, kinds[i].scheme))
            return &kinds[i];
    }
    ex_ignore(ex_fail(
        err, EXECUTR_E_ARGUMENT,
        "a store's URL begins with postgres://, postgresql:// or sqlite:, as "
        "in postgres://user@host/db, sqlite:///abs/path, sqlite:rel/path"));
    return NULL;
}

executr_status executr_store_check(const char *url, executr_error *err)
{
    const kind *found = kind_of(url, err);

    return found ? found->check(url, err) : EXECUTR_E_ARGUMENT;
}

executr_status executr_store_open(
    const char *url, const executr_store_options *options, executr_store **out,
    executr_error *err)
{
    executr_store_options o;

    *out = NULL;
    executr_status st = ex_options_read(
        &o, sizeof o, sizeof(executr_store_options), options, err);
    if (st)
        return st;
    const kind *found = kind_of(url, err);
    if (!found)
        return EXECUTR_E_ARGUMENT;
    if (o.query_timeout_ms < 0)
        return ex_fail_field(
            err, "query_timeout_ms", "the query timeout is negative");
    if (o.query_timeout_ms == 0)
        o.query_timeout_ms = QUERY_TIMEOUT_MS;
    return found->open(url, &o, out, err);
}

void executr_store_free(executr_store *store)
{
    if (store)
        store->ops->close(store);
}

int64_t ex_heartbeat_unnamed_ms(const ex_heartbeat *beat)
{
    if (beat->unnamed_after_ms < 0 || beat->named_us == 0)
        return beat->unnamed_after_ms;
    return beat->unnamed_after_ms + (ex_monotonic_us() - beat->named_us) / 1000;
}

void ex_view_init(ex_view *view)
{
    memset(view, 0, sizeof *view);
    for (int i = 0; i < 2; i++)
        ex_buf_init(&view->pieces[i].data, EX_BUF_UNLIMITED);
}

void ex_view_reset(ex_view *view)
{
    view->status = 0;
    view->attempt = 0;
    for (int i = 0; i < 2; i++)
        ex_buf_reset(&view->pieces[i].data);
}

void ex_view_clear(ex_view *view)
{
    for (int i = 0; i < 2; i++)
        ex_buf_clear(&view->pieces[i].data);
}

executr_status ex_view_status(const ex_view *view, executr_error *err)
{
    executr_status st = ex_buf_status(&view->pieces[0].data, "output", err);

    return st ? st : ex_buf_status(&view->pieces[1].data, "output", err);
}

const char *executr_store_kind(const executr_store *store)
{
    return store->ops->kind;
}

executr_status executr_store_ping(executr_store *store, executr_error *err)
{
    return store->ops->ping(store, err);
}

int32_t executr_store_connections_active(executr_store *store)
{
    return store->ops->connections_active(store);
}
