/* SPDX-License-Identifier: MIT */
/* Buffers: what they hold, their limit, and that failures stick. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

Test(buf_add, collects_text_numbers_and_bytes)
{
    ex_buf buf;

    ex_buf_init(&buf, EX_BUF_UNLIMITED);
    cr_expect_str_eq(ex_buf_text(&buf), "");
    ex_buf_puts(&buf, "a");
    ex_buf_putc(&buf, ' ');
    ex_buf_printf(&buf, "%s-%d", "b", 7);
    ex_buf_putc(&buf, ' ');
    ex_buf_put_i64(&buf, INT64_MIN);
    ex_buf_putc(&buf, ' ');
    ex_buf_put_i64(&buf, 0);
    cr_expect_str_eq(ex_buf_text(&buf), "a b-7 -9223372036854775808 0");
    ex_buf_clear(&buf);
}

Test(buf_add, keeps_nul_bytes)
{
    ex_buf buf;

    ex_buf_init(&buf, EX_BUF_UNLIMITED);
    ex_buf_add(&buf, "a\0b", 3);
    ex_buf_add(&buf, NULL, 0);
    cr_expect_eq(buf.length, 3);
    cr_expect_eq(memcmp(buf.data, "a\0b", 4), 0);
    ex_buf_clear(&buf);
}

Test(buf_add, grows_to_megabytes)
{
    ex_buf buf;

    ex_buf_init(&buf, EX_BUF_UNLIMITED);
    for (int i = 0; i < 300000; i++)
        ex_buf_printf(&buf, "%010d", i);
    cr_assert_eq(buf.length, 3000000);
    cr_expect_str_eq(buf.data + 2999990, "0000299999");
    ex_buf_clear(&buf);
}

Test(buf_limit, holds_exactly_the_limit)
{
    ex_buf buf;

    ex_buf_init(&buf, 4);
    ex_buf_puts(&buf, "1234");
    cr_expect_eq(ex_buf_status(&buf, "it", NULL), EXECUTR_OK);
    ex_buf_putc(&buf, '5');
    cr_expect_eq(ex_buf_status(&buf, "it", NULL), EXECUTR_E_TOO_LARGE);
    cr_expect_str_eq(ex_buf_text(&buf), "1234");
    ex_buf_clear(&buf);
}

Test(buf_limit, sticks_and_names_what_was_too_long)
{
    ex_buf buf;
    executr_error err;

    ex_buf_init(&buf, 4);
    ex_buf_puts(&buf, "12345");
    ex_buf_puts(&buf, "1");
    cr_expect_eq(buf.length, 0);
    cr_expect_eq(ex_buf_status(&buf, "the name", &err), EXECUTR_E_TOO_LARGE);
    cr_expect_str_eq(
        err.message, "the name is longer than 4 bytes, the most allowed");
    ex_buf_clear(&buf);
}

Test(buf_limit, is_forgotten_by_a_reset)
{
    ex_buf buf;

    ex_buf_init(&buf, 4);
    ex_buf_puts(&buf, "12345");
    ex_buf_reset(&buf);
    ex_buf_puts(&buf, "123");
    cr_expect_eq(ex_buf_status(&buf, "it", NULL), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&buf), "123");
    ex_buf_clear(&buf);
    cr_expect_eq(buf.limit, 4);
}

Test(buf_memory, failure_sticks)
{
    ex_buf buf;

    ex_buf_init(&buf, EX_BUF_UNLIMITED);
    ex_alloc_fail_at(1);
    ex_buf_puts(&buf, "lost");
    ex_alloc_fail_at(0);
    ex_buf_puts(&buf, "also lost");
    cr_expect_eq(ex_buf_status(&buf, "it", NULL), EXECUTR_E_NOMEM);
    cr_expect_str_eq(ex_buf_text(&buf), "");
    ex_buf_clear(&buf);
}

Test(buf_memory, refuses_sizes_that_overflow)
{
    ex_buf buf;

    ex_buf_init(&buf, EX_BUF_UNLIMITED);
    ex_buf_putc(&buf, 'a');
    cr_expect_null(ex_buf_reserve(&buf, SIZE_MAX - 1));
    cr_expect_eq(ex_buf_status(&buf, "it", NULL), EXECUTR_E_NOMEM);
    cr_expect_str_eq(ex_buf_text(&buf), "a");
    ex_buf_clear(&buf);
}

Test(buf_reserve, counts_only_what_was_used)
{
    ex_buf buf;

    ex_buf_init(&buf, 1000);
    char *room = ex_buf_reserve(&buf, 1000);
    cr_assert_not_null(room);
    memset(room, 'x', 1000);
    ex_buf_used(&buf, 2);
    cr_expect_str_eq(ex_buf_text(&buf), "xx");
    cr_expect_null(ex_buf_reserve(&buf, 999));
    ex_buf_clear(&buf);
}

Test(buf_write, is_a_sink_that_stops_at_the_limit)
{
    ex_buf buf;

    ex_buf_init(&buf, 5);
    cr_expect_eq(ex_buf_write(&buf, "1234", 4), 0);
    cr_expect_neq(ex_buf_write(&buf, "56", 2), 0);
    cr_expect_str_eq(ex_buf_text(&buf), "1234");
    ex_buf_clear(&buf);
}
