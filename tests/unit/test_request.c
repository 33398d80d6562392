/* SPDX-License-Identifier: MIT */
/* Bodies of submissions, claims and cancellations. */
#include <criterion/criterion.h>
#include <executr/request.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "job.h"
#include "support/request.h"

#define UPPER "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
/* The start of a good submission; more members may follow. */
#define SPEC "{\"type\":\"t\",\"binary_sha256\":\"" UPPER "\""

Test(request_parse, refuses_bodies_of_the_wrong_shape)
{
    for (int32_t kind = 1; kind <= 9; kind++) {
        refused(kind, "x", "", EXECUTR_E_ARGUMENT, "");
        refused(kind, "x", "{", EXECUTR_E_ARGUMENT, "");
        refused(kind, "x", "null", EXECUTR_E_ARGUMENT, "");
        refused(kind, "x", "\"x\"", EXECUTR_E_ARGUMENT, "");
    }
    refused(EXECUTR_REQUEST_SUBMIT, NULL, "[]", EXECUTR_E_ARGUMENT, "");
    refused(EXECUTR_REQUEST_BULK, NULL, "{}", EXECUTR_E_ARGUMENT, "");
    refused(0, NULL, "{}", EXECUTR_E_ARGUMENT, "kind");
    refused(10, NULL, "{}", EXECUTR_E_ARGUMENT, "kind");
}

Test(request_submit, reads_a_whole_submission)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_SUBMIT, NULL,
        SPEC ",\"binary_url\":\"http://h/x\",\"arguments\":[\"a\",\"\"],"
             "\"env_variables\":{\"K\":\"v=w\"},\"priority\":\"foreground\","
             "\"max_retries\":2,\"exclusive\":true,\"unknown\":[{}]}");
    const executr_job_spec *spec = executr_request_spec(r, 0, NULL);

    cr_assert_not_null(spec);
    cr_expect_eq(executr_request_count(r), 1);
    cr_expect_str_eq(spec->binary_url, "http://h/x");
    cr_expect_eq(spec->argument_count, 2);
    cr_expect_str_eq(spec->arguments[0], "a");
    cr_expect_str_eq(spec->environment[0], "K=v=w");
    cr_expect_eq(spec->priority, EXECUTR_PRIORITY_FOREGROUND);
    cr_expect_eq(spec->max_retries, 2);
    cr_expect_eq(spec->exclusive, 1);
    executr_request_free(r);
}

Test(request_submit, reads_limits_and_isolation)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_SUBMIT, NULL,
        SPEC ",\"timeout\":\"1m30s\",\"kill_grace\":\"300ms\",\"memory_mb\":64,"
             "\"cpu_seconds\":5,\"max_processes\":7,\"max_file_mb\":8,"
             "\"isolation\":\"standard\"}");
    const executr_job_spec *spec = executr_request_spec(r, 0, NULL);

    cr_expect_eq(spec->timeout_ms, 90000);
    cr_expect_eq(spec->kill_grace_ms, 300);
    cr_expect_eq(spec->memory_mb, 64);
    cr_expect_eq(spec->cpu_seconds, 5);
    cr_expect_eq(spec->max_processes, 7);
    cr_expect_eq(spec->max_file_mb, 8);
    cr_expect_eq(spec->isolation, EXECUTR_ISOLATION_STANDARD);
    executr_request_free(r);
}

Test(request_submit, has_the_documented_defaults)
{
    executr_request *r =
        parsed(EXECUTR_REQUEST_SUBMIT, NULL, SPEC ",\"priority\":null}");
    const executr_job_spec *spec = executr_request_spec(r, 0, NULL);

    cr_expect_eq(spec->priority, EXECUTR_PRIORITY_BACKGROUND);
    cr_expect_eq(spec->binary_sha256[0], '9');
    cr_expect_eq(spec->binary_sha256[1], 'f', "stored in lower case");
    cr_expect_null(spec->binary_url);
    cr_expect_null(spec->idempotency_key);
    cr_expect_eq(spec->argument_count + spec->environment_count, 0);
    cr_expect_eq(ex_spec_demands(spec), 0);
    executr_request_set_idempotency_key(r, "key");
    cr_expect_str_eq(spec->idempotency_key, "key");
    cr_expect_null(executr_request_spec(r, 1, NULL));
    executr_request_free(r);
}

static const char *const bad_submit[][2] = {
    {"\"type\":5", "type"},
    {"\"binary_url\":\"ftp://x\"", "binary_url"},
    {"\"arguments\":\"a\"", "arguments"},
    {"\"arguments\":[5]", "arguments"},
    {"\"arguments\":[\"\\u0000\"]", "arguments"},
    {"\"arguments\":[null]", "arguments"},
    {"\"env_variables\":[]", "env_variables"},
    {"\"env_variables\":{\"A\":1}", "env_variables"},
    {"\"env_variables\":{\"\":\"x\"}", "env_variables"},
    {"\"env_variables\":{\"A=B\":\"x\"}", "env_variables"},
    {"\"priority\":\"urgent\"", "priority"},
    {"\"priority\":1", "priority"},
    {"\"max_retries\":-1", "max_retries"},
    {"\"max_retries\":1001", "max_retries"},
    {"\"max_retries\":1.5", "max_retries"},
    {"\"exclusive\":1", "exclusive"},
    {"\"timeout\":90", "timeout"},
    {"\"timeout\":\"0s\"", "timeout"},
    {"\"timeout\":\"9 s\"", "timeout"},
    {"\"timeout\":\"367h\\u0000\"", "timeout"},
    {"\"kill_grace\":\"-1s\"", "kill_grace"},
    {"\"memory_mb\":0", "memory_mb"},
    {"\"memory_mb\":\"1\"", "memory_mb"},
    {"\"isolation\":\"full\"", "isolation"}};

Test(request_submit, names_the_bad_field)
{
    for (size_t i = 0; i < sizeof bad_submit / sizeof *bad_submit; i++) {
        char body[256];
        int is_type = strcmp(bad_submit[i][1], "type") == 0;
        snprintf(
            body, sizeof body, "{%s\"binary_sha256\":\"" UPPER "\",%s}",
            is_type ? "" : "\"type\":\"t\",", bad_submit[i][0]);
        refused(
            EXECUTR_REQUEST_SUBMIT, NULL, body, EXECUTR_E_ARGUMENT,
            bad_submit[i][1]);
    }
}

Test(request_submit, wants_type_and_hash)
{
    refused(EXECUTR_REQUEST_SUBMIT, NULL, "{}", EXECUTR_E_ARGUMENT, "type");
    refused(
        EXECUTR_REQUEST_SUBMIT, NULL, "{\"type\":\"t\"}", EXECUTR_E_ARGUMENT,
        "binary_sha256");
    refused(
        EXECUTR_REQUEST_SUBMIT, NULL, SPEC ",\"type\":\"t\"}",
        EXECUTR_E_ARGUMENT, ""); /* the same member twice */
}

/* The request that the client writes for a submission. */
static executr_request *sent(const executr_job_spec *spec)
{
    ex_buf text;
    ex_json_writer w;

    ex_buf_init(&text, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &text);
    ex_spec_write(spec, &w);
    executr_request *r = parsed(EXECUTR_REQUEST_SUBMIT, NULL, text.data);
    ex_buf_clear(&text);
    return r;
}

Test(request_submit, reads_what_the_client_writes)
{
    char digests[2][65];
    executr_request *r = parsed(
        EXECUTR_REQUEST_SUBMIT, NULL,
        SPEC ",\"arguments\":[\"a\\\"\\n\"],\"env_variables\":{\"K\":\"\"},"
             "\"timeout\":\"90s\",\"isolation\":\"none\",\"exclusive\":true}");
    const executr_job_spec *spec = executr_request_spec(r, 0, NULL);
    executr_request *again = sent(spec);

    cr_expect_eq(ex_spec_digest(spec, digests[0], NULL), EXECUTR_OK);
    spec = executr_request_spec(again, 0, NULL);
    cr_expect_eq(ex_spec_digest(spec, digests[1], NULL), EXECUTR_OK);
    cr_expect_str_eq(digests[0], digests[1]);
    executr_request_free(again);
    executr_request_free(r);
}

Test(request_bulk, keeps_each_elements_own_error)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_BULK, NULL,
        "[" SPEC "}," SPEC ",\"max_retries\":-1},5," SPEC "}]");
    executr_error err;

    cr_expect_eq(executr_request_count(r), 4);
    cr_expect_not_null(executr_request_spec(r, 0, &err));
    cr_expect_null(executr_request_spec(r, 1, &err));
    cr_expect_eq(err.status, EXECUTR_E_ARGUMENT);
    cr_expect_str_eq(err.field, "max_retries");
    cr_expect_null(executr_request_spec(r, 2, &err));
    cr_expect_str_eq(err.message, "a submission must be a JSON object");
    cr_expect_not_null(executr_request_spec(r, 3, &err));
    executr_request_free(r);
}

/* "[", `count` times `element`, "]". */
static void repeat(ex_buf *out, const char *element, size_t count)
{
    ex_buf_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            ex_buf_putc(out, ',');
        ex_buf_puts(out, element);
    }
    ex_buf_putc(out, ']');
}

Test(request_bulk, takes_one_to_ten_thousand)
{
    ex_buf body;

    refused(EXECUTR_REQUEST_BULK, NULL, "[]", EXECUTR_E_ARGUMENT, "");
    ex_buf_init(&body, EX_BUF_UNLIMITED);
    repeat(&body, "0", 10001);
    const char *message =
        refused(EXECUTR_REQUEST_BULK, NULL, body.data, EXECUTR_E_TOO_LARGE, "");
    cr_expect_not_null(strstr(message, "10000"), "%s", message);
    ex_buf_reset(&body);
    repeat(&body, SPEC "}", 10000);
    executr_request *r = parsed(EXECUTR_REQUEST_BULK, NULL, body.data);
    cr_expect_eq(executr_request_count(r), 10000);
    cr_expect_not_null(executr_request_spec(r, 9999, NULL));
    executr_request_free(r);
    ex_buf_clear(&body);
}

#define WHO "{\"executor_id\":\"w-1\",\"executor_ip\":\"::1\""

Test(request_claim, has_the_documented_defaults)
{
    executr_request *r = parsed(EXECUTR_REQUEST_CLAIM, NULL, WHO "}");
    const executr_claim *claim = executr_request_claim(r);

    cr_expect_eq(executr_request_wants_array(r), 0);
    cr_expect_str_eq(executr_request_executor_id(r), "w-1");
    cr_expect_str_eq(claim->executor_ip, "::1");
    cr_expect_eq(claim->max_jobs, 1);
    cr_expect_eq(claim->wait_ms, 0);
    cr_expect_eq(claim->type_count, 0);
    cr_expect_eq(claim->priorities | claim->offers, 0);
    executr_request_free(r);
}

Test(request_claim, reads_what_restricts_it)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_CLAIM, NULL,
        WHO ",\"max_jobs\":1,\"wait\":\"1m\",\"types\":[\"a\",\"b\"],"
            "\"priorities\":[\"foreground\",\"best_effort\"],"
            "\"offers\":[\"memory_mb\",\"of the future\",\"strict\"]}");
    const executr_claim *claim = executr_request_claim(r);

    cr_expect_eq(executr_request_wants_array(r), 1);
    cr_expect_eq(claim->wait_ms, 60000);
    cr_assert_eq(claim->type_count, 2);
    cr_expect_str_eq(claim->types[1], "b");
    cr_expect_eq(claim->priorities, 2u | 8u);
    cr_expect_eq(claim->offers, EXECUTR_OFFER_MEMORY | EXECUTR_OFFER_STRICT);
    executr_request_free(r);
}

static const char *const bad_claim[][2] = {
    {"{\"executor_ip\":\"x\"}", "executor_id"},
    {"{\"executor_id\":\"w\"}", "executor_ip"},
    {"{\"executor_id\":\"\",\"executor_ip\":\"x\"}", "executor_id"},
    {"{\"executor_id\":\"a\\n\",\"executor_ip\":\"x\"}", "executor_id"},
    {"{\"executor_id\":\"\\u0000\",\"executor_ip\":\"x\"}", "executor_id"},
    {WHO ",\"max_jobs\":0}", "max_jobs"},
    {WHO ",\"max_jobs\":1001}", "max_jobs"},
    {WHO ",\"wait\":\"60001ms\"}", "wait"},
    {WHO ",\"wait\":20}", "wait"},
    {WHO ",\"types\":\"a\"}", "types"},
    {WHO ",\"types\":[\"a b\"]}", "types"},
    {WHO ",\"priorities\":[\"high\"]}", "priorities"},
    {WHO ",\"priorities\":[1]}", "priorities"},
    {WHO ",\"offers\":[{}]}", "offers"}};

Test(request_claim, names_the_bad_field)
{
    for (size_t i = 0; i < sizeof bad_claim / sizeof *bad_claim; i++)
        refused(
            EXECUTR_REQUEST_CLAIM, NULL, bad_claim[i][0], EXECUTR_E_ARGUMENT,
            bad_claim[i][1]);
}

/* A claim with an id and an address of so many characters. */
static const char *claim_of(int id_length, int ip_length)
{
    static char body[600];
    char text[300];

    memset(text, 'x', sizeof text);
    snprintf(
        body, sizeof body,
        "{\"executor_id\":\"%.*s\",\"executor_ip\":\"%.*s\"}", id_length, text,
        ip_length, text);
    return body;
}

Test(request_claim, limits_lengths)
{
    executr_request_free(
        parsed(EXECUTR_REQUEST_CLAIM, NULL, claim_of(255, 64)));
    refused(
        EXECUTR_REQUEST_CLAIM, NULL, claim_of(256, 64), EXECUTR_E_ARGUMENT,
        "executor_id");
    refused(
        EXECUTR_REQUEST_CLAIM, NULL, claim_of(255, 65), EXECUTR_E_ARGUMENT,
        "executor_ip");
}

Test(request_claim, takes_up_to_a_hundred_types)
{
    const executr_status wanted[] = {EXECUTR_OK, EXECUTR_E_TOO_LARGE};

    for (size_t i = 0; i < 2; i++) {
        executr_request *r;
        ex_buf body;
        ex_buf_init(&body, EX_BUF_UNLIMITED);
        ex_buf_puts(&body, WHO ",\"types\":");
        repeat(&body, "\"t\"", 100 + i);
        ex_buf_putc(&body, '}');
        executr_status st = executr_request_parse(
            EXECUTR_REQUEST_CLAIM, NULL, body.data, body.length, &r, NULL);
        cr_expect_eq(st, wanted[i], "%zu types", 100 + i);
        executr_request_free(r);
        ex_buf_clear(&body);
    }
}

Test(request_cancel, reads_ids)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_BULK_CANCEL, NULL, "{\"job_ids\":[\"a\",\"b\"]}");

    cr_expect_eq(executr_request_count(r), 2);
    cr_expect_str_eq(executr_request_job_ids(r)[1], "b");
    executr_request_free(r);
}

Test(request_cancel, reads_criteria)
{
    executr_request *r = parsed(
        EXECUTR_REQUEST_BULK_CANCEL, NULL,
        "{\"type\":\"t\",\"status\":\"pending\",\"priority\":\"best_effort\"}");
    const executr_filter *filter = executr_request_filter(r);

    cr_expect_eq(executr_request_count(r), 0);
    cr_expect_str_eq(filter->type, "t");
    cr_expect_eq(filter->status, EXECUTR_JOB_PENDING);
    cr_expect_eq(filter->priority, EXECUTR_PRIORITY_BEST_EFFORT);
    executr_request_free(r);
}

static const char *const bad_cancel[][2] = {
    {"{}", "job_ids"},
    {"{\"job_ids\":[]}", "job_ids"},
    {"{\"job_ids\":null}", "job_ids"},
    {"{\"type\":null}", "job_ids"},
    {"{\"job_ids\":\"a\"}", "job_ids"},
    {"{\"job_ids\":[5]}", "job_ids"},
    {"{\"job_ids\":[\"a\"],\"type\":\"t\"}", "job_ids"},
    {"{\"type\":\"\"}", "type"},
    {"{\"status\":\"\"}", "status"},
    {"{\"status\":\"done\"}", "status"},
    {"{\"priority\":2}", "priority"}};

Test(request_cancel, never_takes_nothing_for_everything)
{
    for (size_t i = 0; i < sizeof bad_cancel / sizeof *bad_cancel; i++)
        refused(
            EXECUTR_REQUEST_BULK_CANCEL, NULL, bad_cancel[i][0],
            EXECUTR_E_ARGUMENT, bad_cancel[i][1]);
}

Test(request_cancel, takes_up_to_ten_thousand_ids)
{
    ex_buf body;

    ex_buf_init(&body, EX_BUF_UNLIMITED);
    ex_buf_puts(&body, "{\"job_ids\":");
    repeat(&body, "\"a\"", 10001);
    ex_buf_putc(&body, '}');
    refused(
        EXECUTR_REQUEST_BULK_CANCEL, NULL, body.data, EXECUTR_E_TOO_LARGE,
        "job_ids");
    ex_buf_clear(&body);
}
