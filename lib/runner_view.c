/* SPDX-License-Identifier: MIT */
/* Decides what programs of the levels above basic are not to see. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "runner.h"

/* Where secrets, sockets of services and other people's files are. */
static const char *const usual[] = {"/run", "/root", "/home"};

static int is_under(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    return strncmp(path, directory, length) == 0 &&
           (path[length] == '/' || path[length] == '\0');
}

/* What has a new file system over it in any case. */
static int is_new(const char *path)
{
    return is_under(path, "/tmp") || is_under(path, "/dev") ||
           is_under(path, "/var/tmp") || is_under(path, "/proc");
}

static int is_covered(const ex_isolation *iso, const char *path)
{
    int covered = is_new(path);

    for (size_t i = 0; !covered && i < iso->cover_count; i++)
        covered = is_under(path, iso->covers[i]);
    return covered;
}

/* What a cover makes needless. */
static void drop_under(ex_isolation *iso, const char *directory)
{
    size_t kept = 0;

    for (size_t i = 0; i < iso->cover_count; i++) {
        if (is_under(iso->covers[i], directory))
            ex_free(iso->covers[i]);
        else
            iso->covers[kept++] = iso->covers[i];
    }
    iso->cover_count = kept;
}

static executr_status keep(
    char **list, size_t *count, const char *path, executr_error *err)
{
    void *copy;

    if (*count == EX_COVERS)
        return ex_fail_field(
            err, "hidden", "more than %d paths can't be hidden", EX_COVERS);
    executr_status st = ex_alloc(&copy, strlen(path) + 1, err);
    if (st)
        return st;
    memcpy(copy, path, strlen(path) + 1);
    list[(*count)++] = copy;
    return EXECUTR_OK;
}

/* What is not there need not be hidden. What is behind a link is meant. */
static executr_status hide(
    ex_isolation *iso, const char *path, executr_error *err)
{
    char real[PATH_MAX];
    struct stat info;

    if (!realpath(path, real) || stat(real, &info) != 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES
                   ? EXECUTR_OK
                   : ex_fail_errno(err, errno, "cannot hide %s", path);
    if (strcmp(real, "/") == 0)
        return ex_fail_field(err, "hidden", "'/' can't be hidden");
    if (is_covered(iso, real))
        return EXECUTR_OK;
    if (!S_ISDIR(info.st_mode))
        return keep(iso->hidden, &iso->hidden_count, real, err);
    drop_under(iso, real);
    return keep(iso->covers, &iso->cover_count, real, err);
}

/* The name server's address is in /run on many machines. */
static executr_status keep_resolver(ex_isolation *iso, executr_error *err)
{
    char real[PATH_MAX];
    size_t count = 0;

    if (!realpath("/etc/resolv.conf", real) || !is_covered(iso, real))
        return EXECUTR_OK;
    return keep(&iso->kept, &count, real, err);
}

static executr_status find_work(
    ex_isolation *iso, const ex_workdir *dir, executr_error *err)
{
    char link[64];
    char real[PATH_MAX];
    size_t count = 0;

    snprintf(link, sizeof link, "/proc/self/fd/%d", dir->fd);
    if (!realpath(link, real))
        return ex_fail_errno(err, errno, "cannot find the work directory");
    executr_status st = keep(&iso->work, &count, real, err);
    if (st)
        return st;
    *strrchr(real, '/') = '\0'; /* those of other runners, too */
    return hide(iso, real, err);
}

executr_status ex_view_open(
    ex_isolation *iso, const ex_workdir *dir, const char *const *hidden,
    size_t count, executr_error *err)
{
    struct stat tmp;
    struct stat var_tmp;

    iso->var_tmp = stat("/tmp", &tmp) == 0 &&
                   lstat("/var/tmp", &var_tmp) == 0 &&
                   S_ISDIR(var_tmp.st_mode) && var_tmp.st_ino != tmp.st_ino;
    executr_status st = find_work(iso, dir, err);
    for (size_t i = 0; !st && i < sizeof usual / sizeof *usual; i++)
        st = hide(iso, usual[i], err);
    for (size_t i = 0; !st && i < count; i++)
        st = hide(iso, hidden[i], err);
    if (!st)
        st = keep_resolver(iso, err);
    return st;
}

void ex_view_close(ex_isolation *iso)
{
    for (size_t i = 0; i < iso->cover_count; i++)
        ex_free(iso->covers[i]);
    for (size_t i = 0; i < iso->hidden_count; i++)
        ex_free(iso->hidden[i]);
    iso->cover_count = 0;
    iso->hidden_count = 0;
    ex_free(iso->work);
    ex_free(iso->kept);
    iso->work = NULL;
    iso->kept = NULL;
}
