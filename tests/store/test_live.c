/* SPDX-License-Identifier: MIT */
/* Live output: who follows, what executors put, what followers read, and that
 * it goes away. */
#include <string.h>

#include "store/suite.h"

#define WINDOW 100

static ex_view view;

static void open_live(void)
{
    suite_open();
    ex_view_init(&view);
}

static void close_live(void)
{
    ex_view_clear(&view);
    suite_close();
}

TestSuite(live, .init = open_live, .fini = close_live);

static void follow(const ex_uuid *id)
{
    must(store->ops->live_follow(store, id, HOUR_MS, &err));
}

static executr_status put_as(
    const char *executor, const ex_uuid *id, int32_t attempt, int32_t stream,
    int64_t offset, const char *text, int32_t *followed)
{
    ex_piece piece = {
        *id, executor, attempt, stream, offset, text, strlen(text), WINDOW};

    return store->ops->live_put(store, &piece, followed, &err);
}

/* Put to stdout of the attempt under way of "e1"; whether it is followed. */
static int32_t put_out(const ex_uuid *id, int64_t offset, const char *text)
{
    int32_t followed = -1;

    must(put_as("e1", id, 0, 1, offset, text, &followed));
    return followed;
}

/* What there is of attempt 1 from these bytes on. */
static void read_from(const ex_uuid *id, int64_t out, int64_t error)
{
    const int64_t from[2] = {out, error};

    must(store->ops->live_read(store, id, 1, from, &view, &err));
}

static void expect_piece(int i, int64_t offset, const char *text)
{
    const ex_buf *data = &view.pieces[i].data;

    cr_expect_eq(data->length, strlen(text), "%zu bytes", data->length);
    if (data->length) {
        cr_expect_eq(view.pieces[i].offset, offset);
        cr_expect_eq(memcmp(data->data, text, data->length), 0);
    }
}

Test(live, verdict_tells_that_a_job_is_followed)
{
    ex_uuid id = put_running("e1");
    ex_uuid other = put_running("e1");
    ex_lease leases[] = {{id, 1, 0}, {other, 1, 0}};

    beat("e1", leases, 2, HOUR_MS);
    cr_expect_eq(leases[0].verdict, EXECUTR_LEASE_KEPT);
    follow(&id);
    beat("e1", leases, 2, HOUR_MS);
    cr_expect_eq(leases[0].verdict, EXECUTR_LEASE_FOLLOWED);
    cr_expect_eq(leases[1].verdict, EXECUTR_LEASE_KEPT);
}

Test(live, cancelled_and_lost_count_more_than_followed)
{
    ex_uuid told = put_running("e1");
    ex_uuid lost = put_running("e1");
    ex_lease leases[] = {{told, 1, 0}, {lost, 2, 0}};

    follow(&told);
    follow(&lost);
    expect_status(EXECUTR_E_CANCELLED, cancel(&told));
    beat("e1", leases, 2, HOUR_MS);
    cr_expect_eq(leases[0].verdict, EXECUTR_LEASE_CANCEL);
    cr_expect_eq(leases[1].verdict, EXECUTR_LEASE_LOST);
}

Test(live, interest_ends)
{
    ex_uuid id = put_running("e1");

    must(store->ops->live_follow(store, &id, 0, &err));
    cr_expect_eq(beat_job("e1", &id, 1), EXECUTR_LEASE_KEPT);
    cr_expect_eq(put_out(&id, 0, "a"), 0);
    read_from(&id, 0, 0);
    expect_piece(0, 0, "");
    follow(&id);
    must(store->ops->live_follow(store, &id, 0, &err)); /* of another one */
    cr_expect_eq(put_out(&id, 0, "a"), 1);
}

Test(live, pieces_come_in_order)
{
    ex_uuid id = put_running("e1");
    int32_t followed;

    follow(&id);
    cr_expect_eq(put_out(&id, 0, "first\n"), 1);
    cr_expect_eq(put_out(&id, 6, "second\n"), 1);
    must(put_as("e1", &id, 1, 2, 0, "error\n", &followed));
    read_from(&id, 0, 0);
    cr_expect_eq(view.status, EXECUTR_JOB_RUNNING);
    cr_expect_eq(view.attempt, 1);
    expect_piece(0, 0, "first\n");
    expect_piece(1, 0, "error\n");
    read_from(&id, 6, 6);
    expect_piece(0, 6, "second\n");
    expect_piece(1, 0, "");
    read_from(&id, 8, -1);
    expect_piece(0, 6, "second\n");
    expect_piece(1, 0, "");
    read_from(&id, 13, -1);
    expect_piece(0, 0, "");
}

Test(live, t62_any_bytes_pass)
{
    ex_uuid id = put_running("e1");
    ex_piece piece = {id, "e1", 1, 1, 0, "a\0\xff\xed\xa0\n", 6, WINDOW};
    int32_t followed;

    follow(&id);
    must(store->ops->live_put(store, &piece, &followed, &err));
    read_from(&id, 0, 0);
    cr_assert_eq(view.pieces[0].data.length, 6);
    cr_expect_eq(memcmp(view.pieces[0].data.data, piece.data, 6), 0);
}

Test(live, a_piece_that_comes_again_changes_nothing)
{
    ex_uuid id = put_running("e1");

    follow(&id);
    put_out(&id, 0, "one");
    put_out(&id, 3, "two");
    put_out(&id, 0, "one");
    put_out(&id, 3, "two");
    put_out(&id, 5, "o");
    read_from(&id, 3, -1);
    expect_piece(0, 3, "two");
    read_from(&id, 6, -1);
    expect_piece(0, 0, "");
    put_out(&id, 3, "two three");
    read_from(&id, 6, -1);
    expect_piece(0, 3, "two three");
}

Test(live, t60_only_a_window_is_kept)
{
    char text[41];
    ex_uuid id = put_running("e1");

    follow(&id);
    memset(text, 'x', 40);
    text[40] = '\0';
    for (int i = 0; i < 25; i++)
        put_out(&id, i * INT64_C(1000), text); /* most was skipped */
    read_from(&id, 0, -1);
    cr_expect_geq(view.pieces[0].offset, 23 * 1000);
    for (int i = 0; i < 25; i++)
        put_out(&id, 30000 + i * INT64_C(40), text);
    read_from(&id, 0, -1);
    cr_expect_geq(view.pieces[0].offset, 30000 + 22 * 40);
    cr_expect_leq(view.pieces[0].offset, 30000 + 23 * 40);
}

Test(live, a_stream_may_begin_anew)
{
    ex_uuid id = put_running("e1");

    follow(&id);
    put_out(&id, 500, "late");
    put_out(&id, 0, "from the start");
    read_from(&id, 0, -1);
    expect_piece(0, 0, "from the start");
    put_out(&id, 14, "!");
    read_from(&id, 14, -1);
    expect_piece(0, 14, "!");
}

Test(live, only_the_executor_of_the_attempt_puts)
{
    ex_uuid id = put_running("e1");
    ex_uuid nobody;
    int32_t followed = 1;

    follow(&id);
    must(ex_uuid_make(&nobody, 1, &err));
    expect_status(EXECUTR_E_LOST, put_as("e2", &id, 1, 1, 0, "no", &followed));
    cr_expect_eq(followed, 0);
    expect_status(EXECUTR_E_LOST, put_as("e1", &id, 2, 1, 0, "no", &followed));
    expect_status(
        EXECUTR_E_NOT_FOUND, put_as("e1", &nobody, 1, 1, 0, "no", &followed));
    must(end("e1", &id, 1, EXECUTR_ATTEMPT_COMPLETED));
    expect_status(EXECUTR_E_LOST, put_as("e1", &id, 1, 1, 0, "no", &followed));
    read_from(&id, 0, 0);
    cr_expect_eq(view.status, EXECUTR_JOB_COMPLETED);
    expect_piece(0, 0, "");
}

Test(live, each_attempt_has_its_own)
{
    ex_uuid id = put_running("e1");
    const int64_t from[2] = {0, 0};

    follow(&id);
    put_out(&id, 0, "first attempt");
    must(give_back("e1", &id, 1));
    cr_assert_not_null(take_one("e1"));
    put_out(&id, 0, "second attempt");
    must(store->ops->live_read(store, &id, 2, from, &view, &err));
    cr_expect_eq(view.attempt, 2);
    expect_piece(0, 0, "second attempt");
    read_from(&id, 0, 0);
    expect_piece(0, 0, "");
}

Test(live, of_an_unknown_job_is_not_found)
{
    const int64_t from[2] = {0, 0};
    ex_uuid nobody;

    must(ex_uuid_make(&nobody, 1, &err));
    expect_status(
        EXECUTR_E_NOT_FOUND,
        store->ops->live_read(store, &nobody, 1, from, &view, &err));
}

Test(live, goes_away_with_its_followers)
{
    ex_uuid gone = put_running("e1");
    ex_uuid kept = put_running("e1");

    follow(&kept);
    must(store->ops->live_follow(store, &gone, 200, &err));
    put_out(&gone, 0, "gone");
    put_out(&kept, 0, "kept");
    /* Whether it was in time to be put or not: upkeep takes it. */
    while (beat_job("e1", &gone, 1) == EXECUTR_LEASE_FOLLOWED)
        keep_up(0);
    keep_up(0);
    read_from(&gone, 0, -1);
    expect_piece(0, 0, "");
    read_from(&kept, 0, -1);
    expect_piece(0, 0, "kept");
    if (backend_is_shared()) {
        cr_expect_eq(number("SELECT count(*) FROM live_output"), 1);
        cr_expect_eq(number("SELECT count(*) FROM live_follows"), 1);
    }
}

Test(live, output_of_an_attempt_that_ended)
{
    ex_uuid id = put_running("e1");
    executr_report report = report_of(EXECUTR_ATTEMPT_FAILED);
    ex_buf out[2];

    report.uncounted = 0;
    report.stdout_data = "out";
    report.stdout_length = 3;
    report.stderr_data = "e\0r";
    report.stderr_length = 3;
    ex_finish ended = end_of("e1", &id, &report);
    must(finish(&ended, 1));
    for (int i = 0; i < 2; i++)
        ex_buf_init(&out[i], EX_BUF_UNLIMITED);
    must(store->ops->attempt_output(store, &id, 1, out, &err));
    cr_expect_str_eq(out[0].data, "out");
    cr_expect_eq(memcmp(out[1].data, "e\0r", 3), 0);
    must(store->ops->attempt_output(store, &id, 2, out, &err));
    cr_expect_eq(out[0].length, 3);
    for (int i = 0; i < 2; i++)
        ex_buf_clear(&out[i]);
}
