/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_CACHE_H
#define EXECUTR_CACHE_H

#include <executr/base.h>

EXECUTR_BEGIN_DECLS

/*
 * A directory of executables named by their SHA-256, filled on demand, each
 * fetched once however many ask for it, in one process or in several sharing
 * the directory. A handle is safe for any number of threads. A crash at any
 * point leaves a valid cache: what stands under its name is whole and hashed.
 */
typedef struct executr_cache executr_cache;

typedef struct executr_cache_options {
    uint32_t struct_size;
    uint32_t reserved;          /* 0 */
    const char *directory;      /* ~/.executr/cache; made with mode 0700 */
    int64_t max_bytes;          /* evict least recently used; 400 MB */
    int64_t max_binary_bytes;   /* refuse larger ones; 4 GiB */
    int64_t network_timeout_ms; /* no byte for this long; 60 s */
    executr_log log;
} executr_cache_options;

/* clang-format off */
#define EXECUTR_CACHE_OPTIONS_INIT \
    {sizeof(executr_cache_options), 0, NULL, 0, 0, 0, {NULL, NULL}}
/* clang-format on */

EXECUTR_API executr_status executr_cache_open(
    const executr_cache_options *options, executr_cache **out,
    executr_error *err) EXECUTR_CHECKED;

/* Close the handle; pins must be given back. The files stay. */
EXECUTR_API void executr_cache_free(executr_cache *cache);

/* An executable in use: it is not evicted while pinned. */
typedef struct executr_pin executr_pin;

/*
 * Fills `write` with the bytes of a binary, for executr_cache_get. Returns OK
 * or what went wrong; the cache hashes and limits what it gets.
 */
typedef executr_status (*executr_fetch)(
    void *ctx, const char *sha256, executr_write write, void *write_ctx,
    executr_error *err);

/*
 * Pin the executable that hashes to `sha256` (64 hex digits) if it is there
 * and untouched since it was verified: OK and *out, or OK and NULL when it
 * would have to be fetched. Never touches the network; may hash the file if
 * this process has not verified it yet.
 */
EXECUTR_API executr_status executr_cache_peek(
    executr_cache *cache, const char *sha256, executr_pin **out,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Pin it, fetching it if need be: from `url` over HTTP(S), or through `fetch`
 * when it is not NULL. Blocks. E_MISMATCH: something else was served and
 * nothing was kept. E_TOO_LARGE, E_NOT_FOUND (HTTP 404, 410), E_UNAVAILABLE
 * (worth another try), E_IO (with errno in native: ENOSPC for a full disk).
 */
EXECUTR_API executr_status executr_cache_get(
    executr_cache *cache, const char *sha256, const char *url,
    executr_fetch fetch, void *fetch_ctx, executr_pin **out,
    executr_error *err) EXECUTR_CHECKED;

/* The path of the pinned file, mode 0555; lasts as long as the pin. */
EXECUTR_API const char *executr_pin_path(const executr_pin *pin);
EXECUTR_API void executr_pin_free(executr_pin *pin);

enum {
    EXECUTR_CACHE_HITS = 1,
    EXECUTR_CACHE_MISSES = 2,
    EXECUTR_CACHE_BYTES = 3,
    EXECUTR_CACHE_MAX_BYTES = 4
};
/* One of the figures above, counted since the handle was opened. */
EXECUTR_API int64_t executr_cache_figure(executr_cache *cache, int32_t which);

EXECUTR_END_DECLS

#endif
