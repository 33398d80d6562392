/* SPDX-License-Identifier: MIT */
/* Binaries in SQLite, in parts; an upload is seen by nobody until it ends. */
#include "store/sqlite.h"

#include <string.h>

#include "base/fail.h"

#define DROP_STEP 32 /* parts of up to 1 MiB deleted a transaction */
#define SWEEP_LIMIT 8
#define DAY_US INT64_C(86400000000)

static executr_status no_upload(const ex_uuid *upload, executr_error *err)
{
    char text[EX_UUID_TEXT];

    ex_uuid_format(upload, text);
    return ex_fail(
        err, EXECUTR_E_NOT_FOUND,
        "there is no upload %s: it ended, or lay untouched for a day", text);
}

executr_status ex_sqlite_binary_begin(
    executr_store *base, const ex_uuid *upload, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO binary_uploads (upload_id, touched_at) VALUES (?, ?)"
        " ON CONFLICT DO NOTHING";
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_stmt s;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    st = ex_stmt_use(&s, &store->writer, sql, err);
    if (!st) {
        ex_stmt_uuid(&s, upload);
        ex_stmt_i64(&s, store->writer.now_us);
        st = ex_stmt_run(&s, err);
    }
    return ex_sqlite_end_write(store, st, err);
}

static executr_status touch(
    ex_sqlite *db, const ex_uuid *upload, executr_error *err)
{
    static const char sql[] =
        "UPDATE binary_uploads SET touched_at = ? WHERE upload_id = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, db->now_us);
    ex_stmt_uuid(&s, upload);
    st = ex_stmt_run(&s, err);
    if (!st && ex_sqlite_changes(db) == 0)
        st = no_upload(upload, err);
    return st;
}

/* A part that comes again after an unknown outcome replaces itself. */
executr_status ex_sqlite_binary_part(
    executr_store *base, const ex_uuid *upload, int32_t part, const void *data,
    size_t length, executr_error *err)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO binary_parts (upload_id, part, data)"
        " VALUES (?, ?, ?)";
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_stmt s;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    st = touch(&store->writer, upload, err);
    if (!st)
        st = ex_stmt_use(&s, &store->writer, sql, err);
    if (!st) {
        ex_stmt_uuid(&s, upload);
        ex_stmt_i64(&s, part);
        ex_stmt_blob(&s, data, length);
        st = ex_stmt_run(&s, err);
    }
    return ex_sqlite_end_write(store, st, err);
}

static executr_status publish(
    ex_sqlite *db, const ex_uuid *upload, const char *sha256, int64_t bytes,
    executr_error *err)
{
    static const char sql[] =
        "INSERT INTO binaries (sha256, bytes, upload_id, created_at)"
        " VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, sha256);
    ex_stmt_i64(&s, bytes);
    ex_stmt_uuid(&s, upload);
    ex_stmt_i64(&s, db->now_us);
    return ex_stmt_run(&s, err);
}

static executr_status end_upload(
    ex_sqlite *db, const ex_uuid *upload, executr_error *err)
{
    static const char sql[] = "DELETE FROM binary_uploads WHERE upload_id = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, upload);
    return ex_stmt_run(&s, err);
}

executr_status ex_sqlite_binary_end(
    executr_store *base, const ex_uuid *upload, const char *sha256,
    int64_t bytes, int32_t *created, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_sqlite *db = &store->writer;

    *created = 0;
    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    st = touch(db, upload, err);
    if (!st)
        st = publish(db, upload, sha256, bytes, err);
    int32_t first = !st && ex_sqlite_changes(db) == 1;
    if (first)
        st = end_upload(db, upload, err);
    st = ex_sqlite_end_write(store, st, err);
    if (st)
        return st;
    *created = first;
    return first ? EXECUTR_OK : ex_sqlite_binary_drop(base, upload, err);
}

/* Parts that a binary consists of are no upload's any more. */
static executr_status drop_parts(
    ex_sqlite *db, const ex_uuid *upload, int64_t *dropped, executr_error *err)
{
    static const char sql[] =
        "DELETE FROM binary_parts WHERE rowid IN"
        " (SELECT p.rowid FROM binary_parts p JOIN binary_uploads u"
        " ON u.upload_id = p.upload_id WHERE p.upload_id = ? LIMIT ?)";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, upload);
    ex_stmt_i64(&s, DROP_STEP);
    st = ex_stmt_run(&s, err);
    *dropped = st ? 0 : ex_sqlite_changes(db);
    return st;
}

/* A few parts a transaction, and the upload itself with the last. */
executr_status ex_sqlite_binary_drop(
    executr_store *base, const ex_uuid *upload, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    executr_status st = EXECUTR_OK;
    int64_t dropped = DROP_STEP;

    while (!st && dropped == DROP_STEP) {
        st = ex_sqlite_begin_write(store, err);
        if (st)
            return st;
        st = drop_parts(&store->writer, upload, &dropped, err);
        if (!st && dropped < DROP_STEP)
            st = end_upload(&store->writer, upload, err);
        st = ex_sqlite_end_write(store, st, err);
    }
    return st;
}

executr_status ex_sqlite_sweep_uploads(
    ex_sqlite_store *store, executr_error *err)
{
    static const char sql[] =
        "SELECT upload_id FROM binary_uploads WHERE touched_at < ? LIMIT ?";
    ex_ids ids = {NULL, 0, 0};
    ex_sqlite *db;
    ex_stmt s;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = ex_stmt_use(&s, db, sql, err);
    if (!st) {
        ex_stmt_i64(&s, db->now_us - DAY_US);
        ex_stmt_i64(&s, SWEEP_LIMIT);
        st = ex_sqlite_gather(&s, &ids, err);
    }
    ex_sqlite_end_read(store, db);
    for (size_t i = 0; i < ids.count && !st; i++)
        st = ex_sqlite_binary_drop(&store->base, &ids.items[i], err);
    ex_free(ids.items);
    return st;
}

static executr_status read_size(
    ex_sqlite *db, const char *sha256, int64_t *bytes, executr_error *err)
{
    static const char sql[] = "SELECT bytes FROM binaries WHERE sha256 = ?";
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, sha256);
    st = ex_stmt_row(&s, &row, err);
    if (st)
        return st;
    if (!row)
        return ex_fail(
            err, EXECUTR_E_NOT_FOUND, "there is no binary %s", sha256);
    *bytes = ex_column_i64(&s, 0);
    ex_stmt_end(&s);
    return EXECUTR_OK;
}

executr_status ex_sqlite_binary_size(
    executr_store *base, const char *sha256, int64_t *bytes, executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_sqlite *db;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = read_size(db, sha256, bytes, err);
    ex_sqlite_end_read(store, db);
    return st;
}

static executr_status read_part(
    ex_sqlite *db, const char *sha256, int32_t part, ex_buf *out,
    executr_error *err)
{
    static const char sql[] =
        "SELECT p.data FROM binaries b JOIN binary_parts p"
        " ON p.upload_id = b.upload_id WHERE b.sha256 = ? AND p.part = ?";
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_string(&s, sha256);
    ex_stmt_i64(&s, part);
    st = ex_stmt_row(&s, &row, err);
    if (st || !row)
        return st;
    ex_buf_add(
        out, sqlite3_column_blob(s.stmt, 0),
        (size_t)sqlite3_column_bytes(s.stmt, 0));
    ex_stmt_end(&s);
    return ex_buf_status(out, "the part of a binary", err);
}

executr_status ex_sqlite_binary_read(
    executr_store *base, const char *sha256, int32_t part, ex_buf *out,
    executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    int64_t bytes;
    ex_sqlite *db;

    ex_buf_reset(out);
    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = read_size(db, sha256, &bytes, err);
    if (!st)
        st = read_part(db, sha256, part, out, err);
    ex_sqlite_end_read(store, db);
    return st;
}
