/* SPDX-License-Identifier: MIT */
/*
 * Fetches one executable: beside its place, counted and hashed on the way,
 * then synced and renamed, so that what stands under a name is always whole.
 */
#include "cache_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/time.h"

#define LEAST_STEP (INT64_C(1) << 20)

/*
 * Room is made in steps as the bytes come: an announced length alone, which
 * may be a lie, empties no cache.
 */
static executr_status reserve(
    ex_download *d, int64_t wanted, executr_error *err)
{
    int64_t step = d->cache->max_bytes / 32;

    if (wanted <= d->reserved)
        return EXECUTR_OK;
    if (step < LEAST_STEP)
        step = LEAST_STEP;
    int64_t next = d->reserved + step;
    if (d->length >= 0 && next > d->length)
        next = d->length;
    if (next < wanted)
        next = wanted;
    executr_status st = ex_cache_evict(d->cache, next, d->entry->sha256, err);
    if (!st)
        d->reserved = next;
    return st;
}

/* Write all; `err` is not NULL. */
static executr_status write_bytes(
    ex_download *d, const char *data, size_t length, executr_error *err)
{
    const int64_t whole = (int64_t)length;

    while (length > 0) {
        ssize_t written = write(d->fd, data, length);
        if (written > 0) {
            data += written;
            length -= (size_t)written;
            continue;
        }
        int number = written == 0 ? EIO : errno;
        if (number == EINTR)
            continue;
        executr_status st =
            ex_cache_errno(err, number, "cannot write", d->path.text);
        if (!ex_room_make(d, whole, err))
            return st;
    }
    return EXECUTR_OK;
}

executr_status ex_download_too_late(const ex_download *d, executr_error *err)
{
    return ex_fail(
        err, EXECUTR_E_TIMEOUT,
        "binary %.12s… took longer than %lld s to fetch, the longest allowed "
        "here",
        d->entry->sha256, (long long)d->cache->max_download_ms / 1000);
}

int32_t ex_download_write(void *ctx, const void *data, size_t length)
{
    ex_download *d = ctx;
    executr_cache *cache = d->cache;

    if (ex_monotonic_us() > d->deadline_us)
        d->failed = ex_download_too_late(d, &d->failure);
    else if (ex_cache_given_up(cache, d->entry))
        d->failed = ex_cache_fail_cancelled(&d->failure);
    else if ((int64_t)length > cache->max_binary_bytes - d->written)
        d->failed = ex_part_too_large(d, &d->failure);
    else
        d->failed = reserve(d, d->written + (int64_t)length, &d->failure);
    if (!d->failed)
        d->failed = write_bytes(d, data, length, &d->failure);
    if (d->failed)
        return -1;
    ex_sha256_add(d->hash, data, length);
    d->written += (int64_t)length;
    d->received += (int64_t)length;
    return 0;
}

static executr_status check_hash(ex_download *d, executr_error *err)
{
    const char *url = d->origin->fetch ? NULL : d->origin->url;
    char got[EX_SHA256_HEX];
    ex_buf shown;

    ex_sha256_end(d->hash, got);
    if (!got[0])
        return ex_fail(err, EXECUTR_E_INTERNAL, "libcrypto failed to hash");
    if (strcmp(got, d->entry->sha256) == 0)
        return EXECUTR_OK;
    ex_buf_init(&shown, EX_BUF_UNLIMITED);
    if (url)
        ex_http_show_url(&shown, url);
    executr_status st = ex_fail(
        err, EXECUTR_E_MISMATCH,
        "%s serves a file with SHA-256 %s, but %s is wanted: correct the job's "
        "binary_sha256 or its binary_url",
        shown.length ? shown.data : "the server", got, d->entry->sha256);
    ex_buf_clear(&shown);
    return st;
}

static executr_status sync_dir(const char *path, executr_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return ex_cache_errno(err, errno, "cannot open", path);
    executr_status st = EXECUTR_OK;
    if (fsync(fd) != 0 && errno != EINVAL)
        st = ex_cache_errno(err, errno, "cannot sync", path);
    close(fd);
    return st;
}

/* Bytes and mode reach the disk, and no descriptor can write any more, before
 * the name that programs are run by exists. */
static executr_status finish_file(
    ex_download *d, struct stat *info, executr_error *err)
{
    /* An old time of change: a write in the same tick of the clock as this
     * would otherwise leave no trace. */
    static const struct timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};

    if (fchmod(d->fd, 0555) != 0 || futimens(d->fd, times) != 0)
        return ex_cache_errno(
            err, errno, "cannot make read-only", d->path.text);
    if (fsync(d->fd) != 0)
        return ex_cache_errno(err, errno, "cannot sync", d->path.text);
    if (fstat(d->fd, info) != 0)
        return ex_cache_errno(err, errno, "cannot look at", d->path.text);
    int closed = close(d->fd);
    d->fd = -1;
    if (closed != 0 && errno != EINTR)
        return ex_cache_errno(err, errno, "cannot close", d->path.text);
    return EXECUTR_OK;
}

static executr_status move_file(
    const ex_download *d, const char *directory, executr_error *err)
{
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return ex_cache_errno(err, errno, "cannot make", directory);
    if (rename(d->path.text, d->entry->path) != 0)
        return ex_cache_errno(err, errno, "cannot make", d->entry->path);
    return EXECUTR_OK;
}

static executr_status name_file(ex_download *d, executr_error *err)
{
    ex_cache_path objects;
    ex_cache_path prefix;
    char name[4];
    executr_status st;

    ex_cache_join(d->cache, "objects", "", &objects);
    (void)snprintf(name, sizeof name, "%.2s", d->entry->sha256);
    ex_cache_join(d->cache, "objects", name, &prefix);
    do {
        st = move_file(d, prefix.text, err);
    } while (st && ex_cache_make_room(d->cache, err));
    if (!st)
        st = sync_dir(prefix.text, err);
    if (!st)
        st = sync_dir(objects.text, err);
    return st;
}

/* The rename set a new ctime; all else must be as it was when we wrote it. */
static executr_status remember(
    ex_entry *entry, const struct stat *written, executr_error *err)
{
    struct stat info;

    if (lstat(entry->path, &info) != 0)
        return ex_cache_errno(err, errno, "cannot look at", entry->path);
    if (info.st_ino != written->st_ino || info.st_dev != written->st_dev ||
        info.st_size != written->st_size ||
        info.st_mtim.tv_sec != written->st_mtim.tv_sec ||
        info.st_mtim.tv_nsec != written->st_mtim.tv_nsec)
        return ex_fail(
            err, EXECUTR_E_IO,
            "%s was changed by somebody else right after it was fetched: "
            "check who can write to the cache",
            entry->path);
    ex_cache_stamp(&info, &entry->stamp);
    entry->verified = 1;
    return EXECUTR_OK;
}

static executr_status call_function(ex_download *d, executr_error *err)
{
    executr_status st = ex_room_check(d, err);

    if (st)
        return st;
    st = d->origin->fetch(
        d->origin->fetch_ctx, d->entry->sha256, ex_download_write, d, err);
    if (!d->failed)
        return st;
    if (err)
        *err = d->failure; /* the cause; what came up is its consequence */
    return d->failed;
}

static executr_status get_bytes(ex_download *d, executr_error *err)
{
    if (d->origin->fetch)
        return call_function(d, err);
    return ex_download_url(d, err);
}

/* Pieces that don't hash may be of two versions: the whole is tried once. */
static executr_status receive(ex_download *d, executr_error *err)
{
    executr_status st = get_bytes(d, err);
    if (st)
        return st;
    int pieced = d->pieced;
    st = check_hash(d, err);
    if (st != EXECUTR_E_MISMATCH || !pieced)
        return st;
    st = ex_part_reset(d, err);
    if (!st)
        st = get_bytes(d, err);
    return st ? st : check_hash(d, err);
}

/* What was worth waiting for is worth keeping; all else is wrong in itself. */
static int worth_keeping(const ex_download *d, executr_status st)
{
    return d->written > 0 && d->note.url[0] &&
           (st == EXECUTR_E_UNAVAILABLE || st == EXECUTR_E_TIMEOUT ||
            st == EXECUTR_E_CANCELLED || st == EXECUTR_E_AUTH);
}

static executr_status finish(ex_download *d, executr_error *err)
{
    struct stat info = {0};
    struct stat old;
    int64_t replaced = 0;
    const char *path = d->entry->path;

    executr_status st = finish_file(d, &info, err);
    if (!st && lstat(path, &old) == 0)
        replaced = old.st_size;
    /* Before the file: a crash in between leaves what the next sweep clears. */
    unlink(d->note_path.text);
    if (!st)
        st = name_file(d, err);
    if (!st)
        st = remember(d->entry, &info, err);
    if (st)
        return st;
    pthread_mutex_lock(&d->cache->mutex);
    d->cache->bytes += d->written - replaced;
    pthread_mutex_unlock(&d->cache->mutex);
    return EXECUTR_OK;
}

/* `err` is not NULL. */
executr_status ex_cache_fetch(
    executr_cache *cache, ex_entry *entry, const ex_origin *origin,
    executr_error *err)
{
    ex_download d = {
        .cache = cache,
        .entry = entry,
        .origin = origin,
        .fd = -1,
        .length = -1,
        .deadline_us = ex_monotonic_us() + cache->max_download_ms * 1000};

    executr_status st = ex_part_open(&d, err);
    if (!st)
        st = receive(&d, err);
    if (!st)
        st = finish(&d, err);
    if (st && !worth_keeping(&d, st))
        ex_part_remove(&d);
    if (d.fd >= 0)
        close(d.fd);
    ex_sha256_free(d.hash);
    if (st)
        return st;
    ex_log(
        &cache->log, EXECUTR_LOG_INFO, "fetched a binary", "binary_sha256",
        entry->sha256, "bytes", EX_I64(d.written), "received",
        EX_I64(d.received), NULL);
    return EXECUTR_OK;
}
