/* SPDX-License-Identifier: MIT */
/* The only way to memory. Arenas serve objects that die together. */
#ifndef EX_BASE_ALLOC_H
#define EX_BASE_ALLOC_H

#include <executr/base.h>

/* Zeroed memory, or EXECUTR_E_NOMEM with *out NULL. Never of size 0. */
executr_status ex_alloc(void **out, size_t size, executr_error *err)
    EXECUTR_CHECKED;

/* count * size zeroed bytes, overflow checked; count 0 gives one item. */
executr_status ex_alloc_array(
    void **out, size_t count, size_t size, executr_error *err) EXECUTR_CHECKED;

/* Resize in place; on failure *memory is unchanged. New bytes are not set. */
executr_status ex_realloc(void **memory, size_t size, executr_error *err)
    EXECUTR_CHECKED;

executr_status ex_strdup(char **out, const char *text, executr_error *err)
    EXECUTR_CHECKED;

void ex_free(void *memory);

/*
 * Test hook: the n-th allocation from now fails (1 is the next), 0 switches
 * off. Returns how many allocations were made since the last call. Process
 * wide; for single-threaded fault tests.
 */
uint64_t ex_alloc_fail_at(uint64_t n);

/*
 * An arena hands out memory that is freed all at once. It starts as
 * EX_ARENA_INIT (all zero); it must not be used by two threads at a time.
 */
typedef struct ex_arena {
    struct ex_arena_block *blocks;
} ex_arena;

/* clang-format off */
#define EX_ARENA_INIT {NULL}
/* clang-format on */

/* `size` zeroed bytes, aligned for anything; NULL when memory is out. */
void *ex_arena_get(ex_arena *arena, size_t size);

/* A copy of `length` bytes and a NUL behind them; NULL when memory is out. */
char *ex_arena_copy(ex_arena *arena, const void *data, size_t length);

/* A copy of a string; NULL for NULL text or when memory is out. */
char *ex_arena_strdup(ex_arena *arena, const char *text);

void ex_arena_clear(ex_arena *arena);

#endif
