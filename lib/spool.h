/* SPDX-License-Identifier: MIT */
/*
 * Results on disk until a server has answered for them: one append-only file
 * an executor, in a directory that executors of this machine share.
 *
 * The invariants:
 *
 *   - What ex_spool_add or ex_spool_renew took survives a kill and a loss of
 *     power: it is synced, and so is the name of its file.
 *   - A file's lock, not a pid, says that its executor lives. Only who holds
 *     the lock reads, cuts or removes a file.
 *   - A record counts if its checksum does, and the first that does not ends
 *     its file: records are only appended, and after a failed write no more
 *     are, so nothing that counted stands behind it.
 *   - A report may stand in two files, or in one after its answer came. That
 *     costs one more call: the server's fence makes it change nothing.
 *
 * These block; the worker calls them on a thread of its own.
 */
#ifndef EX_SPOOL_H
#define EX_SPOOL_H

#include <executr/queue.h>

#include "base/alloc.h"
#include "base/buf.h"

#define EX_SPOOL_PREFIX "results-"
#define EX_SPOOL_NAME 32

typedef struct ex_spool {
    int dir_fd;
    int fd; /* -1: there is no file yet */
    char name[EX_SPOOL_NAME];
    int64_t size;
    int64_t empty_size;      /* of a file without records */
    const char *executor_id; /* borrowed, as is: */
    const char *server;      /* which server's results these are */
} ex_spool;

/* Open the directory (made if need be). Free with ex_spool_close always. */
executr_status ex_spool_open(
    ex_spool *spool, const char *path, const char *executor_id,
    const char *server, executr_error *err) EXECUTR_CHECKED;

/* Append reports and sync them, once for all. After a failure nothing is known
 * of this file: only ex_spool_renew may follow. */
executr_status ex_spool_add(
    ex_spool *spool, const executr_report *const *reports, size_t count,
    executr_error *err) EXECUTR_CHECKED;

/* Begin a new file with just these reports; the old one goes when that is
 * synced, and stays if it fails. Also finds out whether there is room. */
executr_status ex_spool_renew(
    ex_spool *spool, const executr_report *const *reports, size_t count,
    executr_error *err) EXECUTR_CHECKED;

/* Everything in the file was answered: cut it. */
executr_status ex_spool_trim(ex_spool *spool, executr_error *err)
    EXECUTR_CHECKED;

/* `keep`: the file has something for the next start, else it goes. */
void ex_spool_close(ex_spool *spool, int keep);

/* The file of an executor that is gone, locked by us. */
typedef struct ex_orphan {
    int fd; /* -1: none */
    char name[EX_SPOOL_NAME];
    char executor_id[256];
    int64_t offset; /* of the next record */
    int64_t size;
} ex_orphan;

/* Some reports of it, in order. Zeroes to begin with. */
typedef struct ex_spool_page {
    ex_arena arena;
    const executr_report **reports;
    size_t count;
} ex_spool_page;

#define EX_SPOOL_PAGE 1000 /* reports */
#define EX_SPOOL_PAGE_BYTES ((int64_t)8 * 1024 * 1024)

/* The next one that holds results for our server; `orphan->fd` is -1 if there
 * is none. Files that hold nothing readable are removed and counted. */
executr_status ex_spool_find(
    const ex_spool *spool, ex_orphan *orphan, int *removed,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Replace the page by the next. An empty one is the end; bytes that are no
 * records are cut off then, and *cut says how many. E_NOMEM and E_IO: at
 * another time.
 */
executr_status ex_spool_read(
    ex_orphan *orphan, ex_spool_page *page, int64_t *cut,
    executr_error *err) EXECUTR_CHECKED;
void ex_spool_page_clear(ex_spool_page *page);

/* Let go of it; `answered`: all of it was, so it goes. */
void ex_spool_leave(const ex_spool *spool, ex_orphan *orphan, int answered);

/* --- spool_record.c: what stands in a file ------------------------------- */

/* Append the first frame of a file, or a report's. */
void ex_spool_write_head(
    ex_buf *out, const char *executor_id, const char *server);
void ex_spool_write_report(ex_buf *out, const executr_report *report);

/* The next frame of a file, with its body in the arena, and where the one after
 * it is. The body is NULL if there is none that counts. */
typedef struct ex_spool_frame {
    char *body;
    size_t length;
    int64_t next;
} ex_spool_frame;

executr_status ex_spool_read_frame(
    const ex_orphan *file, ex_arena *arena, ex_spool_frame *out,
    executr_error *err) EXECUTR_CHECKED;

/* 0, or -1 for a body that is none. Texts point into the body. */
int ex_spool_parse_head(
    const char *body, size_t length, const char **executor_id,
    const char **server);
int ex_spool_parse_report(
    const char *body, size_t length, executr_report *report);

#endif
