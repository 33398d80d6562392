/* SPDX-License-Identifier: MIT */
/* Keeps the cache below its size, and clears what crashes left in it. */
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/log.h"

typedef struct candidate {
    char sha256[EX_SHA256_HEX];
    int64_t size;
    struct timespec used;
} candidate;

/* What the directory holds at one moment. */
typedef struct survey {
    candidate *items;
    size_t count;
    size_t capacity;
    int64_t bytes;   /* of the executables */
    int64_t fetched; /* of downloads under way */
} survey;

/* Visit the names in root/directory; what is not ours is not touched, so
 * names that are no hash are skipped where hashes are wanted. */
typedef executr_status (*visit)(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err);

static executr_status walk(
    executr_cache *cache, const char *directory, visit each, void *ctx,
    executr_error *err)
{
    ex_cache_path path;

    ex_cache_join(cache, directory, "", &path);
    DIR *dir = opendir(path.text);
    if (!dir && (errno == ENOENT || errno == ENOTDIR))
        return EXECUTR_OK;
    if (!dir)
        return ex_cache_errno(err, errno, "cannot open", path.text);
    executr_status st = EXECUTR_OK;
    while (!st) {
        errno = 0;
        struct dirent *item = readdir(dir);
        if (!item && errno)
            st = ex_cache_errno(err, errno, "cannot read", path.text);
        if (!item)
            break;
        if (item->d_name[0] != '.')
            st = each(cache, directory, item->d_name, ctx, err);
    }
    closedir(dir);
    return st;
}

static int look(
    const executr_cache *cache, const char *directory, const char *name,
    struct stat *out)
{
    ex_cache_path path;

    ex_cache_join(cache, directory, name, &path);
    return lstat(path.text, out) == 0;
}

static executr_status grow(survey *s, executr_error *err)
{
    void *items = s->items;
    size_t capacity = s->capacity ? s->capacity * 2 : 64;

    executr_status st = ex_realloc(&items, capacity * sizeof(candidate), err);
    if (st)
        return st;
    s->items = items;
    s->capacity = capacity;
    return EXECUTR_OK;
}

static executr_status survey_object(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err)
{
    survey *s = ctx;
    struct stat object;
    struct stat lock;
    const char *prefix = strrchr(directory, '/') + 1;

    if (!ex_sha256_valid(name) || strncmp(name, prefix, 2) != 0 ||
        !look(cache, directory, name, &object) || !S_ISREG(object.st_mode))
        return EXECUTR_OK;
    if (s->count == s->capacity) {
        executr_status st = grow(s, err);
        if (st)
            return st;
    }
    candidate *c = &s->items[s->count++];
    memset(c, 0, sizeof *c);
    memcpy(c->sha256, name, EX_SHA256_HEX);
    c->size = object.st_size;
    if (look(cache, "locks", name, &lock))
        c->used = lock.st_mtim;
    s->bytes += c->size;
    return EXECUTR_OK;
}

static executr_status survey_prefix(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err)
{
    char inner[16];

    (void)directory;
    if (strlen(name) != 2)
        return EXECUTR_OK;
    (void)snprintf(inner, sizeof inner, "objects/%s", name);
    return walk(cache, inner, survey_object, ctx, err);
}

static executr_status survey_fetched(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err)
{
    survey *s = ctx;
    struct stat info;

    (void)err;
    if (ex_sha256_valid(name) && look(cache, directory, name, &info))
        s->fetched += info.st_size;
    return EXECUTR_OK;
}

static int by_last_use(const void *left, const void *right)
{
    const candidate *a = left;
    const candidate *b = right;

    if (a->used.tv_sec != b->used.tv_sec)
        return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
    if (a->used.tv_nsec != b->used.tv_nsec)
        return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
    return strcmp(a->sha256, b->sha256);
}

static executr_status take_survey(
    executr_cache *cache, survey *s, executr_error *err)
{
    memset(s, 0, sizeof *s);
    executr_status st = walk(cache, "objects", survey_prefix, s, err);
    if (!st)
        st = walk(cache, "tmp", survey_fetched, s, err);
    if (!st && s->count)
        qsort(s->items, s->count, sizeof *s->items, by_last_use);
    return st;
}

static void object_name(const char *sha256, char out[72])
{
    (void)snprintf(out, 72, "%.2s/%.64s", sha256, sha256);
}

/*
 * Remove an executable that nobody has pinned. The lock file goes last: as
 * long as it has its name, nobody else can think that he holds the lock.
 */
static executr_status evict_one(
    executr_cache *cache, const char *sha256, int *evicted, executr_error *err)
{
    ex_cache_path path;
    char name[72];
    int fd;

    *evicted = 0;
    executr_status st = ex_cache_lock(cache, sha256, 1, &fd, err);
    if (st || fd < 0)
        return st;
    object_name(sha256, name);
    ex_cache_join(cache, "objects", name, &path);
    *evicted = unlink(path.text) == 0 || errno == ENOENT;
    if (!*evicted) {
        st = ex_cache_errno(err, errno, "cannot remove", path.text);
        goto done;
    }
    ex_cache_join(cache, "locks", sha256, &path);
    if (unlink(path.text) != 0 && errno != ENOENT)
        st = ex_cache_errno(err, errno, "cannot remove", path.text);
done:
    close(fd);
    if (!st) {
        ex_cache_forget(cache, sha256);
        ex_log(
            &cache->log, EXECUTR_LOG_DEBUG, "evicted a binary", "binary_sha256",
            sha256, NULL);
    }
    return st;
}

/* Evict, oldest use first, until `bytes` came free or nothing is left. */
static executr_status evict_bytes(
    executr_cache *cache, survey *s, int64_t bytes, int64_t *freed,
    executr_error *err)
{
    executr_status st = EXECUTR_OK;

    *freed = 0;
    for (size_t i = 0; !st && *freed < bytes && i < s->count; i++) {
        int evicted;
        st = evict_one(cache, s->items[i].sha256, &evicted, err);
        if (!st && evicted)
            *freed += s->items[i].size;
    }
    pthread_mutex_lock(&cache->mutex);
    cache->bytes = s->bytes - *freed;
    pthread_mutex_unlock(&cache->mutex);
    return st;
}

executr_status ex_cache_evict(
    executr_cache *cache, int64_t needed, const char *but, executr_error *err)
{
    survey s;
    struct stat own;
    int64_t freed;

    pthread_mutex_lock(&cache->evicting);
    executr_status st = take_survey(cache, &s, err);
    if (!st && but && look(cache, "tmp", but, &own))
        s.fetched -= own.st_size; /* `needed` counts it */
    if (!st) {
        int64_t over = s.bytes + s.fetched - cache->max_bytes + needed;
        st = evict_bytes(cache, &s, over, &freed, err);
    }
    ex_free(s.items);
    pthread_mutex_unlock(&cache->evicting);
    return st;
}

executr_status ex_cache_free_disk(
    executr_cache *cache, int64_t bytes, int64_t *freed, executr_error *err)
{
    survey s;

    *freed = 0;
    pthread_mutex_lock(&cache->evicting);
    executr_status st = take_survey(cache, &s, err);
    if (!st)
        st = evict_bytes(cache, &s, bytes, freed, err);
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
    object_name(sha256, name);
    if (!look(cache, "objects", name, &info)) {
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
    object_name(name, object);
    if (!look(cache, "objects", object, &info))
        ex_cache_drop_lock(cache, name);
    return EXECUTR_OK;
}

/* A download whose byte 1 is free has no writer any more. */
static executr_status sweep_fetched(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err)
{
    ex_cache_path path;
    int fd;
    int got = 0;

    (void)ctx;
    if (!ex_sha256_valid(name))
        return EXECUTR_OK;
    executr_status st = ex_cache_lock(cache, name, 0, &fd, err);
    if (st)
        return st;
    st = ex_cache_lock_fetch(fd, 0, &got, err);
    if (!st && got) {
        ex_cache_join(cache, directory, name, &path);
        unlink(path.text);
    }
    close(fd);
    return st;
}

void ex_cache_sweep(executr_cache *cache)
{
    executr_error err;

    executr_status st = walk(cache, "tmp", sweep_fetched, NULL, &err);
    if (!st)
        st = walk(cache, "locks", sweep_lock, NULL, &err);
    if (st)
        ex_log(
            &cache->log, EXECUTR_LOG_WARN,
            "cannot clear old downloads from the cache", "error", err.message,
            NULL);
}
