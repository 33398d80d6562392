/* SPDX-License-Identifier: MIT */
/*
 * Turns the arguments and the environment of a record, kept as compact JSON,
 * into strings. Hides a quick way for texts without escapes, which most are.
 */
#include "job.h"

#include <string.h>

#include "base/fail.h"
#include "base/url.h"

/* A list of strings being made. */
typedef struct strings {
    const char **items;
    size_t count;
    char *to; /* where the next string's bytes go */
} strings;

/* Copy `"text"` without its quotation marks; where it ended, or NULL if it is
 * none that stands for itself byte by byte. */
static const char *copy_plain(const char *at, strings *out)
{
    if (*at++ != '"')
        return NULL;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20 || *at == '\\')
            return NULL;
        *out->to++ = *at++;
    }
    return at + 1;
}

/* One element, or one member as "NAME=value". */
static const char *copy_item(const char *at, int is_object, strings *out)
{
    out->items[out->count++] = out->to;
    at = copy_plain(at, out);
    if (at && is_object) {
        *out->to++ = '=';
        at = *at == ':' ? copy_plain(at + 1, out) : NULL;
    }
    *out->to++ = '\0';
    return at;
}

/* The whole of a compact array or object of plain strings: 1, or 0 if it is
 * anything else. `out` has room for what its quotation marks promise. */
static int copy_all(const char *json, int is_object, size_t count, strings *out)
{
    const char *at = json + 1;

    for (size_t i = 0; i < count; i++) {
        if (i > 0 && *at++ != ',')
            return 0;
        at = copy_item(at, is_object, out);
        if (!at)
            return 0;
    }
    return strcmp(at, is_object ? "}" : "]") == 0;
}

/* OK with out->items NULL: this text needs the real parser. */
static executr_status scan(
    ex_arena *arena, const char *json, int is_object, strings *out,
    executr_error *err)
{
    size_t length = strlen(json);

    memset(out, 0, sizeof *out);
    if (*json != (is_object ? '{' : '[') || memchr(json, '\\', length) ||
        !ex_utf8_valid(json, length))
        return EXECUTR_OK;
    size_t marks = 0;
    for (size_t i = 0; i < length; i++)
        marks += json[i] == '"';
    size_t count = marks / (is_object ? 4 : 2);
    /* What follows a string in JSON leaves room for its '=' and its NUL. */
    const char **items =
        ex_arena_get(arena, count * sizeof *items + length + 2);
    if (!items)
        return ex_fail_nomem(err);
    out->items = items;
    out->to = (char *)(items + count);
    if (!copy_all(json, is_object, count, out))
        memset(out, 0, sizeof *out);
    return EXECUTR_OK;
}

/* Any JSON, strictly. */
static executr_status parse(
    ex_arena *arena, const char *json, int is_object, strings *out,
    executr_error *err)
{
    ex_json *document;

    executr_status st = ex_json_parse(json, strlen(json), &document, err);
    if (st)
        return st;
    if (is_object)
        st =
            ex_environment_read(document, arena, &out->items, &out->count, err);
    else
        st = ex_strings_read(
            document, "arguments", arena, &out->items, &out->count, err);
    ex_json_free(document);
    return st;
}

static executr_status unpack(
    ex_arena *arena, const char *json, int is_object, strings *out,
    executr_error *err)
{
    executr_status st = scan(arena, json, is_object, out, err);
    if (!st && !out->items)
        st = parse(arena, json, is_object, out, err);
    return st;
}

executr_status ex_job_unpack(
    executr_jobs *jobs, struct executr_job *job, executr_error *err)
{
    strings list;

    if (!job->arguments) {
        executr_status st =
            unpack(&jobs->arena, job->arguments_json, 0, &list, err);
        if (st)
            return st;
        job->arguments = list.items;
        job->argument_count = list.count;
    }
    if (!job->environment) {
        executr_status st =
            unpack(&jobs->arena, job->environment_json, 1, &list, err);
        if (st)
            return st;
        job->environment = list.items;
        job->environment_count = list.count;
    }
    return EXECUTR_OK;
}
