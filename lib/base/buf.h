/* SPDX-License-Identifier: MIT */
/*
 * Growing bytes with a limit. A failed append sticks: later appends do
 * nothing and ex_buf_status tells at the end, so writers need one check.
 */
#ifndef EX_BASE_BUF_H
#define EX_BASE_BUF_H

#include <executr/base.h>

typedef struct ex_buf {
    char *data; /* always NUL-terminated once anything was added */
    size_t length;
    size_t capacity;
    size_t limit; /* never longer than this */
    executr_status failed;
} ex_buf;

#define EX_BUF_UNLIMITED SIZE_MAX

/* An empty buffer that will hold at most `limit` bytes; allocates nothing. */
void ex_buf_init(ex_buf *buf, size_t limit);
void ex_buf_clear(ex_buf *buf);

/* Forget contents and failure, keep the memory. */
void ex_buf_reset(ex_buf *buf);

void ex_buf_add(ex_buf *buf, const void *data, size_t length);
void ex_buf_puts(ex_buf *buf, const char *text);
void ex_buf_putc(ex_buf *buf, char c);
void ex_buf_printf(ex_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ex_buf_put_i64(ex_buf *buf, int64_t value);

/* Room for `length` more bytes at the end, uncounted until ex_buf_used; NULL
 * when there is none. */
char *ex_buf_reserve(ex_buf *buf, size_t length);
void ex_buf_used(ex_buf *buf, size_t length);

/* The text so far, "" if nothing was added. Lasts until the next append. */
const char *ex_buf_text(const ex_buf *buf);

/* OK, or E_NOMEM, or E_TOO_LARGE naming `what` and the limit. */
executr_status ex_buf_status(
    const ex_buf *buf, const char *what, executr_error *err) EXECUTR_CHECKED;

/* An executr_write that appends to the ex_buf in `ctx`. */
int32_t ex_buf_write(void *ctx, const void *data, size_t length);

#endif
