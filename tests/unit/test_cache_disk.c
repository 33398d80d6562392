/* SPDX-License-Identifier: MIT */
/* The binary cache on disks that are full, and with files that may not grow. */
#include "support/cache_bench.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"

#define MIB (1024 * KIB)

TestSuite(cache_disk, .init = cache_setup, .fini = cache_teardown);

/* A small tmpfs in place of the cache's directory, for this process alone; 0 if
 * that can't be. */
static int mount_disk(const char *size)
{
    executr_cache_free(cache);
    int made = unshare(CLONE_NEWNS) == 0 &&
               mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount("none", cache_dir, "tmpfs", 0, size) == 0;
    int number = errno;
    options.max_bytes = 100 * MIB;
    cache = open_cache();
    if (!made)
        cr_skip(
            "SKIPPED: a full disk needs root to mount a tmpfs (%s)",
            strerror(number));
    return made;
}

static binary serve_unsized(char fill, size_t size)
{
    return serve(fill, size, (http_script){.unsized = 1});
}

/* Last uses are told apart by file times, whose clock ticks slowly. */
static void use(const binary *b)
{
    executr_pin_free(must_get(b));
    nanosleep(&(struct timespec){0, 20000000}, NULL);
}

static void expect_failure(
    const binary *b, executr_status expected, int32_t native)
{
    executr_pin *pin;

    executr_status st = get(b, &pin);
    cr_expect_eq(st, expected, "%d: %s", st, err.message);
    cr_expect_eq(err.native, native, "%d: %s", err.native, err.message);
    cr_expect_null(pin);
    cr_expect_eq(count_files("tmp"), 0);
    cr_expect_not(is_stored(b));
}

Test(cache_disk, t40_a_full_disk_evicts_the_least_recently_used)
{
    if (!mount_disk("size=3m,mode=0700"))
        return;
    binary a = serve_well('a', 5 * MIB / 4);
    binary b = serve_well('b', MIB);
    binary c = serve_unsized('c', 3 * MIB / 2);

    use(&a);
    use(&b);
    use(&c);
    cr_expect_not(is_stored(&a));
    cr_expect(is_stored(&b));
    cr_expect(is_stored(&c));
}

Test(cache_disk, t40_what_can_never_fit_evicts_nothing)
{
    if (!mount_disk("size=3m,mode=0700"))
        return;
    binary a = serve_well('a', MIB);
    binary b = serve_well('b', 5 * MIB);

    use(&a);
    for (int i = 0; i < 2; i++) {
        expect_failure(&b, EXECUTR_E_TOO_LARGE, 0);
        cr_expect(strstr(err.message, "5242880 bytes"), "%s", err.message);
    }
    cr_expect(is_stored(&a));
}

Test(cache_disk, t40_what_never_says_its_length_evicts_others_once)
{
    if (!mount_disk("size=3m,mode=0700"))
        return;
    binary a = serve_well('a', MIB);
    binary b = serve_unsized('b', 5 * MIB);

    use(&a);
    expect_failure(&b, EXECUTR_E_IO, ENOSPC);
    cr_expect(strstr(err.message, "disk is full"), "%s", err.message);
    cr_expect_not(is_stored(&a));
    use(&a);
    for (int i = 0; i < 2; i++)
        expect_failure(&b, EXECUTR_E_TOO_LARGE, 0);
    cr_expect(is_stored(&a));
}

Test(cache_disk, t40_what_fits_when_others_are_done_is_not_too_large)
{
    if (!mount_disk("size=3m,mode=0700"))
        return;
    binary a = serve_well('a', 2 * MIB);
    binary b = serve_well('b', MIB / 4);
    binary c = serve_well('c', 2 * MIB);

    use(&b);
    executr_pin *pin = must_get(&a);
    expect_failure(&c, EXECUTR_E_IO, ENOSPC);
    cr_expect(is_stored(&b));
    executr_pin_free(pin);
    use(&c);
    cr_expect_not(is_stored(&a));
}

/* Bytes in the cache's directory until no more fit. */
static void fill_disk(void)
{
    char path[64];
    char zeros[4096] = {0};

    snprintf(path, sizeof path, "%s/filler", cache_dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_geq(fd, 0);
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    close(fd);
}

/* Until some of a download were written. */
static void wait_for_bytes(const binary *b)
{
    char path[128];
    struct stat info = {0};

    snprintf(path, sizeof path, "%s/tmp/%s", cache_dir, b->sha256);
    while (stat(path, &info) != 0 || info.st_size == 0)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

Test(cache_disk, t40_a_disk_that_others_fill_evicts_nothing_in_vain)
{
    int status;
    if (!mount_disk("size=4m,mode=0700"))
        return;
    binary a = serve_well('a', MIB);
    binary b =
        serve('b', 5 * MIB / 2, (http_script){.drip = 64 * KIB, .drip_ms = 10});

    use(&a);
    pid_t child = get_in_process(&b);
    wait_for_bytes(&b);
    fill_disk();
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(WEXITSTATUS(status), 20 - EXECUTR_E_IO);
    cr_expect(is_stored(&a));
    cr_expect_eq(count_files("tmp"), 0);
}

/* Every file and directory that a fetch makes is once the one too many. */
Test(cache_disk, t40_no_inodes_evict_too)
{
    if (!mount_disk("size=3m,mode=0700"))
        return;
    for (int inodes = 10; inodes < 16; inodes++) {
        char limit[40];
        executr_cache_free(cache);
        snprintf(limit, sizeof limit, "size=3m,mode=0700,nr_inodes=%d", inodes);
        cr_assert_eq(mount("none", cache_dir, "tmpfs", 0, limit), 0);
        cache = open_cache();
        binary a = serve_well('a', 4 * KIB);
        binary b = serve_well('b', 4 * KIB);
        binary c = serve_well('c', 4 * KIB);
        use(&a);
        use(&b);
        use(&c);
        cr_expect(is_stored(&c));
    }
}

Test(cache_disk, t40_a_used_up_quota_evicts_too)
{
    executr_error quota = {.status = EXECUTR_E_IO, .native = EDQUOT};
    executr_error other = {.status = EXECUTR_E_IO, .native = EIO};
    binary a = serve_well('a', 4 * KIB);

    use(&a);
    cr_expect_not(ex_cache_make_room(cache, &other));
    cr_expect(is_stored(&a));
    cr_expect(ex_cache_make_room(cache, &quota));
    cr_expect_not(is_stored(&a));
    cr_expect_not(ex_cache_make_room(cache, &quota));
}

/* An executor goes out of service only for what eviction can't mend. */
Test(cache_disk, t40_a_disk_full_of_unused_binaries_is_ready)
{
    if (!mount_disk("size=4m,mode=0700"))
        return;
    binary a = serve_well('a', 7 * MIB / 2);

    cr_expect_eq(ex_cache_ready(cache, &err), EXECUTR_OK);
    executr_pin *pin = must_get(&a);
    cr_expect_eq(ex_cache_ready(cache, &err), EXECUTR_E_IO);
    executr_pin_free(pin);
    cr_expect_eq(ex_cache_ready(cache, &err), EXECUTR_OK);
}

static void let_files_grow_to(rlim_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(cache_disk, t40_files_that_may_not_grow_are_a_full_disk)
{
    binary a = serve_well('a', MIB);
    binary sized = serve_well('b', 3 * MIB);
    binary unsized = serve_unsized('c', 3 * MIB);

    use(&a);
    let_files_grow_to(2 * MIB);
    expect_failure(&sized, EXECUTR_E_TOO_LARGE, 0);
    expect_failure(&unsized, EXECUTR_E_IO, EFBIG);
    cr_expect(strstr(err.message, "RLIMIT_FSIZE"), "%s", err.message);
    expect_failure(&unsized, EXECUTR_E_TOO_LARGE, 0);
    let_files_grow_to(0);
    expect_failure(&sized, EXECUTR_E_IO, ENOSPC);
    cr_expect(is_stored(&a));
    cr_expect_eq(ex_cache_ready(cache, &err), EXECUTR_E_IO);
    let_files_grow_to(RLIM_INFINITY);
    use(&unsized);
}
