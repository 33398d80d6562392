/* SPDX-License-Identifier: MIT */
/*
 * Opens, moves and removes what a hostile program may have left. Hides what
 * kernels can do, mounts and file attributes.
 */
#include "base/fs_entry.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* So many mounts may lie on each other; a kernel allows 100,000 in all. */
#define MOUNTS 100000

/* Which mount a descriptor is on; -1 if that can't be known. */
static long mount_of(int fd)
{
    char text[512];
    char path[48];

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    int info = open(path, O_RDONLY | O_CLOEXEC);
    if (info < 0)
        return -1;
    ssize_t length = read(info, text, sizeof text - 1);
    close(info);
    if (length <= 0)
        return -1;
    text[length] = '\0';
    const char *at = strstr(text, "mnt_id:");
    return at ? strtol(at + strlen("mnt_id:"), NULL, 10) : -1;
}

/*
 * For kernels and sandboxes without openat2. The path is pinned before it is
 * judged, and not knowing is as bad as a mount.
 */
static int open_compared(int dir_fd, const char *name, int flags)
{
    int only = O_PATH | O_NOFOLLOW | O_CLOEXEC | (flags & O_DIRECTORY);

    int pin = openat(dir_fd, name, only);
    if (pin < 0)
        return -1;
    long above = mount_of(dir_fd);
    int number = above >= 0 && mount_of(pin) == above ? 0 : EXDEV;
    if (!number && (flags & O_PATH))
        return pin;
    int fd = -1;
    if (!number) {
        fd = openat(pin, ".", flags | O_CLOEXEC);
        number = errno;
    }
    close(pin);
    errno = number;
    return fd;
}

/* Open an entry that is here: not behind a link, not on another mount. */
static int open_here(int dir_fd, const char *name, int flags)
{
    struct open_how how;

    memset(&how, 0, sizeof how);
    how.flags = (unsigned)(flags | O_NOFOLLOW | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS;
    int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof how);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
        return fd;
    return open_compared(dir_fd, name, flags);
}

static void path_of(int fd, char *out, size_t size)
{
    snprintf(out, size, "/proc/self/fd/%d", fd);
}

/* Take away what is mounted on an entry: 1 if something was. */
static int unmount(int dir_fd, const char *name)
{
    char path[48 + NAME_MAX];
    int number = errno;
    int count = 0;

    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir_fd, name);
    while (count < MOUNTS && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        count++;
    errno = number;
    return count > 0;
}

/*
 * Give ourselves all rights on a directory we may not even read. The
 * descriptor pins what was checked; a name could be swapped.
 */
static int allow(int dir_fd, const char *name)
{
    char path[48];
    int fd = open_here(dir_fd, name, O_PATH | O_DIRECTORY);

    if (fd < 0)
        return -1;
    path_of(fd, path, sizeof path);
    int result = chmod(path, 0700);
    int number = errno;
    close(fd);
    errno = number;
    return result;
}

int ex_entry_open_dir(int dir_fd, const char *name)
{
    int flags = O_RDONLY | O_DIRECTORY;
    struct stat info;

    int fd = open_here(dir_fd, name, flags);
    if (fd < 0 && errno == EXDEV && unmount(dir_fd, name))
        fd = open_here(dir_fd, name, flags);
    if (fd < 0 && errno == EACCES && allow(dir_fd, name) == 0)
        fd = open_here(dir_fd, name, flags);
    /* If this fails, removing fails too, and with the better reason. */
    if (fd >= 0 && fstat(fd, &info) == 0 && (info.st_mode & 0700) != 0700)
        fchmod(fd, 0700);
    return fd;
}

/* 1 if an attribute was in the way and is gone. */
static int soften(int fd)
{
    int attributes = 0;
    int locks = FS_IMMUTABLE_FL | FS_APPEND_FL;

    if (ioctl(fd, FS_IOC_GETFLAGS, &attributes) != 0 || !(attributes & locks))
        return 0;
    attributes &= ~locks;
    return ioctl(fd, FS_IOC_SETFLAGS, &attributes) == 0;
}

/*
 * The same for an entry. A file that has another name may be somebody else's,
 * so it keeps its attributes; and what is no file nor directory is not opened.
 */
static int soften_entry(int dir_fd, const char *name)
{
    char path[48];
    struct stat info;
    int done = 0;
    int pin = open_here(dir_fd, name, O_PATH);

    if (pin < 0)
        return 0;
    if (fstat(pin, &info) == 0 &&
        (S_ISDIR(info.st_mode) ||
         (S_ISREG(info.st_mode) && info.st_nlink == 1))) {
        path_of(pin, path, sizeof path);
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        done = fd >= 0 && soften(fd);
        if (fd >= 0)
            close(fd);
    }
    close(pin);
    return done;
}

/* After a refusal: 1 if the reason is gone and it is worth another try. */
static int clear_way(int dir_fd, const char *name)
{
    int number = errno;
    int better = 0;

    if (number == EBUSY)
        better = unmount(dir_fd, name);
    if (number == EPERM) {
        better = soften(dir_fd);
        better |= soften_entry(dir_fd, name);
    }
    errno = number;
    return better;
}

int ex_entry_unlink(int dir_fd, const char *name, int flags)
{
    if (unlinkat(dir_fd, name, flags) == 0)
        return 0;
    return clear_way(dir_fd, name) ? unlinkat(dir_fd, name, flags) : -1;
}

int ex_entry_move(
    int from_fd, const char *name, int to_fd, const char *new_name)
{
    if (renameat(from_fd, name, to_fd, new_name) == 0)
        return 0;
    if (errno == EPERM)
        soften(to_fd);
    return clear_way(from_fd, name) ? renameat(from_fd, name, to_fd, new_name)
                                    : -1;
}
