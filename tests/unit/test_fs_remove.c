/* SPDX-License-Identifier: MIT */
/* Removing trees: links, permissions, depth, width and mounts. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "support/home.h"

TestSuite(fs_remove, .init = make_home, .fini = drop_home);
TestSuite(fs_remove_deep, .init = make_fast_home, .fini = drop_home);

static executr_error err;

static executr_status remove_it(const char *name)
{
    int fd = open(in_home(""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
    cr_expect_eq(home_entries(), 0);
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
    cr_assert_eq(chown(in_home(""), 65534, 65534), 0);
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
        if (setresgid(65534, 65534, 65534) || chmod(in_home(""), 0755) ||
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

static void expect_deep_removed(int depth)
{
    const struct rlimit few = {80, 80};

    make_deep(depth, "d", 0700);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    cr_expect_eq(remove_it("tree"), EXECUTR_OK, "%s", err.message);
    cr_expect(!exists("tree"));
}

Test(fs_remove_deep, manages_a_hundred_thousand_levels)
{
    expect_deep_removed(100000);
}

Test(fs_remove, manages_thousands_of_levels_on_disk)
{
    expect_deep_removed(3000);
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

/* In a child with mounts of its own: mounts `source` on `target`. */
static void mount_on(const char *target, const char *source)
{
    uid_t user = getuid();
    int flags = CLONE_NEWNS | (user ? CLONE_NEWUSER : 0);

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
    char *at = strdup(in_home(target));
    pid_t child = fork();
    if (child == 0) {
        mount_on(at, in_home("outside"));
        executr_status st = remove_it("tree");
        _exit(!st && !exists("tree") && exists("outside/precious") ? 0 : 1);
    }
    free(at);
    cr_assert_eq(waitpid(child, &how, 0), child);
    if (WIFEXITED(how) && WEXITSTATUS(how) == 77)
        cr_skip_test("mounting is not allowed here");
    return how;
}

Test(fs_remove, t75_unmounts_and_does_not_enter)
{
    cr_expect_eq(remove_with_mount("tree/a/mnt"), 0);
    cr_expect(exists("outside/precious"));
}

Test(fs_remove, t75_unmounts_what_is_on_the_tree_itself)
{
    cr_expect_eq(remove_with_mount("tree"), 0);
    cr_expect(exists("outside/precious"));
}
