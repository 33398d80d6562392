/* SPDX-License-Identifier: MIT */
/* What becomes of a failed attempt: retries, reports that don't count, and
 * jobs that are put back by hand. */
#include <string.h>

#include "store/suite.h"

TestSuite(retry, .init = suite_open, .fini = suite_close);

#define COMPLETED EXECUTR_ATTEMPT_COMPLETED
#define FAILED EXECUTR_ATTEMPT_FAILED

/* A job with retries, claimed by e1. */
static ex_uuid put_retried(int32_t max_retries)
{
    executr_job_spec spec = spec_of("t");

    spec.max_retries = max_retries;
    spec.priority = EXECUTR_PRIORITY_FOREGROUND;
    ex_uuid id = put_spec(&spec);
    cr_assert(take_one("e1"));
    return id;
}

Test(retry, makes_a_failed_job_wait)
{
    ex_uuid id = put_retried(2);

    must(end("e1", &id, 1, FAILED));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_PENDING);
    cr_expect_eq(got->retry_count, 1);
    cr_expect_neq(got->retry_after_us, 0);
    cr_expect_str_eq(got->error_message, "it broke");
    cr_expect_str_eq(got->executor_id, "");
    cr_assert_eq(got->attempt_count, 1);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_FAILED);
    cr_expect_null(take_one("e2"));
    cr_expect_eq(number("SELECT count(*) FROM waiting"), 1);
}

Test(retry, waits_as_long_as_the_rules_say)
{
    rules.retry_ms[0] = 1000000;
    rules.retry_ms[1] = 2000000;
    ex_uuid id = put_retried(2);

    must(end("e1", &id, 1, FAILED));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(
        got->retry_after_us - got->attempts[0].ended_at_us,
        INT64_C(1000000000));
    make_due();
    keep_up(0);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 2, FAILED));
    got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(
        got->retry_after_us - got->attempts[1].ended_at_us,
        INT64_C(2000000000));
}

Test(retry, waits_the_last_delay_beyond_the_table)
{
    ex_uuid id = put_retried(1000);

    rules.retry_ms[EX_RETRY_STEPS - 1] = 5000;
    sql("UPDATE jobs SET retry_count = 900");
    must(end("e1", &id, 1, FAILED));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->retry_count, 901);
    cr_expect_eq(
        got->retry_after_us - got->attempts[0].ended_at_us, INT64_C(5000000));
}

Test(retry, is_queued_by_upkeep_when_due)
{
    ex_uuid id = put_retried(1);

    must(end("e1", &id, 1, FAILED));
    ex_upkeep early = keep_up(1);
    cr_expect_eq(early.due, 0);
    cr_expect_eq(early.claimable, 0);
    make_due();
    ex_upkeep due = keep_up(0);
    cr_expect_eq(due.due, 1);
    cr_expect_eq(due.claimable, 1);
    const job *got = take_one("e2");
    cr_assert(got);
    cr_expect_eq(got->attempt, 2);
    cr_expect_eq(got->retry_count, 1);
}

Test(retry, is_queued_at_its_old_place)
{
    ex_uuid old = put_retried(1);
    ex_uuid young = put("t", EXECUTR_PRIORITY_FOREGROUND);

    must(end("e1", &old, 1, FAILED));
    make_due();
    keep_up(0);
    const executr_jobs *got = take("e1", 2);
    cr_assert_eq(got->count, 2);
    ex_uuid first = id_of(got->items[0]);
    ex_uuid second = id_of(got->items[1]);
    cr_expect(same_id(&first, &old));
    cr_expect(same_id(&second, &young));
}

Test(retry, ends_when_retries_are_used_up)
{
    ex_uuid id = put_retried(1);

    must(end("e1", &id, 1, FAILED));
    make_due();
    keep_up(0);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 2, FAILED));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_FAILED);
    cr_expect_eq(got->retry_count, 1);
    cr_expect_eq(got->attempt_count, 2);
}

Test(retry, shows_the_output_of_the_latest_attempt)
{
    ex_uuid id = put_retried(1);
    executr_report report = report_of(FAILED);
    ex_finish entry = end_of("e1", &id, &report);

    report.stdout_data = "first";
    report.stdout_length = 5;
    must(finish(&entry, 1));
    make_due();
    keep_up(0);
    cr_assert(take_one("e1"));
    cr_expect_str_eq(look(&id, EXECUTR_PART_OUTPUT)->stdout_data, "first");
    report.stdout_data = "second";
    report.stdout_length = 6;
    must(finish(&entry, 1));
    cr_expect_str_eq(look(&id, EXECUTR_PART_OUTPUT)->stdout_data, "second");
}

Test(retry, forgets_the_error_when_it_goes_well)
{
    ex_uuid id = put_retried(1);

    must(end("e1", &id, 1, FAILED));
    make_due();
    keep_up(0);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 2, COMPLETED));
    const job *got = look(&id, 0);
    cr_expect_eq(got->status, EXECUTR_JOB_COMPLETED);
    cr_expect_str_eq(got->error_message, "");
    cr_expect_eq(got->exit_code, 0);
}

Test(retry, does_not_count_a_job_given_back)
{
    ex_uuid id = put_retried(0);

    must(give_back("e1", &id, 1));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_PENDING);
    cr_expect_eq(got->retry_count, 0);
    cr_assert_eq(got->attempt_count, 1);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_RELEASED);
    const job *again = take_one("e2");
    cr_assert(again);
    cr_expect_eq(again->attempt, 2);
}

Test(retry, leaves_earlier_results_when_given_back)
{
    ex_uuid id = put_retried(1);

    must(end("e1", &id, 1, FAILED));
    make_due();
    keep_up(0);
    cr_assert(take_one("e1"));
    must(give_back("e1", &id, 2));
    const job *got = look(&id, 0);
    cr_expect_eq(got->retry_count, 1);
    cr_expect_eq(got->exit_code, 3);
    cr_expect_str_eq(got->error_message, "it broke");
}

Test(retry, knows_a_job_given_back_twice)
{
    ex_uuid id = put_retried(0);

    must(give_back("e1", &id, 1));
    must(give_back("e1", &id, 1));
    cr_expect_eq(end("e1", &id, 1, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(number("SELECT count(*) FROM job_attempts"), 1);
}

Test(retry, counts_lost_attempts_anew_after_a_report)
{
    ex_uuid id = put_retried(5);

    silence(NULL);
    keep_up(1);
    cr_expect_eq(number("SELECT lost_count FROM jobs"), 1);
    cr_assert(take_one("e1"));
    must(give_back("e1", &id, 2));
    cr_expect_eq(number("SELECT lost_count FROM jobs"), 1);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 3, FAILED));
    cr_expect_eq(number("SELECT lost_count FROM jobs"), 0);
}

Test(retry, by_hand_starts_a_failed_job_anew)
{
    ex_uuid id = put_retried(1);

    must(end("e1", &id, 1, FAILED));
    make_due();
    keep_up(0);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 2, FAILED));
    must(retry(&id));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_PENDING);
    cr_expect_eq(got->retry_count, 0);
    cr_expect_eq(got->has_exit_code, 0);
    cr_expect_eq(got->completed_at_us, 0);
    cr_expect_str_eq(got->error_message, "");
    cr_expect_eq(got->attempt_count, 2);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 3, FAILED));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_PENDING, "its retries are new");
}

Test(retry, by_hand_starts_a_cancelled_job_anew)
{
    ex_uuid waited = put("t", EXECUTR_PRIORITY_FOREGROUND);

    must(cancel(&waited));
    must(retry(&waited));
    cr_assert(take_one("e1"));
    expect_status(EXECUTR_E_CANCELLED, cancel(&waited));
    must(end("e1", &waited, 1, FAILED));
    cr_expect_eq(status_of(&waited), EXECUTR_JOB_CANCELLED);
    must(retry(&waited));
    cr_assert(take_one("e1"));
    cr_expect_eq(beat_job("e1", &waited, 2), EXECUTR_LEASE_KEPT);
}

Test(retry, by_hand_is_refused_for_other_jobs)
{
    ex_uuid pending = put("t", EXECUTR_PRIORITY_BACKGROUND);
    ex_uuid running = put_running("e1");
    ex_uuid done = put_running("e1");
    ex_uuid nobody;

    must(ex_uuid_make(&nobody, 1, &err));
    must(end("e1", &done, 1, COMPLETED));
    cr_expect_eq(retry(&pending), EXECUTR_E_CONFLICT);
    cr_expect_eq(retry(&running), EXECUTR_E_CONFLICT);
    cr_expect_eq(retry(&done), EXECUTR_E_CONFLICT);
    cr_expect_eq(retry(&nobody), EXECUTR_E_NOT_FOUND);
    cr_expect_eq(status_of(&pending), EXECUTR_JOB_PENDING);
    cr_expect_eq(status_of(&done), EXECUTR_JOB_COMPLETED);
}
