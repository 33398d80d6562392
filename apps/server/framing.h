/* SPDX-License-Identifier: MIT */
/*
 * Whether a request means the same to us as to a proxy in front of us: lengths
 * that can be read in two ways smuggle requests past it.
 */
#ifndef SERVER_FRAMING_H
#define SERVER_FRAMING_H

#include <stddef.h>

#define FRAMING_HEADERS 64

typedef struct framing {
    const char *version; /* "1.1" */
    const char *path;    /* as it was sent; or NULL */
    size_t count;
    const char *names[FRAMING_HEADERS];
    const char *values[FRAMING_HEADERS];
} framing;

/* How often a header stands there; names have no case. */
size_t framing_count(const framing *f, const char *name);

/* What is ambiguous, in words for the sender; NULL if nothing is. */
const char *framing_problem(const framing *f);

#endif
