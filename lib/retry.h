/* SPDX-License-Identifier: MIT */
/* Back-off and lease arithmetic; pure functions of their arguments. */
#ifndef EX_RETRY_H
#define EX_RETRY_H

#include <stdint.h>

/*
 * The delay before retry number `retry` (1 is the first): base doubled each
 * time, at most `max`, of which `random` (0 to 1) takes away up to half, so
 * that jobs which failed together don't come back together. Milliseconds.
 */
int64_t ex_retry_delay_ms(
    int32_t retry, int64_t base_ms, int64_t max_ms, double random);

#define EX_RETRY_STEPS 24

/* The delays of retries 1 to EX_RETRY_STEPS with fresh randomness; a later
 * retry uses the last. */
void ex_retry_table(
    int64_t base_ms, int64_t max_ms, uint64_t seed,
    int64_t out[EX_RETRY_STEPS]);

/* When a lease last extended at `extended_us` ends. */
int64_t ex_lease_end_us(int64_t extended_us, int64_t timeout_ms);

/*
 * Full jitter for reconnects: between 0 and min(max, base * 2^failures)
 * milliseconds.
 */
int64_t ex_reconnect_delay_ms(
    int32_t failures, int64_t base_ms, int64_t max_ms, double random);

#endif
