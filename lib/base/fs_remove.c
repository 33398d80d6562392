/* SPDX-License-Identifier: MIT */
/*
 * Removes directory trees that a hostile program may have left: any depth, any
 * size, no permissions, links, mounts. Hides how deep trees do without deep
 * stacks.
 */
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/fs_entry.h"

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
    int failed;   /* an entry can't be removed, so this can't either */
    char name[NAME_MAX + 1];
} level;

typedef struct walk {
    int parent_fd;
    const char *root; /* the tree's own name, for messages too */
    const atomic_int *give_up;
    uint64_t chance; /* makes names of moved directories unique */
    uint64_t moved;
    int depth;             /* levels in use */
    executr_status status; /* of the first entry that can't be removed */
    executr_error *err;    /* filled by it */
    level levels[LEVELS];
} walk;

static executr_status fail_at(
    const char *root, int number, const char *name, executr_error *err)
{
    if (number == EXDEV || number == EBUSY)
        return ex_fail_errno(
            err, number,
            "cannot remove '%s' in %s, as something is mounted there; unmount "
            "it first",
            name, root);
    return ex_fail_errno(err, number, "cannot remove '%s' in %s", name, root);
}

/* Note why an entry stays. The others are removed all the same, because half
 * a tree may be what fills a disk. */
static void keep(walk *w, int number, const char *name)
{
    if (w->depth > 0)
        w->levels[w->depth - 1].failed = 1;
    if (w->status)
        return;
    w->status = fail_at(w->root, number, name, w->err);
}

static void push(walk *w, int fd, const char *name)
{
    DIR *dir = fdopendir(fd);

    if (!dir) {
        int number = errno;
        close(fd);
        keep(w, number, name);
        return;
    }
    level *top = &w->levels[w->depth++];
    memset(top, 0, sizeof *top);
    top->dir = dir;
    snprintf(top->name, sizeof top->name, "%s", name);
}

/* Move a directory that lies too deep to the top, to be met again there. */
static void move_up(walk *w, const char *name)
{
    char target[64];
    level *top = &w->levels[w->depth - 1];
    int to = dirfd(w->levels[0].dir);

    snprintf(
        target, sizeof target, ".removing-%016" PRIx64 "-%" PRIu64, w->chance,
        w->moved++);
    if (ex_entry_move(dirfd(top->dir), name, to, target) && errno != ENOENT) {
        keep(w, errno, name);
        return;
    }
    top->progress = 1;
    w->levels[0].progress = 1;
}

static void enter(walk *w, const char *name)
{
    level *top = &w->levels[w->depth - 1];
    int fd = ex_entry_open_dir(dirfd(top->dir), name);

    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
        /* It was swapped. Should it be a directory again by now, the next pass
         * meets it. */
        top->progress |= ex_entry_unlink(dirfd(top->dir), name, 0) == 0;
        return;
    }
    if (fd < 0) {
        if (errno != ENOENT)
            keep(w, errno, name);
        return;
    }
    if (w->depth < LEVELS) {
        push(w, fd, name);
        return;
    }
    close(fd);
    move_up(w, name);
}

static void remove_entry(walk *w, const struct dirent *entry)
{
    level *top = &w->levels[w->depth - 1];
    const char *name = entry->d_name;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return;
    if (entry->d_type != DT_DIR) {
        if (ex_entry_unlink(dirfd(top->dir), name, 0) == 0 || errno == ENOENT) {
            top->progress = 1;
            return;
        }
        if (errno != EISDIR) {
            keep(w, errno, name);
            return;
        }
        /* It became one, or this file system does not tell. */
    }
    enter(w, name);
}

static void pop(walk *w)
{
    closedir(w->levels[--w->depth].dir);
}

/*
 * All entries of the top level were seen: remove it. Reading while removing
 * may miss some, and moved ones come in, hence more passes if it is not empty:
 * until one in which nothing went away if something is known to stay, else
 * until some.
 */
static void leave(walk *w)
{
    level *top = &w->levels[w->depth - 1];
    int root = w->depth == 1;
    int fd = root ? w->parent_fd : dirfd(w->levels[w->depth - 2].dir);
    char name[NAME_MAX + 1];

    memcpy(name, top->name, sizeof name);
    if (ex_entry_unlink(fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        pop(w);
        if (!root)
            w->levels[w->depth - 1].progress = 1;
        return;
    }
    int number = errno;
    int full = number == ENOTEMPTY || number == EEXIST;
    top->passes = top->progress ? 0 : top->passes + 1;
    if (full && top->passes < (top->failed ? 1 : IDLE_PASSES)) {
        top->progress = 0;
        rewinddir(top->dir);
        return;
    }
    pop(w);
    keep(w, number, name);
}

static void step(walk *w)
{
    errno = 0;
    const struct dirent *entry = readdir(w->levels[w->depth - 1].dir);
    if (entry) {
        remove_entry(w, entry);
        return;
    }
    if (errno)
        keep(w, errno, w->levels[w->depth - 1].name);
    leave(w);
}

static executr_status remove_directory(walk *w, int fd)
{
    push(w, fd, w->root);
    while (w->depth > 0) {
        step(w);
        if (w->give_up && atomic_load(w->give_up))
            break;
    }
    if (w->depth > 0 && !w->status)
        w->status = ex_fail(
            w->err, EXECUTR_E_CANCELLED, "removing %s was given up", w->root);
    while (w->depth > 0)
        pop(w);
    return w->status;
}

/* Whatever has this name in a directory. */
static executr_status remove_any(
    int parent_fd, const char *name, const atomic_int *give_up,
    executr_error *err)
{
    void *memory;

    if (ex_entry_unlink(parent_fd, name, 0) == 0 || errno == ENOENT)
        return EXECUTR_OK;
    int number = errno;
    int fd = ex_entry_open_dir(parent_fd, name);
    if (fd < 0 && errno == ENOENT)
        return EXECUTR_OK;
    if (fd < 0)
        return fail_at(name, errno == ENOTDIR ? number : errno, name, err);
    executr_status st = ex_alloc(&memory, sizeof(walk), err);
    if (st) {
        close(fd);
        return st;
    }
    walk *w = memory;
    w->parent_fd = parent_fd;
    w->root = name;
    w->give_up = give_up;
    w->err = err;
    if (getrandom(&w->chance, sizeof w->chance, 0) == sizeof w->chance) {
        st = remove_directory(w, fd);
    } else {
        st = ex_fail_errno(err, errno, "cannot get random bytes");
        close(fd);
    }
    ex_free(w);
    return st;
}

executr_status ex_fs_remove_tree_until(
    int parent_fd, const char *path, const atomic_int *give_up,
    executr_error *err)
{
    char above[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t length = (size_t)(name - path);

    if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        length >= sizeof above)
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "'%s' is no directory to remove", path);
    if (!slash)
        return remove_any(parent_fd, name, give_up, err);
    memcpy(above, path, length);
    above[length] = '\0';
    int fd = openat(parent_fd, above, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return EXECUTR_OK;
    if (fd < 0)
        return ex_fail_errno(err, errno, "cannot open %s", above);
    executr_status st = remove_any(fd, name, give_up, err);
    close(fd);
    return st;
}

executr_status ex_fs_remove_tree(
    int parent_fd, const char *path, executr_error *err)
{
    return ex_fs_remove_tree_until(parent_fd, path, NULL, err);
}
