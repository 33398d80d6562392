/* SPDX-License-Identifier: MIT */
/*
 * Single entries of directories that hostile programs wrote to. Names are one
 * component; nothing here follows a link, goes through a mount or changes a
 * file that may have another name elsewhere.
 */
#ifndef EX_BASE_FS_ENTRY_H
#define EX_BASE_FS_ENTRY_H

/*
 * Open a directory with all rights on it for us, whatever its mode; what is
 * mounted on it is unmounted. -1 and errno: EXDEV if a mount stays, ENOTDIR or
 * ELOOP if it is no directory.
 */
int ex_entry_open_dir(int dir_fd, const char *name);

/*
 * unlinkat, also of what is mounted on, immutable or append-only. `flags` as
 * for unlinkat. -1 and errno.
 */
int ex_entry_unlink(int dir_fd, const char *name, int flags);

/* Move a directory, under the same conditions. -1 and errno. */
int ex_entry_move(
    int from_fd, const char *name, int to_fd, const char *new_name);

#endif
