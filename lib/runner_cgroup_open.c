/* SPDX-License-Identifier: MIT */
/*
 * The directories of a runner among the control groups. Hides the lock that
 * tells those of living runners from those of dead ones, and what version 2
 * demands before it hands out controllers.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "runner_cgroup.h"

#define PREFIX "executr-"
/* Where version 2 wants processes out of the way of controllers. */
#define SELF "self-executr"
#define TRIES 8

/* What was killed is gone in milliseconds. */
#define WAITS 200
#define WAIT_US 5000

void ex_cgroups_init(ex_cgroups *groups, const executr_log *log)
{
    groups->log = *log;
    groups->memory_in = -1;
    groups->pids_in = -1;
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++)
        groups->fd[i] = -1;
}

/* Kill and remove all of a runner's directory. */
static int clear(int base, const char *name)
{
    for (int i = 0; i < WAITS; i++) {
        ex_cgroup_kill(base, name);
        if (ex_cgroup_remove(base, name) == 0)
            return 0;
        usleep(WAIT_US);
    }
    return -1;
}

/*
 * The lock is on the directory itself and ends with the last process that holds
 * its descriptor, the runner's or its guard's, whatever numbers they had.
 */
static void clear_if_dead(ex_cgroups *groups, int base, const char *name)
{
    int fd =
        openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        ex_log(
            &groups->log, EXECUTR_LOG_INFO,
            "removing the control groups of a dead runner", "group", name,
            NULL);
        if (clear(base, name) != 0)
            ex_log(
                &groups->log, EXECUTR_LOG_WARN, "a control group stays behind",
                "group", name, NULL);
    }
    close(fd);
}

static void clear_dead(ex_cgroups *groups, int base)
{
    int fd = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);

    if (!list) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const struct dirent *entry = readdir(list);
    for (; entry; entry = readdir(list)) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0)
            clear_if_dead(groups, base, entry->d_name);
    }
    closedir(list);
}

/* 1 if the directory we hold is still the one that has the name: another
 * runner may have removed it before it was locked. */
static int is_there(int base, const char *name, int fd)
{
    struct stat held;
    struct stat named;

    return fstat(fd, &held) == 0 &&
           fstatat(base, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_ino == named.st_ino;
}

/* A locked directory of ours, or -1. */
static int make_own(int base, const char *name)
{
    for (int i = 0; i < TRIES; i++) {
        if (mkdirat(base, name, 0755) != 0 && errno != EEXIST)
            return -1;
        int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_there(base, name, fd))
            return fd;
        close(fd);
    }
    return -1;
}

static void open_one(ex_cgroups *groups, const char *path, size_t kind)
{
    if (!path[0])
        return;
    int base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0)
        return;
    clear_dead(groups, base);
    int fd = make_own(base, groups->name);
    if (fd >= 0 && fd <= 2) {
        groups->fd[kind] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        close(fd);
    } else {
        groups->fd[kind] = fd;
    }
    close(base);
}

static void close_one(ex_cgroups *groups, size_t kind)
{
    int fd = groups->fd[kind];

    if (fd < 0)
        return;
    int base = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base >= 0) {
        if (clear(base, groups->name) != 0)
            ex_log(
                &groups->log, EXECUTR_LOG_WARN, "a control group stays behind",
                "group", groups->name, NULL);
        close(base);
    }
    close(fd);
    groups->fd[kind] = -1;
}

/* 1 if a file like cgroup.controllers names it. */
static int names(int fd, const char *file, const char *controller)
{
    char text[512];
    size_t length = strlen(controller);

    if (ex_cgroup_read(fd, ".", file, text, sizeof text))
        return 0;
    for (const char *at = text; *at; at += strspn(at, " \n")) {
        size_t next = strcspn(at, " \n");
        if (next == length && strncmp(at, controller, length) == 0)
            return 1;
        at += next;
    }
    return 0;
}

/* 1 if this process is the only one in the group. */
static int is_alone(int base)
{
    char text[64];
    char *end;

    return ex_cgroup_read(base, ".", "cgroup.procs", text, sizeof text) == 0 &&
           strtol(text, &end, 10) == getpid() && strcmp(end, "\n") == 0;
}

/*
 * A group of version 2 that hands controllers to groups below may hold no
 * process itself. The one of a service holds the service: it moves one down.
 */
static int move_down(int base)
{
    if (!is_alone(base))
        return -1;
    if (mkdirat(base, SELF, 0755) != 0 && errno != EEXIST)
        return -1;
    return ex_cgroup_write(base, SELF, "cgroup.procs", "0");
}

static int hand_down(int base, const char *controller, int32_t is_ours)
{
    char text[32];

    if (names(base, "cgroup.subtree_control", controller))
        return 0;
    snprintf(text, sizeof text, "+%s", controller);
    if (ex_cgroup_write(base, ".", "cgroup.subtree_control", text) == 0)
        return 0;
    if (errno != EBUSY || !is_ours || move_down(base) != 0)
        return -1;
    return ex_cgroup_write(base, ".", "cgroup.subtree_control", text);
}

/* Have a controller in the groups of programs, by version 2. */
static int take_controller(
    const ex_cgroups *groups, const char *controller, int32_t is_ours)
{
    int fd = groups->fd[EX_CGROUP_UNIFIED];
    int base = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (base < 0)
        return -1;
    int failed = !names(base, "cgroup.controllers", controller) ||
                 hand_down(base, controller, is_ours) != 0;
    close(base);
    if (failed)
        return -1;
    return hand_down(fd, controller, 0);
}

/* Find out whether a group can be made, limited and killed by trying it. */
static int try_file(int fd, const char *file, const char *text)
{
    static const char name[] = "try";
    int failed = mkdirat(fd, name, 0755) != 0 && errno != EEXIST;

    if (!failed)
        failed = ex_cgroup_write(fd, name, file, text) != 0;
    if (unlinkat(fd, name, AT_REMOVEDIR) != 0)
        errno = 0; /* the end removes it */
    return failed ? -1 : 0;
}

static int32_t choose(
    ex_cgroups *groups, const char *controller, size_t old,
    const char *new_file, const char *old_file, int32_t is_ours)
{
    int unified = groups->fd[EX_CGROUP_UNIFIED];

    if (unified >= 0 && take_controller(groups, controller, is_ours) == 0 &&
        try_file(unified, new_file, "1000000") == 0) {
        close_one(groups, old);
        return EX_CGROUP_UNIFIED;
    }
    if (groups->fd[old] >= 0 &&
        try_file(groups->fd[old], old_file, "1000000") == 0)
        return (int32_t)old;
    close_one(groups, old);
    return -1;
}

void ex_cgroups_open(
    ex_cgroups *groups, const ex_cgroup_places *places, int32_t is_ours)
{
    uint64_t chance;

    if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
        return;
    snprintf(groups->name, sizeof groups->name, PREFIX "%016" PRIx64, chance);
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++)
        open_one(groups, places->path[i], i);
    groups->memory_in = choose(
        groups, "memory", EX_CGROUP_MEMORY, "memory.max",
        "memory.limit_in_bytes", is_ours);
    groups->pids_in =
        choose(groups, "pids", EX_CGROUP_PIDS, "pids.max", "pids.max", is_ours);
    groups->has_kill =
        groups->fd[EX_CGROUP_UNIFIED] >= 0 &&
        try_file(groups->fd[EX_CGROUP_UNIFIED], "cgroup.kill", "1") == 0;
}

void ex_cgroups_close(ex_cgroups *groups)
{
    for (size_t i = 0; i < EX_CGROUP_KINDS; i++)
        close_one(groups, i);
}
