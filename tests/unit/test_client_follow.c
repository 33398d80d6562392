/* SPDX-License-Identifier: MIT */
/* Following over the API: frames in every cut, connections that break. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "support/client_bench.h"

static ex_buf seen[2];
static int notes;
static int questions;
static int most_questions;        /* then it is given up; 0: never */
static size_t stop_at = SIZE_MAX; /* bytes of stdout */
static int refuse;
static executr_follow request;

static int32_t on_write(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length)
{
    (void)ctx;
    cr_expect_geq(attempt, 1);
    cr_expect_gt(length, 0);
    notes += offset < 0;
    ex_buf_add(&seen[stream - 1], data, length);
    return refuse;
}

static int32_t on_idle(void *ctx)
{
    (void)ctx;
    return seen[0].length == stop_at ||
           (most_questions && ++questions >= most_questions);
}

static void set_up(void)
{
    client_setup();
    for (int i = 0; i < 2; i++)
        ex_buf_init(&seen[i], EX_BUF_UNLIMITED);
    request = (executr_follow)EXECUTR_FOLLOW_INIT;
    request.job_id = ID1;
    request.write = on_write;
    request.idle = on_idle;
}

static void tear_down(void)
{
    for (int i = 0; i < 2; i++)
        ex_buf_clear(&seen[i]);
    client_teardown();
}

TestSuite(client_follow, .init = set_up, .fini = tear_down);

#define FRAMES                                                                 \
    "1 1 0 4\none\n0 0 0 0\n2 1 0 3\ner\n1 1 -1 5\n[..]\n1 1 90 4\ntwo\n"

static void expect_all(void)
{
    cr_expect_str_eq(ex_buf_text(&seen[0]), "one\n[..]\ntwo\n");
    cr_expect_str_eq(ex_buf_text(&seen[1]), "er\n");
    cr_expect_eq(notes, 1);
    cr_expect_eq(request.attempt, 1);
    cr_expect_eq(request.stdout_offset, 94);
    cr_expect_eq(request.stderr_offset, 3);
}

Test(client_follow, tells_both_streams_with_their_offsets)
{
    http_script script = {.body = FRAMES, .chunked = 1};

    http_fixture_add(server, &script);
    cr_assert_eq(
        executr_client_follow(client, &request, &err), EXECUTR_OK, "%s",
        err.message);
    cr_expect(sent_to("GET /api/v1/jobs/" ID1
                      "/output?attempt=0&stdout=0&stderr=0 "));
    expect_all();
}

Test(client_follow, frames_may_come_in_any_pieces)
{
    http_script script = {.body = FRAMES, .chunked = 1, .drip = 1};

    http_fixture_add(server, &script);
    cr_assert_eq(executr_client_follow(client, &request, &err), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&seen[0]), "one\n[..]\ntwo\n");
    cr_expect_eq(request.stdout_offset, 94);
}

Test(client_follow, goes_on_where_a_connection_broke)
{
    http_script whole = {.path = "/nowhere"};
    http_script broken = {
        .body = FRAMES, .length = sizeof FRAMES - 1, .cut = 10};

    http_fixture_add(server, &whole);
    http_fixture_add(server, &broken);
    stop_at = 2; /* given up when that much came */
    cr_assert_eq(
        executr_client_follow(client, &request, &err), EXECUTR_E_CANCELLED);
    cr_expect_str_eq(ex_buf_text(&seen[0]), "on");
    cr_expect_eq(request.stdout_offset, 2);
    answer(200, "1 1 2 2\ne\n");
    stop_at = SIZE_MAX;
    cr_assert_eq(executr_client_follow(client, &request, &err), EXECUTR_OK);
    cr_expect(sent_to("GET /api/v1/jobs/" ID1
                      "/output?attempt=1&stdout=2&stderr=0 "));
    cr_expect_str_eq(ex_buf_text(&seen[0]), "one\n");
}

Test(client_follow, waits_for_a_server_that_is_away_for_a_while)
{
    executr_client_options options = EXECUTR_CLIENT_OPTIONS_INIT;

    executr_client_free(client);
    options.server_url = http_fixture_url(server, "");
    options.network_timeout_ms = 300;
    cr_assert_eq(executr_client_open(&options, &client, &err), EXECUTR_OK);
    answer(503, "{\"error\":\"away\",\"code\":\"unavailable\"}");
    cr_assert_eq(
        executr_client_follow(client, &request, &err), EXECUTR_E_UNAVAILABLE);
    cr_expect_str_eq(err.message, "away");
    cr_expect_gt(http_fixture_requests(server), 1);
}

Test(client_follow, a_busy_server_is_asked_again)
{
    answer(429, "{\"error\":\"many\",\"code\":\"too_many_requests\"}");
    most_questions = 5;
    cr_assert_eq(
        executr_client_follow(client, &request, &err), EXECUTR_E_CANCELLED);
}

Test(client_follow, ends_with_an_unknown_job)
{
    answer(404, "{\"error\":\"no such job\",\"code\":\"not_found\"}");
    cr_assert_eq(
        executr_client_follow(client, &request, &err), EXECUTR_E_NOT_FOUND);
    cr_expect_eq(http_fixture_requests(server), 1);
}

Test(client_follow, refuses_what_are_no_frames)
{
    static const char *const bad[] = {
        "hello\n",
        "1 1 0\n",
        "1 1 0 4",
        "1 1 0 4 5\n",
        "3 1 0 4\nabcd",
        "0 0 0 4\nabcd",
        "1 1 -2 4\nabcd",
        "1 -1 0 4\nabcd",
        "1 1 0 -4\nabcdef",
        "1111111111111111111111111111111111111111111111111"
        "111111111111111111111111111111111111111111111\n"};

    most_questions = 50;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        http_script script = {.body = bad[i], .chunked = 1};
        http_fixture_add(server, &script);
        request.attempt = 0;
        executr_status st = executr_client_follow(client, &request, &err);
        if (i == 2) /* it could still become one */
            continue;
        cr_expect_eq(st, EXECUTR_E_PROTOCOL, "'%s' gave %d", bad[i], (int)st);
    }
}

Test(client_follow, stops_when_its_reader_wants)
{
    http_script script = {.body = FRAMES, .chunked = 1};

    http_fixture_add(server, &script);
    refuse = 1;
    cr_assert_eq(
        executr_client_follow(client, &request, &err), EXECUTR_E_CALLBACK);
    cr_expect_eq(request.stdout_offset, 0);
    request.write = NULL;
    cr_assert_eq(
        executr_client_follow(client, &request, &err), EXECUTR_E_ARGUMENT);
}

TestSuite(client_output, .init = set_up, .fini = tear_down);

Test(client_output, puts_output_as_it_is)
{
    executr_output output = EXECUTR_OUTPUT_INIT;
    int32_t followed = 0;

    output.job_id = ID1;
    output.stream = 2;
    output.attempt = 3;
    output.offset = 7;
    output.data = "some bytes";
    output.length = 10;
    answer(204, "");
    cr_assert_eq(
        executr_client_put_output(client, "e/1", &output, &followed, &err),
        EXECUTR_OK);
    cr_expect_eq(followed, 1);
    cr_expect(
        sent_to("POST /api/v1/jobs/" ID1
                "/output?stream=stderr&attempt=3&offset=7&executor_id=e%2F1 "));
    cr_expect(sent("some bytes"));
    answer(200, "{\"follow\":false}");
    cr_assert_eq(
        executr_client_put_output(client, "e/1", &output, &followed, &err),
        EXECUTR_OK);
    cr_expect_eq(followed, 0);
    answer(409, "{\"error\":\"lost\",\"code\":\"lost_attempt\"}");
    cr_assert_eq(
        executr_client_put_output(client, "e/1", &output, &followed, &err),
        EXECUTR_E_LOST);
}
