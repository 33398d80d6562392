/* SPDX-License-Identifier: MIT */
/* Word between the servers of one database. */
#include <libpq-fe.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "store/postgres.h"
#include "store/suite.h"

TestSuite(word, .init = suite_open, .fini = suite_close);

static int32_t listen_with(executr_store *s, int32_t parked, int64_t ms)
{
    int32_t told = -1;
    int wake = eventfd(0, EFD_CLOEXEC);

    must(s->ops->watch(s, parked, ms, wake, &told, &err));
    close(wake);
    return told;
}

Test(word, comes_when_another_server_has_jobs)
{
    executr_store *other = NULL;

    must(executr_store_open(backend_url(), NULL, &other, &err));
    /* Says that it waits, and has to look again itself. */
    cr_expect_eq(listen_with(store, 1, 0), 1);
    cr_expect_eq(listen_with(store, 1, 0), 0);
    cr_expect_eq(listen_with(other, 0, 0), 0); /* hears of that */
    executr_job_spec spec = spec_of("t");
    ex_submit entry = entry_of(&spec);
    must(other->ops->submit(other, &entry, 1, &err));
    cr_expect_eq(listen_with(other, 0, 100), 0); /* tells */
    cr_expect_eq(listen_with(store, 1, 20000), 1);
    executr_store_free(other);
}

/* The submitter was asked for nothing when it committed. */
Test(word, of_jobs_from_before_the_waiting_was_heard_of_comes_too)
{
    executr_store *other = NULL;

    must(executr_store_open(backend_url(), NULL, &other, &err));
    cr_expect_eq(listen_with(other, 0, 0), 0);
    executr_job_spec spec = spec_of("t");
    ex_submit entry = entry_of(&spec);
    must(other->ops->submit(other, &entry, 1, &err));
    cr_expect_eq(listen_with(store, 1, 0), 1);
    cr_expect_eq(listen_with(other, 0, 100), 0); /* hears, and tells */
    cr_expect_eq(listen_with(store, 1, 20000), 1);
    executr_store_free(other);
}

static void expect_word(PGconn *spy, const char *wanted)
{
    PQclear(PQexec(spy, "SELECT 1"));
    PGnotify *word = PQnotifies(spy);
    if (!wanted) {
        cr_expect_null(word);
    } else {
        cr_assert(word, "no word came");
        cr_expect_str_eq(word->extra, wanted);
    }
    PQfreemem(word);
}

Test(word, is_not_sent_when_nobody_waits)
{
    PGconn *spy = PQconnectdb(backend_url());

    PQclear(PQexec(spy, "LISTEN executr_jobs"));
    cr_expect_eq(listen_with(store, 1, 0), 1);
    expect_word(spy, "waits");
    put("t", EXECUTR_PRIORITY_BACKGROUND);
    cr_expect_eq(listen_with(store, 1, 200), 0);
    expect_word(spy, NULL);
    PQfinish(spy);
}

/* A stream of submits is thinned, but its last word is not dropped. */
Test(word, of_the_last_of_many_jobs_comes)
{
    executr_store *other = NULL;

    must(executr_store_open(backend_url(), NULL, &other, &err));
    cr_expect_eq(listen_with(store, 1, 0), 1);
    cr_expect_eq(listen_with(other, 0, 0), 0);
    for (int i = 0; i < 60; i++) {
        executr_job_spec spec = spec_of("t");
        ex_submit entry = entry_of(&spec);
        must(other->ops->submit(other, &entry, 1, &err));
        cr_expect_eq(listen_with(other, 0, 0), 0);
    }
    listen_with(other, 0, 300);
    cr_expect_eq(listen_with(store, 1, 20000), 1);
    cr_expect_eq(atomic_load(&((ex_pg_store *)other)->news), 0);
    executr_store_free(other);
}

Test(word, ends_early_when_woken)
{
    uint64_t one = 1;
    int32_t told = -1;
    int wake = eventfd(0, EFD_CLOEXEC);

    cr_assert_eq(write(wake, &one, sizeof one), (ssize_t)sizeof one);
    must(store->ops->watch(store, 0, 600000, wake, &told, &err));
    cr_expect_eq(told, 0);
    close(wake);
}

Test(word, is_listened_for_again_after_the_connection_broke)
{
    cr_expect_eq(listen_with(store, 1, 0), 1);
    number("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
           " WHERE application_name = 'executr' AND query LIKE '%%_watch%%'"
           " AND datname = current_database() AND pid <> pg_backend_pid()");
    while (!listen_with(store, 1, 50))
        continue; /* until it is connected again, and looks again */
    sql("NOTIFY executr_jobs");
    cr_expect_eq(listen_with(store, 1, 20000), 1);
}
