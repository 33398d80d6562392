/* SPDX-License-Identifier: MIT */
/* Claiming: order, filters, offers, attempts and what a claim hands out. */
#include <string.h>

#include "store/suite.h"

TestSuite(claim, .init = suite_open, .fini = suite_close);

#define FOREGROUND EXECUTR_PRIORITY_FOREGROUND
#define BACKGROUND EXECUTR_PRIORITY_BACKGROUND
#define BEST_EFFORT EXECUTR_PRIORITY_BEST_EFFORT

static void expect_order(
    const executr_jobs *got, const ex_uuid *const *ids, size_t count)
{
    cr_assert_eq(got->count, count, "%zu jobs came", got->count);
    for (size_t i = 0; i < count; i++) {
        ex_uuid id = id_of(got->items[i]);
        cr_expect(same_id(&id, ids[i]), "another job at %zu", i);
    }
}

Test(claim, finds_nothing_in_an_empty_store)
{
    cr_expect_null(take_one("e1"));
}

Test(claim, goes_by_priority_then_age)
{
    ex_uuid b1 = put("t", BACKGROUND);
    ex_uuid e1 = put("t", BEST_EFFORT);
    ex_uuid f1 = put("t", FOREGROUND);
    ex_uuid b2 = put("t", BACKGROUND);
    ex_uuid f2 = put("t", FOREGROUND);

    expect_order(
        take("e1", 10), (const ex_uuid *[]){&f1, &f2, &b1, &b2, &e1}, 5);
    cr_expect_null(take_one("e1"));
}

Test(claim, goes_by_age_inside_one_batch)
{
    ex_uuid ids[100];

    put_many(100, ids);
    for (size_t i = 0; i < 100; i += 10) {
        const executr_jobs *got = take("e1", 10);
        for (size_t j = 0; j < 10; j++) {
            ex_uuid id = id_of(got->items[j]);
            cr_expect(same_id(&id, &ids[i + j]), "disorder at %zu", i + j);
        }
    }
}

Test(claim, hands_out_a_running_job_with_its_description)
{
    ex_uuid id = put("t", BACKGROUND);
    const job *got = take_one("e1");

    cr_assert(got);
    cr_expect_eq(got->status, EXECUTR_JOB_RUNNING);
    cr_expect_eq(got->attempt, 1);
    cr_expect_str_eq(got->executor_id, "e1");
    cr_expect_str_eq(got->type, "t");
    cr_expect_str_eq(got->binary_sha256, SHA_A);
    cr_expect_str_eq(got->arguments_json, "[\"a\",\"b\"]");
    cr_expect_str_eq(got->environment_json, "{\"K\":\"v\"}");
    cr_expect(got->started_at_us >= got->created_at_us);
    cr_expect_eq(got->last_heartbeat_us, got->started_at_us);
    cr_expect_eq(got->has_output, 0);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_RUNNING);
}

Test(claim, hands_out_limits)
{
    executr_job_spec spec = spec_of("t");
    executr_claim request = claim_of("e1", 1);

    spec.memory_mb = 64;
    spec.timeout_ms = 5000;
    put_spec(&spec);
    request.offers = EXECUTR_OFFER_MEMORY | EXECUTR_OFFER_TIMEOUT;
    const executr_jobs *got = take_as(&request);
    cr_assert_eq(got->count, 1);
    cr_expect_eq(got->items[0]->memory_mb, 64);
    cr_expect_eq(got->items[0]->timeout_ms, 5000);
    cr_expect_eq(got->items[0]->cpu_seconds, 0);
}

Test(claim, records_the_attempt_under_way)
{
    ex_uuid id = put_running("e1");
    const job *got = look(&id, EXECUTR_PART_ATTEMPTS);

    cr_assert_eq(got->attempt_count, 1);
    cr_expect_eq(got->attempts[0].number, 1);
    cr_expect_eq(got->attempts[0].status, EXECUTR_ATTEMPT_RUNNING);
    cr_expect_str_eq(got->attempts[0].executor_id, "e1");
    cr_expect_str_eq(got->attempts[0].executor_ip, "10.0.0.1");
    cr_expect_eq(got->attempts[0].started_at_us, got->started_at_us);
    cr_expect_eq(got->attempts[0].ended_at_us, 0);
}

Test(claim, takes_only_the_types_asked_for)
{
    ex_uuid a = put("a", FOREGROUND);
    ex_uuid b = put("b", FOREGROUND);
    ex_uuid c = put("c", FOREGROUND);
    executr_claim request = claim_of("e1", 10);

    request.types = (const char *[]){"c", "b"};
    request.type_count = 2;
    expect_order(take_as(&request), (const ex_uuid *[]){&b, &c}, 2);
    expect_order(take("e2", 10), (const ex_uuid *[]){&a}, 1);
}

Test(claim, takes_types_as_they_are)
{
    executr_claim request = claim_of("e1", 10);

    put("a", FOREGROUND);
    ex_uuid odd = put("a\",\\{}'%_\xc3\xa9", FOREGROUND);
    request.types = (const char *[]){"a\",\\{}'%_\xc3\xa9", "A", "%"};
    request.type_count = 3;
    expect_order(take_as(&request), (const ex_uuid *[]){&odd}, 1);
}

Test(claim, takes_only_the_priorities_asked_for)
{
    put("t", BACKGROUND);
    ex_uuid e = put("t", BEST_EFFORT);
    ex_uuid f = put("t", FOREGROUND);
    executr_claim request = claim_of("e1", 10);

    request.priorities = 1u << FOREGROUND | 1u << BEST_EFFORT;
    expect_order(take_as(&request), (const ex_uuid *[]){&f, &e}, 2);
    cr_expect_eq(stats().pending[BACKGROUND], 1);
}

Test(claim, leaves_jobs_that_demand_more_than_is_offered)
{
    executr_job_spec spec = spec_of("t");
    executr_claim request = claim_of("e1", 10);

    spec.memory_mb = 64;
    spec.isolation = EXECUTR_ISOLATION_STRICT;
    ex_uuid hard = put_spec(&spec);
    ex_uuid easy = put("t", BACKGROUND);
    request.offers = EXECUTR_OFFER_MEMORY | EXECUTR_OFFER_CPU;
    expect_order(take_as(&request), (const ex_uuid *[]){&easy}, 1);
    request.offers = ~0u;
    expect_order(take_as(&request), (const ex_uuid *[]){&hard}, 1);
}

Test(claim, deals_out_to_many_requests_without_repeats)
{
    ex_uuid ids[10];
    executr_claim a = claim_of("e1", 3);
    executr_claim b = claim_of("e2", 4);
    executr_claim c = claim_of("e3", 9);
    ex_claim claims[3] = {{&a, new_list()}, {&b, new_list()}, {&c, new_list()}};

    put_many(10, ids);
    must(store->ops->claim(store, claims, 3, &err));
    expect_order(claims[0].jobs, (const ex_uuid *[]){ids, ids + 1, ids + 2}, 3);
    cr_expect_eq(claims[1].jobs->count, 4);
    cr_expect_eq(claims[2].jobs->count, 3);
    cr_expect_str_eq(claims[1].jobs->items[0]->executor_id, "e2");
    cr_expect_eq(number("SELECT count(*) FROM queue"), 0);
}

Test(claim, serves_requests_with_different_filters_in_one_call)
{
    executr_claim a = claim_of("e1", 2);
    executr_claim b = claim_of("e2", 2);
    executr_claim c = claim_of("e3", 2);

    a.types = (const char *[]){"a"};
    a.type_count = 1;
    b.priorities = 1u << BEST_EFFORT;
    ex_uuid ja = put("a", BACKGROUND);
    ex_uuid jb = put("b", BEST_EFFORT);
    ex_uuid jc = put("c", BACKGROUND);
    ex_claim claims[3] = {{&a, new_list()}, {&b, new_list()}, {&c, new_list()}};
    must(store->ops->claim(store, claims, 3, &err));
    expect_order(claims[0].jobs, (const ex_uuid *[]){&ja}, 1);
    expect_order(claims[1].jobs, (const ex_uuid *[]){&jb}, 1);
    expect_order(claims[2].jobs, (const ex_uuid *[]){&jc}, 1);
}

Test(claim, finds_an_old_job_behind_a_head_that_moved_on)
{
    ex_uuid old = put("t", BACKGROUND);
    ex_uuid ids[50];

    put_many(50, ids);
    cr_assert(take_one("e1"));
    cr_assert_eq(take("e2", 40)->count, 40);
    must(give_back("e1", &old, 1));
    const job *next = take_one("e3");
    cr_assert(next);
    cr_expect_str_eq(next->type, "t", "the oldest job goes first");
    cr_expect_eq(next->attempt, 2);
}

Test(claim, takes_a_thousand_at_once)
{
    put_many(1000, NULL);
    cr_expect_eq(take("e1", 1000)->count, 1000);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_RUNNING], 1000);
}

Test(claim, makes_the_executor_known)
{
    executr_executors *known = NULL;

    take_one("e1");
    must(ex_executors_new(&known, &err));
    must(store->ops->executors(store, 60000, known, &err));
    cr_assert_eq(known->count, 1);
    cr_expect_str_eq(known->items[0].id, "e1");
    cr_expect_str_eq(known->items[0].ip, "10.0.0.1");
    executr_executors_free(known);
    cr_expect_eq(stats().active_executors, 1);
}

/* The query of the performance guide, run by a person: the queue row stays. */
static void claim_by_hand(void)
{
    suite_check_at_end = 0;
    sql("UPDATE jobs SET status = 'running', executor_id = 'test',"
        " started_at = created_at, last_heartbeat = created_at"
        " WHERE type = 'hand'");
}

static void expect_counts(int64_t pending, int64_t running, int64_t completed)
{
    struct executr_stats counted = stats();

    cr_expect_eq(counted.jobs[EXECUTR_JOB_PENDING], pending);
    cr_expect_eq(counted.jobs[EXECUTR_JOB_RUNNING], running);
    cr_expect_eq(counted.jobs[EXECUTR_JOB_COMPLETED], completed);
}

Test(claim, runs_nothing_twice_that_was_claimed_by_hand)
{
    ex_uuid by_hand = put("hand", FOREGROUND);
    ex_uuid other = put("t", FOREGROUND);

    claim_by_hand();
    expect_order(take("e1", 10), (const ex_uuid *[]){&other}, 1);
    expect_counts(0, 2, 0);
    silence("test");
    cr_expect_eq(keep_up(1).recovered, 1);
    cr_expect_eq(status_of(&by_hand), EXECUTR_JOB_PENDING);
    expect_counts(1, 1, 0);
    expect_order(take("e1", 10), (const ex_uuid *[]){&by_hand}, 1);
}

/* A job that waits for its retry, claimed by hand. */
static ex_uuid put_waiting_by_hand(void)
{
    executr_job_spec spec = spec_of("hand");

    spec.max_retries = 5;
    ex_uuid id = put_spec(&spec);
    cr_assert(take_one("e1"));
    must(end("e1", &id, 1, EXECUTR_ATTEMPT_FAILED));
    claim_by_hand();
    return id;
}

Test(claim, of_a_waiting_job_by_hand_is_watched)
{
    ex_uuid id = put_waiting_by_hand();

    make_due();
    keep_up(0);
    cr_expect_null(take_one("e1"));
    expect_counts(0, 1, 0);
    silence("test");
    cr_expect_eq(keep_up(1).recovered, 1);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_PENDING);
    expect_counts(1, 0, 0);
    expect_order(take("e1", 10), (const ex_uuid *[]){&id}, 1);
}

Test(claim, of_a_waiting_job_by_hand_may_fail_again)
{
    ex_uuid id = put_waiting_by_hand();

    must(end("test", &id, 0, EXECUTR_ATTEMPT_FAILED));
    expect_counts(1, 0, 0);
    make_due();
    cr_expect_eq(keep_up(0).due, 1);
    expect_order(take("e1", 10), (const ex_uuid *[]){&id}, 1);
    expect_counts(0, 1, 0);
}

Test(claim, of_a_waiting_job_by_hand_may_be_cancelled)
{
    ex_uuid id = put_waiting_by_hand();

    expect_status(EXECUTR_E_CANCELLED, cancel(&id));
    make_due();
    keep_up(0);
    cr_expect_null(take_one("e1"));
    silence("test");
    cr_expect_eq(keep_up(1).recovered, 1);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_CANCELLED);
    expect_counts(0, 0, 0);
}

Test(claim, forgets_a_job_that_was_claimed_and_ended_by_hand)
{
    ex_uuid by_hand = put("hand", FOREGROUND);

    claim_by_hand();
    must(end("test", &by_hand, 0, EXECUTR_ATTEMPT_COMPLETED));
    cr_expect_null(take_one("e1"));
    cr_expect_eq(status_of(&by_hand), EXECUTR_JOB_COMPLETED);
    cr_expect_eq(number("SELECT count(*) FROM queue"), 0);
    expect_counts(0, 0, 1);
}
