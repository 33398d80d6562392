/* SPDX-License-Identifier: MIT */
/*
 * Following a job over a real store. Everything happens on one thread: what an
 * executor does next is done when the follower asks whether to go on.
 */
#include <executr/queue.h>

#include <stdio.h>
#include <string.h>

#include "capture.h"
#include "store/suite.h"

#define LIMIT 2000

static executr_queue *queue;
static char id[40];
static ex_buf seen[2]; /* what was told, notes too */
static ex_buf bytes;   /* of stdout alone */
static int64_t last_offset;
static int32_t last_attempt;
static int notes;
static void (*script)(int turn); /* the executor */
static int turn;
static executr_follow request;

static int32_t on_write(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length)
{
    (void)ctx;
    ex_buf_add(&seen[stream - 1], data, length);
    notes += offset < 0;
    last_attempt = attempt;
    if (offset >= 0 && stream == 1) {
        ex_buf_add(&bytes, data, length);
        last_offset = offset;
    }
    return 0;
}

static int32_t on_idle(void *ctx)
{
    (void)ctx;
    script(turn++);
    return 0;
}

static void open_queue(void)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;

    suite_open();
    options.max_output_bytes = LIMIT;
    options.retry_base_ms = 1;
    must(executr_queue_open(store, &options, &queue, &err));
    for (int i = 0; i < 2; i++)
        ex_buf_init(&seen[i], EX_BUF_UNLIMITED);
    ex_buf_init(&bytes, EX_BUF_UNLIMITED);
    request = (executr_follow)EXECUTR_FOLLOW_INIT;
    request.write = on_write;
    request.idle = on_idle;
    request.job_id = id;
}

static void close_queue(void)
{
    for (int i = 0; i < 2; i++)
        ex_buf_clear(&seen[i]);
    ex_buf_clear(&bytes);
    executr_queue_free(queue);
    suite_close();
}

TestSuite(queue_follow, .init = open_queue, .fini = close_queue);

static void submit_with(int32_t retries)
{
    executr_job_spec spec = spec_of("t");
    const executr_job_spec *specs[] = {&spec};
    executr_jobs *jobs;

    spec.max_retries = retries;
    must(executr_queue_submit(queue, specs, 1, NULL, &jobs, &err));
    strcpy(id, executr_job_id(executr_jobs_at(jobs, 0)));
    executr_jobs_free(jobs);
}

static void claim(void)
{
    executr_claim one = claim_of("e1", 1);
    executr_jobs *jobs;

    one.wait_ms = 5000;
    must(executr_queue_claim(queue, &one, &jobs, &err));
    cr_assert_eq(executr_jobs_count(jobs), 1);
    executr_jobs_free(jobs);
}

static void put_bytes(
    int32_t stream, int64_t offset, const char *data, size_t length)
{
    executr_output output = EXECUTR_OUTPUT_INIT;
    int32_t followed;

    output.job_id = id;
    output.stream = stream;
    output.offset = offset;
    output.data = data;
    output.length = length;
    must(executr_queue_put_output(queue, "e1", &output, &followed, &err));
    cr_expect_eq(followed, 1);
}

static void put_text(int32_t stream, int64_t offset, const char *text)
{
    put_bytes(stream, offset, text, strlen(text));
}

/* The end of the attempt, with the output that was kept of it. */
static void end_with(int32_t status, const char *out, size_t length)
{
    executr_report report = report_of(status);
    const executr_report *reports[] = {&report};
    executr_status result;

    report.job_id = id;
    report.stdout_data = out;
    report.stdout_length = length;
    report.stderr_data = "errors\n";
    report.stderr_length = 7;
    must(executr_queue_report(queue, "e1", reports, 1, &result, &err));
    must(result);
}

static void complete(const char *out)
{
    end_with(EXECUTR_ATTEMPT_COMPLETED, out, strlen(out));
}

static void expect_out(const char *text)
{
    cr_expect_str_eq(ex_buf_text(&seen[0]), text);
}

static void live_then_end(int now)
{
    if (now == 0)
        claim();
    else if (now == 1)
        put_text(1, 0, "one\n");
    else if (now == 2)
        put_text(2, 0, "err");
    else if (now == 3)
        put_text(1, 4, "two\n");
    else if (now == 4)
        complete("one\ntwo\nthree\n");
}

Test(queue_follow, t60_tells_each_byte_once_live_and_from_the_end)
{
    script = live_then_end;
    submit_with(0);
    must(executr_queue_follow(queue, &request, &err));
    expect_out("one\ntwo\nthree\n");
    cr_expect_str_eq(ex_buf_text(&seen[1]), "errors\n");
    cr_expect_eq(last_offset, 8);
    cr_expect_eq(notes, 0);
    cr_expect_eq(request.attempt, 1);
    cr_expect_eq(request.stdout_offset, 14);
    cr_expect_eq(request.stderr_offset, 7);
}

Test(queue_follow, of_a_job_that_is_over_tells_its_output)
{
    submit_with(0);
    claim();
    complete("all\nof it\n");
    must(executr_queue_follow(queue, &request, &err));
    expect_out("all\nof it\n");
    must(executr_queue_follow(queue, &request, &err)); /* there is no more */
    expect_out("all\nof it\n");
}

Test(queue_follow, begins_at_an_offset_and_with_one_stream)
{
    script = live_then_end;
    submit_with(0);
    request.stdout_offset = 6;
    request.streams = 1 << 1;
    must(executr_queue_follow(queue, &request, &err));
    expect_out("o\nthree\n");
    cr_expect_eq(seen[1].length, 0);
}

static void stop_in_the_middle(int now)
{
    live_then_end(now);
    if (now == 2)
        executr_queue_drain(queue);
}

Test(queue_follow, can_be_resumed)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;

    script = stop_in_the_middle;
    submit_with(0);
    expect_status(
        EXECUTR_E_UNAVAILABLE, executr_queue_follow(queue, &request, &err));
    expect_out("one\n");
    executr_queue_free(queue);
    queue = NULL;
    must(executr_queue_open(store, &options, &queue, &err));
    script = live_then_end;
    must(executr_queue_follow(queue, &request, &err));
    expect_out("one\ntwo\nthree\n");
    cr_expect_str_eq(ex_buf_text(&seen[1]), "errors\n");
}

static void two_attempts(int now)
{
    if (now == 0)
        claim();
    else if (now == 1)
        put_text(1, 0, "first\n");
    else if (now == 2)
        end_with(EXECUTR_ATTEMPT_FAILED, "first\nends\n", 11);
    else if (now == 3)
        claim();
    else if (now == 4)
        put_text(1, 0, "second\n");
    else if (now == 5)
        complete("second\nends\n");
}

Test(queue_follow, goes_from_attempt_to_attempt)
{
    script = two_attempts;
    submit_with(1);
    must(executr_queue_follow(queue, &request, &err));
    expect_out("first\nends\nsecond\nends\n");
    cr_expect_str_eq(ex_buf_text(&seen[1]), "errors\nerrors\n");
    cr_expect_eq(last_attempt, 2);
}

static void lost_attempt(int now)
{
    ex_uuid uuid;

    if (now == 2) { /* its executor is gone, and its output with it */
        cr_assert_eq(ex_uuid_parse(id, &uuid), 0);
        must(give_back("e1", &uuid, 1));
    } else {
        two_attempts(now);
    }
}

Test(queue_follow, goes_on_behind_a_lost_attempt)
{
    script = lost_attempt;
    submit_with(0);
    must(executr_queue_follow(queue, &request, &err));
    expect_out("first\nsecond\nends\n");
}

static void cancelled_before_it_ran(int now)
{
    const char *ids[] = {id};
    executr_status result;

    if (now == 0) {
        must(executr_queue_cancel(queue, ids, 1, &result, &err));
        must(result);
    }
}

Test(queue_follow, ends_with_a_job_that_never_ran)
{
    script = cancelled_before_it_ran;
    submit_with(0);
    must(executr_queue_follow(queue, &request, &err));
    expect_out("");
}

/* An output longer than what is kept, told live up to `told`. */
static ex_buf whole;
static size_t told;

static void long_output(int now)
{
    ex_buf cut;

    if (now == 0)
        claim();
    if (now == 1 && told)
        put_bytes(1, 0, whole.data, told);
    if (now == 2) {
        ex_buf_init(&cut, LIMIT);
        must(ex_capture_cut(whole.data, whole.length, LIMIT, &cut, &err));
        end_with(EXECUTR_ATTEMPT_COMPLETED, cut.data, cut.length);
        ex_buf_clear(&cut);
    }
}

static void follow_long(size_t live)
{
    script = long_output;
    told = live;
    turn = 0;
    notes = 0;
    ex_buf_reset(&seen[0]);
    ex_buf_reset(&bytes);
    request.attempt = 0;
    request.stdout_offset = 0;
    request.stderr_offset = 0;
    submit_with(0);
    must(executr_queue_follow(queue, &request, &err));
}

/* What was told is the beginning and the end of the whole, without a byte
 * twice; between them stands one note. */
static void expect_head_and_tail(void)
{
    cr_expect_leq(bytes.length, whole.length);
    cr_expect_eq(request.stdout_offset, (int64_t)whole.length);
    for (size_t i = 0; i < 500; i++) {
        cr_assert_eq(bytes.data[i], whole.data[i]);
        cr_assert_eq(
            bytes.data[bytes.length - 1 - i], whole.data[whole.length - 1 - i]);
    }
}

Test(queue_follow, t60_continues_an_output_that_was_cut)
{
    ex_buf_init(&whole, EX_BUF_UNLIMITED);
    for (int i = 0; i < 2000; i++)
        ex_buf_printf(&whole, "line %d\n", i);
    follow_long(0); /* nothing was live: the output as it is kept */
    cr_expect_not_null(strstr(ex_buf_text(&seen[0]), "lines cut ...]\n"));
    cr_expect_eq(notes, 1);
    expect_head_and_tail();
    follow_long(5005); /* up to the middle of the gap */
    cr_expect_eq(notes, 1);
    cr_expect_not_null(strstr(ex_buf_text(&seen[0]), "\n[... "));
    cr_expect_not_null(strstr(ex_buf_text(&seen[0]), " bytes skipped ...]\n"));
    expect_head_and_tail();
    follow_long(whole.length - 100); /* into the tail */
    cr_expect_eq(notes, 0);
    cr_expect_eq(bytes.length, whole.length);
    cr_expect_eq(memcmp(bytes.data, whole.data, whole.length), 0);
    follow_long(whole.length);
    cr_expect_eq(bytes.length, whole.length);
    ex_buf_clear(&whole);
}

Test(queue_follow, is_not_misled_by_a_line_like_ours)
{
    ex_buf_init(&whole, EX_BUF_UNLIMITED);
    ex_buf_puts(&whole, "a\n[... 700 bytes, 3 lines cut ...]\nb\nc\nd\n");
    for (size_t live = 0; live <= whole.length; live++) {
        follow_long(live);
        cr_assert_str_eq(ex_buf_text(&seen[0]), whole.data);
    }
    ex_buf_clear(&whole);
}

static void skipping(int now)
{
    if (now == 0)
        claim();
    else if (now == 1)
        put_text(1, 0, "one\ntw");
    else if (now == 2)
        put_text(1, 1000006, "more\n");
    else if (now == 3)
        complete("");
}

Test(queue_follow, t60_says_what_was_skipped)
{
    script = skipping;
    submit_with(0);
    must(executr_queue_follow(queue, &request, &err));
    expect_out("one\ntw\n[... 1000000 bytes skipped ...]\nmore\n");
    cr_expect_eq(notes, 1);
    cr_expect_eq(last_offset, 1000006);
}

static int32_t refuse(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length)
{
    (void)ctx;
    (void)stream;
    (void)attempt;
    (void)offset;
    (void)data;
    return length > 0;
}

static int32_t give_up(void *ctx)
{
    (void)ctx;
    return 1;
}

Test(queue_follow, stops_when_its_reader_wants)
{
    script = live_then_end;
    submit_with(0);
    request.idle = give_up;
    expect_status(
        EXECUTR_E_CANCELLED, executr_queue_follow(queue, &request, &err));
    request.idle = on_idle;
    request.write = refuse;
    expect_status(
        EXECUTR_E_CALLBACK, executr_queue_follow(queue, &request, &err));
    cr_expect_eq(request.stdout_offset, 0);
}

Test(queue_follow, refuses_what_makes_no_sense)
{
    submit_with(0);
    request.write = NULL;
    expect_status(
        EXECUTR_E_ARGUMENT, executr_queue_follow(queue, &request, &err));
    request.write = on_write;
    request.streams = 9;
    expect_status(
        EXECUTR_E_ARGUMENT, executr_queue_follow(queue, &request, &err));
    request.streams = 0;
    request.stdout_offset = -1;
    expect_status(
        EXECUTR_E_ARGUMENT, executr_queue_follow(queue, &request, &err));
    request.stdout_offset = 0;
    request.job_id = "no id";
    expect_status(
        EXECUTR_E_ARGUMENT, executr_queue_follow(queue, &request, &err));
    request.job_id = "0192f0c1-7a7e-7cc3-98c4-dc0c0c073991";
    expect_status(
        EXECUTR_E_NOT_FOUND, executr_queue_follow(queue, &request, &err));
}

TestSuite(queue_put_output, .init = open_queue, .fini = close_queue);

Test(queue_put_output, checks_what_it_is_given)
{
    executr_output output = EXECUTR_OUTPUT_INIT;
    int32_t followed = 1;
    static char large[EXECUTR_OUTPUT_MAX + 1];

    submit_with(0);
    claim();
    output.job_id = id;
    output.stream = 3;
    output.data = large;
    expect_status(
        EXECUTR_E_ARGUMENT,
        executr_queue_put_output(queue, "e1", &output, &followed, &err));
    output.stream = 1;
    output.offset = -1;
    expect_status(
        EXECUTR_E_ARGUMENT,
        executr_queue_put_output(queue, "e1", &output, &followed, &err));
    output.offset = 0;
    output.length = sizeof large;
    expect_status(
        EXECUTR_E_TOO_LARGE,
        executr_queue_put_output(queue, "e1", &output, &followed, &err));
    output.length = 5;
    must(executr_queue_put_output(queue, "e1", &output, &followed, &err));
    cr_expect_eq(followed, 0);
    expect_status(
        EXECUTR_E_LOST,
        executr_queue_put_output(queue, "e2", &output, &followed, &err));
}
