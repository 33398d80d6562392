/* SPDX-License-Identifier: MIT */
/* A cache in a fresh directory and a server with binaries, for its tests. */
#include "support/cache_bench.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

http_fixture *server;
char cache_dir[] = "/tmp/executr-test-cache-XXXXXX";
executr_cache_options options = EXECUTR_CACHE_OPTIONS_INIT;
executr_cache *cache;
executr_error err;

static char *served[64]; /* freed at the end */
static size_t served_count;

executr_cache *open_cache(void)
{
    executr_cache *opened;

    cr_assert_eq(
        executr_cache_open(&options, &opened, &err), EXECUTR_OK, "%s",
        err.message);
    return opened;
}

void cache_setup(void)
{
    cr_assert_not_null(mkdtemp(cache_dir));
    server = http_fixture_start();
    options.directory = cache_dir;
    cache = open_cache();
}

void cache_teardown(void)
{
    executr_cache_free(cache);
    http_fixture_stop(server);
    cr_expect_eq(ex_fs_remove_tree(AT_FDCWD, cache_dir, &err), EXECUTR_OK);
    while (served_count)
        free(served[--served_count]);
}

void reopen_cache(int64_t max_bytes)
{
    executr_cache_free(cache);
    options.max_bytes = max_bytes;
    cache = open_cache();
}

binary serve(char fill, size_t size, http_script script)
{
    binary b = {.size = size, .bytes = malloc(size)};
    static char paths[128][4];
    char *path = paths[(int)fill];

    cr_assert_lt(served_count, 64);
    served[served_count++] = b.bytes;
    memset(b.bytes, fill, size);
    cr_assert_eq(ex_sha256_bytes(b.bytes, size, b.sha256, &err), EXECUTR_OK);
    path[0] = '/';
    path[1] = fill;
    script.path = path;
    if (!script.body) {
        script.body = b.bytes;
        script.length = size;
    }
    http_fixture_add(server, &script);
    b.url = http_fixture_url(server, path);
    return b;
}

binary serve_well(char fill, size_t size)
{
    return serve(fill, size, (http_script){0});
}

executr_status get(const binary *b, executr_pin **pin)
{
    return executr_cache_get(cache, b->sha256, b->url, NULL, NULL, pin, &err);
}

executr_pin *must_get(const binary *b)
{
    executr_pin *pin;

    cr_assert_eq(get(b, &pin), EXECUTR_OK, "%s", err.message);
    return pin;
}

int is_cached(const binary *b)
{
    executr_pin *pin;

    cr_assert_eq(
        executr_cache_peek(cache, b->sha256, &pin, &err), EXECUTR_OK, "%s",
        err.message);
    executr_pin_free(pin);
    return pin != NULL;
}

int is_stored(const binary *b)
{
    char path[PATH_MAX];

    snprintf(
        path, sizeof path, "%s/objects/%.2s/%s", cache_dir, b->sha256,
        b->sha256);
    return access(path, F_OK) == 0;
}

int count_files(const char *name)
{
    char path[PATH_MAX];
    int count = 0;

    snprintf(path, sizeof path, "%s/%s", cache_dir, name);
    DIR *d = opendir(path);
    cr_assert_not_null(d, "%s", path);
    for (struct dirent *item = readdir(d); item; item = readdir(d)) {
        if (item->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", name, item->d_name);
        count += item->d_type == DT_DIR ? count_files(path) : 1;
    }
    closedir(d);
    return count;
}

int64_t figure(int32_t which)
{
    return executr_cache_figure(cache, which);
}

/* Its exit code is all that a child may tell by. */
pid_t get_in_process(const binary *b)
{
    executr_cache *own;
    executr_pin *pin;

    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (executr_cache_open(&options, &own, &err))
        _exit(10);
    executr_status st =
        executr_cache_get(own, b->sha256, b->url, NULL, NULL, &pin, &err);
    _exit(st ? 20 - st : access(executr_pin_path(pin), X_OK) ? 11 : 12);
}
