/* SPDX-License-Identifier: MIT */
/* An SQLite file: its name, its lock, its connections and its schema. */
#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/fs.h"
#include "base/time.h"
#include "base/url.h"

/* ---- The file. */

/* sqlite:///abs/path, sqlite:/abs/path and sqlite:rel/path, %XX resolved. */
static executr_status path_of_url(
    const char *url, ex_buf *out, executr_error *err)
{
    const char *path = url + strlen("sqlite:");

    if (strncmp(path, "//", 2) == 0) {
        path += 2;
        if (*path != '/')
            return ex_fail(
                err, EXECUTR_E_ARGUMENT,
                "%s: an SQLite URL names no host, write sqlite:///abs/path "
                "or sqlite:rel/path",
                url);
    }
    if (!*path || strchr(path, '?') || strcmp(path, ":memory:") == 0)
        return ex_fail(
            err, EXECUTR_E_ARGUMENT,
            "%s: an SQLite URL is sqlite:///abs/path or sqlite:rel/path of a "
            "file, without parameters",
            url);
    if (ex_url_decode(out, path, strlen(path), 0) ||
        path[strlen(path) - 1] == '/')
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "%s: this is no name of a file", url);
    return ex_buf_status(out, "the file's name", err);
}

executr_status ex_store_sqlite_check(const char *url, executr_error *err)
{
    ex_buf path;

    ex_buf_init(&path, PATH_MAX);
    executr_status st = path_of_url(url, &path, err);
    ex_buf_clear(&path);
    return st;
}

/* The real name of the directory that `path` is in, made if missing. */
static executr_status resolve_directory(
    const char *path, ex_buf *out, executr_error *err)
{
    const char *slash = strrchr(path, '/');
    char real[PATH_MAX];
    ex_buf dir;

    ex_buf_init(&dir, PATH_MAX);
    ex_buf_puts(&dir, slash ? "" : ".");
    ex_buf_add(&dir, path, slash ? (size_t)(slash - path) + 1 : 0);
    executr_status st = ex_buf_status(&dir, "the file's name", err);
    if (!st)
        st = ex_fs_mkdirs(ex_buf_text(&dir), 0700, err);
    if (!st && !realpath(ex_buf_text(&dir), real))
        st = ex_fail_errno(err, errno, "%s", ex_buf_text(&dir));
    if (!st)
        ex_buf_puts(out, real);
    ex_buf_clear(&dir);
    return st;
}

/* Name the file in one way only, whatever links lead to it: its lock must be
 * the same for all. */
static executr_status resolve(const char *path, ex_buf *out, executr_error *err)
{
    const char *slash = strrchr(path, '/');
    executr_status st = EXECUTR_OK;
    char real[PATH_MAX];

    if (realpath(path, real)) {
        ex_buf_puts(out, real);
    } else {
        st = resolve_directory(path, out, err);
        ex_buf_putc(out, '/');
        ex_buf_puts(out, slash ? slash + 1 : path);
    }
    return st ? st : ex_buf_status(out, "the file's name", err);
}

/* One program at a time; the lock goes with the process, however it ends. */
static executr_status take_lock(ex_sqlite_store *store, executr_error *err)
{
    executr_status st;
    ex_buf name;

    ex_buf_init(&name, PATH_MAX);
    ex_buf_printf(&name, "%s.lock", store->path);
    st = ex_buf_status(&name, "the file's name", err);
    if (st)
        goto done;
    store->lock_fd = open(
        ex_buf_text(&name), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock_fd < 0) {
        st = ex_fail_errno(err, errno, "open %s", ex_buf_text(&name));
        goto done;
    }
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB)) {
        st = errno == EWOULDBLOCK
                 ? ex_fail(
                       err, EXECUTR_E_CONFLICT,
                       "%s is in use by another program: stop that one, or "
                       "name another file, or talk to its server",
                       store->path)
                 : ex_fail_errno(err, errno, "lock %s", ex_buf_text(&name));
    }
done:
    ex_buf_clear(&name);
    return st;
}

/*
 * For its mode; SQLite would make it readable for all. One that is there is
 * not even opened: closing it would drop the locks that any SQLite in this
 * process holds on it.
 */
static executr_status make_file(const char *path, executr_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno != EEXIST)
        return ex_fail_errno(err, errno, "create %s", path);
    if (fd >= 0)
        close(fd);
    return EXECUTR_OK;
}

executr_status ex_sqlite_take_file(
    ex_sqlite_store *store, const char *url, executr_error *err)
{
    ex_buf given;
    ex_buf path;

    ex_buf_init(&given, PATH_MAX);
    ex_buf_init(&path, PATH_MAX);
    executr_status st = path_of_url(url, &given, err);
    if (!st)
        st = resolve(ex_buf_text(&given), &path, err);
    if (!st)
        st = ex_strdup(&store->path, ex_buf_text(&path), err);
    if (!st)
        st = take_lock(store, err);
    if (!st)
        st = make_file(store->path, err);
    ex_buf_clear(&path);
    ex_buf_clear(&given);
    return st;
}

/* ---- Connections. */

static int over_deadline(void *ctx)
{
    const ex_sqlite *db = ctx;

    return ex_monotonic_us() > db->deadline_us;
}

/*
 * FULL syncs the log at each commit, so that what was answered survives a
 * power cut. The log is folded into the file every 16 MB.
 */
static const char writer_settings[] =
    "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;"
    "PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -32768;"
    "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
    "PRAGMA foreign_keys = OFF; PRAGMA cell_size_check = ON;";
static const char reader_settings[] =
    "PRAGMA query_only = ON; PRAGMA cache_size = -8192;"
    "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;";

static executr_status start_log(ex_sqlite *db, executr_error *err)
{
    static const char sql[] = "PRAGMA journal_mode = WAL";
    ex_stmt s;
    int32_t row = 0;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (!st)
        st = ex_stmt_row(&s, &row, err);
    if (!st && strcmp(row ? ex_column_text(&s, 0) : "", "wal") != 0)
        st = ex_fail(
            err, EXECUTR_E_UNSUPPORTED,
            "%s: its file system has no shared memory for SQLite's "
            "write-ahead log, put the file on a local disk",
            db->path);
    ex_stmt_end(&s);
    return st;
}

executr_status ex_sqlite_connect(
    ex_sqlite_store *store, ex_sqlite *db, int32_t reader, executr_error *err)
{
    db->path = store->path;
    db->deadline_us = INT64_MAX;
    int rc = sqlite3_open_v2(
        store->path, &db->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
        NULL);
    if (rc != SQLITE_OK)
        return ex_sqlite_fail(db, rc, err);
    int64_t patience = store->base.query_timeout_ms;
    sqlite3_busy_timeout(db->db, patience > INT_MAX ? INT_MAX : (int)patience);
    sqlite3_progress_handler(db->db, 20000, over_deadline, db);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    executr_status st = reader ? EXECUTR_OK : start_log(db, err);
    if (!st)
        st =
            ex_sqlite_exec(db, reader ? reader_settings : writer_settings, err);
    return st;
}

void ex_sqlite_disconnect(ex_sqlite *db)
{
    for (size_t i = 0; i < EX_SQLITE_STATEMENTS; i++)
        sqlite3_finalize(db->cache[i].stmt);
    sqlite3_close_v2(db->db);
    memset(db, 0, sizeof *db);
}

/* ---- The schema. */

static executr_status schema_version(
    void *ctx, int32_t *version, executr_error *err)
{
    static const char make[] =
        "CREATE TABLE IF NOT EXISTS schema_migrations ("
        "version INTEGER PRIMARY KEY, name TEXT NOT NULL, "
        "applied_at INTEGER NOT NULL) STRICT";
    static const char ask[] =
        "SELECT coalesce(max(version), 0) FROM schema_migrations";
    ex_sqlite *db = ctx;
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_sqlite_exec(db, make, err);
    if (!st)
        st = ex_stmt_use(&s, db, ask, err);
    if (!st)
        st = ex_stmt_row(&s, &row, err);
    if (st)
        return st;
    *version = (int32_t)ex_column_i64(&s, 0);
    ex_stmt_end(&s);
    return EXECUTR_OK;
}

static executr_status apply(
    void *ctx, const ex_migration *migration, executr_error *err)
{
    static const char note[] =
        "INSERT INTO schema_migrations (version, name, applied_at)"
        " VALUES (?, ?, ?)";
    ex_sqlite *db = ctx;
    ex_stmt s;

    executr_status st = ex_sqlite_exec(db, "BEGIN IMMEDIATE", err);
    if (st)
        return st;
    st = ex_sqlite_exec(db, migration->sql, err);
    if (!st)
        st = ex_stmt_use(&s, db, note, err);
    if (!st) {
        ex_stmt_i64(&s, migration->version);
        ex_stmt_string(&s, migration->name);
        ex_stmt_i64(&s, ex_now_us());
        st = ex_stmt_run(&s, err);
    }
    if (!st)
        st = ex_sqlite_exec(db, "COMMIT", err);
    if (st && !sqlite3_get_autocommit(db->db))
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

executr_status ex_sqlite_migrate(ex_sqlite *db, executr_error *err)
{
    const ex_migrator migrator = {db, schema_version, apply};

    return ex_migrate(
        &migrator, ex_migrations_sqlite, ex_migrations_sqlite_count, err);
}
