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
    uint32_t allow_link_local;  /* 1: also fetch from link-local addresses and
                                   metadata services */
    const char *directory;      /* ~/.executr/cache; made with mode 0700 */
    int64_t max_bytes;          /* evict least recently used; 400 MB */
    int64_t max_binary_bytes;   /* refuse larger ones; 4 GiB */
    int64_t network_timeout_ms; /* no byte for this long; 60 s */
    executr_log log;
    int64_t max_download_ms; /* for the whole of one; 1 h */
} executr_cache_options;

/* clang-format off */
#define EXECUTR_CACHE_OPTIONS_INIT \
    {sizeof(executr_cache_options), 0, NULL, 0, 0, 0, {NULL, NULL}, 0}
/* clang-format on */

/* E_IO when the directory is not this user's, others may write to it, or look
 * into what is in it. */
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
 * Pin the executable that hashes to `sha256` (64 hex digits) if this handle
 * has verified it and it is untouched since: OK and *out, or OK and NULL when
 * it would have to be hashed or fetched, which only a get does. Never blocks
 * for the network or for reading a file.
 */
EXECUTR_API executr_status executr_cache_peek(
    executr_cache *cache, const char *sha256, executr_pin **out,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Pin it, fetching it if need be: from `url` over HTTP(S), or through `fetch`
 * when it is not NULL. Blocks. A download from a URL that broke off is kept
 * for a day and continued by the next get. E_MISMATCH: something else was
 * served and nothing was kept. E_TOO_LARGE, E_NOT_FOUND (HTTP 404, 410),
 * E_UNAVAILABLE, E_TIMEOUT (worth another try), E_PROTOCOL (no such server, or
 * an address that is refused), E_IO (with errno in native: ENOSPC, EDQUOT or
 * EFBIG for a full disk, a used-up quota or files that may not grow so long).
 * E_TOO_LARGE is also for what can't fit on the disk however much is evicted.
 */
EXECUTR_API executr_status executr_cache_get(
    executr_cache *cache, const char *sha256, const char *url,
    executr_fetch fetch, void *fetch_ctx, executr_pin **out,
    executr_error *err) EXECUTR_CHECKED;

/* Gives up an executr_cache_obtain from another thread. */
typedef struct executr_cancel executr_cancel;

EXECUTR_API executr_status
executr_cancel_open(executr_cancel **out, executr_error *err) EXECUTR_CHECKED;

/* Any thread, any time; for good. */
EXECUTR_API void executr_cancel_call(executr_cancel *cancel);
EXECUTR_API void executr_cancel_free(executr_cancel *cancel);

typedef struct executr_cache_request {
    uint32_t struct_size;
    int32_t trusted; /* 1: `url` is no stranger's: any address is fine, and
                        redirects are not followed */
    const char *sha256;
    const char *url;
    const char *token;   /* sent to `url`; makes it trusted; or NULL */
    executr_fetch fetch; /* instead of `url`; or NULL */
    void *fetch_ctx;
    executr_cancel *cancel; /* of no other call under way; or NULL */
} executr_cache_request;

/* clang-format off */
#define EXECUTR_CACHE_REQUEST_INIT \
    {sizeof(executr_cache_request), 0, NULL, NULL, NULL, NULL, NULL, NULL}
/* clang-format on */

/*
 * The same as executr_cache_get, with all there is to say about the source.
 * E_CANCELLED when it was given up; a download under way goes on as long as
 * others wait for it, and this call with it.
 */
EXECUTR_API executr_status executr_cache_obtain(
    executr_cache *cache, const executr_cache_request *request,
    executr_pin **out, executr_error *err) EXECUTR_CHECKED;

/* The path of the pinned file, mode 0555; lasts as long as the pin. */
EXECUTR_API const char *executr_pin_path(const executr_pin *pin);
EXECUTR_API void executr_pin_free(executr_pin *pin);

/* What a cache holds, as it was when it was asked. */
typedef struct executr_cached executr_cached;

enum {
    EXECUTR_CACHED_READY = 1,
    EXECUTR_CACHED_FETCHING = 2, /* a download under way */
    EXECUTR_CACHED_PARTIAL = 3,  /* one that broke off, to be continued */
    EXECUTR_CACHED_BAD = 4,      /* was altered, and was removed for that */
    EXECUTR_CACHED_REMOVED = 5
};
/* "ready" and so on; NULL for others. */
EXECUTR_API const char *executr_cached_state_word(int32_t state);

/* Everything, least recently used first. */
EXECUTR_API executr_status executr_cache_list(
    executr_cache *cache, executr_cached **out,
    executr_error *err) EXECUTR_CHECKED;

/*
 * The same, with every executable hashed. Those that are not what their name
 * says are BAD and gone, also if they are pinned: nothing may run them again.
 * One that can't be read or removed fails the call after all were looked at.
 */
EXECUTR_API executr_status executr_cache_verify(
    executr_cache *cache, executr_cached **out,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Remove broken downloads and then executables, least recently used first,
 * until all is at most `max_bytes`, but nothing that is pinned or being fetched
 * by anybody. *out is everything that was there; what went is REMOVED. One that
 * can't be removed fails the call after others went in its place.
 */
EXECUTR_API executr_status executr_cache_prune(
    executr_cache *cache, int64_t max_bytes, executr_cached **out,
    executr_error *err) EXECUTR_CHECKED;

EXECUTR_API size_t executr_cached_count(const executr_cached *all);
EXECUTR_API const char *executr_cached_sha256(
    const executr_cached *all, size_t i);
EXECUTR_API int64_t executr_cached_bytes(const executr_cached *all, size_t i);
/* Of an executable the last use, else the last byte; 0: not known. */
EXECUTR_API int64_t
executr_cached_used_at_us(const executr_cached *all, size_t i);
EXECUTR_API int32_t executr_cached_pinned(const executr_cached *all, size_t i);
EXECUTR_API int32_t executr_cached_state(const executr_cached *all, size_t i);
/* An array of {"sha256","bytes","last_used_at","pinned","state"}. */
EXECUTR_API executr_status executr_cached_json(
    const executr_cached *all, executr_write write, void *ctx,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API void executr_cached_free(executr_cached *all);

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
