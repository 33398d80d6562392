/* SPDX-License-Identifier: MIT */
/* Errors and the table of status codes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/fail.h"

Test(fail, fills_the_whole_struct)
{
    executr_error err;

    memset(&err, 0xff, sizeof err);
    cr_expect_eq(
        ex_fail(&err, EXECUTR_E_CONFLICT, "job %d is done", 5),
        EXECUTR_E_CONFLICT);
    cr_expect_eq(err.status, EXECUTR_E_CONFLICT);
    cr_expect_eq(err.native, 0);
    cr_expect_str_eq(err.field, "");
    cr_expect_str_eq(err.message, "job 5 is done");
}

Test(fail, works_without_a_place_for_detail)
{
    cr_expect_eq(ex_fail(NULL, EXECUTR_E_IO, "x"), EXECUTR_E_IO);
    cr_expect_eq(ex_fail_field(NULL, "f", "x"), EXECUTR_E_ARGUMENT);
    cr_expect_eq(ex_fail_errno(NULL, ENOMEM, "x"), EXECUTR_E_NOMEM);
    cr_expect_eq(ex_fail_nomem(NULL), EXECUTR_E_NOMEM);
}

Test(fail, can_put_context_in_front_of_its_own_message)
{
    executr_error err;

    ex_fail(&err, EXECUTR_E_IO, "disk full");
    ex_fail(&err, err.status, "job 7: %s", err.message);
    cr_expect_str_eq(err.message, "job 7: disk full");
    cr_expect_eq(err.status, EXECUTR_E_IO);
}

Test(fail, cuts_at_a_character)
{
    executr_error err;
    char text[600];

    /* With this offset the euro sign would be cut after one and two bytes. */
    for (size_t offset = 0; offset < 3; offset++) {
        memset(text, 'x', offset);
        for (size_t i = offset; i + 4 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        ex_fail(&err, EXECUTR_E_IO, "%s", text);
        size_t length = strlen(err.message);
        cr_expect_eq((length - offset) % 3, 0);
        cr_expect_gt(length, sizeof err.message - 4);
    }
}

Test(fail, makes_control_characters_harmless)
{
    executr_error err;

    ex_fail(&err, EXECUTR_E_IO, "a\x1b[31m\nb\x7f %s", "\xc2\x9b \xc3\xa4");
    cr_expect_str_eq(err.message, "a?[31m?b? ?? \xc3\xa4");
}

Test(fail_field, names_the_field)
{
    executr_error err;

    cr_expect_eq(
        ex_fail_field(&err, "max_retries", "must be %d", 1),
        EXECUTR_E_ARGUMENT);
    cr_expect_str_eq(err.field, "max_retries");
    cr_expect_str_eq(err.message, "must be 1");
    ex_fail_field(&err, "a_name_that_is_much_too_long_for_the_struct", "x");
    cr_expect_str_eq(err.field, "a_name_that_is_much_too_long_fo");
}

Test(fail_errno, appends_the_reason)
{
    executr_error err;

    cr_expect_eq(ex_fail_errno(&err, EACCES, "open %s", "/x"), EXECUTR_E_IO);
    cr_expect_str_eq(err.message, "open /x: Permission denied");
    cr_expect_eq(err.native, EACCES);
    cr_expect_eq(ex_fail_errno(&err, ENOENT, "x"), EXECUTR_E_NOT_FOUND);
    cr_expect_eq(ex_fail_errno(&err, ENOMEM, "x"), EXECUTR_E_NOMEM);
}

Test(fail_errno, keeps_the_reason_behind_a_long_path)
{
    executr_error err;
    char path[4000];

    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = '\0';
    ex_fail_errno(&err, ENOSPC, "write %s", path);
    cr_expect_not_null(strstr(err.message, ": No space left on device"));
    cr_expect_eq(strlen(err.message), sizeof err.message - 1);
}

Test(status, codes_have_their_word_http_status_and_retry)
{
    cr_expect_str_eq(executr_status_word(EXECUTR_OK), "ok");
    cr_expect_str_eq(executr_status_word(EXECUTR_E_LOST), "lost_attempt");
    cr_expect_eq(executr_status_http(EXECUTR_E_TOO_LARGE), 413);
    cr_expect_eq(executr_status_http(EXECUTR_E_UNAVAILABLE), 503);
    cr_expect_eq(executr_status_retriable(EXECUTR_E_UNAVAILABLE), 1);
    cr_expect_eq(executr_status_retriable(EXECUTR_E_ARGUMENT), 0);
}

Test(status, unknown_codes_are_internal)
{
    cr_expect_str_eq(executr_status_word(-9999), "internal");
    cr_expect_str_eq(executr_status_word(1), "internal");
    cr_expect_eq(executr_status_http(-9999), 500);
    cr_expect_eq(executr_status_retriable(-9999), 0);
}

Test(status, error_is_512_bytes)
{
    cr_expect_eq(sizeof(executr_error), 512);
}
