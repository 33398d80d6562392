/* SPDX-License-Identifier: MIT */
/*
 * Removes directory trees that a hostile program may have left: any depth, no
 * permissions, links, mounts. Hides how deep trees do without deep stacks.
 */
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"

/*
 * So many directories are open at once. What lies deeper is first moved to
 * the top of the tree, so depth costs neither memory nor descriptors, and no
 * ".." has to be trusted.
 */
#define LEVELS 32

/* How often in a row reading a directory that is not empty may remove nothing
 * before we give up. */
#define IDLE_PASSES 16

typedef struct level {
    DIR *dir;
    int passes;   /* readings in a row that removed nothing */
    int progress; /* this reading removed something */
    char name[NAME_MAX + 1];
} level;

typedef struct walk {
    int parent_fd;
    const char *root; /* the tree's own name, for messages too */
    dev_t device;
    uint64_t chance; /* makes names of moved directories unique */
    uint64_t moved;
    int depth; /* levels in use */
    level levels[LEVELS];
} walk;

static executr_status fail_at(
    const walk *w, int number, const char *name, executr_error *err)
{
    if (number == EXDEV || number == EBUSY)
        return ex_fail_errno(
            err, number,
            "cannot remove '%s' in %s, as something is mounted there; unmount "
            "it first",
            name, w->root);
    return ex_fail_errno(
        err, number, "cannot remove '%s' in %s", name, w->root);
}

/*
 * Open the root, or an entry below it without entering another mount; never
 * through a link. Kernels and sandboxes without openat2 compare devices, which
 * does not show a bind mount of the same file system. -1 and errno.
 */
static int open_inside(const walk *w, int dir_fd, const char *name, int flags)
{
    struct open_how how;
    struct stat info;

    flags |= O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (w->depth == 0)
        return openat(dir_fd, name, flags);
    memset(&how, 0, sizeof how);
    how.flags = (unsigned)flags;
    how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS;
    int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof how);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
        return fd;
    fd = openat(dir_fd, name, flags);
    if (fd >= 0 && (fstat(fd, &info) != 0 || info.st_dev != w->device)) {
        close(fd);
        errno = EXDEV;
        return -1;
    }
    return fd;
}

/* Give ourselves all rights on a directory we may not even read. */
static int allow(const walk *w, int dir_fd, const char *name)
{
    char path[40];
    int fd = open_inside(w, dir_fd, name, O_PATH);

    if (fd < 0)
        return -1;
    /* The descriptor pins what was checked; a name could be swapped. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int result = chmod(path, 0700);
    int number = errno;
    close(fd);
    errno = number;
    return result;
}

/* Open a directory of the tree, ready for its entries to be removed. */
static int open_writable(const walk *w, int dir_fd, const char *name)
{
    struct stat info;

    int fd = open_inside(w, dir_fd, name, O_RDONLY);
    if (fd < 0 && errno == EACCES && allow(w, dir_fd, name) == 0)
        fd = open_inside(w, dir_fd, name, O_RDONLY);
    if (fd < 0 || fstat(fd, &info) != 0)
        return fd;
    /* If this fails, removing fails too, and with the better reason. */
    if ((info.st_mode & 0700) != 0700)
        fchmod(fd, 0700);
    return fd;
}

static executr_status push(
    walk *w, int fd, const char *name, executr_error *err)
{
    level *top = &w->levels[w->depth];
    DIR *dir = fdopendir(fd);

    if (!dir) {
        int number = errno;
        close(fd);
        return fail_at(w, number, name, err);
    }
    memset(top, 0, sizeof *top);
    top->dir = dir;
    if (w->depth > 0)
        memcpy(top->name, name, strlen(name) + 1);
    w->depth++;
    return EXECUTR_OK;
}

/* Move a directory that lies too deep to the top, to be met again there. */
static executr_status move_up(walk *w, const char *name, executr_error *err)
{
    char target[64];
    int from = dirfd(w->levels[w->depth - 1].dir);
    int to = dirfd(w->levels[0].dir);

    snprintf(
        target, sizeof target, ".removing-%016" PRIx64 "-%" PRIu64, w->chance,
        w->moved++);
    if (renameat(from, name, to, target) != 0 && errno != ENOENT)
        return fail_at(w, errno, name, err);
    w->levels[0].progress = 1;
    return EXECUTR_OK;
}

static executr_status enter(walk *w, const char *name, executr_error *err)
{
    level *top = &w->levels[w->depth - 1];
    int fd = open_writable(w, dirfd(top->dir), name);

    if (fd < 0)
        return errno == ENOENT ? EXECUTR_OK : fail_at(w, errno, name, err);
    if (w->depth < LEVELS)
        return push(w, fd, name, err);
    close(fd);
    top->progress = 1;
    return move_up(w, name, err);
}

static executr_status remove_entry(
    walk *w, const struct dirent *entry, executr_error *err)
{
    level *top = &w->levels[w->depth - 1];
    const char *name = entry->d_name;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return EXECUTR_OK;
    if (entry->d_type == DT_DIR)
        return enter(w, name, err);
    if (unlinkat(dirfd(top->dir), name, 0) == 0 || errno == ENOENT) {
        top->progress = 1;
        return EXECUTR_OK;
    }
    /* Linux says EISDIR: a file system that does not tell types. */
    return errno == EISDIR ? enter(w, name, err) : fail_at(w, errno, name, err);
}

/*
 * All entries of the top level were seen: remove it. Reading while removing
 * may miss some, and moved ones come in, hence more passes if it is not empty.
 */
static executr_status leave(walk *w, executr_error *err)
{
    level *top = &w->levels[w->depth - 1];
    int root = w->depth == 1;
    const char *name = root ? w->root : top->name;
    int fd = root ? w->parent_fd : dirfd(w->levels[w->depth - 2].dir);

    if (unlinkat(fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        int number = errno;
        if (number != ENOTEMPTY && number != EEXIST)
            return fail_at(w, number, name, err);
        top->passes = top->progress ? 0 : top->passes + 1;
        if (top->passes >= IDLE_PASSES)
            return fail_at(w, number, name, err);
        top->progress = 0;
        rewinddir(top->dir);
        return EXECUTR_OK;
    }
    closedir(top->dir);
    w->depth--;
    if (!root)
        w->levels[w->depth - 1].progress = 1;
    return EXECUTR_OK;
}

static executr_status step(walk *w, executr_error *err)
{
    errno = 0;
    const struct dirent *entry = readdir(w->levels[w->depth - 1].dir);
    if (entry)
        return remove_entry(w, entry, err);
    if (errno)
        return ex_fail_errno(
            err, errno, "cannot read a directory in %s", w->root);
    return leave(w, err);
}

/* 1 if something is mounted on the directory; -1 and errno. */
static int is_mount_point(int fd)
{
    struct statx own;
    struct statx above;
    unsigned mask = STATX_MNT_ID;

    if (statx(fd, "", AT_EMPTY_PATH, mask, &own) != 0 ||
        statx(fd, "..", 0, mask, &above) != 0)
        return -1;
    if (own.stx_mask & above.stx_mask & mask)
        return own.stx_mnt_id != above.stx_mnt_id;
    return own.stx_dev_major != above.stx_dev_major ||
           own.stx_dev_minor != above.stx_dev_minor;
}

static executr_status open_root(walk *w, executr_error *err)
{
    int fd = open_writable(w, w->parent_fd, w->root);
    if (fd < 0)
        return fail_at(w, errno, w->root, err);
    int mounted = is_mount_point(fd);
    if (mounted) {
        int number = mounted > 0 ? EXDEV : errno;
        close(fd);
        return fail_at(w, number, w->root, err);
    }
    return push(w, fd, w->root, err);
}

static executr_status remove_directory(
    int parent_fd, const char *name, dev_t device, executr_error *err)
{
    void *memory;

    executr_status st = ex_alloc(&memory, sizeof(walk), err);
    if (st)
        return st;
    walk *w = memory;
    w->parent_fd = parent_fd;
    w->root = name;
    w->device = device;
    if (getrandom(&w->chance, sizeof w->chance, 0) != sizeof w->chance)
        st = ex_fail_errno(err, errno, "cannot get random bytes");
    if (!st)
        st = open_root(w, err);
    while (!st && w->depth > 0)
        st = step(w, err);
    while (w->depth > 0)
        closedir(w->levels[--w->depth].dir);
    ex_free(w);
    return st;
}

executr_status ex_fs_remove_tree(
    int parent_fd, const char *name, executr_error *err)
{
    struct stat info;

    if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "'%s' is no directory to remove", name);
    if (fstatat(parent_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT)
            return EXECUTR_OK;
        return ex_fail_errno(err, errno, "cannot look at %s", name);
    }
    if (S_ISDIR(info.st_mode))
        return remove_directory(parent_fd, name, info.st_dev, err);
    if (unlinkat(parent_fd, name, 0) != 0 && errno != ENOENT)
        return ex_fail_errno(err, errno, "cannot remove %s", name);
    return EXECUTR_OK;
}
