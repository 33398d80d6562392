/* SPDX-License-Identifier: MIT */
/* What the files of live output share. */
#ifndef EX_QUEUE_LIVE_H
#define EX_QUEUE_LIVE_H

#include "queue.h"

/*
 * What one follower was told of one stream of the attempt it is at. The bytes
 * from `from` to `next` came without a gap; `sum` is over them, so that they
 * can be found again in a text without being kept.
 */
typedef struct ex_told {
    int32_t stream; /* 1, 2; 0: not wanted */
    int64_t next;
    int64_t from;
    uint64_t sum;
    int32_t inside; /* the last byte ended no line */
} ex_told;

typedef struct ex_teller {
    executr_output_write write;
    void *ctx;
    int32_t attempt;
    ex_told told[2];
} ex_teller;

void ex_told_begin(ex_told *told, int64_t offset);

/* Tell bytes that stand at `offset`: those not told yet, and of bytes that are
 * missing before them that they are. */
executr_status ex_tell(
    ex_teller *teller, ex_told *told, int64_t offset, const char *data,
    size_t length, executr_error *err) EXECUTR_CHECKED;

/* Tell the rest out of the output that was kept of the attempt. */
executr_status ex_tell_rest(
    ex_teller *teller, ex_told *told, const char *text, size_t length,
    executr_error *err) EXECUTR_CHECKED;

#endif
