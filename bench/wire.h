/* SPDX-License-Identifier: MIT */
/*
 * HTTP to a server on this machine that costs the load generator next to
 * nothing: connections kept alive, one call at a time on each, no parser.
 * Anything unexpected ends the program.
 *
 * A connection is used alone (wire_call waits), or many in a crowd: calls are
 * begun, and crowd_wait hands each connection to its `answered` once its
 * answer is there.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>

typedef struct wire wire;

struct wire {
    int fd;
    void (*answered)(wire *w); /* in a crowd; may begin the next call */
    char *request;             /* room for a head, then the body */
    size_t request_capacity;
    size_t sent;
    size_t unsent;
    char *answer; /* the last one, head and body, with a NUL behind */
    size_t capacity;
    size_t have;
    size_t whole; /* its length; 0 as long as its head isn't there */
    int due;      /* an answer is; 0 before the first call and after it */
    int status;
    char *body; /* in it */
};

void wire_open(wire *w, int64_t port);
void wire_close(wire *w);

/* Where to write a body of at most so many bytes. */
char *wire_body(wire *w, size_t most);

/* Call "METHOD /path" below /api/v1 with the body that was written; gives the
 * status. */
int wire_call(wire *w, const char *method, const char *path, size_t length);

/* The same without waiting for the answer, in a crowd. */
void wire_begin(wire *w, const char *method, const char *path, size_t length);

/* What follows `key` in the text at `from`; NULL if it isn't there. */
const char *wire_find(const char *from, const char *key);

typedef struct crowd {
    int epoll_fd;
} crowd;

void crowd_open(crowd *c);
void crowd_close(crowd *c);

/* Open a connection that belongs to the crowd until it is closed. */
void crowd_join(crowd *c, wire *w, int64_t port);

/* Wait for answers, so long at most; -1 is for ever. */
void crowd_wait(crowd *c, int timeout_ms);

#endif
