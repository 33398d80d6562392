/* SPDX-License-Identifier: MIT */
/*
 * The limit for a runner: a loop that starts programs by posix_spawn, each
 * with pipes for both outputs and a directory of its own, and keeps so many
 * under way. It promises nothing beyond that: no session, no kill, no care for
 * more output than a pipe holds.
 */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include <stdint.h>

/* Run `program` so often; the current directory is where directories are
 * made. With `by_vfork` the loop makes its children itself, which spares what
 * posix_spawn does for signals: no runner can be faster than that. */
void bare_loop(
    const char *program, int64_t jobs, int64_t concurrency, int by_vfork);

#endif
