/* SPDX-License-Identifier: MIT */
/* Files of control groups, their end and their removal. */
#include "runner_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

/* Rounds of killing one by one: a fork may be quicker. */
#define ROUNDS 50
#define PIDS_BYTES 16384
#define DEEPEST 32

int ex_cgroup_write(
    int fd, const char *group, const char *file, const char *text)
{
    char path[128];
    size_t length = strlen(text);

    snprintf(path, sizeof path, "%s/%s", group, file);
    int to = openat(fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (to < 0)
        return -1;
    ssize_t written = write(to, text, length);
    int number = errno;
    close(to);
    errno = number;
    return written == (ssize_t)length ? 0 : -1;
}

int ex_cgroup_read(
    int fd, const char *group, const char *file, char *out, size_t size)
{
    char path[128];
    size_t length = 0;
    ssize_t got = -1;

    out[0] = '\0';
    snprintf(path, sizeof path, "%s/%s", group, file);
    int from = openat(fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0)
        return -1;
    do {
        got = read(from, out + length, size - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    } while (got > 0 && length < size - 1);
    close(from);
    out[length] = '\0';
    return got < 0 ? -1 : 0;
}

int64_t ex_cgroup_figure(const char *text, const char *word)
{
    size_t length = strlen(word);

    while (*text) {
        if (strncmp(text, word, length) == 0 && text[length] == ' ')
            return strtoll(text + length + 1, NULL, 10);
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return -1;
}

/* 1 if the process is in the group or one below it. */
static int is_member(pid_t pid, const char *group)
{
    char name[32];
    char text[4096];

    snprintf(name, sizeof name, "%ld", (long)pid);
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return 0;
    int failed = ex_cgroup_read(proc, name, "cgroup", text, sizeof text);
    close(proc);
    return !failed && strstr(text, group) != NULL;
}

/* The descriptor pins whom we look at; the number may change hands. */
static void kill_member(pid_t pid, const char *group)
{
    int fd = pidfd_open(pid, 0);

    if (fd < 0)
        return;
    if (is_member(pid, group))
        pidfd_send_signal(fd, SIGKILL, NULL, 0);
    close(fd);
}

/* Where there is no cgroup.kill. 1 if there were some. */
static int kill_one_by_one(int fd, const char *group)
{
    char text[PIDS_BYTES];
    char *at = text;
    int found = 0;

    if (ex_cgroup_read(fd, group, "cgroup.procs", text, sizeof text))
        return 0;
    for (long pid = strtol(at, &at, 10); pid > 0; pid = strtol(at, &at, 10)) {
        kill_member(
            (pid_t)pid, strrchr(group, '/') ? strrchr(group, '/') + 1 : group);
        found = 1;
    }
    return found;
}

/* 1 if there are processes in the group. */
static int is_populated(int fd, const char *group)
{
    char text[256];

    if (ex_cgroup_read(fd, group, "cgroup.events", text, sizeof text) == 0)
        return ex_cgroup_figure(text, "populated") > 0;
    return ex_cgroup_read(fd, group, "cgroup.procs", text, sizeof text) == 0 &&
           text[0] != '\0';
}

int ex_cgroup_kill(int fd, const char *group)
{
    if (!is_populated(fd, group))
        return 0;
    if (ex_cgroup_write(fd, group, "cgroup.kill", "1") != 0) {
        for (int i = 0; i < ROUNDS && kill_one_by_one(fd, group); i++)
            usleep(1000);
    }
    return is_populated(fd, group);
}

static int remove_at(int fd, const char *group, int depth)
{
    if (unlinkat(fd, group, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    int own = openat(fd, group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = own < 0 ? NULL : fdopendir(own);
    if (!list) {
        if (own >= 0)
            close(own);
        return -1;
    }
    const struct dirent *entry = readdir(list);
    for (; entry && depth < DEEPEST; entry = readdir(list)) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        ex_cgroup_kill(own, entry->d_name);
        if (remove_at(own, entry->d_name, depth + 1) != 0)
            break;
    }
    closedir(list);
    return unlinkat(fd, group, AT_REMOVEDIR);
}

int ex_cgroup_remove(int fd, const char *group)
{
    return remove_at(fd, group, 0);
}
