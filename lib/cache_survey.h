/* SPDX-License-Identifier: MIT */
/* What the cache's directory holds at one moment, and walks through it. */
#ifndef EX_CACHE_SURVEY_H
#define EX_CACHE_SURVEY_H

#include "cache.h"

typedef struct ex_cached {
    char sha256[EX_SHA256_HEX];
    int32_t state; /* EXECUTR_CACHED_… */
    int32_t pinned;
    int64_t size;
    struct timespec used;
} ex_cached;

typedef struct ex_survey {
    ex_cached *items; /* broken downloads first, then by last use */
    size_t count;
    size_t capacity;
    int64_t bytes;   /* of the executables */
    int64_t fetched; /* of downloads, under way or broken off */
} ex_survey;

/* The caller frees the items, also after a failure. */
executr_status ex_survey_take(
    executr_cache *cache, ex_survey *survey,
    executr_error *err) EXECUTR_CHECKED;

/* Visit the names in root/directory but for hidden ones; what is not ours is
 * for `each` to leave alone. */
typedef executr_status (*ex_cache_visit)(
    executr_cache *cache, const char *directory, const char *name, void *ctx,
    executr_error *err);
executr_status ex_cache_walk(
    executr_cache *cache, const char *directory, ex_cache_visit each, void *ctx,
    executr_error *err) EXECUTR_CHECKED;

/* 1 and its inode, if there is such a name. */
int ex_cache_look(
    const executr_cache *cache, const char *directory, const char *name,
    struct stat *out);

/* "ab/abcd…" below objects/. */
void ex_cache_object(const char *sha256, char out[72]);

/* cache_evict.c: remove one unless somebody has it pinned, or is at it. */
executr_status ex_cache_evict_one(
    executr_cache *cache, const ex_cached *item, int *evicted,
    executr_error *err) EXECUTR_CHECKED;

#endif
