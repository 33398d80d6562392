/* SPDX-License-Identifier: MIT */
/* Clocks, RFC 3339 and durations; hides the calendar. */
#include "base/time.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND_US INT64_C(1000000)
#define DAY_US (INT64_C(86400) * SECOND_US)
#define FIRST_US (INT64_C(-62167219200) * SECOND_US)    /* 0000-01-01 */
#define LAST_US (INT64_C(253402300800) * SECOND_US - 1) /* the end of 9999 */
#define LONGEST_MS INT64_C(3155760000000)               /* 100 years */

static int64_t clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * SECOND_US + now.tv_nsec / 1000;
}

int64_t ex_now_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t ex_monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t ex_boottime_us(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

/*
 * The calendar counts from 0000-03-01, so that the leap day ends a year, in
 * eras of 400 years (146,097 days); 1970-01-01 is day 719,468 of it.
 */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    if (month <= 2)
        year--;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_of_days(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                           day_of_era / 146096) /
                          365;
    int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153; /* 0 is March */
    *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

/* `count` decimal digits of `value`, leading zeroes and all. */
static void put_digits(char *out, int64_t value, int count)
{
    while (count-- > 0) {
        out[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

void ex_time_format(int64_t us, char out[EX_TIME_TEXT])
{
    int64_t year;
    int month;
    int day;

    if (us < FIRST_US)
        us = FIRST_US;
    if (us > LAST_US)
        us = LAST_US;
    int64_t days = us / DAY_US - (us % DAY_US < 0);
    int64_t rest = us - days * DAY_US;
    int64_t seconds = rest / SECOND_US;
    date_of_days(days, &year, &month, &day);
    memcpy(out, "0000-00-00T00:00:00.000000Z", EX_TIME_TEXT);
    put_digits(out, year, 4);
    put_digits(out + 5, month, 2);
    put_digits(out + 8, day, 2);
    put_digits(out + 11, seconds / 3600, 2);
    put_digits(out + 14, seconds / 60 % 60, 2);
    put_digits(out + 17, seconds % 60, 2);
    put_digits(out + 20, rest % SECOND_US, 6);
}

/* Reads exactly `count` digits of a value from `min` to `max`; -1 if not. */
static int take_digits(const char **at, int count, int min, int max, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return -1;
        *value = *value * 10 + (**at - '0');
    }
    return *value < min || *value > max ? -1 : 0;
}

static int take_char(const char **at, const char *accepted)
{
    if (!**at || !strchr(accepted, **at))
        return -1;
    (*at)++;
    return 0;
}

static int days_in_month(int year, int month)
{
    static const int8_t days[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

static int take_date(const char **at, int64_t *days)
{
    int year;
    int month;
    int day;

    if (take_digits(at, 4, 0, 9999, &year) || take_char(at, "-") ||
        take_digits(at, 2, 1, 12, &month) || take_char(at, "-") ||
        take_digits(at, 2, 1, days_in_month(year, month), &day))
        return -1;
    *days = days_of_date(year, month, day);
    return 0;
}

/* Microseconds of a fraction of 1 to 9 digits, or 0 if none stands here. */
static int take_fraction(const char **at, int64_t *us)
{
    int digits = 0;
    int64_t unit = SECOND_US / 10;

    *us = 0;
    if (**at != '.')
        return 0;
    for ((*at)++; **at >= '0' && **at <= '9'; (*at)++, digits++) {
        *us += (**at - '0') * unit;
        unit /= 10;
    }
    return digits < 1 || digits > 9 ? -1 : 0;
}

static int take_offset(const char **at, int64_t *minutes)
{
    int hour;
    int minute;

    *minutes = 0;
    if (take_char(at, "Zz") == 0)
        return 0;
    int sign = **at == '-' ? -1 : 1;
    if (take_char(at, "+-") || take_digits(at, 2, 0, 23, &hour) ||
        take_char(at, ":") || take_digits(at, 2, 0, 59, &minute))
        return -1;
    *minutes = sign * (hour * 60 + minute);
    return 0;
}

int ex_time_parse(const char *text, int64_t *us)
{
    int64_t days;
    int64_t fraction;
    int64_t offset;
    int hour;
    int minute;
    int second; /* 60 is a leap second and counts as the next one */

    if (take_date(&text, &days) || take_char(&text, "Tt") ||
        take_digits(&text, 2, 0, 23, &hour) || take_char(&text, ":") ||
        take_digits(&text, 2, 0, 59, &minute) || take_char(&text, ":") ||
        take_digits(&text, 2, 0, 60, &second) ||
        take_fraction(&text, &fraction) || take_offset(&text, &offset) || *text)
        return -1;
    int64_t moment = days * DAY_US +
                     ((hour * 60 + minute - offset) * 60 + second) * SECOND_US +
                     fraction;
    if (moment < FIRST_US || moment > LAST_US) /* has no text of ours */
        return -1;
    *us = moment;
    return 0;
}

/* Longest first; each may stand once, in this order. */
static const struct {
    const char *name;
    int64_t ms;
} units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

#define UNIT_COUNT (sizeof units / sizeof units[0])

/* A decimal number as value / scale, where scale is a power of ten. */
static int take_decimal(const char **at, int64_t *value, int64_t *scale)
{
    const char *start = *at;

    *value = 0;
    *scale = 1;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        if (*value > LONGEST_MS)
            return -1;
        *value = *value * 10 + (**at - '0');
    }
    if (*at == start || **at != '.')
        return *at == start ? -1 : 0;
    start = ++*at;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        if (*value > LONGEST_MS || *scale >= 1000000)
            return -1;
        *value = *value * 10 + (**at - '0');
        *scale *= 10;
    }
    return *at == start ? -1 : 0;
}

/* The unit at `at` among those from `first` on, or UNIT_COUNT. */
static size_t take_unit(const char **at, size_t first)
{
    size_t letters = strspn(*at, "hms");

    for (size_t i = first; i < UNIT_COUNT; i++) {
        if (strlen(units[i].name) == letters &&
            strncmp(*at, units[i].name, letters) == 0) {
            *at += letters;
            return i;
        }
    }
    return UNIT_COUNT;
}

int ex_duration_parse(const char *text, int64_t *ms)
{
    int64_t total = 0;
    size_t unit = 0;

    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return 0;
    }
    do {
        int64_t value;
        int64_t scale;
        if (take_decimal(&text, &value, &scale))
            return -1;
        unit = take_unit(&text, unit);
        if (unit == UNIT_COUNT || value / scale > LONGEST_MS / units[unit].ms)
            return -1;
        /* These products stay below (LONGEST_MS + 3600000) * 1000000, inside
         * 64 bits. A part of a millisecond is refused. */
        if (value * units[unit].ms % scale)
            return -1;
        total += value * units[unit].ms / scale;
        unit++;
        if (total > LONGEST_MS)
            return -1;
    } while (*text);
    *ms = total;
    return 0;
}

void ex_duration_format(int64_t ms, char *out, size_t size)
{
    size_t used = 0;

    if (ms > 0 && ms < 1000) {
        snprintf(out, size, "%" PRId64 "ms", ms);
        return;
    }
    if (ms <= 0) {
        snprintf(out, size, "0s");
        return;
    }
    int64_t hours = ms / 3600000;
    int64_t minutes = ms / 60000 % 60;
    int64_t rest = ms % 60000;
    if (hours)
        used += (size_t)snprintf(out, size, "%" PRId64 "h", hours);
    if (minutes)
        used +=
            (size_t)snprintf(out + used, size - used, "%" PRId64 "m", minutes);
    if (!rest)
        return;
    used += (size_t)snprintf(
        out + used, size - used, "%" PRId64 ".%03" PRId64, rest / 1000,
        rest % 1000);
    while (out[used - 1] == '0')
        used--;
    if (out[used - 1] == '.')
        used--;
    snprintf(out + used, size - used, "s");
}
