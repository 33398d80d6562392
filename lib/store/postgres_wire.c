/* SPDX-License-Identifier: MIT */
/* Parameters and results in PostgreSQL's binary form. */
#include "store/postgres.h"

#include <string.h>

/* PostgreSQL counts µs from the year 2000. */
#define EPOCH_US INT64_C(946684800000000)

static void put_u32(ex_buf *buf, uint32_t value)
{
    const char bytes[4] = {
        (char)(value >> 24), (char)(value >> 16), (char)(value >> 8),
        (char)value};

    ex_buf_add(buf, bytes, sizeof bytes);
}

static void put_u64(ex_buf *buf, uint64_t value)
{
    put_u32(buf, (uint32_t)(value >> 32));
    put_u32(buf, (uint32_t)value);
}

void ex_params_init(ex_params *p)
{
    memset(p, 0, sizeof *p);
    ex_buf_init(&p->bytes, EX_PG_MESSAGE_MAX);
}

void ex_params_clear(ex_params *p)
{
    ex_buf_clear(&p->bytes);
    p->count = 0;
}

static void begin(ex_params *p, uint32_t type, int is_array)
{
    if (p->count == EX_PG_PARAMS_MAX) {
        p->bytes.failed = EXECUTR_E_TOO_LARGE;
        return;
    }
    p->types[p->count] = type;
    p->is_array[p->count] = is_array;
    p->items[p->count] = 0;
    p->starts[p->count] = p->bytes.length;
    p->count++;
}

void ex_params_one(ex_params *p, uint32_t type)
{
    begin(p, type, 0);
}

static uint32_t element_of(uint32_t array)
{
    switch (array) {
    case EX_PG_BOOLS:
        return EX_PG_BOOL;
    case EX_PG_BYTEAS:
        return EX_PG_BYTEA;
    case EX_PG_INT4S:
        return EX_PG_INT4;
    case EX_PG_INT8S:
        return EX_PG_INT8;
    case EX_PG_FLOAT8S:
        return EX_PG_FLOAT8;
    case EX_PG_UUIDS:
        return EX_PG_UUID;
    default:
        return EX_PG_TEXT;
    }
}

/* Dimensions, flags, element type, then length and lower bound of the one
 * dimension; an empty array has no dimension. */
void ex_params_array(ex_params *p, uint32_t type, size_t count)
{
    begin(p, type, 1);
    put_u32(&p->bytes, count ? 1 : 0);
    put_u32(&p->bytes, 0);
    put_u32(&p->bytes, element_of(type));
    if (count) {
        put_u32(&p->bytes, (uint32_t)count);
        put_u32(&p->bytes, 1);
    }
}

/* The length in front of an item. */
static void begin_item(ex_params *p, int kind, uint32_t length)
{
    if (p->count)
        p->items[p->count - 1] |= kind;
    put_u32(&p->bytes, length);
}

void ex_item_null(ex_params *p)
{
    begin_item(p, EX_PG_NULLS, UINT32_MAX);
}

void ex_item_bytes(ex_params *p, const void *data, size_t length)
{
    if (!data) {
        ex_item_null(p);
        return;
    }
    if (length > EX_PG_MESSAGE_MAX) {
        p->bytes.failed = EXECUTR_E_TOO_LARGE;
        return;
    }
    begin_item(p, EX_PG_VALUES, (uint32_t)length);
    ex_buf_add(&p->bytes, data, length);
}

void ex_item_text(ex_params *p, const char *text)
{
    ex_item_bytes(p, text, text ? strlen(text) : 0);
}

void ex_item_text_or_null(ex_params *p, const char *text)
{
    ex_item_text(p, text && *text ? text : NULL);
}

void ex_item_bool(ex_params *p, int32_t value)
{
    begin_item(p, EX_PG_VALUES, 1);
    ex_buf_putc(&p->bytes, value ? 1 : 0);
}

void ex_item_i32(ex_params *p, int32_t value)
{
    begin_item(p, EX_PG_VALUES, 4);
    put_u32(&p->bytes, (uint32_t)value);
}

void ex_item_i64(ex_params *p, int64_t value)
{
    begin_item(p, EX_PG_VALUES, 8);
    put_u64(&p->bytes, (uint64_t)value);
}

void ex_item_f64(ex_params *p, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    begin_item(p, EX_PG_VALUES, 8);
    put_u64(&p->bytes, bits);
}

void ex_item_uuid(ex_params *p, const ex_uuid *id)
{
    ex_item_bytes(p, id ? id->bytes : NULL, sizeof id->bytes);
}

/* Big-endian, of whatever width came; 0 for NULL. */
static uint64_t number(const PGresult *rows, int row, int column)
{
    const unsigned char *at =
        (const unsigned char *)PQgetvalue(rows, row, column);
    int length = PQgetlength(rows, row, column);
    uint64_t value = 0;

    for (int i = 0; i < length && i < 8; i++)
        value = value << 8 | at[i];
    return value;
}

int32_t ex_pg_i32(const PGresult *rows, int row, int column)
{
    return (int32_t)(uint32_t)number(rows, row, column);
}

int64_t ex_pg_i64(const PGresult *rows, int row, int column)
{
    return (int64_t)number(rows, row, column);
}

double ex_pg_f64(const PGresult *rows, int row, int column)
{
    uint64_t bits = number(rows, row, column);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

int32_t ex_pg_bool(const PGresult *rows, int row, int column)
{
    return number(rows, row, column) != 0;
}

int64_t ex_pg_time(const PGresult *rows, int row, int column)
{
    if (PQgetisnull(rows, row, column))
        return 0;
    return ex_pg_i64(rows, row, column) + EPOCH_US;
}

ex_uuid ex_pg_uuid(const PGresult *rows, int row, int column)
{
    ex_uuid id = {{0}};

    if (PQgetlength(rows, row, column) == (int)sizeof id.bytes)
        memcpy(id.bytes, PQgetvalue(rows, row, column), sizeof id.bytes);
    return id;
}

const char *ex_pg_text(const PGresult *rows, int row, int column)
{
    return PQgetvalue(rows, row, column);
}
