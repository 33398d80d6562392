/* SPDX-License-Identifier: MIT */
/* The binary cache: what it gives is whole, and fetched once. */
#include "support/cache_bench.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "cache.h"

TestSuite(cache_get, .init = cache_setup, .fini = cache_teardown);
TestSuite(cache_peek, .init = cache_setup, .fini = cache_teardown);

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

Test(cache_get, t90_takes_hashes_in_upper_case_and_refuses_what_is_none)
{
    static const char *const bad[] = {
        "",
        "../../../../etc/passwd",
        "0123",
        NULL,
        "..2345678901234567890123456789012345678901234567890123456789012/",
        "012345678901234567890123456789012345678901234567890123456789012",
        "01234567890123456789012345678901234567890123456789012345678901234",
        "\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1"
        "\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1"
        "\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1"
        "\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1",
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

Test(cache_get, t45_keeps_nothing_of_a_file_that_does_not_hash)
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

Test(cache_get, t45_a_file_cut_short_is_unavailable_and_no_binary)
{
    executr_pin *pin;
    binary b = serve('a', 5000, (http_script){.cut = 4999});

    cr_assert_eq(get(&b, &pin), EXECUTR_E_UNAVAILABLE);
    cr_assert_eq(count_files("objects"), 0);
    cr_assert_eq(count_files("locks"), 0);
    b = serve_well('a', 5000);
    executr_pin_free(must_get(&b));
    cr_assert_eq(count_files("tmp"), 0);
}

Test(cache_get, t41_refuses_what_is_too_large_announced_or_not)
{
    executr_pin *pin;

    options.max_binary_bytes = 1000;
    reopen_cache(0);
    binary b = serve_well('a', 1001);
    cr_assert_eq(get(&b, &pin), EXECUTR_E_TOO_LARGE);
    b = serve('b', 100, (http_script){.endless = 1});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_TOO_LARGE);
    cr_assert(strstr(err.message, "1000 bytes"), "%s", err.message);
    b = serve('d', 1001, (http_script){.chunked = 1});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_TOO_LARGE);
    b = serve_well('c', 1000);
    executr_pin_free(must_get(&b));
    cr_assert_eq(count_files("objects"), 1);
    cr_assert_eq(count_files("tmp"), 0);
}

Test(cache_get, t42_gives_up_on_a_drip)
{
    executr_pin *pin;

    options.network_timeout_ms = 300;
    reopen_cache(0);
    binary b = serve('a', 100000, (http_script){.drip = 1, .drip_ms = 50});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_TIMEOUT);
    cr_assert_eq(count_files("objects"), 0);
}

Test(cache_get, t42_gives_up_on_what_takes_too_long)
{
    executr_pin *pin;

    options.max_download_ms = 300;
    reopen_cache(0);
    binary b = serve('a', 100000, (http_script){.drip = 100, .drip_ms = 20});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_TIMEOUT);
    cr_assert(strstr(err.message, "longest allowed"), "%s", err.message);
}

Test(cache_get, t43_a_content_encoding_is_never_decoded)
{
    binary b = serve(
        'a', 1000, (http_script){.headers = "Content-Encoding: gzip\r\n"});

    executr_pin_free(must_get(&b));
}

Test(cache_get, t44_refuses_link_local_addresses)
{
    executr_pin *pin;
    binary b = serve_well('a', 10);

    b.url = "http://169.254.169.254/latest/meta-data/";
    cr_assert_eq(get(&b, &pin), EXECUTR_E_PROTOCOL);
    cr_assert(strstr(err.message, "169.254.169.254"), "%s", err.message);
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
    reopen_cache(0);
    binary b = serve_well('a', 3000);
    giver g = {.what = &b};
    executr_pin *pin;
    executr_status st =
        executr_cache_get(cache, b.sha256, NULL, give, &g, &pin, &err);

    cr_assert_eq(st, EXECUTR_E_TOO_LARGE);
    cr_assert(strstr(err.message, "1000 bytes"), "%s", err.message);
}

/* Descriptors that a program started now would get. */
static int inherited(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);
        count += flags >= 0 && !(flags & FD_CLOEXEC);
    }
    return count;
}

/* The file and its lock are open while this is called. */
static executr_status look_at_descriptors(
    void *ctx, const char *sha256, executr_write write, void *write_ctx,
    executr_error *why)
{
    const binary *b = ctx;

    (void)sha256;
    (void)why;
    return inherited() == 3 && !write(write_ctx, b->bytes, b->size)
               ? EXECUTR_OK
               : EXECUTR_E_CALLBACK;
}

Test(cache_get, t49_no_program_inherits_a_descriptor)
{
    executr_pin *pin;
    binary b = serve_well('a', 3000);

    for (int fd = 3; fd < 1024; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC); /* what is open already */
    executr_status st = executr_cache_get(
        cache, b.sha256, NULL, look_at_descriptors, &b, &pin, &err);
    cr_assert_eq(st, EXECUTR_OK);
    cr_assert_eq(inherited(), 3);
    executr_pin_free(pin);
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

Test(cache_get, t45_fetches_again_what_was_changed_on_disk)
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

/* Else a write in the tick of the clock that it was made in leaves no trace. */
Test(cache_get, t45_a_file_has_an_old_time_of_change)
{
    binary b = serve_well('m', 4 * KIB);
    executr_pin *pin = must_get(&b);
    struct stat info;

    cr_assert_eq(stat(executr_pin_path(pin), &info), 0);
    cr_assert_eq(info.st_mtim.tv_sec, 0);
    executr_pin_free(pin);
}

/* Written in the same moment, and as long as before. */
Test(cache_get, t45_a_pinned_file_that_is_changed_is_not_trusted_any_more)
{
    binary b = serve_well('p', 4 * KIB);
    executr_pin *pin = must_get(&b);

    cr_assert(ex_pin_unchanged(pin));
    const char *path = executr_pin_path(pin);
    cr_assert_eq(chmod(path, 0755), 0);
    int fd = open(path, O_WRONLY);
    cr_assert_eq(write(fd, "q", 1), 1);
    close(fd);
    cr_assert_eq(chmod(path, 0555), 0);
    cr_assert_not(ex_pin_unchanged(pin));
    executr_pin *again = must_get(&b);
    cr_assert(ex_pin_unchanged(again));
    cr_assert_eq(http_fixture_requests(server), 2);
    executr_pin_free(again);
    executr_pin_free(pin);
}

Test(cache_get, t45_replaces_links_and_files_that_cannot_run)
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
    cr_assert_eq(ex_fs_remove_tree(AT_FDCWD, cache_dir, &err), EXECUTR_OK);
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

Test(cache_get, t46_twenty_threads_share_one_download)
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

Test(cache_get, t46_five_processes_share_one_download)
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
        executr_cache_peek(cache, "nonsense", &pin, &err), EXECUTR_E_ARGUMENT);
}

/* Rewritten with the same bytes, or left by another process: who wants to know
 * has to hash it, which is for the threads that fetch. */
Test(cache_peek, t45_never_hashes_a_file)
{
    binary b = serve_well('a', 100);
    executr_pin *pin = must_get(&b);

    cr_assert_eq(utimensat(AT_FDCWD, executr_pin_path(pin), NULL, 0), 0);
    executr_pin_free(pin);
    cr_assert_not(is_cached(&b));
    executr_pin_free(must_get(&b));
    cr_assert(is_cached(&b));
    reopen_cache(0); /* a handle that has verified nothing yet */
    cr_assert_not(is_cached(&b));
    executr_pin_free(must_get(&b));
    cr_assert(is_cached(&b));
    cr_assert_eq(http_fixture_requests(server), 1);
}

Test(cache_get, t45_verifies_what_another_process_left)
{
    binary good = serve_well('a', 100);
    binary bad = serve_well('b', 100);
    executr_pin_free(must_get(&good));
    executr_pin *pin = must_get(&bad);
    overwrite(executr_pin_path(pin));
    executr_pin_free(pin);

    reopen_cache(0);
    executr_pin_free(must_get(&good));
    cr_assert_eq(http_fixture_requests(server), 2);
    executr_pin_free(must_get(&bad));
    cr_assert_eq(http_fixture_requests(server), 3);
}
