/* SPDX-License-Identifier: MIT */
/* Cancelling in each state, one by one and by what matches. */
#include <string.h>

#include "store/suite.h"

TestSuite(cancel, .init = suite_open, .fini = suite_close);

#define COMPLETED EXECUTR_ATTEMPT_COMPLETED
#define FAILED EXECUTR_ATTEMPT_FAILED

Test(cancel, ends_a_pending_job)
{
    ex_uuid id = put("t", EXECUTR_PRIORITY_BACKGROUND);

    must(cancel(&id));
    const job *got = look(&id, 0);
    cr_expect_eq(got->status, EXECUTR_JOB_CANCELLED);
    cr_expect_neq(got->completed_at_us, 0);
    cr_expect_null(take_one("e1"));
}

Test(cancel, ends_a_job_that_waits_for_a_retry)
{
    executr_job_spec spec = spec_of("t");

    spec.max_retries = 3;
    ex_uuid id = put_spec(&spec);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 1, FAILED));
    must(cancel(&id));
    make_due();
    cr_expect_eq(keep_up(1).due, 0);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_CANCELLED);
}

Test(cancel, tells_a_running_job_to_stop)
{
    ex_uuid id = put_running("e1");

    cr_expect_eq(cancel(&id), EXECUTR_E_CANCELLED);
    cr_expect_eq(cancel(&id), EXECUTR_E_CANCELLED);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_RUNNING], 1);
}

Test(cancel, becomes_final_when_the_attempt_fails)
{
    executr_job_spec spec = spec_of("t");

    spec.max_retries = 3;
    ex_uuid id = put_spec(&spec);
    cr_assert(take_one("e1"));
    cr_assert_eq(cancel(&id), EXECUTR_E_CANCELLED);
    must(end("e1", &id, 1, FAILED));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_CANCELLED);
    cr_expect_neq(got->completed_at_us, 0);
    cr_assert_eq(got->attempt_count, 1);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_CANCELLED);
    must(end("e1", &id, 1, FAILED));
}

Test(cancel, loses_to_a_job_that_completes)
{
    ex_uuid id = put_running("e1");

    cr_assert_eq(cancel(&id), EXECUTR_E_CANCELLED);
    must(end("e1", &id, 1, COMPLETED));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_COMPLETED);
}

Test(cancel, becomes_final_when_the_job_is_given_back)
{
    ex_uuid id = put_running("e1");

    cr_assert_eq(cancel(&id), EXECUTR_E_CANCELLED);
    must(give_back("e1", &id, 1));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_CANCELLED);
}

Test(cancel, is_refused_for_finished_jobs)
{
    ex_uuid done = put_running("e1");
    ex_uuid failed = put_running("e1");
    ex_uuid gone = put("t", EXECUTR_PRIORITY_FOREGROUND);
    ex_uuid nobody;

    must(ex_uuid_make(&nobody, 1, &err));
    must(end("e1", &done, 1, COMPLETED));
    must(end("e1", &failed, 1, FAILED));
    must(cancel(&gone));
    cr_expect_eq(cancel(&done), EXECUTR_E_CONFLICT);
    cr_expect_eq(cancel(&failed), EXECUTR_E_CONFLICT);
    cr_expect_eq(cancel(&gone), EXECUTR_E_CONFLICT);
    cr_expect_eq(cancel(&nobody), EXECUTR_E_NOT_FOUND);
}

Test(cancel, judges_each_job_of_a_batch_by_itself)
{
    ex_uuid running = put_running("e1");
    ex_uuid done = put_running("e1");
    ex_uuid pending = put("odd type", EXECUTR_PRIORITY_BEST_EFFORT);
    ex_cancel batch[5];

    must(end("e1", &done, 1, COMPLETED));
    memset(batch, 0, sizeof batch);
    batch[0].id = running;
    batch[1].id = done;
    batch[2].id = pending;
    must(ex_uuid_make(&batch[3].id, 1, &err));
    batch[4].id = running;
    must(store->ops->cancel(store, batch, 5, &err));
    cr_expect_eq(batch[0].result, EXECUTR_E_CANCELLED);
    cr_expect_eq(batch[1].result, EXECUTR_E_CONFLICT);
    must(batch[2].result);
    cr_expect_eq(batch[2].priority, EXECUTR_PRIORITY_BEST_EFFORT);
    cr_expect_str_eq(batch[2].type, "odd type");
    cr_expect_eq(batch[3].result, EXECUTR_E_NOT_FOUND);
    cr_expect_eq(batch[4].result, EXECUTR_E_CANCELLED);
}

Test(cancel, takes_a_thousand_at_once)
{
    static ex_cancel batch[1000];
    ex_uuid ids[1000];

    put_many(1000, ids);
    for (size_t i = 0; i < 1000; i++)
        batch[i].id = ids[i];
    must(store->ops->cancel(store, batch, 1000, &err));
    for (size_t i = 0; i < 1000; i++)
        must(batch[i].result);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_CANCELLED], 1000);
    cr_expect_eq(number("SELECT count(*) FROM queue"), 0);
}

/* How many jobs match, all pages together. */
static size_t matching(const executr_filter *filter)
{
    static ex_uuid page[1000];
    ex_uuid after;
    size_t count = 0;
    size_t total = 0;

    memset(&after, 0, sizeof after);
    do {
        must(store->ops->matching(store, filter, &after, page, &count, &err));
        total += count;
        for (size_t i = 0; i < count; i++) {
            cr_assert(ex_uuid_compare(&page[i], &after) > 0);
            after = page[i];
        }
    } while (count == 1000);
    return total;
}

Test(cancel, finds_jobs_by_page)
{
    executr_filter all = EXECUTR_FILTER_INIT;

    put_many(1000, NULL);
    put_many(1000, NULL);
    put_many(7, NULL);
    cr_expect_eq(matching(&all), 2007);
}

Test(cancel, finds_what_matches_and_is_not_finished)
{
    executr_filter filter = EXECUTR_FILTER_INIT;
    ex_uuid done = put_running("e1");

    put_running("e1");
    put("other", EXECUTR_PRIORITY_BACKGROUND);
    put("other", EXECUTR_PRIORITY_BEST_EFFORT);
    must(end("e1", &done, 1, COMPLETED));
    cr_expect_eq(matching(&filter), 3);
    filter.type = "other";
    cr_expect_eq(matching(&filter), 2);
    filter.priority = EXECUTR_PRIORITY_BEST_EFFORT;
    cr_expect_eq(matching(&filter), 1);
    filter = (executr_filter)EXECUTR_FILTER_INIT;
    filter.status = EXECUTR_JOB_RUNNING;
    cr_expect_eq(matching(&filter), 1);
    filter.status = EXECUTR_JOB_COMPLETED;
    cr_expect_eq(matching(&filter), 0);
}
