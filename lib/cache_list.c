/* SPDX-License-Identifier: MIT */
/* Lists, verifies and prunes a cache, beside executors that use it. */
#include "cache_survey.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/log.h"

struct executr_cached {
    ex_survey all;
};

const char *executr_cached_state_word(int32_t state)
{
    static const char *const words[] = {
        NULL, "ready", "fetching", "partial", "bad", "removed"};

    return state > 0 && state <= EXECUTR_CACHED_REMOVED ? words[state] : NULL;
}

void executr_cached_free(executr_cached *all)
{
    if (!all)
        return;
    ex_free(all->all.items);
    ex_free(all);
}

static void look_at_locks(const executr_cache *cache, ex_cached *item)
{
    item->pinned = ex_cache_is_locked(cache, item->sha256, EX_CACHE_PINNED);
    if (item->state == EXECUTR_CACHED_PARTIAL &&
        ex_cache_is_locked(cache, item->sha256, EX_CACHE_FETCHED))
        item->state = EXECUTR_CACHED_FETCHING;
    /* Who fetches holds that lock, too, but has nothing in use yet. */
    if (item->state != EXECUTR_CACHED_READY)
        item->pinned = 0;
}

executr_status executr_cache_list(
    executr_cache *cache, executr_cached **out, executr_error *err)
{
    void *memory;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(executr_cached), err);
    if (st)
        return st;
    executr_cached *all = memory;
    st = ex_survey_take(cache, &all->all, err);
    for (size_t i = 0; !st && i < all->all.count; i++)
        look_at_locks(cache, &all->all.items[i]);
    if (st) {
        executr_cached_free(all);
        return st;
    }
    *out = all;
    return EXECUTR_OK;
}

/* An executable is gone: the figure says so. */
static void count_out(executr_cache *cache, const ex_cached *item)
{
    pthread_mutex_lock(&cache->mutex);
    cache->bytes -= item->size;
    pthread_mutex_unlock(&cache->mutex);
}

/* Hash it while nobody can evict or replace it; what is bad goes. */
static executr_status verify_locked(
    executr_cache *cache, ex_cached *item, executr_error *err)
{
    ex_cache_path path;
    char name[72];
    ex_stamp stamp;
    int good = 0;
    executr_status st = EXECUTR_OK;

    ex_cache_object(item->sha256, name);
    ex_cache_join(cache, "objects", name, &path);
    int fd = open(path.text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        item->state = EXECUTR_CACHED_REMOVED; /* evicted since the survey */
        return EXECUTR_OK;
    }
    if (fd < 0 && errno != ELOOP && errno != EACCES)
        return ex_cache_errno(err, errno, "cannot open", path.text);
    if (fd >= 0) {
        st =
            ex_cache_verify_fd(fd, item->sha256, path.text, &good, &stamp, err);
        close(fd);
    }
    if (st || good)
        return st;
    item->state = EXECUTR_CACHED_BAD;
    if (unlink(path.text) != 0)
        return ex_cache_errno(err, errno, "cannot remove", path.text);
    count_out(cache, item);
    ex_log(
        &cache->log, EXECUTR_LOG_WARN, "removed an altered binary",
        "binary_sha256", item->sha256, NULL);
    return EXECUTR_OK;
}

/* Byte 1 keeps a fetch from putting a good file where we remove a bad one. */
static executr_status verify_one(
    executr_cache *cache, ex_cached *item, executr_error *err)
{
    int fd;
    int got;

    executr_status st = ex_cache_lock(cache, item->sha256, 0, &fd, err);
    if (st)
        return st;
    st = ex_cache_lock_fetch(fd, &got, err);
    if (!st && !got)
        item->state = EXECUTR_CACHED_FETCHING;
    else if (!st)
        st = verify_locked(cache, item, err);
    close(fd);
    if (item->state != EXECUTR_CACHED_READY)
        ex_cache_drop_lock(cache, item->sha256);
    return st;
}

executr_status executr_cache_verify(
    executr_cache *cache, executr_cached **out, executr_error *err)
{
    executr_status st = executr_cache_list(cache, out, err);
    if (st)
        return st;
    ex_survey *s = &(*out)->all;
    for (size_t i = 0; i < s->count; i++) {
        executr_status one = EXECUTR_OK;
        if (s->items[i].state == EXECUTR_CACHED_READY)
            one = verify_one(cache, &s->items[i], st ? NULL : err);
        st = st ? st : one;
    }
    if (st) {
        executr_cached_free(*out);
        *out = NULL;
    }
    return st;
}

static executr_status prune_one(
    executr_cache *cache, ex_cached *item, int64_t *over, executr_error *err)
{
    int evicted;

    if (item->state == EXECUTR_CACHED_FETCHING)
        return EXECUTR_OK;
    executr_status st = ex_cache_evict_one(cache, item, &evicted, err);
    if (!evicted)
        return st;
    *over -= item->size;
    if (item->state == EXECUTR_CACHED_READY)
        count_out(cache, item);
    item->state = EXECUTR_CACHED_REMOVED;
    item->pinned = 0;
    return st;
}

executr_status executr_cache_prune(
    executr_cache *cache, int64_t max_bytes, executr_cached **out,
    executr_error *err)
{
    *out = NULL;
    if (max_bytes < 0)
        return ex_fail_field(
            err, "max_bytes", "max_bytes must not be negative");
    executr_status st = executr_cache_list(cache, out, err);
    if (st)
        return st;
    ex_survey *s = &(*out)->all;
    int64_t over = s->bytes + s->fetched - max_bytes;
    for (size_t i = 0; over > 0 && i < s->count; i++) {
        executr_status one =
            prune_one(cache, &s->items[i], &over, st ? NULL : err);
        st = st ? st : one;
    }
    if (st) {
        executr_cached_free(*out);
        *out = NULL;
    }
    return st;
}

size_t executr_cached_count(const executr_cached *all)
{
    return all->all.count;
}

const char *executr_cached_sha256(const executr_cached *all, size_t i)
{
    return all->all.items[i].sha256;
}

int64_t executr_cached_bytes(const executr_cached *all, size_t i)
{
    return all->all.items[i].size;
}

int64_t executr_cached_used_at_us(const executr_cached *all, size_t i)
{
    const struct timespec *used = &all->all.items[i].used;

    return (int64_t)used->tv_sec * 1000000 + used->tv_nsec / 1000;
}

int32_t executr_cached_pinned(const executr_cached *all, size_t i)
{
    return all->all.items[i].pinned;
}

int32_t executr_cached_state(const executr_cached *all, size_t i)
{
    return all->all.items[i].state;
}

executr_status executr_cached_json(
    const executr_cached *all, executr_write write, void *ctx,
    executr_error *err)
{
    ex_json_writer w;
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_json_begin(&w, &out);
    ex_json_open(&w, '[');
    for (size_t i = 0; i < all->all.count; i++) {
        const ex_cached *item = &all->all.items[i];
        ex_json_open(&w, '{');
        ex_json_add_string(&w, "sha256", item->sha256);
        ex_json_add_i64(&w, "bytes", item->size);
        ex_json_add_time(&w, "last_used_at", executr_cached_used_at_us(all, i));
        ex_json_add_bool(&w, "pinned", item->pinned);
        ex_json_add_string(&w, "state", executr_cached_state_word(item->state));
        ex_json_close(&w, '}');
    }
    ex_json_close(&w, ']');
    executr_status st = ex_buf_status(&out, "the list", err);
    if (!st && write(ctx, out.data, out.length))
        st = ex_fail(
            err, EXECUTR_E_CALLBACK, "whoever was to take the list refused");
    ex_buf_clear(&out);
    return st;
}
