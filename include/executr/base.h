/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_BASE_H
#define EXECUTR_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define EXECUTR_BEGIN_DECLS extern "C" {
#define EXECUTR_END_DECLS }
#else
#define EXECUTR_BEGIN_DECLS
#define EXECUTR_END_DECLS
#endif

#if defined(__GNUC__)
#define EXECUTR_API __attribute__((visibility("default")))
#define EXECUTR_CHECKED __attribute__((warn_unused_result))
#else
#define EXECUTR_API
#define EXECUTR_CHECKED
#endif

EXECUTR_BEGIN_DECLS

/*
 * What became of a call: 0, or one of the codes below. Codes are chosen by
 * what the caller can do about them; they are never renumbered or reused.
 */
typedef int32_t executr_status;

/*
 * Every code once: number, name, the word the REST API uses for it, the HTTP
 * status it travels as, and whether the same call may succeed later.
 */
/* clang-format off */
#define EXECUTR_STATUS_MAP(X)                                             \
    X(0,   OK,            "ok",               200, 0)                     \
    X(-1,  E_ARGUMENT,    "invalid_argument", 400, 0)                     \
    X(-2,  E_NOMEM,       "out_of_memory",    503, 1)                     \
    X(-3,  E_IO,          "io_error",         500, 0)                     \
    X(-4,  E_NOT_FOUND,   "not_found",        404, 0)                     \
    X(-5,  E_CONFLICT,    "conflict",         409, 0)                     \
    X(-6,  E_LOST,        "lost_attempt",     409, 0)                     \
    X(-7,  E_TOO_LARGE,   "too_large",        413, 0)                     \
    X(-8,  E_UNAVAILABLE, "unavailable",      503, 1)                     \
    X(-9,  E_TIMEOUT,     "timeout",          503, 1)                     \
    X(-10, E_AUTH,        "unauthorized",     401, 0)                     \
    X(-11, E_PROTOCOL,    "protocol_error",   400, 0)                     \
    X(-12, E_MISMATCH,    "hash_mismatch",    400, 0)                     \
    X(-13, E_UNSUPPORTED, "unsupported",      400, 0)                     \
    X(-14, E_CANCELLED,   "cancelled",        409, 0)                     \
    X(-15, E_CALLBACK,    "callback_failed",  500, 0)                     \
    X(-16, E_INTERNAL,    "internal",         500, 0)
/* clang-format on */

enum {
#define EXECUTR_STATUS_ENUM(number, name, word, http, retriable)               \
    EXECUTR_##name = (number),
    EXECUTR_STATUS_MAP(EXECUTR_STATUS_ENUM)
#undef EXECUTR_STATUS_ENUM
};

/*
 * The detail of a failure. The caller owns it; nothing in it needs freeing.
 * A failed call fills it whole; a call that succeeds leaves it alone. Its
 * 512 bytes are frozen.
 */
typedef struct executr_error {
    executr_status status;
    int32_t native;    /* errno, SQLite or libcurl code, HTTP status; or 0 */
    char field[32];    /* the input field at fault, or "" */
    char message[472]; /* one line, says what was wrong and what to do */
} executr_error;

/* The word for a code ("not_found"); "internal" for an unknown one. */
EXECUTR_API const char *executr_status_word(executr_status status);

/* The HTTP status a code travels as; 500 for an unknown one. */
EXECUTR_API int32_t executr_status_http(executr_status status);

/* 1 if the same call may succeed later, else 0. */
EXECUTR_API int32_t executr_status_retriable(executr_status status);

/* Levels of the log hook. */
enum {
    EXECUTR_LOG_ERROR = 1,
    EXECUTR_LOG_WARN = 2,
    EXECUTR_LOG_INFO = 3,
    EXECUTR_LOG_DEBUG = 4
};

/*
 * Where a handle's messages go. `fields` is a list of name, value, name,
 * value, …, NULL. Strings last for the call only. The hook may be called from
 * any thread of the handle and must not call back into it. A NULL `write`
 * drops everything. The library prints nothing by itself.
 */
typedef struct executr_log {
    void (*write)(
        void *ctx, int32_t level, const char *message,
        const char *const *fields);
    void *ctx;
} executr_log;

/*
 * A sink for bytes: JSON texts, outputs, binaries. Called zero or more times
 * in order, on the calling thread; anything but 0 stops the call, which then
 * returns EXECUTR_E_CALLBACK.
 */
typedef int32_t (*executr_write)(void *ctx, const void *data, size_t length);

/*
 * A source of bytes: fill `data` with up to `size` bytes and set `*length`;
 * 0 bytes are the end. Anything but 0 stops the call (EXECUTR_E_CALLBACK).
 */
typedef int32_t (*executr_read)(
    void *ctx, void *data, size_t size, size_t *length);

/* "major.minor.patch", for people. */
EXECUTR_API const char *executr_version(void);

/* The ABI number, equal to the SOVERSION; bindings check it at load. */
EXECUTR_API uint32_t executr_abi(void);

EXECUTR_END_DECLS

#endif
