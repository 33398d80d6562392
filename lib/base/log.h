/* SPDX-License-Identifier: MIT */
/* Hands messages to a log hook, and the hook that programs use. */
#ifndef EX_BASE_LOG_H
#define EX_BASE_LOG_H

#include <executr/base.h>

/*
 * One message with name, value, …, NULL behind it, all `const char *`; a pair
 * with a NULL value is left out. Does nothing without a hook.
 */
void ex_log(const executr_log *log, int32_t level, const char *message, ...)
    __attribute__((sentinel));

/* A number as a field value: ex_log(l, …, "count", EX_I64(n), NULL). */
typedef struct ex_i64_text {
    char text[24];
} ex_i64_text;
ex_i64_text ex_i64_format(int64_t value);
#define EX_I64(value) (ex_i64_format(value).text)

/* The hook of our programs: one line a message on stderr, written by one
 * write(2), as JSON (`time`, `level`, `msg`, fields) or as text. */
typedef struct ex_stderr_log {
    int32_t level; /* messages above this level are dropped */
    int32_t json;
} ex_stderr_log;

executr_log ex_stderr_log_hook(ex_stderr_log *settings);

/* "debug" … "error" to a level; 0 for anything else. */
int32_t ex_log_level_parse(const char *text);

#endif
