/* SPDX-License-Identifier: MIT */
/*
 * The job state machine as a few plain functions over an array: what a store
 * must answer, by the rules alone. It knows no SQL and no time but "silent"
 * and "due".
 */
#ifndef TESTS_STORE_MODEL_H
#define TESTS_STORE_MODEL_H

#include "store.h"

#define MODEL_JOBS 1200
#define MODEL_ATTEMPTS 200
#define MODEL_EXECUTORS 4
#define MODEL_KEYS 12
#define MODEL_TYPES 3

typedef struct model_attempt {
    int32_t status; /* 0: not ended */
    int32_t executor;
} model_attempt;

/* Jobs stand in the order of submission. */
typedef struct model_job {
    ex_uuid id;
    int32_t type;
    int32_t priority;
    uint32_t demands;
    int32_t status;
    int32_t waiting; /* pending, and not claimable yet */
    int32_t executor;
    int32_t silent; /* its lease has run out */
    int32_t attempt;
    int32_t max_retries;
    int32_t retry_count;
    int32_t lost_count;
    int32_t stop; /* told to */
    int32_t key;  /* -1: none */
    int32_t deleted;
    model_attempt attempts[MODEL_ATTEMPTS + 1];
} model_job;

typedef struct model {
    model_job jobs[MODEL_JOBS];
    int32_t count;
    int32_t keys[MODEL_KEYS];    /* job of each key, -1: free */
    int32_t digests[MODEL_KEYS]; /* it was used with */
    int32_t max_lost;
} model;

void model_init(model *m, int32_t max_lost);

/* The job a submission gives, which is the last one if it is new; -1: the key
 * was used for another description. */
int32_t model_submit(model *m, const model_job *job, int32_t digest);

/* The job that was just submitted is an executor's at once. */
void model_take(model *m, int32_t job, int32_t executor);

/* Which jobs a claim gets, in order. Bits of types and priorities. */
int32_t model_claim(
    model *m, int32_t executor, int32_t most, uint32_t types,
    uint32_t priorities, uint32_t offers, int32_t out[]);

/* OK, E_LOST or E_NOT_FOUND; *repeated as in ex_finish. */
executr_status model_finish(
    model *m, int32_t job, int32_t executor, const executr_report *report,
    int32_t *repeated);

int32_t model_verdict(
    const model *m, int32_t job, int32_t executor, int32_t attempt);
void model_extend(model *m, int32_t job);
/* A whole heartbeat: extends all of an executor, then gives back those whose
 * `named` is 0. */
void model_beat(model *m, int32_t executor, const int32_t named[MODEL_JOBS]);
void model_goodbye(model *m, int32_t executor);

executr_status model_cancel(model *m, int32_t job);
executr_status model_retry(model *m, int32_t job);

/* -1 executor: all. */
void model_silence(model *m, int32_t executor);
/* How many timed out, and how many of them failed for good. */
int32_t model_reap(model *m, int32_t *failed);
int32_t model_due(model *m);
/* Delete what is finished; how many. */
int32_t model_clean(model *m);

#endif
