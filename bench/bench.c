/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

double bench_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

double bench_own_cpu(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

_Noreturn void bench_fail(const char *format, ...)
{
    va_list args;

    fputs("bench: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

_Noreturn void bench_fail_errno(const char *what)
{
    bench_fail("%s: %s", what, strerror(errno));
}

const char *bench_text(char **argv, const char *name, const char *absent)
{
    for (char **at = argv + 1; at[0]; at++) {
        if (strncmp(at[0], "--", 2) == 0 && strcmp(at[0] + 2, name) == 0)
            return at[1] ? at[1] : "";
    }
    if (!absent)
        bench_fail("--%s is missing", name);
    return absent;
}

int64_t bench_number(char **argv, const char *name, int64_t absent)
{
    char *end = NULL;

    const char *text = bench_text(argv, name, absent < 0 ? NULL : "");
    if (!text[0])
        return absent;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end || value < 0)
        bench_fail("--%s is '%s', but must be a number", name, text);
    return value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t count, double q)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, compare);
    size_t at = (size_t)((double)count * q);
    return values[at < count ? at : count - 1];
}

void bench_uuid(char out[37])
{
    struct timespec now;
    uint64_t chance[2];

    clock_gettime(CLOCK_REALTIME, &now);
    if (getrandom(chance, sizeof chance, 0) != sizeof chance)
        bench_fail_errno("cannot get random bytes");
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    snprintf(
        out, 37, "%08llx-%04llx-7%03llx-%04llx-%012llx",
        (unsigned long long)(ms >> 16 & 0xffffffff),
        (unsigned long long)(ms & 0xffff),
        (unsigned long long)(chance[0] & 0xfff),
        (unsigned long long)(0x8000 | (chance[0] >> 16 & 0x3fff)),
        (unsigned long long)(chance[1] >> 16));
}

void bench_sample(const char *name, ...)
{
    va_list args;

    printf("{\"sample\": \"%s\"", name);
    va_start(args, name);
    const char *figure = va_arg(args, const char *);
    for (; figure; figure = va_arg(args, const char *))
        printf(", \"%s\": %.9g", figure, va_arg(args, double));
    va_end(args);
    puts("}");
    fflush(stdout);
}
