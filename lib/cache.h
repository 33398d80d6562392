/* SPDX-License-Identifier: MIT */
/*
 * The insides of the cache, shared by its files. On disk:
 *
 *   objects/ab/abcd…  the executables, mode 0555, whole and hashed
 *   tmp/abcd…         downloads under way, or broken off
 *   tmp/abcd….from    where such a download is from, to continue it
 *   locks/abcd…       one empty file a hash; its mtime is the last use
 *
 * Two bytes of a lock file are locked, by open file description, so that
 * handles and processes sharing the directory keep out of each other's way and
 * a death of any kind gives the locks back:
 *
 *   byte 0  shared while the executable is pinned, exclusive to evict it
 *   byte 1  exclusive while it is fetched
 *
 * A lock file is removed only by who holds byte 0 of it exclusively, so who
 * gets a lock looks whether the file still has its name.
 */
#ifndef EX_CACHE_H
#define EX_CACHE_H

#include <executr/cache.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "base/sha256.h"
#include "http.h"

#define EX_CACHE_SLOTS 256
#define EX_CACHE_IDLE 4 /* HTTP handles kept */
#define EX_CACHE_NOTE ".from"
#define EX_CACHE_UNFIT 8 /* binaries that did not fit, remembered */
#define EX_CACHE_LEAST_FREE (INT64_C(1) << 20)

enum {
    EX_CACHE_PINNED = 0,
    EX_CACHE_FETCHED = 1
}; /* the bytes to lock */

/* What tells that a file is the one that was verified: ctime can't be set
 * back by whoever changes it. */
typedef struct ex_stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec mtime;
    struct timespec ctime;
} ex_stamp;

/*
 * What this handle knows of one hash. The cache's mutex guards it, but while
 * `busy` is set, `lock_fd`, `verified` and `stamp` belong to who set it.
 */
typedef struct ex_entry {
    struct ex_entry *next;
    char sha256[EX_SHA256_HEX];
    int32_t busy;    /* a thread verifies or fetches it */
    int32_t waiting; /* threads that wait for it, but for cancelled ones */
    int64_t pins;
    int lock_fd;      /* holds byte 0 while pins > 0; else -1 */
    int32_t verified; /* `stamp` is of the file that hashed right */
    ex_stamp stamp;
    const struct ex_origin *origin; /* of the thread that made it busy */
    ex_http *http;                  /* what that thread waits in, or NULL */
    uint64_t turn;                  /* counts the ends of being busy */
    uint64_t failed_turn;           /* the last one that failed, and how */
    executr_error failure;
    char path[];
} ex_entry;

/* Where a binary may be fetched from; no URL and no fetch: nowhere. */
typedef struct ex_origin {
    const char *url;
    const char *token;
    int32_t trusted;
    executr_fetch fetch;
    void *fetch_ctx;
    executr_cancel *cancel;
} ex_origin;

/* A binary of unknown length that filled the disk. */
typedef struct ex_unfit {
    char sha256[EX_SHA256_HEX];
    int64_t least; /* bytes it has */
    int64_t until_us;
} ex_unfit;

struct executr_cancel {
    atomic_int called;
    pthread_mutex_t mutex; /* taken before that of the cache */
    executr_cache *cache;  /* where a call is under way, or NULL */
};

struct executr_cache {
    pthread_mutex_t mutex;
    pthread_cond_t changed;   /* some entry is no longer busy */
    pthread_mutex_t evicting; /* one walk at a time in this handle */
    char *root;               /* absolute, with no slash at the end */
    int64_t max_bytes;
    int64_t max_binary_bytes;
    int64_t network_timeout_ms;
    int64_t max_download_ms;
    int32_t allow_link_local;
    executr_log log;
    ex_entry *slots[EX_CACHE_SLOTS];
    ex_http *idle[EX_CACHE_IDLE];
    size_t idle_count;
    int64_t hits;
    int64_t misses;
    int64_t bytes; /* of all executables, as the last look found */
    ex_unfit unfit[EX_CACHE_UNFIT];
    size_t unfit_next;
};

struct executr_pin {
    executr_cache *cache;
    ex_entry *entry;
};

/* 1 while the pinned file is the one that was verified. Any thread. */
int ex_pin_unchanged(const executr_pin *pin);

typedef struct ex_cache_path {
    char text[PATH_MAX];
} ex_cache_path;

/* cache_files.c */

/* The status of a failed system call on our own files: never E_NOT_FOUND,
 * which is for binaries. */
executr_status ex_cache_errno(
    executr_error *err, int number, const char *what, const char *path);
void ex_cache_join(
    const executr_cache *cache, const char *directory, const char *name,
    ex_cache_path *out);
/* Make what is missing of them; E_IO when one is not ours alone. */
executr_status ex_cache_make_dirs(executr_cache *cache, executr_error *err)
    EXECUTR_CHECKED;

/* Open the lock file of a hash and lock byte 0: shared and waiting for it, or
 * exclusive (`evict`) with *fd -1 if somebody holds it. */
executr_status ex_cache_lock(
    executr_cache *cache, const char *sha256, int evict, int *fd,
    executr_error *err) EXECUTR_CHECKED;
/* Lock byte 1, without waiting; *got 0 if somebody holds it. */
executr_status ex_cache_lock_fetch(int fd, int *got, executr_error *err)
    EXECUTR_CHECKED;
void ex_cache_unlock_fetch(int fd);
/* Does anybody hold the lock on this byte of a hash? Takes none itself. */
int ex_cache_is_locked(
    const executr_cache *cache, const char *sha256, int byte);

/* Does the cache's volume still take files, or would it after evicting? `err`
 * is not NULL. */
executr_status ex_cache_ready(executr_cache *cache, executr_error *err)
    EXECUTR_CHECKED;

/* Is the file under its name the one that hashed right? Hashes it if this
 * handle has not seen it yet. Needs the entry busy and byte 0 locked. */
executr_status ex_cache_check(
    executr_cache *cache, ex_entry *entry, int *good,
    executr_error *err) EXECUTR_CHECKED;
/* Is the open file an executable that hashes so? `stamp` is set if it is. */
executr_status ex_cache_verify_fd(
    int fd, const char *sha256, const char *path, int *good, ex_stamp *stamp,
    executr_error *err) EXECUTR_CHECKED;
/* The same by a look at its inode alone. */
int ex_cache_unchanged(const ex_entry *entry);
void ex_cache_stamp(const struct stat *info, ex_stamp *out);

/* cache_evict.c */

/* Evict until `needed` more bytes fit below max_bytes beside what others are
 * fetching, or nothing more can be. `but` is the fetch that asks, or NULL. */
executr_status ex_cache_evict(
    executr_cache *cache, int64_t needed, const char *but,
    executr_error *err) EXECUTR_CHECKED;
/* Evict the least recently used ones of at least `bytes`, whatever the limit;
 * *freed is what that gave. */
executr_status ex_cache_free_disk(
    executr_cache *cache, int64_t bytes, int64_t *freed,
    executr_error *err) EXECUTR_CHECKED;
/* Remove what crashed fetches left behind and nobody can continue. */
void ex_cache_sweep(executr_cache *cache);
/* Remove the lock file of a hash that has no executable, if nobody holds it. */
void ex_cache_drop_lock(executr_cache *cache, const char *sha256);

/* cache_room.c */

/* Does the errno tell of a full disk, a used-up quota, or a file that may not
 * grow any more? */
int ex_cache_is_full(int number);
/* 1 if a failed call was for want of disk and evicting gave some, so that
 * another try may do better. */
int ex_cache_make_room(executr_cache *cache, const executr_error *err);
/* What eviction could give now. */
executr_status ex_cache_evictable(
    executr_cache *cache, int64_t *bytes, executr_error *err) EXECUTR_CHECKED;

/* cache.c: an evicted hash is forgotten unless somebody is at it. */
void ex_cache_forget(executr_cache *cache, const char *sha256);

/* cache_cancel.c */

int ex_cancelled(const executr_cancel *cancel); /* NULL: no */
/* Tell the cancel that a call is under way in the cache, or (NULL) over. */
void ex_cancel_watch(executr_cancel *cancel, executr_cache *cache);
/* 1 when nobody wants what the entry's busy thread is at. */
int ex_cache_given_up(executr_cache *cache, const ex_entry *entry);
/* Sleep as that thread, for up to `ms`; less if it is given up. */
void ex_cache_doze(executr_cache *cache, const ex_entry *entry, int64_t ms);
/* The entry's busy thread has to look; needs the mutex. */
void ex_cache_wake(const ex_entry *entry);
executr_status ex_cache_fail_cancelled(executr_error *err);

/* cache_fetch.c */

/* Put the executable under its name and remember it as verified. Needs the
 * entry busy and byte 1 locked. */
executr_status ex_cache_fetch(
    executr_cache *cache, ex_entry *entry, const ex_origin *origin,
    executr_error *err) EXECUTR_CHECKED;

#endif
