/* SPDX-License-Identifier: MIT */
/* SQLite under the store suite: a file in a new directory for each test. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "store/suite.h"

static char directory[200];
static char path[256];
static char url[300];
static sqlite3 *db;

const char *backend_missing(void)
{
    return NULL;
}

int backend_is_shared(void)
{
    return 0;
}

void backend_create(void)
{
    const char *base = getenv("TMPDIR");

    snprintf(
        directory, sizeof directory, "%s/executr-store.XXXXXX",
        base && *base ? base : "/tmp");
    cr_assert(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/data/test.db", directory);
    snprintf(url, sizeof url, "sqlite://%s", path);
}

const char *backend_url(void)
{
    return url;
}

void backend_drop(void)
{
    sqlite3_close_v2(db);
    db = NULL;
    ex_ignore(ex_fs_remove_tree(AT_FDCWD, directory, NULL));
}

static void connect_file(void)
{
    if (db)
        return;
    cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), 0);
    sqlite3_busy_timeout(db, 10000);
}

int64_t backend_number(const char *query)
{
    sqlite3_stmt *stmt = NULL;

    connect_file();
    int rc = sqlite3_prepare_v2(db, query, -1, &stmt, NULL);
    cr_assert_eq(rc, SQLITE_OK, "%s: %s", query, sqlite3_errmsg(db));
    rc = sqlite3_step(stmt);
    cr_assert_eq(rc, SQLITE_ROW, "%s: %s", query, sqlite3_errmsg(db));
    int64_t value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return value;
}

void backend_exec(const char *query)
{
    connect_file();
    int rc = sqlite3_exec(db, query, NULL, NULL, NULL);
    cr_assert_eq(rc, SQLITE_OK, "%s: %s", query, sqlite3_errmsg(db));
}

/* What a program began ends with it. */
void backend_settle(void)
{
}

const char *backend_earlier(const char *column, int64_t ms)
{
    static char text[200];

    snprintf(text, sizeof text, "%s - %lld", column, (long long)ms * 1000);
    return text;
}
