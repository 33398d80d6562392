/* SPDX-License-Identifier: MIT */
/* Bodies that executors send about jobs they have: ends and heartbeats. */
#include <criterion/criterion.h>
#include <executr/request.h>
#include <string.h>

#include "base/buf.h"
#include "job.h"
#include "support/request.h"

#define ID "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"
#define WHO "{\"executor_id\":\"w-1\""
#define REPORTS WHO ",\"reports\":["

Test(request_complete, reads_an_end)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_COMPLETE, ID,
        WHO ",\"attempt\":3,\"exit_code\":0,\"stdout\":\"o\\u0000\xc3\xa9\","
            "\"stderr\":\"\"}");
    const executr_report *report = executr_request_report(r, 0);

    cr_expect_eq(executr_request_count(r), 1);
    cr_expect_str_eq(executr_request_executor_id(r), "w-1");
    cr_expect_str_eq(report->job_id, ID);
    cr_expect_eq(report->status, EXECUTR_ATTEMPT_COMPLETED);
    cr_expect_eq(report->outcome, EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(report->attempt, 3);
    cr_expect_eq(report->has_exit_code, 1);
    cr_assert_eq(report->stdout_length, 4, "a NUL is an output's right");
    cr_expect_arr_eq(report->stdout_data, "o\0\xc3\xa9", 4);
    cr_expect_eq(report->stderr_length, 0);
    executr_request_free(r);
}

Test(request_complete, needs_only_the_executor)
{
    executr_request *r = parsed(EXECUTR_REQUEST_COMPLETE, ID, WHO "}");
    const executr_report *report = executr_request_report(r, 0);

    cr_expect_eq(report->attempt, 0);
    cr_expect_eq(report->has_exit_code, 0);
    cr_expect_eq(report->signal, 0);
    cr_expect_null(report->error_message);
    cr_expect_null(executr_request_report(r, 1));
    executr_request_free(r);
}

Test(request_complete, does_not_keep_the_callers_id)
{
    char id[] = ID;

    executr_request *r = parsed(EXECUTR_REQUEST_COMPLETE, id, WHO "}");
    memset(id, 'x', sizeof id - 1);
    cr_expect_str_eq(executr_request_report(r, 0)->job_id, ID);
    executr_request_free(r);
}

Test(request_complete, takes_the_exit_codes_a_process_can_have)
{
    const char *const bodies[] = {
        WHO ",\"exit_code\":0}", WHO ",\"exit_code\":255}"};
    const int32_t codes[] = {0, 255};

    for (size_t i = 0; i < 2; i++) {
        executr_request *r = parsed(EXECUTR_REQUEST_COMPLETE, ID, bodies[i]);
        cr_expect_eq(executr_request_report(r, 0)->exit_code, codes[i]);
        executr_request_free(r);
    }
}

Test(request_complete, refuses_other_exit_codes)
{
    const char *const bodies[] = {
        WHO ",\"exit_code\":-1}", WHO ",\"exit_code\":256}",
        WHO ",\"exit_code\":4294967296}"};

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        refused(
            EXECUTR_REQUEST_COMPLETE, ID, bodies[i], EXECUTR_E_ARGUMENT,
            "exit_code");
}

Test(request_complete, prefers_base64)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_COMPLETE, ID,
        WHO ",\"stdout\":\"text\",\"stdout_base64\":\"/wBh\","
            "\"stderr_base64\":\"\"}");
    const executr_report *report = executr_request_report(r, 0);

    cr_assert_eq(report->stdout_length, 3);
    cr_expect_arr_eq(report->stdout_data, "\xff\0a", 3);
    cr_expect_eq(report->stderr_length, 0);
    executr_request_free(r);
}

Test(request_complete, reads_outcome_and_usage)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_COMPLETE, ID,
        WHO ",\"outcome\":\"signal\",\"signal\":9,\"usage\":{"
            "\"user_seconds\":0.25,\"system_seconds\":1,\"wall_seconds\":2.5,"
            "\"max_rss_bytes\":4096}}");
    const executr_report *report = executr_request_report(r, 0);

    cr_expect_eq(report->outcome, EXECUTR_OUTCOME_SIGNAL);
    cr_expect_eq(report->signal, 9);
    cr_expect_eq(report->max_rss_bytes, 4096);
    cr_expect_float_eq(report->user_seconds, 0.25, 0);
    cr_expect_float_eq(report->system_seconds, 1, 0);
    cr_expect_float_eq(report->wall_seconds, 2.5, 0);
    cr_expect_eq(ex_report_has_usage(report), 1);
    executr_request_free(r);
}

static const char *const bad_complete[][2] = {
    {"{}", "executor_id"},
    {"{\"executor_id\":5}", "executor_id"},
    {WHO ",\"attempt\":0}", "attempt"},
    {WHO ",\"attempt\":\"1\"}", "attempt"},
    {WHO ",\"exit_code\":2147483648}", "exit_code"},
    {WHO ",\"exit_code\":1.0}", "exit_code"},
    {WHO ",\"stdout\":5}", "stdout"},
    {WHO ",\"stderr\":[]}", "stderr"},
    {WHO ",\"stdout_base64\":\"Zg\"}", "stdout_base64"},
    {WHO ",\"stderr_base64\":5}", "stderr_base64"},
    {WHO ",\"outcome\":\"odd\"}", "outcome"},
    {WHO ",\"signal\":-1}", "signal"},
    {WHO ",\"usage\":5}", "usage"},
    {WHO ",\"usage\":{\"user_seconds\":-1}}", "usage"},
    {WHO ",\"usage\":{\"wall_seconds\":\"1\"}}", "wall_seconds"},
    {WHO ",\"uncounted\":1}", "uncounted"}};

Test(request_complete, names_the_bad_field)
{
    for (size_t i = 0; i < sizeof bad_complete / sizeof *bad_complete; i++)
        refused(
            EXECUTR_REQUEST_COMPLETE, ID, bad_complete[i][0],
            EXECUTR_E_ARGUMENT, bad_complete[i][1]);
    refused(EXECUTR_REQUEST_COMPLETE, NULL, WHO "}", EXECUTR_E_ARGUMENT, "id");
}

Test(request_fail, wants_an_error_message)
{
    const char *const bodies[] = {
        WHO "}", WHO ",\"error_message\":\"\"}", WHO ",\"error_message\":null}",
        WHO ",\"error_message\":5}", WHO ",\"error_message\":\"\\u0000\"}"};

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        refused(
            EXECUTR_REQUEST_FAIL, ID, bodies[i], EXECUTR_E_ARGUMENT,
            "error_message");
    executr_request *r =
        parsed(EXECUTR_REQUEST_FAIL, ID, WHO ",\"error_message\":\"why\"}");
    const executr_report *report = executr_request_report(r, 0);
    cr_expect_eq(report->status, EXECUTR_ATTEMPT_FAILED);
    cr_expect_eq(report->outcome, EXECUTR_OUTCOME_NONE);
    cr_expect_str_eq(report->error_message, "why");
    executr_request_free(r);
}

Test(request_fail, gives_back_a_job_without_a_message)
{
    executr_request *r =
        parsed(EXECUTR_REQUEST_FAIL, ID, WHO ",\"uncounted\":true}");

    cr_expect_eq(executr_request_report(r, 0)->uncounted, 1);
    executr_request_free(r);
}

Test(request_fail, cuts_a_long_message_at_a_character)
{
    ex_buf body;

    ex_buf_init(&body, EX_BUF_UNLIMITED);
    ex_buf_puts(&body, WHO ",\"error_message\":\"x");
    for (int i = 0; i < 40000; i++)
        ex_buf_puts(&body, "\xc3\xa9");
    ex_buf_puts(&body, "\"}");
    executr_request *r = parsed(EXECUTR_REQUEST_FAIL, ID, body.data);
    const char *message = executr_request_report(r, 0)->error_message;
    cr_assert_eq(strlen(message), 65535);
    cr_expect_str_eq(message + 65533, "\xc3\xa9");
    executr_request_free(r);
    ex_buf_clear(&body);
}

Test(request_report, reads_many_ends)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_REPORT, NULL,
        REPORTS "{\"id\":\"a\",\"attempt\":1,\"status\":\"completed\","
                "\"stdout\":\"o\"},{\"id\":\"b\",\"attempt\":2,"
                "\"status\":\"failed\",\"error_message\":\"m\"}]}");

    cr_assert_eq(executr_request_count(r), 2);
    cr_expect_str_eq(executr_request_report(r, 0)->job_id, "a");
    cr_expect_eq(executr_request_report(r, 0)->stdout_length, 1);
    const executr_report *second = executr_request_report(r, 1);
    cr_expect_eq(second->status, EXECUTR_ATTEMPT_FAILED);
    cr_expect_eq(second->attempt, 2);
    cr_expect_str_eq(second->error_message, "m");
    executr_request_free(r);
}

static const char *const bad_report[][2] = {
    {REPORTS "5]}", "reports[0]"},
    {REPORTS "{}]}", "reports[0].id"},
    {REPORTS "{\"id\":\"a\"}]}", "reports[0].status"},
    {REPORTS "{\"id\":\"a\",\"status\":\"running\"}]}", "reports[0].status"},
    {REPORTS "{\"id\":\"a\",\"status\":\"failed\"}]}",
     "reports[0].error_message"},
    {REPORTS "{\"id\":\"a\",\"status\":\"completed\"},"
             "{\"id\":\"a\",\"status\":\"completed\",\"attempt\":0}]}",
     "reports[1].attempt"},
    {REPORTS "]}", "reports"},
    {WHO "}", "reports"},
    {WHO ",\"reports\":{}}", "reports"},
    {"{\"reports\":[]}", "executor_id"}};

Test(request_report, names_the_bad_element_and_its_field)
{
    for (size_t i = 0; i < sizeof bad_report / sizeof *bad_report; i++)
        refused(
            EXECUTR_REQUEST_REPORT, NULL, bad_report[i][0], EXECUTR_E_ARGUMENT,
            bad_report[i][1]);
}

Test(request_report, takes_up_to_a_thousand)
{
    ex_buf body;

    ex_buf_init(&body, EX_BUF_UNLIMITED);
    ex_buf_puts(&body, REPORTS "0");
    for (int i = 1; i < 1001; i++)
        ex_buf_puts(&body, ",0");
    ex_buf_puts(&body, "]}");
    refused(
        EXECUTR_REQUEST_REPORT, NULL, body.data, EXECUTR_E_TOO_LARGE,
        "reports");
    ex_buf_clear(&body);
}

/* What the client writes for `report` becomes a request. */
static executr_request *sent(const executr_report *report)
{
    ex_buf text;
    ex_json_writer w;

    ex_buf_init(&text, EX_BUF_UNLIMITED);
    ex_buf_puts(&text, REPORTS);
    ex_json_begin(&w, &text);
    ex_report_write(report, 1, &w);
    ex_buf_puts(&text, "]}");
    executr_request *r = parsed(EXECUTR_REQUEST_REPORT, NULL, text.data);
    ex_buf_clear(&text);
    return r;
}

Test(request_report, reads_what_the_client_writes)
{
    executr_report report = EXECUTR_REPORT_INIT;
    report.job_id = ID;
    report.attempt = 7;
    report.status = EXECUTR_ATTEMPT_FAILED;
    report.outcome = EXECUTR_OUTCOME_OOM;
    report.error_message = "m";
    report.signal = 9;
    executr_request *r = sent(&report);
    const executr_report *back = executr_request_report(r, 0);
    cr_expect_str_eq(back->job_id, ID);
    cr_expect_eq(back->attempt, 7);
    cr_expect_eq(back->outcome, EXECUTR_OUTCOME_OOM);
    cr_expect_eq(back->signal, 9);
    executr_request_free(r);
}

Test(request_report, reads_output_and_usage_as_the_client_writes_them)
{
    executr_report report = EXECUTR_REPORT_INIT;
    report.job_id = ID;
    report.status = EXECUTR_ATTEMPT_COMPLETED;
    report.stdout_data = "\xff\0";
    report.stdout_length = 2;
    report.wall_seconds = 0.1;
    executr_request *r = sent(&report);
    const executr_report *back = executr_request_report(r, 0);
    cr_assert_eq(back->stdout_length, 2);
    cr_expect_arr_eq(back->stdout_data, "\xff\0", 2);
    cr_expect_eq(back->stderr_length, 0);
    cr_expect_float_eq(back->wall_seconds, 0.1, 0);
    executr_request_free(r);
}

Test(request_report, has_a_result_for_each)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_REPORT, NULL,
        REPORTS "{\"id\":\"a\",\"status\":\"completed\"},"
                "{\"id\":\"b\",\"status\":\"completed\"}]}");
    const executr_status results[] = {EXECUTR_OK, EXECUTR_E_LOST};
    ex_buf text;

    ex_buf_init(&text, EX_BUF_UNLIMITED);
    cr_expect_eq(
        executr_report_results_json(r, results, ex_buf_write, &text, NULL),
        EXECUTR_OK);
    cr_expect_not_null(strstr(
        text.data,
        "{\"results\":[{\"id\":\"a\",\"accepted\":true},{\"id\":\"b\","
        "\"accepted\":false,\"code\":\"lost_attempt\",\"error\":\""));
    ex_buf_clear(&text);
    executr_request_free(r);
}

Test(request_heartbeat, reads_an_executors_state)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_HEARTBEAT, "w-1",
        "{\"executor_ip\":\"::1\",\"max_jobs\":4,\"version\":\"0.1.0\","
        "\"running\":[{\"id\":\"" ID "\",\"attempt\":2},{\"id\":\"x\"}],"
        "\"hits\":1,\"misses\":2,\"bytes\":3,\"max_bytes\":4}");
    executr_heartbeat *h = executr_request_heartbeat(r);

    cr_expect_str_eq(h->executor_id, "w-1");
    cr_expect_str_eq(h->executor_ip, "::1");
    cr_expect_str_eq(h->version, "0.1.0");
    cr_expect_eq(h->max_jobs, 4);
    cr_assert_eq(h->lease_count, 2);
    cr_expect_str_eq(h->leases[0].job_id, ID);
    cr_expect_eq(h->leases[0].attempt, 2);
    cr_expect_eq(h->leases[1].attempt, 0);
    cr_expect_eq(h->cache_hits + 10 * h->cache_misses, 21);
    cr_expect_eq(h->cache_bytes + 10 * h->cache_max_bytes, 43);
    executr_request_free(r);
}

Test(request_heartbeat, reads_what_the_client_writes)
{
    executr_lease lease = {.job_id = ID, .attempt = 5};
    executr_heartbeat heartbeat = EXECUTR_HEARTBEAT_INIT;
    ex_buf text;
    ex_json_writer w;

    heartbeat.executor_ip = "::1";
    heartbeat.leases = &lease;
    heartbeat.lease_count = 1;
    heartbeat.cache_max_bytes = 9;
    ex_buf_init(&text, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &text);
    ex_heartbeat_write(&heartbeat, &w);
    executr_request *r = parsed(EXECUTR_REQUEST_HEARTBEAT, "w-1", text.data);
    cr_expect_eq(executr_request_heartbeat(r)->leases[0].attempt, 5);
    cr_expect_eq(executr_request_heartbeat(r)->cache_max_bytes, 9);
    executr_request_free(r);
    ex_buf_clear(&text);
}

Test(request_heartbeat, needs_nothing_but_its_id)
{
    executr_request *r = parsed(EXECUTR_REQUEST_HEARTBEAT, "w-1", "{}");
    executr_heartbeat *heartbeat = executr_request_heartbeat(r);

    cr_expect_str_eq(heartbeat->executor_ip, "");
    cr_expect_str_eq(heartbeat->version, "");
    cr_expect_eq(heartbeat->max_jobs, 1);
    cr_expect_eq(heartbeat->lease_count, 0);
    executr_request_free(r);
}

static const char *const bad_heartbeat[][2] = {
    {"{\"running\":{}}", "running"},
    {"{\"running\":[5]}", "running[0]"},
    {"{\"running\":[{}]}", "running[0].id"},
    {"{\"running\":[{\"id\":\"\"}]}", "running[0].id"},
    {"{\"running\":[{\"id\":\"" ID "long\"}]}", "running[0].id"},
    {"{\"running\":[{\"id\":\"a\",\"attempt\":-1}]}", "running[0].attempt"},
    {"{\"max_jobs\":0}", "max_jobs"},
    {"{\"executor_ip\":5}", "executor_ip"},
    {"{\"version\":\"a\\n\"}", "version"},
    {"{\"cache\":5}", "cache"},
    {"{\"cache\":{\"hits\":-1}}", "hits"},
    /* All executors' are added up, which must not overflow. */
    {"{\"cache\":{\"hits\":9223372036854775807}}", "hits"},
    {"{\"cache\":{\"misses\":9223372036854775807}}", "misses"}};

Test(request_heartbeat, names_the_bad_field)
{
    for (size_t i = 0; i < sizeof bad_heartbeat / sizeof *bad_heartbeat; i++)
        refused(
            EXECUTR_REQUEST_HEARTBEAT, "w-1", bad_heartbeat[i][0],
            EXECUTR_E_ARGUMENT, bad_heartbeat[i][1]);
    refused(
        EXECUTR_REQUEST_HEARTBEAT, NULL, "{}", EXECUTR_E_ARGUMENT,
        "executor_id");
}

Test(request_job_heartbeat, reads_a_lease)
{
    executr_request *r =
        parsed(EXECUTR_REQUEST_JOB_HEARTBEAT, ID, WHO ",\"attempt\":2}");

    cr_expect_str_eq(executr_request_executor_id(r), "w-1");
    cr_expect_str_eq(executr_request_lease(r)->job_id, ID);
    cr_expect_eq(executr_request_lease(r)->attempt, 2);
    cr_expect_null(executr_request_heartbeat(r));
    cr_expect_null(executr_request_claim(r));
    executr_request_free(r);
    refused(
        EXECUTR_REQUEST_JOB_HEARTBEAT, ID ID, WHO "}", EXECUTR_E_ARGUMENT,
        "id");
}
