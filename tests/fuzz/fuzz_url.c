/* SPDX-License-Identifier: MIT */
/* Percent codes, query strings, URLs and UTF-8. */
#include "base/url.h"
#include "fuzz.h"

static void check_codes(const char *text, size_t length, int form)
{
    ex_buf plain;
    ex_buf coded;
    ex_buf again;
    ex_buf_init(&plain, EX_BUF_UNLIMITED);
    ex_buf_init(&coded, EX_BUF_UNLIMITED);
    ex_buf_init(&again, EX_BUF_UNLIMITED);
    if (ex_url_decode(&plain, text, length, form) == 0) {
        must(
            !plain.length || !memchr(plain.data, 0, plain.length),
            "no NUL comes out");
        ex_url_encode(&coded, ex_buf_text(&plain));
        must(
            ex_url_decode(&again, ex_buf_text(&coded), coded.length, form) == 0,
            "what was encoded is decoded");
        must(
            strcmp(ex_buf_text(&plain), ex_buf_text(&again)) == 0,
            "to what it was");
    }
    ex_buf_clear(&plain);
    ex_buf_clear(&coded);
    ex_buf_clear(&again);
}

static void check_query(const char *text)
{
    static const char *const names[] = {"a", "limit", "type", ""};
    ex_buf out;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ex_buf_init(&out, EX_BUF_UNLIMITED);
        int found = ex_url_query(&out, text, names[i]);
        must(found >= -1 && found <= 1, "found, absent or bad");
        must(found != 0 || out.length == 0, "what is absent has no value");
        ex_buf_clear(&out);
    }
}

static void check_utf8(const char *text, size_t length)
{
    int valid = 1;
    size_t at = 0;
    while (at < length) {
        size_t used = 0;
        valid &= ex_utf8_step(text + at, length - at, &used) != 0;
        must(used > 0 && used <= length - at, "a step stays in the text");
        at += used;
    }
    must(
        valid == (ex_utf8_valid(text, length) != 0),
        "the steps and the whole agree");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* With exact bounds: what takes a length must not look for a NUL. */
    char *bytes = malloc(size ? size : 1);
    char *text = text_of(data, size);
    must(bytes != NULL, "there is memory");
    if (size)
        memcpy(bytes, data, size);
    check_codes(bytes, size, 0);
    check_codes(bytes, size, 1);
    check_utf8(bytes, size);
    check_query(text);
    if (ex_url_is_http(text))
        must(
            !strpbrk(text, " \t\r\n\x1b\x7f") && strlen(text) <= 8192,
            "a URL has no space or control character and is not too long");
    free(bytes);
    free(text);
    return 0;
}
