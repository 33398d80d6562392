/* SPDX-License-Identifier: MIT */
/* Whether a volume still takes files; leaves nothing on it. */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fail.h"

/* More than file systems keep within an inode. */
#define TRIED_BYTES 8192

/* What a quota allows is seen only by writing. */
static executr_status write_some(
    int dir_fd, const char *path, executr_error *err)
{
    char name[40];
    char bytes[TRIED_BYTES];
    uint64_t chance;

    memset(bytes, 'x', sizeof bytes);
    if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
        return ex_fail_errno(err, errno, "cannot get random bytes");
    snprintf(name, sizeof name, EX_TMPFILE_PREFIX "%016" PRIx64, chance);
    int fd = openat(
        dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
        0600);
    if (fd < 0)
        return ex_fail_errno(err, errno, "cannot make a file in %s", path);
    unlinkat(dir_fd, name, 0);
    executr_status st = EXECUTR_OK;
    if (ex_fs_write_all(fd, bytes, sizeof bytes, err))
        st = ex_fail_errno(err, errno, "cannot write to a file in %s", path);
    close(fd);
    return st;
}

executr_status ex_fs_check_free(
    int dir_fd, const char *path, int64_t bytes, executr_error *err)
{
    struct statvfs volume;

    if (fstatvfs(dir_fd, &volume) != 0)
        return ex_fail_errno(err, errno, "cannot look at %s", path);
    /* Without any at all, the file system has no fixed number of inodes. */
    int no_inodes = volume.f_files > 0 && volume.f_favail == 0;
    uint64_t wanted = (uint64_t)bytes / (uint64_t)volume.f_frsize + 1;
    if (volume.f_bavail >= wanted && !no_inodes)
        return EXECUTR_OK;
    return ex_fail_errno(
        err, ENOSPC, "the volume of %s is full, with next to no %s left", path,
        no_inodes ? "inode" : "space");
}

executr_status ex_fs_check_space(
    int dir_fd, const char *path, int64_t bytes, executr_error *err)
{
    executr_status st = ex_fs_check_free(dir_fd, path, bytes, err);

    return st ? st : write_some(dir_fd, path, err);
}
