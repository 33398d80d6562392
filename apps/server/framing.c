/* SPDX-License-Identifier: MIT */
/* The shape of requests, strictly; hides what the standard allows where. */
#include "framing.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

size_t framing_count(const framing *f, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < f->count; i++)
        count += strcasecmp(f->names[i], name) == 0;
    return count;
}

static const char *value_of(const framing *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++) {
        if (strcasecmp(f->names[i], name) == 0)
            return f->values[i];
    }
    return NULL;
}

/* All of `text`, which is not empty, consists of these characters. */
static int consists_of(const char *text, const char *characters)
{
    return *text && text[strspn(text, characters)] == '\0';
}

/* A name with a space in it is a folded line, or one that another server may
 * read as the header without the space. */
static const char *bad_name(const framing *f)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0; i < f->count; i++) {
        if (!consists_of(f->names[i], token))
            return "a header's name is empty or has a space or a character "
                   "that names don't have";
    }
    return NULL;
}

static const char *repeated(const framing *f)
{
    if (framing_count(f, "Content-Length") > 1)
        return "more than one Content-Length";
    if (framing_count(f, "Transfer-Encoding") > 1)
        return "more than one Transfer-Encoding";
    if (framing_count(f, "Content-Type") > 1)
        return "more than one Content-Type";
    if (framing_count(f, "Authorization") > 1)
        return "more than one Authorization";
    if (framing_count(f, "Idempotency-Key") > 1)
        return "more than one Idempotency-Key";
    return NULL;
}

static const char *bad_length(const framing *f)
{
    const char *length = value_of(f, "Content-Length");
    const char *encoding = value_of(f, "Transfer-Encoding");
    if (length && encoding)
        return "both Content-Length and Transfer-Encoding";
    if (length && !consists_of(length, "0123456789"))
        return "Content-Length is not a number";
    if (!encoding)
        return NULL;
    if (strcasecmp(encoding, "chunked") != 0)
        return "Transfer-Encoding can only be chunked";
    return strcmp(f->version, "1.1") == 0 ? NULL
                                          : "Transfer-Encoding needs HTTP/1.1";
}

/* A NUL would end the path where it is decoded, and name something else. */
static const char *bad_path(const char *path)
{
    for (const char *at = strchr(path, '%'); at; at = strchr(at + 1, '%')) {
        if (!isxdigit((unsigned char)at[1]) || !isxdigit((unsigned char)at[2]))
            return "the path has a % without two hexadecimal digits";
        if (at[1] == '0' && at[2] == '0')
            return "the path has a NUL (%00) in it";
    }
    return NULL;
}

const char *framing_problem(const framing *f)
{
    /* The web server keeps so many and drops the rest unseen. */
    if (f->count >= FRAMING_HEADERS)
        return "too many headers: at most 63 are allowed";
    const char *problem = bad_name(f);
    if (!problem)
        problem = repeated(f);
    if (!problem)
        problem = bad_length(f);
    if (problem)
        return problem;
    if (strcmp(f->version, "1.1") == 0 && framing_count(f, "Host") != 1)
        return "there must be one Host header";
    return f->path ? bad_path(f->path) : NULL;
}
