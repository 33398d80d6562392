/* SPDX-License-Identifier: MIT */
/* The binary cache: what is in it is whole, fetched once, and kept in size. */
#include <executr/cache.h>

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/sha256.h"
#include "support/http_fixture.h"

#define KIB 1024

static http_fixture *server;
static char dir[] = "/tmp/executr-test-cache-XXXXXX";
static executr_cache_options options = EXECUTR_CACHE_OPTIONS_INIT;
static executr_cache *cache;
static executr_error err;

static char *served[64]; /* freed at the end */
static size_t served_count;

/* A binary the server has: its bytes are all the same. */
typedef struct binary {
    char sha256[EX_SHA256_HEX];
    char *bytes;
    size_t size;
    const char *url;
} binary;

static executr_cache *open_cache(void)
{
    executr_cache *opened;

    cr_assert_eq(
        executr_cache_open(&options, &opened, &err), EXECUTR_OK, "%s",
        err.message);
    return opened;
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    server = http_fixture_start();
    options.directory = dir;
    cache = open_cache();
}

static void teardown(void)
{
    executr_cache_free(cache);
    http_fixture_stop(server);
    cr_expect_eq(ex_fs_remove_tree(AT_FDCWD, dir, &err), EXECUTR_OK);
    while (served_count)
        free(served[--served_count]);
}

TestSuite(cache_get, .init = setup, .fini = teardown);
TestSuite(cache_peek, .init = setup, .fini = teardown);
TestSuite(cache_size, .init = setup, .fini = teardown);
TestSuite(cache_crash, .init = setup, .fini = teardown);

static void limit_cache(int64_t max_bytes)
{
    executr_cache_free(cache);
    options.max_bytes = max_bytes;
    cache = open_cache();
}

/* Serve `size` bytes of `fill` as /fill, by a script that may misbehave. */
static binary serve(char fill, size_t size, http_script script)
{
    binary b = {.size = size, .bytes = malloc(size)};
    static char paths[128][4];
    char *path = paths[(int)fill];

    cr_assert_lt(served_count, 64);
    served[served_count++] = b.bytes;
    memset(b.bytes, fill, size);
    cr_assert_eq(
        ex_sha256_bytes(b.bytes, size, b.sha256, &err), EXECUTR_OK);
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

static binary serve_well(char fill, size_t size)
{
    return serve(fill, size, (http_script){0});
}

static executr_status get(const binary *b, executr_pin **pin)
{
    return executr_cache_get(cache, b->sha256, b->url, NULL, NULL, pin, &err);
}

static executr_pin *must_get(const binary *b)
{
    executr_pin *pin;

    cr_assert_eq(get(b, &pin), EXECUTR_OK, "%s", err.message);
    return pin;
}

static int is_cached(const binary *b)
{
    executr_pin *pin;

    cr_assert_eq(
        executr_cache_peek(cache, b->sha256, &pin, &err), EXECUTR_OK, "%s",
        err.message);
    executr_pin_free(pin);
    return pin != NULL;
}

/* Everything but directories below dir/name. */
static int count_files(const char *name)
{
    char path[PATH_MAX];
    int count = 0;

    snprintf(path, sizeof path, "%s/%s", dir, name);
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

static int64_t figure(int32_t which)
{
    return executr_cache_figure(cache, which);
}

Test(cache_get, fetches_once_and_gives_a_program_that_can_be_run)
{
    struct stat info;
    binary b = serve_well('a', 70000);

    executr_pin *first = must_get(&b);
    executr_pin *second = must_get(&b);
    cr_assert_str_eq(executr_pin_path(first), executr_pin_path(second));
    cr_assert_eq(stat(executr_pin_path(first), &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0555);
    cr_assert_eq(info.st_size, 70000);
    executr_pin_free(first);
    executr_pin_free(second);
    executr_pin_free(must_get(&b));
    cr_assert_eq(http_fixture_requests(server), 1);
    cr_assert_eq(figure(EXECUTR_CACHE_MISSES), 1);
    cr_assert_eq(figure(EXECUTR_CACHE_HITS), 2);
    cr_assert_eq(figure(EXECUTR_CACHE_BYTES), 70000);
}

Test(cache_get, takes_hashes_in_upper_case_and_refuses_what_is_none)
{
    static const char *const bad[] = {
        "", "../../../../etc/passwd", "0123", NULL,
        "g123456789012345678901234567890123456789012345678901234567890123"};
    binary b = serve_well('a', 10);
    executr_pin *pin;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(
            executr_cache_get(cache, bad[i], b.url, NULL, NULL, &pin, &err),
            EXECUTR_E_ARGUMENT);
        cr_expect_null(pin);
    }
    for (char *p = b.sha256; *p; p++)
        *p = (char)(*p >= 'a' && *p <= 'f' ? *p - 32 : *p);
    executr_pin_free(must_get(&b));
    cr_assert_eq(count_files("locks"), 1);
}

Test(cache_get, keeps_nothing_of_a_file_that_does_not_hash)
{
    executr_pin *pin;
    binary b = serve('a', 1000, (http_script){.body = "something else"});

    cr_assert_eq(get(&b, &pin), EXECUTR_E_MISMATCH);
    cr_assert_null(pin);
    cr_assert(strstr(err.message, b.sha256), "%s", err.message);
    cr_assert_eq(count_files("."), 0);
    cr_assert_eq(figure(EXECUTR_CACHE_BYTES), 0);
}

Test(cache_get, tells_what_a_server_did_wrong)
{
    static const struct {
        int http;
        executr_status status;
    } cases[] = {
        {404, EXECUTR_E_NOT_FOUND},   {410, EXECUTR_E_NOT_FOUND},
        {403, EXECUTR_E_AUTH},        {400, EXECUTR_E_PROTOCOL},
        {503, EXECUTR_E_UNAVAILABLE}, {429, EXECUTR_E_UNAVAILABLE},
    };
    executr_pin *pin;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        binary b = serve('a', 10, (http_script){.status = cases[i].http});
        cr_expect_eq(get(&b, &pin), cases[i].status, "%d", cases[i].http);
        cr_expect_eq(err.native, cases[i].http);
    }
    cr_assert_eq(count_files("."), 0);
}

Test(cache_get, a_file_cut_short_is_unavailable_and_not_kept)
{
    executr_pin *pin;
    binary b = serve('a', 5000, (http_script){.cut = 4999});

    cr_assert_eq(get(&b, &pin), EXECUTR_E_UNAVAILABLE);
    cr_assert_eq(count_files("."), 0);
    b = serve_well('a', 5000);
    executr_pin_free(must_get(&b));
}

Test(cache_get, refuses_what_is_too_large_announced_or_not)
{
    executr_pin *pin;

    options.max_binary_bytes = 1000;
    limit_cache(0);
    binary b = serve_well('a', 1001);
    cr_assert_eq(get(&b, &pin), EXECUTR_E_TOO_LARGE);
    b = serve('b', 100, (http_script){.endless = 1});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_TOO_LARGE);
    cr_assert(strstr(err.message, "1000 bytes"), "%s", err.message);
    b = serve_well('c', 1000);
    executr_pin_free(must_get(&b));
    cr_assert_eq(count_files("objects"), 1);
}

Test(cache_get, gives_up_on_a_drip)
{
    executr_pin *pin;

    options.network_timeout_ms = 300;
    limit_cache(0);
    binary b = serve('a', 100000, (http_script){.drip = 1, .drip_ms = 50});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_TIMEOUT);
    cr_assert_eq(count_files("."), 0);
}

/* An executr_fetch that gives a binary in two pieces, or fails. */
typedef struct giver {
    const binary *what;
    executr_status fails;
    int calls;
} giver;

static executr_status give(
    void *ctx, const char *sha256, executr_write write, void *write_ctx,
    executr_error *why)
{
    giver *g = ctx;
    const binary *b = g->what;

    g->calls++;
    if (strcmp(sha256, b->sha256) != 0 ||
        write(write_ctx, b->bytes, b->size / 2) ||
        write(write_ctx, b->bytes + b->size / 2, b->size - b->size / 2))
        return EXECUTR_E_CALLBACK;
    if (g->fails) {
        why->status = g->fails;
        snprintf(why->message, sizeof why->message, "given up");
    }
    return g->fails;
}

Test(cache_get, fetches_through_a_function_by_the_same_rules)
{
    binary b = serve_well('a', 3000);
    giver g = {.what = &b, .fails = EXECUTR_E_UNAVAILABLE};
    executr_pin *pin;
    executr_status st =
        executr_cache_get(cache, b.sha256, NULL, give, &g, &pin, &err);
    cr_assert_eq(st, EXECUTR_E_UNAVAILABLE);
    cr_assert_str_eq(err.message, "given up");
    cr_assert_eq(count_files("."), 0);
    g.fails = EXECUTR_OK;
    st = executr_cache_get(cache, b.sha256, NULL, give, &g, &pin, &err);
    cr_assert_eq(st, EXECUTR_OK, "%s", err.message);
    executr_pin_free(pin);
    cr_assert_eq(g.calls, 2);
    cr_assert_eq(http_fixture_requests(server), 0);
}

Test(cache_get, tells_the_cause_when_it_stops_the_function)
{
    options.max_binary_bytes = 1000;
    limit_cache(0);
    binary b = serve_well('a', 3000);
    giver g = {.what = &b};
    executr_pin *pin;
    executr_status st =
        executr_cache_get(cache, b.sha256, NULL, give, &g, &pin, &err);

    cr_assert_eq(st, EXECUTR_E_TOO_LARGE);
    cr_assert(strstr(err.message, "1000 bytes"), "%s", err.message);
}

static void overwrite(const char *path)
{
    cr_assert_eq(chmod(path, 0755), 0);
    FILE *f = fopen(path, "r+");
    cr_assert_not_null(f);
    cr_assert_eq(fputc('!', f), '!');
    fclose(f);
    cr_assert_eq(chmod(path, 0555), 0);
}

Test(cache_get, fetches_again_what_was_changed_on_disk)
{
    binary b = serve_well('a', 5000);
    executr_pin *pin = must_get(&b);

    overwrite(executr_pin_path(pin));
    cr_assert_not(is_cached(&b));
    executr_pin *fresh = must_get(&b); /* though it is pinned */
    cr_assert_eq(http_fixture_requests(server), 2);
    executr_pin_free(fresh);
    executr_pin_free(pin);
    cr_assert(is_cached(&b));
    cr_assert_eq(figure(EXECUTR_CACHE_BYTES), 5000);
}

Test(cache_get, replaces_links_and_files_that_cannot_run)
{
    char path[PATH_MAX];
    binary b = serve_well('a', 5000);
    executr_pin *pin = must_get(&b);
    snprintf(path, sizeof path, "%s", executr_pin_path(pin));
    executr_pin_free(pin);

    cr_assert_eq(chmod(path, 0444), 0);
    executr_pin_free(must_get(&b));
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(symlink("/bin/true", path), 0);
    executr_pin_free(must_get(&b));
    struct stat info;
    cr_assert_eq(lstat(path, &info), 0);
    cr_assert(S_ISREG(info.st_mode));
    cr_assert_eq(http_fixture_requests(server), 3);
}

Test(cache_get, makes_its_directories_again)
{
    binary b = serve_well('a', 100);

    executr_pin_free(must_get(&b));
    cr_assert_eq(ex_fs_remove_tree(AT_FDCWD, dir, &err), EXECUTR_OK);
    executr_pin_free(must_get(&b));
    cr_assert_eq(http_fixture_requests(server), 2);
}

/* Threads that get one binary each, all at once. */
typedef struct getter {
    pthread_t thread;
    const binary *what;
    executr_status status;
} getter;

static void *get_in_thread(void *memory)
{
    getter *g = memory;
    executr_pin *pin;
    executr_error why;

    g->status = executr_cache_get(
        cache, g->what->sha256, g->what->url, NULL, NULL, &pin, &why);
    executr_pin_free(pin);
    return NULL;
}

static void get_in_threads(const binary *b, executr_status expected)
{
    getter getters[20];

    for (size_t i = 0; i < 20; i++) {
        getters[i].what = b;
        cr_assert_eq(
            pthread_create(
                &getters[i].thread, NULL, get_in_thread, &getters[i]),
            0);
    }
    for (size_t i = 0; i < 20; i++) {
        pthread_join(getters[i].thread, NULL);
        cr_expect_eq(getters[i].status, expected);
    }
}

Test(cache_get, twenty_threads_share_one_download)
{
    binary b = serve('a', 50000, (http_script){.delay_ms = 200});

    get_in_threads(&b, EXECUTR_OK);
    cr_assert_eq(http_fixture_requests(server), 1);
    cr_assert_eq(figure(EXECUTR_CACHE_MISSES), 1);
    cr_assert_eq(figure(EXECUTR_CACHE_HITS), 19);
}

Test(cache_get, threads_that_waited_share_a_failure_too)
{
    binary b = serve('a', 10, (http_script){.status = 503, .delay_ms = 400});

    get_in_threads(&b, EXECUTR_E_UNAVAILABLE);
    cr_assert_lt(http_fixture_requests(server), 10);
    cr_assert_eq(count_files("."), 0);
}

/* Get it in a process of its own, which tells by its exit code. */
static pid_t get_in_process(const binary *b)
{
    executr_cache *own;
    executr_pin *pin;

    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (executr_cache_open(&options, &own, &err))
        _exit(10);
    executr_status st = executr_cache_get(
        own, b->sha256, b->url, NULL, NULL, &pin, &err);
    _exit(st ? 20 - st : access(executr_pin_path(pin), X_OK) ? 11 : 12);
}

Test(cache_get, five_processes_share_one_download)
{
    pid_t children[5];
    int status;
    binary b = serve('a', 50000, (http_script){.delay_ms = 300});

    for (size_t i = 0; i < 5; i++)
        children[i] = get_in_process(&b);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
        cr_expect(WIFEXITED(status));
        cr_expect_eq(WEXITSTATUS(status), 12);
    }
    cr_assert_eq(http_fixture_requests(server), 1);
}

Test(cache_peek, never_asks_the_network)
{
    executr_pin *pin;
    binary b = serve_well('a', 100);

    cr_assert_not(is_cached(&b));
    cr_assert_eq(count_files("locks"), 0);
    executr_pin_free(must_get(&b));
    cr_assert(is_cached(&b));
    cr_assert_eq(http_fixture_requests(server), 1);
    cr_assert_eq(
        executr_cache_peek(cache, "nonsense", &pin, &err),
        EXECUTR_E_ARGUMENT);
}

Test(cache_peek, verifies_what_another_process_left)
{
    binary good = serve_well('a', 100);
    binary bad = serve_well('b', 100);
    executr_pin_free(must_get(&good));
    executr_pin *pin = must_get(&bad);
    overwrite(executr_pin_path(pin));
    executr_pin_free(pin);

    limit_cache(0); /* a handle that has verified nothing yet */
    cr_assert(is_cached(&good));
    cr_assert_not(is_cached(&bad));
    cr_assert_eq(http_fixture_requests(server), 2);
}

/* Last uses are told apart by file times, whose clock ticks slowly. */
static void let_time_pass(void)
{
    nanosleep(&(struct timespec){0, 20000000}, NULL);
}

static void use(const binary *b)
{
    executr_pin_free(must_get(b));
    let_time_pass();
}

Test(cache_size, evicts_the_least_recently_used)
{
    limit_cache(100 * KIB);
    binary a = serve_well('a', 40 * KIB);
    binary b = serve_well('b', 40 * KIB);
    binary c = serve_well('c', 40 * KIB);

    use(&a);
    use(&b);
    use(&a);
    use(&c);
    cr_assert(is_cached(&a));
    cr_assert_not(is_cached(&b));
    cr_assert(is_cached(&c));
    cr_assert_eq(figure(EXECUTR_CACHE_BYTES), 80 * KIB);
    cr_assert_eq(count_files("locks"), 2);
}

Test(cache_size, never_evicts_what_is_pinned_here_or_elsewhere)
{
    limit_cache(100 * KIB);
    binary a = serve_well('a', 40 * KIB);
    binary b = serve_well('b', 40 * KIB);
    binary c = serve_well('c', 60 * KIB);
    executr_cache *other = open_cache();
    executr_pin *pin;

    use(&a);
    use(&b);
    cr_assert_eq(
        executr_cache_peek(other, a.sha256, &pin, &err), EXECUTR_OK);
    cr_assert_not_null(pin);
    executr_pin *held = must_get(&c);
    cr_assert_eq(access(executr_pin_path(pin), X_OK), 0);
    cr_assert_not(is_cached(&b));
    executr_pin_free(pin);
    executr_pin_free(held);
    executr_cache_free(other);
}

Test(cache_size, a_binary_larger_than_the_cache_works_and_goes)
{
    limit_cache(100 * KIB);
    binary small = serve_well('a', 10 * KIB);
    binary large = serve_well('b', 300 * KIB);

    use(&small);
    executr_pin *pin = must_get(&large);
    cr_assert_eq(access(executr_pin_path(pin), X_OK), 0);
    cr_assert_eq(figure(EXECUTR_CACHE_BYTES), 300 * KIB);
    executr_pin_free(pin);
    cr_assert_not(is_cached(&large));
    cr_assert_eq(figure(EXECUTR_CACHE_BYTES), 0);
    cr_assert_eq(count_files("."), 0);
}

Test(cache_size, an_announced_length_alone_evicts_nothing)
{
    executr_pin *pin;

    limit_cache(4096 * KIB);
    binary a = serve_well('a', 2048 * KIB);
    executr_pin_free(must_get(&a));
    binary liar = serve('b', 4096 * KIB, (http_script){.cut = 1});
    cr_assert_eq(get(&liar, &pin), EXECUTR_E_UNAVAILABLE);
    cr_assert(is_cached(&a));
}

Test(cache_size, shrinks_when_it_is_opened_smaller)
{
    binary a = serve_well('a', 40 * KIB);
    binary b = serve_well('b', 40 * KIB);

    use(&a);
    use(&b);
    limit_cache(50 * KIB);
    cr_assert_not(is_cached(&a));
    cr_assert(is_cached(&b));
    cr_assert_eq(figure(EXECUTR_CACHE_MAX_BYTES), 50 * KIB);
}

static void put_file(const char *name, const char *text)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f, "%s", path);
    cr_assert_geq(fputs(text, f), 0);
    fclose(f);
}

Test(cache_crash, old_downloads_go_and_strange_files_stay)
{
    char name[80];
    binary b = serve_well('a', 100);

    snprintf(name, sizeof name, "tmp/%s", b.sha256);
    put_file(name, "half of a binary");
    put_file("tmp/notes.txt", "mine");
    put_file("README", "mine");
    put_file("objects/README", "mine");
    put_file("locks/README", "mine");
    limit_cache(10);
    cr_assert_eq(count_files("tmp"), 1);
    cr_assert_eq(count_files("."), 4);
    executr_pin_free(must_get(&b));
}

Test(cache_crash, a_download_of_another_process_is_left_alone)
{
    int status;
    binary b = serve(
        'a', 64 * KIB, (http_script){.drip = 8 * KIB, .drip_ms = 100});

    pid_t child = get_in_process(&b);
    while (count_files("tmp") == 0)
        let_time_pass();
    executr_cache_free(open_cache()); /* sweeps */
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 12);
}

/* What is there after a kill is whole or gone, and nobody waits for ever. */
Test(cache_crash, kill_in_the_middle_leaves_a_valid_cache, .timeout = 60)
{
    binary b = serve(
        'a', 256 * KIB, (http_script){.drip = 16 * KIB, .drip_ms = 2});

    for (int i = 0; i < 25; i++) {
        pid_t child = get_in_process(&b);
        nanosleep(&(struct timespec){0, i * 3000000L}, NULL);
        kill(child, SIGKILL);
        cr_assert_eq(waitpid(child, NULL, 0), child);
        if (i % 5 == 0)
            limit_cache(0);
        executr_pin_free(must_get(&b));
        cr_assert_eq(count_files("tmp"), 0);
        cr_assert_eq(ex_fs_remove_tree(AT_FDCWD, dir, &err), EXECUTR_OK);
    }
}

/* A tmpfs of 1 MiB in place of the cache's directory; 0 if that can't be. */
static int mount_small_disk(void)
{
    executr_cache_free(cache);
    if (mount("none", dir, "tmpfs", 0, "size=1m") == 0)
        return 1;
    cache = open_cache();
    cr_skip(
        "SKIPPED: a full disk needs root to mount a tmpfs (%s)",
        strerror(errno));
    return 0;
}

Test(cache_size, a_full_disk_evicts_first_and_then_says_so)
{
    executr_pin *pin;
    if (!mount_small_disk())
        return;
    options.max_bytes = 100 * 1024 * KIB;
    cache = open_cache();
    binary a = serve_well('a', 600 * KIB);
    binary b = serve_well('b', 700 * KIB);
    binary c = serve_well('c', 2048 * KIB);

    use(&a);
    use(&b);
    executr_status st = get(&c, &pin);
    int32_t native = err.native;
    cr_expect_eq(count_files("tmp"), 0);
    executr_cache_free(cache);
    cache = NULL;
    umount(dir);
    cr_assert_eq(st, EXECUTR_E_IO, "%s", err.message);
    cr_assert_eq(native, ENOSPC);
    cr_assert(strstr(err.message, "full"), "%s", err.message);
}
