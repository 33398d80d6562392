/* SPDX-License-Identifier: MIT */
/* Opens a directory that is ours alone; hides which ones are refused. */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"

static executr_status check_link(
    const char *what, const char *path, executr_error *err)
{
    struct stat info;

    if (lstat(path, &info) != 0 || !S_ISLNK(info.st_mode) || info.st_uid == 0 ||
        info.st_uid == geteuid())
        return EXECUTR_OK;
    return ex_fail(
        err, EXECUTR_E_IO,
        "%s %s is a link of user %u: remove the link, or choose another "
        "directory",
        what, path, (unsigned)info.st_uid);
}

/* Others must not be able to swap what is in it under us. */
static executr_status check_owner(
    const struct stat *info, const char *what, const char *path,
    executr_error *err)
{
    if (info->st_uid != geteuid())
        return ex_fail(
            err, EXECUTR_E_IO,
            "%s %s belongs to user %u, not to user %u who runs this: choose "
            "another one",
            what, path, (unsigned)info->st_uid, (unsigned)geteuid());
    if (info->st_mode & 022)
        return ex_fail(
            err, EXECUTR_E_IO,
            "others may write to %s %s (mode %o): choose a directory in it, or "
            "chmod go-w it",
            what, path, (unsigned)info->st_mode & 07777);
    return EXECUTR_OK;
}

executr_status ex_fs_open_own(
    const char *what, const char *path, int *fd, executr_error *err)
{
    struct stat info;

    *fd = -1;
    executr_status st = ex_fs_mkdirs(path, 0700, err);
    if (!st)
        st = check_link(what, path, err);
    if (st)
        return st;
    int opened = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0 || fstat(opened, &info) != 0)
        st = ex_fail_errno(err, errno, "cannot open %s %s", what, path);
    else
        st = check_owner(&info, what, path, err);
    if (st && opened >= 0)
        close(opened);
    else
        *fd = opened;
    return st;
}
