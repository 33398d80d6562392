/* SPDX-License-Identifier: MIT */
/* A runner with options of a test, and the program that tries to get out. */
#ifndef TEST_SUPPORT_ATTACK_H
#define TEST_SUPPORT_ATTACK_H

#include <executr/runner.h>
#include <stdint.h>

extern executr_runner_options options; /* of the next open_it */

/* .init and .fini */
void prepare_attack(void);
void close_attack(void);

void open_it(void);

/* 1, said aloud, if this is not root or if the machine can't have the level;
 * the runner is open then. */
int needs_root(void);
int lacks(int32_t level);

/* What the attacker, or a copy of it, says to these tries, on a level. */
const char *attack_at(int32_t level, const char *const *tries);
const char *attack_by(
    const char *path, int32_t level, const char *const *tries);

/* One of its lines, or of any text. */
void expect_line(const char *out, const char *format, ...);

#endif
