/* SPDX-License-Identifier: MIT */
/*
 * Many threads on one cache that is too small for what they want, beside a
 * second handle on the same directory: whoever holds a pin has a whole file
 * under its path. Plain, so that it can run under the thread sanitizer.
 */
#include <executr/cache.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/sha256.h"

#define THREADS 8
#define ROUNDS 60
#define BINARIES 6
#define SIZE 4096

static char dir[] = "/tmp/executr-test-cache-threads-XXXXXX";
static char hashes[BINARIES][EX_SHA256_HEX];
static executr_cache *caches[2];
static int failures;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
}

static void fill(unsigned char *bytes, size_t which)
{
    memset(bytes, (int)('a' + which), SIZE);
}

/* Gives the binary of that hash, byte by hundred bytes. */
static executr_status give(
    void *ctx, const char *sha256, executr_write write, void *write_ctx,
    executr_error *err)
{
    unsigned char bytes[SIZE];
    size_t which = 0;

    (void)ctx;
    (void)err;
    while (strcmp(hashes[which], sha256) != 0)
        which++;
    fill(bytes, which);
    for (size_t at = 0; at < SIZE; at += 128) {
        if (write(write_ctx, bytes + at, 128))
            return EXECUTR_E_CALLBACK;
    }
    return EXECUTR_OK;
}

static void check_pin(const executr_pin *pin)
{
    struct stat info;

    if (stat(executr_pin_path(pin), &info) != 0)
        fail(executr_pin_path(pin), "a pinned file is not there");
    else if (info.st_size != SIZE || (info.st_mode & 0777) != 0555)
        fail(executr_pin_path(pin), "a pinned file is not whole");
}

static void *use_cache(void *memory)
{
    size_t number = *(size_t *)memory;
    executr_cache *cache = caches[number % 2];
    executr_error err;
    executr_pin *pin;

    for (size_t i = 0; i < ROUNDS; i++) {
        const char *hash = hashes[(number + i * i) % BINARIES];
        executr_status st = executr_cache_peek(cache, hash, &pin, &err);
        if (!st && !pin)
            st = executr_cache_get(cache, hash, NULL, give, NULL, &pin, &err);
        if (st) {
            fail(hash, err.message);
            continue;
        }
        check_pin(pin);
        executr_pin_free(pin);
    }
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[THREADS];
    size_t numbers[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        if (pthread_create(&threads[i], NULL, use_cache, &numbers[i]))
            fail("pthread_create", "no thread");
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static executr_status open_caches(executr_error *err)
{
    executr_cache_options options = EXECUTR_CACHE_OPTIONS_INIT;
    unsigned char bytes[SIZE];
    executr_status st = EXECUTR_OK;

    options.directory = dir;
    options.max_bytes = 3 * SIZE;
    for (size_t i = 0; !st && i < BINARIES; i++) {
        fill(bytes, i);
        st = ex_sha256_bytes(bytes, SIZE, hashes[i], err);
    }
    for (size_t i = 0; !st && i < 2; i++)
        st = executr_cache_open(&options, &caches[i], err);
    return st;
}

int main(void)
{
    executr_error err = {0};

    if (!mkdtemp(dir)) {
        perror("mkdtemp");
        return 1;
    }
    executr_status st = open_caches(&err);
    if (st)
        fail(dir, err.message);
    else
        run_threads();
    if (!st && executr_cache_figure(caches[0], EXECUTR_CACHE_MISSES) < 1)
        fail(dir, "nothing was ever fetched");
    executr_cache_free(caches[0]);
    executr_cache_free(caches[1]);
    if (ex_fs_remove_tree(AT_FDCWD, dir, &err))
        fail(dir, err.message);
    return failures ? 1 : 0;
}
