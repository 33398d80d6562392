/* SPDX-License-Identifier: MIT */
/*
 * JSON. Reading wraps the JSON library, strictly: depth 32, valid UTF-8, no
 * trailing bytes, no NaN, no duplicate keys, no NUL inside strings. Writing is
 * our own, straight into an ex_buf, and turns invalid UTF-8 into U+FFFD.
 */
#ifndef EX_BASE_JSON_H
#define EX_BASE_JSON_H

#include "base/buf.h"

#define EX_JSON_MAX_DEPTH 32

/* A parsed document or a value inside one. Values live as long as the
 * document they came from. */
typedef struct ex_json ex_json;

/* Parse a whole text. E_ARGUMENT says what is wrong and at which byte. */
executr_status ex_json_parse(
    const char *text, size_t length, ex_json **out,
    executr_error *err) EXECUTR_CHECKED;

/*
 * The same, but strings that are no names may hold NULs (outputs do): read
 * those with ex_json_string and its length; ex_json_read_string refuses them.
 */
executr_status ex_json_parse_nul(
    const char *text, size_t length, ex_json **out,
    executr_error *err) EXECUTR_CHECKED;
void ex_json_free(ex_json *document);

enum {
    EX_JSON_NULL,
    EX_JSON_BOOL,
    EX_JSON_INT,
    EX_JSON_DOUBLE,
    EX_JSON_STRING,
    EX_JSON_ARRAY,
    EX_JSON_OBJECT
};
int ex_json_type(const ex_json *value); /* NULL value: EX_JSON_NULL */

/* Members and elements; NULL when absent (or JSON null). */
ex_json *ex_json_get(const ex_json *object, const char *name);
size_t ex_json_count(const ex_json *value); /* of an array or object, else 0 */
ex_json *ex_json_at(const ex_json *array, size_t i);
/* The i-th member of an object in the order written. O(1) when walked in
 * order from 0. */
ex_json *ex_json_member(const ex_json *object, size_t i, const char **name);

/* Unchecked access to a value of known type. */
const char *ex_json_string(const ex_json *value, size_t *length);
int64_t ex_json_int(const ex_json *value);
double ex_json_double(const ex_json *value); /* of INT or DOUBLE */
int32_t ex_json_bool(const ex_json *value);

/*
 * Typed members of an object: *out is left alone when the member is absent or
 * null; a wrong type or range is E_ARGUMENT with the field named. Strings are
 * borrowed from the document.
 */
executr_status ex_json_read_string(
    const ex_json *object, const char *name, const char **out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_json_read_i64(
    const ex_json *object, const char *name, int64_t min, int64_t max,
    int64_t *out, executr_error *err) EXECUTR_CHECKED;
executr_status ex_json_read_i32(
    const ex_json *object, const char *name, int32_t min, int32_t max,
    int32_t *out, executr_error *err) EXECUTR_CHECKED;
executr_status ex_json_read_double(
    const ex_json *object, const char *name, double *out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_json_read_bool(
    const ex_json *object, const char *name, int32_t *out,
    executr_error *err) EXECUTR_CHECKED;
/* An array or object member (kind EX_JSON_ARRAY or EX_JSON_OBJECT). */
executr_status ex_json_read_container(
    const ex_json *object, const char *name, int kind, ex_json **out,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Writing. A writer keeps track of commas; the caller keeps braces balanced.
 * Failures stick in the buffer.
 */
typedef struct ex_json_writer {
    ex_buf *buf;
    int32_t comma; /* the next value needs one in front */
} ex_json_writer;

/* How many bytes from the start of a text stand in a JSON string as they are:
 * up to a quotation mark, a backslash, a control character or what is no
 * UTF-8. */
size_t ex_json_plain(const void *text, size_t length);

void ex_json_begin(ex_json_writer *w, ex_buf *buf);
void ex_json_open(ex_json_writer *w, char brace);      /* '{' or '[' */
void ex_json_close(ex_json_writer *w, char brace);     /* '}' or ']' */
void ex_json_key(ex_json_writer *w, const char *name); /* plain ASCII name */
void ex_json_put_string(ex_json_writer *w, const char *text);
void ex_json_put_bytes(ex_json_writer *w, const void *data, size_t length);
void ex_json_put_i64(ex_json_writer *w, int64_t value);
void ex_json_put_double(ex_json_writer *w, double value);
void ex_json_put_bool(ex_json_writer *w, int32_t value);
/* A text that is JSON already, copied as it is. */
void ex_json_put_raw(ex_json_writer *w, const char *json, size_t length);
/* Key and value in one; the string one writes nothing for NULL. */
void ex_json_add_string(ex_json_writer *w, const char *name, const char *text);
void ex_json_add_i64(ex_json_writer *w, const char *name, int64_t value);
void ex_json_add_bool(ex_json_writer *w, const char *name, int32_t value);
/* RFC 3339 with microseconds; nothing for 0. */
void ex_json_add_time(ex_json_writer *w, const char *name, int64_t us);

#endif
