/* SPDX-License-Identifier: MIT */
/* A cache in a fresh directory and a server with binaries, for its tests. */
#ifndef TEST_CACHE_BENCH_H
#define TEST_CACHE_BENCH_H

#include <executr/cache.h>
#include <sys/types.h>

#include "base/sha256.h"
#include "support/http_fixture.h"

#define KIB 1024

extern http_fixture *server;
extern char cache_dir[];
extern executr_cache_options options; /* of the next open_cache */
extern executr_cache *cache;
extern executr_error err;

/* A binary the server has: its bytes are all the same; it owns them. */
typedef struct binary {
    char sha256[EX_SHA256_HEX];
    char *bytes;
    size_t size;
    const char *url;
} binary;

/* For TestSuite's .init and .fini. */
void cache_setup(void);
void cache_teardown(void);

executr_cache *open_cache(void);

/* Open `cache` anew with this size; 0 is the default. */
void reopen_cache(int64_t max_bytes);

/* Serve `size` bytes of `fill` as /fill, by a script that may misbehave. */
binary serve(char fill, size_t size, http_script script);
binary serve_well(char fill, size_t size);

executr_status get(const binary *b, executr_pin **pin);
executr_pin *must_get(const binary *b);
int is_cached(const binary *b); /* verified by `cache`, and untouched */
int is_stored(const binary *b); /* a file has its name */

/* Get it in a process of its own, which exits with 12 when all is well. */
pid_t get_in_process(const binary *b);

/* Everything but directories below cache_dir/name. */
int count_files(const char *name);

int64_t figure(int32_t which);

#endif
