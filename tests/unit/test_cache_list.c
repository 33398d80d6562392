/* SPDX-License-Identifier: MIT */
/* The binary cache: listed, verified and pruned beside those who use it. */
#include "support/cache_bench.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

TestSuite(cache_list, .init = cache_setup, .fini = cache_teardown);

static executr_cached *all;

static void look(executr_status st)
{
    cr_assert_eq(st, EXECUTR_OK, "%s", err.message);
    cr_assert_not_null(all);
}

static size_t find(const binary *b)
{
    size_t i = 0;

    while (i < executr_cached_count(all) &&
           strcmp(executr_cached_sha256(all, i), b->sha256) != 0)
        i++;
    cr_assert_lt(i, executr_cached_count(all));
    return i;
}

static int32_t state_of(const binary *b)
{
    return executr_cached_state(all, find(b));
}

static void let_time_pass(void)
{
    nanosleep(&(struct timespec){0, 20000000}, NULL);
}

Test(cache_list, tells_hash_size_use_and_pins)
{
    binary a = serve_well('a', 1000);
    binary b = serve_well('b', 2000);

    executr_pin *pin = must_get(&a);
    let_time_pass();
    executr_pin_free(must_get(&b));
    executr_cache *other = open_cache(); /* sees pins of others, too */
    look(executr_cache_list(other, &all, &err));
    cr_assert_eq(executr_cached_count(all), 2);
    cr_assert_eq(find(&a), 0);
    cr_assert_eq(executr_cached_bytes(all, 0), 1000);
    cr_assert(executr_cached_pinned(all, 0));
    cr_assert_eq(executr_cached_state(all, 0), EXECUTR_CACHED_READY);
    cr_assert_not(executr_cached_pinned(all, 1));
    cr_assert_gt(
        executr_cached_used_at_us(all, 1), executr_cached_used_at_us(all, 0));
    executr_cached_free(all);
    executr_cache_free(other);
    executr_pin_free(pin);
    executr_cached_free(NULL);
}

Test(cache_list, tells_downloads_under_way_from_broken_ones)
{
    executr_pin *pin;
    binary broken = serve(
        'a', 1000, (http_script){.cut = 500, .headers = "ETag: \"\"\r\n"});
    binary slow =
        serve('b', 1000, (http_script){.drip = 100, .drip_ms = 10000});

    cr_assert_eq(get(&broken, &pin), EXECUTR_E_UNAVAILABLE);
    pid_t child = get_in_process(&slow);
    while (count_files("tmp") < 4)
        let_time_pass();
    look(executr_cache_list(cache, &all, &err));
    cr_expect_eq(state_of(&broken), EXECUTR_CACHED_PARTIAL);
    cr_expect_eq(executr_cached_bytes(all, find(&broken)), 500);
    cr_expect_eq(state_of(&slow), EXECUTR_CACHED_FETCHING);
    executr_cached_free(all);
    look(executr_cache_prune(cache, 0, &all, &err));
    cr_expect_eq(state_of(&broken), EXECUTR_CACHED_REMOVED);
    cr_expect_eq(state_of(&slow), EXECUTR_CACHED_FETCHING);
    executr_cached_free(all);
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, NULL, 0), child);
}

Test(cache_list, writes_json)
{
    ex_buf text;
    binary a = serve_well('a', 1000);

    executr_pin_free(must_get(&a));
    look(executr_cache_list(cache, &all, &err));
    ex_buf_init(&text, 4096);
    cr_assert_eq(
        executr_cached_json(all, ex_buf_write, &text, &err), EXECUTR_OK);
    cr_assert(strstr(text.data, a.sha256), "%s", text.data);
    cr_assert(strstr(text.data, "\"bytes\":1000,"), "%s", text.data);
    cr_assert(strstr(text.data, "\"pinned\":false,"), "%s", text.data);
    cr_assert(strstr(text.data, "\"state\":\"ready\""), "%s", text.data);
    ex_buf_clear(&text);
    executr_cached_free(all);
}

static void alter(const char *path)
{
    cr_assert_eq(chmod(path, 0755), 0);
    FILE *f = fopen(path, "r+");
    cr_assert_not_null(f);
    cr_assert_eq(fputc('!', f), '!');
    fclose(f);
    cr_assert_eq(chmod(path, 0555), 0);
}

Test(cache_list, t45_verify_removes_what_was_altered)
{
    binary good = serve_well('a', 1000);
    binary bad = serve_well('b', 1000);

    executr_pin_free(must_get(&good));
    executr_pin *pin = must_get(&bad);
    alter(executr_pin_path(pin));
    executr_cache *other = open_cache();
    look(executr_cache_verify(other, &all, &err));
    cr_expect_eq(state_of(&good), EXECUTR_CACHED_READY);
    cr_expect_eq(state_of(&bad), EXECUTR_CACHED_BAD);
    executr_cached_free(all);
    cr_expect_neq(access(executr_pin_path(pin), F_OK), 0);
    look(executr_cache_verify(other, &all, &err));
    cr_expect_eq(executr_cached_count(all), 1);
    executr_cached_free(all);
    executr_cache_free(other);
    executr_pin_free(must_get(&bad)); /* fetched again */
    cr_expect_eq(http_fixture_requests(server), 3);
    executr_pin_free(pin);
}

Test(cache_list, t45_verify_removes_links_and_unreadable_files)
{
    binary a = serve_well('a', 1000);
    char path[4096];

    executr_pin *pin = must_get(&a);
    snprintf(path, sizeof path, "%s", executr_pin_path(pin));
    executr_pin_free(pin);
    cr_assert_eq(chmod(path, 0500), 0);
    look(executr_cache_verify(cache, &all, &err));
    cr_expect_eq(state_of(&a), EXECUTR_CACHED_BAD);
    executr_cached_free(all);
    cr_expect_eq(count_files("."), 0);
    cr_expect_eq(figure(EXECUTR_CACHE_BYTES), 0);
}

Test(cache_list, t47_prune_takes_the_oldest_and_nothing_in_use)
{
    binary a = serve_well('a', 1000);
    binary b = serve_well('b', 1000);
    binary c = serve_well('c', 1000);

    executr_pin *pin = must_get(&a);
    let_time_pass();
    executr_pin_free(must_get(&b));
    let_time_pass();
    executr_pin_free(must_get(&c));
    executr_cache *other = open_cache();
    look(executr_cache_prune(other, 2000, &all, &err));
    cr_expect_eq(state_of(&a), EXECUTR_CACHED_READY);
    cr_expect_eq(state_of(&b), EXECUTR_CACHED_REMOVED);
    cr_expect_eq(state_of(&c), EXECUTR_CACHED_READY);
    executr_cached_free(all);
    look(executr_cache_prune(other, 0, &all, &err));
    cr_expect_eq(state_of(&a), EXECUTR_CACHED_READY);
    cr_expect_eq(state_of(&c), EXECUTR_CACHED_REMOVED);
    executr_cached_free(all);
    executr_cache_free(other);
    cr_assert_eq(access(executr_pin_path(pin), X_OK), 0);
    executr_pin_free(pin);
    cr_assert_eq(count_files("locks"), 1);
}

Test(cache_list, t47_one_that_cannot_be_removed_or_read_does_not_keep_others)
{
    char path[PATH_MAX];
    binary a = serve_well('a', 4000);
    binary b = serve_well('b', 4000);

    executr_pin_free(must_get(&a));
    snprintf(path, sizeof path, "%s/locks/%s", cache_dir, a.sha256);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    executr_pin_free(must_get(&b));
    cr_assert_eq(executr_cache_verify(cache, &all, &err), EXECUTR_E_IO);
    cr_assert_null(all);
    cr_assert_eq(executr_cache_prune(cache, 0, &all, &err), EXECUTR_E_IO);
    cr_assert_null(all);
    cr_assert(strstr(err.message, a.sha256), "%s", err.message);
    cr_assert(is_stored(&a));
    cr_assert_not(is_stored(&b));
}

Test(cache_list, state_words_are_known)
{
    cr_assert_str_eq(executr_cached_state_word(EXECUTR_CACHED_READY), "ready");
    cr_assert_str_eq(
        executr_cached_state_word(EXECUTR_CACHED_REMOVED), "removed");
    cr_assert_null(executr_cached_state_word(0));
    cr_assert_null(executr_cached_state_word(6));
}
