/* SPDX-License-Identifier: MIT */
/* The spool's own file: made, appended to, begun anew, removed. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"

/* A new file has to have so much room, or the disk counts as full: an executor
 * that has just enough for one more result had better take no jobs. */
#define ROOM ((off_t)4 * 1024 * 1024)

executr_status ex_spool_open(
    ex_spool *spool, const char *path, const char *executor_id,
    const char *server, executr_error *err)
{
    ex_buf expanded;

    *spool = (ex_spool){
        .dir_fd = -1, .fd = -1, .executor_id = executor_id, .server = server};
    ex_buf_init(&expanded, EX_BUF_UNLIMITED);
    executr_status st = ex_fs_expand(&expanded, path, err);
    if (!st)
        st = ex_fs_open_own(
            "spool directory", ex_buf_text(&expanded), &spool->dir_fd, err);
    ex_buf_clear(&expanded);
    return st;
}

static void close_file(ex_spool *spool)
{
    if (spool->fd >= 0)
        close(spool->fd);
    spool->fd = -1;
}

/* Only ever ours: we hold its lock. */
static void remove_file(const ex_spool *spool)
{
    if (spool->fd >= 0 && unlinkat(spool->dir_fd, spool->name, 0) != 0)
        errno = 0; /* the next start reads it, to no effect */
}

void ex_spool_close(ex_spool *spool, int keep)
{
    if (!keep)
        remove_file(spool);
    close_file(spool);
    if (spool->dir_fd >= 0)
        close(spool->dir_fd);
    spool->dir_fd = -1;
}

/* A file of a new name, locked. Its fd stays -1 when somebody who looks for
 * orphans was quicker with the lock: it needs another name. */
static executr_status try_make(ex_spool *spool, executr_error *err)
{
    struct stat info;
    uint64_t chance;

    if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
        return ex_fail_errno(err, errno, "cannot get random bytes");
    snprintf(
        spool->name, sizeof spool->name, EX_SPOOL_PREFIX "%016" PRIx64, chance);
    int fd = openat(
        spool->dir_fd, spool->name,
        O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return ex_fail_errno(err, errno, "cannot make a spool file");
    int number = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (!number && fstat(fd, &info) == 0 && info.st_nlink > 0) {
        spool->fd = fd;
        return EXECUTR_OK;
    }
    close(fd);
    if (!number || number == EWOULDBLOCK)
        return EXECUTR_OK;
    if (unlinkat(spool->dir_fd, spool->name, 0) != 0)
        errno = 0;
    return ex_fail_errno(
        err, number,
        "cannot lock a spool file, which says that its executor lives; choose "
        "a spool directory on a local disk");
}

static executr_status write_synced(
    ex_spool *spool, const ex_buf *bytes, executr_error *err)
{
    executr_status st = ex_buf_status(bytes, "results for the spool", err);
    if (!st)
        st = ex_fs_write_all(spool->fd, bytes->data, bytes->length, err);
    if (!st && fdatasync(spool->fd) != 0)
        st = ex_fail_errno(err, errno, "cannot sync the spool");
    if (!st)
        spool->size += (int64_t)bytes->length;
    return st;
}

static void write_reports(
    ex_buf *out, const executr_report *const *reports, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ex_spool_write_report(out, reports[i]);
}

/* Names are safe when their directory was synced. */
static executr_status fill_new(
    ex_spool *spool, const executr_report *const *reports, size_t count,
    executr_error *err)
{
    ex_buf bytes;
    executr_status st = EXECUTR_OK;

    int number = posix_fallocate(spool->fd, 0, ROOM);
    if (number && number != EOPNOTSUPP && number != EINVAL)
        return ex_fail_errno(err, number, "no room for spooled results");
    if (ftruncate(spool->fd, 0) != 0)
        return ex_fail_errno(err, errno, "cannot cut a spool file");
    ex_buf_init(&bytes, EX_BUF_UNLIMITED);
    ex_spool_write_head(&bytes, spool->executor_id, spool->server);
    spool->size = 0;
    spool->empty_size = (int64_t)bytes.length;
    write_reports(&bytes, reports, count);
    st = write_synced(spool, &bytes, err);
    if (!st && fsync(spool->dir_fd) != 0)
        st = ex_fail_errno(err, errno, "cannot sync the spool directory");
    ex_buf_clear(&bytes);
    return st;
}

executr_status ex_spool_renew(
    ex_spool *spool, const executr_report *const *reports, size_t count,
    executr_error *err)
{
    ex_spool old = *spool;
    executr_status st = EXECUTR_OK;

    /* What it holds may be what fills the disk. */
    if (count == 0 && old.fd >= 0) {
        remove_file(&old);
        close_file(&old);
    }
    spool->fd = -1;
    while (!st && spool->fd < 0)
        st = try_make(spool, err);
    if (!st)
        st = fill_new(spool, reports, count, err);
    if (st) {
        remove_file(spool);
        close_file(spool);
        *spool = old;
        return st;
    }
    remove_file(&old);
    close_file(&old);
    return EXECUTR_OK;
}

executr_status ex_spool_add(
    ex_spool *spool, const executr_report *const *reports, size_t count,
    executr_error *err)
{
    ex_buf bytes;

    if (spool->fd < 0)
        return ex_spool_renew(spool, reports, count, err);
    ex_buf_init(&bytes, EX_BUF_UNLIMITED);
    write_reports(&bytes, reports, count);
    executr_status st = write_synced(spool, &bytes, err);
    ex_buf_clear(&bytes);
    return st;
}

executr_status ex_spool_trim(ex_spool *spool, executr_error *err)
{
    if (spool->fd < 0 || spool->size <= spool->empty_size)
        return EXECUTR_OK;
    if (ftruncate(spool->fd, (off_t)spool->empty_size) != 0)
        return ex_fail_errno(err, errno, "cannot cut a spool file");
    spool->size = spool->empty_size;
    return EXECUTR_OK;
}
