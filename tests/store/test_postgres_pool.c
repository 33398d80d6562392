/* SPDX-License-Identifier: MIT */
/* Connections to PostgreSQL: their limits, and servers that go or hang. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"
#include "store/pool.h"
#include "store/suite.h"

TestSuite(pool, .init = suite_open_database, .fini = suite_close_database);
TestSuite(postgres, .init = suite_open, .fini = suite_close);

static int64_t in_ms(int64_t ms)
{
    return ex_monotonic_us() + ms * 1000;
}

/* The test's database with more parameters. */
static const char *url_with(const char *parameters)
{
    static char url[1200];

    snprintf(
        url, sizeof url, "%s%c%s", backend_url(),
        strchr(backend_url(), '?') ? '&' : '?', parameters);
    return url;
}

static ex_pool *open_pool(const char *parameters)
{
    ex_pool *pool = NULL;

    must(ex_pool_open(url_with(parameters), &pool, &err));
    return pool;
}

/* Close what suite_open opened and open it anew. */
static void reopen(const char *url, int64_t query_timeout_ms)
{
    executr_store_options options = EXECUTR_STORE_OPTIONS_INIT;

    options.query_timeout_ms = query_timeout_ms;
    executr_store_free(store);
    store = NULL;
    must(executr_store_open(url, &options, &store, &err));
}

/* ---- URLs. */

Test(pool, reads_its_own_parameters_and_leaves_the_others)
{
    ex_pool_settings settings;

    must(ex_pool_settings_read(
        "postgres://u:p@h/d?pool_max_conns=7&sslmode=disable&pool_min_conns=3"
        "&pool_max_conn_lifetime=2h&target_session_attrs=read-write"
        "&pool_max_conn_idle_time=90s",
        &settings, &err));
    cr_expect_eq(settings.max_conns, 7);
    cr_expect_eq(settings.min_conns, 3);
    cr_expect_eq(settings.lifetime_us, INT64_C(7200000000));
    cr_expect_eq(settings.idle_us, 90000000);
    cr_expect_str_eq(ex_pool_setting(&settings, "sslmode"), "disable");
    cr_expect_str_eq(
        ex_pool_setting(&settings, "target_session_attrs"), "read-write");
    cr_expect_str_eq(ex_pool_setting(&settings, "dbname"), "d");
    ex_pool_settings_clear(&settings);
}

Test(pool, refuses_parameters_that_make_no_sense)
{
    const char *bad[] = {
        "pool_max_conns=0",
        "pool_max_conns=x",
        "pool_max_conns=",
        "pool_min_conns=-1",
        "pool_max_conn_lifetime=5",
        "pool_max_conn_idle_time=0s",
        "pool_size=3",
        "pool_max_conns=2&pool_min_conns=3",
        "sslmode_=require"};
    ex_pool *pool = NULL;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_status(
            EXECUTR_E_ARGUMENT, ex_pool_open(url_with(bad[i]), &pool, &err));
        cr_expect_null(pool);
        cr_expect_neq(err.field[0], '\0', "%s names no field", bad[i]);
    }
}

Test(pool, never_shows_a_password)
{
    const char *bad[] = {
        "postgres://u:hunter2@127.0.0.1:1/d",
        "postgres://u:hunter2%zz@127.0.0.1/d",
        "postgres://u:hunter2@127.0.0.1:1/d?a=b=c",
        "postgres://u:hunter2@[::1/d",
        "postgres://u@127.0.0.1:1/d?password=hunter2&pool_max_conns=no"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        executr_status st = executr_store_open(bad[i], NULL, &store, &err);
        cr_expect_neq(st, EXECUTR_OK);
        cr_expect_null(
            strstr(err.message, "hunter2"), "%s: %s", bad[i], err.message);
    }
}

/* ---- Limits. */

Test(pool, has_no_more_connections_than_allowed)
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

Test(pool, hands_a_freed_connection_to_who_waits)
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

Test(pool, drops_connections_that_idle_or_are_old)
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

Test(pool, opens_and_keeps_the_least_number)
{
    executr_store *other = NULL;

    must(executr_store_open(url_with("pool_min_conns=4"), NULL, &other, &err));
    cr_expect_geq(
        number("SELECT count(*) FROM pg_stat_activity WHERE application_name"
               " = 'executr' AND datname = current_database()"),
        4);
    cr_expect_eq(executr_store_connections_active(other), 0);
    executr_store_free(other);
}

/* ---- Servers that go. */

static const char others[] =
    " FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND application_name = 'executr'";

static void kill_backends(void)
{
    number("SELECT count(pg_terminate_backend(pid))%s", others);
}

Test(postgres, does_not_notice_idle_connections_that_were_cut)
{
    for (int i = 0; i < 5; i++) {
        kill_backends();
        put("t", EXECUTR_PRIORITY_BACKGROUND);
        kill_backends();
        cr_expect_not_null(take_one("e1"));
    }
    cr_expect_eq(stats().jobs[EXECUTR_JOB_RUNNING], 5);
}

static atomic_int stop_killing;
static atomic_int rounds; /* submits that came through */

/* However slow this machine is, no submit is cut off more than twice. */
static void *keep_killing(void *ctx)
{
    (void)ctx;
    while (!atomic_load(&stop_killing)) {
        int before = atomic_load(&rounds);
        kill_backends();
        do {
            usleep(7000);
        } while (before == atomic_load(&rounds) && !atomic_load(&stop_killing));
    }
    return NULL;
}

/* A submit that is cut off is done again, and its jobs exist once. */
Test(postgres, submits_while_connections_are_cut, .timeout = 60)
{
    pthread_t killer;

    cr_assert_eq(pthread_create(&killer, NULL, keep_killing, NULL), 0);
    for (int i = 0; i < 300; i++) {
        put_many(10, NULL);
        atomic_fetch_add(&rounds, 1);
    }
    atomic_store(&stop_killing, 1);
    cr_assert_eq(pthread_join(killer, NULL), 0);
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 3000);
}

/* Make every commit that inserts a job do something at its very end. */
static void at_commit(const char *action)
{
    sql("CREATE SEQUENCE commits");
    sql("CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS"
        " $f$ BEGIN %s; RETURN NULL; END $f$",
        action);
    sql("CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON jobs DEFERRABLE"
        " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()");
}

/* The answer comes before the commit; a commit that fails is no success. */
Test(postgres, believes_no_answer_whose_commit_failed)
{
    executr_job_spec spec = spec_of("t");
    ex_submit entry = entry_of(&spec);

    at_commit("RAISE EXCEPTION 'no'");
    cr_expect_neq(submit(&entry, 1), EXECUTR_OK);
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 0);
}

Test(postgres, submits_again_when_the_connection_breaks_at_the_commit)
{
    at_commit("IF nextval('commits') = 1 THEN"
              " PERFORM pg_terminate_backend(pg_backend_pid()); END IF");
    put("t", EXECUTR_PRIORITY_BACKGROUND);
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 1);
}

Test(postgres, tries_again_after_conflicts)
{
    const char *states[] = {"40001", "40P01"};

    for (int i = 0; i < 2; i++) {
        sql("CREATE SEQUENCE tries%d", i);
        sql("CREATE FUNCTION conflict%d() RETURNS trigger LANGUAGE plpgsql AS"
            " $f$ BEGIN IF nextval('tries%d') <= 3 THEN RAISE SQLSTATE '%s';"
            " END IF; RETURN NEW; END $f$",
            i, i, states[i]);
        sql("CREATE TRIGGER conflict%d BEFORE INSERT ON jobs FOR EACH ROW"
            " EXECUTE FUNCTION conflict%d()",
            i, i);
        put("t", EXECUTR_PRIORITY_BACKGROUND);
    }
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 2);
}

/* ---- Servers that hang. */

Test(postgres, gives_up_on_a_backend_that_hangs)
{
    reopen(url_with("pool_max_conns=3"), 400);
    must(executr_store_ping(store, &err));
    pid_t pid = (pid_t)number("SELECT max(pid)%s", others);
    if (kill(pid, SIGSTOP) != 0)
        cr_skip("can't stop a process of PostgreSQL");
    executr_status st = executr_store_ping(store, &err);
    executr_status after = executr_store_ping(store, NULL);
    cr_expect_eq(kill(pid, SIGCONT), 0);
    cr_expect_eq(st, EXECUTR_E_UNAVAILABLE, "%s", err.message);
    cr_expect_eq(after, EXECUTR_OK, "the next connection must do");
}

Test(postgres, calls_a_statement_that_takes_too_long_a_timeout)
{
    struct executr_stats out;

    reopen(backend_url(), 300);
    sql("CREATE OR REPLACE FUNCTION executr_stats(p_active_ms bigint,"
        " OUT o_foreground bigint, OUT o_background bigint,"
        " OUT o_best_effort bigint, OUT o_running bigint,"
        " OUT o_completed bigint, OUT o_failed bigint, OUT o_cancelled bigint,"
        " OUT o_active bigint, OUT o_slots bigint, OUT o_hits bigint,"
        " OUT o_misses bigint, OUT o_now timestamptz)"
        " LANGUAGE plpgsql AS $f$ BEGIN PERFORM pg_sleep(3); END $f$");
    suite_check_at_end = 0;
    expect_status(
        EXECUTR_E_TIMEOUT, store->ops->stats(store, 1000, &out, &err));
    must(executr_store_ping(store, &err));
}

/* A server that takes connections and says nothing; its port. */
static int open_black_hole(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(fd >= 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(fd, 10), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

Test(pool, gives_up_on_a_host_that_says_nothing)
{
    executr_store_options options = EXECUTR_STORE_OPTIONS_INIT;
    char url[100];

    options.query_timeout_ms = 600;
    snprintf(url, sizeof url, "postgres://u@127.0.0.1:%d/d", open_black_hole());
    expect_status(
        EXECUTR_E_UNAVAILABLE, executr_store_open(url, &options, &store, &err));
}

/* The first host of a cluster is gone without a word: the second must do. */
Test(pool, goes_on_to_the_next_host)
{
    ex_pool_settings real;
    char url[1000];
    ex_conn *conn = NULL;
    ex_pool *pool = NULL;

    must(ex_pool_settings_read(backend_url(), &real, &err));
    snprintf(
        url, sizeof url,
        "postgres://%s@127.0.0.1:%d,%s:%s/%s?target_session_attrs=read-write",
        ex_pool_setting(&real, "user"), open_black_hole(),
        ex_pool_setting(&real, "host"), ex_pool_setting(&real, "port"),
        ex_pool_setting(&real, "dbname"));
    must(ex_pool_open(url, &pool, &err));
    must(ex_pool_get(pool, in_ms(4000), &conn, &err));
    ex_pool_put(pool, conn);
    ex_pool_free(pool);
    ex_pool_settings_clear(&real);
}
