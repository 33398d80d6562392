/* SPDX-License-Identifier: MIT */
/* PostgreSQL under the store suite: a database for each test. The store reaches
 * it through the pooler of EXECUTR_TEST_PG_POOLER, if there is one, and the
 * test's own SQL directly. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/suite.h"

static char name[80];
static char url[1000];        /* the test's database */
static char pooled_url[1000]; /* the same for the store */
static PGconn *connection;

const char *backend_missing(void)
{
    const char *given = getenv("EXECUTR_TEST_PG_URL");

    return given && *given ? NULL
                           : "set EXECUTR_TEST_PG_URL, or run this by "
                             "scripts/with-postgres";
}

int backend_is_shared(void)
{
    return 1;
}

static PGconn *connect_to(const char *where)
{
    PGconn *opened = PQconnectdb(where);

    cr_assert_eq(
        PQstatus(opened), CONNECTION_OK, "%s: %s", where,
        PQerrorMessage(opened));
    return opened;
}

/* CREATE and DROP DATABASE, from the database that was given. */
static void manage(const char *verb, const char *tail)
{
    char text[200];
    PGconn *manager = connect_to(getenv("EXECUTR_TEST_PG_URL"));

    snprintf(text, sizeof text, "%s DATABASE %s%s", verb, name, tail);
    PGresult *result = PQexec(manager, text);
    cr_assert_eq(
        PQresultStatus(result), PGRES_COMMAND_OK, "%s: %s", text,
        PQerrorMessage(manager));
    PQclear(result);
    PQfinish(manager);
}

/* The given URL with the new database in place of its own. */
static void name_database(const char *given, char out[1000])
{
    const char *host = strstr(given, "://");

    cr_assert(host, "%s is no URL", given);
    size_t end = strcspn(host + 3, "/?") + (size_t)(host + 3 - given);
    const char *query = strchr(given, '?');
    snprintf(out, 1000, "%.*s/%s%s", (int)end, given, name, query ? query : "");
}

void backend_create(void)
{
    const char *given = getenv("EXECUTR_TEST_PG_URL");
    const char *pooler = getenv("EXECUTR_TEST_PG_POOLER");

    snprintf(name, sizeof name, "executr_store_%ld", (long)getpid());
    name_database(given, url);
    name_database(pooler && *pooler ? pooler : given, pooled_url);
    manage("CREATE", "");
}

const char *backend_url(void)
{
    return pooled_url;
}

void backend_drop(void)
{
    PQfinish(connection);
    connection = NULL;
    manage("DROP", " WITH (FORCE)");
}

static PGresult *run(const char *query, ExecStatusType wanted)
{
    if (!connection)
        connection = connect_to(url);
    PGresult *result = PQexec(connection, query);
    cr_assert_eq(
        PQresultStatus(result), wanted, "%s: %s", query,
        PQerrorMessage(connection));
    return result;
}

int64_t backend_number(const char *query)
{
    PGresult *result = run(query, PGRES_TUPLES_OK);
    cr_assert(PQntuples(result) >= 1, "%s: no row", query);
    int64_t value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return value;
}

void backend_exec(const char *query)
{
    PQclear(run(query, PGRES_COMMAND_OK));
}

/* A pooler keeps its connections, but none of them busy. */
void backend_settle(void)
{
    const char *pooler = getenv("EXECUTR_TEST_PG_POOLER");
    const char *busy = pooler && *pooler ? " AND state <> 'idle'" : "";
    char query[300];

    snprintf(
        query, sizeof query,
        "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND datname = current_database()"
        " AND backend_type = 'client backend'%s",
        busy);
    while (backend_number(query) > 0)
        usleep(5000);
}

const char *backend_earlier(const char *column, int64_t ms)
{
    static char text[200];

    snprintf(
        text, sizeof text, "%s - interval '%lld milliseconds'", column,
        (long long)ms);
    return text;
}
