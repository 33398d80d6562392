/* SPDX-License-Identifier: MIT */
/* SHA-256 against the examples of FIPS 180. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sha256.h"

#define OF_ABC                                                                 \
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_NOTHING                                                             \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OF_MILLION_A                                                           \
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

Test(sha256_bytes, knows_the_standard_examples)
{
    char hex[EX_SHA256_HEX];

    cr_assert_eq(ex_sha256_bytes("abc", 3, hex, NULL), EXECUTR_OK);
    cr_expect_str_eq(hex, OF_ABC);
    cr_assert_eq(ex_sha256_bytes("", 0, hex, NULL), EXECUTR_OK);
    cr_expect_str_eq(hex, OF_NOTHING);
}

Test(sha256_add, hashes_in_pieces)
{
    char hex[EX_SHA256_HEX];
    char piece[1000];
    ex_sha256 *hash;

    memset(piece, 'a', sizeof piece);
    cr_assert_eq(ex_sha256_open(&hash, NULL), EXECUTR_OK);
    for (int i = 0; i < 1000; i++)
        ex_sha256_add(hash, piece, sizeof piece);
    ex_sha256_end(hash, hex);
    ex_sha256_free(hash);
    ex_sha256_free(NULL);
    cr_expect_str_eq(hex, OF_MILLION_A);
}

Test(sha256_fd, reads_from_the_start_and_leaves_the_offset)
{
    char hex[EX_SHA256_HEX];
    char piece[1000];

    memset(piece, 'a', sizeof piece);
    int fd = memfd_create("hashed", MFD_CLOEXEC);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(write(fd, piece, sizeof piece), (ssize_t)sizeof piece);
    cr_assert_eq(ex_sha256_fd(fd, hex, NULL), EXECUTR_OK);
    cr_expect_str_eq(hex, OF_MILLION_A);
    cr_expect_eq(lseek(fd, 0, SEEK_CUR), 1000000);
    close(fd);
}

Test(sha256_fd, tells_what_cannot_be_read)
{
    char hex[EX_SHA256_HEX];
    executr_error err;

    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_expect_eq(ex_sha256_fd(fd, hex, &err), EXECUTR_E_IO);
    cr_expect_str_eq(hex, "");
    close(fd);
}

Test(sha256_valid, takes_64_lower_case_digits_only)
{
    cr_expect_eq(ex_sha256_valid(OF_ABC), 1);
    cr_expect_eq(ex_sha256_valid(NULL), 0);
    cr_expect_eq(ex_sha256_valid(""), 0);
    cr_expect_eq(ex_sha256_valid(OF_ABC "0"), 0);
    cr_expect_eq(ex_sha256_valid(&OF_ABC[1]), 0);
    cr_expect_eq(
        ex_sha256_valid("BA7816bf8f01cfea414140de5dae2223"
                        "b00361a396177a9cb410ff61f20015ad"),
        0);
    cr_expect_eq(
        ex_sha256_valid("../../../8f01cfea414140de5dae222"
                        "b00361a396177a9cb410ff61f20015ad"),
        0);
}

Test(sha256_normalize, lowers_the_case)
{
    char hex[EX_SHA256_HEX];

    cr_assert_eq(
        ex_sha256_normalize(
            "BA7816BF8F01CFEA414140DE5DAE2223"
            "B00361A396177A9CB410FF61F20015AD",
            hex, "binary_sha256", NULL),
        EXECUTR_OK);
    cr_expect_str_eq(hex, OF_ABC);
}

Test(sha256_normalize, refuses_anything_else_and_names_the_field)
{
    const char *const bad[] = {NULL, "", "abc", OF_ABC "0", OF_ABC "\n"};
    char hex[EX_SHA256_HEX];
    executr_error err;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_expect_eq(
            ex_sha256_normalize(bad[i], hex, "binary_sha256", &err),
            EXECUTR_E_ARGUMENT);
        cr_expect_str_eq(err.field, "binary_sha256");
    }
}
