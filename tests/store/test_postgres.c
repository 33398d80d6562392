/* SPDX-License-Identifier: MIT */
/* What only PostgreSQL has: plans, heap-only updates, migrations by many, and
 * people with psql. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/postgres.h"
#include "store/suite.h"

TestSuite(schema, .init = suite_open_database, .fini = suite_close_database);
TestSuite(tables, .init = suite_open, .fini = suite_close);

/* ---- Migrations. */

/* In a child: no assertions. */
static int open_and_ping(void)
{
    executr_store *own = NULL;

    if (executr_store_open(backend_url(), NULL, &own, NULL))
        return 1;
    executr_status st = executr_store_ping(own, NULL);
    executr_store_free(own);
    return st != EXECUTR_OK;
}

Test(schema, is_made_once_by_many_who_start_together)
{
    pid_t children[8];
    int failed = 0;

    for (int i = 0; i < 8; i++) {
        children[i] = fork();
        if (children[i] == 0)
            _exit(open_and_ping() ? 41 : 42);
    }
    for (int i = 0; i < 8; i++) {
        int status = 0;
        cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
        failed += !WIFEXITED(status) || WEXITSTATUS(status) != 42;
    }
    cr_expect_eq(failed, 0);
    cr_expect_eq(
        number("SELECT count(*) FROM schema_migrations"),
        (int64_t)ex_migrations_postgres_count);
}

Test(schema, of_a_newer_release_is_refused)
{
    must(executr_store_open(backend_url(), NULL, &store, &err));
    executr_store_free(store);
    store = NULL;
    sql("INSERT INTO schema_migrations VALUES (999, 'from_the_future')");
    expect_status(
        EXECUTR_E_UNSUPPORTED,
        executr_store_open(backend_url(), NULL, &store, &err));
    cr_expect_not_null(strstr(err.message, "999"));
}

/* Whoever is cut off half-way leaves nothing behind. */
Test(schema, is_made_whole_or_not_at_all)
{
    sql("CREATE TABLE executors (in_the_way int)");
    cr_expect_neq(
        executr_store_open(backend_url(), NULL, &store, &err), EXECUTR_OK);
    cr_expect_eq(
        number("SELECT count(*) FROM pg_class WHERE relname IN"
               " ('jobs', 'queue', 'schema_migrations')"),
        0);
    sql("DROP TABLE executors");
    must(executr_store_open(backend_url(), NULL, &store, &err));
}

/* ---- Plans, on tables that were never analysed. */

static void end_all(const executr_jobs *jobs)
{
    static ex_finish ends[1000];
    executr_report report = report_of(EXECUTR_ATTEMPT_COMPLETED);

    for (size_t i = 0; i < jobs->count; i++) {
        ex_uuid id = id_of(jobs->items[i]);
        ends[i] = end_of("e1", &id, &report);
    }
    must(finish(ends, jobs->count));
}

static void put_thousands(int thousands)
{
    for (int i = 0; i < thousands; i++)
        put_many(1000, NULL);
}

/* Figures of a table are told when its sessions end. */
static int64_t figure(const char *table, const char *what)
{
    executr_store_free(store);
    store = NULL;
    while (
        number("SELECT count(*) FROM pg_stat_activity WHERE application_name ="
               " 'executr' AND datname = current_database()"))
        usleep(10000);
    return number(
        "SELECT %s FROM pg_stat_user_tables WHERE relname = '%s'", what, table);
}

Test(tables, are_never_read_whole, .timeout = 110)
{
    executr_filter filter = EXECUTR_FILTER_INIT;

    suite_check_at_end = 0;
    put_many(10, NULL); /* plans are made while everything is small */
    end_all(take("e1", 5));
    put_thousands(200);
    for (int i = 0; i < 5; i++)
        end_all(take("e1", 1000));
    end_all(take("e1", 1));
    ex_uuid id = id_of(take_one("e1"));
    beat("e1", NULL, 0, 3600000);
    must(give_back("e1", &id, 1));
    must(cancel(&id));
    must(retry(&id));
    cr_expect_eq(look(&id, EXECUTR_PART_ALL)->status, EXECUTR_JOB_PENDING);
    must(store->ops->list(store, &filter, new_list(), &err));
    keep_up(1);
    clean(HOUR_MS);
    cr_expect_eq(figure("jobs", "seq_tup_read"), 0);
    cr_expect_eq(figure("queue", "seq_tup_read"), 0);
    cr_expect_eq(figure("job_attempts", "seq_tup_read"), 0);
    cr_expect_eq(figure("claims", "seq_tup_read"), 0);
}

/* One by one a claim reads a job, and not the backlog. */
Test(tables, are_read_no_further_than_needed, .timeout = 110)
{
    suite_check_at_end = 0;
    put_thousands(100);
    for (int i = 0; i < 100; i++)
        end_all(take("e1", 1));
    int64_t looked_up = figure("jobs", "idx_tup_fetch");
    cr_expect(looked_up <= 500, "%lld rows for 100", (long long)looked_up);
    cr_expect(
        number("SELECT idx_tup_read FROM pg_stat_user_indexes"
               " WHERE indexrelname = 'queue_pkey'") <= 10000);
}

/* The counts are kept, not made: no look at any job. */
Test(tables, are_not_counted_for_statistics)
{
    suite_check_at_end = 0;
    put_many(1000, NULL);
    end_all(take("e1", 500));
    keep_up(1);
    int64_t looks = figure("jobs", "seq_scan + idx_scan");
    must(executr_store_open(backend_url(), NULL, &store, &err));
    cr_expect_eq(stats().jobs[EXECUTR_JOB_COMPLETED], 500);
    cr_expect_eq(figure("jobs", "seq_scan + idx_scan"), looks);
}

/* By a number of dead rows, not by a share of a table that may be large once,
 * and without pauses: see the migration. */
Test(tables, that_churn_are_vacuumed_often)
{
    const char *churn[] = {"queue", "claims", "job_counts", "executor_counts"};
    const char *large[] = {"jobs", "job_attempts"};

    for (size_t i = 0; i < sizeof churn / sizeof *churn; i++)
        cr_expect_eq(
            number(
                "SELECT count(*) FROM pg_class WHERE relname = '%s' AND"
                " reloptions @> '{autovacuum_vacuum_scale_factor=0,"
                "autovacuum_vacuum_cost_delay=0}'",
                churn[i]),
            1, "%s", churn[i]);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        cr_expect_eq(
            number(
                "SELECT count(*) FROM pg_class WHERE relname = '%s' AND"
                " reloptions @> '{autovacuum_vacuum_insert_scale_factor=0.1,"
                "autovacuum_vacuum_cost_delay=1}'",
                large[i]),
            1, "%s", large[i]);
}

/* Room in a page is made of versions that nobody can see, and any transaction
 * of the whole server may hold that up: so several tries. */
Test(tables, update_jobs_within_their_page, .timeout = 110)
{
    int64_t updates = 0;
    int64_t hot = 0;
    int good = 0;

    suite_check_at_end = 0;
    for (int round = 0; round < 300 && !good; round++) {
        usleep(round ? 100000 : 0);
        if (!store)
            must(executr_store_open(backend_url(), NULL, &store, &err));
        for (int i = 0; i < 10; i++) {
            put_many(100, NULL);
            end_all(take("e1", 100));
        }
        int64_t now = figure("jobs", "n_tup_upd");
        int64_t now_hot = figure("jobs", "n_tup_hot_upd");
        cr_assert_eq(now - updates, 2000);
        good = now_hot - hot >= 1950;
        updates = now;
        hot = now_hot;
    }
    cr_expect(good, "%lld of %lld", (long long)hot, (long long)updates);
}

/* ---- People. */

static const char guide_query[] = "UPDATE jobs"
                                  " SET status = 'running',"
                                  "    executor_id = 'test',"
                                  "    started_at = NOW(),"
                                  "    last_heartbeat = NOW()"
                                  " WHERE id = ("
                                  "    SELECT id FROM jobs"
                                  "    WHERE status = 'pending'"
                                  "    ORDER BY"
                                  "        CASE priority"
                                  "            WHEN 'foreground' THEN 1"
                                  "            WHEN 'background' THEN 2"
                                  "            WHEN 'best_effort' THEN 3"
                                  "        END,"
                                  "        created_at"
                                  "    FOR UPDATE SKIP LOCKED"
                                  "    LIMIT 1"
                                  " )"
                                  " RETURNING *";

static void run_by_hand(const char *prefix)
{
    char text[1200];
    PGconn *psql = PQconnectdb(backend_url());

    snprintf(text, sizeof text, "%s%s", prefix, guide_query);
    PGresult *rows = PQexec(psql, text);
    cr_expect_eq(
        PQresultStatus(rows), PGRES_TUPLES_OK, "%s", PQerrorMessage(psql));
    cr_expect_geq(PQntuples(rows), 1);
    PQclear(rows);
    PQfinish(psql);
}

/* Claimed past the queue, it may be finished, cancelled, or lost: the queue
 * finds out, and its figures are right in the end. */
Test(tables, bear_the_query_of_the_guide)
{
    ex_uuid done = put("done", EXECUTR_PRIORITY_FOREGROUND);
    run_by_hand("");
    must(end("test", &done, 0, EXECUTR_ATTEMPT_COMPLETED));
    ex_uuid stopped = put("stopped", EXECUTR_PRIORITY_FOREGROUND);
    run_by_hand("EXPLAIN ANALYZE ");
    expect_status(EXECUTR_E_CANCELLED, cancel(&stopped));
    ex_uuid lost = put("lost", EXECUTR_PRIORITY_FOREGROUND);
    run_by_hand("");
    cr_expect_null(take_one("e1"));
    silence("test");
    cr_expect_eq(keep_up(1).recovered, 2);
    cr_expect_eq(status_of(&done), EXECUTR_JOB_COMPLETED);
    cr_expect_eq(status_of(&stopped), EXECUTR_JOB_CANCELLED);
    cr_expect_eq(status_of(&lost), EXECUTR_JOB_PENDING);
    struct executr_stats counted = stats();
    cr_expect_eq(counted.jobs[EXECUTR_JOB_PENDING], 1);
    cr_expect_eq(counted.jobs[EXECUTR_JOB_RUNNING], 0);
    suite_check_at_end = 0; /* the first attempt had no number of its own */
}

/* ---- What commits out of order. */

/* A submit of another server: it has its place in the queue, and commits when
 * told to. */
static PGconn *submit_elsewhere(void)
{
    PGconn *other = PQconnectdb(backend_url());

    PQclear(PQexec(other, "BEGIN"));
    PGresult *rows = PQexec(
        other,
        "SELECT * FROM executr_submit(ARRAY[gen_random_uuid()], '{late}',"
        " '{http://example.com/}', '{00}', '{[]}', '{\"{}\"}',"
        " '{background}', '{f}', '{0}', '{0}', NULL, NULL, NULL, NULL, NULL,"
        " false, false)");
    cr_assert_eq(
        PQresultStatus(rows), PGRES_TUPLES_OK, "%s", PQerrorMessage(other));
    PQclear(rows);
    return other;
}

Test(tables, are_looked_through_again_for_late_commits)
{
    PGconn *other = submit_elsewhere();

    put_many(10, NULL);
    cr_assert_eq(take("e1", 5)->count, 5);
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    /* It is older than the five that are left. */
    cr_expect_str_neq(take_one("e1")->type, "late", "who would look there");
    cr_expect(keep_up(0).claimable);
    cr_expect_str_eq(take_one("e1")->type, "late");
}

/* A job that was started by hand again and again has no attempt of its own: the
 * first record stays, and its neighbours get theirs. */
Test(tables, leave_the_record_of_an_attempt_that_is_there)
{
    executr_report report = report_of(EXECUTR_ATTEMPT_COMPLETED);
    ex_uuid ids[2] = {put_running("e1"), put_running("e1")};
    ex_finish ends[2] = {
        end_of("e1", &ids[0], &report), end_of("e1", &ids[1], &report)};

    suite_check_at_end = 0;
    sql("INSERT INTO job_attempts (job_id, attempt, status, executor_id,"
        " started_at, ended_at) SELECT id, 1, 'failed', 'e0', now(), now()"
        " FROM jobs ORDER BY id LIMIT 1");
    must(finish(ends, 2));
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(ends[i].result, EXECUTR_OK);
        cr_expect_eq(status_of(&ids[i]), EXECUTR_JOB_COMPLETED);
    }
    cr_expect_eq(number("SELECT count(*) FROM job_attempts"), 2);
    cr_expect_eq(
        number("SELECT count(*) FROM job_attempts WHERE executor_id = 'e0'"),
        1);
}

/* ---- Texts. */

Test(tables, take_messages_that_are_no_utf8)
{
    ex_uuid id = put_running("e1");
    executr_report report = report_of(EXECUTR_ATTEMPT_FAILED);
    ex_finish entry = end_of("e1", &id, &report);

    report.error_message = "bad \xff\xc3 bytes";
    must(finish(&entry, 1));
    cr_expect_str_eq(
        look(&id, 0)->error_message, "bad \xef\xbf\xbd\xef\xbf\xbd bytes");
}

/* A claim that began high ends after one that looked from the start and left
 * something there. */
Test(tables, floor_stays_where_a_look_from_the_start_left_it)
{
    ex_pg_store *pg = (ex_pg_store *)store;
    static const int64_t start[4];
    int64_t high[4];
    int64_t seq[4];
    uint64_t stamp;

    ex_pg_floor_get(pg, "f", seq, &stamp);
    ex_pg_floor_raise(pg, "f", start, (int64_t[4]){0, 100, 0, 0}, stamp);
    ex_pg_floor_get(pg, "f", high, &stamp);
    ex_pg_floor_raise(pg, "f", start, (int64_t[4]){0, 6, 0, 0}, stamp);
    ex_pg_floor_raise(pg, "f", high, (int64_t[4]){0, 120, 0, 0}, stamp);
    ex_pg_floor_get(pg, "f", seq, &stamp);
    cr_expect_leq(seq[1], 7);
}
