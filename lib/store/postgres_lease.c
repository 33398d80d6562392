/* SPDX-License-Identifier: MIT */
/* Heartbeats, goodbyes, cancelling and retrying. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "store/postgres.h"

/* ---- Heartbeats. */

/* Beats in the order of executors; beats of the same executor go into
 * statements one behind the other. */
typedef struct beating {
    ex_heartbeat **sorted;
    size_t count;
    int32_t released;
} beating;

static int compare_beats(const void *a, const void *b)
{
    const ex_heartbeat *x = *(ex_heartbeat *const *)a;
    const ex_heartbeat *y = *(ex_heartbeat *const *)b;
    int order = strcmp(x->info->executor_id, y->info->executor_id);

    return order ? order : (x > y) - (x < y);
}

static void add_figures(
    ex_params *p, ex_heartbeat *const *beats, size_t count, size_t member)
{
    ex_params_array(p, EX_PG_INT8S, count);
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        memcpy(&value, (const char *)beats[i]->info + member, sizeof value);
        ex_item_i64(p, value);
    }
}

static void add_executors(
    ex_params *p, ex_heartbeat *const *beats, size_t count)
{
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, beats[i]->info->executor_id);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text_or_null(p, beats[i]->info->executor_ip);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text_or_null(p, beats[i]->info->version);
    ex_params_array(p, EX_PG_INT4S, count);
    for (size_t i = 0; i < count; i++)
        ex_item_i32(p, beats[i]->info->max_jobs);
    add_figures(p, beats, count, offsetof(executr_heartbeat, cache_hits));
    add_figures(p, beats, count, offsetof(executr_heartbeat, cache_misses));
    add_figures(p, beats, count, offsetof(executr_heartbeat, cache_bytes));
    add_figures(p, beats, count, offsetof(executr_heartbeat, cache_max_bytes));
    ex_params_array(p, EX_PG_INT8S, count);
    for (size_t i = 0; i < count; i++)
        ex_item_i64(p, ex_heartbeat_unnamed_ms(beats[i]));
}

static size_t count_leases(ex_heartbeat *const *beats, size_t count)
{
    size_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += beats[i]->lease_count;
    return total;
}

static void add_leases(ex_params *p, ex_heartbeat *const *beats, size_t count)
{
    size_t total = count_leases(beats, count);

    ex_params_array(p, EX_PG_INT4S, total);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < beats[i]->lease_count; k++)
            ex_item_i32(p, (int32_t)i + 1);
    }
    ex_params_array(p, EX_PG_UUIDS, total);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < beats[i]->lease_count; k++)
            ex_item_uuid(p, &beats[i]->leases[k].id);
    }
    ex_params_array(p, EX_PG_INT4S, total);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < beats[i]->lease_count; k++)
            ex_item_i32(p, beats[i]->leases[k].attempt);
    }
}

/* The index-th lease of all beats, counted from 1. */
static ex_lease *lease_at(
    ex_heartbeat *const *beats, size_t count, int32_t index)
{
    size_t rest = (size_t)index - 1;

    for (size_t i = 0; i < count; i++) {
        if (rest < beats[i]->lease_count)
            return &beats[i]->leases[rest];
        rest -= beats[i]->lease_count;
    }
    return NULL;
}

static executr_status beat_chunk(
    ex_pg_session *session, beating *b, size_t first, size_t count,
    executr_error *err)
{
    ex_heartbeat *const *beats = b->sorted + first;
    PGresult *rows = NULL;
    ex_params p;

    ex_params_init(&p);
    add_executors(&p, beats, count);
    add_leases(&p, beats, count);
    executr_status st = ex_pg_query(
        session,
        "SELECT * FROM executr_heartbeat_live($1, $2, $3, $4, $5, $6, $7, $8, "
        "$9,"
        " $10, $11, $12)",
        &p, &rows, err);
    for (int row = 0; !st && row < PQntuples(rows); row++) {
        int32_t index = ex_pg_i32(rows, row, 0);
        int32_t value = ex_pg_i32(rows, row, 1);
        ex_lease *lease = index > 0 ? lease_at(beats, count, index) : NULL;
        if (lease)
            lease->verdict = value;
        else
            b->released += value;
    }
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

static size_t different_from(const beating *b, size_t first)
{
    size_t count = 1;

    while (first + count < b->count &&
           strcmp(
               b->sorted[first + count]->info->executor_id,
               b->sorted[first + count - 1]->info->executor_id) != 0)
        count++;
    return count;
}

static executr_status beat_all(
    ex_pg_session *session, void *ctx, executr_error *err)
{
    beating *b = ctx;
    size_t chunk = different_from(b, 0);

    b->released = 0;
    if (chunk == b->count)
        return beat_chunk(session, b, 0, chunk, err);
    executr_status st = ex_pg_begin(session, err);
    for (size_t first = 0; first < b->count && !st; first += chunk) {
        chunk = different_from(b, first);
        st = beat_chunk(session, b, first, chunk, err);
    }
    return st ? st : ex_pg_commit(session, err);
}

/* Jobs went back to the queue, at their old places. */
static void jobs_went_back(ex_pg_store *store)
{
    ex_pg_floor_lower(store, 0);
    ex_pg_tell(store);
}

executr_status ex_pg_heartbeat(
    executr_store *base, ex_heartbeat *beats, size_t count, executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    beating b = {NULL, count, 0};

    if (!count)
        return EXECUTR_OK;
    executr_status st =
        ex_alloc_array((void **)&b.sorted, count, sizeof *b.sorted, err);
    if (st)
        return st;
    for (size_t i = 0; i < count; i++)
        b.sorted[i] = &beats[i];
    qsort(b.sorted, count, sizeof *b.sorted, compare_beats);
    st = ex_pg_run(store, EX_PG_REPEATABLE, beat_all, &b, err);
    if (!st && b.released)
        jobs_went_back(store);
    ex_free(b.sorted);
    return st;
}

executr_status ex_pg_goodbye(
    executr_store *base, const char *executor_id, executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_TEXT);
    ex_item_text(&p, executor_id);
    executr_status st = ex_pg_once(
        store, EX_PG_REPEATABLE, "SELECT executr_goodbye($1)", &p, NULL, err);
    if (!st)
        jobs_went_back(store);
    ex_params_clear(&p);
    return st;
}

/* ---- Cancel and retry. */

static int compare_cancels(const void *a, const void *b)
{
    const ex_cancel *x = *(ex_cancel *const *)a;
    const ex_cancel *y = *(ex_cancel *const *)b;
    int order = ex_uuid_compare(&x->id, &y->id);

    return order ? order : (x > y) - (x < y);
}

static void read_cancel(const PGresult *rows, int row, ex_cancel *job)
{
    static const executr_status results[] = {
        EXECUTR_OK, EXECUTR_E_CANCELLED, EXECUTR_E_CONFLICT,
        EXECUTR_E_NOT_FOUND};
    int32_t result = ex_pg_i32(rows, row, 1);
    const char *type = ex_pg_text(rows, row, 3);

    job->result =
        result >= 0 && result < 4 ? results[result] : EXECUTR_E_INTERNAL;
    job->priority = executr_priority_parse(ex_pg_text(rows, row, 2));
    memset(job->type, 0, sizeof job->type);
    memcpy(job->type, type, strnlen(type, sizeof job->type - 1));
}

static executr_status cancel_sorted(
    ex_pg_store *store, ex_cancel *const *sorted, size_t count,
    executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;

    ex_params_init(&p);
    ex_params_array(&p, EX_PG_UUIDS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_uuid(&p, &sorted[i]->id);
    /* A second try would take what the first cancelled as over already. */
    executr_status st = ex_pg_once(
        store, EX_PG_ONCE, "SELECT * FROM executr_cancel($1)", &p, &rows, err);
    for (int row = 0; !st && row < PQntuples(rows); row++) {
        int32_t index = ex_pg_i32(rows, row, 0);
        if (index >= 1 && (size_t)index <= count)
            read_cancel(rows, row, sorted[index - 1]);
    }
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

executr_status ex_pg_cancel(
    executr_store *base, ex_cancel *jobs, size_t count, executr_error *err)
{
    ex_cancel **sorted;

    if (!count)
        return EXECUTR_OK;
    executr_status st =
        ex_alloc_array((void **)&sorted, count, sizeof *sorted, err);
    if (st)
        return st;
    for (size_t i = 0; i < count; i++) {
        jobs[i].result = EXECUTR_E_INTERNAL;
        sorted[i] = &jobs[i];
    }
    qsort(sorted, count, sizeof *sorted, compare_cancels);
    st = cancel_sorted((ex_pg_store *)base, sorted, count, err);
    ex_free(sorted);
    return st;
}

executr_status ex_pg_retry(
    executr_store *base, const ex_uuid *id, executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    PGresult *rows = NULL;
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, id);
    executr_status st = ex_pg_once(
        store, EX_PG_ONCE, "SELECT executr_retry($1)", &p, &rows, err);
    int32_t result = st ? 0 : ex_pg_i32(rows, 0, 0);
    PQclear(rows);
    ex_params_clear(&p);
    if (st)
        return st;
    if (result == 3)
        return ex_pg_no_job(id, err);
    if (result == 2)
        return ex_fail(
            err, EXECUTR_E_CONFLICT,
            "only failed and cancelled jobs can be retried");
    jobs_went_back(store);
    return EXECUTR_OK;
}
