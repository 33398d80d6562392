/* SPDX-License-Identifier: MIT */
/*
 * Reads jobs, submissions and figures from the JSON of the REST API. All of it
 * comes from the network: every type, range and length is checked here.
 */
#include "job.h"

#include <string.h>

#include "base/fail.h"
#include "base/sha256.h"
#include "base/time.h"

static executr_status fail_string(
    const char *field, size_t i, executr_error *err)
{
    return ex_fail_field(
        err, field, "%s[%zu] must be a string without NUL", field, i);
}

/* Is it a string that C can hold? */
static int is_text(const ex_json *value)
{
    size_t length;

    if (ex_json_type(value) != EX_JSON_STRING)
        return 0;
    const char *text = ex_json_string(value, &length);
    return !memchr(text, 0, length);
}

executr_status ex_strings_read(
    const ex_json *array, const char *field, ex_arena *arena,
    const char ***items, size_t *count, executr_error *err)
{
    *items = NULL;
    *count = 0;
    if (array && ex_json_type(array) != EX_JSON_ARRAY)
        return ex_fail_field(err, field, "%s must be an array", field);
    size_t total = ex_json_count(array);
    const char **list = ex_arena_get(arena, total * sizeof *list);
    if (!list)
        return ex_fail_nomem(err);
    for (size_t i = 0; i < total; i++) {
        const ex_json *value = ex_json_at(array, i);
        if (!is_text(value))
            return fail_string(field, i, err);
        list[i] = ex_arena_strdup(arena, ex_json_string(value, NULL));
        if (!list[i])
            return ex_fail_nomem(err);
    }
    *items = list;
    *count = total;
    return EXECUTR_OK;
}

/* "NAME=value" in `arena`. */
static executr_status read_variable(
    const char *name, const ex_json *value, ex_arena *arena, const char **out,
    executr_error *err)
{
    size_t length;

    if (!*name || strchr(name, '='))
        return ex_fail_field(
            err, "env_variables",
            "env_variables has a name that is empty or holds '='");
    if (!is_text(value))
        return ex_fail_field(
            err, "env_variables",
            "env_variables: the value of %s must be a string without NUL",
            name);
    const char *text = ex_json_string(value, &length);
    size_t name_length = strlen(name);
    char *variable = ex_arena_get(arena, name_length + length + 2);
    if (!variable)
        return ex_fail_nomem(err);
    memcpy(variable, name, name_length + 1);
    variable[name_length] = '=';
    memcpy(variable + name_length + 1, text, length + 1);
    *out = variable;
    return EXECUTR_OK;
}

executr_status ex_environment_read(
    const ex_json *object, ex_arena *arena, const char ***items, size_t *count,
    executr_error *err)
{
    *items = NULL;
    *count = 0;
    if (object && ex_json_type(object) != EX_JSON_OBJECT)
        return ex_fail_field(
            err, "env_variables", "env_variables must be an object");
    size_t total = ex_json_count(object);
    const char **list = ex_arena_get(arena, total * sizeof *list);
    if (!list)
        return ex_fail_nomem(err);
    for (size_t i = 0; i < total; i++) {
        const char *name;
        const ex_json *value = ex_json_member(object, i, &name);
        executr_status st = read_variable(name, value, arena, &list[i], err);
        if (st)
            return st;
    }
    *items = list;
    *count = total;
    return EXECUTR_OK;
}

executr_status ex_duration_read(
    const ex_json *object, const char *name, int32_t positive, int64_t *ms,
    executr_error *err)
{
    const char *text = NULL;

    executr_status st = ex_json_read_string(object, name, &text, err);
    if (st || !text)
        return st;
    if (ex_duration_parse(text, ms))
        return ex_fail_field(
            err, name,
            "%s is no duration such as \"300ms\", \"90s\" or "
            "\"1h30m\"",
            name);
    if (positive && *ms == 0)
        return ex_fail_field(
            err, name, "%s must be longer than 0; leave it out for the default",
            name);
    return EXECUTR_OK;
}

executr_status ex_word_read(
    const ex_json *object, const char *name, int32_t (*parse)(const char *),
    int32_t *out, executr_error *err)
{
    const char *text = NULL;

    executr_status st = ex_json_read_string(object, name, &text, err);
    if (st || !text)
        return st;
    int32_t value = parse(text);
    if (!value)
        return ex_fail_field(err, name, "%s can't be \"%s\"", name, text);
    *out = value;
    return EXECUTR_OK;
}

executr_status ex_limits_read(
    const ex_json *object, const ex_limits *out, executr_error *err)
{
    static const char *const names[] = {
        "memory_mb", "cpu_seconds", "max_processes", "max_file_mb"};

    executr_status st =
        ex_duration_read(object, "timeout", 1, out->timeout_ms, err);
    if (!st)
        st = ex_duration_read(object, "kill_grace", 1, out->kill_grace_ms, err);
    for (int i = 0; i < 4 && !st; i++)
        st = ex_json_read_i64(
            object, names[i], 1, EX_LIMIT_MAX, out->numbers[i], err);
    if (!st)
        st = ex_word_read(
            object, "isolation", executr_isolation_parse, out->isolation, err);
    return st;
}

/* Fields with words, numbers and limits of a submission. */
static executr_status read_spec_numbers(
    const ex_json *object, executr_job_spec *spec, executr_error *err)
{
    const ex_limits rest = {
        &spec->timeout_ms,
        &spec->kill_grace_ms,
        {&spec->memory_mb, &spec->cpu_seconds, &spec->max_processes,
         &spec->max_file_mb},
        &spec->isolation};

    executr_status st = ex_word_read(
        object, "priority", executr_priority_parse, &spec->priority, err);
    if (!st)
        st = ex_json_read_i32(
            object, "max_retries", 0, EX_RETRIES_MAX, &spec->max_retries, err);
    if (!st)
        st = ex_json_read_bool(object, "exclusive", &spec->exclusive, err);
    return st ? st : ex_limits_read(object, &rest, err);
}

executr_status ex_spec_read(
    const ex_json *object, ex_arena *arena, executr_job_spec *out,
    executr_error *err)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    const char **arguments = NULL;
    const char **environment = NULL;

    if (ex_json_type(object) != EX_JSON_OBJECT)
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "a submission must be a JSON object");
    executr_status st = ex_json_read_string(object, "type", &spec.type, err);
    if (!st)
        st = ex_json_read_string(object, "binary_url", &spec.binary_url, err);
    if (!st)
        st = ex_json_read_string(
            object, "binary_sha256", &spec.binary_sha256, err);
    if (!st)
        st = ex_strings_read(
            ex_json_get(object, "arguments"), "arguments", arena, &arguments,
            &spec.argument_count, err);
    if (!st)
        st = ex_environment_read(
            ex_json_get(object, "env_variables"), arena, &environment,
            &spec.environment_count, err);
    spec.arguments = arguments;
    spec.environment = environment;
    if (!st)
        st = read_spec_numbers(object, &spec, err);
    if (!st)
        st = ex_spec_take(&spec, arena, &spec, err);
    if (!st)
        *out = spec;
    return st;
}

/* An answer that breaks the rules is the server's fault, not the caller's. */
executr_status ex_as_protocol(executr_status status, executr_error *err)
{
    if (status != EXECUTR_E_ARGUMENT)
        return status;
    if (err)
        err->status = EXECUTR_E_PROTOCOL;
    return EXECUTR_E_PROTOCOL;
}

executr_status ex_text_read(
    const ex_json *object, const char *name, ex_arena *arena, const char **out,
    executr_error *err)
{
    const char *text = NULL;

    executr_status st = ex_json_read_string(object, name, &text, err);
    if (st || !text)
        return st;
    const char *copy = ex_arena_strdup(arena, text);
    if (!copy)
        return ex_fail_nomem(err);
    *out = copy;
    return EXECUTR_OK;
}

executr_status ex_time_read(
    const ex_json *object, const char *name, int64_t *us, executr_error *err)
{
    const char *text = NULL;

    executr_status st = ex_json_read_string(object, name, &text, err);
    if (!st && text && ex_time_parse(text, us))
        st = ex_fail_field(
            err, name,
            "%s is no RFC 3339 time such as "
            "\"2026-01-01T12:00:00Z\"",
            name);
    return st;
}
