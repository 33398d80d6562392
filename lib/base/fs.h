/* SPDX-License-Identifier: MIT */
/* Files: paths, directories, whole reads and writes that survive a crash. */
#ifndef EX_BASE_FS_H
#define EX_BASE_FS_H

#include <stdatomic.h>

#include "base/buf.h"

/* Replace `out` by "a/b" (or a copy of b when it is absolute). */
executr_status ex_fs_join(
    ex_buf *out, const char *a, const char *b,
    executr_error *err) EXECUTR_CHECKED;

/* Replace `out` by `path` with a leading "~/" and $HOME resolved. */
executr_status ex_fs_expand(ex_buf *out, const char *path, executr_error *err)
    EXECUTR_CHECKED;

/* Make a directory and its parents with `mode`; one that exists is fine. */
executr_status ex_fs_mkdirs(const char *path, unsigned mode, executr_error *err)
    EXECUTR_CHECKED;

/*
 * Open a directory that nobody else may write to, made (0700) if it is not
 * there. `what` names it in errors: "work directory".
 */
executr_status ex_fs_open_own(
    const char *what, const char *path, int *fd,
    executr_error *err) EXECUTR_CHECKED;

/* All of a file into `out` (appended; its limit holds). */
executr_status ex_fs_read(const char *path, ex_buf *out, executr_error *err)
    EXECUTR_CHECKED;

/* Write all bytes to a descriptor, however often it is interrupted. */
executr_status ex_fs_write_all(
    int fd, const void *data, size_t length,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Has the volume of a directory `bytes` free, and does it still take a file?
 * `path` is for the message. E_IO with errno in native if not. The first only
 * looks, so that quotas escape it.
 */
executr_status ex_fs_check_free(
    int dir_fd, const char *path, int64_t bytes,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_fs_check_space(
    int dir_fd, const char *path, int64_t bytes,
    executr_error *err) EXECUTR_CHECKED;

/* How the names of unfinished files begin; only a crash leaves one behind. */
#define EX_TMPFILE_PREFIX ".executr-tmp-"

/*
 * A file written beside its place: open makes a hidden, uniquely named file in
 * directory `dir` (O_CLOEXEC, mode 0600); commit sets `mode`, syncs and
 * closes the file, renames it to dir/name and syncs the directory; close
 * removes what was not committed.
 */
typedef struct ex_tmpfile {
    int fd; /* -1 when closed */
    ex_buf path;
    ex_buf dir;
} ex_tmpfile;

void ex_tmpfile_init(ex_tmpfile *tmp);
executr_status ex_tmpfile_open(
    ex_tmpfile *tmp, const char *dir, executr_error *err) EXECUTR_CHECKED;
executr_status ex_tmpfile_commit(
    ex_tmpfile *tmp, const char *name, unsigned mode,
    executr_error *err) EXECUTR_CHECKED;
void ex_tmpfile_close(ex_tmpfile *tmp);

/*
 * Remove a directory (or what else has the name) and everything in it, never
 * following a link, whatever the permissions, attributes and depth. What is
 * mounted in it is unmounted, not emptied. One that is not there is fine. What
 * can't be removed fails the call and stays, the rest goes.
 */
executr_status ex_fs_remove_tree(
    int parent_fd, const char *path, executr_error *err) EXECUTR_CHECKED;

/* The same; E_CANCELLED soon after *give_up was set. */
executr_status ex_fs_remove_tree_until(
    int parent_fd, const char *path, const atomic_int *give_up,
    executr_error *err) EXECUTR_CHECKED;

#endif
