/* SPDX-License-Identifier: MIT */
/* Keeps the cache below its size, and clears what crashes left in it. */
#include "cache_survey.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/log.h"

#define PART_SECONDS (24 * 3600) /* a broken download is kept so long */

static executr_status remove_name(
    const executr_cache *cache, const char *directory, const char *name,
    executr_error *err)
{
    ex_cache_path path;

    ex_cache_join(cache, directory, name, &path);
    if (unlink(path.text) == 0 || errno == ENOENT)
        return EXECUTR_OK;
    return ex_cache_errno(err, errno, "cannot remove", path.text);
}

/*
 * Remove an executable that nobody has pinned. The lock file goes last: as
 * long as it has its name, nobody else can think that he holds the lock.
 */
static executr_status evict_object(
    executr_cache *cache, const char *sha256, int *evicted, executr_error *err)
{
    char name[72];
    int fd;

    executr_status st = ex_cache_lock(cache, sha256, 1, &fd, err);
    if (st || fd < 0)
        return st;
    ex_cache_object(sha256, name);
    st = remove_name(cache, "objects", name, err);
    *evicted = !st;
    if (!st)
        st = remove_name(cache, "locks", sha256, err);
    close(fd);
    if (*evicted)
        ex_cache_forget(cache, sha256);
    return st;
}

/* A download whose byte 1 is free has no writer any more. The note goes first:
 * a file without one is never continued. */
static executr_status evict_part(
    executr_cache *cache, const char *sha256, int *evicted, executr_error *err)
{
    char note[EX_SHA256_HEX + 8];
    int fd;
    int got = 0;

    executr_status st = ex_cache_lock(cache, sha256, 0, &fd, err);
    if (st)
        return st;
    st = ex_cache_lock_fetch(fd, &got, err);
    if (!st && got) {
        (void)snprintf(note, sizeof note, "%s" EX_CACHE_NOTE, sha256);
        st = remove_name(cache, "tmp", note, err);
        if (!st)
            st = remove_name(cache, "tmp", sha256, err);
        *evicted = !st;
    }
    close(fd);
    ex_cache_drop_lock(cache, sha256);
    return st;
}

executr_status ex_cache_evict_one(
    executr_cache *cache, const ex_cached *item, int *evicted,
    executr_error *err)
{
    int part = item->state == EXECUTR_CACHED_PARTIAL;

    *evicted = 0;
    executr_status st = part ? evict_part(cache, item->sha256, evicted, err)
                             : evict_object(cache, item->sha256, evicted, err);
    if (*evicted)
        ex_log(
            &cache->log, EXECUTR_LOG_DEBUG,
            part ? "removed a broken download" : "evicted a binary",
            "binary_sha256", item->sha256, NULL);
    return st;
}

/* Evict, oldest use first, until `bytes` came free or nothing is left; broken
 * downloads that nobody came back for go in any case. What can't be removed
 * stays, and the next one goes instead. */
static int64_t evict_bytes(
    executr_cache *cache, const ex_survey *s, int64_t bytes)
{
    executr_error why;
    int64_t freed = 0;
    int64_t left = s->bytes;
    int64_t failures = 0;
    time_t old = time(NULL) - PART_SECONDS;

    for (size_t i = 0; i < s->count; i++) {
        const ex_cached *item = &s->items[i];
        int part = item->state == EXECUTR_CACHED_PARTIAL;
        int evicted = 0;
        if (freed < bytes || (part && item->used.tv_sec < old))
            failures +=
                ex_cache_evict_one(cache, item, &evicted, &why) != EXECUTR_OK;
        if (!evicted)
            continue;
        freed += item->size;
        if (!part)
            left -= item->size;
    }
    if (failures)
        ex_log(
            &cache->log, EXECUTR_LOG_WARN, "some binaries can't be evicted",
            "count", EX_I64(failures), "error", why.message, NULL);
    pthread_mutex_lock(&cache->mutex);
    cache->bytes = left;
    pthread_mutex_unlock(&cache->mutex);
    return freed;
}

executr_status ex_cache_evict(
    executr_cache *cache, int64_t needed, const char *but, executr_error *err)
{
    ex_survey s;
    struct stat own;

    pthread_mutex_lock(&cache->evicting);
    executr_status st = ex_survey_take(cache, &s, err);
    if (!st && but && ex_cache_look(cache, "tmp", but, &own))
        s.fetched -= own.st_size; /* `needed` counts it */
    if (!st)
        evict_bytes(cache, &s, s.bytes + s.fetched - cache->max_bytes + needed);
    ex_free(s.items);
    pthread_mutex_unlock(&cache->evicting);
    return st;
}

executr_status ex_cache_free_disk(
    executr_cache *cache, int64_t bytes, int64_t *freed, executr_error *err)
{
    ex_survey s;

    *freed = 0;
    pthread_mutex_lock(&cache->evicting);
    executr_status st = ex_survey_take(cache, &s, err);
    if (!st)
        *freed = evict_bytes(cache, &s, bytes);
    ex_free(s.items);
    pthread_mutex_unlock(&cache->evicting);
    return st;
}

void ex_cache_drop_lock(executr_cache *cache, const char *sha256)
{
    ex_cache_path path;
    struct stat info;
    char name[72];
    int fd;

    /* A lock file too many costs an inode until the next open, no more. */
    if (ex_cache_lock(cache, sha256, 1, &fd, NULL) || fd < 0)
        return;
    ex_cache_object(sha256, name);
    if (!ex_cache_look(cache, "objects", name, &info)) {
        ex_cache_join(cache, "locks", sha256, &path);
        unlink(path.text);
    }
    close(fd);
}

static executr_status sweep_lock(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err)
{
    struct stat info;
    char object[72];

    (void)directory;
    (void)ctx;
    (void)err;
    if (!ex_sha256_valid(name))
        return EXECUTR_OK;
    ex_cache_object(name, object);
    if (!ex_cache_look(cache, "objects", object, &info))
        ex_cache_drop_lock(cache, name);
    return EXECUTR_OK;
}

/* A download without its note, or a note without its download, is of no use.
 * What is looked at before the lock is looked at again by nobody: at worst a
 * download that ends right now begins anew. */
static executr_status sweep_part(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err)
{
    ex_cached item = {.state = EXECUTR_CACHED_PARTIAL};
    char other[EX_SHA256_HEX + 8];
    struct stat info;
    executr_error why;
    int evicted;
    size_t length = strlen(name);

    (void)ctx;
    (void)err;
    if (length >= EX_SHA256_HEX + 8)
        return EXECUTR_OK;
    (void)snprintf(item.sha256, sizeof item.sha256, "%.64s", name);
    if (!ex_sha256_valid(item.sha256))
        return EXECUTR_OK;
    const char *rest = name + EX_SHA256_HEX - 1;
    if (*rest && strcmp(rest, EX_CACHE_NOTE) != 0)
        return EXECUTR_OK;
    (void)snprintf(
        other, sizeof other, "%s%s", item.sha256, *rest ? "" : EX_CACHE_NOTE);
    if (ex_cache_look(cache, directory, other, &info))
        return EXECUTR_OK;
    if (ex_cache_evict_one(cache, &item, &evicted, &why))
        ex_log(
            &cache->log, EXECUTR_LOG_WARN, "cannot remove an old download",
            "binary_sha256", item.sha256, "error", why.message, NULL);
    return EXECUTR_OK;
}

void ex_cache_sweep(executr_cache *cache)
{
    executr_error err;

    executr_status st = ex_cache_walk(cache, "tmp", sweep_part, NULL, &err);
    if (!st)
        st = ex_cache_walk(cache, "locks", sweep_lock, NULL, &err);
    if (st)
        ex_log(
            &cache->log, EXECUTR_LOG_WARN,
            "cannot clear old downloads from the cache", "error", err.message,
            NULL);
}
