/* SPDX-License-Identifier: MIT */
/*
 * What a program of the levels above basic sees of the machine: all of it, but
 * read-only, without what is private in it, and with a /tmp, /dev and /proc of
 * its own. All of this runs in a new process that is in new namespaces already
 * and goes away with them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner.h"

/* Of <sys/mount.h>, which can't be had beside <linux/mount.h>. */
#define PRIVATE_TREE (MS_REC | MS_PRIVATE)
#define HARMLESS (MS_NOSUID | MS_NODEV)

/* All that is in memory counts as the program's, if its memory is limited; and
 * this is the most without a limit. */
#define TMP_OPTIONS "mode=1777,size=256m,nr_inodes=65536"
#define DEV_OPTIONS "mode=755,size=64m,nr_inodes=4096"
#define COVER_OPTIONS "mode=755,size=64k,nr_inodes=256"

static const char *const devices[] = {
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
#define DEVICES (sizeof devices / sizeof *devices)

static const char *const links[][2] = {
    {"/proc/self/fd", "/dev/fd"},
    {"/proc/self/fd/0", "/dev/stdin"},
    {"/proc/self/fd/1", "/dev/stdout"},
    {"/proc/self/fd/2", "/dev/stderr"}};

/* Pieces of the old view that are put into the new one; -1: none. */
typedef struct pieces {
    int place;
    int program;
    int kept;
    int empty; /* to lay over files */
    int devices[DEVICES];
} pieces;

/* Remember what is done, for the message if it fails. */
#define STEP(launch, words) ((launch)->what = (words))

EX_CHILD_CODE static int mount_new(
    const char *type, const char *at, unsigned long flags, const char *options)
{
    return syscall(SYS_mount, type, at, type, flags, options) == 0 ? 0 : errno;
}

/* A copy of what is mounted there, not yet mounted anywhere itself. */
EX_CHILD_CODE static int take(const char *path, uint64_t flags, int *out)
{
    const struct mount_attr change = {.attr_set = flags};

    *out = (int)syscall(
        SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (*out < 0)
        return errno;
    if (syscall(
            SYS_mount_setattr, *out, "", AT_EMPTY_PATH, &change,
            sizeof change) != 0)
        return errno;
    return 0;
}

EX_CHILD_CODE static int put(int piece, const char *path)
{
    long failed = syscall(
        SYS_move_mount, piece, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
    int number = failed ? errno : 0;
    syscall(SYS_close, piece);
    return number;
}

/* A path to something in a directory that may have been laid over: its parents
 * are made again. EEXIST comes before EROFS. */
EX_CHILD_CODE static int make_parents(const char *path)
{
    char piece[PATH_MAX];

    for (size_t i = 0; path[i]; i++) {
        if (i + 1 >= sizeof piece)
            return ENAMETOOLONG;
        piece[i] = '\0';
        if (path[i] == '/' && i > 0 &&
            syscall(SYS_mkdirat, AT_FDCWD, piece, 0755) != 0 && errno != EEXIST)
            return errno;
        piece[i] = path[i];
    }
    return 0;
}

EX_CHILD_CODE static int make_file(const char *path)
{
    long fd = syscall(
        SYS_openat, AT_FDCWD, path, O_CREAT | O_RDONLY | O_NOFOLLOW | O_CLOEXEC,
        0444);
    if (fd < 0)
        return errno;
    syscall(SYS_close, fd);
    return 0;
}

/* A file that was covered with its directory; what is still seen stays. */
EX_CHILD_CODE static int put_file(int piece, const char *path)
{
    if (syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0) {
        syscall(SYS_close, piece);
        return 0;
    }
    int number = make_parents(path);
    if (!number)
        number = make_file(path);
    return number ? number : put(piece, path);
}

EX_CHILD_CODE static int put_place(int piece, const char *path)
{
    int number = make_parents(path);
    if (number)
        return number;
    if (syscall(SYS_mkdirat, AT_FDCWD, path, 0755) != 0 && errno != EEXIST)
        return errno;
    return put(piece, path);
}

EX_CHILD_CODE static int take_all(ex_launch *launch, pieces *all)
{
    const ex_isolation *iso = launch->iso;
    uint64_t harmless = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    uint64_t fixed = harmless | MOUNT_ATTR_RDONLY;

    STEP(launch, "take the work directory along");
    int number = take(launch->place, harmless, &all->place);
    for (size_t i = 0; !number && i < DEVICES; i++) {
        STEP(launch, "take devices along");
        number = take(devices[i], MOUNT_ATTR_NOSUID, &all->devices[i]);
    }
    if (!number && iso->kept)
        number = take(iso->kept, fixed, &all->kept);
    if (number || !launch->path)
        return number;
    /* One that is not there is for exec to tell. */
    number = take(launch->path, fixed, &all->program);
    if (number == ENOENT || number == ENOTDIR || number == EACCES) {
        all->program = -1;
        return 0;
    }
    return number;
}

EX_CHILD_CODE static int make_devices(ex_launch *launch, const pieces *all)
{
    STEP(launch, "mount a /dev");
    int number = mount_new("tmpfs", "/dev", MS_NOSUID, DEV_OPTIONS);
    for (size_t i = 0; !number && i < DEVICES; i++) {
        number = make_file(devices[i]);
        if (!number)
            number = put(all->devices[i], devices[i]);
    }
    for (size_t i = 0; !number && i < sizeof links / sizeof *links; i++) {
        if (syscall(SYS_symlinkat, links[i][0], AT_FDCWD, links[i][1]) != 0)
            number = errno;
    }
    if (!number && syscall(SYS_mkdirat, AT_FDCWD, "/dev/shm", 01777) != 0)
        number = errno;
    return number;
}

/* The directories, then the files, that are not for programs to see. */
EX_CHILD_CODE static int cover(ex_launch *launch)
{
    const ex_isolation *iso = launch->iso;
    int number = 0;

    STEP(launch, "mount a /tmp");
    number = mount_new("tmpfs", "/tmp", HARMLESS, TMP_OPTIONS);
    STEP(launch, "cover what is private");
    for (size_t i = 0; !number && i < iso->cover_count; i++)
        number = mount_new("tmpfs", iso->covers[i], HARMLESS, COVER_OPTIONS);
    for (size_t i = 0; !number && i < iso->hidden_count; i++) {
        int empty;
        number =
            take("/dev/null", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, &empty);
        if (!number)
            number = put(empty, iso->hidden[i]);
    }
    if (!number && iso->var_tmp &&
        syscall(SYS_mount, "/tmp", "/var/tmp", NULL, MS_BIND, NULL) != 0)
        number = errno;
    return number;
}

EX_CHILD_CODE static int fix_all(ex_launch *launch)
{
    const struct mount_attr change = {
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};

    STEP(launch, "make everything read-only");
    if (syscall(
            SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &change,
            sizeof change) != 0)
        return errno;
    return 0;
}

EX_CHILD_CODE int ex_cage_make(ex_launch *launch)
{
    pieces all = {.place = -1, .program = -1, .kept = -1};

    syscall(SYS_umask, 0);
    STEP(launch, "keep mounts private");
    if (syscall(SYS_mount, "none", "/", NULL, PRIVATE_TREE, NULL) != 0)
        return errno;
    int number = take_all(launch, &all);
    if (!number)
        number = fix_all(launch);
    if (!number)
        number = cover(launch);
    if (!number)
        number = make_devices(launch, &all);
    if (!number) {
        STEP(launch, "mount a /proc");
        number =
            mount_new("proc", "/proc", HARMLESS | MS_NOEXEC | MS_RDONLY, NULL);
    }
    STEP(launch, number ? launch->what : "mount what is the program's");
    if (!number)
        number = put_place(all.place, launch->place);
    if (!number && all.kept >= 0)
        number = put_file(all.kept, launch->iso->kept);
    if (!number && all.program >= 0)
        number = put_file(all.program, launch->path);
    if (!number && syscall(SYS_chdir, launch->place) != 0)
        number = errno;
    return number;
}

/* In a network namespace of one's own there is only lo, and it is down. */
EX_CHILD_CODE int ex_cage_loopback(ex_launch *launch)
{
    struct ifreq lo = {.ifr_name = "lo"};

    STEP(launch, "bring up lo");
    lo.ifr_flags = IFF_UP | IFF_RUNNING;
    long fd = syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int number = syscall(SYS_ioctl, fd, SIOCSIFFLAGS, &lo) == 0 ? 0 : errno;
    syscall(SYS_close, fd);
    return number;
}
