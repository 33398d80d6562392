/* SPDX-License-Identifier: MIT */
/* Which bytes of a JSON string are as they are, looked at by eights. */
#include <string.h>

#include "base/json.h"
#include "base/url.h"

/* High bits where a byte of `word` is below `limit`, which is below 0x80;
 * right for words whose bytes are all below 0x80. */
static uint64_t bytes_below(uint64_t word, uint64_t limit)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = ones << 7;

    return (((word | highs) - ones * limit) & highs) ^ highs;
}

/* 1 if eight bytes stand for themselves in a JSON string. */
static int is_plain_word(const unsigned char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;

    memcpy(&word, at, sizeof word);
    return !(
        (word & ones << 7) | bytes_below(word, 0x20) |
        bytes_below(word ^ ones * '"', 1) | bytes_below(word ^ ones * '\\', 1));
}

size_t ex_json_plain(const void *text, size_t length)
{
    const unsigned char *start = text;
    const unsigned char *at = start;
    const unsigned char *end = start + length;

    while (at < end) {
        size_t used = 1;
        if (end - at >= 8 && is_plain_word(at)) {
            at += 8;
            continue;
        }
        if (*at < 0x20 || *at == '"' || *at == '\\')
            break;
        if (*at >= 0x80 && !ex_utf8_step(at, (size_t)(end - at), &used))
            break;
        at += used;
    }
    return (size_t)(at - start);
}
