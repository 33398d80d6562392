/* SPDX-License-Identifier: MIT */
/* executr cache: looks at, checks and empties the binaries kept here. */
#include <executr/cache.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "cli.h"

#define CACHE_DIR "~/.executr/cache"
#define MOST_BYTES (INT64_C(1) << 62)

static const char *directory;
static const char *output;
static int64_t max_bytes;

static const app_flag flags[] = {
    {"cache-dir", 0, APP_STRING, &directory, "DIR", CACHE_DIR,
     "the --cache-dir of the executors", 0, 0},
    {"output", 'o', APP_CHOICE, &output, "table|json", "table",
     "how to print results", 0, 0},
    {0}};

static const app_flag prune_flags[] = {
    {"max-cache-size", 0, APP_MEGABYTES, &max_bytes, "SIZE", "400",
     "MB to keep at most; also 10GB; 0 keeps only what is in use", 0,
     MOST_BYTES},
    {0}};

/* Opened with no limit of its own: to look at a cache must not evict from it.
 */
static executr_cache *open_cache(int *code)
{
    executr_cache_options options = EXECUTR_CACHE_OPTIONS_INIT;
    executr_cache *cache = NULL;
    executr_error err;
    struct stat info;
    ex_buf path;

    ex_buf_init(&path, EX_BUF_UNLIMITED);
    options.directory = directory;
    options.max_bytes = INT64_MAX;
    *code = APP_GO_ON;
    executr_status st = ex_fs_expand(&path, directory, &err);
    if (!st && stat(path.data, &info) != 0)
        *code = app_failf(
            "there is no cache in %s; --cache-dir or EXECUTR_CACHE_DIR tells "
            "where it is",
            path.data);
    else if (!st)
        st = executr_cache_open(&options, &cache, &err);
    if (st)
        *code = app_fail(&err);
    ex_buf_clear(&path);
    return cache;
}

static executr_cache *begin(
    const app_command *command, int argc, char **argv, int *code)
{
    *code = app_flags_only(command, argc, argv);
    return *code == APP_GO_ON ? open_cache(code) : NULL;
}

static void print_table(const executr_cached *all)
{
    char age[32];
    int64_t bytes = 0;

    printf("%-65s %12s  %-10s STATE\n", "SHA-256", "BYTES", "USED");
    for (size_t i = 0; i < executr_cached_count(all); i++) {
        int32_t state = executr_cached_state(all, i);
        printf(
            "%-65s %12lld  %-10s %s%s\n", executr_cached_sha256(all, i),
            (long long)executr_cached_bytes(all, i),
            cli_age(executr_cached_used_at_us(all, i), age),
            executr_cached_state_word(state),
            executr_cached_pinned(all, i) ? ", in use" : "");
        if (state < EXECUTR_CACHED_BAD)
            bytes += executr_cached_bytes(all, i);
    }
    printf("%lld bytes are kept\n", (long long)bytes);
}

static int print_json(const executr_cached *all)
{
    executr_error err;
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    if (executr_cached_json(all, ex_buf_write, &out, &err)) {
        ex_buf_clear(&out);
        return app_fail(&err);
    }
    return cli_print(&out);
}

static int print_all(const executr_cached *all)
{
    if (strcmp(output, "json") == 0)
        return print_json(all);
    print_table(all);
    return APP_OK;
}

/* The end of each command: print what it found, and close. */
static int end(
    executr_cache *cache, executr_status st, executr_cached *all,
    const executr_error *err)
{
    int code = st ? app_fail(err) : print_all(all);

    executr_cached_free(all);
    executr_cache_free(cache);
    return code;
}

static int cache_ls(int argc, char **argv)
{
    static const app_flag *const tables[] = {flags, NULL};
    static const app_command command = {
        "executr cache ls", "", "list binaries, least recently used first",
        NULL, tables};
    executr_cached *all = NULL;
    executr_error err;
    int code;

    executr_cache *cache = begin(&command, argc, argv, &code);
    if (!cache)
        return code;
    executr_status st = executr_cache_list(cache, &all, &err);
    return end(cache, st, all, &err);
}

static int count_bad(const executr_cached *all)
{
    int count = 0;

    for (size_t i = 0; i < executr_cached_count(all); i++)
        count += executr_cached_state(all, i) == EXECUTR_CACHED_BAD;
    return count;
}

static int cache_verify(int argc, char **argv)
{
    static const app_flag *const tables[] = {flags, NULL};
    static const app_command command = {
        "executr cache verify", "",
        "hash every binary, and remove those that were altered",
        "It exits with 1 when there was one. Executors fetch it again.",
        tables};
    executr_cached *all = NULL;
    executr_error err;
    int code;

    executr_cache *cache = begin(&command, argc, argv, &code);
    if (!cache)
        return code;
    executr_status st = executr_cache_verify(cache, &all, &err);
    int bad = st ? 0 : count_bad(all);
    code = end(cache, st, all, &err);
    if (code == APP_OK && bad)
        code = app_failf(
            "%d of the binaries %s not what the name says and %s removed: "
            "check the disk, and who can write to the cache",
            bad, bad == 1 ? "was" : "were", bad == 1 ? "was" : "were");
    return code;
}

static int cache_prune(int argc, char **argv)
{
    static const app_flag *const tables[] = {prune_flags, flags, NULL};
    static const app_command command = {
        "executr cache prune", "",
        "remove broken downloads and the least recently used binaries",
        "What an executor uses or fetches stays.", tables};
    executr_cached *all = NULL;
    executr_error err;
    int code;

    executr_cache *cache = begin(&command, argc, argv, &code);
    if (!cache)
        return code;
    executr_status st = executr_cache_prune(cache, max_bytes, &all, &err);
    return end(cache, st, all, &err);
}

static int help(void)
{
    printf("usage: executr cache ls|verify|prune [flags]\n\n"
           "  ls      list binaries, least recently used first\n"
           "  verify  hash every binary, and remove those that were altered\n"
           "  prune   remove the least recently used ones\n\n"
           "All are safe while executors use the cache. 'executr cache ls "
           "--help' tells more.\n");
    return APP_OK;
}

int cmd_cache(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
        strcmp(name, "help") == 0)
        return help();
    if (strcmp(name, "ls") == 0 || strcmp(name, "list") == 0)
        return cache_ls(argc - 1, argv + 1);
    if (strcmp(name, "verify") == 0)
        return cache_verify(argc - 1, argv + 1);
    if (strcmp(name, "prune") == 0)
        return cache_prune(argc - 1, argv + 1);
    app_failf(
        "executr cache does ls, verify and prune, not '%s'; see 'executr cache "
        "--help'",
        name);
    return APP_USAGE;
}
