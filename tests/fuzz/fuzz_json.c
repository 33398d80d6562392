/* SPDX-License-Identifier: MIT */
/* Any text is parsed or refused; what is parsed can be written and read
 * again, and the writing does not change any more. */
#include "base/json.h"
#include "base/url.h"
#include "fuzz.h"

static void put(ex_json_writer *w, const ex_json *value);

static void put_members(ex_json_writer *w, const ex_json *object)
{
    for (size_t i = 0; i < ex_json_count(object); i++) {
        const char *name = NULL;
        const ex_json *value = ex_json_member(object, i, &name);
        must(name != NULL, "an object has as many members as it says");
        must(ex_json_get(object, name) == value, "a member is found by name");
        ex_json_put_string(w, name);
        ex_buf_putc(w->buf, ':');
        w->comma = 0;
        put(w, value);
    }
}

static void put_text(ex_json_writer *w, const ex_json *value)
{
    size_t length = 0;
    const char *text = ex_json_string(value, &length);
    must(ex_utf8_valid(text, length), "strings are valid UTF-8");
    ex_json_put_bytes(w, text, length);
}

/* A negative zero comes back as the integer 0, which is the same number. */
static void put_number(ex_json_writer *w, double number)
{
    ex_json_put_double(w, number < 0 || number > 0 ? number : 0);
}

/* Depth is bounded by the parser. */
static void put(ex_json_writer *w, const ex_json *value) /* NOLINT */
{
    switch (ex_json_type(value)) {
    case EX_JSON_BOOL:
        ex_json_put_bool(w, ex_json_bool(value));
        break;
    case EX_JSON_INT:
        ex_json_put_i64(w, ex_json_int(value));
        break;
    case EX_JSON_DOUBLE:
        put_number(w, ex_json_double(value));
        break;
    case EX_JSON_STRING:
        put_text(w, value);
        break;
    case EX_JSON_ARRAY:
        ex_json_open(w, '[');
        for (size_t i = 0; i < ex_json_count(value); i++)
            put(w, ex_json_at(value, i));
        ex_json_close(w, ']');
        break;
    case EX_JSON_OBJECT:
        ex_json_open(w, '{');
        put_members(w, value);
        ex_json_close(w, '}');
        break;
    default:
        ex_json_put_raw(w, "null", 4);
    }
}

static void write_again(const ex_json *document, ex_buf *out)
{
    ex_json_writer w;
    ex_buf_init(out, EX_BUF_UNLIMITED);
    ex_json_begin(&w, out);
    put(&w, document);
    must(!out->failed, "a document can be written");
}

static void check(const ex_json *document)
{
    ex_json *again = NULL;
    executr_error err;
    ex_buf first;
    ex_buf second;
    write_again(document, &first);
    must(
        ex_json_parse_nul(first.data, first.length, &again, &err) == EXECUTR_OK,
        "what was written is read");
    write_again(again, &second);
    must(
        first.length == second.length &&
            memcmp(first.data, second.data, first.length) == 0,
        "it is written the same again");
    ex_json_free(again);
    ex_buf_clear(&first);
    ex_buf_clear(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ex_json *strict = NULL;
    ex_json *loose = NULL;
    executr_error err;
    char *text = text_of(data, size);
    int is_strict = ex_json_parse(text, size, &strict, &err) == EXECUTR_OK;
    int is_loose = ex_json_parse_nul(text, size, &loose, &err) == EXECUTR_OK;
    must(!is_strict || is_loose, "allowing NULs refuses nothing");
    if (is_loose)
        check(loose);
    ex_json_free(strict);
    ex_json_free(loose);
    free(text);
    return 0;
}
