/* SPDX-License-Identifier: MIT */
/* Spools of executors that are gone: found by their locks, read in pages. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "spool.h"

/* A regular file of ours that nobody holds, locked; -1 for any other. */
static int lock_orphan(const ex_spool *spool, const char *name, int64_t *size)
{
    struct stat info;
    int fd = openat(
        spool->dir_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &info) == 0 &&
        S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
        info.st_nlink > 0) {
        *size = info.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

/*
 * Whose it is, and at which record it begins. One without a readable head was
 * never finished, so it holds nothing: `fd` stays -1 and *removed counts it.
 */
static executr_status look(
    const ex_spool *spool, const char *name, ex_orphan *orphan, int *removed,
    executr_error *err)
{
    ex_arena arena = EX_ARENA_INIT;
    const char *id = NULL;
    const char *server = NULL;
    ex_spool_frame head;
    int ours = 0;

    orphan->fd = lock_orphan(spool, name, &orphan->size);
    orphan->offset = 0;
    if (orphan->fd < 0)
        return EXECUTR_OK;
    executr_status st = ex_spool_read_frame(orphan, &arena, &head, err);
    int readable = head.body && ex_spool_parse_head(
                                    head.body, head.length, &id, &server) == 0;
    if (!st && !readable) {
        *removed += unlinkat(spool->dir_fd, name, 0) == 0;
    } else if (!st && strcmp(server, spool->server) == 0) {
        /* may_be_one has seen that it fits. */
        memcpy(orphan->name, name, strlen(name) + 1);
        snprintf(orphan->executor_id, sizeof orphan->executor_id, "%s", id);
        orphan->offset = head.next;
        ours = 1;
    }
    ex_arena_clear(&arena);
    if (!ours) {
        close(orphan->fd);
        orphan->fd = -1;
    }
    return st;
}

static int may_be_one(const ex_spool *spool, const char *name)
{
    size_t prefix = strlen(EX_SPOOL_PREFIX);

    return strncmp(name, EX_SPOOL_PREFIX, prefix) == 0 &&
           strlen(name) < EX_SPOOL_NAME &&
           (spool->fd < 0 || strcmp(name, spool->name) != 0);
}

executr_status ex_spool_find(
    const ex_spool *spool, ex_orphan *orphan, int *removed, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    *orphan = (ex_orphan){.fd = -1};
    *removed = 0;
    int fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list) {
        st = ex_fail_errno(err, errno, "cannot look into the spool directory");
        if (fd >= 0)
            close(fd);
        return st;
    }
    const struct dirent *entry = readdir(list);
    for (; !st && entry && orphan->fd < 0; entry = readdir(list)) {
        if (may_be_one(spool, entry->d_name))
            st = look(spool, entry->d_name, orphan, removed, err);
    }
    closedir(list);
    return st;
}

void ex_spool_page_clear(ex_spool_page *page)
{
    ex_arena_clear(&page->arena);
    page->reports = NULL;
    page->count = 0;
}

/* The next record into the page; *more is 0 when there is none that counts. */
static executr_status read_one(
    ex_orphan *orphan, ex_spool_page *page, int *more, executr_error *err)
{
    executr_report parsed;
    ex_spool_frame next;

    executr_status st = ex_spool_read_frame(orphan, &page->arena, &next, err);
    *more = !st && next.body &&
            ex_spool_parse_report(next.body, next.length, &parsed) == 0;
    if (!*more)
        return st;
    executr_report *report = ex_arena_get(&page->arena, sizeof *report);
    if (!report)
        return ex_fail_nomem(err);
    *report = parsed;
    page->reports[page->count++] = report;
    orphan->offset = next.next;
    return EXECUTR_OK;
}

/* After a failure the page begins there again. */
executr_status ex_spool_read(
    ex_orphan *orphan, ex_spool_page *page, int64_t *cut, executr_error *err)
{
    int64_t from = orphan->offset;
    executr_status st = EXECUTR_OK;
    int more = 1;

    *cut = 0;
    ex_spool_page_clear(page);
    page->reports = ex_arena_get(
        &page->arena, EX_SPOOL_PAGE * sizeof(const executr_report *));
    if (!page->reports)
        return ex_fail_nomem(err);
    while (!st && more && page->count < EX_SPOOL_PAGE &&
           orphan->offset - from < EX_SPOOL_PAGE_BYTES)
        st = read_one(orphan, page, &more, err);
    if (st) {
        orphan->offset = from;
        ex_spool_page_clear(page);
        return st;
    }
    if (!more && orphan->offset < orphan->size) {
        *cut = orphan->size - orphan->offset;
        if (ftruncate(orphan->fd, (off_t)orphan->offset) != 0)
            errno = 0; /* it is read as far as it counts all the same */
        orphan->size = orphan->offset;
    }
    return EXECUTR_OK;
}

void ex_spool_leave(const ex_spool *spool, ex_orphan *orphan, int answered)
{
    if (orphan->fd < 0)
        return;
    if (answered && unlinkat(spool->dir_fd, orphan->name, 0) != 0)
        errno = 0; /* read once more, to no effect */
    close(orphan->fd);
    orphan->fd = -1;
}
