/* SPDX-License-Identifier: MIT */
#include "bare.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define EVENTS 64

typedef struct slot {
    pid_t pid;
    int pidfd;
    int output[2]; /* reading ends of stdout and stderr */
    char directory[24];
} slot;

typedef struct loop {
    const char *program;
    int how;
    int epoll_fd;
    slot *slots;
} loop;

static pid_t spawn(const loop *l, const slot *s, const int writers[2])
{
    char *argv[] = {(char *)l->program, NULL};
    char *envp[] = {NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, writers[0], 1);
    posix_spawn_file_actions_adddup2(&actions, writers[1], 2);
    posix_spawn_file_actions_addchdir_np(&actions, s->directory);
    int number = posix_spawn(&pid, l->program, &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    if (number)
        bench_fail("cannot spawn %s: %s", l->program, strerror(number));
    return pid;
}

static pid_t spawn_by_vfork(const loop *l, const slot *s, const int writers[2])
{
    char *argv[] = {(char *)l->program, NULL};
    char *envp[] = {NULL};

    pid_t pid = vfork();
    if (pid == 0) {
        if ((l->how != BARE_SESSION || setsid() > 0) &&
            dup2(writers[0], 1) == 1 && dup2(writers[1], 2) == 2 &&
            chdir(s->directory) == 0)
            execve(l->program, argv, envp);
        _exit(127);
    }
    if (pid < 0)
        bench_fail_errno("cannot vfork");
    return pid;
}

static void start(loop *l, slot *s, int64_t serial)
{
    int out[2];
    int err[2];

    snprintf(s->directory, sizeof s->directory, "%lld", (long long)serial);
    if (mkdir(s->directory, 0700) != 0)
        bench_fail_errno("cannot make a directory");
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
        bench_fail_errno("cannot make a pipe");
    const int writers[2] = {out[1], err[1]};
    s->pid = l->how == BARE_SPAWN ? spawn(l, s, writers)
                                  : spawn_by_vfork(l, s, writers);
    close(out[1]);
    close(err[1]);
    s->output[0] = out[0];
    s->output[1] = err[0];
    s->pidfd = pidfd_open(s->pid, 0);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = s}};
    if (s->pidfd < 0 ||
        epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->pidfd, &event) != 0)
        bench_fail_errno("cannot watch a process");
}

/* The writers are gone, so what is in the pipe is all there will be. */
static void collect(int fd)
{
    static char text[65536];

    if (read(fd, text, sizeof text) < 0)
        bench_fail_errno("cannot read an output");
    close(fd);
}

static void end(loop *l, slot *s)
{
    int status = 0;

    if (waitpid(s->pid, &status, 0) != s->pid || status != 0)
        bench_fail("%s ended with status %d", l->program, status);
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->pidfd, NULL);
    close(s->pidfd);
    collect(s->output[0]);
    collect(s->output[1]);
    if (rmdir(s->directory) != 0)
        bench_fail_errno("cannot remove a directory");
}

void bare_loop(const char *program, int64_t jobs, int64_t concurrency, int how)
{
    struct epoll_event events[EVENTS];
    int64_t started = 0;
    loop l = {program, how, epoll_create1(EPOLL_CLOEXEC), NULL};

    l.slots = calloc((size_t)concurrency, sizeof *l.slots);
    if (!l.slots || l.epoll_fd < 0)
        bench_fail("cannot set up the bare loop");
    for (; started < jobs && started < concurrency; started++)
        start(&l, &l.slots[started], started);
    for (int64_t ended = 0; ended < jobs;) {
        int count = epoll_wait(l.epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            slot *s = events[i].data.ptr;
            end(&l, s);
            ended++;
            if (started < jobs)
                start(&l, s, started++);
        }
    }
    close(l.epoll_fd);
    free(l.slots);
}
