/* SPDX-License-Identifier: MIT */
/*
 * What the server counts, and its text in the Prometheus format. Any thread.
 * Label values are bounded: the first 100 job types have series of their own,
 * all others are counted as type "_other".
 */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <executr/queue.h>

#include "base/buf.h"

typedef struct metrics metrics;

executr_status metrics_open(metrics **out, executr_error *err) EXECUTR_CHECKED;
void metrics_free(metrics *m);

/* The hook that counts what a queue does. */
executr_events metrics_events(metrics *m);

/* One request to the route with this pattern took so long. */
void metrics_request(
    metrics *m, const char *method, const char *pattern, int64_t us);

/* Everything as text. `stats` NULL: the store is away, its gauges are left
 * out. */
void metrics_write(
    metrics *m, const executr_stats *stats, int32_t connections_active,
    ex_buf *out);

#endif
