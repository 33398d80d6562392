/* SPDX-License-Identifier: MIT */
/* Option structs of callers older and newer than the library. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/options.h"

typedef struct options_v1 {
    uint32_t struct_size;
    uint32_t limit;
} options_v1;

typedef struct options_v2 {
    uint32_t struct_size;
    uint32_t limit;
    const char *name;
} options_v2;

typedef struct options_v3 {
    options_v2 known;
    uint64_t later;
} options_v3;

static executr_status read_v2(
    options_v2 *out, const void *options, executr_error *err)
{
    memset(out, 0xff, sizeof *out);
    return ex_options_read(out, sizeof *out, sizeof(options_v1), options, err);
}

Test(options_read, gives_zeroes_for_null)
{
    options_v2 out;

    cr_assert_eq(read_v2(&out, NULL, NULL), EXECUTR_OK);
    cr_expect_eq(out.struct_size, 0);
    cr_expect_eq(out.limit, 0);
    cr_expect_null(out.name);
}

Test(options_read, copies_a_struct_of_our_size)
{
    options_v2 in = {sizeof in, 7, "me"};
    options_v2 out;

    cr_assert_eq(read_v2(&out, &in, NULL), EXECUTR_OK);
    cr_expect_eq(out.limit, 7);
    cr_expect_str_eq(out.name, "me");
}

Test(options_read, pads_a_shorter_struct)
{
    options_v1 in = {sizeof in, 7};
    options_v2 out;

    cr_assert_eq(read_v2(&out, &in, NULL), EXECUTR_OK);
    cr_expect_eq(out.limit, 7);
    cr_expect_null(out.name);
}

Test(options_read, takes_a_longer_struct_whose_tail_is_zero)
{
    options_v3 in = {{sizeof in, 7, "me"}, 0};
    options_v2 out;

    cr_assert_eq(read_v2(&out, &in, NULL), EXECUTR_OK);
    cr_expect_eq(out.limit, 7);
}

Test(options_read, refuses_a_longer_struct_with_something_in_its_tail)
{
    options_v3 in = {{sizeof in, 7, "me"}, 1};
    options_v2 out;
    executr_error err;

    cr_expect_eq(read_v2(&out, &in, &err), EXECUTR_E_UNSUPPORTED);
    cr_expect_not_null(strstr(err.message, "newer libexecutr"));
    cr_expect_eq(out.limit, 0);
}

Test(options_read, refuses_absurd_sizes)
{
    options_v2 in = {0, 7, NULL};
    const uint32_t sizes[] = {0, 4, sizeof(options_v1) - 1, 65537, UINT32_MAX};
    options_v2 out;
    executr_error err;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        in.struct_size = sizes[i];
        cr_expect_eq(read_v2(&out, &in, &err), EXECUTR_E_ARGUMENT);
        cr_expect_str_eq(err.field, "struct_size");
    }
}
