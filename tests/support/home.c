/* SPDX-License-Identifier: MIT */
/* A directory for one test. */
#include "support/home.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

static char home[64];
static ex_buf path;

static void make_home_in(const char *place)
{
    snprintf(home, sizeof home, "%s/executr-test-XXXXXX", place);
    cr_assert_not_null(mkdtemp(home));
    ex_buf_init(&path, EX_BUF_UNLIMITED);
}

void make_home(void)
{
    make_home_in("/tmp");
}

void make_fast_home(void)
{
    make_home_in("/dev/shm");
}

void drop_home(void)
{
    executr_error err;

    ex_buf_clear(&path);
    executr_status st = ex_fs_remove_tree(AT_FDCWD, home, &err);
    cr_expect_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
}

const char *in_home(const char *name)
{
    cr_assert_eq(ex_fs_join(&path, home, name, NULL), EXECUTR_OK);
    return path.data;
}

void make_dir(const char *name)
{
    cr_assert_eq(ex_fs_mkdirs(in_home(name), 0755, NULL), EXECUTR_OK);
}

void make_file(const char *name, const char *text)
{
    int fd = open(in_home(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ex_fs_write_all(fd, text, strlen(text), NULL), EXECUTR_OK);
    close(fd);
}

int exists(const char *name)
{
    struct stat info;

    return lstat(in_home(name), &info) == 0;
}

int home_entries(void)
{
    int count = 0;
    DIR *dir = opendir(home);

    cr_assert_not_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}
