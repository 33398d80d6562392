/* SPDX-License-Identifier: MIT */
/*
 * A program for tests of isolation to run: tries what its arguments say, one
 * after the other, and prints a line for each, "WHAT NUMBER" with the errno it
 * got, 0 for success. Nothing that it tries does harm if it succeeds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <unistd.h>

#define RTTIME 15 /* RLIMIT_RTTIME, which not every libc names */

static int result(long outcome)
{
    return outcome < 0 ? errno : 0;
}

static int try_write(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int number = result(fd);

    if (fd >= 0)
        close(fd);
    return number;
}

static int try_read(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return errno;
    int number = result(read(fd, &byte, 1));
    close(fd);
    return number;
}

static int try_see(const char *path)
{
    struct stat info;

    return result(lstat(path, &info));
}

/* Bad magic numbers: EINVAL for who may. */
static int try_reboot(const char *arg)
{
    (void)arg;
    return result(syscall(SYS_reboot, 1, 2, 3, NULL));
}

/* A tick out of range: EINVAL for who may. */
static int try_clock(const char *arg)
{
    struct timex change = {.modes = ADJ_TICK, .tick = 1};

    (void)arg;
    return result(adjtimex(&change));
}

static int try_raise_mark(const char *arg)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    (void)arg;
    return result(setrlimit(RTTIME, &limit));
}

static int try_mount(const char *arg)
{
    return result(mount("none", arg, "tmpfs", 0, NULL));
}

static int try_umount(const char *arg)
{
    return result(umount2(arg, MNT_DETACH));
}

static int try_remount(const char *arg)
{
    return result(mount("none", arg, NULL, MS_REMOUNT | MS_BIND, NULL));
}

static int try_user_namespace(const char *arg)
{
    (void)arg;
    return result(unshare(CLONE_NEWUSER));
}

static int try_device(const char *arg)
{
    return result(mknod(arg, S_IFCHR | 0600, (dev_t)(1 << 8 | 3)));
}

static int try_module(const char *arg)
{
    (void)arg;
    return result(syscall(SYS_init_module, NULL, 0, ""));
}

static int try_keyring(const char *arg)
{
    (void)arg;
    return result(syscall(SYS_keyctl, 0L, -3L, 0L)); /* id of the session's */
}

static int try_io_uring(const char *arg)
{
    (void)arg;
    return result(syscall(SYS_io_uring_setup, 1, NULL));
}

static int try_unknown_call(const char *arg)
{
    (void)arg;
    return result(syscall(2000));
}

static int try_trace(const char *arg)
{
    return result(ptrace(PTRACE_ATTACH, atoi(arg), NULL, NULL));
}

static int try_trace_me(const char *arg)
{
    (void)arg;
    return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_signal(const char *arg)
{
    return result(kill(atoi(arg), 0));
}

static int try_connect(const char *arg)
{
    struct sockaddr_in to = {.sin_family = AF_INET};

    to.sin_port = htons((uint16_t)atoi(arg));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return result(fd < 0 ? fd : connect(fd, (void *)&to, sizeof to));
}

/* A datagram to an address of documentation: sent if there is any way out. */
static int try_outside(const char *arg)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};

    to.sin_addr.s_addr = inet_addr(arg);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return result(fd < 0 ? fd : connect(fd, (void *)&to, sizeof to));
}

/* The socket of that name that is in no file system. */
static int try_abstract(const char *arg)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    strncpy(to.sun_path + 1, arg, sizeof to.sun_path - 2);
    socklen_t length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(arg));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return result(fd < 0 ? fd : connect(fd, (void *)&to, length));
}

static int show_ids(const char *arg)
{
    gid_t groups[64];
    int count = getgroups(64, groups);

    (void)arg;
    printf("user %d group %d groups", (int)geteuid(), (int)getegid());
    for (int i = 0; i < count; i++)
        printf(" %d", (int)groups[i]);
    printf("\n");
    return 0;
}

static int show_status(const char *arg)
{
    char line[256];
    FILE *file = fopen("/proc/self/status", "re");

    if (!file)
        return errno;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, arg, strlen(arg)) == 0)
            printf("%s", line);
    }
    fclose(file);
    return 0;
}

/* What the mount of a path forbids. */
static int show_flags(const char *arg)
{
    struct statvfs info;

    if (statvfs(arg, &info) != 0)
        return errno;
    printf(
        "%s is%s%s%s\n", arg, info.f_flag & ST_RDONLY ? " read-only" : "",
        info.f_flag & ST_NOSUID ? " nosuid" : "",
        info.f_flag & ST_NODEV ? " nodev" : "");
    return 0;
}

static int show_cwd(const char *arg)
{
    char path[512];

    (void)arg;
    if (!getcwd(path, sizeof path))
        return errno;
    printf("at %s\n", path);
    return 0;
}

static int show_pid(const char *arg)
{
    (void)arg;
    printf("pid %d parent %d\n", (int)getpid(), (int)getppid());
    return 0;
}

static const struct {
    const char *name; /* of it all, or up to a ':' and its argument */
    int (*run)(const char *arg);
} tries[] = {
    {"write", try_write},
    {"read", try_read},
    {"see", try_see},
    {"reboot", try_reboot},
    {"clock", try_clock},
    {"raise-mark", try_raise_mark},
    {"mount", try_mount},
    {"umount", try_umount},
    {"remount", try_remount},
    {"user-namespace", try_user_namespace},
    {"device", try_device},
    {"module", try_module},
    {"keyring", try_keyring},
    {"io_uring", try_io_uring},
    {"unknown-call", try_unknown_call},
    {"trace", try_trace},
    {"trace-me", try_trace_me},
    {"signal", try_signal},
    {"connect", try_connect},
    {"outside", try_outside},
    {"abstract", try_abstract},
    {"ids", show_ids},
    {"status", show_status},
    {"flags", show_flags},
    {"cwd", show_cwd},
    {"pid", show_pid},
};

static void run_one(const char *what)
{
    size_t length = strcspn(what, ":");
    const char *arg = what[length] ? what + length + 1 : "";

    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        if (strlen(tries[i].name) != length ||
            strncmp(tries[i].name, what, length) != 0)
            continue;
        printf("%s %d\n", what, tries[i].run(arg));
        return;
    }
    printf("%s is unknown\n", what);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_one(argv[i]);
    return 0;
}
