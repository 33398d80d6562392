/* SPDX-License-Identifier: MIT */
/*
 * Outputs of any bytes in any pieces. Two bytes are the limit, the third picks
 * the size of the pieces, the rest is the output, several times over if the
 * fourth says so.
 */
#include "base/url.h"
#include "capture.h"
#include "fuzz.h"

#define HEADER 4

static void feed(
    ex_capture *capture, const char *data, size_t length, size_t piece)
{
    executr_error err;
    size_t at = 0;
    while (at < length) {
        size_t n = length - at < piece ? length - at : piece;
        must(
            ex_capture_add(capture, data + at, n, &err) == EXECUTR_OK,
            "output is taken");
        at += n;
        piece = piece % 97 + 1;
    }
}

static void check_text(
    const char *data, size_t length, size_t limit, const char *text,
    size_t kept)
{
    must(kept <= limit, "the text is within the limit");
    if (length <= limit)
        must(
            kept == length && (!kept || memcmp(text, data, kept) == 0),
            "what fits is kept as it was");
    if (length && ex_utf8_valid(data, length))
        must(kept == 0 || ex_utf8_valid(text, kept), "no character is split");
}

static void check(const char *data, size_t length, size_t limit, size_t piece)
{
    executr_error err;
    ex_capture *capture = NULL;
    const char *text = NULL;
    size_t kept = 0;
    ex_buf whole;
    ex_buf_init(&whole, EX_BUF_UNLIMITED);
    must(ex_capture_open(limit, &capture, &err) == EXECUTR_OK, "it opens");
    for (int round = 0; round < 2; round++) { /* the second after a reset */
        feed(capture, data, length, piece);
        must(ex_capture_total(capture) == length, "every byte is counted");
        must(
            ex_capture_text(capture, &text, &kept, &err) == EXECUTR_OK,
            "there is a text");
        check_text(data, length, limit, text, kept);
        if (round == 0)
            must(
                ex_capture_cut(data, length, limit, &whole, &err) == EXECUTR_OK,
                "a whole text can be cut");
        must(
            whole.length == kept &&
                (!kept || memcmp(whole.data, text, kept) == 0),
            "pieces and the whole are cut alike");
        ex_capture_reset(capture);
    }
    ex_capture_free(capture);
    ex_buf_clear(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= HEADER)
        return 0;
    size_t limit = (size_t)data[0] << 8 | data[1];
    size_t times = data[3] % 16 + 1u;
    size_t once = size - HEADER;
    char *output = malloc(once * times);
    must(output != NULL, "there is memory");
    for (size_t i = 0; i < times; i++)
        memcpy(output + i * once, data + HEADER, once);
    check(output, once * times, limit, data[2] + 1u);
    free(output);
    return 0;
}
