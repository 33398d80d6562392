/* SPDX-License-Identifier: MIT */
/*
 * The binary cache: pins, and who verifies or fetches what, once for all
 * threads that ask.
 */
#include "cache.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/options.h"

#define LOOK_MS 20 /* between looks at a lock of another process */

/* The link that leads to the entry of a hash, or to NULL. */
static ex_entry **find(executr_cache *cache, const char *sha256)
{
    static const char digits[] = "0123456789abcdef";
    size_t slot = (size_t)(strchr(digits, sha256[0]) - digits) * 16 +
                  (size_t)(strchr(digits, sha256[1]) - digits);
    ex_entry **link = &cache->slots[slot];

    while (*link && strcmp((*link)->sha256, sha256) != 0)
        link = &(*link)->next;
    return link;
}

static executr_status find_or_add(
    executr_cache *cache, const char *sha256, ex_entry **out,
    executr_error *err)
{
    ex_cache_path path;
    char name[2 + 1 + EX_SHA256_HEX];
    void *memory;

    ex_entry **link = find(cache, sha256);
    *out = *link;
    if (*out)
        return EXECUTR_OK;
    memcpy(name, sha256, 2);
    name[2] = '/';
    memcpy(name + 3, sha256, EX_SHA256_HEX);
    ex_cache_join(cache, "objects", name, &path);
    size_t length = strlen(path.text) + 1;
    executr_status st = ex_alloc(&memory, sizeof(ex_entry) + length, err);
    if (st)
        return st;
    ex_entry *entry = memory;
    memcpy(entry->sha256, sha256, EX_SHA256_HEX);
    memcpy(entry->path, path.text, length);
    entry->lock_fd = -1;
    entry->failed_turn = UINT64_MAX;
    *link = entry;
    *out = entry;
    return EXECUTR_OK;
}

/* Drop an entry that holds nothing and that nobody is at. */
static void remove_unused(executr_cache *cache, ex_entry *entry)
{
    if (entry->busy || entry->waiting || entry->pins)
        return;
    *find(cache, entry->sha256) = entry->next;
    ex_free(entry);
}

void ex_cache_forget(executr_cache *cache, const char *sha256)
{
    pthread_mutex_lock(&cache->mutex);
    ex_entry *entry = *find(cache, sha256);
    if (entry)
        remove_unused(cache, entry);
    pthread_mutex_unlock(&cache->mutex);
}

static int same_origin(const ex_origin *a, const ex_origin *b)
{
    if (a->fetch || b->fetch)
        return a->fetch == b->fetch && a->fetch_ctx == b->fetch_ctx;
    if (a->trusted != b->trusted)
        return 0;
    return a->url && b->url && strcmp(a->url, b->url) == 0;
}

static int only_peeks(const ex_origin *origin)
{
    return !origin->url && !origin->fetch;
}

/*
 * Wait until the entry is free. Who waited for a fetch from the same place
 * shares its failure, instead of asking a dead server once more each.
 */
static executr_status wait_free(
    executr_cache *cache, ex_entry *entry, const ex_origin *origin,
    executr_error *err)
{
    executr_status st = EXECUTR_OK;

    entry->waiting++;
    while (!st && entry->busy) {
        uint64_t turn = entry->turn;
        int same = same_origin(entry->origin, origin);
        while (entry->busy && entry->turn == turn &&
               !ex_cancelled(origin->cancel))
            pthread_cond_wait(&cache->changed, &cache->mutex);
        if (ex_cancelled(origin->cancel)) {
            st = ex_cache_fail_cancelled(err);
        } else if (same && entry->failed_turn == turn) {
            st = entry->failure.status;
            if (err)
                *err = entry->failure;
        }
    }
    entry->waiting--;
    /* We may have been the last one that it was fetched for. */
    if (entry->busy)
        ex_cache_wake(entry);
    return st;
}

/*
 * Enter with the mutex held: *out is the entry, pinned already, or busy for
 * the caller to acquire. *out is NULL when a peek would have to wait.
 */
static executr_status enter(
    executr_cache *cache, const char *sha256, const ex_origin *origin,
    ex_entry **out, executr_error *err)
{
    ex_entry *entry;

    *out = NULL;
    executr_status st = find_or_add(cache, sha256, &entry, err);
    if (st || (entry->busy && only_peeks(origin)))
        return st;
    st = wait_free(cache, entry, origin, err);
    if (st) {
        if (!entry->verified)
            remove_unused(cache, entry);
        return st;
    }
    *out = entry;
    if (entry->pins && ex_cache_unchanged(entry)) {
        entry->pins++;
        cache->hits++;
        return EXECUTR_OK;
    }
    entry->busy = 1;
    entry->origin = origin;
    return EXECUTR_OK;
}

/* Other processes can't wake us, so we look; given up, we stop looking. */
static executr_status lock_fetch(
    executr_cache *cache, const ex_entry *entry, executr_error *err)
{
    for (;;) {
        int got;
        if (ex_cache_given_up(cache, entry))
            return ex_cache_fail_cancelled(err);
        executr_status st = ex_cache_lock_fetch(entry->lock_fd, &got, err);
        if (st || got)
            return st;
        ex_cache_doze(cache, entry, LOOK_MS);
    }
}

/* What a peek gives: a file this handle has verified, if a look at its inode
 * finds it untouched. Its bytes are never read, which may take long. */
static executr_status acquire_verified(
    executr_cache *cache, ex_entry *entry, int *good, executr_error *err)
{
    *good = ex_cache_unchanged(entry);
    if (!*good || entry->lock_fd >= 0)
        return EXECUTR_OK;
    executr_status st =
        ex_cache_lock(cache, entry->sha256, 0, &entry->lock_fd, err);
    *good = !st && ex_cache_unchanged(entry); /* not evicted meanwhile */
    return st;
}

static executr_status lock_entry(
    executr_cache *cache, ex_entry *entry, executr_error *err)
{
    executr_status st;

    do {
        st = ex_cache_lock(cache, entry->sha256, 0, &entry->lock_fd, err);
    } while (st && ex_cache_make_room(cache, err));
    return st;
}

/*
 * Lock the hash against eviction and see that its file is there, fetched by
 * somebody or by us. Runs without the mutex, with the entry busy.
 */
static executr_status acquire(
    executr_cache *cache, ex_entry *entry, const ex_origin *origin, int *good,
    int *fetched, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    *good = 0;
    if (only_peeks(origin))
        return acquire_verified(cache, entry, good, err);
    if (entry->lock_fd < 0)
        st = lock_entry(cache, entry, err);
    if (!st)
        st = ex_cache_check(cache, entry, good, err);
    if (st || *good)
        return st;
    st = lock_fetch(cache, entry, err);
    if (st)
        return st;
    /* Another process may have fetched it while we waited for the lock. */
    st = ex_cache_check(cache, entry, good, err);
    if (!st && !*good) {
        *fetched = 1;
        st = ex_cache_fetch(cache, entry, origin, err);
        *good = !st;
    }
    ex_cache_unlock_fetch(entry->lock_fd);
    return st;
}

/* The last use is the mtime of the lock file; closing it unlocks. */
static void release_lock(ex_entry *entry)
{
    if (entry->lock_fd < 0)
        return;
    futimens(entry->lock_fd, NULL);
    close(entry->lock_fd);
    entry->lock_fd = -1;
}

/* The end of being busy; returns 1 if the lock file may be of no use now. */
static int leave(
    executr_cache *cache, ex_entry *entry, executr_status st, int good,
    int fetched, const executr_error *err)
{
    pthread_mutex_lock(&cache->mutex);
    entry->busy = 0;
    entry->origin = NULL;
    if (st && st != EXECUTR_E_CANCELLED) {
        entry->failed_turn = entry->turn;
        entry->failure = *err;
        entry->failure.status = st;
    }
    entry->turn++;
    cache->misses += fetched;
    if (good) {
        entry->pins++;
        cache->hits += !fetched;
        futimens(entry->lock_fd, NULL);
    }
    int idle = entry->pins == 0 && entry->lock_fd >= 0;
    if (idle) {
        /* Nothing was used, so no new mtime. */
        close(entry->lock_fd);
        entry->lock_fd = -1;
    }
    if (!entry->verified)
        remove_unused(cache, entry);
    pthread_cond_broadcast(&cache->changed);
    pthread_mutex_unlock(&cache->mutex);
    return idle;
}

static executr_status pin(
    executr_cache *cache, const char *sha256, const ex_origin *origin,
    executr_pin **out, executr_error *err)
{
    char name[EX_SHA256_HEX];
    executr_error detail = {0};
    void *memory = NULL;
    ex_entry *entry = NULL;
    int good = 0;
    int fetched = 0;

    *out = NULL;
    executr_status st = ex_sha256_normalize(sha256, name, "sha256", err);
    if (!st)
        st = ex_alloc(&memory, sizeof(executr_pin), err);
    if (st)
        return st;
    pthread_mutex_lock(&cache->mutex);
    st = enter(cache, name, origin, &entry, err);
    int busy = entry && entry->busy;
    pthread_mutex_unlock(&cache->mutex);
    if (entry && busy) {
        st = acquire(cache, entry, origin, &good, &fetched, &detail);
        if (leave(cache, entry, st, good, fetched, &detail))
            ex_cache_drop_lock(cache, name);
        if (st && err)
            *err = detail;
    } else {
        good = entry != NULL;
    }
    if (!good) {
        ex_free(memory);
        return st;
    }
    *out = memory;
    (*out)->cache = cache;
    (*out)->entry = entry;
    return EXECUTR_OK;
}

executr_status executr_cache_peek(
    executr_cache *cache, const char *sha256, executr_pin **out,
    executr_error *err)
{
    static const ex_origin nowhere;

    return pin(cache, sha256, &nowhere, out, err);
}

/* NOLINTNEXTLINE(readability-function-size): frozen in the ABI */
executr_status executr_cache_get(
    executr_cache *cache, const char *sha256, const char *url,
    executr_fetch fetch, void *fetch_ctx, executr_pin **out, executr_error *err)
{
    executr_cache_request request = EXECUTR_CACHE_REQUEST_INIT;

    request.sha256 = sha256;
    request.url = url;
    request.fetch = fetch;
    request.fetch_ctx = fetch_ctx;
    return executr_cache_obtain(cache, &request, out, err);
}

executr_status executr_cache_obtain(
    executr_cache *cache, const executr_cache_request *request,
    executr_pin **out, executr_error *err)
{
    executr_cache_request r;

    *out = NULL;
    executr_status st = ex_options_read(&r, sizeof r, sizeof r, request, err);
    if (st)
        return st;
    if (!r.fetch && (!r.url || !*r.url))
        return ex_fail_field(
            err, "url", "a binary can't be fetched without a URL");
    const ex_origin origin = {
        .url = r.url,
        .token = r.token,
        .trusted = r.trusted || r.token,
        .fetch = r.fetch,
        .fetch_ctx = r.fetch_ctx,
        .cancel = r.cancel};
    ex_cancel_watch(r.cancel, cache);
    st = ex_cancelled(r.cancel) ? ex_cache_fail_cancelled(err)
                                : pin(cache, r.sha256, &origin, out, err);
    ex_cancel_watch(r.cancel, NULL);
    return st;
}

int ex_pin_unchanged(const executr_pin *p)
{
    pthread_mutex_lock(&p->cache->mutex);
    /* A busy one is being verified or replaced, for somebody who saw a change.
     */
    int unchanged = !p->entry->busy && ex_cache_unchanged(p->entry);
    pthread_mutex_unlock(&p->cache->mutex);
    return unchanged;
}

const char *executr_pin_path(const executr_pin *p)
{
    return p->entry->path;
}

void executr_pin_free(executr_pin *p)
{
    executr_error err;

    if (!p)
        return;
    executr_cache *cache = p->cache;
    pthread_mutex_lock(&cache->mutex);
    p->entry->pins--;
    if (p->entry->pins == 0 && !p->entry->busy)
        release_lock(p->entry);
    int over = cache->bytes > cache->max_bytes;
    pthread_mutex_unlock(&cache->mutex);
    ex_free(p);
    /* One that is larger than the cache goes as soon as it may. */
    if (over && ex_cache_evict(cache, 0, NULL, &err))
        ex_log(
            &cache->log, EXECUTR_LOG_WARN, "cannot evict binaries", "error",
            err.message, NULL);
}

int64_t executr_cache_figure(executr_cache *cache, int32_t which)
{
    pthread_mutex_lock(&cache->mutex);
    int64_t value = which == EXECUTR_CACHE_HITS        ? cache->hits
                    : which == EXECUTR_CACHE_MISSES    ? cache->misses
                    : which == EXECUTR_CACHE_BYTES     ? cache->bytes
                    : which == EXECUTR_CACHE_MAX_BYTES ? cache->max_bytes
                                                       : 0;
    pthread_mutex_unlock(&cache->mutex);
    return value;
}
