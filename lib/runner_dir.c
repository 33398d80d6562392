/* SPDX-License-Identifier: MIT */
/*
 * Directories for programs. Hides the lock that tells living runners from dead
 * ones and the thread that removes big trees.
 */
#include "runner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"
#include "base/log.h"

/* How the directories of runners are named, and what waits for removal: no
 * program's name may start with a dot. */
#define PREFIX "runner-"
#define DOOMED_PREFIX ".removing-"

struct ex_doomed {
    ex_doomed *next;
    int parent_fd;
    int lock_fd; /* closed afterwards; -1: none */
    char name[48];
};

static void remove_tree(
    ex_workdir *dir, int parent_fd, const char *name, int lock_fd)
{
    executr_error err;

    if (ex_fs_remove_tree(parent_fd, name, &err))
        ex_log(
            &dir->log, EXECUTR_LOG_WARN, "a work directory stays behind",
            "directory", name, "error", err.message, NULL);
    if (lock_fd >= 0)
        close(lock_fd);
}

static void *remove_doomed(void *arg)
{
    ex_workdir *dir = arg;

    pthread_mutex_lock(&dir->lock);
    while (dir->doomed || !dir->ending) {
        ex_doomed *first = dir->doomed;
        if (!first) {
            pthread_cond_wait(&dir->wake, &dir->lock);
            continue;
        }
        dir->doomed = first->next;
        pthread_mutex_unlock(&dir->lock);
        remove_tree(dir, first->parent_fd, first->name, first->lock_fd);
        ex_free(first);
        pthread_mutex_lock(&dir->lock);
    }
    pthread_mutex_unlock(&dir->lock);
    return NULL;
}

/* The thread exists from the first time it is needed; 0 when it runs. */
static int want_thread(ex_workdir *dir)
{
    sigset_t all;
    sigset_t before;

    if (dir->has_thread)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&dir->thread, NULL, remove_doomed, dir);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    dir->has_thread = number == 0;
    return number;
}

/* Remove a tree by the thread; here and now if that can't be. */
static void doom(ex_workdir *dir, int parent_fd, const char *name, int lock_fd)
{
    void *memory = NULL;

    if (want_thread(dir) || ex_alloc(&memory, sizeof(ex_doomed), NULL)) {
        remove_tree(dir, parent_fd, name, lock_fd);
        return;
    }
    ex_doomed *doomed = memory;
    doomed->parent_fd = parent_fd;
    doomed->lock_fd = lock_fd;
    snprintf(doomed->name, sizeof doomed->name, "%s", name);
    pthread_mutex_lock(&dir->lock);
    doomed->next = dir->doomed;
    dir->doomed = doomed;
    pthread_cond_signal(&dir->wake);
    pthread_mutex_unlock(&dir->lock);
}

/*
 * Remove the directory of a runner if nobody holds its lock. The lock is on
 * the directory itself, and is kept until it is gone.
 */
static void remove_if_dead(ex_workdir *dir, const char *name)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dir->root_fd, name, flags);

    if (fd < 0)
        return;
    if (strlen(name) >= sizeof dir->name || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return;
    }
    ex_log(
        &dir->log, EXECUTR_LOG_INFO, "removing what a dead runner left",
        "directory", name, NULL);
    doom(dir, dir->root_fd, name, fd);
}

static void remove_dead(ex_workdir *dir)
{
    int fd = openat(dir->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);

    if (!list) {
        if (fd >= 0)
            close(fd);
        ex_log(
            &dir->log, EXECUTR_LOG_WARN, "cannot look for old directories",
            NULL);
        return;
    }
    const struct dirent *entry = readdir(list);
    for (; entry; entry = readdir(list)) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0 &&
            strcmp(entry->d_name, dir->name) != 0)
            remove_if_dead(dir, entry->d_name);
    }
    closedir(list);
}

/* Jobs of others must not be able to swap directories under us. */
static executr_status open_root(
    ex_workdir *dir, const char *path, executr_error *err)
{
    struct stat info;

    executr_status st = ex_fs_mkdirs(path, 0700, err);
    if (st)
        return st;
    dir->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->root_fd < 0 || fstat(dir->root_fd, &info) != 0)
        return ex_fail_errno(err, errno, "cannot open work directory %s", path);
    if (info.st_uid != geteuid() || (info.st_mode & 022) != 0)
        return ex_fail(
            err, EXECUTR_E_IO,
            "work directory %s belongs to another user or others may write to "
            "it: choose another one",
            path);
    return EXECUTR_OK;
}

/*
 * Make and lock our own directory. *done stays 0 when somebody who cleans up
 * was quicker between the two: it needs another name.
 */
static executr_status open_own(ex_workdir *dir, int *done, executr_error *err)
{
    struct stat info;
    uint64_t chance;

    if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
        return ex_fail_errno(err, errno, "cannot get random bytes");
    snprintf(dir->name, sizeof dir->name, PREFIX "%016" PRIx64, chance);
    if (mkdirat(dir->root_fd, dir->name, 0700) != 0)
        return ex_fail_errno(
            err, errno, "cannot make %s in the work directory", dir->name);
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    dir->fd = openat(dir->root_fd, dir->name, flags);
    if (dir->fd < 0 && errno != ENOENT)
        return ex_fail_errno(err, errno, "cannot open %s", dir->name);
    errno = 0;
    *done = dir->fd >= 0 && flock(dir->fd, LOCK_EX | LOCK_NB) == 0 &&
            fstat(dir->fd, &info) == 0 && info.st_nlink > 0;
    if (!*done && dir->fd >= 0) {
        if (errno == ENOLCK || errno == EOPNOTSUPP)
            return ex_fail_errno(
                err, errno, "cannot lock %s in the work directory", dir->name);
        close(dir->fd);
        dir->fd = -1;
    }
    return EXECUTR_OK;
}

void ex_workdir_init(ex_workdir *dir, const executr_log *log)
{
    memset(dir, 0, sizeof *dir);
    dir->log = *log;
    dir->root_fd = -1;
    dir->fd = -1;
    pthread_mutex_init(&dir->lock, NULL);
    pthread_cond_init(&dir->wake, NULL);
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

    executr_status st = open_root(dir, path, err);
    while (!st && !done)
        st = open_own(dir, &done, err);
    if (!st)
        st = let_through(dir, dir->root_fd, err);
    if (!st)
        st = let_through(dir, dir->fd, err);
    if (!st)
        remove_dead(dir);
    return st;
}

/* Nobody but us can put something else under that name: it is in a directory
 * of ours. */
static executr_status give_away(
    const ex_workdir *dir, const char *name, executr_error *err)
{
    int flags = AT_SYMLINK_NOFOLLOW;

    if (!dir->user ||
        fchownat(dir->fd, name, dir->user->uid, dir->user->gid, flags) == 0)
        return EXECUTR_OK;
    executr_status st =
        ex_start_failed(err, errno, "cannot give away a work directory");
    if (unlinkat(dir->fd, name, AT_REMOVEDIR) != 0)
        errno = 0;
    return st;
}

executr_status ex_workdir_make(
    ex_workdir *dir, const char *name, executr_error *err)
{
    if (mkdirat(dir->fd, name, 0700) == 0)
        return give_away(dir, name, err);
    if (errno == EEXIST)
        return ex_fail(
            err, EXECUTR_E_CONFLICT, "a program named %s is under way", name);
    return ex_start_failed(err, errno, "cannot make a work directory");
}

void ex_workdir_remove(ex_workdir *dir, const char *name)
{
    char doomed[48];

    if (unlinkat(dir->fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return;
    snprintf(doomed, sizeof doomed, DOOMED_PREFIX "%" PRIu64, ++dir->serial);
    if (renameat(dir->fd, name, dir->fd, doomed) == 0)
        doom(dir, dir->fd, doomed, -1);
    else
        remove_tree(dir, dir->fd, name, -1);
}

void ex_workdir_close(ex_workdir *dir)
{
    if (dir->has_thread) {
        pthread_mutex_lock(&dir->lock);
        dir->ending = 1;
        pthread_cond_signal(&dir->wake);
        pthread_mutex_unlock(&dir->lock);
        pthread_join(dir->thread, NULL);
        dir->has_thread = 0;
    }
    if (dir->fd >= 0) {
        remove_tree(dir, dir->root_fd, dir->name, dir->fd);
        dir->fd = -1;
    }
    if (dir->root_fd >= 0)
        close(dir->root_fd);
    dir->root_fd = -1;
    pthread_cond_destroy(&dir->wake);
    pthread_mutex_destroy(&dir->lock);
}
