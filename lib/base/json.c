/* SPDX-License-Identifier: MIT */
/*
 * Reading JSON; hides the JSON library. An ex_json is a json_object seen from
 * outside; JSON null is NULL for both.
 */
#include "base/json.h"

#include <json-c/json.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/json_scan.h"

static struct json_object *inside(const ex_json *value)
{
    return (struct json_object *)(uintptr_t)value;
}

static ex_json *outside(struct json_object *object)
{
    return (ex_json *)object;
}

/*
 * Adds up the members under `object`, whose depth the scan has bounded; -1
 * for a number that became infinite.
 */
static int count_members(struct json_object *object, size_t *members)
{
    struct lh_entry *entry;
    int bad = 0;

    switch (json_object_get_type(object)) {
    case json_type_double:
        return isfinite(json_object_get_double(object)) ? 0 : -1;
    case json_type_object:
        entry = json_object_get_object(object)->head;
        for (; entry && !bad; entry = lh_entry_next(entry)) {
            (*members)++;
            bad =
                count_members((struct json_object *)lh_entry_v(entry), members);
        }
        return bad;
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(object) && !bad; i++)
            bad = count_members(json_object_array_get_idx(object, i), members);
        return bad;
    default:
        return 0;
    }
}

/*
 * Builds what the scan has accepted. The library takes memory for as many
 * levels as it is told; it also counts a scalar as one.
 */
static executr_status build(
    const char *text, size_t length, int32_t depth, struct json_object **out,
    executr_error *err)
{
    struct json_tokener *tok = json_tokener_new_ex(depth + 2);

    if (!tok)
        return ex_fail_nomem(err);
    json_tokener_set_flags(
        tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    *out = json_tokener_parse_ex(tok, text, (int)length);
    /* A number may go on until it sees the end. */
    if (json_tokener_get_error(tok) == json_tokener_continue)
        *out = json_tokener_parse_ex(tok, "", 1);
    enum json_tokener_error error = json_tokener_get_error(tok);
    json_tokener_free(tok);
    if (error == json_tokener_success)
        return EXECUTR_OK;
    return ex_fail(
        err, EXECUTR_E_ARGUMENT, "invalid JSON: %s",
        json_tokener_error_desc(error));
}

static executr_status parse(
    const char *text, size_t length, int32_t allow_nul, ex_json **out,
    executr_error *err)
{
    ex_json_scan scan = {.allow_nul = allow_nul};
    struct json_object *object = NULL;
    size_t members = 0;

    *out = NULL;
    if (length > INT_MAX)
        return ex_fail(
            err, EXECUTR_E_TOO_LARGE,
            "a JSON text is longer than 2 GiB, the most allowed");
    executr_status st = ex_json_scan_text(&scan, text, length, err);
    if (!st)
        st = build(text, length, scan.deepest, &object, err);
    if (st)
        return st;
    if (count_members(object, &members))
        st = ex_fail(
            err, EXECUTR_E_ARGUMENT, "invalid JSON: a number is too large");
    else if (members != scan.members) /* the library keeps the last one */
        st = ex_fail(
            err, EXECUTR_E_ARGUMENT,
            "invalid JSON: an object has two members of the same name");
    if (st)
        json_object_put(object);
    else
        *out = outside(object);
    return st;
}

executr_status ex_json_parse(
    const char *text, size_t length, ex_json **out, executr_error *err)
{
    return parse(text, length, 0, out, err);
}

executr_status ex_json_parse_nul(
    const char *text, size_t length, ex_json **out, executr_error *err)
{
    return parse(text, length, 1, out, err);
}

void ex_json_free(ex_json *document)
{
    json_object_put(inside(document));
}

int ex_json_type(const ex_json *value)
{
    switch (json_object_get_type(inside(value))) {
    case json_type_boolean:
        return EX_JSON_BOOL;
    case json_type_int:
        return EX_JSON_INT;
    case json_type_double:
        return EX_JSON_DOUBLE;
    case json_type_string:
        return EX_JSON_STRING;
    case json_type_array:
        return EX_JSON_ARRAY;
    case json_type_object:
        return EX_JSON_OBJECT;
    default:
        return EX_JSON_NULL;
    }
}

ex_json *ex_json_get(const ex_json *object, const char *name)
{
    struct json_object *value = NULL;

    if (ex_json_type(object) != EX_JSON_OBJECT)
        return NULL;
    json_object_object_get_ex(inside(object), name, &value);
    return outside(value);
}

size_t ex_json_count(const ex_json *value)
{
    int type = ex_json_type(value);

    if (type == EX_JSON_ARRAY)
        return json_object_array_length(inside(value));
    if (type == EX_JSON_OBJECT)
        return (size_t)json_object_object_length(inside(value));
    return 0;
}

ex_json *ex_json_at(const ex_json *array, size_t i)
{
    if (ex_json_type(array) != EX_JSON_ARRAY)
        return NULL;
    return outside(json_object_array_get_idx(inside(array), i));
}

/* Where a walk over an object's members stands; kept with the object. */
typedef struct place {
    size_t index;
    struct lh_entry *entry;
} place;

static void free_place(struct json_object *object, void *memory)
{
    (void)object;
    ex_free(memory);
}

/* The object's place, made when first asked for; NULL when memory is out. */
static place *place_of(struct json_object *object)
{
    void *memory = json_object_get_userdata(object);

    if (!memory && ex_alloc(&memory, sizeof(place), NULL) == EXECUTR_OK)
        json_object_set_userdata(object, memory, free_place);
    return memory;
}

ex_json *ex_json_member(const ex_json *object, size_t i, const char **name)
{
    *name = NULL;
    if (ex_json_type(object) != EX_JSON_OBJECT)
        return NULL;
    struct json_object *of = inside(object);
    place *at = place_of(of);
    size_t index = 0;
    struct lh_entry *entry = json_object_get_object(of)->head;
    if (at && at->entry && at->index <= i) {
        index = at->index;
        entry = at->entry;
    }
    for (; entry && index < i; index++)
        entry = lh_entry_next(entry);
    if (!entry)
        return NULL;
    if (at)
        *at = (place){index, entry};
    *name = lh_entry_k(entry);
    return outside((struct json_object *)lh_entry_v(entry));
}

const char *ex_json_string(const ex_json *value, size_t *length)
{
    if (length)
        *length = (size_t)json_object_get_string_len(inside(value));
    return json_object_get_string(inside(value));
}

int64_t ex_json_int(const ex_json *value)
{
    return json_object_get_int64(inside(value));
}

double ex_json_double(const ex_json *value)
{
    return json_object_get_double(inside(value));
}

int32_t ex_json_bool(const ex_json *value)
{
    return json_object_get_boolean(inside(value)) ? 1 : 0;
}
