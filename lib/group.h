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
 * Run a batch; called on one of the waiting callers' threads, at most
 * `parallel` at a time. Results of single items belong into the items. When it
 * returns a failure that may be one item's fault, nothing may have been done,
 * and the group runs each half again, down to single items, so that only the
 * bad one fails; failures that are everyone's (E_UNAVAILABLE, E_TIMEOUT,
 * E_NOMEM) go to all at once.
 */
typedef executr_status (*ex_group_run)(
    void *ctx, void *const *items, size_t count, executr_error *err);

/* `weigh` gives an item's size (NULL: 1). A batch stops growing at `limit`, or
 * at EX_GROUP_MAX items; a heavier item makes a batch of its own. A second
 * batch runs beside the first only when a good part of `limit` waits, or when
 * somebody waited for 20 ms. */
#define EX_GROUP_MAX 512
executr_status ex_group_open(
    ex_group_run run, void *ctx, int32_t parallel, size_t limit,
    size_t (*weigh)(const void *item), ex_group **out,
    executr_error *err) EXECUTR_CHECKED;

/* Hand in an item and return after the batch that held it, with the status of
 * that run. Any thread. */
executr_status ex_group_call(ex_group *group, void *item, executr_error *err)
    EXECUTR_CHECKED;

/* No call may be under way. NULL is fine. */
void ex_group_free(ex_group *group);

#endif
