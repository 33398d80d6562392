/* SPDX-License-Identifier: MIT */
/*
 * Directories for programs, and their removal. Hides the thread that removes
 * big trees, and what tells living runners from dead ones: a lock.
 */
#include "runner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"
#include "base/fs_entry.h"
#include "base/log.h"

/* How what waits for removal is named: no program's name may start with a dot. */
#define DOOMED_PREFIX ".removing-"

/* More may not wait for removal: programs that make trees faster than they can
 * be removed would fill the disk. */
#define MOST_DOOMED 4096

/* How long an end waits for removals; the next start goes on with them. */
#define END_SECONDS 5

struct ex_doomed {
    ex_doomed *next;
    int parent_fd;
    char name[NAME_MAX + 1]; /* "": what dead runners left */
};

static void remove_tree(ex_workdir *dir, int parent_fd, const char *name)
{
    executr_error err;

    executr_status st =
        ex_fs_remove_tree_until(parent_fd, name, &dir->give_up, &err);
    if (st == EXECUTR_E_CANCELLED && parent_fd == dir->root_fd)
        ex_log(
            &dir->log, EXECUTR_LOG_INFO,
            "a work directory is too big to be removed now; the next start "
            "goes on",
            "directory", name, NULL);
    else if (st && st != EXECUTR_E_CANCELLED)
        ex_log(
            &dir->log, EXECUTR_LOG_WARN, "a work directory stays behind",
            "directory", name, "error", err.message, NULL);
}

/*
 * Remove the directory of a runner if nobody holds its lock. The lock is on
 * the directory itself, and is kept until it is gone. Pids say nothing: they
 * are used again, and another container has its own.
 */
static void remove_if_dead(ex_workdir *dir, const char *name)
{
    int fd = ex_entry_open_dir(dir->root_fd, name);

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        ex_log(
            &dir->log, EXECUTR_LOG_INFO, "removing what a dead runner left",
            "directory", name, NULL);
        remove_tree(dir, dir->root_fd, name);
    }
    close(fd);
}

/* 1 for the directory of a runner that is not us. */
static int is_others(const ex_workdir *dir, const char *name)
{
    return strncmp(name, EX_WORKDIR_PREFIX, strlen(EX_WORKDIR_PREFIX)) == 0 &&
           strcmp(name, dir->name) != 0;
}

/* A reader of the work directory, or NULL and why is logged. */
static DIR *list_root(const ex_workdir *dir)
{
    int fd = openat(dir->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);

    if (list)
        return list;
    if (fd >= 0)
        close(fd);
    ex_log(
        &dir->log, EXECUTR_LOG_WARN, "cannot look for old directories", NULL);
    return NULL;
}

static void remove_dead(ex_workdir *dir)
{
    DIR *list = list_root(dir);

    if (!list)
        return;
    const struct dirent *entry = readdir(list);
    for (; entry && !atomic_load(&dir->give_up); entry = readdir(list)) {
        if (is_others(dir, entry->d_name))
            remove_if_dead(dir, entry->d_name);
    }
    closedir(list);
}

static void remove_named(ex_workdir *dir, int parent_fd, const char *name)
{
    if (name[0])
        remove_tree(dir, parent_fd, name);
    else
        remove_dead(dir);
}

/* The first that waits, or NULL at the end. */
static ex_doomed *next_doomed(ex_workdir *dir)
{
    pthread_mutex_lock(&dir->lock);
    while (!dir->doomed && !dir->ending)
        pthread_cond_wait(&dir->wake, &dir->lock);
    ex_doomed *first = dir->doomed;
    if (first) {
        dir->doomed = first->next;
        dir->waiting--;
    }
    if (!dir->doomed)
        dir->last_doomed = &dir->doomed;
    pthread_mutex_unlock(&dir->lock);
    return first;
}

static void *remove_doomed(void *arg)
{
    ex_workdir *dir = arg;

    for (;;) {
        ex_doomed *first = next_doomed(dir);
        if (!first)
            return NULL;
        remove_named(dir, first->parent_fd, first->name);
        ex_free(first);
    }
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

/* Remove a tree by the thread, in the order given; here and now if that can't
 * be. */
static void doom(ex_workdir *dir, int parent_fd, const char *name)
{
    void *memory = NULL;

    if (want_thread(dir) || ex_alloc(&memory, sizeof(ex_doomed), NULL)) {
        remove_named(dir, parent_fd, name);
        return;
    }
    ex_doomed *doomed = memory;
    doomed->parent_fd = parent_fd;
    snprintf(doomed->name, sizeof doomed->name, "%s", name);
    pthread_mutex_lock(&dir->lock);
    *dir->last_doomed = doomed;
    dir->last_doomed = &doomed->next;
    dir->waiting++;
    pthread_cond_signal(&dir->wake);
    pthread_mutex_unlock(&dir->lock);
}

void ex_workdir_sweep(ex_workdir *dir)
{
    DIR *list = list_root(dir);

    if (!list)
        return;
    const struct dirent *entry = readdir(list);
    while (entry && !is_others(dir, entry->d_name))
        entry = readdir(list);
    if (entry)
        doom(dir, dir->root_fd, "");
    closedir(list);
}

void ex_workdir_init(ex_workdir *dir, const executr_log *log)
{
    memset(dir, 0, sizeof *dir);
    dir->log = *log;
    dir->root_fd = -1;
    dir->fd = -1;
    dir->last_doomed = &dir->doomed;
    pthread_mutex_init(&dir->lock, NULL);
    pthread_cond_init(&dir->wake, NULL);
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

/* 1 while the thread has more to do than may be. */
static int is_behind(ex_workdir *dir)
{
    pthread_mutex_lock(&dir->lock);
    int behind = dir->waiting >= MOST_DOOMED;
    pthread_mutex_unlock(&dir->lock);
    return behind;
}

executr_status ex_workdir_make(
    ex_workdir *dir, const char *name, executr_error *err)
{
    if (is_behind(dir))
        return ex_fail(
            err, EXECUTR_E_UNAVAILABLE,
            "%d work directories wait for their removal: nothing is started "
            "until they are fewer",
            MOST_DOOMED);
    int failed = mkdirat(dir->fd, name, 0700);
    /* A program of our own user took our rights on it away. */
    if (failed && errno == EACCES && fchmod(dir->fd, 0700) == 0)
        failed = mkdirat(dir->fd, name, 0700);
    if (!failed)
        return give_away(dir, name, err);
    if (errno == EEXIST)
        return ex_fail(
            err, EXECUTR_E_CONFLICT, "a program named %s is under way", name);
    return ex_start_failed(err, errno, "cannot make a work directory");
}

void ex_workdir_remove(ex_workdir *dir, const char *name)
{
    char doomed[48];

    if (ex_entry_unlink(dir->fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return;
    snprintf(doomed, sizeof doomed, DOOMED_PREFIX "%" PRIu64, ++dir->serial);
    /* If it can't be moved, its name is free only when it is removed. */
    if (ex_entry_move(dir->fd, name, dir->fd, doomed) == 0)
        doom(dir, dir->fd, doomed);
    else
        doom(dir, dir->fd, name);
}

/* Wait for the thread, and no longer than a stop may take. */
static void end_thread(ex_workdir *dir)
{
    struct timespec until;

    if (!dir->has_thread)
        return;
    pthread_mutex_lock(&dir->lock);
    dir->ending = 1;
    pthread_cond_signal(&dir->wake);
    pthread_mutex_unlock(&dir->lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += END_SECONDS;
    if (pthread_clockjoin_np(dir->thread, NULL, CLOCK_MONOTONIC, &until)) {
        atomic_store(&dir->give_up, 1);
        pthread_join(dir->thread, NULL);
    }
    dir->has_thread = 0;
}

void ex_workdir_close(ex_workdir *dir)
{
    /* All that waits is in our own directory, which is the last to go. Its
     * lock is kept meanwhile. */
    if (dir->fd >= 0 && unlinkat(dir->root_fd, dir->name, AT_REMOVEDIR) != 0)
        doom(dir, dir->root_fd, dir->name);
    end_thread(dir);
    if (dir->fd >= 0)
        close(dir->fd);
    dir->fd = -1;
    if (dir->root_fd >= 0)
        close(dir->root_fd);
    dir->root_fd = -1;
    pthread_cond_destroy(&dir->wake);
    pthread_mutex_destroy(&dir->lock);
}
