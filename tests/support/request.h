/* SPDX-License-Identifier: MIT */
/* Parsing bodies in tests, with the expectation said in one line. */
#ifndef TEST_REQUEST_H
#define TEST_REQUEST_H

#include <criterion/criterion.h>
#include <executr/request.h>
#include <string.h>

/* A body that has to be good. */
static inline executr_request *parsed(
    int32_t kind, const char *id, const char *body)
{
    executr_request *request = NULL;
    executr_error err;

    executr_status st =
        executr_request_parse(kind, id, body, strlen(body), &request, &err);
    cr_assert_eq(st, EXECUTR_OK, "%.200s: %s", body, st ? err.message : "");
    return request;
}

/* The message for a body that has to be refused because of `field`. */
static inline const char *refused(
    int32_t kind, const char *id, const char *body, executr_status status,
    const char *field)
{
    static executr_error err;
    executr_request *request = (executr_request *)&err;

    executr_status st =
        executr_request_parse(kind, id, body, strlen(body), &request, &err);
    cr_assert_eq(st, status, "%d: %.200s", kind, body);
    cr_expect_eq(err.status, status);
    cr_expect_str_eq(err.field, field, "%.200s: %s", body, err.message);
    cr_expect_str_not_empty(err.message);
    cr_expect_null(request);
    return err.message;
}

#endif
