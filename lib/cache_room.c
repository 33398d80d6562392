/* SPDX-License-Identifier: MIT */
/*
 * Room on the disk. What is full is met by evicting, unless that can't be
 * enough: then the cache keeps what it has, and the download fails. Hides how
 * much room there may be, and which binaries did not fit before.
 */
#include "cache_fetch.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/time.h"
#include "cache_survey.h"

#define REMEMBERED_US (INT64_C(3600) * 1000 * 1000)

typedef struct room {
    int64_t free;      /* on the volume */
    int64_t evictable; /* in the cache, and used by nobody */
    int64_t used;      /* in the cache besides, but for the download itself */
} room;

int ex_cache_is_full(int number)
{
    return number == ENOSPC || number == EDQUOT || number == EFBIG;
}

/* A file that may not grow does not grow for others that are gone. */
static int helps_to_evict(const executr_error *err)
{
    return err->native == ENOSPC || err->native == EDQUOT;
}

int ex_cache_make_room(executr_cache *cache, const executr_error *err)
{
    executr_error why;
    int64_t freed = 0;

    return helps_to_evict(err) && !ex_cache_free_disk(cache, 1, &freed, &why) &&
           freed > 0;
}

static int is_used(const executr_cache *cache, const ex_cached *item)
{
    int part = item->state == EXECUTR_CACHED_PARTIAL;

    return ex_cache_is_locked(
        cache, item->sha256, part ? EX_CACHE_FETCHED : EX_CACHE_PINNED);
}

/* `but` is a download that is not counted, or NULL. */
static executr_status look_inside(
    executr_cache *cache, const char *but, room *out, executr_error *err)
{
    ex_survey s;

    executr_status st = ex_survey_take(cache, &s, err);
    for (size_t i = 0; !st && i < s.count; i++) {
        const ex_cached *item = &s.items[i];
        if (but && item->state == EXECUTR_CACHED_PARTIAL &&
            strcmp(item->sha256, but) == 0)
            continue;
        if (is_used(cache, item))
            out->used += item->size;
        else
            out->evictable += item->size;
    }
    ex_free(s.items);
    return st;
}

executr_status ex_cache_evictable(
    executr_cache *cache, int64_t *bytes, executr_error *err)
{
    room r = {0};

    executr_status st = look_inside(cache, NULL, &r, err);
    *bytes = r.evictable;
    return st;
}

static executr_status look_at_volume(
    const ex_download *d, room *out, executr_error *err)
{
    struct statvfs volume;

    if (fstatvfs(d->fd, &volume) != 0)
        return ex_cache_errno(err, errno, "cannot look at", d->path.text);
    out->free = (int64_t)volume.f_bavail * (int64_t)volume.f_frsize;
    return EXECUTR_OK;
}

static int64_t longest_file(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur > INT64_MAX)
        return INT64_MAX;
    return (int64_t)limit.rlim_cur;
}

/* As many bytes it has at least: as announced, or as it had when it did not
 * fit; 0: not known. */
static int64_t least_length(const ex_download *d)
{
    executr_cache *cache = d->cache;
    int64_t now_us = ex_boottime_us();
    int64_t length = 0;

    if (d->length >= 0)
        return d->length;
    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < EX_CACHE_UNFIT; i++) {
        const ex_unfit *unfit = &cache->unfit[i];
        if (now_us < unfit->until_us &&
            strcmp(unfit->sha256, d->entry->sha256) == 0)
            length = unfit->least;
    }
    pthread_mutex_unlock(&cache->mutex);
    return length;
}

/* Once is enough: who never says how long it is would empty the cache again
 * and again. */
static void remember(const ex_download *d, int64_t least)
{
    executr_cache *cache = d->cache;
    size_t at = EX_CACHE_UNFIT;

    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < EX_CACHE_UNFIT; i++) {
        if (strcmp(cache->unfit[i].sha256, d->entry->sha256) == 0)
            at = i;
    }
    if (at == EX_CACHE_UNFIT)
        at = cache->unfit_next++ % EX_CACHE_UNFIT;
    ex_unfit *unfit = &cache->unfit[at];
    memcpy(unfit->sha256, d->entry->sha256, EX_SHA256_HEX);
    unfit->least = least;
    unfit->until_us = ex_boottime_us() + REMEMBERED_US;
    pthread_mutex_unlock(&cache->mutex);
}

/*
 * What can't fit however much is evicted is the job's binary's fault; what
 * could if others were done, or on a disk that is not full, is this machine's.
 */
static executr_status refuse(
    const ex_download *d, int64_t wanted, const room *r, executr_error *err)
{
    int64_t most = d->written + r->free + r->evictable + r->used;

    if (most > longest_file())
        most = longest_file();
    executr_status st = wanted > most && most >= EX_CACHE_LEAST_FREE
                            ? EXECUTR_E_TOO_LARGE
                            : EXECUTR_E_IO;
    ex_fail(
        err, st,
        "binary %.12s… has at least %lld bytes, and the disk of the cache is "
        "full with %lld: free space on it, or run the job where there is more",
        d->entry->sha256, (long long)wanted, (long long)most);
    if (err && st == EXECUTR_E_IO)
        err->native = ENOSPC;
    return st;
}

executr_status ex_room_check(const ex_download *d, executr_error *err)
{
    room r = {0};
    int64_t wanted = least_length(d);
    int64_t missing = wanted - d->written;

    if (missing <= 0)
        return EXECUTR_OK;
    executr_status st = look_at_volume(d, &r, err);
    if (st || (missing <= r.free && wanted <= longest_file()))
        return st;
    st = look_inside(d->cache, d->entry->sha256, &r, err);
    if (st || (missing <= r.free + r.evictable && wanted <= longest_file()))
        return st;
    return refuse(d, wanted, &r, err);
}

int ex_room_make(ex_download *d, int64_t length, const executr_error *err)
{
    executr_cache *cache = d->cache;
    executr_error why;
    room r = {0};
    int64_t freed = 0;
    int64_t wanted = least_length(d);

    if (!ex_cache_is_full(err->native))
        return 0;
    if (wanted < d->written + length)
        wanted = d->written + length;
    if (helps_to_evict(err) &&
        !look_inside(cache, d->entry->sha256, &r, &why) &&
        wanted - d->written <= r.evictable &&
        ex_cache_free_disk(cache, length + EX_CACHE_LEAST_FREE, &freed, &why))
        freed = 0;
    if (freed == 0 && d->length < 0)
        remember(d, wanted);
    return freed > 0;
}
