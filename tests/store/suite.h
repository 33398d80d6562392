/* SPDX-License-Identifier: MIT */
/*
 * The store suite, written once against the table of operations and compiled
 * for each store. Every test has a fresh database, and when it ends, what the
 * database holds is recounted and checked against the invariants of a store.
 */
#ifndef TESTS_STORE_SUITE_H
#define TESTS_STORE_SUITE_H

#include <criterion/criterion.h>

#include "base/fail.h"
#include "base/uuid.h"
#include "store.h"

/* ---- What differs between the stores (backend_*.c). */

/* NULL if this store can be tested here, else why not. */
const char *backend_missing(void);
/* How many programs may have one database open: 1 or many. */
int backend_is_shared(void);
/* Until nothing that a killed program began is still under way. */
void backend_settle(void);
/* Make an empty database; its URL. */
void backend_create(void);
const char *backend_url(void);
void backend_drop(void);
/* SQL on a connection of the test's own: the first column of the first row. */
int64_t backend_number(const char *sql);
void backend_exec(const char *sql);
/* An SQL expression for `column` moved `ms` into the past. */
const char *backend_earlier(const char *column, int64_t ms);

/* ---- The running test. */

extern executr_store *store;
extern executr_error err;
extern ex_rules rules; /* leases and retries of an hour, 5 lost attempts */

/* Fixtures of a test suite: with an open store, or with a database alone. */
void suite_open(void);
void suite_close(void);
void suite_open_database(void);
void suite_close_database(void);

/* Check every invariant. */
void suite_check(void);
/* Off for tests that change rows behind the store's back. */
extern int suite_check_at_end;

/* A call that must return a status, or OK. */
#define expect_status(want, call)                                              \
    do {                                                                       \
        executr_status got_ = (call);                                          \
        cr_assert_eq(                                                          \
            got_, (want), "%s gave %s, wanted %s: %s", #call,                  \
            executr_status_word(got_), executr_status_word(want),              \
            got_ ? err.message : "");                                          \
    } while (0)
#define must(call) expect_status(EXECUTR_OK, call)

int64_t number(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sql(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- Short words for the operations. */

typedef struct executr_job job; /* a record; lasts as long as the test */

#define HOUR_MS INT64_C(3600000)
#define SHA_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* A description with a URL, and an entry for submit with a new id. */
executr_job_spec spec_of(const char *type);
ex_submit entry_of(const executr_job_spec *spec);
executr_status submit(ex_submit *entries, size_t count);
/* Submit one and give its id. */
ex_uuid put_spec(const executr_job_spec *spec);
ex_uuid put(const char *type, int32_t priority);
void put_many(size_t count, ex_uuid *ids);
ex_uuid put_running(const char *executor); /* and claimed */

executr_claim claim_of(const char *executor, int32_t count);
executr_jobs *take_as(const executr_claim *request);
executr_jobs *take(const char *executor, int32_t count);
job *take_one(const char *executor); /* NULL: nothing there */
executr_jobs *new_list(void);        /* freed with the test */

executr_report report_of(int32_t status); /* completed: exit code 0 */
ex_finish end_of(
    const char *executor, const ex_uuid *id, const executr_report *report);
executr_status finish(ex_finish *ends, size_t count);
/* One end: its result. */
executr_status end(
    const char *executor, const ex_uuid *id, int32_t attempt, int32_t status);
executr_status give_back(
    const char *executor, const ex_uuid *id, int32_t attempt);

int32_t beat_job(const char *executor, const ex_uuid *id, int32_t attempt);
void beat(
    const char *executor, ex_lease *leases, size_t count,
    int64_t unnamed_after_ms);
executr_status cancel(const ex_uuid *id);
executr_status retry(const ex_uuid *id);
ex_upkeep keep_up(int32_t reap);
int64_t clean(int64_t retention_ms);

/* Let two hours pass for leases (of one executor, or NULL: of all), for
 * retries that wait, and for finished jobs. */
void silence(const char *executor);
void make_due(void);
void make_old(void);

job *look(const ex_uuid *id, int32_t parts);
int32_t status_of(const ex_uuid *id);
ex_uuid id_of(const job *record);
int same_id(const ex_uuid *a, const ex_uuid *b);
struct executr_stats stats(void);

#endif
