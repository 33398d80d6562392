/* SPDX-License-Identifier: MIT */
/* Binaries in parts, and the sweeping out of what is old. */
#include <stdlib.h>
#include <string.h>

#include "store/suite.h"

TestSuite(binary, .init = suite_open, .fini = suite_close);
TestSuite(cleanup, .init = suite_open, .fini = suite_close);

static char block[EX_BINARY_PART];

static ex_uuid begin_upload(void)
{
    ex_uuid upload;

    must(ex_uuid_make(&upload, 1, &err));
    must(store->ops->binary_begin(store, &upload, &err));
    return upload;
}

static void add_part(const ex_uuid *upload, int32_t part, char fill, size_t n)
{
    memset(block, fill, sizeof block);
    must(store->ops->binary_part(store, upload, part, block, n, &err));
}

static int32_t end_upload(const ex_uuid *upload, int64_t bytes)
{
    int32_t created = -1;

    must(store->ops->binary_end(store, upload, SHA_A, bytes, &created, &err));
    return created;
}

static executr_status size_of(int64_t *bytes)
{
    return store->ops->binary_size(store, SHA_A, bytes, &err);
}

/* A part must be `n` bytes, all of them `fill`. */
static void expect_part(int32_t part, char fill, size_t n)
{
    ex_buf out;

    ex_buf_init(&out, EX_BINARY_PART);
    must(store->ops->binary_read(store, SHA_A, part, &out, &err));
    cr_assert_eq(out.length, n, "part %d", (int)part);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(out.data[i], fill);
    ex_buf_clear(&out);
}

Test(binary, is_seen_once_it_is_whole)
{
    ex_uuid upload = begin_upload();
    int64_t bytes = 0;

    add_part(&upload, 0, 'a', EX_BINARY_PART);
    expect_status(EXECUTR_E_NOT_FOUND, size_of(&bytes));
    add_part(&upload, 1, 'b', 10);
    cr_expect_eq(end_upload(&upload, EX_BINARY_PART + 10), 1);
    must(size_of(&bytes));
    cr_expect_eq(bytes, EX_BINARY_PART + 10);
}

Test(binary, is_read_by_parts)
{
    ex_uuid upload = begin_upload();

    add_part(&upload, 0, 'a', EX_BINARY_PART);
    add_part(&upload, 1, '\0', EX_BINARY_PART);
    add_part(&upload, 2, 'c', 1);
    end_upload(&upload, 2 * EX_BINARY_PART + 1);
    expect_part(0, 'a', EX_BINARY_PART);
    expect_part(1, '\0', EX_BINARY_PART);
    expect_part(2, 'c', 1);
    expect_part(3, 0, 0);
}

Test(binary, unknown_can_not_be_read)
{
    ex_buf out;
    int64_t bytes;

    ex_buf_init(&out, 100);
    expect_status(
        EXECUTR_E_NOT_FOUND,
        store->ops->binary_read(store, SHA_A, 0, &out, &err));
    expect_status(EXECUTR_E_NOT_FOUND, size_of(&bytes));
    ex_buf_clear(&out);
}

Test(binary, may_be_empty)
{
    ex_uuid upload = begin_upload();
    int64_t bytes = -1;

    cr_expect_eq(end_upload(&upload, 0), 1);
    must(size_of(&bytes));
    cr_expect_eq(bytes, 0);
    expect_part(0, 0, 0);
}

Test(binary, part_sent_again_replaces_itself)
{
    ex_uuid upload = begin_upload();

    add_part(&upload, 0, 'a', 20);
    add_part(&upload, 0, 'b', 20);
    end_upload(&upload, 20);
    expect_part(0, 'b', 20);
}

Test(binary, dropped_leaves_nothing)
{
    ex_uuid upload = begin_upload();
    int64_t bytes;

    add_part(&upload, 0, 'a', 20);
    add_part(&upload, 1, 'a', 20);
    must(store->ops->binary_drop(store, &upload, &err));
    expect_status(EXECUTR_E_NOT_FOUND, size_of(&bytes));
    cr_expect_eq(number("SELECT count(*) FROM binary_parts"), 0);
    cr_expect_eq(number("SELECT count(*) FROM binary_uploads"), 0);
    must(store->ops->binary_drop(store, &upload, &err));
}

Test(binary, uploaded_twice_at_once_is_kept_once)
{
    ex_uuid first = begin_upload();
    ex_uuid second = begin_upload();

    add_part(&first, 0, 'a', 20);
    add_part(&second, 0, 'a', 20);
    cr_expect_eq(end_upload(&second, 20), 1);
    cr_expect_eq(end_upload(&first, 20), 0);
    expect_part(0, 'a', 20);
    cr_expect_eq(number("SELECT count(*) FROM binary_parts"), 1);
    cr_expect_eq(number("SELECT count(*) FROM binary_uploads"), 0);
}

Test(binary, is_not_touched_by_drop_once_it_is_whole)
{
    ex_uuid upload = begin_upload();

    add_part(&upload, 0, 'a', 20);
    end_upload(&upload, 20);
    must(store->ops->binary_drop(store, &upload, &err));
    expect_part(0, 'a', 20);
}

/* ---- Cleanup. */

Test(cleanup, deletes_old_finished_jobs_with_all_they_have)
{
    executr_job_spec spec = spec_of("t");

    spec.idempotency_key = "key";
    ex_submit entry = entry_of(&spec);
    entry.digest = "d";
    must(submit(&entry, 1));
    cr_assert(take_one("e1"));
    must(end("e1", &entry.id, 1, EXECUTR_ATTEMPT_COMPLETED));
    make_old();
    cr_expect_eq(clean(HOUR_MS), 1);
    expect_status(
        EXECUTR_E_NOT_FOUND,
        store->ops->get(store, &entry.id, 0, new_list(), &err));
    cr_expect_eq(number("SELECT count(*) FROM job_attempts"), 0);
    cr_expect_eq(number("SELECT count(*) FROM idempotency_keys"), 0);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_COMPLETED], 0);
    entry.digest = "other";
    must(ex_uuid_make(&entry.id, 1, &err));
    must(submit(&entry, 1));
    must(entry.result);
}

Test(cleanup, leaves_young_and_unfinished_jobs)
{
    ex_uuid done = put_running("e1");
    ex_uuid gone = put("t", EXECUTR_PRIORITY_BACKGROUND);

    must(cancel(&gone));
    must(end("e1", &done, 1, EXECUTR_ATTEMPT_FAILED));
    put_running("e1");
    put("t", EXECUTR_PRIORITY_BACKGROUND);
    cr_expect_eq(clean(HOUR_MS), 0);
    make_old();
    cr_expect_eq(clean(3 * HOUR_MS), 0);
    cr_expect_eq(clean(HOUR_MS), 2);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_RUNNING], 1);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 1);
}

Test(cleanup, leaves_an_old_job_that_ended_lately)
{
    ex_uuid id = put_running("e1");

    make_old();
    must(end("e1", &id, 1, EXECUTR_ATTEMPT_COMPLETED));
    cr_expect_eq(clean(HOUR_MS), 0);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_COMPLETED);
}

Test(cleanup, is_bounded)
{
    static ex_cancel batch[1000];
    ex_uuid ids[1000];

    for (int round = 0; round < 2; round++) {
        put_many(round ? 10 : 1000, ids);
        for (size_t i = 0; i < (round ? 10 : 1000); i++)
            batch[i].id = ids[i];
        must(store->ops->cancel(store, batch, round ? 10 : 1000, &err));
    }
    make_old();
    cr_expect_eq(clean(HOUR_MS), 1000);
    cr_expect_eq(clean(HOUR_MS), 10);
    cr_expect_eq(clean(HOUR_MS), 0);
}

Test(cleanup, sweeps_out_abandoned_uploads)
{
    ex_uuid abandoned = begin_upload();

    add_part(&abandoned, 0, 'a', 20);
    sql("UPDATE binary_uploads SET touched_at = %s",
        backend_earlier("touched_at", 25 * HOUR_MS));
    ex_uuid current = begin_upload();
    add_part(&current, 0, 'b', 20);
    clean(HOUR_MS);
    cr_expect_eq(number("SELECT count(*) FROM binary_uploads"), 1);
    cr_expect_eq(number("SELECT count(*) FROM binary_parts"), 1);
    cr_expect_eq(end_upload(&current, 20), 1);
}

Test(cleanup, forgets_executors_not_seen_for_long)
{
    put_running("busy");
    take("gone", 1);
    beat("here", NULL, 0, 10000);
    for (int i = 0; i < 40; i++) {
        silence("gone");
        silence("busy");
    }
    clean(48 * HOUR_MS);
    cr_expect_eq(
        number("SELECT count(*) FROM executors WHERE executor_id = 'here'"), 1);
    cr_expect_eq(
        number("SELECT count(*) FROM executors WHERE executor_id = 'gone'"), 0);
}
