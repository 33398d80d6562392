/* SPDX-License-Identifier: MIT */
/* Growing bytes; hides how they grow and makes the first failure stick. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fail.h"

/* Holds most requests and answers. */
#define FIRST_CAPACITY 512

void ex_buf_init(ex_buf *buf, size_t limit)
{
    memset(buf, 0, sizeof *buf);
    buf->limit = limit;
}

void ex_buf_clear(ex_buf *buf)
{
    ex_free(buf->data);
    ex_buf_init(buf, buf->limit);
}

void ex_buf_reset(ex_buf *buf)
{
    buf->length = 0;
    buf->failed = EXECUTR_OK;
    if (buf->data)
        buf->data[0] = '\0';
}

static int fail(ex_buf *buf, executr_status status)
{
    buf->failed = status;
    return -1;
}

static int grow(ex_buf *buf, size_t length)
{
    if (buf->failed)
        return -1;
    if (length > buf->limit - buf->length)
        return fail(buf, EXECUTR_E_TOO_LARGE);
    if (length > SIZE_MAX / 2 - buf->length)
        return fail(buf, EXECUTR_E_NOMEM);
    size_t capacity = buf->length + length + 1;
    if (capacity < buf->capacity * 2)
        capacity = buf->capacity * 2;
    if (capacity < FIRST_CAPACITY)
        capacity = FIRST_CAPACITY;
    /* Who fits in may be added without a look at the limit. */
    if (capacity - 1 > buf->limit)
        capacity = buf->limit + 1;
    void *memory = buf->data;
    executr_status st = ex_realloc(&memory, capacity, NULL);
    if (st)
        return fail(buf, st);
    buf->data = memory;
    buf->capacity = capacity;
    buf->data[buf->length] = '\0';
    return 0;
}

/* Room for `length` more bytes and the NUL; 0, or -1 with `failed` set. */
static inline int make_room(ex_buf *buf, size_t length)
{
    int fits = length < buf->capacity - buf->length && !buf->failed;

    return fits ? 0 : grow(buf, length);
}

void ex_buf_add(ex_buf *buf, const void *data, size_t length)
{
    if (make_room(buf, length))
        return;
    if (length)
        memcpy(buf->data + buf->length, data, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void ex_buf_puts(ex_buf *buf, const char *text)
{
    ex_buf_add(buf, text, strlen(text));
}

void ex_buf_putc(ex_buf *buf, char c)
{
    ex_buf_add(buf, &c, 1);
}

/* Into the room that is there; the length of the whole text. */
static int print(ex_buf *buf, const char *format, va_list args)
{
    size_t room = buf->data ? buf->capacity - buf->length : 0;

    return vsnprintf(room ? buf->data + buf->length : NULL, room, format, args);
}

void ex_buf_printf(ex_buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int length = print(buf, format, args);
    va_end(args);
    assert(length >= 0);
    int fits = length >= 0 && buf->data && !buf->failed &&
               (size_t)length < buf->capacity - buf->length;
    if (!fits) {
        if (buf->data)
            buf->data[buf->length] = '\0';
        if (length < 0 || make_room(buf, (size_t)length))
            return;
        va_start(args, format);
        length = print(buf, format, args);
        va_end(args);
    }
    buf->length += (size_t)length;
}

void ex_buf_put_i64(ex_buf *buf, int64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        digits[--at] = '-';
    ex_buf_add(buf, digits + at, sizeof digits - at);
}

char *ex_buf_reserve(ex_buf *buf, size_t length)
{
    return make_room(buf, length) ? NULL : buf->data + buf->length;
}

void ex_buf_used(ex_buf *buf, size_t length)
{
    assert(buf->data && length < buf->capacity - buf->length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

const char *ex_buf_text(const ex_buf *buf)
{
    return buf->data ? buf->data : "";
}

executr_status ex_buf_status(
    const ex_buf *buf, const char *what, executr_error *err)
{
    if (!buf->failed)
        return EXECUTR_OK;
    if (buf->failed == EXECUTR_E_NOMEM)
        return ex_fail_nomem(err);
    return ex_fail(
        err, buf->failed, "%s is longer than %zu bytes, the most allowed", what,
        buf->limit);
}

int32_t ex_buf_write(void *ctx, const void *data, size_t length)
{
    ex_buf *buf = ctx;

    ex_buf_add(buf, data, length);
    return buf->failed ? -1 : 0;
}
