/* SPDX-License-Identifier: MIT */
/* Binaries in PostgreSQL, in parts. */
#include "base/fail.h"
#include "store/postgres.h"

static executr_status fail_no_upload(const ex_uuid *upload, executr_error *err)
{
    char text[EX_UUID_TEXT];

    ex_uuid_format(upload, text);
    return ex_fail(
        err, EXECUTR_E_NOT_FOUND,
        "there is no upload %s: it ended, or lay untouched for a day", text);
}

static executr_status fail_no_binary(const char *sha256, executr_error *err)
{
    return ex_fail(err, EXECUTR_E_NOT_FOUND, "there is no binary %s", sha256);
}

/* A statement about one upload; each may be repeated. */
static executr_status on_upload(
    executr_store *base, const char *sql, const ex_uuid *upload,
    executr_error *err)
{
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, upload);
    executr_status st =
        ex_pg_once((ex_pg_store *)base, EX_PG_REPEATABLE, sql, &p, NULL, err);
    ex_params_clear(&p);
    return st;
}

executr_status ex_pg_binary_begin(
    executr_store *base, const ex_uuid *upload, executr_error *err)
{
    return on_upload(
        base,
        "INSERT INTO binary_uploads (upload_id) VALUES ($1)"
        " ON CONFLICT DO NOTHING",
        upload, err);
}

executr_status ex_pg_binary_drop(
    executr_store *base, const ex_uuid *upload, executr_error *err)
{
    return on_upload(base, "SELECT executr_binary_drop($1)", upload, err);
}

executr_status ex_pg_binary_part(
    executr_store *base, const ex_uuid *upload, int32_t part, const void *data,
    size_t length, executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, upload);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, part);
    ex_params_one(&p, EX_PG_BYTEA);
    ex_item_bytes(&p, data ? data : "", length);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT executr_binary_part($1, $2, $3)", &p, &rows, err);
    if (!st && !ex_pg_bool(rows, 0, 0))
        st = fail_no_upload(upload, err);
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

executr_status ex_pg_binary_end(
    executr_store *base, const ex_uuid *upload, const char *sha256,
    int64_t bytes, int32_t *created, executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;

    *created = 0;
    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, upload);
    ex_params_one(&p, EX_PG_TEXT);
    ex_item_text(&p, sha256);
    ex_params_one(&p, EX_PG_INT8);
    ex_item_i64(&p, bytes);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT executr_binary_end($1, $2, $3)", &p, &rows, err);
    int32_t result = st ? 0 : ex_pg_i32(rows, 0, 0);
    if (!st && result == 2)
        st = fail_no_upload(upload, err);
    *created = !st && result == 0;
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

/* A statement about a hash that gives a row if the binary is there. */
static executr_status on_binary(
    executr_store *base, const char *sql, const char *sha256, int32_t part,
    PGresult **rows, executr_error *err)
{
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_TEXT);
    ex_item_text(&p, sha256);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, part);
    executr_status st =
        ex_pg_once((ex_pg_store *)base, EX_PG_REPEATABLE, sql, &p, rows, err);
    if (!st && PQntuples(*rows) == 0)
        st = fail_no_binary(sha256, err);
    ex_params_clear(&p);
    return st;
}

executr_status ex_pg_binary_size(
    executr_store *base, const char *sha256, int64_t *bytes, executr_error *err)
{
    PGresult *rows = NULL;

    executr_status st = on_binary(
        base, "SELECT bytes FROM binaries WHERE sha256 = $1 AND $2 = 0", sha256,
        0, &rows, err);
    if (!st)
        *bytes = ex_pg_i64(rows, 0, 0);
    PQclear(rows);
    return st;
}

executr_status ex_pg_binary_read(
    executr_store *base, const char *sha256, int32_t part, ex_buf *out,
    executr_error *err)
{
    PGresult *rows = NULL;

    ex_buf_reset(out);
    executr_status st = on_binary(
        base,
        "SELECT p.data FROM binaries b LEFT JOIN binary_parts p"
        " ON p.upload_id = b.upload_id AND p.part = $2 WHERE b.sha256 = $1",
        sha256, part, &rows, err);
    if (!st) {
        ex_buf_add(
            out, PQgetvalue(rows, 0, 0), (size_t)PQgetlength(rows, 0, 0));
        st = ex_buf_status(out, "the part of a binary", err);
    }
    PQclear(rows);
    return st;
}
