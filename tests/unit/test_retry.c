/* SPDX-License-Identifier: MIT */
/* Back-off: doubles, stays below its longest, loses at most half to chance. */
#include <criterion/criterion.h>

#include "retry.h"

Test(retry_delay, doubles_until_the_longest)
{
    cr_expect_eq(ex_retry_delay_ms(1, 1000, 10000, 0), 1000);
    cr_expect_eq(ex_retry_delay_ms(2, 1000, 10000, 0), 2000);
    cr_expect_eq(ex_retry_delay_ms(4, 1000, 10000, 0), 8000);
    cr_expect_eq(ex_retry_delay_ms(5, 1000, 10000, 0), 10000);
    cr_expect_eq(ex_retry_delay_ms(1000, 1000, 10000, 0), 10000);
}

Test(retry_delay, loses_up_to_half_to_chance)
{
    cr_expect_eq(ex_retry_delay_ms(1, 1000, 10000, 0.5), 750);
    cr_expect_eq(ex_retry_delay_ms(1, 1000, 10000, 1), 500);
    cr_expect_eq(ex_retry_delay_ms(3, 1000, 10000, 1), 2000);
}

Test(retry_delay, does_not_wrap)
{
    cr_expect_eq(
        ex_retry_delay_ms(INT32_MAX, INT64_MAX / 2, INT64_MAX, 0), INT64_MAX);
    cr_expect_eq(ex_retry_delay_ms(INT32_MAX, 1, INT64_MAX, 0), INT64_MAX);
    cr_expect_eq(ex_retry_delay_ms(0, 1000, 10000, 0), 1000);
    cr_expect_eq(ex_retry_delay_ms(INT32_MIN + 1, 1000, 10000, 0), 1000);
    cr_expect_eq(ex_retry_delay_ms(3, -5, 10000, 0), 0);
    cr_expect_eq(ex_retry_delay_ms(3, 5, -1, 0), 0);
}

Test(retry_delay, takes_any_random_number)
{
    cr_expect_eq(ex_retry_delay_ms(1, 1000, 10000, -1), 1000);
    cr_expect_eq(ex_retry_delay_ms(1, 1000, 10000, 7), 500);
    cr_expect_eq(ex_retry_delay_ms(1, 1000, 10000, 0.0 / 0.0), 1000);
}

Test(retry_table, holds_each_delay_within_its_bounds)
{
    int64_t table[EX_RETRY_STEPS];

    ex_retry_table(1000, 300000, 42, table);
    for (int32_t i = 0; i < EX_RETRY_STEPS; i++) {
        int64_t most = ex_retry_delay_ms(i + 1, 1000, 300000, 0);
        cr_expect_leq(table[i], most, "retry %d", i + 1);
        cr_expect_geq(table[i], most / 2, "retry %d", i + 1);
    }
}

Test(retry_table, follows_its_seed)
{
    int64_t one[EX_RETRY_STEPS];
    int64_t same[EX_RETRY_STEPS];
    int64_t other[EX_RETRY_STEPS];

    ex_retry_table(1000, 300000, 1, one);
    ex_retry_table(1000, 300000, 1, same);
    ex_retry_table(1000, 300000, 2, other);
    cr_expect_arr_eq(one, same, sizeof one);
    cr_expect_arr_neq(one, other, sizeof one);
}

Test(retry_table, spreads_jobs_that_failed_together)
{
    int64_t low = INT64_MAX;
    int64_t high = 0;

    for (uint64_t seed = 0; seed < 1000; seed++) {
        int64_t table[EX_RETRY_STEPS];
        ex_retry_table(1000, 300000, seed, table);
        low = table[0] < low ? table[0] : low;
        high = table[0] > high ? table[0] : high;
    }
    cr_expect_leq(low, 520);
    cr_expect_geq(high, 980);
}

Test(lease_end, adds_the_timeout)
{
    cr_expect_eq(ex_lease_end_us(1000000, 15000), 16000000);
    cr_expect_eq(ex_lease_end_us(5, INT64_MAX), INT64_MAX);
    cr_expect_eq(ex_lease_end_us(INT64_MAX, 1), INT64_MAX);
}

Test(reconnect_delay, is_between_nothing_and_the_doubled_base)
{
    cr_expect_eq(ex_reconnect_delay_ms(0, 100, 5000, 0), 0);
    cr_expect_eq(ex_reconnect_delay_ms(0, 100, 5000, 1), 100);
    cr_expect_eq(ex_reconnect_delay_ms(3, 100, 5000, 0.5), 400);
    cr_expect_eq(ex_reconnect_delay_ms(INT32_MAX, 100, 5000, 1), 5000);
}

/* Five thousand that lost their server at once come back all over the time that
 * they have, not in a wave: no hundredth of it sees three times its share. */
Test(reconnect_delay, t39_spreads_those_that_were_cut_off_together)
{
    int shares[100] = {0};
    uint64_t state = 1;

    for (int i = 0; i < 5000; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        double chance = (double)(state >> 11) * 0x1p-53;
        int64_t delay = ex_reconnect_delay_ms(10, 100, 5000, chance);
        cr_assert(delay >= 0 && delay <= 5000);
        shares[delay < 5000 ? delay / 50 : 99]++;
    }
    for (int i = 0; i < 100; i++)
        cr_expect(shares[i] > 0 && shares[i] < 150, "%d: %d", i, shares[i]);
}
