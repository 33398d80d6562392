/* SPDX-License-Identifier: MIT */
/* The pool of connections to PostgreSQL: its limits, and a database that has
 * no room. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/pools.h"

TestSuite(
    pool_limits, .init = suite_open_database, .fini = suite_close_database);

/* ---- How many. */

Test(pool_limits, has_no_more_connections_than_allowed)
{
    ex_pool *pool = open_pool("pool_max_conns=2");
    ex_conn *a;
    ex_conn *b;
    ex_conn *c;

    must(ex_pool_get(pool, in_ms(10000), &a, &err));
    must(ex_pool_get(pool, in_ms(10000), &b, &err));
    cr_expect_eq(ex_pool_active(pool), 2);
    expect_status(
        EXECUTR_E_UNAVAILABLE, ex_pool_get(pool, in_ms(50), &c, &err));
    cr_expect_not_null(strstr(err.message, "pool_max_conns"));
    ex_pool_put(pool, a);
    must(ex_pool_get(pool, in_ms(50), &c, &err));
    cr_expect_eq(c, a);
    ex_pool_put(pool, b);
    ex_pool_put(pool, c);
    cr_expect_eq(ex_pool_active(pool), 0);
    ex_pool_free(pool);
}

static void *put_later(void *ctx)
{
    void **both = ctx;

    usleep(50000);
    ex_pool_put(both[0], both[1]);
    return NULL;
}

Test(pool_limits, hands_a_freed_connection_to_who_waits)
{
    ex_pool *pool = open_pool("pool_max_conns=1");
    ex_conn *a;
    ex_conn *b;
    pthread_t thread;

    must(ex_pool_get(pool, in_ms(10000), &a, &err));
    void *both[2] = {pool, a};
    cr_assert_eq(pthread_create(&thread, NULL, put_later, both), 0);
    must(ex_pool_get(pool, in_ms(10000), &b, &err));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    ex_pool_put(pool, b);
    ex_pool_free(pool);
}

Test(pool_limits, drops_connections_that_idle_or_are_old)
{
    const char *limits[] = {
        "pool_max_conn_idle_time=1ms", "pool_max_conn_lifetime=1ms"};

    for (int i = 0; i < 2; i++) {
        ex_pool *pool = open_pool(limits[i]);
        ex_conn *conn;
        must(ex_pool_get(pool, in_ms(10000), &conn, &err));
        int first = PQbackendPID(conn->pg);
        ex_pool_put(pool, conn);
        usleep(5000);
        must(ex_pool_get(pool, in_ms(10000), &conn, &err));
        cr_expect_neq(PQbackendPID(conn->pg), first);
        ex_pool_put(pool, conn);
        ex_pool_free(pool);
    }
}

static int64_t count_backends(void)
{
    return number("SELECT count(*)%s", executr_backends);
}

/* A backend's end is seen some time after its connection was closed. */
static void await_backends(int64_t wanted)
{
    for (int i = 0; i < 1000 && count_backends() != wanted; i++)
        usleep(5000);
    cr_expect_eq(count_backends(), wanted);
}

Test(pool_limits, a_store_opens_the_least_number)
{
    executr_store *other = NULL;

    must(executr_store_open(url_with("pool_min_conns=4"), NULL, &other, &err));
    cr_expect_eq(count_backends(), 4);
    cr_expect_eq(executr_store_connections_active(other), 0);
    executr_store_free(other);
}

/* Those that were closed are opened again by the next upkeep. */
Test(pool_limits, a_store_keeps_the_least_number)
{
    executr_store *other = NULL;
    ex_upkeep done;

    must(executr_store_open(url_with("pool_min_conns=4"), NULL, &other, &err));
    kill_backends();
    await_backends(0);
    must(other->ops->upkeep(other, &rules, 1, &done, &err));
    cr_expect_eq(count_backends(), 4);
    executr_store_free(other);
}

static void expect_tended(ex_pool *pool, int64_t backends)
{
    must(ex_pool_tend(pool, in_ms(10000), &err));
    cr_expect_eq(count_backends(), backends);
}

Test(pool_limits, closes_idle_ones_down_to_the_least_number)
{
    ex_pool *pool = open_pool("pool_min_conns=2&pool_max_conn_idle_time=1ms");
    ex_conn *conns[4];

    for (int i = 0; i < 4; i++)
        must(ex_pool_get(pool, in_ms(10000), &conns[i], &err));
    int64_t last = number("SELECT max(pid)%s", executr_backends);
    for (int i = 0; i < 4; i++)
        ex_pool_put(pool, conns[i]);
    usleep(5000);
    must(ex_pool_tend(pool, in_ms(10000), &err));
    await_backends(2);
    cr_expect_eq(
        number(
            "SELECT count(*)%s AND pid <= %lld", executr_backends,
            (long long)last),
        2, "others were opened in their place");
    ex_pool_free(pool);
}

Test(pool_limits, replaces_old_ones_of_the_least_number)
{
    ex_pool *pool = open_pool("pool_min_conns=2&pool_max_conn_lifetime=200ms");

    expect_tended(pool, 2);
    int64_t first = number("SELECT max(pid)%s", executr_backends);
    usleep(250000);
    must(ex_pool_tend(pool, in_ms(10000), &err));
    await_backends(2);
    cr_expect_eq(
        number(
            "SELECT count(*)%s AND pid <= %lld", executr_backends,
            (long long)first),
        0);
    ex_pool_free(pool);
}

/* One that never lies idle grows old as well. */
Test(pool_limits, hands_no_old_connection_to_who_waits)
{
    ex_pool *pool = open_pool("pool_max_conns=1&pool_max_conn_lifetime=20ms");
    ex_conn *conn;
    pthread_t thread;

    must(ex_pool_get(pool, in_ms(10000), &conn, &err));
    int first = PQbackendPID(conn->pg);
    void *both[2] = {pool, conn};
    cr_assert_eq(pthread_create(&thread, NULL, put_later, both), 0);
    must(ex_pool_get(pool, in_ms(10000), &conn, &err));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_neq(PQbackendPID(conn->pg), first);
    ex_pool_put(pool, conn);
    ex_pool_free(pool);
}

/* ---- Whether they live. */

Test(pool_limits, gives_no_connection_that_was_cut)
{
    ex_pool *pool = open_pool("pool_max_conns=3");
    ex_conn *conns[3];

    for (int i = 0; i < 3; i++)
        must(ex_pool_get(pool, in_ms(10000), &conns[i], &err));
    for (int i = 0; i < 3; i++)
        ex_pool_put(pool, conns[i]);
    kill_backends();
    await_backends(0);
    must(ex_pool_get(pool, in_ms(10000), &conns[0], &err));
    PGresult *result = PQexec(conns[0]->pg, "SELECT 1");
    cr_expect_eq(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    ex_pool_put(pool, conns[0]);
    ex_pool_free(pool);
}

Test(pool_limits, takes_no_connection_back_within_a_transaction)
{
    ex_pool *pool = open_pool("pool_max_conns=1");
    ex_conn *conn;

    must(ex_pool_get(pool, in_ms(10000), &conn, &err));
    int first = PQbackendPID(conn->pg);
    PQclear(PQexec(conn->pg, "BEGIN"));
    ex_pool_put(pool, conn);
    must(ex_pool_get(pool, in_ms(10000), &conn, &err));
    cr_expect_neq(PQbackendPID(conn->pg), first);
    ex_pool_put(pool, conn);
    ex_pool_free(pool);
}

static void *get_for_a_while(void *ctx)
{
    ex_conn *conn;

    cr_expect_eq(
        ex_pool_get(ctx, in_ms(600), &conn, NULL), EXECUTR_E_UNAVAILABLE);
    return NULL;
}

Test(pool_limits, counts_no_connection_before_it_stands)
{
    ex_pool *pool = NULL;
    pthread_t thread;
    char url[100];

    snprintf(url, sizeof url, "postgres://u@127.0.0.1:%d/d", open_black_hole());
    must(ex_pool_open(url, &pool, &err));
    cr_assert_eq(pthread_create(&thread, NULL, get_for_a_while, pool), 0);
    usleep(200000);
    cr_expect_eq(ex_pool_active(pool), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(ex_pool_active(pool), 0);
    ex_pool_free(pool);
}

/* ---- A database without room. */

static char role[60];

/* The test's database, for a user who may have that many connections. */
static const char *cramped_url(int room, const char *parameters)
{
    static char url[1000];
    ex_pool_settings real;

    snprintf(role, sizeof role, "executr_cramped_%ld", (long)getpid());
    sql("CREATE ROLE %s LOGIN CONNECTION LIMIT %d", role, room);
    sql("GRANT CREATE ON SCHEMA public TO %s", role);
    must(ex_pool_settings_read(backend_url(), &real, &err));
    snprintf(
        url, sizeof url, "postgres://%s@%s:%s/%s?%s", role,
        ex_pool_setting(&real, "host"), ex_pool_setting(&real, "port"),
        ex_pool_setting(&real, "dbname"), parameters);
    ex_pool_settings_clear(&real);
    return url;
}

static ex_pool *open_cramped(int room)
{
    ex_pool *pool = NULL;

    must(ex_pool_open(cramped_url(room, "pool_max_conns=5"), &pool, &err));
    return pool;
}

static void drop_role(void)
{
    await_backends(0);
    sql("DROP OWNED BY %s", role);
    sql("DROP ROLE %s", role);
}

static void close_cramped(ex_pool *pool)
{
    ex_pool_free(pool);
    drop_role();
}

Test(pool_limits, says_that_the_database_is_full)
{
    ex_pool *pool = open_cramped(0);
    ex_conn *conn;

    int64_t give_up_us = in_ms(5000);
    expect_status(
        EXECUTR_E_UNAVAILABLE, ex_pool_get(pool, in_ms(10000), &conn, &err));
    cr_expect_not_null(strstr(err.message, "too many"), "%s", err.message);
    cr_expect_lt(in_ms(0), give_up_us, "there was nothing to wait for");
    close_cramped(pool);
}

Test(pool_limits, shares_what_it_has_of_a_full_database)
{
    ex_pool *pool = open_cramped(1);
    ex_conn *conn;
    ex_conn *again;
    pthread_t thread;

    must(ex_pool_get(pool, in_ms(10000), &conn, &err));
    void *both[2] = {pool, conn};
    cr_assert_eq(pthread_create(&thread, NULL, put_later, both), 0);
    must(ex_pool_get(pool, in_ms(10000), &again, &err));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(again, conn);
    cr_expect_eq(ex_pool_active(pool), 1);
    expect_status(
        EXECUTR_E_UNAVAILABLE, ex_pool_get(pool, in_ms(300), &conn, &err));
    cr_expect_not_null(strstr(err.message, "too many"), "%s", err.message);
    ex_pool_put(pool, again);
    close_cramped(pool);
}

static void *make_room(void *ctx)
{
    usleep(200000);
    sql("ALTER ROLE %s CONNECTION LIMIT 2", (const char *)ctx);
    return NULL;
}

Test(pool_limits, uses_the_room_that_there_is_again)
{
    ex_pool *pool = open_cramped(1);
    ex_conn *first;
    ex_conn *second;
    pthread_t thread;

    must(ex_pool_get(pool, in_ms(10000), &first, &err));
    cr_assert_eq(pthread_create(&thread, NULL, make_room, role), 0);
    must(ex_pool_get(pool, in_ms(10000), &second, &err));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_neq(first, second);
    cr_expect_eq(ex_pool_active(pool), 2);
    ex_pool_put(pool, first);
    ex_pool_put(pool, second);
    close_cramped(pool);
}

/* The least number is a wish: what a full database gives has to do. */
Test(pool_limits, a_store_opens_with_fewer_than_the_least_number)
{
    executr_store *other = NULL;

    must(executr_store_open(
        cramped_url(2, "pool_min_conns=4"), NULL, &other, &err));
    cr_expect_eq(count_backends(), 2);
    must(executr_store_ping(other, &err));
    executr_store_free(other);
    drop_role();
}
