/* SPDX-License-Identifier: MIT */
/* Terminals only ever get text. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "apps/common/plain.h"

static void expect_plain(const char *text, const char *wanted, size_t columns)
{
    char *written = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&written, &size);
    cr_assert(out);
    cr_expect_eq(app_plain(out, text), columns, "%s", wanted);
    cr_assert_eq(fclose(out), 0);
    cr_expect_str_eq(written, wanted);
    free(written);
}

Test(plain, keeps_text_as_it_is)
{
    expect_plain("", "", 0);
    expect_plain("a b~", "a b~", 4);
    expect_plain(
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 3);
}

Test(plain, takes_the_power_from_control_characters)
{
    expect_plain("\x1b[31m", "?[31m", 5);
    expect_plain("\a\b\r\n\t\x7f", "??????", 6);
    expect_plain(
        "\xc2\x9b"
        "31m\xc2\x80",
        "?31m?", 5);
    expect_plain(
        "a\xe2\x80\xae"
        "b\xe2\x81\xa6",
        "a?b?", 4);
}

Test(plain, replaces_what_is_no_utf8)
{
    expect_plain(
        "\x9b"
        "31m\xff",
        "?31m?", 5);
    expect_plain("\xe2\x80", "?", 1);
}
