/* SPDX-License-Identifier: MIT */
/* Looks through the cache's directory; hides what it looks like from those who
 * only want to know what is there. */
#include "cache_survey.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fail.h"

executr_status ex_cache_walk(
    executr_cache *cache, const char *directory, ex_cache_visit each, void *ctx,
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

int ex_cache_look(
    const executr_cache *cache, const char *directory, const char *name,
    struct stat *out)
{
    ex_cache_path path;

    ex_cache_join(cache, directory, name, &path);
    return lstat(path.text, out) == 0;
}

void ex_cache_object(const char *sha256, char out[72])
{
    (void)snprintf(out, 72, "%.2s/%.64s", sha256, sha256);
}

static executr_status grow(ex_survey *s, executr_error *err)
{
    void *items = s->items;
    size_t capacity = s->capacity ? s->capacity * 2 : 64;

    executr_status st = ex_realloc(&items, capacity * sizeof(ex_cached), err);
    if (st)
        return st;
    s->items = items;
    s->capacity = capacity;
    return EXECUTR_OK;
}

static executr_status add(
    ex_survey *s, const char *sha256, int32_t state, const struct stat *info,
    executr_error *err)
{
    if (s->count == s->capacity) {
        executr_status st = grow(s, err);
        if (st)
            return st;
    }
    ex_cached *item = &s->items[s->count++];
    memset(item, 0, sizeof *item);
    memcpy(item->sha256, sha256, EX_SHA256_HEX);
    item->state = state;
    item->size = info->st_size;
    item->used = info->st_mtim;
    return EXECUTR_OK;
}

static executr_status survey_object(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err)
{
    ex_survey *s = ctx;
    struct stat object;
    struct stat lock = {0};
    const char *prefix = strrchr(directory, '/') + 1;

    if (!ex_sha256_valid(name) || strncmp(name, prefix, 2) != 0 ||
        !ex_cache_look(cache, directory, name, &object) ||
        !S_ISREG(object.st_mode))
        return EXECUTR_OK;
    /* The last use is the lock file's time. */
    ex_cache_look(cache, "locks", name, &lock);
    object.st_mtim = lock.st_mtim;
    s->bytes += object.st_size;
    return add(s, name, EXECUTR_CACHED_READY, &object, err);
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
    return ex_cache_walk(cache, inner, survey_object, ctx, err);
}

static executr_status survey_part(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err)
{
    ex_survey *s = ctx;
    struct stat info;

    if (!ex_sha256_valid(name) || !ex_cache_look(cache, directory, name, &info))
        return EXECUTR_OK;
    s->fetched += info.st_size;
    return add(s, name, EXECUTR_CACHED_PARTIAL, &info, err);
}

/* What goes first when room is needed stands first. */
static int by_worth(const void *left, const void *right)
{
    const ex_cached *a = left;
    const ex_cached *b = right;

    if (a->state != b->state)
        return a->state == EXECUTR_CACHED_PARTIAL ? -1 : 1;
    if (a->used.tv_sec != b->used.tv_sec)
        return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
    if (a->used.tv_nsec != b->used.tv_nsec)
        return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
    return strcmp(a->sha256, b->sha256);
}

executr_status ex_survey_take(
    executr_cache *cache, ex_survey *survey, executr_error *err)
{
    memset(survey, 0, sizeof *survey);
    executr_status st =
        ex_cache_walk(cache, "objects", survey_prefix, survey, err);
    if (!st)
        st = ex_cache_walk(cache, "tmp", survey_part, survey, err);
    if (!st && survey->count)
        qsort(survey->items, survey->count, sizeof *survey->items, by_worth);
    return st;
}
