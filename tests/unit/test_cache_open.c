/* SPDX-License-Identifier: MIT */
/* The binary cache: directories that are not its user's alone are refused. */
#include "support/cache_bench.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache.h"

#define NOBODY 65534

TestSuite(cache_open, .init = cache_setup, .fini = cache_teardown);

static const char *const parts[] = {"objects", "tmp", "locks"};

static const char *in_cache(const char *name)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", cache_dir, name);
    return path;
}

/* Neither opened nor, by the handle from before, used. */
static void expect_refused(const char *name, const char *why)
{
    executr_cache *opened;

    executr_status st = executr_cache_open(&options, &opened, &err);
    cr_expect_eq(st, EXECUTR_E_IO, "%s: %d", name, st);
    cr_expect_null(opened);
    cr_expect(strstr(err.message, name), "%s", err.message);
    cr_expect(strstr(err.message, why), "%s", err.message);
    cr_expect_eq(ex_cache_ready(cache, &err), EXECUTR_E_IO);
}

Test(cache_open, t45_directories_are_for_their_user_alone)
{
    struct stat info;

    for (size_t i = 0; i < 3; i++) {
        const char *path = in_cache(parts[i]);
        cr_assert_eq(stat(path, &info), 0);
        cr_expect_eq(info.st_mode & 07777, 0700);
        cr_assert_eq(chmod(path, 0750), 0);
        expect_refused(parts[i], "chmod 700");
        cr_assert_eq(chmod(path, 0700), 0);
        executr_cache_free(open_cache());
    }
}

Test(cache_open, t45_links_in_their_place_are_refused)
{
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(rmdir(in_cache(parts[i])), 0);
        cr_assert_eq(symlink("/", in_cache(parts[i])), 0);
        expect_refused(parts[i], "remove it");
        cr_assert_eq(unlink(in_cache(parts[i])), 0);
        executr_cache_free(open_cache());
    }
}

Test(cache_open, t45_directories_of_others_are_refused)
{
    if (geteuid() != 0) {
        cr_skip("SKIPPED: to give a directory away needs root");
        return;
    }
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(chown(in_cache(parts[i]), NOBODY, NOBODY), 0);
        expect_refused(parts[i], "belongs to user 65534");
        cr_assert_eq(chown(in_cache(parts[i]), 0, 0), 0);
    }
}

Test(cache_open, t45_a_cache_that_others_may_write_to_is_refused)
{
    executr_cache *opened;

    cr_assert_eq(chmod(cache_dir, 0777), 0);
    cr_expect_eq(executr_cache_open(&options, &opened, &err), EXECUTR_E_IO);
    cr_expect(strstr(err.message, "chmod go-w"), "%s", err.message);
    cr_expect_null(opened);
    cr_assert_eq(chmod(cache_dir, 0755), 0); /* as systemd makes them */
    executr_cache_free(open_cache());
}
