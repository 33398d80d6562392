/* SPDX-License-Identifier: MIT */
/* Clocks, RFC 3339 and durations. Moments are µs since 1970 UTC. */
#ifndef EX_BASE_TIME_H
#define EX_BASE_TIME_H

#include "base/buf.h"

int64_t ex_now_us(void);       /* wall clock */
int64_t ex_monotonic_us(void); /* never steps; only differences mean anything */
int64_t ex_boottime_us(void);  /* the same, but goes on while suspended */

#define EX_TIME_TEXT 28 /* 2026-01-01T12:00:00.123456Z and NUL */
void ex_time_format(int64_t us, char out[EX_TIME_TEXT]);
/* Any RFC 3339 text with up to 9 fraction digits and Z or an offset; 0, or
 * -1. */
int ex_time_parse(const char *text, int64_t *us);

/*
 * A duration such as 300ms, 5s, 10m, 1h30m, 168h, 1.5s: milliseconds in *out,
 * 0 returned; -1 for anything else, negative ones and what exceeds 100 years.
 */
int ex_duration_parse(const char *text, int64_t *ms);

/* Such a text for `ms` without empty parts, 0s for 0 and less; `out` has at
 * least 32 bytes. */
void ex_duration_format(int64_t ms, char *out, size_t size);

#endif
