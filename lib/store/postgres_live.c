/* SPDX-License-Identifier: MIT */
/* Live output in PostgreSQL, in tables that survive no crash. */
#include "base/fail.h"
#include "store/postgres.h"

executr_status ex_pg_live_follow(
    executr_store *base, const ex_uuid *id, int64_t for_ms, executr_error *err)
{
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, id);
    ex_params_one(&p, EX_PG_INT8);
    ex_item_i64(&p, for_ms);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT executr_live_follow($1, $2)", &p, NULL, err);
    ex_params_clear(&p);
    return st;
}

static void add_piece(ex_params *p, const ex_piece *piece)
{
    ex_params_one(p, EX_PG_UUID);
    ex_item_uuid(p, &piece->id);
    ex_params_one(p, EX_PG_TEXT);
    ex_item_text(p, piece->executor_id);
    ex_params_one(p, EX_PG_INT4);
    ex_item_i32(p, piece->attempt);
    ex_params_one(p, EX_PG_INT4);
    ex_item_i32(p, piece->stream);
    ex_params_one(p, EX_PG_INT8);
    ex_item_i64(p, piece->offset);
    ex_params_one(p, EX_PG_BYTEA);
    ex_item_bytes(p, piece->data ? piece->data : "", piece->length);
    ex_params_one(p, EX_PG_INT8);
    ex_item_i64(p, piece->window);
}

executr_status ex_pg_live_put(
    executr_store *base, const ex_piece *piece, int32_t *followed,
    executr_error *err)
{
    char text[EX_UUID_TEXT];
    PGresult *rows = NULL;
    ex_params p;

    *followed = 0;
    ex_params_init(&p);
    add_piece(&p, piece);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT executr_live_put($1, $2, $3, $4, $5, $6, $7)", &p, &rows, err);
    int32_t result = st ? 0 : ex_pg_i32(rows, 0, 0);
    PQclear(rows);
    ex_params_clear(&p);
    if (st)
        return st;
    if (result == 3)
        return ex_pg_no_job(&piece->id, err);
    ex_uuid_format(&piece->id, text);
    if (result == 2)
        return ex_fail(
            err, EXECUTR_E_LOST,
            "this attempt of job %s is not this executor's (any more)", text);
    *followed = result == 0;
    return EXECUTR_OK;
}

static void read_piece(const PGresult *rows, int row, ex_view *out)
{
    int32_t stream = ex_pg_i32(rows, row, 0);
    size_t length = (size_t)PQgetlength(rows, row, 2);

    if (stream == 0) {
        out->status = executr_job_status_parse(ex_pg_text(rows, row, 3));
        out->attempt = ex_pg_i32(rows, row, 4);
    } else if (stream <= 2) {
        out->pieces[stream - 1].offset =
            ex_pg_i64(rows, row, 1) - (int64_t)length;
        ex_buf_add(
            &out->pieces[stream - 1].data, PQgetvalue(rows, row, 2), length);
    }
}

executr_status ex_pg_live_read(
    executr_store *base, const ex_uuid *id, int32_t attempt,
    const int64_t from[2], ex_view *out, executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;

    ex_view_reset(out);
    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, id);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, attempt);
    ex_params_array(&p, EX_PG_INT8S, 2);
    ex_item_i64(&p, from[0]);
    ex_item_i64(&p, from[1]);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT * FROM executr_live_read($1, $2, $3)", &p, &rows, err);
    for (int row = 0; !st && row < PQntuples(rows); row++)
        read_piece(rows, row, out);
    PQclear(rows);
    ex_params_clear(&p);
    if (!st && !out->status)
        st = ex_pg_no_job(id, err);
    return st ? st : ex_view_status(out, err);
}

executr_status ex_pg_attempt_output(
    executr_store *base, const ex_uuid *id, int32_t attempt, ex_buf out[2],
    executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, id);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, attempt);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT stdout, stderr FROM job_attempts WHERE job_id = $1"
        " AND attempt = $2",
        &p, &rows, err);
    for (int i = 0; !st && PQntuples(rows) > 0 && i < 2; i++) {
        ex_buf_add(
            &out[i], PQgetvalue(rows, 0, i), (size_t)PQgetlength(rows, 0, i));
        st = ex_buf_status(&out[i], "output", err);
    }
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}
