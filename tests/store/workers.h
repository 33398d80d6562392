/* SPDX-License-Identifier: MIT */
/*
 * Work done by many at once on one database: by processes with a store each
 * where a database may be shared, else by threads on one handle.
 */
#ifndef TESTS_STORE_WORKERS_H
#define TESTS_STORE_WORKERS_H

#include "store/suite.h"

/* What a worker tells: it travels through a pipe in one piece. */
typedef struct fact {
    int32_t worker;
    int32_t kind;
    int32_t number;
    int32_t attempt;
    ex_uuid id;
} fact;

/* Returns 0 if all went well. Must not use `store`, `err` or assertions: it
 * runs in another process or thread. */
typedef int (*work)(executr_store *store, int worker, int out);

/* Run `count` workers and gather what they tell, up to `limit` facts. */
size_t run_workers(work run, int count, fact *facts, size_t limit);

/* 0 if it was written. */
int tell(int out, const fact *one);

/* The next fact, or 0 at the end or after `timeout_ms` (-1: wait). */
int hear(int in, int timeout_ms, fact *one);

#endif
