/* SPDX-License-Identifier: MIT */
/* What the load generators share: clocks, arguments, samples, the end. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stddef.h>
#include <stdint.h>

/* Of the monotonic clock; of this process with all its threads. */
double bench_seconds(void);
double bench_own_cpu(void);

/* Say why on stderr and exit with 1. */
_Noreturn void bench_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* The same with what errno says. */
_Noreturn void bench_fail_errno(const char *what);

/* The value of --NAME in the arguments, or what is given for its absence; a
 * NULL or negative one means that it must be there. */
const char *bench_text(char **argv, const char *name, const char *absent);
int64_t bench_number(char **argv, const char *name, int64_t absent);

/* The value below which the share `q` of the values lies; sorts them. */
double bench_quantile(double *values, size_t count, double q);

/* A UUIDv7 with its NUL, as the server makes them. */
void bench_uuid(char out[37]);

/*
 * One sample for the driver: a line of JSON on stdout with its name and
 * figures, which are pairs of a name and a double; NULL ends them.
 */
void bench_sample(const char *name, ...);

#endif
