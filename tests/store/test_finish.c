/* SPDX-License-Identifier: MIT */
/* Ends of attempts: results, the fence, repeats, retries, outputs. */
#include <string.h>

#include "store/suite.h"

TestSuite(finish, .init = suite_open, .fini = suite_close);

#define COMPLETED EXECUTR_ATTEMPT_COMPLETED
#define FAILED EXECUTR_ATTEMPT_FAILED

Test(finish, completes_a_job)
{
    ex_uuid id = put_running("e1");

    must(end("e1", &id, 1, COMPLETED));
    const job *got = look(&id, EXECUTR_PART_ALL);
    cr_expect_eq(got->status, EXECUTR_JOB_COMPLETED);
    cr_expect_eq(got->has_exit_code, 1);
    cr_expect_eq(got->exit_code, 0);
    cr_expect_eq(got->outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect(got->completed_at_us >= got->started_at_us);
    cr_expect_str_eq(got->executor_id, "e1");
    cr_assert_eq(got->attempt_count, 1);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_COMPLETED);
    cr_expect_eq(got->attempts[0].ended_at_us, got->completed_at_us);
}

Test(finish, fails_a_job_without_retries)
{
    ex_uuid id = put_running("e1");

    must(end("e1", &id, 1, FAILED));
    const job *got = look(&id, EXECUTR_PART_ALL);
    cr_expect_eq(got->status, EXECUTR_JOB_FAILED);
    cr_expect_eq(got->exit_code, 3);
    cr_expect_str_eq(got->error_message, "it broke");
    cr_expect_neq(got->completed_at_us, 0);
    cr_assert_eq(got->attempt_count, 1);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_FAILED);
    cr_expect_str_eq(got->attempts[0].error_message, "it broke");
}

Test(finish, tells_the_event_hook_what_it_needs)
{
    ex_uuid id = put_running("e1");
    executr_report report = report_of(COMPLETED);
    ex_finish entry = end_of("e1", &id, &report);

    must(finish(&entry, 1));
    cr_expect_eq(entry.job_status, EXECUTR_JOB_COMPLETED);
    cr_expect_eq(entry.priority, EXECUTR_PRIORITY_FOREGROUND);
    cr_expect_str_eq(entry.type, "t");
    cr_expect(entry.ran_us >= 0 && entry.ran_us < 60 * INT64_C(1000000));
    cr_expect_eq(entry.repeated, 0);
}

Test(finish, keeps_signal_outcome_and_usage)
{
    ex_uuid id = put_running("e1");
    executr_report report = report_of(FAILED);
    ex_finish entry = end_of("e1", &id, &report);

    report.has_exit_code = 0;
    report.signal = 9;
    report.outcome = EXECUTR_OUTCOME_OOM;
    report.user_seconds = 1.5;
    report.system_seconds = 0.25;
    report.wall_seconds = 2.5;
    report.max_rss_bytes = INT64_C(5000000000);
    must(finish(&entry, 1));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->has_exit_code, 0);
    cr_expect_eq(got->signal, 9);
    cr_expect_eq(got->outcome, EXECUTR_OUTCOME_OOM);
    const struct executr_attempt *attempt = &got->attempts[0];
    cr_expect_eq(attempt->has_usage, 1);
    cr_expect_eq(attempt->signal, 9);
    cr_expect_eq(attempt->outcome, EXECUTR_OUTCOME_OOM);
    cr_expect(attempt->user_seconds > 1.4 && attempt->user_seconds < 1.6);
    cr_expect(attempt->wall_seconds > 2.4 && attempt->wall_seconds < 2.6);
    cr_expect_eq(attempt->max_rss_bytes, INT64_C(5000000000));
}

/* Complete with these outputs and read them back. */
static const job *with_output(
    const void *out, size_t out_length, const void *errors, size_t err_length)
{
    ex_uuid id = put_running("e1");
    executr_report report = report_of(COMPLETED);
    ex_finish entry = end_of("e1", &id, &report);

    report.stdout_data = out;
    report.stdout_length = out_length;
    report.stderr_data = errors;
    report.stderr_length = err_length;
    must(finish(&entry, 1));
    must(entry.result);
    const job *got = look(&id, EXECUTR_PART_OUTPUT);
    cr_assert_eq(got->has_output, 1);
    cr_assert_eq(got->stdout_length, out_length);
    cr_assert_eq(got->stderr_length, err_length);
    return got;
}

Test(finish, keeps_any_bytes_of_output)
{
    char all[256];

    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    const job *got = with_output(all, 256, "\xff\xfe\0\xc3", 4);
    cr_expect_eq(memcmp(got->stdout_data, all, 256), 0);
    cr_expect_eq(memcmp(got->stderr_data, "\xff\xfe\0\xc3", 4), 0);
}

Test(finish, keeps_a_mebibyte_of_output)
{
    static char big[1024 * 1024];

    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 31 >> 3);
    const job *got = with_output(big, sizeof big, NULL, 0);
    cr_expect_eq(memcmp(got->stdout_data, big, sizeof big), 0);
}

Test(finish, hands_out_only_the_parts_asked_for)
{
    ex_uuid id = put_running("e1");

    must(end("e1", &id, 1, COMPLETED));
    const job *bare = look(&id, 0);
    const job *output = look(&id, EXECUTR_PART_OUTPUT);
    const job *attempts = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect(!bare->has_output && !bare->has_attempts);
    cr_expect(output->has_output && !output->has_attempts);
    cr_expect(!attempts->has_output && attempts->has_attempts);
}

Test(finish, is_refused_to_another_executor)
{
    ex_uuid id = put_running("e1");

    cr_expect_eq(end("e2", &id, 1, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(end("e2", &id, 0, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
}

Test(finish, is_refused_for_another_attempt)
{
    ex_uuid id = put_running("e1");

    must(give_back("e1", &id, 1));
    cr_assert(take_one("e1"));
    cr_expect_eq(end("e1", &id, 1, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(end("e1", &id, 3, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
    must(end("e1", &id, 2, COMPLETED));
}

Test(finish, is_refused_for_pending_and_unknown_jobs)
{
    ex_uuid id = put("t", EXECUTR_PRIORITY_FOREGROUND);
    ex_uuid nobody;

    must(ex_uuid_make(&nobody, 1, &err));
    cr_expect_eq(end("e1", &id, 0, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(end("e1", &id, 1, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(end("e1", &nobody, 1, COMPLETED), EXECUTR_E_NOT_FOUND);
}

Test(finish, takes_attempt_zero_as_the_current_one)
{
    ex_uuid id = put_running("e1");

    must(end("e1", &id, 0, COMPLETED));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_COMPLETED);
}

Test(finish, says_ok_to_the_same_end_again)
{
    ex_uuid id = put_running("e1");
    executr_report report = report_of(COMPLETED);

    must(end("e1", &id, 1, COMPLETED));
    report.attempt = 1;
    ex_finish again = end_of("e1", &id, &report);
    must(finish(&again, 1));
    must(again.result);
    cr_expect_eq(again.repeated, 1);
    must(end("e1", &id, 0, COMPLETED));
    cr_expect_eq(number("SELECT count(*) FROM job_attempts"), 1);
}

Test(finish, refuses_another_end_of_a_finished_attempt)
{
    ex_uuid id = put_running("e1");

    must(end("e1", &id, 1, COMPLETED));
    cr_expect_eq(end("e1", &id, 1, FAILED), EXECUTR_E_LOST);
    cr_expect_eq(end("e2", &id, 1, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_COMPLETED);
}

Test(finish, knows_a_repeat_while_the_job_runs_again)
{
    executr_job_spec spec = spec_of("t");

    spec.max_retries = 1;
    ex_uuid id = put_spec(&spec);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 1, FAILED));
    make_due();
    keep_up(0);
    cr_assert(take_one("e2"));
    must(end("e1", &id, 1, FAILED));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
    cr_expect_eq(look(&id, 0)->retry_count, 1);
}

Test(finish, counts_the_first_of_two_reports_in_one_batch)
{
    ex_uuid id = put_running("e1");
    executr_report good = report_of(COMPLETED);
    executr_report bad = report_of(FAILED);
    ex_finish batch[3] = {
        end_of("e1", &id, &good), end_of("e1", &id, &good),
        end_of("e1", &id, &bad)};

    good.attempt = 1;
    bad.attempt = 1;
    must(finish(batch, 3));
    must(batch[0].result);
    must(batch[1].result);
    cr_expect_eq(batch[0].repeated, 0);
    cr_expect_eq(batch[1].repeated, 1);
    cr_expect_eq(batch[2].result, EXECUTR_E_LOST);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_COMPLETED);
}

Test(finish, judges_each_report_of_a_batch_by_itself)
{
    ex_uuid mine = put_running("e1");
    ex_uuid other = put_running("e2");
    ex_uuid nobody;
    executr_report good = report_of(COMPLETED);
    executr_report bad = report_of(FAILED);

    must(ex_uuid_make(&nobody, 1, &err));
    ex_finish batch[4] = {
        end_of("e1", &nobody, &good), end_of("e1", &other, &good),
        end_of("e2", &other, &bad), end_of("e1", &mine, &good)};
    must(finish(batch, 4));
    cr_expect_eq(batch[0].result, EXECUTR_E_NOT_FOUND);
    must(batch[2].result);
    must(batch[3].result);
    cr_expect_eq(batch[1].result, EXECUTR_E_LOST);
    cr_expect_eq(status_of(&other), EXECUTR_JOB_FAILED);
    cr_expect_eq(status_of(&mine), EXECUTR_JOB_COMPLETED);
}

Test(finish, takes_a_thousand_at_once)
{
    static ex_finish batch[1000];
    executr_report report = report_of(COMPLETED);

    put_many(1000, NULL);
    const executr_jobs *got = take("e1", 1000);
    report.attempt = 1;
    for (size_t i = 0; i < 1000; i++) {
        ex_uuid id = id_of(got->items[i]);
        batch[i] = end_of("e1", &id, &report);
    }
    must(finish(batch, 1000));
    for (size_t i = 0; i < 1000; i++)
        must(batch[i].result);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_COMPLETED], 1000);
}

Test(finish, counts_what_an_executor_completed)
{
    executr_executors *known = NULL;
    ex_uuid a = put_running("e1");
    ex_uuid b = put_running("e1");

    must(end("e1", &a, 1, COMPLETED));
    must(end("e1", &b, 1, COMPLETED));
    must(end("e1", &b, 1, COMPLETED));
    must(ex_executors_new(&known, &err));
    must(store->ops->executors(store, 60000, known, &err));
    cr_assert_eq(known->count, 1);
    cr_expect_eq(known->items[0].jobs_completed, 2);
    executr_executors_free(known);
}

Test(finish, completed_is_never_given_back)
{
    ex_uuid id = put_running("e1");
    executr_report report = report_of(EXECUTR_ATTEMPT_COMPLETED);

    report.uncounted = 1;
    ex_finish ends[2] = {
        end_of("e1", &id, &report), end_of("e1", &id, &report)};
    must(finish(ends, 2));
    cr_expect_eq(ends[0].job_status, EXECUTR_JOB_COMPLETED);
    cr_expect(ends[1].repeated);
}
