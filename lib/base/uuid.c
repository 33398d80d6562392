/* SPDX-License-Identifier: MIT */
/* UUIDv7; hides how ids of one process are kept in order. */
#include "base/uuid.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/fail.h"
#include "base/time.h"

#define BATCH 128

/*
 * The newest stamp given out: 48 bits of milliseconds and 16 bits of their
 * fraction, which are the first 64 bits of an id but for its version and
 * variant. It only grows, whatever the clock does; ids made faster than the
 * fraction counts run ahead of the clock instead of repeating.
 */
static atomic_uint_least64_t newest;

/* The first of `count` stamps nobody else has. */
static uint64_t take_stamps(size_t count)
{
    uint64_t now = (uint64_t)ex_now_us();
    uint64_t stamp = (now / 1000) << 16 | now % 1000 * 65536 / 1000;
    uint64_t last = atomic_load_explicit(&newest, memory_order_relaxed);
    uint64_t first;

    do {
        first = stamp > last ? stamp : last + 1;
    } while (!atomic_compare_exchange_weak(&newest, &last, first + count - 1));
    return first;
}

/* Bytes from the kernel each time, so that a fork repeats nothing. */
static executr_status fill_random(void *out, size_t size, executr_error *err)
{
    char *at = out;

    do {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ex_fail_errno(err, errno, "cannot get random bytes");
        at += got;
        size -= (size_t)got;
    } while (size > 0);
    return EXECUTR_OK;
}

static void build(ex_uuid *id, uint64_t stamp, uint64_t random)
{
    for (int i = 0; i < 6; i++)
        id->bytes[i] = (uint8_t)(stamp >> (56 - 8 * i));
    id->bytes[6] = (uint8_t)(0x70 | (stamp >> 12 & 0x0f));
    id->bytes[7] = (uint8_t)(stamp >> 4);
    /* The variant, the last 4 bits of the stamp, then chance alone. */
    id->bytes[8] =
        (uint8_t)(0x80 | (stamp & 0x0f) << 2 | (random >> 56 & 0x03));
    for (int i = 9; i < 16; i++)
        id->bytes[i] = (uint8_t)(random >> (8 * (15 - i)));
}

executr_status ex_uuid_make(ex_uuid *out, size_t count, executr_error *err)
{
    uint64_t random[BATCH];

    while (count > 0) {
        size_t n = count < BATCH ? count : BATCH;
        executr_status st = fill_random(random, n * sizeof random[0], err);
        if (st)
            return st;
        uint64_t stamp = take_stamps(n);
        for (size_t i = 0; i < n; i++)
            build(&out[i], stamp + i, random[i]);
        out += n;
        count -= n;
    }
    return EXECUTR_OK;
}

void ex_uuid_format(const ex_uuid *id, char out[EX_UUID_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[id->bytes[i] >> 4];
        *at++ = digits[id->bytes[i] & 15];
    }
    *at = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int ex_uuid_parse(const char *text, ex_uuid *out)
{
    ex_uuid id;
    size_t n = 0;

    if (strnlen(text, EX_UUID_TEXT) != EX_UUID_TEXT - 1)
        return -1;
    for (size_t i = 0; i < EX_UUID_TEXT - 1;) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i++] != '-')
                return -1;
            continue;
        }
        int high = hex_value(text[i]);
        int low = hex_value(text[i + 1]);
        if (high < 0 || low < 0)
            return -1;
        id.bytes[n++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *out = id;
    return 0;
}

int ex_uuid_compare(const ex_uuid *a, const ex_uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}
