/* SPDX-License-Identifier: MIT */
/* Recording how attempts ended. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/url.h"
#include "store/postgres.h"

static const ex_pg_kept kept = {
    EX_PG_KEEP_FINISH, "executr_finish",
    "SELECT * FROM executr_finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
    " $12, $13, $14, $15, $16)"};
static const char sql_fenced[] = "SELECT * FROM executr_fenced($1, $2, $3, $4)";

/* Kinds of reports, and what became of one. */
enum {
    COMPLETED = 1,
    FAILED = 2,
    GIVEN_BACK = 3
};
enum {
    RECORDED = 0,
    KNOWN = 1,
    LOST = 2,
    UNKNOWN = 3
};

/* Ends in the order of ids, so that statements lock jobs in one order; ends of
 * the same job go into statements one behind the other. */
typedef struct ending {
    ex_finish **sorted;
    size_t count;
    const ex_rules *rules;
    int32_t put_back; /* a job is pending again */
    int32_t careful;  /* an attempt has a record already */
} ending;

static int compare(const void *a, const void *b)
{
    const ex_finish *x = *(ex_finish *const *)a;
    const ex_finish *y = *(ex_finish *const *)b;
    int order = ex_uuid_compare(&x->id, &y->id);

    /* They are elements of one array: the first reported goes first. */
    return order ? order : (x > y) - (x < y);
}

static int32_t kind_of(const executr_report *report)
{
    if (report->status == EXECUTR_ATTEMPT_COMPLETED)
        return COMPLETED;
    return report->uncounted ? GIVEN_BACK : FAILED;
}

static size_t size_of(const ex_finish *end)
{
    return end->report->stdout_length + end->report->stderr_length + 1024;
}

/* It may quote a path or what a program wrote; the database takes UTF-8. */
static void add_message(ex_params *p, const char *text)
{
    size_t left = text ? strlen(text) : 0;
    ex_buf clean;

    if (ex_utf8_valid(text ? text : "", left)) {
        ex_item_text_or_null(p, text);
        return;
    }
    ex_buf_init(&clean, EX_BUF_UNLIMITED);
    while (left) {
        size_t used;
        if (ex_utf8_step(text, left, &used))
            ex_buf_add(&clean, text, used);
        else
            ex_buf_puts(&clean, "\xef\xbf\xbd");
        text += used;
        left -= used;
    }
    if (clean.failed)
        p->bytes.failed = clean.failed;
    ex_item_text(p, ex_buf_text(&clean));
    ex_buf_clear(&clean);
}

/* Whose end it is: all that executr_fenced needs. */
static void add_fences(ex_params *p, ex_finish *const *ends, size_t count)
{
    ex_params_array(p, EX_PG_UUIDS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_uuid(p, &ends[i]->id);
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        ex_item_text(p, ends[i]->executor_id);
    ex_params_array(p, EX_PG_INT4S, count);
    for (size_t i = 0; i < count; i++)
        ex_item_i32(p, ends[i]->report->attempt);
    ex_params_array(p, EX_PG_INT4S, count);
    for (size_t i = 0; i < count; i++)
        ex_item_i32(p, kind_of(ends[i]->report));
}

static void add_results(ex_params *p, ex_finish *const *ends, size_t count)
{
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++) {
        int32_t outcome = ends[i]->report->outcome;
        ex_item_text(
            p, executr_outcome_word(outcome ? outcome : EXECUTR_OUTCOME_EXIT));
    }
    ex_params_array(p, EX_PG_INT4S, count);
    for (size_t i = 0; i < count; i++) {
        if (ends[i]->report->has_exit_code)
            ex_item_i32(p, ends[i]->report->exit_code);
        else
            ex_item_null(p);
    }
    ex_params_array(p, EX_PG_INT4S, count);
    for (size_t i = 0; i < count; i++) {
        if (ends[i]->report->signal)
            ex_item_i32(p, ends[i]->report->signal);
        else
            ex_item_null(p);
    }
    ex_params_array(p, EX_PG_TEXTS, count);
    for (size_t i = 0; i < count; i++)
        add_message(p, ends[i]->report->error_message);
}

static void add_outputs(ex_params *p, ex_finish *const *ends, size_t count)
{
    ex_params_array(p, EX_PG_BYTEAS, count);
    for (size_t i = 0; i < count; i++) {
        const executr_report *r = ends[i]->report;
        ex_item_bytes(
            p, r->stdout_length ? r->stdout_data : NULL, r->stdout_length);
    }
    ex_params_array(p, EX_PG_BYTEAS, count);
    for (size_t i = 0; i < count; i++) {
        const executr_report *r = ends[i]->report;
        ex_item_bytes(
            p, r->stderr_length ? r->stderr_data : NULL, r->stderr_length);
    }
}

static int was_measured(const executr_report *r)
{
    return r->user_seconds > 0 || r->system_seconds > 0 ||
           r->wall_seconds > 0 || r->max_rss_bytes > 0;
}

static void add_seconds(
    ex_params *p, ex_finish *const *ends, size_t count, size_t member)
{
    ex_params_array(p, EX_PG_FLOAT8S, count);
    for (size_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, (const char *)ends[i]->report + member, sizeof value);
        if (was_measured(ends[i]->report))
            ex_item_f64(p, value);
        else
            ex_item_null(p);
    }
}

static void add_usage(ex_params *p, ex_finish *const *ends, size_t count)
{
    add_seconds(p, ends, count, offsetof(executr_report, user_seconds));
    add_seconds(p, ends, count, offsetof(executr_report, system_seconds));
    add_seconds(p, ends, count, offsetof(executr_report, wall_seconds));
    ex_params_array(p, EX_PG_INT8S, count);
    for (size_t i = 0; i < count; i++) {
        if (was_measured(ends[i]->report))
            ex_item_i64(p, ends[i]->report->max_rss_bytes);
        else
            ex_item_null(p);
    }
}

static void add_params(
    ex_params *p, ex_finish *const *ends, size_t count, const ending *e)
{
    add_fences(p, ends, count);
    add_results(p, ends, count);
    add_outputs(p, ends, count);
    add_usage(p, ends, count);
    ex_params_array(p, EX_PG_INT8S, EX_RETRY_STEPS);
    for (size_t i = 0; i < EX_RETRY_STEPS; i++)
        ex_item_i64(p, e->rules->retry_ms[i]);
    ex_params_one(p, EX_PG_BOOL);
    ex_item_bool(p, e->careful);
}

static void read_row(const PGresult *rows, int row, ex_finish *end)
{
    int32_t result = ex_pg_i32(rows, row, 1);
    int64_t started = ex_pg_time(rows, row, 5);
    int64_t ended = ex_pg_time(rows, row, 6);
    const char *type = ex_pg_text(rows, row, 4);

    end->repeated = result == KNOWN;
    end->result = result == UNKNOWN ? EXECUTR_E_NOT_FOUND
                  : result == LOST  ? EXECUTR_E_LOST
                                    : EXECUTR_OK;
    end->job_status = executr_job_status_parse(ex_pg_text(rows, row, 2));
    end->priority = executr_priority_parse(ex_pg_text(rows, row, 3));
    memset(end->type, 0, sizeof end->type);
    memcpy(end->type, type, strnlen(type, sizeof end->type - 1));
    end->ran_us = started && ended ? ended - started : -1;
}

static executr_status read_answer(
    const PGresult *rows, ex_finish *const *ends, size_t count, ending *e,
    executr_error *err)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        int32_t index = ex_pg_i32(rows, row, 0);
        if (index < 1 || (size_t)index > count)
            return ex_fail(
                err, EXECUTR_E_INTERNAL, "executr_finish answered nobody");
        ex_finish *end = ends[index - 1];
        read_row(rows, row, end);
        if (end->job_status == EXECUTR_JOB_PENDING &&
            ex_pg_i32(rows, row, 1) == RECORDED)
            e->put_back = 1;
    }
    return EXECUTR_OK;
}

/* The answer to those that were not recorded. */
static executr_status ask_fenced(
    ex_pg_session *session, ending *e, size_t first, size_t count,
    executr_error *err)
{
    PGresult *rows = NULL;
    ex_finish **others = NULL;
    size_t left = 0;
    ex_params p;

    ex_params_init(&p);
    executr_status st =
        ex_alloc_array((void **)&others, count, sizeof *others, err);
    for (size_t i = first; i < first + count && !st; i++) {
        if (!e->sorted[i]->job_status)
            others[left++] = e->sorted[i];
    }
    if (!st) {
        add_fences(&p, others, left);
        st = ex_pg_query(session, sql_fenced, &p, &rows, err);
    }
    if (!st && PQntuples(rows) != (int)left)
        st = ex_fail(
            err, EXECUTR_E_INTERNAL, "executr_fenced gave %d answers to %zu",
            PQntuples(rows), left);
    if (!st)
        st = read_answer(rows, others, left, e, err);
    PQclear(rows);
    ex_params_clear(&p);
    ex_free(others);
    return st;
}

static executr_status finish_chunk(
    ex_pg_session *session, ending *e, size_t first, size_t count,
    executr_error *err)
{
    PGresult *rows = NULL;
    ex_finish **ends = e->sorted + first;
    ex_params p;

    for (size_t i = 0; i < count; i++)
        ends[i]->job_status = 0; /* not answered yet */
    ex_params_init(&p);
    add_params(&p, ends, count, e);
    executr_status st = ex_pg_run_kept(session, &kept, &p, &rows, err);
    if (!st)
        st = read_answer(rows, ends, count, e, err);
    if (!st && (size_t)PQntuples(rows) < count)
        st = ask_fenced(session, e, first, count, err);
    else if (st && !e->careful && strcmp(session->state, "23505") == 0) {
        e->careful = 1;
        session->fate = EX_PG_RETRY;
    }
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

/* How many ends from `first` go into one statement: no job twice, and not too
 * much output. */
static size_t chunk_at(const ending *e, size_t first)
{
    size_t bytes = 0;
    size_t count = 0;

    while (first + count < e->count && count < EX_PG_SUBMIT_MAX) {
        const ex_finish *end = e->sorted[first + count];
        bytes += size_of(end);
        if (count &&
            (bytes > EX_PG_CHUNK_BYTES ||
             ex_uuid_compare(&end->id, &e->sorted[first + count - 1]->id) == 0))
            break;
        count++;
    }
    return count;
}

static executr_status finish_all(
    ex_pg_session *session, void *ctx, executr_error *err)
{
    ending *e = ctx;
    size_t chunk = chunk_at(e, 0);

    e->put_back = 0;
    if (chunk == e->count)
        return finish_chunk(session, e, 0, chunk, err);
    executr_status st = ex_pg_begin(session, err);
    for (size_t first = 0; first < e->count && !st; first += chunk) {
        chunk = chunk_at(e, first);
        st = finish_chunk(session, e, first, chunk, err);
    }
    return st ? st : ex_pg_commit(session, err);
}

executr_status ex_pg_finish(
    executr_store *base, ex_finish *ends, size_t count, const ex_rules *rules,
    executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    ending e = {NULL, count, rules, 0, 0};

    if (!count)
        return EXECUTR_OK;
    executr_status st =
        ex_alloc_array((void **)&e.sorted, count, sizeof *e.sorted, err);
    if (st)
        return st;
    for (size_t i = 0; i < count; i++)
        e.sorted[i] = &ends[i];
    qsort(e.sorted, count, sizeof *e.sorted, compare);
    /* An end that was recorded by the first try is known to the second. */
    st = ex_pg_run(store, EX_PG_REPEATABLE, finish_all, &e, err);
    if (!st && e.put_back) {
        ex_pg_floor_lower(store, 0);
        ex_pg_tell(store);
    }
    ex_free(e.sorted);
    return st;
}
