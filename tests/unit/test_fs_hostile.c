/* SPDX-License-Identifier: MIT */
/* Removing trees: what programs that mean harm leave, and what they do while
 * their trees are removed. T75. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/fs.h"
#include "support/home.h"

TestSuite(fs_hostile, .init = make_home, .fini = drop_home);
TestSuite(fs_hostile_big, .init = make_fast_home, .fini = drop_home);

static executr_error err;

static executr_status remove_tree(void)
{
    memset(&err, 0, sizeof err);
    return ex_fs_remove_tree(AT_FDCWD, in_home("tree"), &err);
}

static void expect_gone(void)
{
    cr_expect_eq(remove_tree(), EXECUTR_OK, "%s", err.message);
    cr_expect(!exists("tree"));
}

static mode_t mode_of(const char *name)
{
    struct stat info;

    cr_assert_eq(lstat(in_home(name), &info), 0);
    return info.st_mode & 07777;
}

Test(fs_hostile, t75_names_can_hold_anything)
{
    char name[300] = "tree/";

    make_dir("tree/two\nlines\x1b[2J");
    make_file("tree/two\nlines\x1b[2J/-rf *", "x");
    make_file("tree/\xff\xfe", "x");
    make_file("tree/...", "x");
    memset(name + 5, '\n', 255);
    name[260] = '\0';
    make_dir(name);
    expect_gone();
}

Test(fs_hostile, t75_sockets_and_devices_are_not_opened)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    make_dir("tree");
    snprintf(
        address.sun_path, sizeof address.sun_path, "%s", in_home("tree/sock"));
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    /* Opening this end would wait for the other one for ever. */
    cr_assert_eq(mkfifo(in_home("tree/fifo"), 0), 0);
    if (geteuid() == 0 &&
        mknod(in_home("tree/watchdog"), S_IFCHR | 0600, makedev(10, 130)) != 0)
        cr_log_warn("no device is tried: making one is not allowed here");
    expect_gone();
    close(fd);
}

Test(fs_hostile, t75_files_with_other_names_keep_their_modes)
{
    make_file("outside", "x");
    cr_assert_eq(chmod(in_home("outside"), 04400), 0);
    make_dir("tree/a");
    char from[256];
    snprintf(from, sizeof from, "%s", in_home("outside"));
    cr_assert_eq(link(from, in_home("tree/a/link")), 0);
    cr_assert_eq(chmod(in_home("tree/a"), 0), 0);
    expect_gone();
    cr_expect_eq(mode_of("outside"), 04400);
}

/* ---- Attributes. */

static int set_attributes(const char *name, int attributes)
{
    int fd = open(in_home(name), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int result = ioctl(fd, FS_IOC_SETFLAGS, &attributes);

    close(fd);
    return result;
}

static int attributes_of(const char *name)
{
    int attributes = 0;
    int fd = open(in_home(name), O_RDONLY | O_CLOEXEC);

    ioctl(fd, FS_IOC_GETFLAGS, &attributes);
    close(fd);
    return attributes;
}

static void need_attributes(void)
{
    make_file("probe", "x");
    if (set_attributes("probe", FS_IMMUTABLE_FL))
        cr_skip_test("needs root and a file system with attributes");
    set_attributes("probe", 0);
}

Test(fs_hostile, t75_immutable_and_append_only_go)
{
    need_attributes();
    make_dir("tree/fixed/inner");
    make_dir("tree/append");
    make_file("tree/fixed/file", "x");
    make_file("tree/append/file", "x");
    set_attributes("tree/fixed/file", FS_IMMUTABLE_FL);
    set_attributes("tree/fixed", FS_IMMUTABLE_FL);
    set_attributes("tree/append/file", FS_APPEND_FL);
    set_attributes("tree/append", FS_APPEND_FL);
    set_attributes("tree", FS_IMMUTABLE_FL);
    expect_gone();
}

Test(fs_hostile, t75_files_with_other_names_keep_their_attributes)
{
    char from[256];

    need_attributes();
    make_file("outside", "x");
    make_dir("tree");
    make_file("tree/file", "x");
    snprintf(from, sizeof from, "%s", in_home("outside"));
    cr_assert_eq(link(from, in_home("tree/link")), 0);
    set_attributes("outside", FS_IMMUTABLE_FL);
    cr_expect_eq(remove_tree(), EXECUTR_E_IO);
    cr_expect_not_null(strstr(err.message, "'link'"), "%s", err.message);
    cr_expect(!exists("tree/file"), "the rest goes");
    cr_expect(attributes_of("outside") & FS_IMMUTABLE_FL);
    set_attributes("outside", 0);
}

/* ---- What can't be removed. */

Test(fs_hostile, t75_what_stays_does_not_keep_the_rest)
{
    if (geteuid() != 0)
        cr_skip_test("needs root, to own something that others try to remove");
    make_dir("tree/a/theirs/deep");
    make_file("tree/a/theirs/deep/file", "x");
    make_dir("tree/a/ours");
    make_file("tree/a/ours/file", "x");
    make_file("tree/z", "x");
    const char *const ours[] = {"", "tree", "tree/a", "tree/a/ours"};
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(chown(in_home(ours[i]), 65534, 65534), 0);
    int how;
    pid_t child = fork();
    if (child == 0) {
        if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
            setresuid(65534, 65534, 65534))
            _exit(2);
        _exit(remove_tree() == EXECUTR_E_IO ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &how, 0), child);
    cr_expect_eq(how, 0);
    cr_expect(exists("tree/a/theirs/deep/file"));
    cr_expect(!exists("tree/a/ours") && !exists("tree/z"));
}

Test(fs_hostile, t75_is_given_up_when_told)
{
    atomic_int give_up = 1;

    make_dir("tree/a/b");
    executr_status st =
        ex_fs_remove_tree_until(AT_FDCWD, in_home("tree"), &give_up, &err);
    cr_expect_eq(st, EXECUTR_E_CANCELLED);
    cr_expect(exists("tree"));
}

/* ---- Mounts. */

/* What `body` finds in a process with mounts of its own. */
static void with_mounts(int (*body)(void))
{
    int how;
    pid_t child = fork();

    if (child == 0) {
        if (unshare(CLONE_NEWNS | (getuid() ? CLONE_NEWUSER : 0)) ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
            _exit(77);
        _exit(body());
    }
    cr_assert_eq(waitpid(child, &how, 0), child);
    if (WIFEXITED(how) && WEXITSTATUS(how) == 77)
        cr_skip_test("mounting is not allowed here");
    cr_expect_eq(how, 0);
}

static int bind_on(const char *source, const char *target)
{
    char from[256];

    snprintf(from, sizeof from, "%s", in_home(source));
    return mount(from, in_home(target), NULL, MS_BIND, NULL);
}

static int mounts_on_mounts(void)
{
    for (int i = 0; i < 3; i++) {
        if (bind_on("outside", "tree/dir") || bind_on("file", "tree/file") ||
            mount("none", in_home("tree/tmp"), "tmpfs", 0, NULL))
            return 77;
    }
    if (remove_tree())
        return 1;
    return !exists("tree") && exists("outside/precious") && exists("file") ? 0
                                                                           : 2;
}

Test(fs_hostile, t75_mounts_of_all_kinds_are_unmounted)
{
    make_dir("outside");
    make_file("outside/precious", "x");
    make_file("file", "x");
    make_dir("tree/dir");
    make_dir("tree/tmp");
    make_file("tree/file", "x");
    with_mounts(mounts_on_mounts);
    cr_expect(exists("outside/precious") && exists("file"));
}

/* Refuse a system call, as kernels do that don't have it. */
static int refuse_call(unsigned number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int without_openat2(void)
{
    if (refuse_call(SYS_openat2))
        return 77;
    return mounts_on_mounts();
}

Test(fs_hostile, t75_mounts_are_seen_without_openat2)
{
    make_dir("outside");
    make_file("outside/precious", "x");
    make_file("file", "x");
    make_dir("tree/dir");
    make_dir("tree/tmp");
    make_file("tree/file", "x");
    with_mounts(without_openat2);
    cr_expect(exists("outside/precious") && exists("file"));
}

static int neither_openat2_nor_umount(void)
{
    if (bind_on("outside", "tree/dir") || refuse_call(SYS_openat2) ||
        refuse_call(SYS_umount2))
        return 77;
    if (remove_tree() != EXECUTR_E_IO || !strstr(err.message, "mounted"))
        return 1;
    return exists("outside/precious") && !exists("tree/file") ? 0 : 2;
}

Test(fs_hostile, t75_a_mount_that_stays_is_not_emptied)
{
    make_dir("outside");
    make_file("outside/precious", "x");
    make_dir("tree/dir");
    make_file("tree/file", "x");
    with_mounts(neither_openat2_nor_umount);
    cr_expect(exists("outside/precious"));
}

/* ---- Programs that are still there. */

#define SWAPS 300

static atomic_int done;
static int tree_fd;
static int home_fd;

/* Exchanges directories of the tree for a link out of it, round and round. */
static void *swap_for_links(void *unused)
{
    char name[16];

    (void)unused;
    for (int i = 0; !atomic_load(&done); i = (i + 1) % SWAPS) {
        snprintf(name, sizeof name, "%d", i);
        renameat2(tree_fd, name, home_fd, "link", RENAME_EXCHANGE);
    }
    return NULL;
}

static void make_swap_tree(void)
{
    char name[64];

    make_dir("tree");
    for (int i = 0; i < SWAPS; i++) {
        snprintf(name, sizeof name, "tree/%d", i);
        make_dir(name);
        snprintf(name, sizeof name, "tree/%d/precious", i);
        make_file(name, "y");
    }
    if (!exists("link"))
        cr_assert_eq(symlink("outside", in_home("link")), 0);
    tree_fd = open(in_home("tree"), O_PATH | O_CLOEXEC);
}

Test(fs_hostile_big, t75_directories_swapped_for_links_lead_nowhere)
{
    pthread_t thread;

    make_dir("outside");
    make_file("outside/precious", "x");
    home_fd = open(in_home(""), O_PATH | O_CLOEXEC);
    for (int round = 0; round < 20; round++) {
        make_swap_tree();
        atomic_store(&done, 0);
        cr_assert_eq(pthread_create(&thread, NULL, swap_for_links, NULL), 0);
        ex_ignore(remove_tree());
        atomic_store(&done, 1);
        pthread_join(thread, NULL);
        close(tree_fd);
        cr_assert(exists("outside/precious"));
        expect_gone();
        cr_assert_eq(ex_fs_remove_tree(home_fd, "link", NULL), EXECUTR_OK);
    }
    close(home_fd);
}

/* Writes into the tree until it is full, gone or was written to enough. */
static void *write_files(void *unused)
{
    char name[32];

    (void)unused;
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "%d/f%d", i % 10, i);
        int fd = openat(tree_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

Test(fs_hostile_big, t75_a_writer_that_is_still_there_does_no_harm)
{
    pthread_t thread;
    char name[32];

    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "tree/%d", i);
        make_dir(name);
    }
    tree_fd = open(in_home("tree"), O_PATH | O_CLOEXEC);
    cr_assert_eq(pthread_create(&thread, NULL, write_files, NULL), 0);
    expect_gone();
    pthread_join(thread, NULL);
    close(tree_fd);
    cr_expect(!exists("tree"));
}

static long peak_kb(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* A hundred thousand, or as many as EXECUTR_TEST_ENTRIES says. */
static int entry_count(void)
{
    const char *given = getenv("EXECUTR_TEST_ENTRIES");
    long count = given ? strtol(given, NULL, 10) : 0;

    return count > 0 && count <= 10000000 ? (int)count : 100000;
}

Test(fs_hostile_big, t75_hundred_thousand_entries_take_no_memory)
{
    char name[32];
    int count = entry_count();

    make_dir("tree");
    int fd = open(in_home("tree"), O_PATH | O_CLOEXEC);
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%d", i);
        cr_assert_eq(mknodat(fd, name, S_IFREG | 0600, 0), 0);
    }
    close(fd);
    long before = peak_kb();
    expect_gone();
    cr_expect_lt(peak_kb() - before, 2048);
}
