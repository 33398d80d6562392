/* SPDX-License-Identifier: MIT */
/*
 * Descriptions of jobs: every limit of a submission, what it demands of an
 * executor, its stored form and its digest.
 */
#include "job.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/options.h"
#include "base/sha256.h"
#include "base/url.h"

/* Up to so many names are sorted without asking for memory. */
#define FEW_NAMES 64

/* A bad element of an array, as "arguments[3]". */
static executr_status fail_element(
    executr_error *err, const char *array, size_t i, const char *problem)
{
    char field[48]; /* any size_t fits */

    (void)snprintf(field, sizeof field, "%s[%zu]", array, i);
    return ex_fail_field(err, field, "%s %s", field, problem);
}

/* Adds the length of one string to *total. */
static executr_status check_string(
    const char *text, const char *array, size_t i, size_t *total,
    executr_error *err)
{
    if (!text)
        return fail_element(err, array, i, "is NULL");
    size_t length = strnlen(text, EX_ARGUMENT_BYTES_MAX + 1);
    if (length > EX_ARGUMENT_BYTES_MAX) {
        fail_element(
            err, array, i, "is longer than 131071 bytes, the most allowed");
        return ex_as_too_large(err);
    }
    if (!ex_utf8_valid(text, length))
        return fail_element(err, array, i, "is not valid UTF-8");
    *total += length;
    if (*total > EX_STRINGS_BYTES_MAX) {
        ex_fail_field(
            err, array,
            "arguments and env_variables together are longer than %d bytes, "
            "the most allowed",
            EX_STRINGS_BYTES_MAX);
        return ex_as_too_large(err);
    }
    return EXECUTR_OK;
}

static executr_status check_arguments(
    const executr_job_spec *spec, size_t *total, executr_error *err)
{
    if (spec->argument_count > EX_ARGUMENTS_MAX) {
        ex_fail_field(
            err, "arguments", "%zu arguments, but at most %d are allowed",
            spec->argument_count, EX_ARGUMENTS_MAX);
        return ex_as_too_large(err);
    }
    if (spec->argument_count && !spec->arguments)
        return ex_fail_field(err, "arguments", "arguments is NULL");
    for (size_t i = 0; i < spec->argument_count; i++) {
        executr_status st =
            check_string(spec->arguments[i], "arguments", i, total, err);
        if (st)
            return st;
    }
    return EXECUTR_OK;
}

static size_t name_length(const char *variable)
{
    return strcspn(variable, "=");
}

static int compare_names(const void *a, const void *b)
{
    const char *one = *(const char *const *)a;
    const char *two = *(const char *const *)b;
    size_t length = name_length(one);
    size_t other = name_length(two);

    int order = memcmp(one, two, length < other ? length : other);
    if (order)
        return order;
    return length < other ? -1 : length > other;
}

/* A copy of the environment's pointers in the order of names: in `few` where
 * they fit, else in memory for ex_free, which is *made. */
static executr_status sort_names(
    const executr_job_spec *spec, const char **few, void **made,
    const char ***out, executr_error *err)
{
    size_t count = spec->environment_count;

    *made = NULL;
    *out = few;
    if (count > FEW_NAMES) {
        executr_status st =
            ex_alloc_array(made, count, sizeof(const char *), err);
        if (st)
            return st;
        *out = *made;
    }
    if (count)
        memcpy(*out, spec->environment, count * sizeof **out);
    if (count > 1)
        qsort(*out, count, sizeof **out, compare_names);
    return EXECUTR_OK;
}

static executr_status check_duplicates(
    const executr_job_spec *spec, executr_error *err)
{
    const char *few[FEW_NAMES];
    const char **names;
    void *made;

    executr_status st = sort_names(spec, few, &made, &names, err);
    for (size_t i = 1; !st && i < spec->environment_count; i++) {
        if (compare_names(&names[i - 1], &names[i]) == 0)
            st = ex_fail_field(
                err, "env_variables", "env_variables has %.*s twice",
                (int)name_length(names[i]), names[i]);
    }
    ex_free(made);
    return st;
}

static executr_status check_environment(
    const executr_job_spec *spec, size_t *total, executr_error *err)
{
    if (spec->environment_count && !spec->environment)
        return ex_fail_field(err, "env_variables", "env_variables is NULL");
    for (size_t i = 0; i < spec->environment_count; i++) {
        const char *text = spec->environment[i];
        executr_status st = check_string(text, "env_variables", i, total, err);
        if (st)
            return st;
        if (*text == '=' || !strchr(text, '='))
            return ex_fail_field(
                err, "env_variables",
                "env_variables has a name that is empty or holds '='");
    }
    return spec->environment_count > 1 ? check_duplicates(spec, err)
                                       : EXECUTR_OK;
}

static executr_status check_range(
    const char *field, int64_t value, int64_t max, executr_error *err)
{
    if (value >= 0 && value <= max)
        return EXECUTR_OK;
    return ex_fail_field(
        err, field, "%s is %" PRId64 ", but must be 0 to %" PRId64, field,
        value, max);
}

static executr_status check_numbers(
    const executr_job_spec *spec, executr_error *err)
{
    const struct {
        const char *field;
        int64_t value;
        int64_t max;
    } numbers[] = {
        {"priority", spec->priority, EXECUTR_PRIORITY_BEST_EFFORT},
        {"max_retries", spec->max_retries, EX_RETRIES_MAX},
        {"exclusive", spec->exclusive, 1},
        {"timeout", spec->timeout_ms, EX_DURATION_MAX_MS},
        {"kill_grace", spec->kill_grace_ms, EX_DURATION_MAX_MS},
        {"memory_mb", spec->memory_mb, EX_LIMIT_MAX},
        {"cpu_seconds", spec->cpu_seconds, EX_LIMIT_MAX},
        {"max_processes", spec->max_processes, EX_LIMIT_MAX},
        {"max_file_mb", spec->max_file_mb, EX_LIMIT_MAX},
        {"isolation", spec->isolation, EXECUTR_ISOLATION_STRICT},
        {"reserved", spec->reserved, 0},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        executr_status st = check_range(
            numbers[i].field, numbers[i].value, numbers[i].max, err);
        if (st)
            return st;
    }
    return EXECUTR_OK;
}

static executr_status check(
    const executr_job_spec *spec, char sha256[EX_SHA256_HEX],
    executr_error *err)
{
    const char *url = spec->binary_url;
    size_t total = 0;

    executr_status st = ex_word_check(spec->type, "type", EX_TYPE_MAX, 1, err);
    if (!st && !spec->binary_sha256)
        st = ex_fail_field(
            err, "binary_sha256",
            "binary_sha256 is required: the SHA-256 of the executable");
    if (!st)
        st = ex_sha256_normalize(
            spec->binary_sha256, sha256, "binary_sha256", err);
    if (!st && url && *url && !ex_url_is_http(url))
        st = ex_fail_field(
            err, "binary_url",
            "binary_url must be an http:// or https:// URL of at most 8192 "
            "bytes");
    if (!st)
        st = check_arguments(spec, &total, err);
    if (!st)
        st = check_environment(spec, &total, err);
    if (!st && spec->idempotency_key)
        st = ex_word_check(
            spec->idempotency_key, "Idempotency-Key", EX_IDEMPOTENCY_KEY_MAX, 0,
            err);
    return st ? st : check_numbers(spec, err);
}

executr_status executr_job_spec_check(
    const executr_job_spec *spec, executr_error *err)
{
    executr_job_spec own;
    char sha256[EX_SHA256_HEX];

    executr_status st =
        ex_options_read(&own, sizeof own, sizeof own, spec, err);
    return st ? st : check(&own, sha256, err);
}

executr_status ex_spec_take(
    const executr_job_spec *spec, ex_arena *arena, executr_job_spec *out,
    executr_error *err)
{
    executr_job_spec own;
    char sha256[EX_SHA256_HEX];

    executr_status st =
        ex_options_read(&own, sizeof own, sizeof own, spec, err);
    if (!st)
        st = check(&own, sha256, err);
    if (st)
        return st;
    if (!ex_sha256_valid(own.binary_sha256)) {
        own.binary_sha256 = ex_arena_strdup(arena, sha256);
        if (!own.binary_sha256)
            return ex_fail_nomem(err);
    }
    if (own.priority == EXECUTR_PRIORITY_DEFAULT)
        own.priority = EXECUTR_PRIORITY_BACKGROUND;
    *out = own;
    return EXECUTR_OK;
}

uint32_t ex_spec_demands(const executr_job_spec *spec)
{
    uint32_t demands = 0;

    if (spec->timeout_ms)
        demands |= EXECUTR_OFFER_TIMEOUT;
    if (spec->memory_mb)
        demands |= EXECUTR_OFFER_MEMORY;
    if (spec->cpu_seconds)
        demands |= EXECUTR_OFFER_CPU;
    if (spec->max_processes)
        demands |= EXECUTR_OFFER_PROCESSES;
    if (spec->max_file_mb)
        demands |= EXECUTR_OFFER_FILE_SIZE;
    if (spec->isolation == EXECUTR_ISOLATION_BASIC)
        demands |= EXECUTR_OFFER_BASIC;
    if (spec->isolation == EXECUTR_ISOLATION_STANDARD)
        demands |= EXECUTR_OFFER_STANDARD;
    if (spec->isolation == EXECUTR_ISOLATION_STRICT)
        demands |= EXECUTR_OFFER_STRICT;
    return demands;
}

void ex_spec_arguments_json(const executr_job_spec *spec, ex_buf *out)
{
    ex_json_writer w;

    ex_json_begin(&w, out);
    ex_json_open(&w, '[');
    for (size_t i = 0; i < spec->argument_count; i++)
        ex_json_put_string(&w, spec->arguments[i]);
    ex_json_close(&w, ']');
}

void ex_spec_environment_json(const executr_job_spec *spec, ex_buf *out)
{
    ex_json_writer w;

    ex_json_begin(&w, out);
    ex_json_open(&w, '{');
    for (size_t i = 0; i < spec->environment_count; i++) {
        const char *text = spec->environment[i];
        size_t name = name_length(text);
        ex_json_put_bytes(&w, text, name); /* a name, but any text */
        ex_buf_putc(out, ':');
        w.comma = 0;
        ex_json_put_string(&w, text + name + 1);
    }
    ex_json_close(&w, '}');
}

executr_status ex_spec_digest(
    const executr_job_spec *spec, char out[EX_SHA256_HEX], executr_error *err)
{
    executr_job_spec sorted = *spec;
    const char *few[FEW_NAMES];
    const char **names;
    void *made;
    ex_buf text;
    ex_json_writer w;

    ex_buf_init(&text, EX_BUF_UNLIMITED);
    executr_status st = sort_names(spec, few, &made, &names, err);
    if (st)
        goto done;
    sorted.environment = names;
    ex_json_begin(&w, &text);
    ex_spec_write(&sorted, &w);
    st = ex_buf_status(&text, "a job's description", err);
    if (!st)
        st = ex_sha256_bytes(text.data, text.length, out, err);
done:
    ex_free(made);
    ex_buf_clear(&text);
    return st;
}
