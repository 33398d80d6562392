/* SPDX-License-Identifier: MIT */
/* Live output through the routes: put by an executor, told to a reader. */
#include <criterion/criterion.h>
#include <string.h>

#include "support/routes_bench.h"

TestSuite(routes_live, .init = routes_start, .fini = routes_stop);

/* Send raw bytes to a path of the job; the status. */
static int send_bytes(const char *target, const char *bytes)
{
    return ask_as("POST", path_of(target), bytes, NULL, NULL);
}

#define MINE "/output?executor_id=e&attempt=1&stream=stdout&offset="

/* The executor, at the first question whether to go on. */
static int32_t print_and_end(void *ctx, const void *data, size_t length)
{
    static int turn;
    api_response live = response;
    if (length > 0)
        return ex_buf_write(ctx, data, length);
    api_response_init(&response);
    if (turn == 0) {
        cr_expect_eq(send_bytes(MINE "0", "one\n"), 204);
        cr_expect_eq(send_bytes(MINE "4", "two\n"), 204);
    } else if (turn == 1) {
        cr_expect_eq(
            ask("PUT", path_of("/complete"),
                "{\"executor_id\":\"e\",\"attempt\":1,\"exit_code\":0,"
                "\"stdout\":\"one\\ntwo\\nend\\n\",\"stderr\":\"bad\\n\"}"),
            204);
    }
    turn++;
    api_response_clear(&response);
    response = live;
    return 0;
}

static void follow_to_the_end(const char *target, ex_buf *out)
{
    submit();
    claim();
    cr_expect_eq(ask("GET", path_of(target), NULL), 200);
    cr_assert(response.stream);
    ex_buf_init(out, EX_BUF_UNLIMITED);
    cr_expect_eq(
        response.stream(&a, &response, print_and_end, out, &err), EXECUTR_OK);
}

Test(routes_live, a_followed_output_is_what_the_job_prints)
{
    ex_buf out;
    follow_to_the_end("/stdout?follow=1&offset=1", &out);
    cr_expect_str_eq(ex_buf_text(&out), "ne\ntwo\nend\n");
    ex_buf_clear(&out);
}

Test(routes_live, frames_tell_streams_and_offsets)
{
    ex_buf out;
    follow_to_the_end("/output?stdout=2", &out);
    cr_expect_str_eq(
        ex_buf_text(&out),
        "1 1 2 2\ne\n1 1 4 4\ntwo\n1 1 8 4\nend\n2 1 0 4\nbad\n");
    ex_buf_clear(&out);
    cr_expect_eq(
        ask("GET", path_of("/output?stream=stderr&attempt=1&stderr=1"), NULL),
        200);
    cr_expect_eq(atomic_load(&a.follows), 0, "it is over: nobody waits");
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    cr_expect_eq(
        response.stream(&a, &response, ex_buf_write, &out, &err), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&out), "2 1 1 3\nad\n");
    ex_buf_clear(&out);
}

Test(routes_live, live_output_is_the_executors_of_the_attempt)
{
    submit();
    cr_expect_eq(send_bytes(MINE "0", "x"), 409);
    claim();
    cr_expect_eq(send_bytes(MINE "0", "x"), 200);
    cr_expect_str_eq(ex_buf_text(&response.body), "{\"follow\":false}");
    cr_expect_eq(
        send_bytes("/output?executor_id=other&stream=stdout", "x"), 409);
    cr_expect_str_eq(answer("code"), "lost_attempt");
    cr_expect_eq(send_bytes("/output?executor_id=e", "x"), 400);
    cr_expect_eq(send_bytes("/output?stream=stdout", "x"), 400);
    cr_expect_eq(send_bytes("/output?executor_id=e&stream=in", "x"), 400);
    cr_expect_eq(send_bytes(MINE "-1", "x"), 400);
    strcpy(job, "01900000-0000-7000-8000-000000000000");
    cr_expect_eq(send_bytes(MINE "0", "x"), 404);
    cr_expect_eq(ask("GET", path_of("/output"), NULL), 404);
}
