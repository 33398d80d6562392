/* SPDX-License-Identifier: MIT */
/*
 * A store in memory for tests of the queue: just enough to submit, claim and
 * upload, with counters of what it was asked and a switch that makes it fail.
 */
#ifndef TEST_SUPPORT_MEMORY_STORE_H
#define TEST_SUPPORT_MEMORY_STORE_H

#include <pthread.h>

#include "store.h"

#define MEMORY_JOBS_MAX 20000

typedef struct memory_job {
    ex_uuid id;
    char type[64];
    int32_t priority;
    uint32_t demands;
    int32_t claimed;
} memory_job;

typedef struct memory_store {
    executr_store base;
    pthread_mutex_t lock;
    memory_job jobs[MEMORY_JOBS_MAX];
    size_t job_count;
    executr_status failing; /* every call fails like this */
    int32_t declines;       /* all jobs go through the queue */
    /* What it was asked: */
    size_t submit_calls;
    size_t claim_requests;
    size_t upkeeps;
    size_t reaps;
    size_t cleanups;
    /* What it answers: */
    ex_upkeep upkeep;
    int64_t deleted; /* by each of the next cleanups */
    size_t full_cleanups;
    int32_t told;   /* by the next watch */
    int32_t parked; /* what the last watch was told */
    /* The one upload: */
    ex_uuid upload;
    ex_buf uploaded;
    int32_t open_uploads;
    char binary[65]; /* the one stored */
} memory_store;

memory_store *memory_store_open(void);
void memory_store_free(memory_store *store);

/* Read or write a field under the store's lock. */
size_t memory_store_read(memory_store *store, const size_t *field);
void memory_store_fail(memory_store *store, executr_status status);

/* Put a job in without anyone hearing of it. */
void memory_store_slip_in(memory_store *store, const char *type);

#endif
