/* SPDX-License-Identifier: MIT */
/* Jobs that are submitted for somebody's waiting claim: they never enter the
 * queue, and are afterwards as any other that was claimed. */
#include <string.h>

#include "store/suite.h"

TestSuite(taken, .init = suite_open, .fini = suite_close);

static executr_claim takers[2];

static ex_submit entry_for(const executr_job_spec *spec, int who)
{
    static const char *const names[] = {"e1", "e2"};
    ex_submit entry = entry_of(spec);

    takers[who] = claim_of(names[who], 1);
    entry.taker = &takers[who];
    return entry;
}

static ex_uuid put_taken(int who)
{
    executr_job_spec spec = spec_of("t");
    ex_submit entry = entry_for(&spec, who);

    must(submit(&entry, 1));
    must(entry.result);
    cr_assert_eq(entry.taken, 1);
    return entry.id;
}

Test(taken, runs_from_the_beginning)
{
    executr_job_spec spec = spec_of("t");
    ex_submit entry = entry_for(&spec, 0);

    must(submit(&entry, 1));
    cr_expect_eq(entry.taken, 1);
    const job *got = look(&entry.id, EXECUTR_PART_ALL);
    cr_expect_eq(got->status, EXECUTR_JOB_RUNNING);
    cr_expect_eq(got->attempt, 1);
    cr_expect_str_eq(got->executor_id, "e1");
    cr_expect_eq(got->created_at_us, entry.created_at_us);
    cr_expect_eq(got->started_at_us, entry.created_at_us);
    cr_expect_eq(got->last_heartbeat_us, entry.created_at_us);
    cr_expect_eq(got->attempt_count, 1);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_RUNNING], 1);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 0);
    cr_expect_eq(number("SELECT count(*) FROM queue"), 0);
    cr_expect_null(take_one("e2"));
}

Test(taken, ends_by_its_executor_alone)
{
    ex_uuid id = put_taken(0);

    cr_expect_eq(beat_job("e1", &id, 1), EXECUTR_LEASE_KEPT);
    cr_expect_eq(beat_job("e2", &id, 1), EXECUTR_LEASE_LOST);
    expect_status(EXECUTR_E_LOST, end("e2", &id, 1, EXECUTR_ATTEMPT_COMPLETED));
    must(end("e1", &id, 1, EXECUTR_ATTEMPT_COMPLETED));
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_COMPLETED);
    cr_assert_eq(got->attempt_count, 1);
    cr_expect_str_eq(got->attempts[0].executor_id, "e1");
}

Test(taken, comes_back_with_a_goodbye)
{
    ex_uuid id = put_taken(0);

    must(store->ops->goodbye(store, "e1", &err));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_PENDING);
    const job *got = take_one("e2");
    cr_assert(got);
    cr_expect_eq(got->attempt, 2);
}

Test(taken, comes_back_when_nobody_names_it)
{
    ex_uuid id = put_taken(0);

    beat("e1", NULL, 0, 0);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_PENDING);
}

Test(taken, is_taken_back_when_its_lease_is_over)
{
    ex_uuid silent = put_taken(0);
    ex_uuid other = put_taken(1);

    silence("e1");
    keep_up(1);
    cr_expect_eq(status_of(&silent), EXECUTR_JOB_PENDING);
    cr_expect_eq(status_of(&other), EXECUTR_JOB_RUNNING);
}

Test(taken, stands_among_others_in_one_call)
{
    executr_job_spec spec = spec_of("t");
    ex_submit batch[5] = {
        entry_for(&spec, 0), entry_of(&spec), entry_for(&spec, 1),
        entry_for(&spec, 0), entry_of(&spec)};

    must(submit(batch, 5));
    for (int i = 0; i < 5; i++) {
        const executr_claim *taker = batch[i].taker;
        const job *got = look(&batch[i].id, 0);
        cr_expect_eq(batch[i].taken, taker != NULL);
        cr_expect_eq(
            got->status, taker ? EXECUTR_JOB_RUNNING : EXECUTR_JOB_PENDING);
        cr_expect_str_eq(got->executor_id, taker ? taker->executor_id : "");
    }
    cr_expect_eq(take("e3", 9)->count, 2);
    must(store->ops->goodbye(store, "e1", &err));
    cr_expect_eq(take("e3", 9)->count, 2);
}

Test(taken, is_not_what_was_refused_or_repeated)
{
    executr_job_spec bare = spec_of("t");
    executr_job_spec keyed = spec_of("t");

    bare.binary_url = NULL;
    keyed.idempotency_key = "k";
    ex_submit first = entry_for(&keyed, 0);
    first.digest = "d";
    must(submit(&first, 1));
    cr_expect_eq(first.taken, 1);
    ex_submit batch[4] = {
        entry_for(&bare, 0), entry_for(&keyed, 1), entry_for(&keyed, 1),
        entry_for(&bare, 1)};
    batch[1].digest = "d";
    batch[2].digest = "other";
    must(submit(batch, 4));
    cr_expect_eq(batch[0].result, EXECUTR_E_NOT_FOUND);
    cr_expect_eq(batch[1].repeated, 1);
    cr_expect_eq(batch[2].result, EXECUTR_E_CONFLICT);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(batch[i].taken, 0);
    cr_expect_str_eq(look(&first.id, 0)->executor_id, "e1");
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 1);
}

Test(taken, is_no_different_in_the_next_attempt)
{
    executr_job_spec spec = spec_of("t");

    spec.max_retries = 1;
    ex_submit entry = entry_for(&spec, 0);
    must(submit(&entry, 1));
    must(end("e1", &entry.id, 1, EXECUTR_ATTEMPT_FAILED));
    make_due();
    keep_up(0);
    const job *got = take_one("e2");
    cr_assert(got);
    cr_expect_eq(got->attempt, 2);
    cr_expect_eq(got->retry_count, 1);
}
