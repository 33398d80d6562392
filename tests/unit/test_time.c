/* SPDX-License-Identifier: MIT */
/* RFC 3339 against the C library's calendar, and durations. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/time.h"

Test(time_format, writes_microseconds_in_utc)
{
    char text[EX_TIME_TEXT];

    ex_time_format(INT64_C(1767268800123456), text);
    cr_expect_str_eq(text, "2026-01-01T12:00:00.123456Z");
    ex_time_format(0, text);
    cr_expect_str_eq(text, "1970-01-01T00:00:00.000000Z");
    ex_time_format(-1, text);
    cr_expect_str_eq(text, "1969-12-31T23:59:59.999999Z");
}

Test(time_format, stays_within_four_digit_years)
{
    char text[EX_TIME_TEXT];

    ex_time_format(INT64_MIN, text);
    cr_expect_str_eq(text, "0000-01-01T00:00:00.000000Z");
    ex_time_format(INT64_MAX, text);
    cr_expect_str_eq(text, "9999-12-31T23:59:59.999999Z");
}

Test(time_format, agrees_with_the_c_library_on_every_day)
{
    /* 0000-01-01 to 9999-12-31 */
    for (int64_t day = -719528; day <= 2932896; day++) {
        time_t seconds = (time_t)(day * 86400 + 86399);
        struct tm parts;
        char text[EX_TIME_TEXT];
        char wanted[80];
        cr_assert_not_null(gmtime_r(&seconds, &parts));
        snprintf(
            wanted, sizeof wanted, "%04d-%02d-%02dT23:59:59.000001Z",
            parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
        ex_time_format((int64_t)seconds * 1000000 + 1, text);
        int64_t back = 0;
        if (strcmp(text, wanted) != 0 || ex_time_parse(text, &back) != 0 ||
            back != (int64_t)seconds * 1000000 + 1)
            cr_assert_fail("day %lld is %s", (long long)day, text);
    }
}

static int64_t parsed(const char *text)
{
    int64_t us = -42;

    cr_expect_eq(ex_time_parse(text, &us), 0, "%s", text);
    return us;
}

Test(time_parse, takes_any_rfc_3339)
{
    const int64_t noon = INT64_C(1767268800000000);

    cr_expect_eq(parsed("2026-01-01T12:00:00Z"), noon);
    cr_expect_eq(parsed("2026-01-01t12:00:00z"), noon);
    cr_expect_eq(parsed("2026-01-01T13:30:00+01:30"), noon);
    cr_expect_eq(parsed("2025-12-31T23:00:00-13:00"), noon);
    cr_expect_eq(parsed("2026-01-01T12:00:00.5Z"), noon + 500000);
    cr_expect_eq(parsed("2026-01-01T12:00:00.123456789Z"), noon + 123456);
    cr_expect_eq(parsed("2016-12-31T23:59:60Z"), INT64_C(1483228800000000));
}

Test(time_parse, refuses_what_is_no_moment)
{
    const char *const bad[] = {
        "",
        "2026",
        "2026-01-01",
        "2026-01-01 12:00:00Z",
        "2026-01-01T12:00:00",
        "2026-01-01T12:00Z",
        "2026-13-01T12:00:00Z",
        "2026-00-01T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2100-02-29T12:00:00Z",
        "2026-01-32T12:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T12:60:00Z",
        "2026-01-01T12:00:61Z",
        "2026-01-01T12:00:00.Z",
        "2026-01-01T12:00:00.1234567890Z",
        "2026-01-01T12:00:00Z ",
        "2026-01-01T12:00:00+1:00",
        "2026-01-01T12:00:00+24:00",
        "+026-01-01T12:00:00Z",
        "2026-1-01T12:00:00Z"};
    int64_t us = 5;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_eq(ex_time_parse(bad[i], &us), -1, "%s", bad[i]);
    cr_expect_eq(us, 5);
}

static int64_t duration(const char *text)
{
    int64_t ms = -42;

    cr_expect_eq(ex_duration_parse(text, &ms), 0, "%s", text);
    return ms;
}

Test(time_parse, refuses_moments_that_can_not_be_written)
{
    int64_t us;
    const char *const outside[] = {
        "0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59.9-00:01",
        "9999-12-31T23:59:60Z"};

    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        cr_expect_eq(ex_time_parse(outside[i], &us), -1, "%s", outside[i]);
    cr_expect_eq(ex_time_parse("0000-01-01T00:00:00Z", &us), 0);
    cr_expect_eq(ex_time_parse("9999-12-31T23:59:59.999999Z", &us), 0);
}

Test(duration_parse, takes_units_and_fractions)
{
    cr_expect_eq(duration("300ms"), 300);
    cr_expect_eq(duration("5s"), 5000);
    cr_expect_eq(duration("10m"), 600000);
    cr_expect_eq(duration("1h30m"), 5400000);
    cr_expect_eq(duration("168h"), INT64_C(604800000));
    cr_expect_eq(duration("1.5s"), 1500);
    cr_expect_eq(duration("0.25h"), 900000);
    cr_expect_eq(duration("1h2m3s4ms"), 3723004);
    cr_expect_eq(duration("0s"), 0);
    cr_expect_eq(duration("0"), 0);
    cr_expect_eq(duration("876600h"), INT64_C(3155760000000));
    cr_expect_eq(duration("876599.999h"), INT64_C(3155759996400));
}

Test(duration_parse, refuses_anything_else)
{
    const char *const bad[] = {
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        "5 s",
        " 5s",
        "5s ",
        "1.s",
        ".5s",
        "1.5",
        "5d",
        "5sm",
        "5ss",
        "5s5s",
        "5s1m",
        "1e3s",
        "0.1ms",
        "0.0001s",
        "0x5s",
        "876601h",
        "876600h1ms",
        "3155760000001ms",
        "99999999999999999999999h",
        "9223372036854775807ms",
        "0.00000000000000000000001h"};
    int64_t ms = 5;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_eq(ex_duration_parse(bad[i], &ms), -1, "%s", bad[i]);
    cr_expect_eq(ms, 5);
}

static void expect_duration(int64_t ms, const char *wanted)
{
    char text[32];

    ex_duration_format(ms, text, sizeof text);
    cr_expect_str_eq(text, wanted);
}

Test(duration_format, leaves_out_empty_parts)
{
    expect_duration(0, "0s");
    expect_duration(-5, "0s");
    expect_duration(300, "300ms");
    expect_duration(1500, "1.5s");
    expect_duration(20000, "20s");
    expect_duration(90000, "1m30s");
    expect_duration(604800000, "168h");
    expect_duration(3723004, "1h2m3.004s");
}

Test(duration_format, is_read_back_the_same)
{
    for (int64_t ms = 1; ms < INT64_C(3155760000000); ms = ms * 3 + 1) {
        char text[32];
        ex_duration_format(ms, text, sizeof text);
        cr_expect_eq(duration(text), ms);
    }
}

Test(clocks, go_forward_and_agree_with_the_system)
{
    int64_t first = ex_monotonic_us();

    cr_expect_geq(ex_monotonic_us(), first);
    int64_t before = (int64_t)time(NULL);
    int64_t now = ex_now_us() / 1000000;
    cr_expect(now >= before - 1 && now <= (int64_t)time(NULL) + 1);
}
