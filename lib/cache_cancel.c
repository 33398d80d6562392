/* SPDX-License-Identifier: MIT */
/*
 * Gives up what somebody waits for in the cache. A download belongs to all who
 * wait for it: it ends early only when the thread that is at it was cancelled
 * and no other thread waits.
 */
#include "cache.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "base/time.h"

executr_status executr_cancel_open(executr_cancel **out, executr_error *err)
{
    void *memory;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(executr_cancel), err);
    if (st)
        return st;
    executr_cancel *cancel = memory;
    pthread_mutex_init(&cancel->mutex, NULL);
    *out = cancel;
    return EXECUTR_OK;
}

void executr_cancel_free(executr_cancel *cancel)
{
    if (!cancel)
        return;
    pthread_mutex_destroy(&cancel->mutex);
    ex_free(cancel);
}

int ex_cancelled(const executr_cancel *cancel)
{
    return cancel && atomic_load(&cancel->called);
}

void ex_cancel_watch(executr_cancel *cancel, executr_cache *cache)
{
    if (!cancel)
        return;
    pthread_mutex_lock(&cancel->mutex);
    cancel->cache = cache;
    pthread_mutex_unlock(&cancel->mutex);
}

/*
 * Whoever waits looks at `called` with the cache's mutex held before he waits,
 * so the broadcast under that mutex finds him waiting or makes him see it.
 */
void executr_cancel_call(executr_cancel *cancel)
{
    atomic_store(&cancel->called, 1);
    pthread_mutex_lock(&cancel->mutex);
    executr_cache *cache = cancel->cache;
    if (cache) {
        pthread_mutex_lock(&cache->mutex);
        pthread_cond_broadcast(&cache->changed);
        for (size_t i = 0; i < EX_CACHE_SLOTS; i++) {
            for (ex_entry *e = cache->slots[i]; e; e = e->next)
                ex_cache_wake(e);
        }
        pthread_mutex_unlock(&cache->mutex);
    }
    pthread_mutex_unlock(&cancel->mutex);
}

void ex_cache_wake(const ex_entry *entry)
{
    if (entry->http && ex_cancelled(entry->origin->cancel))
        ex_http_wake(entry->http);
}

/* Needs the mutex. */
static int given_up(const ex_entry *entry)
{
    return ex_cancelled(entry->origin->cancel) && entry->waiting == 0;
}

int ex_cache_given_up(executr_cache *cache, const ex_entry *entry)
{
    /* The origin is our own thread's: no lock to see that all is well. */
    if (!ex_cancelled(entry->origin->cancel))
        return 0;
    pthread_mutex_lock(&cache->mutex);
    int result = given_up(entry);
    pthread_mutex_unlock(&cache->mutex);
    return result;
}

void ex_cache_doze(executr_cache *cache, const ex_entry *entry, int64_t ms)
{
    int64_t end_us = ex_monotonic_us() + ms * 1000;
    const struct timespec end = {
        .tv_sec = end_us / 1000000, .tv_nsec = end_us % 1000000 * 1000};
    int result = 0;

    pthread_mutex_lock(&cache->mutex);
    while (result == 0 && !given_up(entry))
        result = pthread_cond_timedwait(&cache->changed, &cache->mutex, &end);
    pthread_mutex_unlock(&cache->mutex);
}

executr_status ex_cache_fail_cancelled(executr_error *err)
{
    return ex_fail(err, EXECUTR_E_CANCELLED, "the fetch was given up");
}
