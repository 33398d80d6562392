/* SPDX-License-Identifier: MIT */
/* Leases: heartbeats, silence, jobs that are lost again and again, leases
 * nobody names, and goodbyes. */
#include <string.h>

#include "base/time.h"
#include "store/suite.h"

TestSuite(lease, .init = suite_open, .fini = suite_close);

#define COMPLETED EXECUTR_ATTEMPT_COMPLETED
#define FAILED EXECUTR_ATTEMPT_FAILED

Test(lease, is_kept_by_the_heartbeat_of_one_job)
{
    ex_uuid id = put_running("e1");

    cr_expect_eq(beat_job("e1", &id, 1), EXECUTR_LEASE_KEPT);
    cr_expect_eq(beat_job("e1", &id, 0), EXECUTR_LEASE_KEPT);
    cr_expect_eq(beat_job("e1", &id, 2), EXECUTR_LEASE_LOST);
    cr_expect_eq(beat_job("e2", &id, 1), EXECUTR_LEASE_LOST);
}

Test(lease, of_an_unknown_job_is_unknown)
{
    ex_uuid nobody;

    must(ex_uuid_make(&nobody, 1, &err));
    cr_expect_eq(beat_job("e1", &nobody, 1), EXECUTR_LEASE_UNKNOWN);
}

Test(lease, of_a_finished_or_pending_job_is_lost)
{
    ex_uuid done = put_running("e1");
    ex_uuid pending = put("t", EXECUTR_PRIORITY_BACKGROUND);

    must(end("e1", &done, 1, COMPLETED));
    cr_expect_eq(beat_job("e1", &done, 1), EXECUTR_LEASE_LOST);
    cr_expect_eq(beat_job("e1", &pending, 0), EXECUTR_LEASE_LOST);
    cr_expect_eq(status_of(&pending), EXECUTR_JOB_PENDING);
}

Test(lease, tells_of_a_cancelled_job)
{
    ex_uuid id = put_running("e1");

    expect_status(EXECUTR_E_CANCELLED, cancel(&id));
    cr_expect_eq(beat_job("e1", &id, 1), EXECUTR_LEASE_CANCEL);
    ex_lease lease = {id, 1, 0};
    beat("e1", &lease, 1, 10000);
    cr_expect_eq(lease.verdict, EXECUTR_LEASE_CANCEL);
}

Test(lease, is_extended_by_a_heartbeat_of_the_job)
{
    ex_uuid kept = put_running("e1");
    ex_uuid lost = put_running("e1");

    silence("e1");
    cr_expect_eq(beat_job("e1", &kept, 1), EXECUTR_LEASE_KEPT);
    cr_expect_eq(keep_up(1).recovered, 1);
    cr_expect_eq(status_of(&kept), EXECUTR_JOB_RUNNING);
    cr_expect_eq(status_of(&lost), EXECUTR_JOB_PENDING);
}

Test(lease, is_extended_by_a_whole_heartbeat)
{
    ex_uuid id = put_running("e1");
    ex_uuid other = put_running("e2");
    ex_lease lease = {id, 1, 0};

    silence(NULL);
    beat("e1", &lease, 1, 10000000000);
    cr_expect_eq(lease.verdict, EXECUTR_LEASE_KEPT);
    cr_expect_eq(keep_up(1).recovered, 1);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
    cr_expect_eq(status_of(&other), EXECUTR_JOB_PENDING);
}

Test(lease, is_not_extended_by_another_claim)
{
    ex_uuid id = put_running("e1");

    silence("e1");
    take("e1", 5);
    cr_expect_eq(keep_up(1).recovered, 1);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_PENDING);
}

Test(lease, of_a_fresh_claim_lives_without_a_heartbeat)
{
    put_running("e1");
    put_running("e2");

    cr_expect_eq(keep_up(1).recovered, 0);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_RUNNING], 2);
}

Test(lease, is_left_alone_without_reaping)
{
    ex_uuid id = put_running("e1");

    silence(NULL);
    cr_expect_eq(keep_up(0).recovered, 0);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
}

Test(lease, of_a_silent_executor_ends)
{
    ex_uuid id = put_running("e1");

    silence("e1");
    ex_upkeep done = keep_up(1);
    cr_expect_eq(done.recovered, 1);
    cr_expect_eq(done.failed, 0);
    cr_expect_eq(done.claimable, 1);
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_PENDING);
    cr_expect_eq(got->retry_count, 0);
    cr_assert_eq(got->attempt_count, 1);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_TIMEOUT);
    cr_expect_eq(got->attempts[0].outcome, EXECUTR_OUTCOME_LOST);
    cr_expect_str_eq(got->attempts[0].error_message, "executor e1 fell silent");
}

Test(lease, that_ended_fences_off_the_old_executor)
{
    ex_uuid id = put_running("e1");

    silence("e1");
    keep_up(1);
    cr_expect_eq(end("e1", &id, 1, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(beat_job("e1", &id, 1), EXECUTR_LEASE_LOST);
    const job *again = take_one("e2");
    cr_assert(again);
    cr_expect_eq(again->attempt, 2);
    cr_expect_eq(end("e1", &id, 1, COMPLETED), EXECUTR_E_LOST);
    cr_expect_eq(end("e1", &id, 0, COMPLETED), EXECUTR_E_LOST);
    must(end("e2", &id, 2, COMPLETED));
}

Test(lease, that_ended_gives_the_job_its_old_place)
{
    ex_uuid old = put_running("e1");
    ex_uuid young = put("t", EXECUTR_PRIORITY_FOREGROUND);

    silence("e1");
    keep_up(1);
    const executr_jobs *got = take("e2", 2);
    cr_assert_eq(got->count, 2);
    ex_uuid first = id_of(got->items[0]);
    cr_expect(same_id(&first, &old));
    cr_expect(!same_id(&first, &young));
}

Test(lease, lost_too_often_fails_the_job)
{
    ex_uuid id = put_running("e1");

    rules.max_lost_attempts = 3;
    for (int i = 0; i < 2; i++) {
        silence(NULL);
        cr_assert_eq(keep_up(1).failed, 0);
        cr_assert(take_one("e1"));
    }
    silence(NULL);
    ex_upkeep done = keep_up(1);
    cr_expect_eq(done.recovered, 1);
    cr_expect_eq(done.failed, 1);
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_FAILED);
    cr_expect_eq(got->outcome, EXECUTR_OUTCOME_LOST);
    cr_expect_eq(got->attempt_count, 3);
    cr_expect_str_eq(
        got->error_message,
        "gave up after 3 attempts in a row were lost (executors fell silent "
        "while running it)");
}

Test(lease, lost_of_a_job_told_to_stop_cancels_it)
{
    ex_uuid id = put_running("e1");

    expect_status(EXECUTR_E_CANCELLED, cancel(&id));
    silence("e1");
    cr_expect_eq(keep_up(1).recovered, 1);
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_CANCELLED);
    cr_expect_neq(got->completed_at_us, 0);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_TIMEOUT);
}

Test(lease, upkeep_is_bounded_and_says_that_there_is_more)
{
    put_many(1000, NULL);
    put_many(5, NULL);
    cr_assert_eq(take("e1", 1000)->count, 1000);
    cr_assert_eq(take("e1", 1000)->count, 5);
    silence(NULL);
    ex_upkeep first = keep_up(1);
    cr_expect_eq(first.recovered, 1000);
    cr_expect_eq(first.more, 1);
    ex_upkeep second = keep_up(1);
    cr_expect_eq(second.recovered, 5);
    cr_expect_eq(second.more, 0);
}

Test(lease, nobody_names_is_released)
{
    ex_uuid named = put_running("e1");
    ex_uuid unnamed = put_running("e1");
    ex_uuid other = put_running("e2");
    ex_lease lease = {named, 1, 0};

    beat("e1", &lease, 1, 0);
    cr_expect_eq(lease.verdict, EXECUTR_LEASE_KEPT);
    cr_expect_eq(status_of(&named), EXECUTR_JOB_RUNNING);
    cr_expect_eq(status_of(&other), EXECUTR_JOB_RUNNING);
    const job *got = look(&unnamed, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->status, EXECUTR_JOB_PENDING);
    cr_expect_eq(got->retry_count, 0);
    cr_assert_eq(got->attempt_count, 1);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_RELEASED);
    cr_expect_eq(number("SELECT max(lost_count) FROM jobs"), 0);
}

/* A heartbeat that was held up can't name what was claimed meanwhile. */
Test(lease, is_as_old_as_when_the_others_were_named)
{
    executr_heartbeat info = EXECUTR_HEARTBEAT_INIT;
    ex_uuid id = put_running("e1");

    info.executor_id = "e1";
    info.executor_ip = "";
    info.version = "";
    ex_heartbeat late = {&info, NULL, 0, 0, ex_monotonic_us() - HOUR_MS * 1000};
    must(store->ops->heartbeat(store, &late, 1, &err));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
}

Test(lease, that_is_young_needs_no_name)
{
    ex_uuid id = put_running("e1");

    beat("e1", NULL, 0, 3600000);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
    cr_expect_eq(beat_job("e1", &id, 1), EXECUTR_LEASE_KEPT);
}

Test(lease, named_with_an_old_attempt_is_not_named)
{
    ex_uuid id = put_running("e1");
    ex_lease lease = {id, 1, 0};

    must(give_back("e1", &id, 1));
    cr_assert(take_one("e1"));
    beat("e1", &lease, 1, 0);
    cr_expect_eq(lease.verdict, EXECUTR_LEASE_LOST);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_PENDING);
}

Test(lease, of_one_jobs_heartbeat_releases_nothing)
{
    ex_uuid a = put_running("e1");
    ex_uuid b = put_running("e1");

    cr_expect_eq(beat_job("e1", &a, 1), EXECUTR_LEASE_KEPT);
    cr_expect_eq(status_of(&b), EXECUTR_JOB_RUNNING);
}

Test(lease, heartbeats_of_many_executors_come_in_one_call)
{
    ex_uuid a = put_running("e1");
    ex_uuid b = put_running("e2");
    ex_lease leases[3] = {{a, 1, 0}, {b, 1, 0}, {a, 1, 0}};
    executr_heartbeat infos[2] = {
        EXECUTR_HEARTBEAT_INIT, EXECUTR_HEARTBEAT_INIT};
    ex_heartbeat beats[2] = {
        {&infos[0], leases, 1, 0, 0}, {&infos[1], leases + 1, 2, 0, 0}};

    for (int i = 0; i < 2; i++) {
        infos[i].executor_id = i ? "e2" : "e1";
        infos[i].executor_ip = "10.0.0.9";
        infos[i].version = "1";
        infos[i].max_jobs = 1;
    }
    must(store->ops->heartbeat(store, beats, 2, &err));
    cr_expect_eq(leases[0].verdict, EXECUTR_LEASE_KEPT);
    cr_expect_eq(leases[1].verdict, EXECUTR_LEASE_KEPT);
    cr_expect_eq(leases[2].verdict, EXECUTR_LEASE_LOST);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_RUNNING], 2);
}

Test(lease, a_heartbeat_without_address_keeps_the_known_one)
{
    executr_heartbeat info = EXECUTR_HEARTBEAT_INIT;
    const char *const told[] = {"10.0.0.9", ""};

    info.executor_id = "e1";
    info.version = "1";
    info.max_jobs = 1;
    for (int i = 0; i < 2; i++) {
        info.executor_ip = told[i];
        ex_heartbeat whole = {&info, NULL, 0, 3600000, 0};
        must(store->ops->heartbeat(store, &whole, 1, &err));
    }
    cr_expect_eq(
        number("SELECT count(*) FROM executors WHERE executor_id = 'e1'"
               " AND executor_ip = '10.0.0.9'"),
        1);
}

Test(lease, a_whole_heartbeat_shows_in_the_record)
{
    ex_uuid id = put_running("e1");
    ex_lease lease = {id, 1, 0};
    int64_t before = look(&id, 0)->last_heartbeat_us;

    beat("e1", &lease, 1, 10000);
    cr_expect(look(&id, 0)->last_heartbeat_us > before);
}

Test(lease, goodbye_gives_all_jobs_back)
{
    ex_uuid a = put_running("e1");
    ex_uuid b = put_running("e1");
    ex_uuid other = put_running("e2");

    must(store->ops->goodbye(store, "e1", &err));
    cr_expect_eq(status_of(&a), EXECUTR_JOB_PENDING);
    cr_expect_eq(status_of(&b), EXECUTR_JOB_PENDING);
    cr_expect_eq(status_of(&other), EXECUTR_JOB_RUNNING);
    const job *got = look(&a, EXECUTR_PART_ATTEMPTS);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_RELEASED);
    cr_expect_eq(stats().active_executors, 1);
    must(store->ops->goodbye(store, "e1", &err));
    must(store->ops->goodbye(store, "nobody", &err));
}

Test(lease, goodbye_cancels_what_was_told_to_stop)
{
    ex_uuid id = put_running("e1");

    expect_status(EXECUTR_E_CANCELLED, cancel(&id));
    must(store->ops->goodbye(store, "e1", &err));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_CANCELLED);
}

Test(lease, unnamed_of_a_job_told_to_stop_cancels_it)
{
    ex_uuid id = put_running("e1");

    expect_status(EXECUTR_E_CANCELLED, cancel(&id));
    beat("e1", NULL, 0, 0);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_CANCELLED);
}
