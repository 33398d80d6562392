/* SPDX-License-Identifier: MIT */
/* Job ids: UUIDv7, 36 lower-case characters outside, 16 bytes inside. */
#ifndef EX_BASE_UUID_H
#define EX_BASE_UUID_H

#include <executr/base.h>

#define EX_UUID_TEXT 37

typedef struct ex_uuid {
    uint8_t bytes[16];
} ex_uuid;

/*
 * Fill `out` with `count` new UUIDv7 in increasing order. Any thread: ids made
 * by one process increase over all threads, also when the clock steps back.
 */
executr_status ex_uuid_make(ex_uuid *out, size_t count, executr_error *err)
    EXECUTR_CHECKED;

void ex_uuid_format(const ex_uuid *id, char out[EX_UUID_TEXT]);

/* 0 and *out for 36 characters of a lower-case UUID, else -1. */
int ex_uuid_parse(const char *text, ex_uuid *out);

int ex_uuid_compare(const ex_uuid *a, const ex_uuid *b);

#endif
