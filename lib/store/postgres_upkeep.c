/* SPDX-License-Identifier: MIT */
/* Upkeep and clean-up: what one server at a time does for all. */
#include <string.h>

#include "base/fail.h"
#include "store/postgres.h"

#define CLEANUP_LIMIT 1000

executr_status ex_pg_upkeep(
    executr_store *base, const ex_rules *rules, int32_t reap, ex_upkeep *out,
    executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    PGresult *rows = NULL;
    ex_params p;

    memset(out, 0, sizeof *out);
    ex_pg_tend(store);
    ex_params_init(&p);
    ex_params_one(&p, EX_PG_BOOL);
    ex_item_bool(&p, reap);
    ex_params_one(&p, EX_PG_INT8);
    ex_item_i64(&p, rules->heartbeat_timeout_ms);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, rules->max_lost_attempts);
    executr_status st = ex_pg_once(
        store, EX_PG_REPEATABLE, "SELECT * FROM executr_upkeep($1, $2, $3)", &p,
        &rows, err);
    if (!st) {
        out->recovered = ex_pg_i32(rows, 0, 0);
        out->failed = ex_pg_i32(rows, 0, 1);
        out->due = ex_pg_i32(rows, 0, 2);
        out->claimable = !PQgetisnull(rows, 0, 3);
        out->more = ex_pg_bool(rows, 0, 4);
    }
    if (out->claimable)
        ex_pg_floor_lower(store, ex_pg_i64(rows, 0, 3));
    if (out->due || out->recovered) {
        ex_pg_floor_lower(store, 0);
        ex_pg_tell(store);
    }
    PQclear(rows);
    ex_params_clear(&p);
    if (!st)
        st = ex_pg_once(
            store, EX_PG_REPEATABLE, "SELECT executr_live_sweep()", NULL, NULL,
            err);
    return st;
}

/* One page of jobs; *end is 1 behind the last. */
static executr_status clean_page(
    ex_pg_store *store, int64_t retention_ms, int64_t *deleted, int32_t *end,
    executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, &store->cleanup_after);
    ex_params_one(&p, EX_PG_INT8);
    ex_item_i64(&p, retention_ms);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, CLEANUP_LIMIT - (int32_t)*deleted);
    executr_status st = ex_pg_once(
        store, EX_PG_REPEATABLE, "SELECT * FROM executr_cleanup($1, $2, $3)",
        &p, &rows, err);
    if (!st) {
        *deleted += ex_pg_i32(rows, 0, 0);
        *end = PQgetisnull(rows, 0, 1);
        store->cleanup_after = ex_pg_uuid(rows, 0, 1);
    }
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

/*
 * Pages of jobs from where the last call stopped, so that old jobs which have
 * to stay are not walked over again and again.
 */
executr_status ex_pg_cleanup(
    executr_store *base, int64_t retention_ms, int64_t *deleted,
    executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    static const ex_uuid start = {{0}};
    executr_status st = EXECUTR_OK;
    int32_t end = retention_ms < 0;

    *deleted = 0;
    pthread_mutex_lock(&store->cleanup_lock);
    if (ex_uuid_compare(&store->cleanup_after, &start) == 0)
        st = ex_pg_once(
            store, EX_PG_REPEATABLE, "SELECT executr_sweep()", NULL, NULL, err);
    while (!st && !end && *deleted < CLEANUP_LIMIT)
        st = clean_page(store, retention_ms, deleted, &end, err);
    pthread_mutex_unlock(&store->cleanup_lock);
    return st;
}
