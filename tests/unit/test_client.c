/* SPDX-License-Identifier: MIT */
/* The REST client for those who submit jobs and look after them. */
#include "support/client_bench.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"

TestSuite(client_open, .init = client_setup, .fini = client_teardown);
TestSuite(client_error, .init = client_setup, .fini = client_teardown);
TestSuite(client_submit, .init = client_setup, .fini = client_teardown);
TestSuite(client_jobs, .init = client_setup, .fini = client_teardown);

Test(client_open, takes_urls_with_a_path_and_slashes)
{
    executr_client *other =
        open_client(http_fixture_url(server, "/proxied/path//"), NULL);

    answer(200, JOB(ID1));
    cr_assert_eq(executr_client_get(other, ID1, &jobs, &err), EXECUTR_OK);
    cr_assert(sent_to("GET /proxied/path/api/v1/jobs/" ID1 " "));
    executr_client_free(other);
}

Test(client_open, refuses_urls_that_are_none)
{
    static const char *const bad[] = {
        "127.0.0.1:8080", "ftp://h", "http://", "http://h/?a=b", "unix:/x"};
    executr_client_options options = EXECUTR_CLIENT_OPTIONS_INIT;
    executr_client *other;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        options.server_url = bad[i];
        cr_expect_eq(
            executr_client_open(&options, &other, &err), EXECUTR_E_ARGUMENT);
        cr_expect_str_eq(err.field, "server_url");
        cr_expect_null(other);
    }
}

Test(client_open, sends_its_token)
{
    executr_client *other = open_client(http_fixture_url(server, ""), "s3cret");

    answer(200, "{\"status\":\"healthy\"}");
    cr_assert_eq(executr_client_health(other, &err), EXECUTR_OK);
    cr_assert(strstr(
        http_fixture_head(server), "\r\nAuthorization: Bearer s3cret\r\n"));
    executr_client_free(other);
}

Test(client_error, carries_the_servers_words_code_and_field)
{
    answer(
        409, "{\"error\":\"job is over\",\"code\":\"lost_attempt\","
             "\"context\":{\"field\":\"id\"}}");
    cr_assert_eq(executr_client_get(client, ID1, &jobs, &err), EXECUTR_E_LOST);
    cr_assert_eq(err.status, EXECUTR_E_LOST);
    cr_assert_str_eq(err.message, "job is over");
    cr_assert_str_eq(err.field, "id");
    cr_assert_eq(err.native, 409);
    cr_assert_null(jobs);
}

Test(client_error, falls_back_on_the_http_status)
{
    static const struct {
        int http;
        executr_status status;
    } cases[] = {
        {400, EXECUTR_E_ARGUMENT},    {401, EXECUTR_E_AUTH},
        {403, EXECUTR_E_AUTH},        {404, EXECUTR_E_NOT_FOUND},
        {409, EXECUTR_E_CONFLICT},    {413, EXECUTR_E_TOO_LARGE},
        {418, EXECUTR_E_PROTOCOL},    {429, EXECUTR_E_UNAVAILABLE},
        {500, EXECUTR_E_INTERNAL},    {502, EXECUTR_E_UNAVAILABLE},
        {503, EXECUTR_E_UNAVAILABLE}, {302, EXECUTR_E_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        answer(cases[i].http, i % 2 ? "<html>no</html>" : "");
        cr_expect_eq(
            executr_client_get(client, ID1, &jobs, &err), cases[i].status,
            "%d gave %d", cases[i].http, err.status);
    }
}

Test(client_error, tells_where_no_server_is_and_what_to_do)
{
    executr_client *other = open_client("http://127.0.0.1:1", NULL);

    cr_assert_eq(executr_client_health(other, &err), EXECUTR_E_UNAVAILABLE);
    cr_assert(strstr(err.message, "http://127.0.0.1:1 "), "%s", err.message);
    cr_assert(strstr(err.message, "is it running"), "%s", err.message);
    executr_client_free(other);
}

Test(client_error, an_unhealthy_server_is_unavailable)
{
    answer(503, "{\"status\":\"unhealthy\",\"database\":\"disconnected\"}");
    cr_assert_eq(executr_client_health(client, &err), EXECUTR_E_UNAVAILABLE);
    cr_assert(strstr(err.message, "database"), "%s", err.message);
}

Test(client_error, answers_that_are_not_executrs_are_protocol_errors)
{
    static const char *const bad[] = {
        "",
        "<html>",
        "[]",
        "{}",
        "null",
        "{\"id\":\"../x\"}",
        "{\"id\":\"" ID1 "\",\"status\":17}",
        "{\"id\":\"" ID1 "\"} {}"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        answer(200, bad[i]);
        cr_expect_eq(
            executr_client_get(client, ID1, &jobs, &err), EXECUTR_E_PROTOCOL,
            "%s: %s", bad[i], err.message);
        cr_expect_null(jobs);
    }
}

static const char *const arguments[] = {"-v", "\"quoted\""};
static const char *const environment[] = {"K=v=w"};

static executr_job_spec make_spec(void)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.type = "t";
    spec.binary_url = "http://h/b";
    spec.binary_sha256 = ABC;
    spec.arguments = arguments;
    spec.argument_count = 2;
    spec.environment = environment;
    spec.environment_count = 1;
    return spec;
}

Test(client_submit, one_spec_gives_the_whole_record)
{
    executr_job_spec spec = make_spec();
    const executr_job_spec *specs[] = {&spec};
    executr_status result = EXECUTR_E_INTERNAL;
    spec.idempotency_key = "key 1";
    answer(201, JOB(ID1));
    cr_assert_eq(
        executr_client_submit(client, specs, 1, &result, &jobs, &err),
        EXECUTR_OK, "%s", err.message);
    cr_assert_eq(result, EXECUTR_OK);
    cr_assert(sent_to("POST /api/v1/jobs HTTP/1.1\r\n"));
    cr_assert(
        strstr(http_fixture_head(server), "\r\nIdempotency-Key: key 1\r\n"));
    cr_assert(sent("\"arguments\":[\"-v\",\"\\\"quoted\\\"\"]"));
    cr_assert(sent("\"env_variables\":{\"K\":\"v=w\"}"));
    const executr_job *job = executr_jobs_at(jobs, 0);
    cr_assert_str_eq(executr_job_id(job), ID1);
    cr_assert_str_eq(executr_job_argument(job, 1), "b c");
}

Test(client_submit, finds_bad_specs_before_it_sends_anything)
{
    executr_job_spec spec = make_spec();
    const executr_job_spec *specs[] = {&spec, &spec};

    spec.binary_sha256 = "short";
    cr_assert_eq(
        executr_client_submit(client, specs, 1, NULL, &jobs, &err),
        EXECUTR_E_ARGUMENT);
    cr_assert_str_eq(err.field, "binary_sha256");
    cr_assert_eq(
        executr_client_submit(client, specs, 2, NULL, &jobs, &err),
        EXECUTR_E_ARGUMENT);
    cr_assert_str_eq(err.field, "binary_sha256");
    cr_assert_eq(http_fixture_requests(server), 0);
}

Test(client_submit, many_specs_tell_the_fate_of_each)
{
    executr_job_spec good = make_spec();
    executr_job_spec bad = make_spec();
    const executr_job_spec *specs[] = {&bad, &good, &good, &good};
    executr_status results[4];
    bad.type = "white space";
    answer(
        207, "{\"total\":3,\"successful\":2,\"failed\":1,\"results\":["
             "{\"index\":0,\"success\":true,\"job_id\":\"" ID1
             "\",\"id\":\"" ID1 "\",\"status\":\"pending\"},"
             "{\"index\":1,\"success\":false,\"error\":\"not stored\","
             "\"code\":\"not_found\"},"
             "{\"index\":2,\"success\":true,\"job_id\":\"" ID2
             "\",\"id\":\"" ID2 "\",\"status\":\"pending\"}]}");
    cr_assert_eq(
        executr_client_submit(client, specs, 4, results, &jobs, &err),
        EXECUTR_OK, "%s", err.message);
    cr_assert(sent_to("POST /api/v1/jobs/bulk "));
    cr_assert_eq(results[0], EXECUTR_E_ARGUMENT);
    cr_assert_eq(results[1], EXECUTR_OK);
    cr_assert_eq(results[2], EXECUTR_E_NOT_FOUND);
    cr_assert_eq(results[3], EXECUTR_OK);
    cr_assert_eq(executr_jobs_count(jobs), 2);
    const executr_job *job = executr_jobs_at(jobs, 1);
    cr_assert_str_eq(executr_job_id(job), ID2);
    cr_assert_str_eq(executr_job_type(job), "t");
    cr_assert_eq(executr_job_priority(job), EXECUTR_PRIORITY_BACKGROUND);
    cr_assert_eq(executr_job_status(job), EXECUTR_JOB_PENDING);
}

Test(client_submit, none_accepted_fails_as_the_first)
{
    executr_job_spec spec = make_spec();
    const executr_job_spec *specs[] = {&spec, &spec};
    executr_status results[2];
    answer(
        400, "{\"error\":\"none\",\"code\":\"invalid_argument\",\"context\":{},"
             "\"total\":2,\"successful\":0,\"failed\":2,\"results\":["
             "{\"index\":0,\"success\":false,\"error\":\"why\","
             "\"code\":\"not_found\",\"field\":\"binary_url\"},"
             "{\"index\":1,\"success\":false,\"error\":\"why\"}]}");
    cr_assert_eq(
        executr_client_submit(client, specs, 2, results, &jobs, &err),
        EXECUTR_E_NOT_FOUND);
    cr_assert_str_eq(err.message, "why");
    cr_assert_str_eq(err.field, "binary_url");
    cr_assert_eq(results[1], EXECUTR_E_ARGUMENT);
    cr_assert_null(jobs);
}

Test(client_submit, a_bulk_refused_as_a_whole_is_an_error)
{
    executr_job_spec spec = make_spec();
    const executr_job_spec *specs[] = {&spec, &spec};

    answer(400, "{\"error\":\"bad JSON\",\"code\":\"invalid_argument\"}");
    cr_assert_eq(
        executr_client_submit(client, specs, 2, NULL, &jobs, &err),
        EXECUTR_E_ARGUMENT);
    cr_assert_str_eq(err.message, "bad JSON");
    answer(207, "{\"results\":[]}");
    cr_assert_eq(
        executr_client_submit(client, specs, 2, NULL, &jobs, &err),
        EXECUTR_E_PROTOCOL);
}

Test(client_jobs, get_reads_output_with_any_bytes)
{
    size_t length;
    answer(
        200, "{\"id\":\"" ID1 "\",\"type\":\"t\",\"binary_sha256\":\"" ABC
             "\",\"priority\":\"background\",\"status\":\"completed\","
             "\"exit_code\":3,\"stdout\":\"a\\u0000b\",\"stderr\":\"\"}");
    cr_assert_eq(
        executr_client_get(client, ID1, &jobs, &err), EXECUTR_OK, "%s",
        err.message);
    const char *out = executr_job_stdout(executr_jobs_at(jobs, 0), &length);
    cr_assert_eq(length, 3);
    cr_assert_eq(memcmp(out, "a\0b", 3), 0);
}

Test(client_jobs, ids_that_are_none_never_reach_a_url)
{
    static const char *const bad[] = {"", "..", "claim", NULL, ID1 "/stdout"};
    int32_t running;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(
            executr_client_get(client, bad[i], &jobs, &err),
            EXECUTR_E_ARGUMENT);
        cr_expect_eq(
            executr_client_cancel(client, bad[i], &running, &err),
            EXECUTR_E_ARGUMENT);
    }
    cr_assert_eq(http_fixture_requests(server), 0);
}

Test(client_jobs, list_sends_its_filter_and_sees_that_there_is_more)
{
    executr_filter filter = EXECUTR_FILTER_INIT;
    int32_t more;
    http_script script = {
        .body = "[" JOB(ID1) "," JOB(ID2) "]",
        .headers = "Link: </api/v1/jobs?before=x>; rel=\"next\"\r\n"};
    http_fixture_add(server, &script);
    filter.status = EXECUTR_JOB_RUNNING;
    filter.type = "a&b";
    filter.before_id = ID2;
    cr_assert_eq(
        executr_client_list(client, &filter, &jobs, &more, &err), EXECUTR_OK,
        "%s", err.message);
    cr_assert(sent_to("GET /api/v1/jobs?limit=100&status=running&type=a%26b"
                      "&before=" ID2 " "));
    cr_assert_eq(executr_jobs_count(jobs), 2);
    cr_assert_eq(more, 1);
}

Test(client_jobs, cancel_tells_pending_from_running)
{
    int32_t running = 7;

    answer(204, "");
    cr_assert_eq(
        executr_client_cancel(client, ID1, &running, &err), EXECUTR_OK);
    cr_assert(sent_to("DELETE /api/v1/jobs/" ID1 " "));
    cr_assert_eq(running, 0);
    answer(202, "{\"cancel\":true}");
    cr_assert_eq(
        executr_client_cancel(client, ID1, &running, &err), EXECUTR_OK);
    cr_assert_eq(running, 1);
}

Test(client_jobs, cancel_matching_sends_criteria_the_api_has)
{
    executr_filter filter = EXECUTR_FILTER_INIT;
    int64_t cancelled;

    filter.type = "t";
    filter.priority = EXECUTR_PRIORITY_BEST_EFFORT;
    answer(200, "{\"cancelled\":4,\"failed\":0,\"total\":4,\"errors\":[]}");
    cr_assert_eq(
        executr_client_cancel_matching(client, &filter, &cancelled, &err),
        EXECUTR_OK);
    cr_assert_eq(cancelled, 4);
    cr_assert_str_eq(
        http_fixture_body(server),
        "{\"type\":\"t\",\"priority\":\"best_effort\"}");
    filter.executor_id = "e-1";
    cr_assert_eq(
        executr_client_cancel_matching(client, &filter, &cancelled, &err),
        EXECUTR_E_UNSUPPORTED);
}

Test(client_jobs, retry_gives_the_record)
{
    answer(200, JOB(ID1));
    cr_assert_eq(executr_client_retry(client, ID1, &jobs, &err), EXECUTR_OK);
    cr_assert(sent_to("POST /api/v1/jobs/" ID1 "/retry "));
    cr_assert_eq(executr_jobs_count(jobs), 1);
}

Test(client_jobs, output_streams_raw_bytes)
{
    ex_buf got;
    http_script script = {
        .body = "a\0\xff z", .length = 5, .chunked = 1, .drip = 2};

    ex_buf_init(&got, 100);
    http_fixture_add(server, &script);
    cr_assert_eq(
        executr_client_output(client, ID1, 2, 10, 1, add_text, &got, &err),
        EXECUTR_OK, "%s", err.message);
    cr_assert(sent_to("GET /api/v1/jobs/" ID1 "/stderr?offset=10&follow=1 "));
    cr_assert_eq(got.length, 5);
    cr_assert_eq(memcmp(got.data, "a\0\xff z", 5), 0);
    ex_buf_clear(&got);
}

Test(client_jobs, output_of_an_unknown_job_writes_nothing)
{
    ex_buf got;

    ex_buf_init(&got, 100);
    answer(404, "{\"error\":\"no such job\",\"code\":\"not_found\"}");
    cr_assert_eq(
        executr_client_output(client, ID1, 1, 0, 0, add_text, &got, &err),
        EXECUTR_E_NOT_FOUND);
    cr_assert_str_eq(err.message, "no such job");
    cr_assert_eq(got.length, 0);
}

Test(client_jobs, stats_are_read)
{
    executr_stats *stats;

    answer(
        200, "{\"jobs_by_status\":{\"pending\":10,\"running\":5,"
             "\"completed\":1,\"failed\":0,\"cancelled\":0},"
             "\"pending_by_priority\":{\"foreground\":2,\"background\":5,"
             "\"best_effort\":3},\"active_executors\":3,"
             "\"timestamp\":\"2026-01-01T12:00:00Z\"}");
    cr_assert_eq(
        executr_client_stats(client, &stats, &err), EXECUTR_OK, "%s",
        err.message);
    cr_assert_eq(executr_stats_jobs(stats, EXECUTR_JOB_RUNNING), 5);
    cr_assert_eq(executr_stats_active_executors(stats), 3);
    executr_stats_free(stats);
}

Test(client_jobs, executors_are_read)
{
    executr_executors *executors;

    answer(
        200, "[{\"executor_id\":\"e-1\",\"executor_ip\":\"10.0.0.1\","
             "\"last_heartbeat\":\"2026-01-01T12:00:00Z\",\"max_jobs\":4,"
             "\"running_jobs\":1,\"jobs_completed\":7}]");
    cr_assert_eq(
        executr_client_executors(client, &executors, &err), EXECUTR_OK, "%s",
        err.message);
    cr_assert_eq(executr_executors_count(executors), 1);
    cr_assert_str_eq(executr_executors_id(executors, 0), "e-1");
    executr_executors_free(executors);
    answer(200, "[17]");
    cr_assert_eq(
        executr_client_executors(client, &executors, &err), EXECUTR_E_PROTOCOL);
    cr_assert_null(executors);
}
