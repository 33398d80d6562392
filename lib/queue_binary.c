/* SPDX-License-Identifier: MIT */
/* Binaries kept in the store; hides their parts. */
#include "queue.h"

#include <string.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/sha256.h"

/* An upload under way. */
typedef struct upload {
    executr_queue *queue;
    ex_uuid id;
    ex_sha256 *hash;
    char *part; /* EX_BINARY_PART bytes */
    int64_t bytes;
    int64_t max_bytes; /* 0: no limit */
} upload;

static executr_status stored_size(
    executr_queue *queue, const char *sha256, int64_t *bytes,
    executr_error *err)
{
    return ex_queue_note(
        queue,
        queue->store->ops->binary_size(queue->store, sha256, bytes, err));
}

/* Fill one part as far as the source goes. */
static executr_status fill_part(
    upload *up, executr_read read, void *ctx, size_t *length,
    executr_error *err)
{
    size_t got = 1;

    *length = 0;
    while (*length < EX_BINARY_PART && got > 0) {
        size_t room = EX_BINARY_PART - *length;
        got = 0;
        if (read(ctx, up->part + *length, room, &got))
            return ex_fail(
                err, EXECUTR_E_CALLBACK, "the source of the binary failed");
        if (got > room)
            return ex_fail(
                err, EXECUTR_E_CALLBACK,
                "the source of the binary gave more than it was asked for");
        *length += got;
    }
    return EXECUTR_OK;
}

static executr_status store_parts(
    upload *up, executr_read read, void *ctx, executr_error *err)
{
    executr_store *store = up->queue->store;
    size_t length = EX_BINARY_PART;

    for (int32_t part = 0; length == EX_BINARY_PART; part++) {
        executr_status st = fill_part(up, read, ctx, &length, err);
        if (st)
            return st;
        if (length == 0)
            return EXECUTR_OK;
        up->bytes += (int64_t)length;
        if (up->max_bytes > 0 && up->bytes > up->max_bytes)
            return ex_fail(
                err, EXECUTR_E_TOO_LARGE,
                "the binary has more than %lld bytes, the most allowed",
                (long long)up->max_bytes);
        if (part == INT32_MAX)
            return ex_fail(
                err, EXECUTR_E_TOO_LARGE, "the binary has too many parts");
        ex_sha256_add(up->hash, up->part, length);
        st = ex_queue_note(
            up->queue, store->ops->binary_part(
                           store, &up->id, part, up->part, length, err));
        if (st)
            return st;
    }
    return EXECUTR_OK;
}

/* Begin, parts, end; what a failure leaves behind is dropped. */
static executr_status run_upload(
    upload *up, const char *sha256, executr_read read, void *ctx,
    int32_t *created, executr_error *err)
{
    executr_store *store = up->queue->store;
    char got[EX_SHA256_HEX];

    executr_status st =
        ex_queue_note(up->queue, store->ops->binary_begin(store, &up->id, err));
    if (st)
        return st;
    st = store_parts(up, read, ctx, err);
    if (!st) {
        ex_sha256_end(up->hash, got);
        if (strcmp(got, sha256) != 0)
            st = ex_fail(
                err, EXECUTR_E_MISMATCH,
                "what was sent hashes to %s, not to %s: nothing was kept", got,
                sha256);
    }
    if (!st)
        st = ex_queue_note(
            up->queue, store->ops->binary_end(
                           store, &up->id, sha256, up->bytes, created, err));
    if (st &&
        ex_queue_note(up->queue, store->ops->binary_drop(store, &up->id, NULL)))
        ex_log(
            &up->queue->options.log, EXECUTR_LOG_DEBUG,
            "an upload that failed stays until it is swept", "sha256", sha256,
            NULL);
    return st;
}

static executr_status upload_new(
    executr_queue *queue, const char *sha256, int64_t max_bytes,
    executr_read read, void *ctx, int32_t *created, executr_error *err)
{
    upload up = {.queue = queue, .max_bytes = max_bytes};
    void *memory = NULL;

    executr_status st = ex_uuid_make(&up.id, 1, err);
    if (!st)
        st = ex_sha256_open(&up.hash, err);
    if (!st)
        st = ex_alloc(&memory, EX_BINARY_PART, err);
    up.part = memory;
    if (!st)
        st = run_upload(&up, sha256, read, ctx, created, err);
    ex_free(memory);
    ex_sha256_free(up.hash);
    return st;
}

executr_status executr_queue_put_binary(
    executr_queue *queue, const char *sha256, executr_read read, void *ctx,
    int64_t max_bytes, int32_t *created, executr_error *err)
{
    char hex[EX_SHA256_HEX];
    int64_t bytes;

    *created = 0;
    executr_status st = ex_sha256_normalize(sha256, hex, "sha256", err);
    if (st)
        return st;
    st = stored_size(queue, hex, &bytes, err);
    if (st != EXECUTR_E_NOT_FOUND)
        return st;
    return upload_new(queue, hex, max_bytes, read, ctx, created, err);
}

executr_status executr_queue_binary_size(
    executr_queue *queue, const char *sha256, int64_t *bytes,
    executr_error *err)
{
    char hex[EX_SHA256_HEX];

    *bytes = 0;
    executr_status st = ex_sha256_normalize(sha256, hex, "sha256", err);
    return st ? st : stored_size(queue, hex, bytes, err);
}

/* The part that holds byte `offset`. */
static executr_status read_part(
    executr_queue *queue, const char *sha256, int64_t offset, ex_buf *part,
    executr_error *err)
{
    executr_store *store = queue->store;

    ex_buf_reset(part);
    executr_status st = ex_queue_note(
        queue,
        store->ops->binary_read(
            store, sha256, (int32_t)(offset / EX_BINARY_PART), part, err));
    if (!st)
        st = ex_buf_status(part, "a part of the binary", err);
    if (!st && part->length <= (size_t)(offset % EX_BINARY_PART))
        st = ex_fail(
            err, EXECUTR_E_INTERNAL,
            "the store has lost byte %lld of binary %s", (long long)offset,
            sha256);
    return st;
}

executr_status executr_queue_get_binary(
    executr_queue *queue, const char *sha256, int64_t offset,
    executr_write write, void *ctx, executr_error *err)
{
    char hex[EX_SHA256_HEX];
    ex_buf part;
    int64_t bytes = 0;

    ex_buf_init(&part, EX_BINARY_PART);
    executr_status st = ex_sha256_normalize(sha256, hex, "sha256", err);
    if (!st)
        st = stored_size(queue, hex, &bytes, err);
    if (!st && (offset < 0 || offset > bytes))
        st = ex_fail_field(
            err, "offset", "offset %lld lies outside the %lld bytes",
            (long long)offset, (long long)bytes);
    while (!st && offset < bytes) {
        st = read_part(queue, hex, offset, &part, err);
        if (st)
            break;
        size_t skip = (size_t)(offset % EX_BINARY_PART);
        if (write(ctx, part.data + skip, part.length - skip))
            st = ex_fail(
                err, EXECUTR_E_CALLBACK, "the receiver of the binary failed");
        offset += (int64_t)(part.length - skip);
    }
    ex_buf_clear(&part);
    return st;
}
