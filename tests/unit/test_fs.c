/* SPDX-License-Identifier: MIT */
/* Files: paths, whole reads, atomic writes, removing hostile trees. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"

static char home[] = "/tmp/executr-test-fs-XXXXXX";
static ex_buf path;
static executr_error err;

static void make_home(void)
{
    cr_assert_not_null(mkdtemp(home));
    ex_buf_init(&path, EX_BUF_UNLIMITED);
}

static void drop_home(void)
{
    ex_buf_clear(&path);
    cr_expect_eq(
        ex_fs_remove_tree(AT_FDCWD, home, &err), EXECUTR_OK, "%s", err.message);
}

TestSuite(fs_join, .init = make_home, .fini = drop_home);
TestSuite(fs_mkdirs, .init = make_home, .fini = drop_home);
TestSuite(fs_read, .init = make_home, .fini = drop_home);
TestSuite(fs_tmpfile, .init = make_home, .fini = drop_home);
TestSuite(fs_remove, .init = make_home, .fini = drop_home);

/* A path in the test's own directory; lasts until the next call. */
static const char *in_home(const char *name)
{
    cr_assert_eq(ex_fs_join(&path, home, name, NULL), EXECUTR_OK);
    return path.data;
}

static void make_dir(const char *name)
{
    cr_assert_eq(ex_fs_mkdirs(in_home(name), 0755, NULL), EXECUTR_OK);
}

static void make_file(const char *name, const char *text)
{
    int fd = open(in_home(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ex_fs_write_all(fd, text, strlen(text), NULL), EXECUTR_OK);
    close(fd);
}

static int exists(const char *name)
{
    struct stat info;

    return lstat(in_home(name), &info) == 0;
}

/* How many entries the test's own directory has. */
static int entries(void)
{
    int count = 0;
    DIR *dir = opendir(home);

    cr_assert_not_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

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
    cr_expect_eq(
        ex_fs_read(in_home("file"), &out, &err), EXECUTR_E_TOO_LARGE);
    cr_expect_not_null(strstr(err.message, "/file is longer than 4 bytes"));
    ex_buf_clear(&out);
}

Test(fs_read, tells_what_cannot_be_read)
{
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    cr_expect_eq(
        ex_fs_read(in_home("none"), &out, &err), EXECUTR_E_NOT_FOUND);
    cr_expect_eq(err.native, ENOENT);
    cr_expect_not_null(strstr(err.message, "/none"));
    cr_expect_eq(ex_fs_read(home, &out, &err), EXECUTR_E_IO);
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
    cr_expect_eq(
        ex_fs_write_all(ends[1], data, sizeof data, NULL), EXECUTR_OK);
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
    cr_assert_eq(ex_tmpfile_open(&tmp, home, NULL), EXECUTR_OK);
    cr_assert_eq(ex_fs_write_all(tmp.fd, "new!", 4, NULL), EXECUTR_OK);
    cr_assert_eq(ex_tmpfile_commit(&tmp, "name", 0555, NULL), EXECUTR_OK);
    cr_expect_eq(tmp.fd, -1);
    ex_tmpfile_close(&tmp);
    cr_assert_eq(ex_fs_read(in_home("name"), &out, NULL), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&out), "new!");
    cr_assert_eq(stat(in_home("name"), &info), 0);
    cr_expect_eq(info.st_mode, (mode_t)(S_IFREG | 0555));
    cr_expect_eq(entries(), 1);
    ex_buf_clear(&out);
}

Test(fs_tmpfile, leaves_nothing_when_not_committed)
{
    ex_tmpfile tmp;
    struct stat info;

    ex_tmpfile_init(&tmp);
    ex_tmpfile_close(&tmp);
    cr_assert_eq(ex_tmpfile_open(&tmp, home, NULL), EXECUTR_OK);
    cr_expect_eq(entries(), 1);
    cr_assert_eq(fstat(tmp.fd, &info), 0);
    cr_expect_eq(info.st_mode, (mode_t)(S_IFREG | 0600));
    cr_expect(fcntl(tmp.fd, F_GETFD) & FD_CLOEXEC);
    ex_tmpfile_close(&tmp);
    cr_expect_eq(tmp.fd, -1);
    cr_expect_eq(entries(), 0);
    ex_tmpfile_close(&tmp);
}

Test(fs_tmpfile, leaves_nothing_when_committing_fails)
{
    ex_tmpfile tmp;

    ex_tmpfile_init(&tmp);
    make_dir("taken/x");
    cr_assert_eq(ex_tmpfile_open(&tmp, home, NULL), EXECUTR_OK);
    cr_expect_eq(
        ex_tmpfile_commit(&tmp, "a/b", 0644, NULL), EXECUTR_E_ARGUMENT);
    cr_expect_eq(ex_tmpfile_commit(&tmp, "taken", 0644, &err), EXECUTR_E_IO);
    ex_tmpfile_close(&tmp);
    cr_expect_eq(entries(), 1);
    cr_expect_eq(
        ex_tmpfile_open(&tmp, in_home("none"), NULL), EXECUTR_E_NOT_FOUND);
    ex_tmpfile_close(&tmp);
}

/* A child that is killed before it commits leaves the old file as it was. */
Test(fs_tmpfile, is_not_seen_under_its_name_after_a_crash)
{
    ex_buf out;

    ex_buf_init(&out, EX_BUF_UNLIMITED);
    make_file("name", "old");
    pid_t child = fork();
    if (child == 0) {
        ex_tmpfile tmp;
        ex_tmpfile_init(&tmp);
        if (ex_tmpfile_open(&tmp, home, NULL) ||
            ex_fs_write_all(tmp.fd, "half", 4, NULL))
            _exit(1);
        raise(SIGKILL);
    }
    int how;
    cr_assert_eq(waitpid(child, &how, 0), child);
    cr_assert(WIFSIGNALED(how));
    cr_expect_eq(ex_fs_read(in_home("name"), &out, NULL), EXECUTR_OK);
    cr_expect_str_eq(ex_buf_text(&out), "old");
    cr_expect_eq(entries(), 2, "the unfinished file is there, and hidden");
    ex_buf_clear(&out);
}

static executr_status remove_it(const char *name)
{
    int fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    memset(&err, 0, sizeof err);
    executr_status st = ex_fs_remove_tree(fd, name, &err);
    close(fd);
    return st;
}

Test(fs_remove, removes_all_kinds_of_entries)
{
    make_dir("tree/a/b");
    make_dir("tree/empty");
    make_file("tree/a/file", "x");
    cr_assert_eq(mkfifo(in_home("tree/fifo"), 0600), 0);
    cr_assert_eq(symlink("nowhere", in_home("tree/dangling")), 0);
    cr_expect_eq(remove_it("tree"), EXECUTR_OK, "%s", err.message);
    cr_expect_eq(entries(), 0);
}

Test(fs_remove, is_fine_with_what_is_not_there)
{
    cr_expect_eq(remove_it("none"), EXECUTR_OK);
    cr_expect_eq(remove_it(""), EXECUTR_E_ARGUMENT);
    cr_expect_eq(remove_it("."), EXECUTR_E_ARGUMENT);
    cr_expect_eq(remove_it(".."), EXECUTR_E_ARGUMENT);
    cr_expect_eq(remove_it("none/x"), EXECUTR_OK);
}

Test(fs_remove, never_follows_a_link)
{
    make_dir("outside");
    make_file("outside/precious", "x");
    make_dir("tree");
    cr_assert_eq(symlink("../outside", in_home("tree/link")), 0);
    cr_expect_eq(remove_it("tree"), EXECUTR_OK);
    cr_assert_eq(symlink("outside", in_home("link")), 0);
    cr_expect_eq(remove_it("link"), EXECUTR_OK);
    cr_expect(!exists("tree") && !exists("link"));
    cr_expect(exists("outside/precious"));
}

/* Root may do everything, so these rights only bind somebody else. */
static void become_ordinary(void)
{
    if (geteuid() != 0)
        return;
    cr_assert_eq(chown(home, 65534, 65534), 0);
    cr_assert_eq(setgroups(0, NULL), 0);
    cr_assert_eq(setresgid(65534, 65534, 65534), 0);
    cr_assert_eq(setresuid(65534, 65534, 65534), 0);
}

Test(fs_remove, goes_through_directories_without_permissions)
{
    become_ordinary();
    make_dir("tree/none/deep");
    make_file("tree/none/deep/file", "x");
    make_dir("tree/readonly");
    make_file("tree/readonly/file", "x");
    cr_assert_eq(chmod(in_home("tree/none/deep"), 0), 0);
    cr_assert_eq(chmod(in_home("tree/none"), 0), 0);
    cr_assert_eq(chmod(in_home("tree/readonly"), 0500), 0);
    cr_assert_eq(chmod(in_home("tree"), 0), 0);
    cr_expect_eq(remove_it("tree"), EXECUTR_OK, "%s", err.message);
    cr_expect(!exists("tree"));
}

Test(fs_remove, tells_what_it_may_not_remove)
{
    int how;

    if (geteuid() != 0)
        cr_skip_test("needs root, to own something that others try to remove");
    make_dir("tree");
    make_file("tree/file", "x");
    pid_t child = fork();
    if (child == 0) {
        if (setresgid(65534, 65534, 65534) || chmod(home, 0755) ||
            setresuid(65534, 65534, 65534))
            _exit(2);
        executr_status st = remove_it("tree");
        const char *wanted = "cannot remove 'file' in tree: Permission denied";
        _exit(st == EXECUTR_E_IO && strcmp(err.message, wanted) == 0 ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &how, 0), child);
    cr_expect_eq(how, 0);
    cr_expect(exists("tree/file"));
}

/* `depth` directories, one in the other, under home/tree. */
static void make_deep(int depth, const char *name, mode_t last_mode)
{
    make_dir("tree");
    int fd = open(in_home("tree"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < depth; i++) {
        cr_assert_eq(mkdirat(fd, name, 0700), 0);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_geq(next, 0);
        close(fd);
        fd = next;
    }
    cr_assert_eq(fchmod(fd, last_mode), 0);
    close(fd);
}

Test(fs_remove, manages_a_hundred_thousand_levels, .timeout = 300)
{
    const struct rlimit few = {80, 80};

    make_deep(100000, "d", 0700);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    cr_expect_eq(remove_it("tree"), EXECUTR_OK, "%s", err.message);
    cr_expect(!exists("tree"));
}

Test(fs_remove, manages_long_names_and_no_permissions_deep_down)
{
    char name[256];

    memset(name, 'n', 255);
    name[255] = '\0';
    become_ordinary();
    for (int depth = 28; depth < 36; depth++) {
        make_deep(depth, name, 0);
        cr_expect_eq(remove_it("tree"), EXECUTR_OK, "%s", err.message);
        cr_assert(!exists("tree"));
    }
}

Test(fs_remove, manages_wide_directories)
{
    char name[64];

    make_dir("tree");
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "tree/d%d", i);
        cr_assert_eq(mkdir(in_home(name), 0700), 0);
        snprintf(name, sizeof name, "tree/d%d/f", i);
        cr_assert_eq(mknod(in_home(name), S_IFREG | 0600, 0), 0);
        snprintf(name, sizeof name, "tree/f%d", i);
        cr_assert_eq(mknod(in_home(name), S_IFREG | 0600, 0), 0);
    }
    cr_expect_eq(remove_it("tree"), EXECUTR_OK, "%s", err.message);
    cr_expect(!exists("tree"));
}

/* In a child with mounts of its own: mounts home/outside on `target`. */
static void mount_outside(const char *target)
{
    uid_t user = getuid();
    int flags = CLONE_NEWNS | (user ? CLONE_NEWUSER : 0);
    char source[64];

    snprintf(source, sizeof source, "%s/outside", home);
    if (unshare(flags) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(source, target, NULL, MS_BIND, NULL) != 0)
        _exit(77);
}

/* Mounts, tries to remove the tree, and gives the child's exit code. */
static int remove_with_mount(const char *target)
{
    int how;

    make_dir("outside");
    make_file("outside/precious", "x");
    make_dir(target);
    const char *at = in_home(target);
    pid_t child = fork();
    if (child == 0) {
        mount_outside(at);
        executr_status st = remove_it("tree");
        int told = strstr(err.message, "mounted") != NULL;
        _exit(st == EXECUTR_E_IO && told && exists("outside/precious") ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &how, 0), child);
    if (WIFEXITED(how) && WEXITSTATUS(how) == 77)
        cr_skip_test("mounting is not allowed here");
    return how;
}

Test(fs_remove, does_not_enter_a_mount)
{
    cr_expect_eq(remove_with_mount("tree/a/mnt"), 0);
    cr_expect(exists("outside/precious"));
}

Test(fs_remove, does_not_empty_a_mount_that_is_the_tree)
{
    cr_expect_eq(remove_with_mount("tree"), 0);
    cr_expect(exists("outside/precious"));
}
