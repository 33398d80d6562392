/* SPDX-License-Identifier: MIT */
/* The binary cache: downloads that break are continued where they broke. */
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

TestSuite(cache_resume, .init = cache_setup, .fini = cache_teardown);

#define VERSION "ETag: \"v1\"\r\n"

static int asked_for(const char *text)
{
    return strstr(http_fixture_head(server), text) != NULL;
}

static const char *part_path(const binary *b, const char *suffix)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/tmp/%s%s", cache_dir, b->sha256, suffix);
    return path;
}

static off_t part_size(const binary *b)
{
    struct stat info;

    return stat(part_path(b, ""), &info) == 0 ? info.st_size : -1;
}

/* Leave the first 50,000 of 200,000 bytes behind: the server breaks twice at
 * the same place, so the get gives up. */
static binary break_off(void)
{
    executr_pin *pin;
    binary b =
        serve('a', 200000, (http_script){.cut = 50000, .headers = VERSION});

    cr_assert_eq(get(&b, &pin), EXECUTR_E_UNAVAILABLE);
    cr_assert_eq(http_fixture_requests(server), 2);
    cr_assert_eq(part_size(&b), 50000);
    return b;
}

/* From now on the server continues what it serves. */
static void serve_rest(const binary *b, const char *headers)
{
    http_script script = {
        .path = "/a",
        .body = b->bytes,
        .length = b->size,
        .headers = headers,
        .ranges = 1};

    http_fixture_add(server, &script);
}

static void expect_whole(const binary *b)
{
    struct stat info;
    executr_pin *pin = must_get(b);

    cr_assert_eq(stat(executr_pin_path(pin), &info), 0);
    cr_assert_eq(info.st_size, (off_t)b->size);
    cr_assert_eq(info.st_mode & 07777, 0555);
    executr_pin_free(pin);
    cr_assert_eq(count_files("tmp"), 0);
}

Test(cache_resume, one_get_continues_as_often_as_it_gets_farther)
{
    binary b = serve(
        'a', 200000,
        (http_script){
            .cut = 60000, .cuts = 3, .ranges = 1, .headers = VERSION});

    expect_whole(&b);
    cr_assert_eq(http_fixture_requests(server), 4);
    cr_assert(asked_for("\r\nRange: bytes=180000-\r\n"));
    cr_assert(asked_for("\r\nIf-Range: \"v1\"\r\n"));
}

Test(cache_resume, a_date_names_a_version_a_weak_etag_does_not)
{
    binary b = serve(
        'a', 2000,
        (http_script){
            .cut = 600,
            .cuts = 1,
            .ranges = 1,
            .headers = "ETag: W/\"w\"\r\nLast-Modified: Sat, 01 Jan 2022 "
                       "00:00:00 GMT\r\n"});

    expect_whole(&b);
    cr_assert(asked_for("\r\nIf-Range: Sat, 01 Jan 2022 00:00:00 GMT\r\n"));
}

Test(cache_resume, the_next_handle_continues)
{
    binary b = break_off();

    serve_rest(&b, VERSION);
    reopen_cache(0);
    expect_whole(&b);
    cr_assert(asked_for("\r\nRange: bytes=50000-\r\n"));
    cr_assert_eq(http_fixture_requests(server), 3);
}

Test(cache_resume, what_a_killed_process_got_is_continued)
{
    binary b = serve(
        'a', 200000,
        (http_script){
            .drip = 10000, .drip_ms = 20, .ranges = 1, .headers = VERSION});
    pid_t child = get_in_process(&b);

    while (part_size(&b) < 20000)
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    expect_whole(&b);
    cr_assert(asked_for("\r\nRange: bytes="));
}

Test(cache_resume, another_version_is_fetched_from_its_first_byte)
{
    binary b = break_off();

    serve_rest(&b, "ETag: \"v2\"\r\n");
    expect_whole(&b);
    cr_assert(asked_for("\r\nIf-Range: \"v1\"\r\n"));
    cr_assert_eq(http_fixture_requests(server), 3);
}

Test(cache_resume, a_server_without_ranges_starts_over)
{
    binary b = break_off();

    b = serve_well('a', 200000);
    expect_whole(&b);
    cr_assert_eq(http_fixture_requests(server), 3);
}

Test(cache_resume, another_url_does_not_continue_but_another_query_does)
{
    char url[PATH_MAX];
    binary b = break_off();

    serve_rest(&b, VERSION);
    http_fixture_add(
        server,
        &(http_script){.path = "/other", .body = b.bytes, .length = 50000});
    binary other = b;
    executr_pin *pin;
    snprintf(url, sizeof url, "%s?signature=2", b.url);
    b.url = url;
    expect_whole(&b);
    cr_assert(asked_for("\r\nRange: bytes=50000-\r\n"));

    cr_assert_eq(unlink(executr_pin_path(pin = must_get(&b))), 0);
    executr_pin_free(pin);
    serve('a', 200000, (http_script){.cut = 50000, .headers = VERSION});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_UNAVAILABLE);
    other.url = http_fixture_url(server, "/other");
    cr_assert_eq(get(&other, &pin), EXECUTR_E_MISMATCH);
    cr_assert_not(asked_for("\r\nRange:"));
    cr_assert_eq(count_files("."), 0);
}

/* A crash may have lost bytes that the file's length still counts. */
Test(cache_resume, pieces_that_do_not_hash_are_fetched_again_whole)
{
    binary b = break_off();
    FILE *f = fopen(part_path(&b, ""), "r+");

    cr_assert_not_null(f);
    cr_assert_eq(fwrite("\0\0\0", 1, 3, f), 3);
    cr_assert_eq(fclose(f), 0);
    serve_rest(&b, VERSION);
    expect_whole(&b);
    cr_assert_eq(http_fixture_requests(server), 4);
    cr_assert_not(asked_for("\r\nRange:"));
}

Test(cache_resume, a_rest_from_elsewhere_is_not_taken)
{
    binary b = break_off();
    http_script script = {
        .path = "/a",
        .status = 206,
        .headers = "Content-Range: bytes 40000-199999/200000\r\n",
        .body = b.bytes,
        .length = 160000};

    executr_pin *pin;
    http_fixture_add(server, &script);
    /* The second answer, to a request for the whole, is no whole either. */
    cr_assert_eq(get(&b, &pin), EXECUTR_E_PROTOCOL);
    cr_assert(strstr(err.message, "HTTP 206"), "%s", err.message);
    cr_assert_eq(http_fixture_requests(server), 4);
    cr_assert_not(asked_for("\r\nRange:"));
    cr_assert_eq(count_files("."), 0);
}

Test(cache_resume, t45_a_wrong_hash_in_the_end_leaves_nothing)
{
    executr_pin *pin;
    binary b = break_off();

    serve(
        'a', 200000,
        (http_script){.body = "else", .ranges = 1, .headers = VERSION});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_MISMATCH);
    cr_assert_eq(count_files("."), 0);
}

/* The last byte was written, and then the power failed. */
Test(cache_resume, a_whole_file_without_its_name_is_not_fetched_again)
{
    binary b = break_off();
    FILE *f = fopen(part_path(&b, ""), "w");

    cr_assert_not_null(f);
    cr_assert_eq(fwrite(b.bytes, 1, b.size, f), b.size);
    cr_assert_eq(fclose(f), 0);
    serve_rest(&b, VERSION);
    expect_whole(&b);
    cr_assert_eq(http_fixture_requests(server), 3);
    cr_assert(asked_for("\r\nRange: bytes=200000-\r\n"));
}

Test(cache_resume, links_in_place_of_the_file_are_not_followed)
{
    char victim[PATH_MAX];
    binary b = break_off();

    snprintf(victim, sizeof victim, "%s/victim", cache_dir);
    cr_assert_eq(close(creat(victim, 0600)), 0);
    cr_assert_eq(unlink(part_path(&b, "")), 0);
    cr_assert_eq(symlink(victim, part_path(&b, "")), 0);
    serve_rest(&b, VERSION);
    expect_whole(&b);
    struct stat info;
    cr_assert_eq(stat(victim, &info), 0);
    cr_assert_eq(info.st_size, 0);
}

Test(cache_resume, notes_of_any_kind_do_no_harm)
{
    static const char *const notes[] = {
        "", "\n", "\n\n", "http://x/\n", "no end", "\n\"v1\"\n\n\n"};

    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        binary b = serve_well('b', 1000 + i);
        FILE *f = fopen(part_path(&b, ""), "w");
        cr_assert_not_null(f);
        cr_assert_eq(fwrite("zzz", 1, 3, f), 3);
        fclose(f);
        f = fopen(part_path(&b, ".from"), "w");
        cr_assert_not_null(f);
        cr_assert_geq(fputs(notes[i], f), 0);
        fclose(f);
        expect_whole(&b);
    }
}

static void make_old(const char *path)
{
    struct timespec old = {.tv_sec = time(NULL) - 25 * 3600};

    cr_assert_eq(
        utimensat(AT_FDCWD, path, (struct timespec[]){old, old}, 0), 0);
}

Test(cache_resume, what_nobody_came_back_for_goes_after_a_day)
{
    binary b = break_off();

    reopen_cache(0);
    cr_assert_eq(part_size(&b), 50000);
    make_old(part_path(&b, ""));
    reopen_cache(0);
    cr_assert_eq(count_files("."), 0);
}

Test(cache_resume, broken_downloads_make_room_before_binaries_do)
{
    reopen_cache(250000);
    binary used = serve_well('c', 40000);
    executr_pin_free(must_get(&used));
    executr_pin *pin;
    binary b =
        serve('a', 200000, (http_script){.cut = 50000, .headers = VERSION});
    cr_assert_eq(get(&b, &pin), EXECUTR_E_UNAVAILABLE);

    binary next = serve_well('d', 180000);
    executr_pin_free(must_get(&next));
    cr_assert_eq(part_size(&b), -1);
    cr_assert(is_cached(&used));
    cr_assert(is_cached(&next));
    cr_assert_eq(count_files("."), 4);
}
