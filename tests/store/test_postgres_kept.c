/* SPDX-License-Identifier: MIT */
/* Statements that sessions keep, where they are ours and where they are not. */
#include <libpq-fe.h>
#include <stdlib.h>

#include "store/postgres.h"
#include "store/suite.h"

TestSuite(kept, .init = suite_open, .fini = suite_close);

static const ex_pg_kept next = {
    1u << 30, "kept_next", "SELECT * FROM kept_next($1)"};

/* What a test does in one session, and what came of it. */
typedef struct plan {
    int tries;
    int spoiled;
    int runs;
    int32_t result;
    int64_t named;     /* statements with this name, at the end */
    const char *spoil; /* SQL between the runs of the first try */
    int32_t in_transaction;
} plan;

static executr_status run_once(ex_pg_session *session, plan *p)
{
    PGresult *rows = NULL;
    ex_params params;

    ex_params_init(&params);
    ex_params_one(&params, EX_PG_INT4);
    ex_item_i32(&params, 41);
    executr_status st = ex_pg_run_kept(session, &next, &params, &rows, &err);
    if (!st)
        p->result = ex_pg_i32(rows, 0, 0);
    PQclear(rows);
    ex_params_clear(&params);
    return st;
}

static executr_status count_named(ex_pg_session *session, plan *p)
{
    PGresult *rows = NULL;

    executr_status st = ex_pg_query(
        session,
        "SELECT count(*) FROM pg_prepared_statements WHERE name = 'kept_next'",
        NULL, &rows, &err);
    if (!st)
        p->named = ex_pg_i64(rows, 0, 0);
    PQclear(rows);
    return st;
}

static executr_status carry_out(
    ex_pg_session *session, void *ctx, executr_error *out)
{
    plan *p = ctx;
    executr_status st = EXECUTR_OK;

    (void)out;
    p->tries++;
    for (int i = 0; i < p->runs && !st; i++)
        st = run_once(session, p);
    if (!st && p->spoil && !p->spoiled++)
        st = ex_pg_script(session, p->spoil, &err);
    if (!st && p->in_transaction) {
        st = ex_pg_begin(session, &err);
        if (!st)
            st = ex_pg_query(
                session, "INSERT INTO kept_log VALUES (1)", NULL, NULL, &err);
    }
    if (!st)
        st = run_once(session, p);
    if (!st && p->in_transaction)
        st = ex_pg_commit(session, &err);
    return st ? st : count_named(session, p);
}

static void follow(plan *p)
{
    must(ex_pg_run((ex_pg_store *)store, EX_PG_ONCE, carry_out, p, &err));
    cr_expect_eq(p->result, 42);
}

static int nameless(void)
{
    return atomic_load(&((ex_pg_store *)store)->nameless);
}

static void make_function(const char *type)
{
    sql("CREATE FUNCTION kept_next(int) RETURNS %s LANGUAGE sql VOLATILE"
        " AS 'SELECT ($1 + 1)::%s'",
        type, type);
}

#define REPLACE                                                                \
    "DROP FUNCTION kept_next(int);"                                            \
    " CREATE FUNCTION kept_next(int) RETURNS TABLE (a int4, b text)"           \
    " LANGUAGE sql VOLATILE AS 'SELECT $1 + 1, ''new'''"

static int is_pooled(void)
{
    const char *pooler = getenv("EXECUTR_TEST_PG_POOLER");

    return pooler && *pooler;
}

Test(kept, from_the_second_time_on_where_the_session_is_ours)
{
    plan once = {0};
    plan twice = {.runs = 1};

    make_function("int4");
    follow(&once);
    cr_expect_eq(once.named, 0);
    follow(&twice);
    cr_expect_eq(twice.named, !is_pooled());
    cr_expect_eq(nameless(), is_pooled());
}

/* Nothing was run, so even what may be done only once is done again. */
Test(kept, no_more_once_a_session_turns_out_to_be_another)
{
    plan p = {.runs = 3, .spoil = "DEALLOCATE ALL"};
    int others = is_pooled();

    make_function("int4");
    follow(&p);
    cr_expect_eq(p.tries, others ? 1 : 2);
    cr_expect_eq(p.named, 0);
    cr_expect_eq(nameless(), 1);
}

Test(kept, not_under_a_name_that_somebody_else_has)
{
    plan p = {.runs = 1, .spoil = "PREPARE kept_next AS SELECT 7"};

    make_function("int4");
    follow(&p);
    cr_expect_eq(p.tries, is_pooled() ? 1 : 2);
    cr_expect_eq(nameless(), 1);
}

Test(kept, anew_when_the_function_was_replaced)
{
    plan p = {.runs = 3, .spoil = REPLACE};

    make_function("int4");
    follow(&p);
    cr_expect_eq(p.tries, is_pooled() ? 1 : 2);
    cr_expect_eq(nameless(), is_pooled());
}

/* Another release may have another statement under the name. */
Test(kept, no_more_once_the_name_is_that_of_another_statement)
{
    plan p = {
        .runs = 3, .spoil = "DEALLOCATE ALL; PREPARE kept_next AS SELECT 7"};

    make_function("int4");
    follow(&p);
    cr_expect_eq(p.tries, is_pooled() ? 1 : 2);
    cr_expect_eq(nameless(), 1);
}

/* Many sessions at a time, each of which has run it twice. */
static executr_status fill_pool(
    ex_pg_session *session, void *ctx, executr_error *out)
{
    int *left = ctx;
    plan p = {0};

    (void)out;
    executr_status st = run_once(session, &p);
    if (!st)
        st = run_once(session, &p);
    if (st || --*left == 0)
        return st;
    return ex_pg_run((ex_pg_store *)store, EX_PG_ONCE, fill_pool, ctx, &err);
}

Test(kept, one_failure_is_enough_where_many_sessions_are_alike)
{
    plan p = {0};
    int sessions = is_pooled() ? 2 : 12;

    make_function("int4");
    must(ex_pg_run(
        (ex_pg_store *)store, EX_PG_ONCE, fill_pool, &sessions, &err));
    sql("%s", REPLACE);
    follow(&p);
    cr_expect_eq(p.tries, is_pooled() ? 1 : 2);
}

/* What the function itself can't do is no reason to go on trying. */
Test(kept, fails_soon_when_it_is_the_function_that_refuses)
{
    plan p = {
        .runs = 3,
        .spoil = "CREATE OR REPLACE FUNCTION kept_next(int) RETURNS int4"
                 " LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'never'"
                 " USING ERRCODE = '0A000'; END$$"};

    make_function("int4");
    expect_status(
        EXECUTR_E_INTERNAL,
        ex_pg_run((ex_pg_store *)store, EX_PG_ONCE, carry_out, &p, &err));
    cr_expect_eq(p.tries, is_pooled() ? 1 : 2);
    cr_expect_eq(nameless(), is_pooled());
}

/* Behind its rows an error comes from the commit, which may have been. */
Test(kept, is_not_done_again_when_its_commit_fails)
{
    plan p = {
        .runs = 3,
        .spoil = "CREATE OR REPLACE FUNCTION kept_next(int) RETURNS int4"
                 " LANGUAGE sql AS 'INSERT INTO kept_log VALUES ($1)"
                 " RETURNING n + 1'"};

    make_function("int4");
    sql("CREATE TABLE kept_log (n int)");
    sql("CREATE FUNCTION kept_refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'late' USING ERRCODE = '0A000'; END$$");
    sql("CREATE CONSTRAINT TRIGGER kept_late AFTER INSERT ON kept_log"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        " EXECUTE FUNCTION kept_refuse()");
    cr_expect_neq(
        ex_pg_run((ex_pg_store *)store, EX_PG_ONCE, carry_out, &p, &err),
        EXECUTR_OK);
    cr_expect_eq(p.tries, 1);
}

Test(kept, fails_a_transaction_as_a_whole)
{
    plan p = {.runs = 3, .spoil = "DEALLOCATE ALL", .in_transaction = 1};

    make_function("int4");
    sql("CREATE TABLE kept_log (n int)");
    follow(&p);
    cr_expect_eq(number("SELECT count(*) FROM kept_log"), 1);
}
