/* SPDX-License-Identifier: MIT */
/* Files: paths, whole reads, and writes that appear whole or not at all. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "support/home.h"

static ex_buf path;
static executr_error err;

static void init_path(void)
{
    make_home();
    ex_buf_init(&path, EX_BUF_UNLIMITED);
}

static void clear_path(void)
{
    ex_buf_clear(&path);
    drop_home();
}

TestSuite(fs_join, .init = init_path, .fini = clear_path);
TestSuite(fs_mkdirs, .init = make_home, .fini = drop_home);
TestSuite(fs_read, .init = make_home, .fini = drop_home);
TestSuite(fs_tmpfile, .init = make_home, .fini = drop_home);

static void expect_join(const char *a, const char *b, const char *wanted)
{
    cr_expect_eq(ex_fs_join(&path, a, b, NULL), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&path), wanted);
}

Test(fs_join, puts_one_slash_between)
{
    expect_join("a", "b", "a/b");
    expect_join("a/", "b", "a/b");
    expect_join("/", "b", "/b");
    expect_join("", "b", "b");
    expect_join("a", "/b", "/b");
}

Test(fs_join, expands_home)
{
    setenv("HOME", "/home/me", 1);
    cr_expect_eq(ex_fs_expand(&path, "~/x", NULL), EXECUTR_OK);
    cr_expect_str_eq(path.data, "/home/me/x");
    cr_expect_eq(ex_fs_expand(&path, "~", NULL), EXECUTR_OK);
    cr_expect_str_eq(path.data, "/home/me");
    cr_expect_eq(ex_fs_expand(&path, "~you/x", NULL), EXECUTR_OK);
    cr_expect_str_eq(path.data, "~you/x");
    unsetenv("HOME");
    cr_expect_eq(ex_fs_expand(&path, "~/x", &err), EXECUTR_E_ARGUMENT);
    cr_expect_not_null(strstr(err.message, "HOME"));
}

Test(fs_mkdirs, makes_parents_and_accepts_what_exists)
{
    struct stat info;

    umask(022);
    cr_expect_eq(ex_fs_mkdirs(in_home("a/b//c/"), 0700, NULL), EXECUTR_OK);
    cr_expect_eq(ex_fs_mkdirs(in_home("a/b/c"), 0700, NULL), EXECUTR_OK);
    cr_assert_eq(stat(in_home("a/b"), &info), 0);
    cr_expect_eq(info.st_mode, (mode_t)(S_IFDIR | 0700));
    cr_assert_eq(symlink("a/b", in_home("link")), 0);
    cr_expect_eq(ex_fs_mkdirs(in_home("link/d"), 0700, NULL), EXECUTR_OK);
    cr_expect(exists("a/b/d"));
}

Test(fs_mkdirs, refuses_what_cannot_be)
{
    make_file("file", "");
    cr_expect_eq(ex_fs_mkdirs(in_home("file"), 0700, &err), EXECUTR_E_IO);
    cr_expect_not_null(strstr(err.message, "Not a directory"));
    cr_expect_eq(ex_fs_mkdirs(in_home("file/x"), 0700, NULL), EXECUTR_E_IO);
    cr_expect_eq(ex_fs_mkdirs("", 0700, NULL), EXECUTR_E_ARGUMENT);
    cr_expect_neq(ex_fs_mkdirs("/proc/nothing/x", 0700, NULL), EXECUTR_OK);
}

Test(fs_read, appends_all_of_a_file)
{
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_buf_puts(&out, "> ");
    make_file("file", "some text");
    cr_expect_eq(ex_fs_read(in_home("file"), &out, NULL), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&out), "> some text");
    cr_expect_eq(ex_fs_read("/proc/self/status", &out, NULL), EXECUTR_OK);
    cr_expect_gt(out.length, 100);
    ex_buf_clear(&out);
}

Test(fs_read, holds_the_limit)
{
    ex_buf out;

    make_file("file", "12345");
    ex_buf_init(&out, 5);
    cr_expect_eq(ex_fs_read(in_home("file"), &out, NULL), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&out), "12345");
    ex_buf_clear(&out);
    ex_buf_init(&out, 4);
    cr_expect_eq(ex_fs_read(in_home("file"), &out, &err), EXECUTR_E_TOO_LARGE);
    cr_expect_not_null(strstr(err.message, "/file is longer than 4 bytes"));
    ex_buf_clear(&out);
}

Test(fs_read, tells_what_cannot_be_read)
{
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    cr_expect_eq(ex_fs_read(in_home("none"), &out, &err), EXECUTR_E_NOT_FOUND);
    cr_expect_eq(err.native, ENOENT);
    cr_expect_not_null(strstr(err.message, "/none"));
    cr_expect_eq(ex_fs_read(in_home(""), &out, &err), EXECUTR_E_IO);
    cr_expect_eq(err.native, EISDIR);
    ex_buf_clear(&out);
}

static void ignore_signal(int number)
{
    (void)number;
}

/* Reads a pipe slowly while signals interrupt the writer. */
static void *drain(void *ends)
{
    const int *pair = ends;
    static char chunk[4096];
    size_t total = 0;

    for (;;) {
        ssize_t got = read(pair[0], chunk, sizeof chunk);
        if (got <= 0)
            return (void *)total;
        total += (size_t)got;
        kill(getpid(), SIGUSR1);
    }
}

Test(fs_read, writes_all_in_spite_of_interruptions)
{
    struct sigaction action = {.sa_handler = ignore_signal};
    static char data[1000000];
    int ends[2];
    pthread_t reader;
    void *total;

    cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(pthread_create(&reader, NULL, drain, ends), 0);
    cr_expect_eq(ex_fs_write_all(ends[1], data, sizeof data, NULL), EXECUTR_OK);
    close(ends[1]);
    pthread_join(reader, &total);
    cr_expect_eq((size_t)total, sizeof data);
    cr_expect_eq(ex_fs_write_all(-1, "x", 1, &err), EXECUTR_E_IO);
}

Test(fs_tmpfile, appears_whole_when_committed)
{
    ex_tmpfile tmp;
    ex_buf out;
    struct stat info;

    ex_tmpfile_init(&tmp);
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    make_file("name", "old");
    cr_assert_eq(ex_tmpfile_open(&tmp, in_home(""), NULL), EXECUTR_OK);
    cr_assert_eq(ex_fs_write_all(tmp.fd, "new!", 4, NULL), EXECUTR_OK);
    cr_assert_eq(ex_tmpfile_commit(&tmp, "name", 0555, NULL), EXECUTR_OK);
    cr_expect_eq(tmp.fd, -1);
    ex_tmpfile_close(&tmp);
    cr_assert_eq(ex_fs_read(in_home("name"), &out, NULL), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&out), "new!");
    cr_assert_eq(stat(in_home("name"), &info), 0);
    cr_expect_eq(info.st_mode, (mode_t)(S_IFREG | 0555));
    cr_expect_eq(home_entries(), 1);
    ex_buf_clear(&out);
}

Test(fs_tmpfile, leaves_nothing_when_not_committed)
{
    ex_tmpfile tmp;
    struct stat info;

    ex_tmpfile_init(&tmp);
    ex_tmpfile_close(&tmp);
    cr_assert_eq(ex_tmpfile_open(&tmp, in_home(""), NULL), EXECUTR_OK);
    cr_expect_eq(home_entries(), 1);
    cr_assert_eq(fstat(tmp.fd, &info), 0);
    cr_expect_eq(info.st_mode, (mode_t)(S_IFREG | 0600));
    cr_expect(fcntl(tmp.fd, F_GETFD) & FD_CLOEXEC);
    ex_tmpfile_close(&tmp);
    cr_expect_eq(tmp.fd, -1);
    cr_expect_eq(home_entries(), 0);
    ex_tmpfile_close(&tmp);
}

Test(fs_tmpfile, leaves_nothing_when_committing_fails)
{
    ex_tmpfile tmp;

    ex_tmpfile_init(&tmp);
    make_dir("taken/x");
    cr_assert_eq(ex_tmpfile_open(&tmp, in_home(""), NULL), EXECUTR_OK);
    cr_expect_eq(
        ex_tmpfile_commit(&tmp, "a/b", 0644, NULL), EXECUTR_E_ARGUMENT);
    cr_expect_eq(ex_tmpfile_commit(&tmp, "taken", 0644, &err), EXECUTR_E_IO);
    ex_tmpfile_close(&tmp);
    cr_expect_eq(home_entries(), 1);
    cr_expect_eq(
        ex_tmpfile_open(&tmp, in_home("none"), NULL), EXECUTR_E_NOT_FOUND);
    ex_tmpfile_close(&tmp);
}

/* Writes half a file and is killed before it commits. */
static void crash_while_writing(void)
{
    ex_tmpfile tmp;
    int how;

    pid_t child = fork();
    if (child == 0) {
        ex_tmpfile_init(&tmp);
        if (ex_tmpfile_open(&tmp, in_home(""), NULL) ||
            ex_fs_write_all(tmp.fd, "half", 4, NULL))
            _exit(1);
        raise(SIGKILL);
    }
    cr_assert_eq(waitpid(child, &how, 0), child);
    cr_assert(WIFSIGNALED(how));
}

Test(fs_tmpfile, is_not_seen_under_its_name_after_a_crash)
{
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    make_file("name", "old");
    crash_while_writing();
    cr_expect_eq(ex_fs_read(in_home("name"), &out, NULL), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&out), "old");
    cr_expect_eq(home_entries(), 2, "the unfinished file is there, hidden");
    ex_buf_clear(&out);
}
