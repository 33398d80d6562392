/* SPDX-License-Identifier: MIT */
/* The REST client for executors, and for binaries. */
#include "support/client_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

TestSuite(client_executor, .init = client_setup, .fini = client_teardown);
TestSuite(client_binary, .init = client_setup, .fini = client_teardown);

static executr_claim make_claim(void)
{
    executr_claim claim = EXECUTR_CLAIM_INIT;

    claim.executor_id = "e 1";
    claim.executor_ip = "127.0.0.1";
    claim.max_jobs = 2;
    claim.wait_ms = 20000;
    return claim;
}

Test(client_executor, claim_takes_arrays_single_jobs_and_nothing)
{
    static const struct {
        int status;
        const char *body;
        size_t count;
    } cases[] = {
        {200, "[" JOB(ID1) "," JOB(ID2) "]", 2},
        {200, JOB(ID1), 1},
        {200, "[]", 0},
        {204, "", 0},
    };
    executr_claim claim = make_claim();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        answer(cases[i].status, cases[i].body);
        cr_assert_eq(
            executr_client_claim(client, &claim, &jobs, &err), EXECUTR_OK, "%s",
            err.message);
        cr_assert_eq(executr_jobs_count(jobs), cases[i].count);
        executr_jobs_free(jobs);
        jobs = NULL;
    }
    cr_assert(sent("\"max_jobs\":2") && sent("\"wait\":\"20s\""));
}

Test(client_executor, report_gives_the_fate_of_each)
{
    executr_report report = EXECUTR_REPORT_INIT;
    const executr_report *reports[] = {&report, &report, &report};
    executr_status results[3];
    report.job_id = ID1;
    report.attempt = 1;
    report.status = EXECUTR_ATTEMPT_COMPLETED;
    report.has_exit_code = 1;
    answer(
        200,
        "{\"results\":[{\"id\":\"" ID1 "\",\"accepted\":true},"
        "{\"id\":\"" ID1 "\",\"accepted\":false,\"code\":\"lost_attempt\"},"
        "{\"id\":\"" ID1 "\",\"accepted\":false,\"code\":\"not_found\"}]}");
    cr_assert_eq(
        executr_client_report(client, "e-1", reports, 3, results, &err),
        EXECUTR_OK, "%s", err.message);
    cr_assert(sent_to("POST /api/v1/jobs/report "));
    cr_assert_eq(results[0], EXECUTR_OK);
    cr_assert_eq(results[1], EXECUTR_E_LOST);
    cr_assert_eq(results[2], EXECUTR_E_NOT_FOUND);
}

Test(client_executor, a_report_without_all_results_is_not_relied_on)
{
    executr_report report = EXECUTR_REPORT_INIT;
    const executr_report *reports[] = {&report, &report};
    executr_status results[2];

    report.job_id = ID1;
    report.status = EXECUTR_ATTEMPT_COMPLETED;
    answer(200, "{\"results\":[{\"id\":\"" ID1 "\",\"accepted\":true}]}");
    cr_assert_eq(
        executr_client_report(client, "e-1", reports, 2, results, &err),
        EXECUTR_E_PROTOCOL);
    answer(200, "{}");
    cr_assert_eq(
        executr_client_report(client, "e-1", reports, 2, results, &err),
        EXECUTR_E_PROTOCOL);
}

Test(client_executor, heartbeat_sets_the_verdicts)
{
    executr_lease leases[3] = {
        {.job_id = ID1, .attempt = 1},
        {.job_id = ID2, .attempt = 2},
        {.job_id = "0192f0c1-7a7e-7cc3-98c4-dc0c0c073991", .attempt = 1}};
    executr_heartbeat heartbeat = EXECUTR_HEARTBEAT_INIT;
    heartbeat.executor_id = "worker/1";
    heartbeat.executor_ip = "127.0.0.1";
    heartbeat.max_jobs = 3;
    heartbeat.leases = leases;
    heartbeat.lease_count = 3;
    answer(200, "{\"cancel\":[\"" ID1 "\"],\"lost\":[\"" ID2 "\"]}");
    cr_assert_eq(
        executr_client_heartbeat(client, &heartbeat, &err), EXECUTR_OK, "%s",
        err.message);
    cr_assert(sent_to("PUT /api/v1/executors/worker%2F1 "));
    cr_assert_eq(leases[0].verdict, EXECUTR_LEASE_CANCEL);
    cr_assert_eq(leases[1].verdict, EXECUTR_LEASE_LOST);
    cr_assert_eq(leases[2].verdict, EXECUTR_LEASE_KEPT);
    cr_assert_eq(heartbeat.lease_ms, 0, "this server does not say");
    answer(200, "{\"cancel\":[],\"lost\":[],\"lease\":\"1m30s\"}");
    cr_assert_eq(
        executr_client_heartbeat(client, &heartbeat, &err), EXECUTR_OK);
    cr_assert_eq(heartbeat.lease_ms, 90000);
    answer(200, "{\"cancel\":[],\"lost\":[],\"lease\":\"soon\"}");
    cr_assert_eq(
        executr_client_heartbeat(client, &heartbeat, &err), EXECUTR_E_PROTOCOL);
    answer(
        200, "{\"cancel\":[\"" ID1 "\"],\"lost\":[],\"follow\":[\"" ID1
             "\",\"" ID2 "\"]}");
    cr_assert_eq(
        executr_client_heartbeat(client, &heartbeat, &err), EXECUTR_OK);
    cr_assert_eq(leases[0].verdict, EXECUTR_LEASE_CANCEL);
    cr_assert_eq(leases[1].verdict, EXECUTR_LEASE_FOLLOWED);
}

Test(client_executor, goodbye_names_the_executor)
{
    answer(204, "");
    cr_assert_eq(executr_client_goodbye(client, "e-1", &err), EXECUTR_OK);
    cr_assert(sent_to("DELETE /api/v1/executors/e-1 "));
}

Test(client_binary, has_tells_the_size_or_that_it_is_missing)
{
    int64_t bytes;

    answer(200, "abc");
    cr_assert_eq(
        executr_client_has_binary(client, ABC, &bytes, &err), EXECUTR_OK);
    cr_assert(sent_to("HEAD /api/v1/binaries/" ABC " "));
    cr_assert_eq(bytes, 3);
    answer(404, "");
    cr_assert_eq(
        executr_client_has_binary(client, ABC, &bytes, &err),
        EXECUTR_E_NOT_FOUND);
    cr_assert_eq(
        executr_client_has_binary(client, "../x", &bytes, &err),
        EXECUTR_E_ARGUMENT);
}

/* A file with `text` in it; its name lasts until the next one. */
static const char *make_file(const char *text)
{
    static char path[64];

    snprintf(path, sizeof path, "/tmp/executr-test-client-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static int32_t note_progress(void *ctx, int64_t done, int64_t total)
{
    int64_t *noted = ctx;

    noted[0] = done;
    noted[1] = total;
    return noted[2] != 0;
}

Test(client_binary, put_streams_a_file_and_tells_how_far_it_is)
{
    int64_t noted[3] = {0};
    const char *path = make_file("abc");

    answer(201, "");
    cr_assert_eq(
        executr_client_put_binary(
            client, ABC, path, note_progress, noted, &err),
        EXECUTR_OK, "%s", err.message);
    cr_assert(sent_to("PUT /api/v1/binaries/" ABC " "));
    cr_assert_str_eq(http_fixture_body(server), "abc");
    cr_assert_eq(noted[0], 3);
    cr_assert_eq(noted[1], 3);
    noted[2] = 1;
    cr_assert_eq(
        executr_client_put_binary(
            client, ABC, path, note_progress, noted, &err),
        EXECUTR_E_CANCELLED);
    unlink(path);
}

Test(client_binary, put_carries_the_servers_refusal)
{
    const char *path = make_file("abd");

    answer(400, "{\"error\":\"not that\",\"code\":\"hash_mismatch\"}");
    cr_assert_eq(
        executr_client_put_binary(client, ABC, path, NULL, NULL, &err),
        EXECUTR_E_MISMATCH);
    unlink(path);
    cr_assert_eq(
        executr_client_put_binary(client, ABC, "/no/such", NULL, NULL, &err),
        EXECUTR_E_NOT_FOUND);
    cr_assert_eq(
        executr_client_put_binary(client, ABC, "/tmp", NULL, NULL, &err),
        EXECUTR_E_ARGUMENT);
}

Test(client_binary, get_streams_it)
{
    ex_buf got;

    ex_buf_init(&got, 100);
    answer(200, "abc");
    cr_assert_eq(
        executr_client_get_binary(client, ABC, add_text, &got, &err),
        EXECUTR_OK);
    cr_assert_str_eq(ex_buf_text(&got), "abc");
    ex_buf_clear(&got);
}

Test(client_binary, hashes_urls_and_files)
{
    char hash[65];
    int64_t noted[3] = {0};
    const char *path = make_file("abc");
    const char *url = http_fixture_url(server, "/tool");

    answer(200, "abc");
    cr_assert_eq(
        executr_hash_url(url, 0, note_progress, noted, hash, &err), EXECUTR_OK);
    cr_assert_str_eq(hash, ABC);
    cr_assert_eq(noted[1], 3);
    cr_assert_eq(executr_hash_file(path, hash, &err), EXECUTR_OK);
    cr_assert_str_eq(hash, ABC);
    answer(404, "abc");
    cr_assert_eq(
        executr_hash_url(url, 0, NULL, NULL, hash, &err), EXECUTR_E_NOT_FOUND);
    cr_assert_str_eq(hash, "");
    unlink(path);
}
