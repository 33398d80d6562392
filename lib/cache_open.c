/* SPDX-License-Identifier: MIT */
/* Opens and closes caches: options, the directory, what a crash left. */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/fs.h"
#include "base/options.h"

#define DEFAULT_DIRECTORY "~/.executr/cache"
#define DEFAULT_MAX_BYTES (INT64_C(400) << 20)
#define DEFAULT_MAX_BINARY (INT64_C(4) << 30)
#define DEFAULT_TIMEOUT_MS INT64_C(60000)
#define DEFAULT_DOWNLOAD_MS INT64_C(3600000)
#define LONGEST_ROOT (PATH_MAX - 128) /* room for the names below it */

static executr_status choose(
    int64_t given, int64_t fallback, const char *field, int64_t *out,
    executr_error *err)
{
    if (given < 0)
        return ex_fail_field(err, field, "%s must not be negative", field);
    *out = given ? given : fallback;
    return EXECUTR_OK;
}

/* Programs are run by their path from other directories: make it absolute. */
static executr_status set_root(
    executr_cache *cache, const char *directory, executr_error *err)
{
    char real[PATH_MAX];
    ex_buf path;
    int fd = -1;

    ex_buf_init(&path, EX_BUF_UNLIMITED);
    executr_status st =
        ex_fs_expand(&path, directory ? directory : DEFAULT_DIRECTORY, err);
    if (!st)
        st = ex_fs_open_own("cache directory", path.data, &fd, err);
    if (st)
        goto done;
    if (!realpath(path.data, real))
        st = ex_cache_errno(err, errno, "cannot resolve", path.data);
    else if (strlen(real) > LONGEST_ROOT)
        st = ex_fail_field(
            err, "directory", "the path of the cache is longer than %d bytes",
            (int)LONGEST_ROOT);
    else
        st = ex_strdup(&cache->root, real, err);
done:
    if (fd >= 0)
        close(fd);
    ex_buf_clear(&path);
    return st;
}

static executr_status set_options(
    executr_cache *cache, const executr_cache_options *options,
    executr_error *err)
{
    executr_cache_options opt;

    executr_status st =
        ex_options_read(&opt, sizeof opt, sizeof opt, options, err);
    if (!st)
        st = choose(
            opt.max_bytes, DEFAULT_MAX_BYTES, "max_bytes", &cache->max_bytes,
            err);
    if (!st)
        st = choose(
            opt.max_binary_bytes, DEFAULT_MAX_BINARY, "max_binary_bytes",
            &cache->max_binary_bytes, err);
    if (!st)
        st = choose(
            opt.network_timeout_ms, DEFAULT_TIMEOUT_MS, "network_timeout_ms",
            &cache->network_timeout_ms, err);
    if (!st)
        st = choose(
            opt.max_download_ms, DEFAULT_DOWNLOAD_MS, "max_download_ms",
            &cache->max_download_ms, err);
    cache->allow_link_local = opt.allow_link_local != 0;
    cache->log = opt.log;
    return st ? st : set_root(cache, opt.directory, err);
}

executr_status executr_cache_open(
    const executr_cache_options *options, executr_cache **out,
    executr_error *err)
{
    void *memory;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(executr_cache), err);
    if (st)
        return st;
    executr_cache *cache = memory;
    pthread_mutex_init(&cache->mutex, NULL);
    pthread_mutex_init(&cache->evicting, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&cache->changed, &clock);
    pthread_condattr_destroy(&clock);
    st = set_options(cache, options, err);
    if (!st)
        st = ex_cache_make_dirs(cache, err);
    if (st)
        goto done;
    ex_cache_sweep(cache);
    st = ex_cache_evict(cache, 0, NULL, err);
done:
    if (st)
        executr_cache_free(cache);
    else
        *out = cache;
    return st;
}

void executr_cache_free(executr_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < EX_CACHE_SLOTS; i++) {
        while (cache->slots[i]) {
            ex_entry *entry = cache->slots[i];
            cache->slots[i] = entry->next;
            if (entry->lock_fd >= 0)
                close(entry->lock_fd);
            ex_free(entry);
        }
    }
    while (cache->idle_count)
        ex_http_free(cache->idle[--cache->idle_count]);
    pthread_cond_destroy(&cache->changed);
    pthread_mutex_destroy(&cache->evicting);
    pthread_mutex_destroy(&cache->mutex);
    ex_free(cache->root);
    ex_free(cache);
}
