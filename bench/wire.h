/* SPDX-License-Identifier: MIT */
/*
 * HTTP to a server on this machine that costs the load generator next to
 * nothing: one connection kept alive, one call at a time, no parser. Anything
 * unexpected ends the program.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>

typedef struct wire {
    int fd;
    char *answer; /* the last one, head and body, with a NUL behind */
    char *body;   /* in it */
    size_t capacity;
} wire;

void wire_open(wire *w, int64_t port);
void wire_close(wire *w);

/* Call "METHOD /path" below /api/v1; gives the status. */
int wire_call(
    wire *w, const char *method, const char *path, const char *body,
    size_t length);

/* What follows `key` in the text at `from`; NULL if it isn't there. */
const char *wire_find(const char *from, const char *key);

#endif
