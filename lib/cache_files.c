/* SPDX-License-Identifier: MIT */
/* Paths, locks and the trust in files of the cache directory. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"
#include "base/log.h"

/* What to do about it; native is kept for those who look at the errno. */
static executr_status fail_full(
    executr_error *err, int number, const char *what, const char *path)
{
    const char *why =
        number == EFBIG
            ? "the file may not grow so long: raise the limit on the length of "
              "files (RLIMIT_FSIZE)"
        : number == EDQUOT
            ? "the quota is used up: free space, or make the cache's largest "
              "size smaller"
            : "the disk is full: free space on it, or make the cache's largest "
              "size smaller";

    executr_status st =
        ex_fail(err, EXECUTR_E_IO, "%s %s: %s", what, path, why);
    if (err)
        err->native = number;
    return st;
}

executr_status ex_cache_errno(
    executr_error *err, int number, const char *what, const char *path)
{
    if (ex_cache_is_full(number))
        return fail_full(err, number, what, path);
    executr_status st = ex_fail_errno(err, number, "%s %s", what, path);
    if (st == EXECUTR_E_NOT_FOUND) {
        st = EXECUTR_E_IO;
        if (err)
            err->status = st;
    }
    return st;
}

/* Roots are short enough for this never to be cut: see open. */
void ex_cache_join(
    const executr_cache *cache, const char *directory, const char *name,
    ex_cache_path *out)
{
    (void)snprintf(
        out->text, sizeof out->text, "%s/%s/%s", cache->root, directory, name);
}

/* Whoever else may write there could swap what runs, or follow our names to
 * where a link leads. */
static executr_status check_dir(const char *path, executr_error *err)
{
    struct stat info;

    if (lstat(path, &info) != 0)
        return ex_cache_errno(err, errno, "cannot look at", path);
    if (!S_ISDIR(info.st_mode))
        return ex_fail(
            err, EXECUTR_E_IO,
            "%s of the cache is a link, not a directory: remove it, or choose "
            "another cache directory",
            path);
    if (info.st_uid != geteuid())
        return ex_fail(
            err, EXECUTR_E_IO,
            "%s of the cache belongs to user %u, not to user %u who runs this: "
            "run as that user, or choose another cache directory",
            path, (unsigned)info.st_uid, (unsigned)geteuid());
    if (info.st_mode & 077)
        return ex_fail(
            err, EXECUTR_E_IO,
            "%s of the cache is open to others (mode %o): chmod 700 it", path,
            (unsigned)info.st_mode & 07777);
    return EXECUTR_OK;
}

executr_status ex_cache_make_dirs(executr_cache *cache, executr_error *err)
{
    static const char *const names[] = {"objects", "tmp", "locks"};
    ex_cache_path path;
    executr_status st = EXECUTR_OK;

    for (size_t i = 0; !st && i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(
            path.text, sizeof path.text, "%s/%s", cache->root, names[i]);
        st = ex_fs_mkdirs(path.text, 0700, err);
        if (!st)
            st = check_dir(path.text, err);
    }
    return st;
}

/* Returns 0, or -1 with errno. */
static int set_lock(int fd, int wait, short type, int byte)
{
    struct flock range = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int result;

    do {
        result = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range);
    } while (result < 0 && errno == EINTR);
    return result;
}

static int is_held(int number)
{
    return number == EAGAIN || number == EACCES;
}

/* Opens the lock file; the directories are made again if they were removed. */
static executr_status open_lock(
    executr_cache *cache, const char *path, int *fd, executr_error *err)
{
    static const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;

    *fd = open(path, flags, 0600);
    if (*fd < 0 && errno == ENOENT) {
        executr_status st = ex_cache_make_dirs(cache, err);
        if (st)
            return st;
        *fd = open(path, flags, 0600);
    }
    if (*fd < 0)
        return ex_cache_errno(err, errno, "cannot open", path);
    return EXECUTR_OK;
}

executr_status ex_cache_lock(
    executr_cache *cache, const char *sha256, int evict, int *fd,
    executr_error *err)
{
    ex_cache_path path;
    struct stat info = {0};

    ex_cache_join(cache, "locks", sha256, &path);
    for (;;) {
        executr_status st = open_lock(cache, path.text, fd, err);
        if (st)
            return st;
        int result = evict ? set_lock(*fd, 0, F_WRLCK, EX_CACHE_PINNED)
                           : set_lock(*fd, 1, F_RDLCK, EX_CACHE_PINNED);
        int number = errno;
        if (result == 0)
            result = fstat(*fd, &info);
        if (result == 0 && info.st_nlink > 0)
            return EXECUTR_OK;
        close(*fd);
        *fd = -1;
        if (result == 0)
            continue; /* it was evicted just now: another file has the name */
        if (evict && is_held(number))
            return EXECUTR_OK;
        return ex_cache_errno(err, number, "cannot lock", path.text);
    }
}

executr_status ex_cache_lock_fetch(int fd, int *got, executr_error *err)
{
    *got = set_lock(fd, 0, F_WRLCK, EX_CACHE_FETCHED) == 0;
    if (*got || is_held(errno))
        return EXECUTR_OK;
    return ex_fail_errno(err, errno, "cannot lock a file of the cache");
}

void ex_cache_unlock_fetch(int fd)
{
    set_lock(fd, 0, F_UNLCK, EX_CACHE_FETCHED);
}

int ex_cache_is_locked(const executr_cache *cache, const char *sha256, int byte)
{
    ex_cache_path path;
    struct flock range = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    ex_cache_join(cache, "locks", sha256, &path);
    int fd = open(path.text, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    int held = fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
    close(fd);
    return held;
}

void ex_cache_stamp(const struct stat *info, ex_stamp *out)
{
    *out = (ex_stamp){
        .device = info->st_dev,
        .inode = info->st_ino,
        .size = info->st_size,
        .mtime = info->st_mtim,
        .ctime = info->st_ctim};
}

static int same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int same_stamp(const ex_stamp *a, const ex_stamp *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->size == b->size && same_time(&a->mtime, &b->mtime) &&
           same_time(&a->ctime, &b->ctime);
}

int ex_cache_unchanged(const ex_entry *entry)
{
    struct stat info;
    ex_stamp stamp;

    if (!entry->verified || lstat(entry->path, &info) != 0)
        return 0;
    ex_cache_stamp(&info, &stamp);
    return same_stamp(&stamp, &entry->stamp);
}

/*
 * Hash the open file. It counts only if nothing moved meanwhile, and a file
 * that is no executable any more is as bad as one with other bytes.
 */
executr_status ex_cache_verify_fd(
    int fd, const char *sha256, const char *path, int *good, ex_stamp *stamp,
    executr_error *err)
{
    char got[EX_SHA256_HEX];
    struct stat info;
    ex_stamp before;

    *good = 0;
    if (fstat(fd, &info) != 0)
        return ex_cache_errno(err, errno, "cannot look at", path);
    if (!S_ISREG(info.st_mode) || (info.st_mode & 0777) != 0555)
        return EXECUTR_OK;
    ex_cache_stamp(&info, &before);
    executr_status st = ex_sha256_fd(fd, got, err);
    if (st)
        return st;
    if (fstat(fd, &info) != 0)
        return ex_cache_errno(err, errno, "cannot look at", path);
    ex_cache_stamp(&info, stamp);
    *good = strcmp(got, sha256) == 0 && same_stamp(&before, stamp);
    return EXECUTR_OK;
}

executr_status ex_cache_check(
    executr_cache *cache, ex_entry *entry, int *good, executr_error *err)
{
    *good = ex_cache_unchanged(entry);
    if (*good)
        return EXECUTR_OK;
    entry->verified = 0;
    int fd = open(entry->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        int number = errno;
        if (number == EMFILE || number == ENFILE || number == ENOMEM)
            return ex_cache_errno(err, number, "cannot open", entry->path);
        if (number != ENOENT)
            ex_log(
                &cache->log, EXECUTR_LOG_WARN,
                "a cached binary can't be opened and is fetched again",
                "binary_sha256", entry->sha256, NULL);
        return EXECUTR_OK;
    }
    executr_error why = {0};
    executr_status st = ex_cache_verify_fd(
        fd, entry->sha256, entry->path, good, &entry->stamp, &why);
    if (st && why.native == EIO)
        st = EXECUTR_OK; /* the disk lost it: as bad as other bytes */
    else if (st && err)
        *err = why;
    entry->verified = *good;
    close(fd);
    if (!st && !*good)
        ex_log(
            &cache->log, EXECUTR_LOG_WARN,
            "a cached binary was changed on disk and is fetched again",
            "binary_sha256", entry->sha256, NULL);
    return st;
}

executr_status ex_cache_ready(executr_cache *cache, executr_error *err)
{
    ex_cache_path path;
    executr_error why;
    int64_t evictable;

    executr_status st = ex_cache_make_dirs(cache, err);
    if (st)
        return st;
    ex_cache_join(cache, "tmp", "", &path);
    int fd = open(path.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ex_cache_errno(err, errno, "cannot open", path.text);
    st = ex_fs_check_space(fd, "the cache", EX_CACHE_LEAST_FREE, err);
    close(fd);
    /* Full of binaries that nobody uses is not full. */
    int full = st && (err->native == ENOSPC || err->native == EDQUOT);
    if (full && !ex_cache_evictable(cache, &evictable, &why) &&
        evictable >= EX_CACHE_LEAST_FREE)
        return EXECUTR_OK;
    return st;
}
