/* SPDX-License-Identifier: MIT */
/* Which held jobs run when, and how many are held: a worker moved by hand. */
#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "base/time.h"
#include "support/work_bench.h"
#include "worker.h"

#define SECOND_US INT64_C(1000000)

static executr_worker *hand;

static void open_hand(void)
{
    open_bench();
    options.max_jobs = 2;
    options.spool_directory = NULL;
    cr_assert_eq(executr_worker_open(&options, &hand, &err), 0);
}

static void close_hand(void)
{
    executr_worker_free(hand);
    close_bench();
}

TestSuite(worker_slots, .init = open_hand, .fini = close_hand);

static size_t count(int32_t state)
{
    return hand->lists[state].count;
}

static void pause_a_moment(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* Claim so many jobs for the worker, and see them fetched. */
static void hold(int jobs)
{
    executr_claim claim = EXECUTR_CLAIM_INIT;
    executr_jobs *claimed;

    claim.executor_id = executr_worker_id(hand);
    claim.executor_ip = "127.0.0.1";
    claim.max_jobs = jobs;
    cr_assert_eq(executr_queue_claim(queue, &claim, &claimed, &err), 0);
    cr_assert_eq(executr_jobs_count(claimed), jobs);
    ex_worker_take(hand, claimed, ex_boottime_us());
    while (count(EX_WORK_FETCHING) > 0) {
        pause_a_moment();
        ex_worker_fetched(hand);
    }
}

/* What was fetched once is at hand: jobs then come in the order of the claim. */
static void fetch_first(void)
{
    submit_job(ARGS("exit", "0"));
    hold(1);
    while (count(EX_WORK_ENDED) == 0) {
        cr_assert_eq(ex_worker_run_programs(hand, &err), 0);
        pause_a_moment();
    }
    ex_work_free(hand, hand->works);
}

static void run_until_ended(size_t ended)
{
    while (count(EX_WORK_ENDED) < ended) {
        cr_assert_leq(count(EX_WORK_RUNNING), 2);
        cr_assert_eq(ex_worker_run_programs(hand, &err), 0);
        ex_worker_fill(hand);
        pause_a_moment();
    }
}

Test(worker_slots, no_more_run_than_there_are_slots_and_in_turn)
{
    const char *ids[6];
    size_t i = 0;

    fetch_first();
    for (int n = 0; n < 6; n++)
        ids[n] = submit_job(ARGS("exit", "0"));
    hold(6);
    cr_expect_eq(count(EX_WORK_RUNNING), 2);
    cr_expect_eq(count(EX_WORK_READY), 4);
    const ex_work *work = hand->lists[EX_WORK_READY].first;
    for (; work; work = work->after, i++)
        cr_expect_str_eq(work->job_id, ids[i + 2]);
    run_until_ended(6);
    cr_expect_eq(count(EX_WORK_READY), 0);
    cr_expect_eq(hand->held, 6);
}

/* As the loop would at this moment, up to the answer. */
static void report_at(int64_t now_us)
{
    ex_worker_report(hand, now_us);
    while (hand->reporting) {
        pause_a_moment();
        cr_assert_eq(hand->source->ops->step(hand->source, &err), EXECUTR_OK);
    }
}

/* More will end within it, and go along: a call each would cost more than the
 * jobs do. The last ones have nobody to wait for. */
Test(worker_slots, reports_wait_a_moment_while_jobs_stand_in_line)
{
    fetch_first();
    for (int n = 0; n < 10; n++)
        submit_job(ARGS("exit", "0"));
    hold(10);
    run_until_ended(1);
    cr_assert_gt(count(EX_WORK_READY), 0);
    size_t before = hand->held;
    int64_t now = ex_boottime_us();
    report_at(now);
    cr_expect_lt(hand->held, before, "the first one goes at once");
    int64_t due = hand->report_at_us;
    cr_assert_gt(due, now);
    before = hand->held;
    run_until_ended(1);
    cr_assert_gt(count(EX_WORK_READY), 0);
    report_at(due - 1);
    cr_expect_eq(hand->held, before);
    report_at(due);
    cr_expect_lt(hand->held, before);
    run_until_ended(hand->held);
    report_at(hand->report_at_us);
    cr_expect_eq(hand->held, 0);
    cr_expect_leq(hand->report_at_us, ex_boottime_us(), "no line, no wait");
}

/* A slot is free when its program ended, not when that was reported. */
Test(worker_slots, ended_jobs_hold_no_slot_until_they_are_too_many)
{
    cr_expect_eq(ex_worker_room(hand), 2);
    hand->lists[EX_WORK_ENDED].count = 999;
    hand->held = 999;
    cr_expect_eq(ex_worker_room(hand), 2);
    hand->lists[EX_WORK_ENDED].count = 1000;
    hand->held = 1000;
    cr_expect_eq(ex_worker_room(hand), 0);
    hand->lists[EX_WORK_ENDED].count = 1;
    hand->held = 1;
    hand->ended_bytes = (size_t)16 * 1024 * 1024;
    cr_expect_eq(ex_worker_room(hand), 0, "their output is too much");
    hand->lists[EX_WORK_ENDED].count = 0;
    hand->held = 0;
    hand->ended_bytes = 0;
}

Test(worker_slots, output_that_waits_is_counted_and_forgotten)
{
    submit_job(ARGS("out", "1000", "0"));
    hold(1);
    run_until_ended(1);
    cr_expect_eq(hand->ended_bytes, 1000);
    ex_work_free(hand, hand->works);
    cr_expect_eq(hand->ended_bytes, 0);
    cr_expect_eq(hand->held, 0);
}

Test(worker_slots, short_jobs_are_held_ahead_long_ones_are_not)
{
    ex_worker_ran(hand, 1000);
    cr_expect_eq(ex_worker_room(hand), 2 + 100, "50 ms of work");
    hand->held = 2 + 50;
    cr_expect_eq(ex_worker_room(hand), 0, "half of them are there");
    hand->held = 2 + 49;
    cr_expect_eq(ex_worker_room(hand), 51);
    hand->held = 0;
    ex_worker_ran(hand, 10 * SECOND_US);
    cr_expect_eq(ex_worker_room(hand), 2, "a long one is enough");
    for (int i = 0; i < 100; i++)
        ex_worker_ran(hand, 10);
    cr_expect_eq(ex_worker_room(hand), 2 + 256, "never more than these");
    hand->lists[EX_WORK_FETCHING].count = 1;
    cr_expect_eq(ex_worker_room(hand), 2, "who knows how long that takes");
    hand->lists[EX_WORK_FETCHING].count = 0;
}

/* Nobody's fault, and nobody's program has run. */
static void expect_given_back(const char *id)
{
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_PENDING);

    cr_expect_eq(executr_job_retry_count(job), 0);
    cr_expect_eq(executr_job_attempt(job), 1);
}

/* Run it to its end by its own loop, which stops at once. */
static void stop_and_run(void)
{
    executr_worker_stop(hand);
    cr_assert_eq(executr_worker_run(hand, &err), 0);
}

Test(worker_slots, a_line_that_does_not_move_is_given_back)
{
    const char *ids[4];

    fetch_first();
    for (int n = 0; n < 4; n++)
        ids[n] = submit_job(ARGS(n < 2 ? "sleep" : "exit", "0"));
    ex_worker_ran(hand, 1000);
    hold(4);
    int64_t now = ex_boottime_us();
    int64_t due = ex_worker_line_due_us(hand);
    cr_expect(due > now && due <= now + SECOND_US);
    ex_worker_keep_line(hand, due - 1);
    cr_expect_eq(count(EX_WORK_READY), 2);
    ex_worker_keep_line(hand, due + SECOND_US);
    cr_expect_eq(count(EX_WORK_READY), 0);
    cr_expect_eq(count(EX_WORK_ENDED), 2);
    cr_expect(hand->lists[EX_WORK_ENDED].first->report.uncounted);
    cr_expect_eq(count(EX_WORK_RUNNING), 2);
    cr_expect_eq(ex_worker_room(hand), 0, "not to be claimed again");
    ex_worker_ran(hand, 1000);
    cr_expect_eq(ex_worker_room(hand), 0, "by one short one");
    executr_worker_stop(hand);
    stop_and_run();
    for (int n = 2; n < 4; n++)
        expect_given_back(ids[n]);
}

/* Else it would stay ours for as long as no report comes through. */
Test(worker_slots, t35_no_heartbeat_renews_what_is_given_back)
{
    fetch_first();
    submit_job(ARGS("sleep"));
    submit_job(ARGS("exit", "0"));
    submit_job(ARGS("exit", "0"));
    hold(3);
    ex_work *running = hand->lists[EX_WORK_RUNNING].first;
    while (count(EX_WORK_ENDED) == 0) {
        cr_assert_eq(ex_worker_run_programs(hand, &err), 0);
        pause_a_moment();
    }
    ex_worker_return_line(hand, "test");
    cr_assert_eq(count(EX_WORK_ENDED), 2);
    ex_worker_beat(hand, ex_boottime_us());
    cr_expect_eq(hand->beat.lease_count, 2, "one runs, one has a result");
    for (size_t i = 0; i < 2; i++)
        cr_expect_str_neq(
            hand->beat.leases[i].job_id,
            hand->lists[EX_WORK_ENDED].last->job_id);
    cr_expect_eq(running->named, 1);
}

Test(worker_slots, a_stop_gives_back_the_line_and_lets_the_others_end)
{
    const char *ids[5];

    fetch_first();
    for (int n = 0; n < 5; n++)
        ids[n] = submit_job(ARGS("exit", "0"));
    hold(5);
    stop_and_run();
    for (int n = 0; n < 2; n++)
        wait_for_status(ids[n], EXECUTR_JOB_COMPLETED);
    for (int n = 2; n < 5; n++)
        expect_given_back(ids[n]);
}
