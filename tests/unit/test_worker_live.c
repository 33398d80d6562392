/* SPDX-License-Identifier: MIT */
/* A worker whose jobs are followed through the queue in the same process. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "support/home.h"
#include "support/work_bench.h"

TestSuite(worker_live, .init = open_bench, .fini = close_bench);

static ex_buf out;
static ex_buf bytes; /* of it, without notes */
static int64_t last; /* offset */
static int notes;
static int live;          /* what came while the job was running */
static const char *until; /* the file that ends the job is made then */

static int32_t on_write(
    void *ctx, int32_t stream, int32_t attempt, int64_t offset,
    const void *data, size_t length)
{
    const char *id = ctx;

    (void)attempt;
    if (stream != 1)
        return 0;
    notes += offset < 0;
    if (offset >= 0) {
        cr_expect_geq(offset, last);
        last = offset + (int64_t)length;
        ex_buf_add(&bytes, data, length);
    }
    live += executr_job_status(get_job(id)) == EXECUTR_JOB_RUNNING;
    ex_buf_add(&out, data, length);
    if (until && strstr(ex_buf_text(&out), until)) {
        FILE *file = fopen(in_home("go"), "we");
        cr_assert(file && fclose(file) == 0);
        until = NULL;
    }
    return 0;
}

static void follow(const char *id)
{
    executr_follow request = EXECUTR_FOLLOW_INIT;
    char copy[40];

    snprintf(copy, sizeof copy, "%s", id);
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_buf_init(&bytes, EX_BUF_UNLIMITED);
    request.job_id = copy;
    request.write = on_write;
    request.ctx = copy;
    cr_assert_eq(
        executr_queue_follow(queue, &request, &err), EXECUTR_OK, "%s",
        err.message);
}

/* The job ends when what it said was seen: without live output it never would. */
Test(worker_live, t60_output_is_seen_before_the_job_ends)
{
    until = "first\n";
    start_worker();
    follow(submit_job(ARGS("say_until", in_home("go"))));
    cr_expect_str_eq(ex_buf_text(&out), "first\nlast\n");
    cr_expect_gt(live, 0);
    cr_expect_eq(notes, 0);
    ex_buf_clear(&out);
    ex_buf_clear(&bytes);
}

Test(worker_live, t60_more_output_than_is_kept_does_not_stop_the_job)
{
    size_t length;

    options.max_output_bytes = 100000;
    start_worker();
    const char *id = submit_job(ARGS("out", "50000000", "100"));
    follow(id);
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_COMPLETED);
    const char *kept = executr_job_stdout(job, &length);
    cr_expect_leq(length, 100000);
    cr_expect(strstr(kept, "lines cut ...]\n") != NULL);
    cr_expect_eq(last, 50000000, "%lld", (long long)last);
    cr_expect_geq(notes, 1);
    cr_expect_lt(bytes.length, 50000000);
    ex_buf_clear(&out);
    ex_buf_clear(&bytes);
}

Test(worker_live, t61_one_line_without_an_end)
{
    options.max_output_bytes = 100000;
    start_worker();
    follow(submit_job(ARGS("out", "5000000", "0")));
    cr_expect_eq(last, 5000000, "%lld", (long long)last);
    ex_buf_clear(&out);
    ex_buf_clear(&bytes);
}

Test(worker_live, t62_bytes_pass_as_they_are)
{
    start_worker();
    follow(submit_job(ARGS("bytes")));
    cr_assert_eq(out.length, 11);
    cr_expect_arr_eq(out.data, "a\0b\xff\xed\xa0\x80\033[1m", 11);
    ex_buf_clear(&out);
    ex_buf_clear(&bytes);
}

Test(worker_live, t63_a_job_that_closed_its_stdout_is_followed_to_its_end)
{
    until = "first\n";
    start_worker();
    follow(submit_job(ARGS("close_until", in_home("go"))));
    cr_expect_str_eq(ex_buf_text(&out), "first\n");
    ex_buf_clear(&out);
    ex_buf_clear(&bytes);
}
