/* SPDX-License-Identifier: MIT */
/* The binary cache: its size, and what crashes leave behind. */
#include "support/cache_bench.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"

TestSuite(cache_size, .init = cache_setup, .fini = cache_teardown);
TestSuite(cache_crash, .init = cache_setup, .fini = cache_teardown);

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
    reopen_cache(100 * KIB);
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

/* The older of two goes when a third comes, but not if somebody has it. */
static void evict_beside(executr_cache *holder)
{
    binary a = serve_well('a', 40 * KIB);
    binary b = serve_well('b', 40 * KIB);
    binary c = serve_well('c', 60 * KIB);
    executr_pin *pin;

    use(&a);
    cr_assert_eq(
        executr_cache_get(holder, a.sha256, a.url, NULL, NULL, &pin, &err),
        EXECUTR_OK);
    let_time_pass();
    use(&b);
    executr_pin *held = must_get(&c);
    cr_assert_eq(access(executr_pin_path(pin), X_OK), 0);
    cr_assert_not(is_cached(&b));
    executr_pin_free(pin);
    executr_pin_free(held);
}

Test(cache_size, t47_never_evicts_what_is_pinned_here)
{
    reopen_cache(100 * KIB);
    evict_beside(cache);
}

Test(cache_size, t47_never_evicts_what_is_pinned_elsewhere)
{
    reopen_cache(100 * KIB);
    executr_cache *other = open_cache();
    evict_beside(other);
    executr_cache_free(other);
}

Test(cache_size, a_binary_larger_than_the_cache_works_and_goes)
{
    reopen_cache(100 * KIB);
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

    reopen_cache(4096 * KIB);
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
    reopen_cache(50 * KIB);
    cr_assert_not(is_stored(&a));
    cr_assert(is_stored(&b));
    cr_assert_eq(figure(EXECUTR_CACHE_MAX_BYTES), 50 * KIB);
}

/* A directory in place of its lock file: nobody can lock it, nor evict it. */
static void make_unremovable(const binary *b)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/locks/%s", cache_dir, b->sha256);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    let_time_pass();
}

Test(cache_size, t47_one_that_cannot_be_evicted_does_not_keep_the_others)
{
    reopen_cache(100 * KIB);
    binary a = serve_well('a', 40 * KIB);
    binary b = serve_well('b', 40 * KIB);
    binary c = serve_well('c', 40 * KIB);

    use(&a);
    make_unremovable(&a);
    use(&b);
    use(&c);
    cr_assert(is_stored(&a));
    cr_assert_not(is_stored(&b));
    cr_assert(is_stored(&c));
    cr_assert_eq(figure(EXECUTR_CACHE_BYTES), 80 * KIB);
    executr_cache_free(open_cache()); /* its eviction passes over it, too */
}

static void put_file(const char *name, const char *text)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", cache_dir, name);
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
    reopen_cache(10);
    cr_assert_eq(count_files("tmp"), 1);
    cr_assert_eq(count_files("."), 4);
    executr_pin_free(must_get(&b));
}

Test(cache_crash, a_download_of_another_process_is_left_alone)
{
    int status;
    binary b =
        serve('a', 64 * KIB, (http_script){.drip = 8 * KIB, .drip_ms = 100});

    pid_t child = get_in_process(&b);
    while (count_files("tmp") == 0)
        let_time_pass();
    executr_cache_free(open_cache()); /* sweeps */
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 12);
}

/* What is there after a kill is whole or gone, and nobody waits for ever. */
Test(cache_crash, t47_kill_in_the_middle_leaves_a_valid_cache, .timeout = 60)
{
    binary b =
        serve('a', 256 * KIB, (http_script){.drip = 16 * KIB, .drip_ms = 2});

    for (int i = 0; i < 25; i++) {
        pid_t child = get_in_process(&b);
        nanosleep(&(struct timespec){0, i * 3000000L}, NULL);
        kill(child, SIGKILL);
        cr_assert_eq(waitpid(child, NULL, 0), child);
        if (i % 5 == 0)
            reopen_cache(0);
        executr_pin_free(must_get(&b));
        cr_assert_eq(count_files("tmp"), 0);
        cr_assert_eq(ex_fs_remove_tree(AT_FDCWD, cache_dir, &err), EXECUTR_OK);
    }
}

#define MANY 26

/* Evict all there is, in a process that is killed after so many microseconds.
 */
static void kill_while_it_evicts(int after_us)
{
    executr_cache *small;

    options.max_bytes = 1;
    pid_t child = fork();
    if (child == 0)
        _exit(executr_cache_open(&options, &small, &err) != EXECUTR_OK);
    nanosleep(&(struct timespec){0, after_us * 1000L}, NULL);
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, NULL, 0), child);
}

/* Some files are gone and some are not, and of one perhaps only the lock file
 * is left: what there is, is found by a look at the directory. */
Test(cache_crash, t47_kill_while_it_evicts_leaves_a_valid_cache, .timeout = 60)
{
    binary all[MANY];

    for (int i = 0; i < MANY; i++)
        all[i] = serve_well((char)('a' + i), 4 * KIB);
    for (int turn = 0; turn < 20; turn++) {
        for (int i = 0; i < MANY; i++)
            executr_pin_free(must_get(&all[i]));
        kill_while_it_evicts(turn * 200);
        reopen_cache(0);
        int left = count_files("objects");
        cr_assert_eq(count_files("locks"), left);
        cr_assert_eq(figure(EXECUTR_CACHE_BYTES), left * 4 * KIB);
        cr_assert_eq(count_files("tmp"), 0);
    }
}

Test(cache_crash, t47_a_lock_file_without_its_binary_goes)
{
    binary b = serve_well('a', 4 * KIB);
    executr_pin *pin = must_get(&b);

    cr_assert_eq(unlink(executr_pin_path(pin)), 0);
    executr_pin_free(pin);
    cr_assert_eq(count_files("locks"), 1);
    reopen_cache(0);
    cr_assert_eq(count_files("."), 0);
}
