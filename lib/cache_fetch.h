/* SPDX-License-Identifier: MIT */
/*
 * One fetch of the cache, shared by the files that do it: cache_fetch.c from
 * the first byte to the name, cache_part.c the file beside, cache_http.c the
 * bytes from a URL.
 */
#ifndef EX_CACHE_FETCH_H
#define EX_CACHE_FETCH_H

#include "cache.h"

/* From where a broken download can be continued: its URL without what may
 * change from time to time, and the version the server named. */
typedef struct ex_note {
    char url[2048];    /* "": not known */
    char version[256]; /* for If-Range: an ETag or a date; or "" */
} ex_note;

typedef struct ex_download {
    executr_cache *cache;
    ex_entry *entry;
    const ex_origin *origin;
    ex_cache_path path; /* in tmp/ */
    ex_cache_path note_path;
    ex_note note;
    int fd;
    ex_sha256 *hash; /* of the `written` bytes in the file */
    int64_t written;
    int64_t received; /* in this fetch, kept or not */
    int64_t reserved; /* as much fits into the cache */
    int64_t length;   /* of the whole, as announced; -1: not */
    int64_t deadline_us;
    int32_t pieced;        /* together from more than one answer */
    int32_t unfit;         /* what the server has does not continue it */
    executr_status failed; /* what on_bytes found wrong */
    executr_error failure;
} ex_download;

/* cache_part.c */

/* Open the file, with what an earlier fetch from there left in it. */
executr_status ex_part_open(ex_download *d, executr_error *err) EXECUTR_CHECKED;
/* Begin again with an empty file. */
executr_status ex_part_reset(ex_download *d, executr_error *err)
    EXECUTR_CHECKED;
/* Remember where the bytes that follow are from. */
void ex_part_note(ex_download *d, const ex_http_head *head);
void ex_part_remove(ex_download *d);
/* Fail as the size limit does. */
executr_status ex_part_too_large(const ex_download *d, executr_error *err);

/* cache_room.c */

/* Fails if what is known of its length can't fit on the disk: E_TOO_LARGE if it
 * never could, E_IO if it could at another time. Evicts nothing. */
executr_status ex_room_check(const ex_download *d, executr_error *err)
    EXECUTR_CHECKED;
/* After a failed write of the next `length` bytes: the same as ex_cache_make_room, but
 * nothing is evicted if that could not be enough for the whole of it. */
int ex_room_make(ex_download *d, int64_t length, const executr_error *err);

/* cache_fetch.c: an executr_write with the download as ctx. */
int32_t ex_download_write(void *ctx, const void *data, size_t length);

/* Fail as the time limit does. */
executr_status ex_download_too_late(const ex_download *d, executr_error *err);

/* cache_http.c: all bytes from the URL, in as many pieces as it takes. */
executr_status ex_download_url(ex_download *d, executr_error *err)
    EXECUTR_CHECKED;

#endif
