/* SPDX-License-Identifier: MIT */
/*
 * The gate in front of the JSON library, which lets through much that is no
 * JSON. The text is untrusted: no recursion, no look-ahead beyond the end.
 */
#include "base/json_scan.h"

#include <string.h>

#include "base/fail.h"
#include "base/json.h"
#include "base/url.h"

/* What may come next. */
enum {
    WANT_VALUE,
    WANT_VALUE_OR_END, /* behind '[' */
    WANT_KEY,
    WANT_KEY_OR_END, /* behind '{' */
    WANT_COMMA_OR_END
};

typedef struct cursor {
    const char *start;
    const char *at;
    const char *end;
    int allow_nul;
    int want;
    int depth;
    int deepest;
    char closers[EX_JSON_MAX_DEPTH]; /* '}' or ']' for each open one */
    size_t members;
    const char *problem; /* what is wrong at `at`, or NULL */
} cursor;

/* -1, for callers to hand on. */
static int wrong(cursor *c, const char *problem)
{
    c->problem = problem;
    return -1;
}

static char peek(const cursor *c)
{
    return c->at < c->end ? *c->at : '\0';
}

static void skip_space(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' ||
                              *c->at == '\r' || *c->at == '\t'))
        c->at++;
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The four digits of a \u escape at `at` + 2, or -1. */
static int32_t code_unit(const cursor *c, const char *at)
{
    int32_t unit = 0;

    if (c->end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        char lower = (char)(at[i] | 0x20);
        if (is_digit(at[i]))
            unit = unit * 16 + (at[i] - '0');
        else if (lower >= 'a' && lower <= 'f')
            unit = unit * 16 + (lower - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

static int scan_escape(cursor *c, int is_key)
{
    if (c->end - c->at >= 2 && c->at[1] && strchr("\"\\/bfnrt", c->at[1])) {
        c->at += 2;
        return 0;
    }
    int32_t unit = code_unit(c, c->at);
    if (unit < 0)
        return wrong(c, "a bad escape");
    if (unit == 0 && (is_key || !c->allow_nul))
        return wrong(c, "\\u0000, which is not allowed in a string");
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return wrong(c, "half of a surrogate pair");
    if (unit >= 0xd800 && unit <= 0xdbff) {
        int32_t second = code_unit(c, c->at + 6);
        if (second < 0xdc00 || second > 0xdfff)
            return wrong(c, "half of a surrogate pair");
        c->at += 6;
    }
    c->at += 6;
    return 0;
}

/* From the opening to behind the closing quotation mark. */
static int scan_string(cursor *c, int is_key)
{
    c->at++;
    for (;;) {
        c->at += ex_json_plain(c->at, (size_t)(c->end - c->at));
        if (c->at == c->end)
            return wrong(c, "a string without an end");
        unsigned char byte = (unsigned char)*c->at;
        if (byte == '"')
            break;
        if (byte != '\\')
            return wrong(
                c, byte < 0x20 ? "a control character in a string"
                               : "invalid UTF-8");
        if (scan_escape(c, is_key))
            return -1;
    }
    c->at++;
    return 0;
}

static size_t skip_digits(cursor *c)
{
    const char *start = c->at;

    while (is_digit(peek(c)))
        c->at++;
    return (size_t)(c->at - start);
}

/* 1 if the digits, behind a '-' if `negative`, fit an int64. */
static int fits_int64(const char *digits, size_t count, int negative)
{
    static const char most[] = "9223372036854775807";
    static const char least[] = "9223372036854775808";

    if (count != sizeof most - 1)
        return count < sizeof most - 1;
    return memcmp(digits, negative ? least : most, count) <= 0;
}

static int scan_number(cursor *c)
{
    const char *start = c->at;
    int negative = peek(c) == '-';

    c->at += negative;
    const char *digits = c->at;
    size_t count = skip_digits(c);
    if (count == 0 || (count > 1 && *digits == '0'))
        return wrong(c, "a bad number");
    int whole = 1;
    if (peek(c) == '.') {
        whole = 0;
        c->at++;
        if (skip_digits(c) == 0)
            return wrong(c, "a bad number");
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        whole = 0;
        c->at++;
        if (peek(c) == '+' || peek(c) == '-')
            c->at++;
        if (skip_digits(c) == 0)
            return wrong(c, "a bad number");
    }
    if (!whole || fits_int64(digits, count, negative))
        return 0;
    c->at = start;
    return wrong(c, "an integer that does not fit 64 bits");
}

static int scan_word(cursor *c, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0)
        return wrong(c, "something that is no JSON value");
    c->at += length;
    return 0;
}

static int scan_open(cursor *c)
{
    char brace = *c->at;

    if (c->depth == EX_JSON_MAX_DEPTH)
        return wrong(c, "nesting deeper than 32, the most allowed");
    c->closers[c->depth++] = brace == '{' ? '}' : ']';
    if (c->depth > c->deepest)
        c->deepest = c->depth;
    c->want = brace == '{' ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
    c->at++;
    return 0;
}

static int scan_close(cursor *c)
{
    if (c->depth == 0 || *c->at != c->closers[c->depth - 1])
        return wrong(c, "a bracket that closes nothing");
    c->depth--;
    c->want = WANT_COMMA_OR_END;
    c->at++;
    return 0;
}

static int scan_value(cursor *c)
{
    char first = peek(c);

    if (first == '{' || first == '[')
        return scan_open(c);
    c->want = WANT_COMMA_OR_END;
    if (first == '"')
        return scan_string(c, 0);
    if (first == '-' || is_digit(first))
        return scan_number(c);
    if (first == 't')
        return scan_word(c, "true");
    return scan_word(c, first == 'f' ? "false" : "null");
}

static int scan_key(cursor *c)
{
    if (peek(c) != '"')
        return wrong(c, "no name in quotation marks, where a member begins");
    if (scan_string(c, 1))
        return -1;
    skip_space(c);
    if (peek(c) != ':')
        return wrong(c, "no ':' behind a member's name");
    c->at++;
    c->members++;
    c->want = WANT_VALUE;
    return 0;
}

static int scan_next(cursor *c)
{
    char next = peek(c);
    int may_close = c->want != WANT_VALUE && c->want != WANT_KEY;

    if (may_close && (next == '}' || next == ']'))
        return scan_close(c);
    if (c->want == WANT_KEY || c->want == WANT_KEY_OR_END)
        return scan_key(c);
    if (c->want != WANT_COMMA_OR_END)
        return scan_value(c);
    if (next != ',')
        return wrong(c, "neither ',' nor a closing bracket behind a value");
    c->at++;
    c->want = c->closers[c->depth - 1] == '}' ? WANT_KEY : WANT_VALUE;
    return 0;
}

static int scan_document(cursor *c)
{
    do {
        skip_space(c);
        if (c->at == c->end)
            return wrong(c, c->at == c->start ? "nothing" : "an early end");
        if (scan_next(c))
            return -1;
    } while (c->depth > 0 || c->want != WANT_COMMA_OR_END);
    skip_space(c);
    return c->at == c->end ? 0 : wrong(c, "more than one value");
}

executr_status ex_json_scan_text(
    ex_json_scan *scan, const char *text, size_t length, executr_error *err)
{
    cursor c;

    memset(&c, 0, sizeof c);
    c.start = text;
    c.at = text;
    c.end = text + length;
    c.allow_nul = scan->allow_nul;
    if (scan_document(&c))
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "invalid JSON at byte %zu: %s",
            (size_t)(c.at - c.start), c.problem);
    scan->members = c.members;
    scan->deepest = c.deepest;
    return EXECUTR_OK;
}
