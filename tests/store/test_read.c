/* SPDX-License-Identifier: MIT */
/* Reading: single jobs, lists with filters and cursors, figures. */
#include <string.h>

#include "store/suite.h"

TestSuite(read, .init = suite_open, .fini = suite_close);

static const executr_jobs *list(const executr_filter *filter)
{
    executr_jobs *got = new_list();

    must(store->ops->list(store, filter, got, &err));
    return got;
}

static executr_filter any(void)
{
    return (executr_filter)EXECUTR_FILTER_INIT;
}

Test(read, says_that_a_job_is_unknown)
{
    ex_uuid nobody;
    char text[EX_UUID_TEXT];

    must(ex_uuid_make(&nobody, 1, &err));
    ex_uuid_format(&nobody, text);
    expect_status(
        EXECUTR_E_NOT_FOUND,
        store->ops->get(store, &nobody, 0, new_list(), &err));
    cr_expect(strstr(err.message, text));
}

Test(read, appends_to_a_list)
{
    ex_uuid a = put("a", EXECUTR_PRIORITY_BACKGROUND);
    ex_uuid b = put("b", EXECUTR_PRIORITY_BACKGROUND);
    executr_jobs *both = new_list();

    must(store->ops->get(store, &a, 0, both, &err));
    must(store->ops->get(store, &b, 0, both, &err));
    cr_assert_eq(both->count, 2);
    cr_expect_str_eq(both->items[0]->type, "a");
    cr_expect_str_eq(both->items[1]->type, "b");
}

Test(read, lists_newest_first)
{
    ex_uuid ids[5];
    executr_filter filter = any();

    put_many(5, ids);
    const executr_jobs *got = list(&filter);
    cr_assert_eq(got->count, 5);
    for (size_t i = 0; i < 5; i++) {
        ex_uuid id = id_of(got->items[i]);
        cr_expect(same_id(&id, &ids[4 - i]));
    }
}

Test(read, lists_one_more_than_the_limit)
{
    executr_filter filter = any();

    put_many(7, NULL);
    filter.limit = 3;
    cr_expect_eq(list(&filter)->count, 4);
    filter.limit = 7;
    cr_expect_eq(list(&filter)->count, 7);
}

Test(read, walks_a_list_by_cursor)
{
    ex_uuid ids[25];
    executr_filter filter = any();
    char cursor[EX_UUID_TEXT];
    size_t seen = 0;

    put_many(25, ids);
    filter.limit = 10;
    while (1) {
        const executr_jobs *page = list(&filter);
        size_t count = page->count > 10 ? 10 : page->count;
        for (size_t i = 0; i < count; i++, seen++) {
            ex_uuid id = id_of(page->items[i]);
            cr_assert(same_id(&id, &ids[24 - seen]));
        }
        if (page->count <= 10)
            break;
        memcpy(cursor, page->items[9]->id, sizeof cursor);
        filter.before_id = cursor;
    }
    cr_expect_eq(seen, 25);
}

Test(read, skips_by_offset)
{
    ex_uuid ids[6];
    executr_filter filter = any();

    put_many(6, ids);
    filter.offset = 4;
    const executr_jobs *got = list(&filter);
    cr_assert_eq(got->count, 2);
    ex_uuid first = id_of(got->items[0]);
    cr_expect(same_id(&first, &ids[1]));
    filter.offset = 100;
    cr_expect_eq(list(&filter)->count, 0);
}

/* Jobs of both types and many statuses, for the filters. */
static void put_mixed(void)
{
    ex_uuid done = put_running("e1");
    ex_uuid failed = put_running("e2");

    put_running("e1");
    put("a", EXECUTR_PRIORITY_BACKGROUND);
    put("a", EXECUTR_PRIORITY_BEST_EFFORT);
    ex_uuid gone = put("a", EXECUTR_PRIORITY_BEST_EFFORT);
    must(end("e1", &done, 1, EXECUTR_ATTEMPT_COMPLETED));
    must(end("e2", &failed, 1, EXECUTR_ATTEMPT_FAILED));
    must(cancel(&gone));
}

Test(read, filters_by_status)
{
    const size_t wanted[] = {6, 2, 1, 1, 1, 1};
    executr_filter filter = any();

    put_mixed();
    for (int32_t s = 0; s <= EXECUTR_JOB_CANCELLED; s++) {
        filter.status = s;
        const executr_jobs *got = list(&filter);
        cr_expect_eq(got->count, wanted[s], "status %d", (int)s);
        for (size_t i = 0; s && i < got->count; i++)
            cr_expect_eq(got->items[i]->status, s);
    }
}

Test(read, filters_by_priority_type_and_executor)
{
    executr_filter filter = any();

    put_mixed();
    filter.priority = EXECUTR_PRIORITY_BEST_EFFORT;
    cr_expect_eq(list(&filter)->count, 2);
    filter = any();
    filter.type = "a";
    cr_expect_eq(list(&filter)->count, 3);
    filter = any();
    filter.executor_id = "e1";
    cr_expect_eq(list(&filter)->count, 2);
    filter.executor_id = "e'1\\%";
    cr_expect_eq(list(&filter)->count, 0);
}

Test(read, filters_by_everything_at_once)
{
    executr_filter filter = any();
    char cursor[EX_UUID_TEXT];

    put_mixed();
    filter.status = EXECUTR_JOB_PENDING;
    filter.priority = EXECUTR_PRIORITY_BEST_EFFORT;
    filter.type = "a";
    const executr_jobs *got = list(&filter);
    cr_assert_eq(got->count, 1);
    memcpy(cursor, got->items[0]->id, sizeof cursor);
    filter.before_id = cursor;
    cr_expect_eq(list(&filter)->count, 0);
    filter.before_id = NULL;
    filter.executor_id = "e1";
    cr_expect_eq(list(&filter)->count, 0);
}

Test(read, lists_without_output_and_attempts)
{
    executr_filter filter = any();

    put_mixed();
    const executr_jobs *got = list(&filter);
    for (size_t i = 0; i < got->count; i++) {
        cr_expect(!got->items[i]->has_output);
        cr_expect(!got->items[i]->has_attempts);
        cr_expect_str_eq(got->items[i]->binary_sha256, SHA_A);
        cr_expect_str_eq(got->items[i]->arguments_json, "[\"a\",\"b\"]");
    }
}

Test(read, counts_jobs_by_status_and_priority)
{
    put_mixed();
    struct executr_stats got = stats();
    cr_expect_eq(got.jobs[EXECUTR_JOB_PENDING], 2);
    cr_expect_eq(got.jobs[EXECUTR_JOB_RUNNING], 1);
    cr_expect_eq(got.jobs[EXECUTR_JOB_COMPLETED], 1);
    cr_expect_eq(got.jobs[EXECUTR_JOB_FAILED], 1);
    cr_expect_eq(got.jobs[EXECUTR_JOB_CANCELLED], 1);
    cr_expect_eq(got.pending[EXECUTR_PRIORITY_FOREGROUND], 0);
    cr_expect_eq(got.pending[EXECUTR_PRIORITY_BACKGROUND], 1);
    cr_expect_eq(got.pending[EXECUTR_PRIORITY_BEST_EFFORT], 1);
    cr_expect(got.timestamp_us > INT64_C(1577836800000000));
}

Test(read, keeps_counting_through_upkeep)
{
    put_mixed();
    for (int i = 0; i < 3; i++) {
        keep_up(1);
        put_mixed();
    }
    cr_expect_eq(stats().jobs[EXECUTR_JOB_CANCELLED], 4);
}

Test(read, sums_what_active_executors_say)
{
    beat("e1", NULL, 0, 10000);
    beat("e2", NULL, 0, 10000);
    beat("e3", NULL, 0, 10000);
    silence("e3");
    struct executr_stats got = stats();
    cr_expect_eq(got.active_executors, 2);
    cr_expect_eq(got.slots, 8);
    cr_expect_eq(got.cache_hits, 60);
    cr_expect_eq(got.cache_misses, 20);
}

Test(read, lists_executors_with_what_they_do)
{
    executr_executors *known = NULL;

    put_running("e1");
    put_running("e1");
    beat("e2", NULL, 0, 10000);
    beat("e3", NULL, 0, 10000);
    silence("e3");
    must(ex_executors_new(&known, &err));
    must(store->ops->executors(store, 60000, known, &err));
    cr_assert_eq(known->count, 2);
    int first = strcmp(known->items[0].id, "e1") != 0;
    const ex_executor *busy = &known->items[first];
    const ex_executor *idle = &known->items[!first];
    cr_expect_str_eq(busy->id, "e1");
    cr_expect_eq(busy->running_jobs, 2);
    cr_expect_str_eq(busy->job_type, "t");
    cr_expect_eq(strlen(busy->current_job_id), 36);
    cr_expect_str_eq(idle->id, "e2");
    cr_expect_str_eq(idle->ip, "10.0.0.2");
    cr_expect_str_eq(idle->version, "1.2.3");
    cr_expect_str_eq(idle->current_job_id, "");
    cr_expect_eq(idle->running_jobs, 0);
    cr_expect_eq(idle->max_jobs, 4);
    cr_expect_eq(idle->cache_hits, 30);
    cr_expect_eq(idle->cache_misses, 10);
    cr_expect_eq(idle->cache_bytes, 1000);
    cr_expect_eq(idle->cache_max_bytes, 2000);
    executr_executors_free(known);
}

Test(read, pings_and_counts_connections)
{
    must(executr_store_ping(store, &err));
    cr_expect_eq(executr_store_connections_active(store), 0);
}
