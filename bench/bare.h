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

/* How children are made. Without posix_spawn the loop spares what that does for
 * signals: no runner can be faster than VFORK, and none that gives each program
 * a session of its own faster than SESSION. */
enum {
    BARE_SPAWN,
    BARE_VFORK,
    BARE_SESSION
};

/* Run `program` so often; the current directory is where directories are
 * made. */
void bare_loop(const char *program, int64_t jobs, int64_t concurrency, int how);

#endif
