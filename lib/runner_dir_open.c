/* SPDX-License-Identifier: MIT */
/* Opens the work directory. Hides how ours gets its name and its lock. */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"

static executr_status fail_in(
    const char *path, int number, const char *what, executr_error *err)
{
    if (number == EACCES || number == EROFS || number == EPERM)
        return ex_fail_errno(
            err, number,
            "cannot write to work directory %s: choose another one", path);
    return ex_start_failed(err, number, what);
}

/*
 * Make and lock our own directory. *done stays 0 when somebody who cleans up
 * was quicker between the two: it needs another name.
 */
static executr_status open_own(
    ex_workdir *dir, const char *path, int *done, executr_error *err)
{
    struct stat info;
    uint64_t chance;

    if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
        return ex_fail_errno(err, errno, "cannot get random bytes");
    snprintf(
        dir->name, sizeof dir->name, EX_WORKDIR_PREFIX "%016" PRIx64, chance);
    if (mkdirat(dir->root_fd, dir->name, 0700) != 0)
        return fail_in(
            path, errno, "cannot make a directory in the work directory", err);
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    dir->fd = openat(dir->root_fd, dir->name, flags);
    if (dir->fd < 0 && errno != ENOENT)
        return ex_start_failed(
            err, errno, "cannot open a directory in the work directory");
    if (dir->fd < 0)
        return EXECUTR_OK;
    int number = flock(dir->fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    *done = !number && fstat(dir->fd, &info) == 0 && info.st_nlink > 0;
    if (*done)
        return EXECUTR_OK;
    close(dir->fd);
    dir->fd = -1;
    if (!number || number == EWOULDBLOCK)
        return EXECUTR_OK;
    unlinkat(dir->root_fd, dir->name, AT_REMOVEDIR);
    return ex_fail_errno(
        err, number,
        "cannot lock a directory in the work directory, so that nobody else "
        "removes it; choose one on a local disk");
}

/* Programs of another user have to get through to their directories. */
static executr_status let_through(
    const ex_workdir *dir, int fd, executr_error *err)
{
    struct stat info;

    if (!dir->user)
        return EXECUTR_OK;
    if (fstat(fd, &info) != 0 ||
        fchmod(fd, (info.st_mode & 07777) | S_IXGRP | S_IXOTH) != 0)
        return ex_fail_errno(err, errno, "cannot open up a work directory");
    return EXECUTR_OK;
}

executr_status ex_workdir_open(
    ex_workdir *dir, const char *path, executr_error *err)
{
    int done = 0;

    executr_status st =
        ex_fs_open_own("work directory", path, &dir->root_fd, err);
    while (!st && !done)
        st = open_own(dir, path, &done, err);
    if (!st)
        st = let_through(dir, dir->root_fd, err);
    if (!st)
        st = let_through(dir, dir->fd, err);
    if (!st)
        ex_workdir_sweep(dir);
    return st;
}
