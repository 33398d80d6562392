/* SPDX-License-Identifier: MIT */
/* Files; hides interruptions, short writes and what a crash leaves behind. */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"

#define READ_CHUNK ((size_t)65536)

executr_status ex_fs_join(
    ex_buf *out, const char *a, const char *b, executr_error *err)
{
    ex_buf_reset(out);
    if (b[0] != '/') {
        size_t length = strlen(a);
        ex_buf_add(out, a, length);
        if (length > 0 && a[length - 1] != '/')
            ex_buf_putc(out, '/');
    }
    ex_buf_puts(out, b);
    return ex_buf_status(out, "a path", err);
}

executr_status ex_fs_expand(ex_buf *out, const char *path, executr_error *err)
{
    if (path[0] != '~' || (path[1] && path[1] != '/'))
        return ex_fs_join(out, "", path, err);
    const char *home = getenv("HOME");
    if (!home || home[0] != '/')
        return ex_fail(
            err, EXECUTR_E_ARGUMENT,
            "cannot resolve '%s', as HOME is not set: set it or give an "
            "absolute path",
            path);
    ex_buf_reset(out);
    ex_buf_puts(out, home);
    ex_buf_puts(out, path + 1);
    return ex_buf_status(out, "a path", err);
}

static executr_status make_one(
    const char *path, unsigned mode, executr_error *err)
{
    struct stat info;

    if (mkdir(path, mode) == 0)
        return EXECUTR_OK;
    int number = errno;
    if (stat(path, &info) != 0)
        return ex_fail_errno(err, number, "cannot make directory %s", path);
    if (!S_ISDIR(info.st_mode))
        return ex_fail_errno(err, ENOTDIR, "cannot make directory %s", path);
    return EXECUTR_OK;
}

executr_status ex_fs_mkdirs(const char *path, unsigned mode, executr_error *err)
{
    ex_buf prefix;

    ex_buf_init(&prefix, EX_BUF_UNLIMITED);
    executr_status st = EXECUTR_OK;
    size_t done = strspn(path, "/");
    if (!path[0])
        st = ex_fail(err, EXECUTR_E_ARGUMENT, "a directory's path is empty");
    while (!st && path[done]) {
        done += strcspn(path + done, "/");
        ex_buf_reset(&prefix);
        ex_buf_add(&prefix, path, done);
        st = ex_buf_status(&prefix, "a path", err);
        if (!st)
            st = make_one(prefix.data, mode, err);
        done += strspn(path + done, "/");
    }
    ex_buf_clear(&prefix);
    return st;
}

/* Reads once more to `out`; *end says that nothing was left. */
static executr_status read_some(
    int fd, const char *path, ex_buf *out, int *end, executr_error *err)
{
    char extra;
    size_t room = out->length < out->limit ? out->limit - out->length : 0;
    char *to = &extra;

    if (room > READ_CHUNK)
        room = READ_CHUNK;
    if (room > 0) {
        to = ex_buf_reserve(out, room);
        if (!to)
            return ex_buf_status(out, path, err);
    }
    ssize_t got = read(fd, to, room ? room : 1);
    *end = got == 0;
    if (got < 0 && errno != EINTR)
        return ex_fail_errno(err, errno, "cannot read %s", path);
    if (got <= 0)
        return EXECUTR_OK;
    if (room > 0)
        ex_buf_used(out, (size_t)got);
    else
        ex_buf_putc(out, extra); /* fails, and says that it is too long */
    return ex_buf_status(out, path, err);
}

executr_status ex_fs_read(const char *path, ex_buf *out, executr_error *err)
{
    int end = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ex_fail_errno(err, errno, "cannot open %s", path);
    executr_status st = EXECUTR_OK;
    while (!st && !end)
        st = read_some(fd, path, out, &end, err);
    close(fd);
    return st;
}

executr_status ex_fs_write_all(
    int fd, const void *data, size_t length, executr_error *err)
{
    const char *at = data;

    while (length > 0) {
        ssize_t written = write(fd, at, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return ex_fail_errno(err, errno, "cannot write");
        at += written;
        length -= (size_t)written;
    }
    return EXECUTR_OK;
}

void ex_tmpfile_init(ex_tmpfile *tmp)
{
    tmp->fd = -1;
    ex_buf_init(&tmp->path, EX_BUF_UNLIMITED);
    ex_buf_init(&tmp->dir, EX_BUF_UNLIMITED);
}

executr_status ex_tmpfile_open(
    ex_tmpfile *tmp, const char *dir, executr_error *err)
{
    char name[40];
    uint64_t chance;

    ex_tmpfile_close(tmp);
    do {
        if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
            return ex_fail_errno(err, errno, "cannot get random bytes");
        snprintf(name, sizeof name, EX_TMPFILE_PREFIX "%016" PRIx64, chance);
        executr_status st = ex_fs_join(&tmp->path, dir, name, err);
        if (!st)
            st = ex_fs_join(&tmp->dir, dir, "", err);
        if (st) {
            ex_buf_reset(&tmp->path);
            return st;
        }
        tmp->fd = open(
            tmp->path.data, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
            0600);
    } while (tmp->fd < 0 && errno == EEXIST);
    if (tmp->fd < 0) {
        int number = errno;
        ex_buf_reset(&tmp->path);
        return ex_fail_errno(err, number, "cannot make a file in %s", dir);
    }
    return EXECUTR_OK;
}

/* Make the names in a directory survive a crash, too. */
static executr_status sync_directory(const char *dir, executr_error *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return ex_fail_errno(err, errno, "cannot open %s", dir);
    executr_status st = EXECUTR_OK;
    /* EINVAL: this file system does it by itself or not at all. */
    if (fsync(fd) != 0 && errno != EINVAL)
        st = ex_fail_errno(err, errno, "cannot sync %s", dir);
    close(fd);
    return st;
}

/* The bytes and the mode reach the disk before any name leads to them. */
static executr_status finish_file(
    ex_tmpfile *tmp, unsigned mode, executr_error *err)
{
    const char *path = ex_buf_text(&tmp->path);

    if (fchmod(tmp->fd, mode) != 0)
        return ex_fail_errno(err, errno, "cannot set the mode of %s", path);
    if (fsync(tmp->fd) != 0)
        return ex_fail_errno(err, errno, "cannot sync %s", path);
    int closed = close(tmp->fd);
    tmp->fd = -1;
    if (closed != 0 && errno != EINTR)
        return ex_fail_errno(err, errno, "cannot close %s", path);
    return EXECUTR_OK;
}

executr_status ex_tmpfile_commit(
    ex_tmpfile *tmp, const char *name, unsigned mode, executr_error *err)
{
    ex_buf target;

    if (!name[0] || strchr(name, '/'))
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "'%s' is no name for a file", name);
    ex_buf_init(&target, EX_BUF_UNLIMITED);
    executr_status st = ex_fs_join(&target, ex_buf_text(&tmp->dir), name, err);
    if (!st)
        st = finish_file(tmp, mode, err);
    if (st)
        goto done;
    if (rename(tmp->path.data, target.data) != 0) {
        st = ex_fail_errno(err, errno, "cannot make %s", target.data);
        goto done;
    }
    ex_buf_reset(&tmp->path);
    st = sync_directory(tmp->dir.data, err);
done:
    ex_buf_clear(&target);
    return st;
}

void ex_tmpfile_close(ex_tmpfile *tmp)
{
    if (tmp->fd >= 0)
        close(tmp->fd);
    if (tmp->path.length > 0)
        unlink(tmp->path.data);
    ex_buf_clear(&tmp->path);
    ex_buf_clear(&tmp->dir);
    tmp->fd = -1;
}
