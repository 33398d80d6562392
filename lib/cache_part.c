/* SPDX-License-Identifier: MIT */
/*
 * The file that a download is written to, beside its place. One that broke off
 * stays, with a note of where its bytes are from; what was hashed of it is
 * worked out again from the file itself, so that nothing has to be trusted
 * that a crash may have lost.
 */
#include "cache_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"

#define PIECE 65536

static void close_file(ex_download *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

static void forget_bytes(ex_download *d)
{
    ex_sha256_free(d->hash);
    d->hash = NULL;
    d->written = 0;
    d->length = -1;
    d->pieced = 0;
    memset(&d->note, 0, sizeof d->note);
}

void ex_part_remove(ex_download *d)
{
    close_file(d);
    if (!d->path.text[0])
        return;
    unlink(d->note_path.text);
    unlink(d->path.text);
}

static executr_status make_file(ex_download *d, executr_error *err)
{
    static const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;

    d->fd = open(d->path.text, flags, 0600);
    if (d->fd < 0)
        return ex_cache_errno(err, errno, "cannot make", d->path.text);
    return EXECUTR_OK;
}

executr_status ex_part_reset(ex_download *d, executr_error *err)
{
    ex_part_remove(d);
    forget_bytes(d);
    executr_status st = ex_sha256_open(&d->hash, err);
    if (st)
        return st;
    do {
        st = make_file(d, err);
    } while (st && ex_cache_make_room(d->cache, err));
    return st;
}

/* Two lines: the URL and the version. */
static int read_note(ex_download *d)
{
    char text[sizeof d->note + 2];

    int fd = open(d->note_path.text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    char *line = strchr(text, '\n');
    char *end = line ? strchr(line + 1, '\n') : NULL;
    if (!end || line - text >= (ssize_t)sizeof d->note.url ||
        end - line > (ssize_t)sizeof d->note.version)
        return 0;
    *line = '\0';
    *end = '\0';
    memcpy(d->note.url, text, (size_t)(line - text) + 1);
    memcpy(d->note.version, line + 1, (size_t)(end - line));
    return 1;
}

/* The URL up to its query, which holds signatures and dates: "" when that is
 * too long to be remembered. */
static void plain_url(const char *url, char out[2048])
{
    size_t length = strcspn(url, "?#");

    out[0] = '\0';
    if (length >= 2048 || strcspn(url, "\r\n") < length)
        return;
    memcpy(out, url, length);
    out[length] = '\0';
}

/* A weak ETag tells nothing about bytes. */
static const char *version_of(const ex_http_head *head)
{
    int strong = head->etag[0] == '"';

    return strong ? head->etag : head->last_modified;
}

/* Without a note the download is begun anew, which is all the harm there is in
 * one that can't be written. */
void ex_part_note(ex_download *d, const ex_http_head *head)
{
    static const int flags =
        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    char text[sizeof d->note + 3];

    plain_url(d->origin->url, d->note.url);
    (void)snprintf(
        d->note.version, sizeof d->note.version, "%s", version_of(head));
    if (!d->note.url[0])
        return;
    int length =
        snprintf(text, sizeof text, "%s\n%s\n", d->note.url, d->note.version);
    int fd = open(d->note_path.text, flags, 0600);
    if (fd < 0)
        return;
    executr_status st = ex_fs_write_all(fd, text, (size_t)length, NULL);
    if (close(fd) != 0 || st)
        unlink(d->note_path.text);
}

executr_status ex_part_too_large(const ex_download *d, executr_error *err)
{
    return ex_fail(
        err, EXECUTR_E_TOO_LARGE,
        "binary %.12s… is larger than %lld bytes, the most allowed here",
        d->entry->sha256, (long long)d->cache->max_binary_bytes);
}

/* Hash what is there; the file is left at its end. */
static executr_status take_bytes(ex_download *d, executr_error *err)
{
    char piece[PIECE];

    executr_status st = ex_sha256_open(&d->hash, err);
    while (!st) {
        ssize_t got = read(d->fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ex_cache_errno(err, errno, "cannot read", d->path.text);
        if (got == 0)
            break;
        if (ex_cache_given_up(d->cache, d->entry))
            return ex_cache_fail_cancelled(err);
        ex_sha256_add(d->hash, piece, (size_t)got);
        d->written += got;
    }
    d->pieced = d->written > 0;
    return st;
}

/* Is what is left of an earlier fetch from the same place, and our own? */
static int may_continue(ex_download *d)
{
    char url[sizeof d->note.url];
    struct stat info;

    if (!d->origin->url || d->origin->fetch || !read_note(d))
        return 0;
    plain_url(d->origin->url, url);
    if (!url[0] || strcmp(url, d->note.url) != 0)
        return 0;
    d->fd = open(d->path.text, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return d->fd >= 0 && fstat(d->fd, &info) == 0 && S_ISREG(info.st_mode) &&
           info.st_uid == geteuid() && info.st_nlink == 1 &&
           info.st_size <= d->cache->max_binary_bytes;
}

executr_status ex_part_open(ex_download *d, executr_error *err)
{
    char name[EX_SHA256_HEX + 8];

    executr_status st;

    do {
        st = ex_cache_make_dirs(d->cache, err);
    } while (st && ex_cache_make_room(d->cache, err));
    if (st)
        return st;
    ex_cache_join(d->cache, "tmp", d->entry->sha256, &d->path);
    (void)snprintf(name, sizeof name, "%s" EX_CACHE_NOTE, d->entry->sha256);
    ex_cache_join(d->cache, "tmp", name, &d->note_path);
    if (!may_continue(d))
        return ex_part_reset(d, err);
    return take_bytes(d, err);
}
