/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_REQUEST_H
#define EXECUTR_REQUEST_H

#include <executr/queue.h>

EXECUTR_BEGIN_DECLS

/*
 * The bodies of the REST API, parsed: for servers, in our own and in other
 * transports. Unknown fields are ignored, wrong types and ranges refused with
 * the field's name (for array elements, as "reports[3].attempt").
 */
typedef struct executr_request executr_request;

enum {
    EXECUTR_REQUEST_SUBMIT = 1, /* one submission */
    EXECUTR_REQUEST_BULK = 2,   /* array of up to 10,000 of them */
    EXECUTR_REQUEST_CLAIM = 3,
    EXECUTR_REQUEST_COMPLETE = 4,
    EXECUTR_REQUEST_FAIL = 5,
    EXECUTR_REQUEST_REPORT = 6,    /* up to 1,000 ends */
    EXECUTR_REQUEST_HEARTBEAT = 7, /* of a whole executor */
    EXECUTR_REQUEST_JOB_HEARTBEAT = 8,
    EXECUTR_REQUEST_BULK_CANCEL = 9
};

/*
 * Parse a body. `id` is the id in the path where there is one (the job of
 * COMPLETE, FAIL and JOB_HEARTBEAT, the executor of HEARTBEAT), else NULL.
 * E_ARGUMENT with the field; E_TOO_LARGE for too many elements.
 */
EXECUTR_API executr_status executr_request_parse(
    int32_t kind, const char *id, const char *body, size_t length,
    executr_request **out, executr_error *err) EXECUTR_CHECKED;
EXECUTR_API void executr_request_free(executr_request *request);

/* What stands in it; all pointers live as long as the request. */

/* Submissions or reports or job ids. */
EXECUTR_API size_t executr_request_count(const executr_request *request);
/* The i-th submission; NULL and the reason in `err` if it is invalid (only in
 * a BULK; a bad SUBMIT is refused by the parse). It is checked in full. */
EXECUTR_API const executr_job_spec *executr_request_spec(
    const executr_request *request, size_t i, executr_error *err);
/* Set the idempotency key of a SUBMIT; borrowed. Checked by queue_submit. */
EXECUTR_API void executr_request_set_idempotency_key(
    executr_request *request, const char *key);
/* 1 if a CLAIM named max_jobs (its answer is an array then), else 0. */
EXECUTR_API int32_t executr_request_wants_array(const executr_request *request);
EXECUTR_API const executr_claim *executr_request_claim(
    const executr_request *request);
EXECUTR_API const char *executr_request_executor_id(
    const executr_request *request);
/* The i-th report of COMPLETE, FAIL (one) or REPORT. */
EXECUTR_API const executr_report *executr_request_report(
    const executr_request *request, size_t i);
/* Of HEARTBEAT; its leases may be written to. */
EXECUTR_API executr_heartbeat *executr_request_heartbeat(
    executr_request *request);
/* Of JOB_HEARTBEAT. */
EXECUTR_API executr_lease *executr_request_lease(executr_request *request);
/* Of BULK_CANCEL: ids, or (count 0) criteria. */
EXECUTR_API const char *const *executr_request_job_ids(
    const executr_request *request);
EXECUTR_API const executr_filter *executr_request_filter(
    const executr_request *request);

/*
 * The answers that are no records. The heartbeat's, after the queue has set
 * its verdicts: {"cancel":[ids],"lost":[ids]}.
 */
EXECUTR_API executr_status executr_heartbeat_json(
    const executr_heartbeat *heartbeat, executr_write write, void *ctx,
    executr_error *err) EXECUTR_CHECKED;
/* Of a REPORT with one result for each of its reports:
 * {"results":[{"id":"…","accepted":true}, …]}. */
EXECUTR_API executr_status executr_report_results_json(
    const executr_request *request, const executr_status *results,
    executr_write write, void *ctx, executr_error *err) EXECUTR_CHECKED;

EXECUTR_END_DECLS

#endif
