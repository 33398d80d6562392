/* SPDX-License-Identifier: MIT */
/* Failures: fill the caller's executr_error and hand back its status. */
#ifndef EX_BASE_FAIL_H
#define EX_BASE_FAIL_H

#include <executr/base.h>

/*
 * Record a failure and return `status`; `err` may be NULL. The message is cut
 * at a character boundary and control characters in it become '?', because it
 * may quote input and ends on terminals and in logs.
 */
executr_status ex_fail(
    executr_error *err, executr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a bad input field: EXECUTR_E_ARGUMENT with `field` named. */
executr_status ex_fail_field(
    executr_error *err, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: E_IO, but E_NOMEM for ENOMEM and
 * E_NOT_FOUND for ENOENT, with ": strerror(number)" appended. */
executr_status ex_fail_errno(
    executr_error *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Out of memory, without needing any. */
executr_status ex_fail_nomem(executr_error *err);

/* Drop a status on purpose; searchable, unlike a cast to void. */
static inline void ex_ignore(executr_status status)
{
    (void)status;
}

#endif
