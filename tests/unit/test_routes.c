/* SPDX-License-Identifier: MIT */
/* The routes of the server as functions, over a store of their own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"
#include "support/routes_bench.h"
#include <fcntl.h>

TestSuite(routes, .init = routes_start, .fini = routes_stop);

Test(routes, health_tells_of_the_database)
{
    cr_expect_eq(ask("GET", "/api/v1/health", NULL), 200);
    cr_expect_str_eq(answer("status"), "healthy");
    cr_expect_str_eq(answer("database"), "connected");
}

Test(routes, without_a_store_everything_is_503)
{
    executr_queue *queue = atomic_exchange(&a.queue, NULL);
    cr_expect_eq(ask("GET", "/api/v1/health", NULL), 503);
    cr_expect_str_eq(answer("status"), "unhealthy");
    cr_expect_eq(ask("POST", "/api/v1/jobs", JOB), 503);
    cr_expect(strstr(ex_buf_text(&response.headers), "Retry-After: "));
    cr_expect_eq(ask("GET", "/api/v1/metrics", NULL), 200);
    atomic_store(&a.queue, queue);
}

Test(routes, unknown_paths_are_404_and_wrong_methods_405_with_allow)
{
    cr_expect_eq(ask("GET", "/nothing", NULL), 404);
    cr_expect_eq(ask("GET", "/api/v1/jobs/", NULL), 404);
    cr_expect_str_eq(answer("code"), "not_found");
    cr_expect_eq(ask("PUT", "/api/v1/jobs", NULL), 405);
    cr_expect(strstr(ex_buf_text(&response.headers), "Allow: POST, GET, HEAD"));
    cr_expect_eq(ask("PATCH", "/api/v1/executors/e", NULL), 405);
    cr_expect(strstr(ex_buf_text(&response.headers), "Allow: PUT, DELETE"));
}

Test(routes, a_token_is_wanted_where_one_is_set)
{
    a.token = "secret";
    cr_expect_eq(ask("GET", "/api/v1/jobs", NULL), 401);
    cr_expect_eq(
        ask_as("GET", "/api/v1/jobs", NULL, NULL, "Bearer secre"), 401);
    cr_expect_eq(
        ask_as("GET", "/api/v1/jobs", NULL, NULL, "Bearer secrets"), 401);
    cr_expect_eq(ask_as("GET", "/api/v1/jobs", NULL, NULL, "Bearer "), 401);
    cr_expect_eq(
        ask_as("GET", "/api/v1/jobs", NULL, NULL, "Bearer secret"), 200);
    cr_expect_eq(ask("GET", "/api/v1/health", NULL), 200);
    a.token = NULL;
}

Test(routes, a_body_must_be_json_by_name_and_by_nature)
{
    cr_expect_eq(ask_as("POST", "/api/v1/jobs", JOB, "text/plain", NULL), 415);
    cr_expect_eq(ask_as("POST", "/api/v1/jobs", JOB, NULL, NULL), 415);
    cr_expect_eq(
        ask_as(
            "POST", "/api/v1/jobs", JOB, "application/json; charset=utf-8",
            NULL),
        201);
    cr_expect_eq(ask("POST", "/api/v1/jobs", "{"), 400);
    cr_expect_eq(ask("POST", "/api/v1/jobs", "[]"), 400);
    cr_expect_eq(ask("POST", "/api/v1/jobs", NULL), 400);
}

Test(routes, a_bad_field_is_named)
{
    ask("POST", "/api/v1/jobs", "{\"type\":\"t\",\"binary_sha256\":5}");
    cr_expect_eq(response.status, 400);
    cr_expect(
        strstr(ex_buf_text(&response.body), "\"field\":\"binary_sha256\""));
    cr_expect_eq(ask("GET", "/api/v1/jobs?limit=0", NULL), 400);
    cr_expect_eq(ask("GET", "/api/v1/jobs?limit=1001", NULL), 400);
    cr_expect_eq(ask("GET", "/api/v1/jobs?limit=1x", NULL), 400);
    cr_expect_eq(ask("GET", "/api/v1/jobs?offset=-1", NULL), 400);
    cr_expect_eq(ask("GET", "/api/v1/jobs?status=odd", NULL), 400);
    cr_expect_eq(ask("GET", "/api/v1/jobs?type=%zz", NULL), 400);
    cr_expect_eq(ask("GET", "/api/v1/jobs?before=x", NULL), 400);
    cr_expect_eq(ask("GET", "/api/v1/jobs/../x", NULL), 404);
}

Test(routes, a_job_goes_its_way)
{
    submit();
    cr_expect_str_eq(answer("status"), "pending");
    claim();
    cr_expect_str_eq(answer("id"), job);
    cr_expect_str_eq(answer("attempt"), "1");
    int status = ask(
        "PUT", path_of("/heartbeat"), "{\"executor_id\":\"e\",\"attempt\":1}");
    cr_expect_eq(status, 204);
    status =
        ask("PUT", path_of("/complete"),
            "{\"executor_id\":\"e\",\"attempt\":1,\"stdout\":\"hi\\n\","
            "\"exit_code\":0}");
    cr_expect_eq(status, 204);
    cr_expect_eq(ask("GET", path_of(""), NULL), 200);
    cr_expect_str_eq(answer("status"), "completed");
    cr_expect_str_eq(answer("stdout"), "hi\n");
    cr_expect_eq(ask("GET", path_of("/stdout?offset=1"), NULL), 200);
    cr_expect_str_eq(ex_buf_text(&response.body), "i\n");
}

Test(routes, a_repeated_end_is_fine_and_another_is_409)
{
    submit();
    claim();
    const char *end = "{\"executor_id\":\"e\",\"attempt\":1,\"exit_code\":0}";
    cr_expect_eq(ask("PUT", path_of("/complete"), end), 204);
    cr_expect_eq(ask("PUT", path_of("/complete"), end), 204);
    int status =
        ask("PUT", path_of("/fail"),
            "{\"executor_id\":\"e\",\"attempt\":1,\"error_message\":\"x\"}");
    cr_expect_eq(status, 409);
    cr_expect_str_eq(answer("code"), "lost_attempt");
    status = ask(
        "PUT", path_of("/complete"), "{\"executor_id\":\"f\",\"attempt\":1}");
    cr_expect_eq(status, 409);
}

Test(routes, cancel_tells_pending_from_running_from_over)
{
    submit();
    cr_expect_eq(ask("DELETE", path_of(""), NULL), 204);
    cr_expect_eq(ask("DELETE", path_of(""), NULL), 409);
    cr_expect_eq(ask("POST", path_of("/retry"), NULL), 200);
    claim();
    cr_expect_eq(ask("DELETE", path_of(""), NULL), 202);
    int status = ask("PUT", path_of("/heartbeat"), "{\"executor_id\":\"e\"}");
    cr_expect_eq(status, 200);
    cr_expect_str_eq(ex_buf_text(&response.body), "{\"cancel\":true}");
    strcpy(job, "01900000-0000-7000-8000-000000000000");
    cr_expect_eq(ask("DELETE", path_of(""), NULL), 404);
    strcpy(job, "nonsense");
    cr_expect_eq(ask("DELETE", path_of(""), NULL), 400);
}

Test(routes, bulk_tells_each_ones_fate)
{
    cr_expect_eq(ask("POST", "/api/v1/jobs/bulk", "[" JOB "," JOB "]"), 201);
    cr_expect_str_eq(answer("successful"), "2");
    cr_expect_eq(ask("POST", "/api/v1/jobs/bulk", "[" JOB ",{}]"), 207);
    cr_expect_str_eq(answer("failed"), "1");
    cr_expect(
        strstr(ex_buf_text(&response.body), "{\"index\":1,\"success\":false,"));
    cr_expect_eq(ask("POST", "/api/v1/jobs/bulk", "[{},7]"), 400);
    cr_expect_str_eq(answer("total"), "2");
    cr_expect_eq(
        ask("POST", "/api/v1/jobs/bulk",
            "[{\"type\":\"t\",\"binary_sha256\":\"" SHA "\"}," JOB "]"),
        207);
    cr_expect_str_eq(answer("successful"), "1");
}

Test(routes, several_are_claimed_and_reported_at_once)
{
    ask("POST", "/api/v1/jobs/bulk", "[" JOB "," JOB "," JOB "]");
    int status =
        ask("POST", "/api/v1/jobs/claim",
            "{\"executor_id\":\"e\",\"executor_ip\":\"::1\",\"max_jobs\":2}");
    cr_expect_eq(status, 200);
    cr_expect_eq(ex_buf_text(&response.body)[0], '[');
    submit();
    char body[512];
    snprintf(
        body, sizeof body,
        "{\"executor_id\":\"e\",\"reports\":[{\"id\":\"%s\",\"attempt\":1,"
        "\"status\":\"completed\",\"exit_code\":0}]}",
        job);
    cr_expect_eq(ask("POST", "/api/v1/jobs/report", body), 200);
    cr_expect(strstr(ex_buf_text(&response.body), "\"accepted\":false"));
    cr_expect(strstr(ex_buf_text(&response.body), "\"lost_attempt\""));
}

Test(routes, an_empty_queue_is_204)
{
    int status =
        ask("POST", "/api/v1/jobs/claim",
            "{\"executor_id\":\"e\",\"executor_ip\":\"x\",\"wait\":\"10ms\"}");
    cr_expect_eq(status, 204);
    cr_expect_eq(ask("POST", "/api/v1/jobs/claim", "{}"), 400);
}

Test(routes, listings_go_on_by_a_link)
{
    for (int i = 0; i < 3; i++)
        submit();
    cr_expect_eq(ask("GET", "/api/v1/jobs?limit=2&type=t", NULL), 200);
    const char *link = strstr(ex_buf_text(&response.headers), "Link: <");
    cr_assert(link);
    char next[256];
    snprintf(next, sizeof next, "%s", link + 7);
    *strchr(next, '>') = '\0';
    cr_expect_eq(ask("GET", next, NULL), 200);
    cr_expect_null(strstr(ex_buf_text(&response.headers), "Link"));
    cr_expect_eq(ask("GET", "/api/v1/jobs?type=other", NULL), 200);
    cr_expect_str_eq(ex_buf_text(&response.body), "[]");
}

Test(routes, an_executors_heartbeat_hears_what_to_stop)
{
    submit();
    claim();
    ask("DELETE", path_of(""), NULL);
    char body[256];
    snprintf(
        body, sizeof body,
        "{\"executor_ip\":\"x\",\"max_jobs\":1,\"running\":[{\"id\":\"%s\","
        "\"attempt\":1},{\"id\":\"01900000-0000-7000-8000-000000000000\","
        "\"attempt\":1}]}",
        job);
    cr_expect_eq(ask("PUT", "/api/v1/executors/e", body), 200);
    char wanted[128];
    snprintf(wanted, sizeof wanted, "{\"cancel\":[\"%s\"],\"lost\":[\"0", job);
    cr_expect(
        strncmp(ex_buf_text(&response.body), wanted, strlen(wanted)) == 0);
    cr_expect_eq(ask("GET", "/api/v1/admin/executors", NULL), 200);
    cr_expect(strstr(ex_buf_text(&response.body), "\"running_jobs\":1"));
    cr_expect_eq(ask("DELETE", "/api/v1/executors/e", NULL), 204);
}

Test(routes, stats_have_all_keys)
{
    cr_expect_eq(ask("GET", "/api/v1/admin/stats", NULL), 200);
    const char *text = ex_buf_text(&response.body);
    cr_expect(strstr(
        text, "\"jobs_by_status\":{\"pending\":0,\"running\":0,"
              "\"completed\":0,\"failed\":0,\"cancelled\":0}"));
    cr_expect(strstr(
        text, "\"pending_by_priority\":{\"foreground\":0,\"background\":0,"
              "\"best_effort\":0}"));
    cr_expect(strstr(text, "\"active_executors\":0"));
    cr_expect(strstr(text, "\"timestamp\":\""));
}

Test(routes, metrics_count_what_happened)
{
    submit();
    claim();
    ask("PUT", path_of("/complete"), "{\"executor_id\":\"e\"}");
    cr_expect_eq(ask("GET", "/api/v1/metrics", NULL), 200);
    const char *text = ex_buf_text(&response.body);
    const char *labels = "{type=\"t\",priority=\"background\"} 1\n";
    char line[256];
    snprintf(line, sizeof line, "executr_jobs_submitted_total%s", labels);
    cr_expect(strstr(text, line));
    snprintf(line, sizeof line, "executr_jobs_completed_total%s", labels);
    cr_expect(strstr(text, line));
    cr_expect(strstr(text, "executr_job_duration_seconds_count 1\n"));
    cr_expect(strstr(text, "executr_jobs_waiting_time_seconds_count 1\n"));
    cr_expect(strstr(text, "executr_queue_depth{priority=\"foreground\"} 0\n"));
}

Test(routes, label_values_are_bounded_and_escaped)
{
    for (int i = 0; i < 150; i++) {
        char type[32];
        snprintf(type, sizeof type, i ? "t%d" : "a\"b\\", i);
        metrics_events(a.metrics).notify(
            a.metrics, EXECUTR_EVENT_SUBMITTED, type, 2, 1, -1, -1);
    }
    ask("GET", "/api/v1/metrics", NULL);
    const char *text = ex_buf_text(&response.body);
    cr_expect(strstr(text, "{type=\"_other\",priority=\"background\"} 50\n"));
    cr_expect(strstr(text, "{type=\"a\\\"b\\\\\",priority="));
    cr_expect_null(strstr(text, "\"t149\""));
}

/* A body that is streamed in. */
static int32_t read_text(void *ctx, void *data, size_t size, size_t *length)
{
    const char **text = ctx;
    *length = strlen(*text) < size ? strlen(*text) : size;
    memcpy(data, *text, *length);
    *text += *length;
    return 0;
}

static int put_binary(const char *sha256, const char *text)
{
    api_request request = {.method = "PUT", .read = read_text};
    char path[128];
    snprintf(path, sizeof path, "/api/v1/binaries/%s", sha256);
    request.path = path;
    request.read_ctx = &text;
    api_response_clear(&response);
    api_response_init(&response);
    const api_route *route = api_find(&request, &response);
    cr_assert(route);
    api_answer(&a, route, &request, &response);
    return response.status;
}

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

Test(routes, a_binary_is_kept_only_if_it_hashes)
{
    cr_expect_eq(put_binary(ABC, "abd"), 400);
    cr_expect_str_eq(answer("code"), "hash_mismatch");
    cr_expect_eq(ask("GET", "/api/v1/binaries/" ABC, NULL), 404);
    cr_expect_eq(put_binary(ABC, "abc"), 201);
    cr_expect_eq(put_binary(ABC, "abc"), 200);
    cr_expect_eq(put_binary("xyz", "abc"), 400);
    cr_expect_eq(ask("GET", "/api/v1/binaries/" ABC, NULL), 200);
    cr_expect_eq(response.length, 3);
    ex_buf bytes;
    ex_buf_init(&bytes, 100);
    cr_expect_eq(response.stream(&a, &response, ex_buf_write, &bytes, &err), 0);
    cr_expect_str_eq(ex_buf_text(&bytes), "abc");
    ex_buf_clear(&bytes);
}

/* Ask for a part of the binary "abc"; the status. */
static int ask_range(const char *range, const char *if_range)
{
    api_request request = {.range = range, .if_range = if_range};

    snprintf(request.id, sizeof request.id, "%s", ABC);
    api_response_clear(&response);
    api_response_init(&response);
    route_binary_get(&a, &request, &response);
    return response.status;
}

Test(routes, the_rest_of_a_binary_is_given)
{
    cr_expect_eq(put_binary(ABC, "abc"), 201);
    cr_expect_eq(ask_range("bytes=1-", NULL), 206);
    cr_expect_str_eq(
        ex_buf_text(&response.headers),
        "Content-Range: bytes 1-2/3\r\nETag: \"" ABC
        "\"\r\nAccept-Ranges: bytes\r\n");
    ex_buf bytes;
    ex_buf_init(&bytes, 100);
    cr_expect_eq(response.stream(&a, &response, ex_buf_write, &bytes, &err), 0);
    cr_expect_str_eq(ex_buf_text(&bytes), "bc");
    ex_buf_clear(&bytes);
    cr_expect_eq(ask_range("bytes=2-", "\"" ABC "\""), 206);
    cr_expect_eq(response.length, 1);
    cr_expect_eq(ask_range("bytes=3-", NULL), 416);
    cr_expect_str_eq(
        ex_buf_text(&response.headers), "Content-Range: bytes */3\r\n");
    cr_expect_eq(ask_range("bytes=99999999999999999999-", NULL), 200);
}

Test(routes, ranges_of_other_kinds_are_answered_with_the_whole)
{
    static const char *const others[] = {
        "bytes=0-1", "bytes=-1", "bytes=", "bytes=1-,2-", "lines=1-", ""};

    cr_expect_eq(put_binary(ABC, "abc"), 201);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cr_expect_eq(ask_range(others[i], NULL), 200, "%s", others[i]);
        cr_expect_eq(response.length, 3);
    }
    cr_expect_eq(ask_range("bytes=1-", "\"another\""), 200);
    cr_expect_eq(response.length, 3);
}

Test(routes, a_binary_over_the_limit_is_413)
{
    static char large[1200];
    memset(large, 'x', sizeof large - 1);
    cr_expect_eq(put_binary(SHA, large), 413);
}

Test(routes, many_are_cancelled_by_id_or_by_what_they_are)
{
    char body[256];
    submit();
    submit();
    snprintf(
        body, sizeof body,
        "{\"job_ids\":[\"%s\",\"01900000-0000-7000-8000-000000000000\"]}", job);
    cr_expect_eq(ask("POST", "/api/v1/jobs/bulk/cancel", body), 200);
    cr_expect_str_eq(answer("cancelled"), "1");
    cr_expect_str_eq(answer("failed"), "1");
    cr_expect_eq(
        ask("POST", "/api/v1/jobs/bulk/cancel", "{\"type\":\"t\"}"), 200);
    cr_expect_str_eq(answer("cancelled"), "1");
    cr_expect_eq(ask("POST", "/api/v1/jobs/bulk/cancel", "{}"), 400);
}

Test(routes, an_idempotency_key_gives_the_first_job_back)
{
    api_request request = {
        .method = "POST",
        .path = "/api/v1/jobs",
        .content_type = "application/json",
        .idempotency_key = "k",
        .body = JOB,
        .length = sizeof JOB - 1};
    char first[64];
    for (int i = 0; i < 2; i++) {
        api_response_clear(&response);
        api_response_init(&response);
        const api_route *route = api_find(&request, &response);
        api_answer(&a, route, &request, &response);
        cr_expect_eq(response.status, 201);
        if (i == 0)
            snprintf(first, sizeof first, "%s", answer("id"));
    }
    cr_expect_str_eq(answer("id"), first);
}

static int32_t reader_is_gone(void *ctx, const void *data, size_t length)
{
    (void)ctx;
    (void)data;
    return length == 0 ? -1 : 0;
}

Test(routes, a_followed_output_ends_when_its_reader_goes)
{
    submit();
    cr_expect_eq(ask("GET", path_of("/stdout?follow=1"), NULL), 200);
    cr_assert(response.stream);
    cr_expect_eq(
        response.stream(&a, &response, reader_is_gone, NULL, &err),
        EXECUTR_E_CALLBACK);
    cr_expect_eq(ask("GET", path_of("/stdout?follow=1"), NULL), 200);
}

Test(routes, a_followed_output_is_cut_short_when_the_server_stops)
{
    submit();
    cr_expect_eq(ask("GET", path_of("/stdout?follow=1"), NULL), 200);
    atomic_store(&a.stopping, 1);
    cr_expect_eq(
        response.stream(&a, &response, ex_buf_write, &response.body, &err),
        EXECUTR_E_UNAVAILABLE);
    atomic_store(&a.stopping, 0);
}

Test(routes, only_so_many_outputs_are_followed_at_once)
{
    submit();
    atomic_int *follows = &a.follows;
    atomic_store(follows, 1);
    cr_expect_eq(ask("GET", path_of("/stdout?follow=1"), NULL), 429);
    cr_expect(strstr(ex_buf_text(&response.headers), "Retry-After: "));
    cr_expect_eq(ask("GET", path_of("/stdout"), NULL), 200);
    atomic_store(follows, 0);
    cr_expect_eq(ask("GET", path_of("/stdout?follow=1"), NULL), 200);
    cr_expect_eq(atomic_load(follows), 1);
    api_response_clear(&response);
    cr_expect_eq(atomic_load(follows), 0);
}

Test(routes, numbers_of_a_query_are_digits_and_nothing_else)
{
    const char *const bad[] = {
        "",
        "%201",
        "+1",
        "%2B1",
        "0x10",
        "1e1",
        "1%20",
        "9223372036854775808",
        "-9223372036854775809",
        "-",
        "--1"};
    char target[64];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(target, sizeof target, "/api/v1/jobs?limit=%s", bad[i]);
        cr_expect_eq(ask("GET", target, NULL), 400, "%s", bad[i]);
    }
}

Test(routes, ids_in_paths_are_decoded_as_one_segment)
{
    const char *body = "{\"executor_ip\":\"i\",\"max_jobs\":1}";
    cr_expect_eq(ask("PUT", "/api/v1/executors/a%2Fb%20c", body), 200);
    cr_expect_eq(ask("GET", "/api/v1/admin/executors", NULL), 200);
    cr_expect(strstr(ex_buf_text(&response.body), "\"a/b c\""));
    cr_expect_eq(ask("PUT", "/api/v1/executors/a%00b", body), 404);
    cr_expect_eq(ask("GET", "/api/v1/jobs/%2e%2e", NULL), 400);
    cr_expect_eq(ask("GET", "/api/v1/jobs%2Fx", NULL), 404);
}
