/* SPDX-License-Identifier: MIT */
/* Base64: the vectors of RFC 4648, any bytes, and only one text for each. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/base64.h"

static const char *const pairs[][2] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"}};

Test(base64_encode, gives_the_texts_of_the_standard)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        ex_buf out;
        ex_buf_init(&out, EX_BUF_UNLIMITED);
        ex_base64_encode(&out, pairs[i][0], strlen(pairs[i][0]));
        cr_expect_str_eq(ex_buf_text(&out), pairs[i][1]);
        ex_buf_clear(&out);
    }
}

Test(base64_decode, takes_the_texts_of_the_standard)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char bytes[8];
        size_t used = 99;
        int bad =
            ex_base64_decode(pairs[i][1], strlen(pairs[i][1]), bytes, &used);
        cr_expect_eq(bad, 0, "%s", pairs[i][1]);
        cr_expect_eq(used, strlen(pairs[i][0]));
        cr_expect_arr_eq(bytes, pairs[i][0], used);
    }
}

Test(base64_decode, gives_any_bytes_back)
{
    unsigned char bytes[256];
    unsigned char back[EX_BASE64_DECODED_MAX(344)];
    size_t used;
    ex_buf out;

    for (int i = 0; i < 256; i++)
        bytes[i] = (unsigned char)(255 - i);
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_base64_encode(&out, bytes, sizeof bytes);
    cr_assert_eq(out.length, 344);
    cr_expect_eq(ex_base64_decode(out.data, out.length, back, &used), 0);
    cr_expect_eq(used, sizeof bytes);
    cr_expect_arr_eq(back, bytes, sizeof bytes);
    ex_buf_clear(&out);
}

Test(base64_decode, refuses_what_encode_never_writes)
{
    const char *const texts[] = {
        "Z",    "Zg",   "Zg=",  "Zm9",     "Zg==Zg==",    "Zm9v\n",
        "Z===", "====", "Zm=v", "=Zm9",    "Zh==",        "Zm9=",
        "Zm-v", "Zm_v", " Zm9", "Zm\xc3v", "Zg==\n\n\n\n"};
    char bytes[16];
    size_t used;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_expect_eq(
            ex_base64_decode(texts[i], strlen(texts[i]), bytes, &used), -1,
            "%s", texts[i]);
}
