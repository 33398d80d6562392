/* SPDX-License-Identifier: MIT */
/*
 * Groups concurrent calls: while one batch is under way, calls gather, and the
 * next batch takes all of them. No timer, no waiting when idle: a lone call is
 * a batch of one and runs on its caller's thread.
 */
#ifndef EX_GROUP_H
#define EX_GROUP_H

#include "base/alloc.h"

typedef struct ex_group ex_group;

/*
 * Run a batch; called by one of the waiting callers' threads, at most
 * `parallel` at a time. It must set results[i] for each item. When it returns
 * a failure that may be one item's fault, the group runs each half again, down
 * to single items, so that only the bad one fails; failures that are everyone's
 * (E_UNAVAILABLE, E_TIMEOUT, E_NOMEM) go to all at once.
 */
typedef executr_status (*ex_group_run)(
    void *ctx, void *const *items, size_t count, executr_error *err);

/* `weigh` gives an item's size (NULL: 1); a batch stops growing at `limit`. */
executr_status ex_group_open(
    ex_group_run run, void *ctx, int32_t parallel, size_t limit,
    size_t (*weigh)(const void *item), ex_group **out, executr_error *err)
    EXECUTR_CHECKED;

/* Hand in an item and return after the batch that held it. */
executr_status ex_group_call(ex_group *group, void *item, executr_error *err)
    EXECUTR_CHECKED;

void ex_group_free(ex_group *group);

#endif
