/* SPDX-License-Identifier: MIT */
/*
 * Fetches one executable: beside its place, counted and hashed on the way,
 * then synced and renamed, so that what stands under a name is always whole.
 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"
#include "base/log.h"

#define LEAST_STEP (INT64_C(1) << 20)

typedef struct download {
    executr_cache *cache;
    const ex_entry *entry;
    ex_cache_path path; /* in tmp/ */
    int fd;
    ex_sha256 *hash;
    int64_t written;
    int64_t reserved;      /* as much fits into the cache */
    int64_t length;        /* as announced; -1: not */
    executr_status failed; /* what on_bytes found wrong */
    executr_error failure;
} download;

static executr_status refuse_size(const download *d, executr_error *err)
{
    return ex_fail(
        err, EXECUTR_E_TOO_LARGE,
        "binary %.12s… is larger than %lld bytes, the most allowed here",
        d->entry->sha256, (long long)d->cache->max_binary_bytes);
}

/*
 * Room is made in steps as the bytes come: an announced length alone, which
 * may be a lie, empties no cache.
 */
static executr_status reserve(download *d, int64_t wanted, executr_error *err)
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

/* Write all; a full disk is met by evicting, as long as that helps. */
static executr_status write_bytes(
    download *d, const char *data, size_t length, executr_error *err)
{
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
        int64_t freed = 0;
        if (number == ENOSPC) {
            executr_status st = ex_cache_free_disk(
                d->cache, (int64_t)length + LEAST_STEP, &freed, err);
            if (st)
                return st;
        }
        if (freed == 0)
            return ex_cache_errno(err, number, "cannot write", d->path.text);
    }
    return EXECUTR_OK;
}

static int32_t on_bytes(void *ctx, const void *data, size_t length)
{
    download *d = ctx;

    if ((int64_t)length > d->cache->max_binary_bytes - d->written)
        d->failed = refuse_size(d, &d->failure);
    else
        d->failed = reserve(d, d->written + (int64_t)length, &d->failure);
    if (!d->failed)
        d->failed = write_bytes(d, data, length, &d->failure);
    if (d->failed)
        return -1;
    ex_sha256_add(d->hash, data, length);
    d->written += (int64_t)length;
    return 0;
}

static int32_t on_begin(void *ctx, const ex_http_head *head)
{
    download *d = ctx;

    d->length = head->length;
    if (head->length > d->cache->max_binary_bytes)
        d->failed = refuse_size(d, &d->failure);
    return d->failed ? -1 : 0;
}

static executr_status take_http(
    executr_cache *cache, ex_http **out, executr_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&cache->mutex);
    if (cache->idle_count)
        *out = cache->idle[--cache->idle_count];
    pthread_mutex_unlock(&cache->mutex);
    return *out ? EXECUTR_OK : ex_http_open(out, err);
}

static void give_http(executr_cache *cache, ex_http *http)
{
    pthread_mutex_lock(&cache->mutex);
    if (cache->idle_count < EX_CACHE_IDLE) {
        cache->idle[cache->idle_count++] = http;
        http = NULL;
    }
    pthread_mutex_unlock(&cache->mutex);
    ex_http_free(http);
}

static executr_status status_of_answer(int32_t status)
{
    if (status == 404 || status == 410)
        return EXECUTR_E_NOT_FOUND;
    if (status == 401 || status == 403)
        return EXECUTR_E_AUTH;
    if (status == 408 || status == 425 || status == 429 || status >= 500)
        return EXECUTR_E_UNAVAILABLE;
    return EXECUTR_E_PROTOCOL;
}

static executr_status refuse_answer(
    const char *url, int32_t status, executr_error *err)
{
    ex_buf shown;

    ex_buf_init(&shown, EX_BUF_UNLIMITED);
    ex_http_show_url(&shown, url);
    executr_status st = ex_fail(
        err, status_of_answer(status), "%s answers HTTP %d",
        ex_buf_text(&shown), (int)status);
    if (err)
        err->native = status;
    ex_buf_clear(&shown);
    return st;
}

static executr_status fetch_url(
    download *d, const char *url, executr_error *err)
{
    ex_http *http;
    ex_http_response response;
    ex_http_request request = {
        .method = "GET",
        .url = url,
        .write = on_bytes,
        .write_ctx = d,
        .begin = on_begin,
        .max_bytes = INT64_MAX, /* on_bytes counts */
        .stall_ms = d->cache->network_timeout_ms,
        .redirects = 1};

    executr_status st = take_http(d->cache, &http, err);
    if (st)
        return st;
    st = ex_http_call(http, &request, &response, err);
    if (!st && response.status != 200)
        st = refuse_answer(url, response.status, err);
    ex_http_response_clear(&response);
    give_http(d->cache, http);
    return st;
}

static executr_status check_hash(
    download *d, const char *url, executr_error *err)
{
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
    download *d, struct stat *info, executr_error *err)
{
    if (fchmod(d->fd, 0555) != 0)
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

static executr_status name_file(
    download *d, const char *path, executr_error *err)
{
    ex_cache_path objects;
    ex_cache_path prefix;
    char name[4];

    ex_cache_join(d->cache, "objects", "", &objects);
    (void)snprintf(name, sizeof name, "%.2s", d->entry->sha256);
    ex_cache_join(d->cache, "objects", name, &prefix);
    if (mkdir(prefix.text, 0700) != 0 && errno != EEXIST)
        return ex_cache_errno(err, errno, "cannot make", prefix.text);
    if (rename(d->path.text, path) != 0)
        return ex_cache_errno(err, errno, "cannot make", path);
    executr_status st = sync_dir(prefix.text, err);
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

static executr_status open_download(download *d, executr_error *err)
{
    static const int flags =
        O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;

    executr_status st = ex_cache_make_dirs(d->cache, err);
    if (st)
        return st;
    st = ex_sha256_open(&d->hash, err);
    if (st)
        return st;
    ex_cache_join(d->cache, "tmp", d->entry->sha256, &d->path);
    unlink(d->path.text); /* of a writer that died: we hold its lock */
    d->fd = open(d->path.text, flags, 0600);
    if (d->fd < 0)
        return ex_cache_errno(err, errno, "cannot make", d->path.text);
    return EXECUTR_OK;
}

static executr_status receive(
    download *d, const ex_origin *origin, executr_error *err)
{
    executr_status st;

    if (origin->fetch)
        st = origin->fetch(
            origin->fetch_ctx, d->entry->sha256, on_bytes, d, err);
    else
        st = fetch_url(d, origin->url, err);
    if (d->failed && err)
        *err = d->failure; /* the cause; what came up is its consequence */
    if (d->failed)
        st = d->failed;
    if (!st)
        st = check_hash(d, origin->fetch ? NULL : origin->url, err);
    return st;
}

executr_status ex_cache_fetch(
    executr_cache *cache, ex_entry *entry, const ex_origin *origin,
    executr_error *err)
{
    download d = {.cache = cache, .entry = entry, .fd = -1, .length = -1};
    struct stat info = {0};
    struct stat old;
    int64_t replaced = 0;

    executr_status st = open_download(&d, err);
    if (!st)
        st = receive(&d, origin, err);
    if (!st)
        st = finish_file(&d, &info, err);
    if (!st && lstat(entry->path, &old) == 0)
        replaced = old.st_size;
    if (!st)
        st = name_file(&d, entry->path, err);
    if (!st)
        st = remember(entry, &info, err);
    if (d.fd >= 0)
        close(d.fd);
    if (st && d.path.text[0])
        unlink(d.path.text);
    ex_sha256_free(d.hash);
    if (st)
        return st;
    pthread_mutex_lock(&cache->mutex);
    cache->bytes += d.written - replaced;
    pthread_mutex_unlock(&cache->mutex);
    ex_log(
        &cache->log, EXECUTR_LOG_INFO, "fetched a binary", "binary_sha256",
        entry->sha256, "bytes", EX_I64(d.written), NULL);
    return EXECUTR_OK;
}
