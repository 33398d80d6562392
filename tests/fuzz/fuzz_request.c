/* SPDX-License-Identifier: MIT */
/* Any body of any request: refused with a reason, or within all limits. The
 * first byte picks the kind, the rest is the body. */
#include <executr/request.h>

#include "base/sha256.h"
#include "fuzz.h"
#include "job.h"

#define JOB "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"

static void check_spec(const executr_request *request, size_t i)
{
    executr_error err = {0};
    char digest[EX_SHA256_HEX];
    const executr_job_spec *spec = executr_request_spec(request, i, &err);
    if (!spec) {
        must(err.status != EXECUTR_OK && err.message[0], "a refusal says why");
        return;
    }
    must(
        executr_job_spec_check(spec, &err) == EXECUTR_OK,
        "a spec that was taken is valid");
    must(
        ex_spec_digest(spec, digest, &err) == EXECUTR_OK,
        "a valid spec has a digest");
}

static volatile uint8_t sink; /* makes the compiler read */

static void check_report(const executr_request *request, size_t i)
{
    const executr_report *report = executr_request_report(request, i);
    if (!report)
        return;
    must(report->job_id != NULL, "a report names a job");
    must(report->attempt >= 0, "attempts are not negative");
    for (size_t k = 0; k < report->stdout_length; k++)
        sink = ((const uint8_t *)report->stdout_data)[k];
    for (size_t k = 0; k < report->stderr_length; k++)
        sink = ((const uint8_t *)report->stderr_data)[k];
}

static void write_answers(executr_request *request)
{
    executr_error err;
    ex_buf out;
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    const executr_heartbeat *heartbeat = executr_request_heartbeat(request);
    if (heartbeat)
        must(
            executr_heartbeat_json(heartbeat, ex_buf_write, &out, &err) ==
                EXECUTR_OK,
            "a heartbeat can be answered");
    executr_status *results =
        calloc(executr_request_count(request) + 1, sizeof *results);
    must(results != NULL, "there is memory");
    if (executr_request_report(request, 0))
        must(
            executr_report_results_json(
                request, results, ex_buf_write, &out, &err) == EXECUTR_OK,
            "reports can be answered");
    free(results);
    ex_buf_clear(&out);
}

static void check(executr_request *request, int32_t kind)
{
    executr_claim claim;
    executr_error err;
    for (size_t i = 0; i < executr_request_count(request); i++) {
        if (kind == EXECUTR_REQUEST_SUBMIT || kind == EXECUTR_REQUEST_BULK)
            check_spec(request, i);
        check_report(request, i);
        if (executr_request_job_ids(request))
            must(
                executr_request_job_ids(request)[i] != NULL,
                "there are as many ids as it says");
    }
    if (executr_request_claim(request))
        must(
            ex_claim_check(executr_request_claim(request), &claim, &err) ==
                EXECUTR_OK,
            "a claim that was taken is valid");
    must(executr_request_executor_id(request) != NULL, "an executor is named");
    write_answers(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    executr_request *request = NULL;
    executr_error err = {0};
    if (size == 0)
        return 0;
    int32_t kind = data[0] % 10;
    const char *id = kind == EXECUTR_REQUEST_HEARTBEAT ? "worker-1" : JOB;
    char *body = text_of(data + 1, size - 1);
    if (executr_request_parse(
            kind, data[0] & 0x80 ? NULL : id, body, size - 1, &request, &err))
        must(err.message[0] != '\0', "a refusal says why");
    else
        check(request, kind);
    executr_request_free(request);
    free(body);
    return 0;
}
