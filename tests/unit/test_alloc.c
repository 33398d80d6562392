/* SPDX-License-Identifier: MIT */
/* Memory: zeroed, checked, and failing where the test hook says. */
#include <criterion/criterion.h>
#include <stdalign.h>
#include <string.h>

#include "base/alloc.h"

Test(alloc_get, gives_zeroed_memory)
{
    void *memory;
    char zero[500] = {0};

    cr_assert_eq(ex_alloc(&memory, sizeof zero, NULL), EXECUTR_OK);
    cr_expect_eq(memcmp(memory, zero, sizeof zero), 0);
    ex_free(memory);
}

Test(alloc_get, refuses_an_array_that_overflows)
{
    void *memory = &memory;
    executr_error err;

    cr_expect_eq(
        ex_alloc_array(&memory, SIZE_MAX / 2, 3, &err), EXECUTR_E_NOMEM);
    cr_expect_null(memory);
    cr_expect_eq(err.status, EXECUTR_E_NOMEM);
}

Test(alloc_get, gives_one_item_for_a_count_of_zero)
{
    void *memory;

    cr_assert_eq(ex_alloc_array(&memory, 0, 64, NULL), EXECUTR_OK);
    memset(memory, 1, 64); /* the address sanitizer looks on */
    ex_free(memory);
}

Test(alloc_hook, fails_the_nth_allocation_only)
{
    void *a;
    void *c;
    char *b;

    ex_alloc_fail_at(2);
    cr_expect_eq(ex_alloc(&a, 8, NULL), EXECUTR_OK);
    cr_expect_eq(ex_strdup(&b, "text", NULL), EXECUTR_E_NOMEM);
    cr_expect_null(b);
    cr_expect_eq(ex_alloc(&c, 8, NULL), EXECUTR_OK);
    cr_expect_eq(ex_alloc_fail_at(0), 3);
    ex_free(a);
    ex_free(c);
}

Test(alloc_hook, leaves_memory_alone_when_resizing_fails)
{
    char *text;

    cr_assert_eq(ex_strdup(&text, "kept", NULL), EXECUTR_OK);
    void *memory = text;
    ex_alloc_fail_at(1);
    cr_expect_eq(ex_realloc(&memory, 1000, NULL), EXECUTR_E_NOMEM);
    ex_alloc_fail_at(0);
    cr_assert_eq(memory, text);
    cr_expect_str_eq(text, "kept");
    ex_free(memory);
}

Test(arena, gives_aligned_zeroed_pieces_that_do_not_overlap)
{
    ex_arena arena = EX_ARENA_INIT;
    const char zero[700] = {0};

    for (size_t size = 0; size < 700; size++) {
        char *piece = ex_arena_get(&arena, size);
        cr_assert_not_null(piece);
        cr_assert_eq((uintptr_t)piece % alignof(max_align_t), 0);
        cr_assert_eq(memcmp(piece, zero, size), 0);
        memset(piece, 0xff, size);
    }
    ex_arena_clear(&arena);
    cr_expect_null(arena.blocks);
}

Test(arena, keeps_small_pieces_together_around_a_big_one)
{
    ex_arena arena = EX_ARENA_INIT;

    char *before = ex_arena_strdup(&arena, "before");
    char *big = ex_arena_get(&arena, 1000000);
    char *after = ex_arena_copy(&arena, "after and more", 5);
    cr_assert(before && big && after);
    memset(big, 0xff, 1000000);
    cr_expect_str_eq(before, "before");
    cr_expect_str_eq(after, "after");
    cr_expect_eq(after - before, 16);
    ex_arena_clear(&arena);
}

Test(arena, gives_null_when_memory_is_out)
{
    ex_arena arena = EX_ARENA_INIT;

    ex_alloc_fail_at(1);
    cr_expect_null(ex_arena_get(&arena, 10));
    ex_alloc_fail_at(0);
    cr_expect_null(ex_arena_get(&arena, SIZE_MAX));
    cr_expect_null(ex_arena_get(&arena, SIZE_MAX - 64));
    cr_expect_null(ex_arena_copy(&arena, "", SIZE_MAX));
    cr_expect_null(ex_arena_strdup(&arena, NULL));
    cr_expect_not_null(ex_arena_get(&arena, 10));
    ex_arena_clear(&arena);
}
