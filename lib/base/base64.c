/* SPDX-License-Identifier: MIT */
/* Base64, for bytes that JSON can't carry. */
#include "base/base64.h"

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The four characters of `count` (1 to 3) bytes. */
static void encode_group(const unsigned char *in, size_t count, char out[4])
{
    unsigned second = count > 1 ? in[1] : 0;
    unsigned third = count > 2 ? in[2] : 0;

    out[0] = alphabet[in[0] >> 2];
    out[1] = alphabet[(in[0] & 3u) << 4 | second >> 4];
    out[2] = '=';
    out[3] = '=';
    if (count > 1)
        out[2] = alphabet[(second & 15u) << 2 | third >> 6];
    if (count > 2)
        out[3] = alphabet[third & 63u];
}

void ex_base64_encode(ex_buf *out, const void *data, size_t length)
{
    const unsigned char *in = data;

    while (length > 0) {
        char group[4];
        size_t count = length < 3 ? length : 3;
        encode_group(in, count, group);
        ex_buf_add(out, group, sizeof group);
        in += count;
        length -= count;
    }
}

/* 0 to 63, or -1. */
static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* The bytes of one group with `pad` '=' at its end: their number, or -1. */
static int decode_group(const char *in, int pad, unsigned char *out)
{
    uint32_t bits = 0;

    for (int i = 0; i < 4 - pad; i++) {
        int value = digit_value(in[i]);
        if (value < 0)
            return -1;
        bits |= (uint32_t)value << (18 - 6 * i);
    }
    int count = 3 - pad;
    if (bits & (UINT32_C(0xffffff) >> (8 * count)))
        return -1; /* two texts must not mean the same bytes */
    for (int i = 0; i < count; i++)
        out[i] = (unsigned char)(bits >> (16 - 8 * i));
    return count;
}

int ex_base64_decode(const char *text, size_t length, void *out, size_t *used)
{
    unsigned char *at = out;

    *used = 0;
    if (length % 4 != 0)
        return -1;
    for (size_t i = 0; i < length; i += 4) {
        int pad = 0;
        if (i + 4 == length && text[i + 3] == '=')
            pad = text[i + 2] == '=' ? 2 : 1;
        int count = decode_group(text + i, pad, at);
        if (count < 0)
            return -1;
        at += count;
        *used += (size_t)count;
    }
    return 0;
}
