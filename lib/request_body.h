/* SPDX-License-Identifier: MIT */
/* The insides of a parsed request, shared by the two files that fill it. */
#ifndef EX_REQUEST_BODY_H
#define EX_REQUEST_BODY_H

#include <executr/request.h>

#include "job.h"

struct executr_request {
    int32_t kind;
    int32_t wants_array;
    ex_arena arena;
    ex_json *document; /* most texts are borrowed from it */
    size_t count;
    executr_job_spec *specs;
    executr_error **errors; /* of a BULK; NULL where the spec is good */
    executr_claim claim;
    const char *executor_id;
    executr_report *reports;
    executr_heartbeat heartbeat;
    executr_lease lease;
    const char **job_ids;
    executr_filter filter;
};

/* Each fills its part of `request` from request->document. */
executr_status ex_request_report(
    executr_request *request, const char *id,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_request_reports(executr_request *request, executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_request_heartbeat(
    executr_request *request, const char *id,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_request_job_heartbeat(
    executr_request *request, const char *id,
    executr_error *err) EXECUTR_CHECKED;

/* A required array member with 1 (or `min`) to `max` elements. */
executr_status ex_request_array(
    const ex_json *object, const char *name, size_t min, size_t max,
    ex_json **out, executr_error *err) EXECUTR_CHECKED;

/* E_TOO_LARGE naming the limit when there are more than `max`. */
executr_status ex_request_count_check(
    const char *name, size_t count, size_t max,
    executr_error *err) EXECUTR_CHECKED;

#endif
