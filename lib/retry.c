/* SPDX-License-Identifier: MIT */
/* Back-off and lease arithmetic; hides how numbers are kept from wrapping. */
#include "retry.h"

/* base * 2^times, at most `max`. */
static int64_t doubled(int64_t base, int32_t times, int64_t max)
{
    int64_t value = base < 0 ? 0 : base;

    if (max < 0)
        max = 0;
    for (; times > 0 && value > 0 && value < max; times--)
        value = value > max / 2 ? max : value * 2;
    return value < max ? value : max;
}

/* The part `fraction`, held between 0 and 1, of `whole`. */
static int64_t part_of(int64_t whole, double fraction)
{
    if (!(fraction > 0))
        return 0;
    if (fraction >= 1)
        return whole;
    int64_t part = (int64_t)((double)whole * fraction);
    return part < whole ? part : whole;
}

int64_t ex_retry_delay_ms(
    int32_t retry, int64_t base_ms, int64_t max_ms, double random)
{
    int64_t delay = doubled(base_ms, retry - 1, max_ms);
    return delay - part_of(delay / 2, random);
}

/* splitmix64: any seed gives well mixed numbers, the first one too. */
static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void ex_retry_table(
    int64_t base_ms, int64_t max_ms, uint64_t seed, int64_t out[EX_RETRY_STEPS])
{
    for (int32_t i = 0; i < EX_RETRY_STEPS; i++) {
        double random = (double)(next_random(&seed) >> 11) * 0x1p-53;
        out[i] = ex_retry_delay_ms(i + 1, base_ms, max_ms, random);
    }
}

int64_t ex_lease_end_us(int64_t extended_us, int64_t timeout_ms)
{
    if (timeout_ms > (INT64_MAX - extended_us) / 1000)
        return INT64_MAX;
    return extended_us + timeout_ms * 1000;
}

int64_t ex_reconnect_delay_ms(
    int32_t failures, int64_t base_ms, int64_t max_ms, double random)
{
    return part_of(doubled(base_ms, failures, max_ms), random);
}
