/* SPDX-License-Identifier: MIT */
/* Typed members of JSON objects, with errors that name the field. */
#include "base/json.h"

#include <inttypes.h>
#include <string.h>

#include "base/fail.h"

executr_status ex_json_read_string(
    const ex_json *object, const char *name, const char **out,
    executr_error *err)
{
    const ex_json *value = ex_json_get(object, name);
    size_t length;

    if (!value)
        return EXECUTR_OK;
    if (ex_json_type(value) != EX_JSON_STRING)
        return ex_fail_field(err, name, "%s must be a string", name);
    const char *text = ex_json_string(value, &length);
    if (strlen(text) != length)
        return ex_fail_field(err, name, "%s must not contain a NUL", name);
    *out = text;
    return EXECUTR_OK;
}

executr_status ex_json_read_i64(
    const ex_json *object, const char *name, int64_t min, int64_t max,
    int64_t *out, executr_error *err)
{
    const ex_json *value = ex_json_get(object, name);

    if (!value)
        return EXECUTR_OK;
    if (ex_json_type(value) != EX_JSON_INT)
        return ex_fail_field(err, name, "%s must be an integer", name);
    int64_t number = ex_json_int(value);
    if (number < min || number > max)
        return ex_fail_field(
            err, name, "%s is %" PRId64 ", but must be %" PRId64 " to %" PRId64,
            name, number, min, max);
    *out = number;
    return EXECUTR_OK;
}

executr_status ex_json_read_i32(
    const ex_json *object, const char *name, int32_t min, int32_t max,
    int32_t *out, executr_error *err)
{
    int64_t number = *out;

    executr_status st = ex_json_read_i64(object, name, min, max, &number, err);
    if (!st)
        *out = (int32_t)number;
    return st;
}

executr_status ex_json_read_double(
    const ex_json *object, const char *name, double *out, executr_error *err)
{
    const ex_json *value = ex_json_get(object, name);
    int type = ex_json_type(value);

    if (!value)
        return EXECUTR_OK;
    if (type != EX_JSON_INT && type != EX_JSON_DOUBLE)
        return ex_fail_field(err, name, "%s must be a number", name);
    *out = ex_json_double(value);
    return EXECUTR_OK;
}

executr_status ex_json_read_bool(
    const ex_json *object, const char *name, int32_t *out, executr_error *err)
{
    const ex_json *value = ex_json_get(object, name);

    if (!value)
        return EXECUTR_OK;
    if (ex_json_type(value) != EX_JSON_BOOL)
        return ex_fail_field(err, name, "%s must be true or false", name);
    *out = ex_json_bool(value);
    return EXECUTR_OK;
}

executr_status ex_json_read_container(
    const ex_json *object, const char *name, int kind, ex_json **out,
    executr_error *err)
{
    ex_json *value = ex_json_get(object, name);

    if (!value)
        return EXECUTR_OK;
    if (ex_json_type(value) != kind)
        return ex_fail_field(
            err, name, "%s must be an %s", name,
            kind == EX_JSON_ARRAY ? "array" : "object");
    *out = value;
    return EXECUTR_OK;
}
