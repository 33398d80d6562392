/* SPDX-License-Identifier: MIT */
/* The only malloc; hides the fault hook of the tests and arena blocks. */
#include "base/alloc.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

#define ARENA_FIRST_BLOCK 4096
#define ARENA_LARGEST_BLOCK 65536

struct ex_arena_block {
    struct ex_arena_block *next;
    size_t used;
    size_t capacity;
    alignas(max_align_t) char data[];
};

/* For the test hook alone: no code's behaviour depends on them else. */
static atomic_uint_least64_t allocations;
static atomic_uint_least64_t failing_one;

/* Counts an allocation; 1 if it has to fail, because the test hook says so or
 * because no object may be that large. */
static int must_fail(size_t size)
{
    uint64_t n =
        1 + atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return size > PTRDIFF_MAX ||
           n == atomic_load_explicit(&failing_one, memory_order_relaxed);
}

uint64_t ex_alloc_fail_at(uint64_t n)
{
    uint64_t before = atomic_exchange(&allocations, 0);
    atomic_store(&failing_one, n);
    return before;
}

executr_status ex_alloc(void **out, size_t size, executr_error *err)
{
    return ex_alloc_array(out, 1, size, err);
}

executr_status ex_alloc_array(
    void **out, size_t count, size_t size, executr_error *err)
{
    assert(size > 0);
    if (!count)
        count = 1;
    size_t total = count > SIZE_MAX / size ? SIZE_MAX : count * size;
    *out = must_fail(total) ? NULL : calloc(1, total);
    return *out ? EXECUTR_OK : ex_fail_nomem(err);
}

executr_status ex_realloc(void **memory, size_t size, executr_error *err)
{
    assert(size > 0);
    void *moved = must_fail(size) ? NULL : realloc(*memory, size);
    if (!moved)
        return ex_fail_nomem(err);
    *memory = moved;
    return EXECUTR_OK;
}

executr_status ex_strdup(char **out, const char *text, executr_error *err)
{
    *out = must_fail(0) ? NULL : strdup(text);
    return *out ? EXECUTR_OK : ex_fail_nomem(err);
}

void ex_free(void *memory)
{
    free(memory);
}

/* A block with room for `size` bytes; big ones stand alone. */
static struct ex_arena_block *arena_grow(ex_arena *arena, size_t size)
{
    struct ex_arena_block *head = arena->blocks;
    size_t capacity = head ? head->capacity * 2 : ARENA_FIRST_BLOCK;

    if (capacity > ARENA_LARGEST_BLOCK)
        capacity = ARENA_LARGEST_BLOCK;
    if (capacity < size)
        capacity = size;
    if (capacity > PTRDIFF_MAX || must_fail(sizeof *head + capacity))
        return NULL;
    struct ex_arena_block *block = calloc(1, sizeof *block + capacity);
    if (!block)
        return NULL;
    block->capacity = capacity;
    if (head && size > ARENA_LARGEST_BLOCK / 4) {
        /* Behind the head, so that the room left there stays in use. */
        block->next = head->next;
        head->next = block;
    } else {
        block->next = head;
        arena->blocks = block;
    }
    return block;
}

void *ex_arena_get(ex_arena *arena, size_t size)
{
    const size_t unit = alignof(max_align_t);

    if (size > SIZE_MAX - unit)
        return NULL;
    size = size ? (size + unit - 1) / unit * unit : unit;
    struct ex_arena_block *block = arena->blocks;
    if (!block || block->capacity - block->used < size)
        block = arena_grow(arena, size);
    if (!block)
        return NULL;
    void *memory = block->data + block->used;
    block->used += size;
    return memory;
}

char *ex_arena_copy(ex_arena *arena, const void *data, size_t length)
{
    if (length == SIZE_MAX)
        return NULL;
    char *copy = ex_arena_get(arena, length + 1);
    if (copy && length)
        memcpy(copy, data, length);
    return copy;
}

char *ex_arena_strdup(ex_arena *arena, const char *text)
{
    return text ? ex_arena_copy(arena, text, strlen(text)) : NULL;
}

void ex_arena_clear(ex_arena *arena)
{
    struct ex_arena_block *block = arena->blocks;

    while (block) {
        struct ex_arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->blocks = NULL;
}
