/* SPDX-License-Identifier: MIT */
/* Claims that wait, on threads of their own, at a queue on a store in memory.
 * A wait of a minute that ends within the test's time limit was woken. */
#ifndef TEST_SUPPORT_CLAIMS_H
#define TEST_SUPPORT_CLAIMS_H

#include <pthread.h>

#include "queue.h"
#include "support/memory_store.h"

#define LONG_MS 60000

extern memory_store *store;
extern executr_queue *queue;

void open_queue(executr_queue_options options);
void open_default(void);
void close_all(void);

/* `count` jobs of a type, at most 100, in one call; its status. */
executr_status try_submit(const char *type, size_t count);
void submit_many(const char *type, size_t count);

/* A claim on a thread of its own. */
typedef struct waiting {
    pthread_t thread;
    const char *type;
    int32_t max_jobs;
    uint32_t offers;
    int64_t wait_ms;
    executr_status status;
    size_t got;
    executr_jobs **keep; /* where its jobs go; NULL: they are freed */
    char got_type[64];
} waiting;

void *claim_in_thread(void *ctx);
/* Start them, and wait until they sleep. */
void start(waiting *all, size_t count);
/* Wait for their ends: how many jobs they got. */
size_t finish(waiting *all, size_t count);
int64_t asleep(void);

#endif
