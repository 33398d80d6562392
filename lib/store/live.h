/* SPDX-License-Identifier: MIT */
/*
 * Live output of a store that one program has for itself, in its memory: who
 * wants which job's output, and the last pieces of it. Bounded by the number
 * of jobs that are followed. Any thread.
 */
#ifndef EX_STORE_LIVE_H
#define EX_STORE_LIVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "store.h"

typedef struct ex_live_job ex_live_job;

typedef struct ex_live_memory {
    pthread_mutex_t lock;
    atomic_int count; /* of jobs: a look without the lock */
    ex_live_job *jobs;
} ex_live_memory;

void ex_live_open(ex_live_memory *live);
void ex_live_close(ex_live_memory *live);

executr_status ex_live_follow(
    ex_live_memory *live, const ex_uuid *id, int64_t for_ms,
    executr_error *err) EXECUTR_CHECKED;
int32_t ex_live_is_followed(ex_live_memory *live, const ex_uuid *id);

/* Put a piece of the attempt under way; its fence was checked. */
executr_status ex_live_put(
    ex_live_memory *live, const ex_piece *piece, int32_t attempt,
    int32_t *followed, executr_error *err) EXECUTR_CHECKED;

/* The next pieces, into out->pieces. */
void ex_live_read(
    ex_live_memory *live, const ex_uuid *id, int32_t attempt,
    const int64_t from[2], ex_view *out);

/* Forget what nobody follows any more. */
void ex_live_sweep(ex_live_memory *live);

#endif
