/* SPDX-License-Identifier: MIT */
/* Records and requests as JSON: what is written, what is read back. */
#include <criterion/criterion.h>
#include <executr/request.h>
#include <string.h>

#include "job.h"

#define SHA "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
#define ID "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"
#define NOON INT64_C(1767268800123456) /* 2026-01-01T12:00:00.123456Z */

static executr_jobs *jobs;
static struct executr_job *job;
static ex_buf text;
static ex_json_writer w;

static void begin(void)
{
    cr_assert_eq(ex_jobs_new(&jobs, NULL), EXECUTR_OK);
    cr_assert_eq(ex_jobs_add(jobs, &job, NULL), EXECUTR_OK);
    memcpy(job->id, ID, sizeof job->id);
    memcpy(job->binary_sha256, SHA, sizeof job->binary_sha256);
    job->type = "t";
    job->priority = EXECUTR_PRIORITY_BACKGROUND;
    job->status = EXECUTR_JOB_PENDING;
    job->created_at_us = NOON;
    ex_buf_init(&text, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &text);
}

static void end(void)
{
    ex_buf_clear(&text);
    executr_jobs_free(jobs);
}

TestSuite(job_json, .init = begin, .fini = end);
TestSuite(job_read, .init = begin, .fini = end);
TestSuite(request_json, .init = begin, .fini = end);

/* Fill everything a finished job has. */
static void finish(void)
{
    static struct executr_attempt attempts[2] = {
        {.number = 1,
         .status = EXECUTR_ATTEMPT_TIMEOUT,
         .executor_id = "w-1",
         .executor_ip = "",
         .error_message = "silent",
         .started_at_us = NOON,
         .outcome = EXECUTR_OUTCOME_LOST},
        {.number = 2,
         .status = EXECUTR_ATTEMPT_COMPLETED,
         .executor_id = "w-2",
         .executor_ip = "10.0.0.2",
         .error_message = "",
         .started_at_us = NOON,
         .ended_at_us = NOON + 1,
         .outcome = EXECUTR_OUTCOME_EXIT,
         .has_exit_code = 1,
         .has_usage = 1,
         .user_seconds = 0.25,
         .system_seconds = 0.5,
         .wall_seconds = 1.5,
         .max_rss_bytes = 4096}};

    job->status = EXECUTR_JOB_COMPLETED;
    job->attempt = 2;
    job->outcome = EXECUTR_OUTCOME_EXIT;
    job->has_exit_code = 1;
    job->executor_id = "w-2";
    job->started_at_us = job->completed_at_us = NOON;
    job->has_output = job->has_attempts = 1;
    job->stdout_data = "a\0\xff\xc3\xa9";
    job->stdout_length = 5;
    job->attempts = attempts;
    job->attempt_count = 2;
}

static void expect_job(int32_t parts, const char *expected)
{
    ex_job_write(job, parts, &w);
    cr_assert_eq(ex_buf_status(&text, "text", NULL), EXECUTR_OK);
    cr_expect_str_eq(text.data, expected);
}

Test(job_json, leaves_out_what_a_new_job_does_not_have)
{
    expect_job(
        EXECUTR_PART_ALL,
        "{\"id\":\"" ID "\",\"type\":\"t\",\"binary_sha256\":\"" SHA "\","
        "\"arguments\":[],\"env_variables\":{},\"priority\":\"background\","
        "\"exclusive\":false,\"max_retries\":0,\"status\":\"pending\","
        "\"retry_count\":0,\"attempt\":0,"
        "\"created_at\":\"2026-01-01T12:00:00.123456Z\"}");
}

Test(job_json, writes_limits_as_they_were_asked_for)
{
    job->timeout_ms = 90000;
    job->kill_grace_ms = 300;
    job->memory_mb = 64;
    job->cpu_seconds = 5;
    job->max_processes = 7;
    job->max_file_mb = 8;
    job->isolation = EXECUTR_ISOLATION_STRICT;
    ex_job_write(job, 0, &w);
    cr_expect_not_null(strstr(
        text.data,
        "\"timeout\":\"1m30s\",\"kill_grace\":\"300ms\",\"memory_mb\":64,"
        "\"cpu_seconds\":5,\"max_processes\":7,\"max_file_mb\":8,"
        "\"isolation\":\"strict\""));
}

Test(job_json, writes_a_failure)
{
    job->status = EXECUTR_JOB_FAILED;
    job->outcome = EXECUTR_OUTCOME_SIGNAL;
    job->signal = 9;
    job->error_message = "killed";
    job->binary_url = "http://h/x";
    job->retry_after_us = NOON;
    ex_job_write(job, 0, &w);
    cr_expect_not_null(strstr(text.data, "\"binary_url\":\"http://h/x\""));
    cr_expect_not_null(strstr(
        text.data, "\"outcome\":\"signal\",\"signal\":9,"
                   "\"error_message\":\"killed\""));
    cr_expect_not_null(strstr(text.data, "\"retry_after\":\"2026-01-01T12"));
    cr_expect_null(strstr(text.data, "exit_code"));
}

Test(job_json, has_outputs_and_attempts_only_when_asked)
{
    finish();
    ex_job_write(job, 0, &w);
    cr_expect_null(strstr(text.data, "stdout"));
    cr_expect_null(strstr(text.data, "attempts"));
    ex_buf_reset(&text);
    ex_json_begin(&w, &text);
    ex_job_write(job, EXECUTR_PART_OUTPUT, &w);
    cr_expect_not_null(strstr(
        text.data,
        "\"stdout\":\"a\\u0000\xef\xbf\xbd\xc3\xa9\",\"stderr\":\"\""));
    cr_expect_null(strstr(text.data, "attempts"));
}

Test(job_json, writes_attempts_with_outcome_and_usage)
{
    finish();
    ex_job_write(job, EXECUTR_PART_ATTEMPTS, &w);
    cr_expect_not_null(strstr(
        text.data,
        "\"attempts\":[{\"attempt\":1,\"executor_id\":\"w-1\","
        "\"started_at\":\"2026-01-01T12:00:00.123456Z\",\"status\":\"timeout\","
        "\"outcome\":\"lost\",\"error_message\":\"silent\"},"
        "{\"attempt\":2,\"executor_id\":\"w-2\",\"executor_ip\":\"10.0.0.2\","
        "\"started_at\":\"2026-01-01T12:00:00.123456Z\","
        "\"ended_at\":\"2026-01-01T12:00:00.123457Z\",\"status\":\"completed\","
        "\"outcome\":\"exit\",\"exit_code\":0,\"usage\":{\"user_seconds\":0.25,"
        "\"system_seconds\":0.5,\"wall_seconds\":1.5,"
        "\"max_rss_bytes\":4096}}]}"));
}

Test(job_json, of_a_brief_record_is_brief)
{
    job->is_brief = 1;
    expect_job(
        EXECUTR_PART_ALL,
        "{\"id\":\"" ID "\",\"type\":\"t\",\"priority\":\"background\","
        "\"status\":\"pending\"}");
}

static int32_t refuse(void *ctx, const void *data, size_t length)
{
    (void)data;
    *(size_t *)ctx = length;
    return 7;
}

Test(job_json, goes_to_the_callers_sink)
{
    executr_error err;
    size_t length = 0;

    cr_expect_eq(
        executr_job_json(job, 0, ex_buf_write, &text, &err), EXECUTR_OK);
    cr_expect_eq(
        executr_job_json(job, 0, refuse, &length, &err), EXECUTR_E_CALLBACK);
    cr_expect_eq(length, text.length);
    cr_expect_eq(
        executr_job_json(NULL, 0, ex_buf_write, &text, &err),
        EXECUTR_E_ARGUMENT);
}

/* Read `json` as a job into the list. */
static executr_status read_job(const char *json, size_t length)
{
    ex_json *document;
    executr_error err;

    cr_assert_eq(ex_json_parse_nul(json, length, &document, &err), EXECUTR_OK);
    executr_status st = ex_job_read(document, jobs, &err);
    if (st)
        cr_expect_eq(err.status, st);
    ex_json_free(document);
    return st;
}

/* Write the job, read it back, write that: the texts must be equal. */
static void expect_round_trip(void)
{
    ex_buf again;

    ex_job_write(job, EXECUTR_PART_ALL, &w);
    cr_assert_eq(read_job(text.data, text.length), EXECUTR_OK);
    ex_buf_init(&again, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &again);
    ex_job_write(jobs->items[1], EXECUTR_PART_ALL, &w);
    cr_expect_str_eq(again.data, text.data);
    ex_buf_clear(&again);
}

Test(job_read, gives_back_a_new_job)
{
    expect_round_trip();
}

Test(job_read, gives_back_all_a_job_can_have)
{
    finish();
    job->stdout_data = "a\0b";
    job->stdout_length = 3;
    job->arguments_json = "[\"a\\\"b\",\"\"]";
    job->environment_json = "{\"K\":\"v\"}";
    job->binary_url = "http://h/x";
    job->error_message = "m";
    job->exclusive = 1;
    job->max_retries = job->retry_count = 3;
    job->timeout_ms = job->kill_grace_ms = 1500;
    job->memory_mb = job->cpu_seconds = 1;
    job->isolation = EXECUTR_ISOLATION_BASIC;
    job->last_heartbeat_us = job->retry_after_us = NOON;
    expect_round_trip();
}

Test(job_read, unpacks_arguments_and_environment)
{
    job->arguments_json = "[\"a\\\"b\"]";
    job->environment_json = "{\"K\":\"v\"}";
    expect_round_trip();
    const executr_job *back = executr_jobs_at(jobs, 1);
    cr_assert_eq(executr_job_argument_count(back), 1);
    cr_expect_str_eq(executr_job_argument(back, 0), "a\"b");
    cr_assert_eq(executr_job_environment_count(back), 1);
    cr_expect_str_eq(executr_job_environment(back, 0), "K=v");
}

Test(job_read, takes_a_bulk_result)
{
    const char json[] = "{\"index\":0,\"success\":true,\"job_id\":\"" ID "\","
                        "\"status\":\"pending\",\"new\":[1]}";

    cr_assert_eq(read_job(json, sizeof json - 1), EXECUTR_OK);
    cr_expect_str_eq(executr_job_id(executr_jobs_at(jobs, 1)), ID);
    cr_expect_eq(
        executr_job_status(executr_jobs_at(jobs, 1)), EXECUTR_JOB_PENDING);
    cr_expect(jobs->items[1]->is_brief);
}

static const char *const bad_answers[] = {
    "[]",
    "{}",
    "{\"id\":5}",
    "{\"id\":\"../../etc\"}",
    "{\"id\":\"" ID "\",\"status\":\"odd\"}",
    "{\"id\":\"" ID "\",\"binary_sha256\":\"../x\"}",
    "{\"id\":\"" ID "\",\"binary_sha256\":\"" SHA "\",\"attempt\":-1}",
    "{\"id\":\"" ID "\",\"binary_sha256\":\"" SHA "\",\"arguments\":[5]}",
    "{\"id\":\"" ID "\",\"binary_sha256\":\"" SHA "\",\"stdout\":{}}",
    "{\"id\":\"" ID "\",\"binary_sha256\":\"" SHA "\",\"attempts\":[{}],"
    "\"created_at\":\"yesterday\"}"};

Test(job_read, refuses_a_bad_answer_and_keeps_no_half_record)
{
    for (size_t i = 0; i < sizeof bad_answers / sizeof *bad_answers; i++)
        cr_expect_eq(
            read_job(bad_answers[i], strlen(bad_answers[i])),
            EXECUTR_E_PROTOCOL, "%s", bad_answers[i]);
    cr_expect_eq(executr_jobs_count(jobs), 1);
}

Test(request_json, of_a_claim_names_what_is_set)
{
    const char *types[] = {"a", "b"};
    executr_claim claim = EXECUTR_CLAIM_INIT;

    claim.executor_id = "w-1";
    claim.executor_ip = "::1";
    claim.max_jobs = 4;
    claim.wait_ms = 20000;
    claim.types = types;
    claim.type_count = 2;
    claim.priorities = 1u << EXECUTR_PRIORITY_FOREGROUND;
    claim.offers = EXECUTR_OFFER_TIMEOUT | EXECUTR_OFFER_STRICT;
    ex_claim_write(&claim, &w);
    cr_expect_str_eq(
        text.data,
        "{\"executor_id\":\"w-1\",\"executor_ip\":\"::1\",\"max_jobs\":4,"
        "\"wait\":\"20s\",\"types\":[\"a\",\"b\"],"
        "\"priorities\":[\"foreground\"],\"offers\":[\"timeout\",\"strict\"]}");
}

Test(request_json, of_a_report_keeps_every_byte)
{
    executr_report report = EXECUTR_REPORT_INIT;

    report.job_id = ID;
    report.attempt = 2;
    report.status = EXECUTR_ATTEMPT_FAILED;
    report.error_message = "m";
    report.uncounted = 1;
    report.stdout_data = "\xc3\xa9";
    report.stdout_length = 2;
    report.stderr_data = "a\0b";
    report.stderr_length = 3;
    ex_report_write(&report, 1, &w);
    cr_expect_str_eq(
        text.data, "{\"id\":\"" ID "\",\"status\":\"failed\",\"attempt\":2,"
                   "\"uncounted\":true,\"error_message\":\"m\","
                   "\"stdout\":\"\xc3\xa9\",\"stderr_base64\":\"YQBi\"}");
}

Test(request_json, of_a_heartbeat_names_every_lease)
{
    executr_lease leases[2] = {{.job_id = ID, .attempt = 3}, {.job_id = "x"}};
    executr_heartbeat heartbeat = EXECUTR_HEARTBEAT_INIT;

    heartbeat.executor_ip = "::1";
    heartbeat.max_jobs = 2;
    heartbeat.leases = leases;
    heartbeat.lease_count = 2;
    heartbeat.cache_hits = 1;
    ex_heartbeat_write(&heartbeat, &w);
    cr_expect_str_eq(
        text.data,
        "{\"executor_ip\":\"::1\",\"max_jobs\":2,\"running\":[{\"id\":\"" ID
        "\",\"attempt\":3},{\"id\":\"x\"}],\"cache\":{\"hits\":1,\"misses\":0,"
        "\"bytes\":0,\"max_bytes\":0}}");
}

Test(request_json, of_verdicts_says_what_to_stop)
{
    executr_lease leases[] = {
        {.job_id = "a", .verdict = EXECUTR_LEASE_KEPT},
        {.job_id = "b", .verdict = EXECUTR_LEASE_CANCEL},
        {.job_id = "c", .verdict = EXECUTR_LEASE_LOST},
        {.job_id = "d", .verdict = EXECUTR_LEASE_UNKNOWN}};
    executr_heartbeat heartbeat = EXECUTR_HEARTBEAT_INIT;

    heartbeat.leases = leases;
    heartbeat.lease_count = 4;
    cr_expect_eq(
        executr_heartbeat_json(&heartbeat, ex_buf_write, &text, NULL),
        EXECUTR_OK);
    cr_expect_str_eq(text.data, "{\"cancel\":[\"b\"],\"lost\":[\"c\",\"d\"]}");
    ex_buf_reset(&text);
    heartbeat.lease_count = 0;
    heartbeat.lease_ms = 15000;
    cr_expect_eq(
        executr_heartbeat_json(&heartbeat, ex_buf_write, &text, NULL),
        EXECUTR_OK);
    cr_expect_str_eq(
        text.data, "{\"cancel\":[],\"lost\":[],\"lease\":\"15s\"}");
    ex_buf_reset(&text);
    leases[0].verdict = EXECUTR_LEASE_FOLLOWED;
    heartbeat.lease_count = 2;
    heartbeat.lease_ms = 0;
    cr_expect_eq(
        executr_heartbeat_json(&heartbeat, ex_buf_write, &text, NULL),
        EXECUTR_OK);
    cr_expect_str_eq(
        text.data, "{\"cancel\":[\"b\"],\"lost\":[],\"follow\":[\"a\"]}");
}
