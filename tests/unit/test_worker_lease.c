/* SPDX-License-Identifier: MIT */
/* When an exclusive job must be dead, and what may be done before. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "worker.h"

#define MS INT64_C(1000)

/* A source that only counts what it is asked. */
static int reports;

static executr_status take_report(
    ex_source *asked, const char *executor_id,
    const executr_report *const *list, size_t count, executr_error *err)
{
    (void)asked;
    (void)executor_id;
    (void)list;
    (void)count;
    (void)err;
    reports++;
    return EXECUTR_OK;
}

static const ex_source_ops ops = {.report = take_report};
static ex_source source = {.ops = &ops};
static executr_worker *worker;
static ex_work *work;

static void make(void)
{
    worker = calloc(1, sizeof *worker);
    work = calloc(1, sizeof *work);
    worker->source = &source;
    worker->options.heartbeat_interval_ms = 5000;
    worker->interval_us = 5000 * MS;
    worker->report_limit = 10;
    worker->reported = calloc(10, sizeof *worker->reported);
    worker->reports = calloc(10, sizeof *worker->reports);
    work->exclusive = 1;
    ex_work_move(worker, work, EX_WORK_RUNNING);
    work->renewed_us = 100000 * MS;
}

static void drop(void)
{
    free(worker->reported);
    free(worker->reports);
    free(worker);
    free(work);
}

TestSuite(worker_lease, .init = make, .fini = drop);

static int64_t expiry_after(int64_t lease_ms, int64_t margin_ms)
{
    worker->options.fence_margin_ms = margin_ms;
    worker->lease_us = 0;
    ex_worker_lease(worker, lease_ms);
    return (ex_work_expiry_us(worker, work) - work->renewed_us) / MS;
}

Test(worker_lease, t35_exclusive_job_ends_a_margin_before_its_lease)
{
    cr_expect_eq(expiry_after(15000, 0), 10000);
    cr_expect_eq(expiry_after(15000, 4000), 11000);
    cr_expect_eq(expiry_after(15000, 15000), 3750, "at most three quarters");
    cr_expect_eq(expiry_after(15000, 1), 13500, "at least a tenth");
    cr_expect_eq(expiry_after(300, 0), 200);
}

Test(worker_lease, t35_guard_strikes_between_expiry_and_the_end_of_the_lease)
{
    static const int64_t leases[] = {30, 300, 1000, 15000, 3600000};
    static const int64_t margins[] = {0, 1, 5000, 100000000};

    for (size_t i = 0; i < 20; i++) {
        int64_t lease = leases[i / 4];
        int64_t expiry = expiry_after(lease, margins[i % 4]);
        int64_t deadline =
            (ex_work_deadline_us(worker, work) - work->renewed_us) / MS;
        cr_expect_gt(expiry, 0);
        cr_expect_lt(expiry, deadline);
        cr_expect_lt(deadline, lease);
    }
}

Test(worker_lease, heartbeats_come_twice_before_the_expiry)
{
    expiry_after(15000, 0);
    cr_expect_eq(worker->interval_us, 5000 * MS);
    worker->beat_sent_us = 70000 * MS;
    worker->beat_at_us = 75000 * MS;
    expiry_after(3000, 0);
    cr_expect_eq(worker->interval_us, 1000 * MS);
    cr_expect_eq(worker->beat_at_us, 71000 * MS, "so does the next one");
    cr_expect_eq(source.heartbeat_timeout_ms, 1000);
    expiry_after(600000, 0);
    cr_expect_eq(worker->interval_us, 5000 * MS);
    cr_expect_eq(source.heartbeat_timeout_ms, 5000);
}

Test(worker_lease, server_that_does_not_say_changes_nothing)
{
    cr_expect_eq(expiry_after(15000, 0), 10000);
    ex_worker_lease(worker, 0);
    cr_expect_eq(
        ex_work_expiry_us(worker, work), work->renewed_us + 10000 * MS);
}

Test(worker_lease, only_a_running_exclusive_job_expires)
{
    expiry_after(15000, 0);
    work->returned = 1;
    cr_expect_eq(ex_work_expiry_us(worker, work), EX_NEVER_US);
    work->returned = 0;
    ex_work_move(worker, work, EX_WORK_ENDED);
    cr_expect_eq(ex_work_expiry_us(worker, work), EX_NEVER_US);
    ex_work_move(worker, work, EX_WORK_RUNNING);
    work->exclusive = 0;
    cr_expect_eq(ex_work_expiry_us(worker, work), EX_NEVER_US);
    cr_expect_eq(ex_work_deadline_us(worker, work), EX_NEVER_US);
}

Test(worker_lease, start_needs_a_lease_that_is_surely_ours)
{
    int64_t then = work->renewed_us;

    expiry_after(15000, 0);
    cr_expect(ex_work_sure(worker, work, then + 9999 * MS));
    cr_expect_not(ex_work_sure(worker, work, then + 10000 * MS));
    work->exclusive = 0;
    /* Its claim may have been held, and its lease have begun, 20 s later. */
    cr_expect(ex_work_sure(worker, work, then + 34999 * MS));
    cr_expect_not(ex_work_sure(worker, work, then + 35000 * MS));
    work->renewed = 1;
    cr_expect_not(ex_work_sure(worker, work, then + 15000 * MS));
}

Test(worker_lease, one_that_is_not_sure_waits_until_a_heartbeat_keeps_it)
{
    expiry_after(15000, 0);
    ex_work_move(worker, work, EX_WORK_WAITING);
    worker->beat_at_us = 999999 * MS;
    ex_work_ask(worker, work, 120000 * MS);
    cr_expect_eq(worker->beat_at_us, 120000 * MS, "one is sent at once");
    cr_expect_eq(work->due_us, EX_NEVER_US);
    worker->beat_sent_us = 120000 * MS;
    ex_work_renew(worker, work);
    cr_expect_eq(work->due_us, 0);
    cr_expect(ex_work_sure(worker, work, 120001 * MS));
}

Test(worker_lease, a_renewal_never_moves_back)
{
    worker->beat_sent_us = work->renewed_us - 1;
    ex_work_move(worker, work, EX_WORK_ENDED);
    ex_work_renew(worker, work);
    cr_expect_eq(work->renewed_us, 100000 * MS);
}

Test(worker_lease, young_job_gets_a_heartbeat_after_a_second_once)
{
    work->started_us = 50000 * MS;
    worker->beat_sent_us = 49500 * MS;
    cr_expect_eq(ex_work_young_us(worker, work), 51000 * MS);
    worker->beat_sent_us = 50500 * MS;
    cr_expect_eq(ex_work_young_us(worker, work), 51500 * MS, "one a second");
    work->named = 1;
    cr_expect_eq(ex_work_young_us(worker, work), EX_NEVER_US);
}

/* Stopped for a minute: what ended meanwhile is reported only after a
 * heartbeat was answered, or failed. */
Test(worker_lease, t35_woken_worker_asks_before_it_reports)
{
    executr_error err = {0};

    expiry_after(15000, 0);
    ex_work_move(worker, work, EX_WORK_ENDED);
    worker->beat_at_us = 999999 * MS;
    ex_worker_woke(worker, 200000 * MS, 205000 * MS);
    cr_expect_eq(worker->woke_us, 0, "that was sleep of our own");
    ex_worker_woke(worker, 200000 * MS, 260000 * MS);
    ex_worker_report(worker, 260000 * MS);
    cr_expect_eq(reports, 0);
    cr_expect_leq(ex_worker_beat_due_us(worker), 260000 * MS);
    worker->beating = 1;
    worker->beat_sent_us = 260000 * MS;
    ex_worker_report(worker, 260000 * MS);
    cr_expect_eq(reports, 0);
    ex_worker_beaten(worker, EXECUTR_E_UNAVAILABLE, NULL, 0, &err);
    ex_worker_report(worker, 260000 * MS);
    cr_expect_eq(reports, 1);
}
