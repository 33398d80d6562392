/* SPDX-License-Identifier: MIT */
/*
 * For a program whose workers have a server and never a queue beside them: it
 * stands before the static library at link time, so source_queue.c is not
 * taken out of that, nor the queue and the stores with their libraries.
 */
#include "base/fail.h"
#include "source.h"

executr_status ex_source_queue_open(
    executr_queue *queue, const executr_log *log,
    const ex_source_events *events, ex_source **out, executr_error *err)
{
    (void)queue;
    (void)log;
    (void)events;
    *out = NULL;
    return ex_fail(
        err, EXECUTR_E_UNSUPPORTED, "this program has no queue of its own");
}
