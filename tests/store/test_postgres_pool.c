/* SPDX-License-Identifier: MIT */
/* Connections to PostgreSQL: their URLs, and servers that go or hang. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/pools.h"

TestSuite(pool, .init = suite_open_database, .fini = suite_close_database);
TestSuite(postgres, .init = suite_open, .fini = suite_close);

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

/* ---- Servers that go. */

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

/* What a second try of a submission for this taker says of the job. */
static int64_t said_again(const char *id, const char *taker)
{
    return number(
        "SELECT o_result FROM executr_submit(ARRAY['%s'::uuid], '{t}',"
        " '{http://example.com/}', '{00}', '{[]}', '{\"{}\"}',"
        " '{background}', '{f}', '{0}', '{0}', NULL, NULL, NULL, '{%s}',"
        " '{::1}', false, true) WHERE o_index = 1",
        id, taker);
}

/* The second try finds the job of the first, which its taker still waits for. */
Test(postgres, hands_over_what_a_try_before_committed)
{
    executr_job_spec spec = spec_of("t");
    executr_claim taker = claim_of("e1", 1);
    ex_submit entry = entry_of(&spec);
    char id[EX_UUID_TEXT];

    entry.taker = &taker;
    must(submit(&entry, 1));
    ex_uuid_format(&entry.id, id);
    cr_expect_eq(said_again(id, "e1"), 4);
    cr_expect_eq(said_again(id, "e2"), 5);
    must(store->ops->goodbye(store, "e1", &err));
    cr_expect_eq(said_again(id, "e1"), 5);
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 1);
}

/* Nobody knows whether the commit came through, so it is done again. */
Test(postgres, hands_over_though_the_connection_broke_at_the_commit)
{
    executr_job_spec spec = spec_of("t");
    executr_claim taker = claim_of("e1", 1);
    ex_submit entry = entry_of(&spec);

    at_commit("IF nextval('commits') = 1 THEN"
              " PERFORM pg_terminate_backend(pg_backend_pid()); END IF");
    entry.taker = &taker;
    must(submit(&entry, 1));
    cr_expect_eq(entry.taken, 1);
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 1);
    cr_expect_eq(status_of(&entry.id), EXECUTR_JOB_RUNNING);
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
    pid_t pid = (pid_t)number("SELECT max(pid)%s", executr_backends);
    if (kill(pid, SIGSTOP) != 0)
        cr_skip("can't stop a process of PostgreSQL");
    executr_status st = executr_store_ping(store, &err);
    executr_status after = executr_store_ping(store, NULL);
    cr_expect_eq(kill(pid, SIGCONT), 0);
    cr_expect_eq(st, EXECUTR_E_UNAVAILABLE, "%s", err.message);
    cr_expect_eq(after, EXECUTR_OK, "the next connection must do");
}

static void *ping_slowly(void *ctx)
{
    *(executr_status *)ctx = executr_store_ping(store, NULL);
    return NULL;
}

/* The call that met a stopped backend ends by its deadline; nobody else is
 * held up, and the count of busy connections shows that one call. */
Test(postgres, holds_nobody_up_for_one_backend_that_hangs)
{
    executr_status held = EXECUTR_OK;
    struct executr_stats out;
    pthread_t thread;

    reopen(url_with("pool_max_conns=3&pool_min_conns=1"), 1500);
    pid_t pid = (pid_t)number("SELECT max(pid)%s", executr_backends);
    if (kill(pid, SIGSTOP) != 0)
        cr_skip("can't stop a process of PostgreSQL");
    int64_t deadline_us = in_ms(1500);
    cr_assert_eq(pthread_create(&thread, NULL, ping_slowly, &held), 0);
    while (executr_store_connections_active(store) == 0 &&
           in_ms(0) < deadline_us)
        usleep(1000);
    for (int i = 0; i < 20; i++) {
        put("t", EXECUTR_PRIORITY_BACKGROUND);
        cr_expect_not_null(take_one("e1"));
        must(store->ops->stats(store, 1000, &out, &err));
    }
    cr_expect_lt(in_ms(0), deadline_us, "the others waited");
    cr_expect_eq(executr_store_connections_active(store), 1);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(kill(pid, SIGCONT), 0);
    cr_expect_eq(held, EXECUTR_E_UNAVAILABLE);
    cr_expect_lt(in_ms(0), deadline_us + 1500000, "it outlived its deadline");
    cr_expect_eq(executr_store_connections_active(store), 0);
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

/* ---- How many carry a statement. */

/* By the store's word and by PostgreSQL's, which a transaction remembers. */
static int are_active(int wanted)
{
    number("SELECT pg_stat_clear_snapshot()");
    return executr_store_connections_active(store) == wanted &&
           number("SELECT count(*)%s AND state <> 'idle'", executr_backends) ==
               wanted;
}

static void await_active(int wanted)
{
    int tries = 1000;

    while (!are_active(wanted) && --tries)
        usleep(5000);
    cr_expect(
        tries, "%d and not %d", (int)executr_store_connections_active(store),
        wanted);
}

static void cut_one_off(void)
{
    int64_t pid = number("SELECT max(pid)%s", executr_backends);

    number("SELECT pg_terminate_backend(%lld, 10000)", (long long)pid);
}

static void *submit_one(void *ctx)
{
    (void)ctx;
    put("t", EXECUTR_PRIORITY_BACKGROUND);
    return NULL;
}

/* As PostgreSQL sees it: at rest, while calls are blocked, when one of their
 * connections was cut (it is blocked anew on another), and afterwards. */
Test(postgres, counts_the_connections_that_carry_a_statement)
{
    pthread_t threads[3];

    put("t", EXECUTR_PRIORITY_BACKGROUND);
    cr_expect(are_active(0));
    sql("BEGIN");
    sql("LOCK TABLE jobs");
    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, submit_one, NULL), 0);
    await_active(3);
    cut_one_off();
    await_active(3);
    sql("COMMIT");
    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(executr_store_connections_active(store), 0);
    await_active(0);
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 4);
}

static void *watch_once(void *ctx)
{
    int32_t told;

    (void)ctx;
    cr_expect_eq(store->ops->watch(store, 1, 1, -1, &told, NULL), EXECUTR_OK);
    return NULL;
}

/* The one that listens is outside the pool. */
Test(postgres, counts_the_statements_of_the_listener)
{
    pthread_t thread;

    sql("BEGIN");
    sql("LOCK TABLE watchers");
    cr_assert_eq(pthread_create(&thread, NULL, watch_once, NULL), 0);
    await_active(1);
    sql("COMMIT");
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(executr_store_connections_active(store), 0);
}
