/* SPDX-License-Identifier: MIT */
/*
 * The first process of the namespaces of a program. It makes them what they
 * are to be, starts the program, passes on signals to it, reaps what it leaves
 * and tells how it ended; with its own end all the others end. Hides that
 * process, for which the runner waits in place of the program.
 *
 * It is a copy of the runner's process that never calls exec, allocates nothing
 * and takes no lock. As pid 1 of its namespace it gets no signal from inside
 * that it does not ask for, and being undumpable it can't be looked into.
 */
#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"

/* What init says: first how the start went, later how the program ended. */
typedef struct message {
    int32_t stage;
    int32_t error;
    int32_t status;
    int32_t reserved;
    const char *what; /* a constant, at the same place in both processes */
    struct rusage usage;
} message;

/* ---- In init. */

EX_CHILD_CODE static void quit(int code)
{
    syscall(SYS_exit_group, code);
    __builtin_unreachable();
}

/* Its parent reads it or is gone; it is less than a pipe takes at once. */
EX_CHILD_CODE static void tell(int fd, const message *said)
{
    while (syscall(SYS_write, fd, said, sizeof *said) < 0 && errno == EINTR)
        continue;
}

EX_CHILD_CODE static int write_to(const char *path, const char *text)
{
    size_t length = 0;

    while (text[length])
        length++;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int number = syscall(SYS_write, fd, text, length) < 0 ? errno : 0;
    syscall(SYS_close, fd);
    return number;
}

/* In a user namespace of our own we are who we were, with powers inside. */
EX_CHILD_CODE static int be_ourselves(ex_launch *launch)
{
    launch->what = "map our user into a namespace";
    int number = write_to("/proc/self/uid_map", launch->iso->uid_map);
    if (!number)
        number = write_to("/proc/self/setgroups", "deny");
    return number ? number
                  : write_to("/proc/self/gid_map", launch->iso->gid_map);
}

/* getppid knows nobody outside of the namespace. */
EX_CHILD_CODE static int end_with_parent(ex_launch *launch)
{
    struct pollfd parent = {.fd = launch->iso->self, .events = POLLIN};
    struct timespec none = {0, 0};

    launch->what = "end with the runner";
    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return errno;
    return syscall(SYS_ppoll, &parent, 1L, &none, NULL, 8L) == 0 ? 0 : ESRCH;
}

/* All signals wait until we ask for them; only those that wait are not lost
 * on a pid 1. */
EX_CHILD_CODE static int hold_signals(void)
{
    static const unsigned long kernel_default[8];
    static const uint64_t all = UINT64_MAX;

    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8) != 0 ||
        syscall(SYS_rt_sigaction, SIGCHLD, kernel_default, NULL, 8) != 0)
        return errno;
    return 0;
}

EX_CHILD_CODE static int prepare(ex_launch *launch)
{
    launch->what = "start a session";
    int number = hold_signals();
    if (number)
        return number;
    if (syscall(SYS_setsid) < 0)
        return errno;
    number = end_with_parent(launch);
    /* Until the end of this, or what we have in /proc is root's to write. */
    if (!number && launch->iso->own_users &&
        syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
        return errno;
    ex_child_optional(launch);
    if (!number && launch->iso->own_users)
        number = be_ourselves(launch);
    if (!number)
        number = ex_cage_make(launch);
    if (!number && launch->isolation == EXECUTR_ISOLATION_STRICT)
        number = ex_cage_loopback(launch);
    if (number)
        return number;
    launch->what = "become undumpable";
    if (syscall(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return errno;
    return 0;
}

/* Only what comes from outside, where there are no numbers for it, is meant
 * for the program. */
EX_CHILD_CODE static void pass_on(const siginfo_t *info, long program)
{
    if (info->si_code == SI_USER && info->si_pid == 0)
        syscall(SYS_kill, -program, info->si_signo);
}

/* 1 when it was the program that ended. */
EX_CHILD_CODE static int reap_all(long program, message *end)
{
    for (;;) {
        int status = 0;
        long pid =
            syscall(SYS_wait4, -1L, &status, WNOHANG | __WALL, &end->usage);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return 0;
        if (pid == program) {
            end->status = status;
            return 1;
        }
    }
}

EX_CHILD_CODE static void serve(long program, int fd)
{
    const uint64_t wanted = UINT64_C(1) << (SIGCHLD - 1) |
                            UINT64_C(1) << (SIGTERM - 1) |
                            UINT64_C(1) << (SIGCONT - 1);
    message end;
    siginfo_t info;

    memset(&end, 0, sizeof end);
    while (!reap_all(program, &end)) {
        if (syscall(SYS_rt_sigtimedwait, &wanted, &info, NULL, 8L) > 0)
            pass_on(&info, program);
    }
    tell(fd, &end);
    quit(0);
}

/* All but one; the output of a program is at its end when the program is. */
EX_CHILD_CODE static void keep_one(int fd)
{
    if (fd > 0)
        syscall(SYS_close_range, 0U, (unsigned)fd - 1, 0U);
    syscall(SYS_close_range, (unsigned)fd + 1, ~0U, 0U);
}

EX_CHILD_CODE static void init_main(
    const ex_child_stack *stack, ex_launch *launch, int fd)
{
    message start;
    long program = 0;

    memset(&start, 0, sizeof start);
    launch->stage = EX_STAGE_SETUP;
    launch->error = prepare(launch);
    launch->parent = 1;
    if (!launch->error) {
        launch->what = NULL;
        program = ex_child_start(stack, launch);
    }
    start.stage = launch->stage;
    start.error = launch->error;
    start.what = launch->what;
    tell(fd, &start);
    if (start.error)
        quit(127);
    keep_one(fd);
    serve(program, fd);
}

/* ---- In the runner. */

static unsigned long namespaces(const ex_launch *launch)
{
    unsigned long flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC |
                          CLONE_NEWUTS | CLONE_PIDFD | SIGCHLD;

    if (launch->iso->own_users)
        flags |= CLONE_NEWUSER;
    if (launch->isolation == EXECUTR_ISOLATION_STRICT)
        flags |= CLONE_NEWNET;
    return flags;
}

/* Wait for what init has to say; it may die before. A copy of the pipe's end
 * that another thread's child holds must not let us wait for ever. */
static int hear(int report_fd, int pidfd, message *said)
{
    struct pollfd events[2] = {
        {.fd = report_fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};

    while (poll(events, 2, -1) < 0 && errno == EINTR)
        continue;
    return read(report_fd, said, sizeof *said) == (ssize_t)sizeof *said;
}

static int start_failed(ex_launch *launch, pid_t pid, int pidfd, int number)
{
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        continue;
    close(pidfd);
    close(launch->report_fd);
    launch->report_fd = -1;
    return number;
}

int ex_spawn_caged(
    const ex_child_stack *stack, ex_launch *launch, pid_t *pid, int *pidfd)
{
    message said = {.error = 0};
    sigset_t all;
    sigset_t before;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long child = syscall(SYS_clone, namespaces(launch), NULL, pidfd, NULL, 0L);
    if (child == 0)
        init_main(stack, launch, ends[1]);
    int number = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    launch->report_fd = ends[0];
    if (child < 0) {
        close(ends[0]);
        launch->report_fd = -1;
        launch->what = "make namespaces";
        return number;
    }
    /* It was killed: for want of memory, or by somebody. */
    if (!hear(ends[0], *pidfd, &said))
        return start_failed(launch, (pid_t)child, *pidfd, EAGAIN);
    launch->stage = said.stage;
    launch->what = said.what;
    if (said.error)
        return start_failed(launch, (pid_t)child, *pidfd, said.error);
    *pid = (pid_t)child;
    return 0;
}

int ex_init_report(int *report_fd, int *status, struct rusage *usage)
{
    message end;
    /* Killed before it could tell: then its own end is the program's. */
    int known = WIFSIGNALED(*status);

    if (*report_fd < 0)
        return 1;
    if (read(*report_fd, &end, sizeof end) == (ssize_t)sizeof end) {
        *status = end.status;
        *usage = end.usage;
        known = 1;
    }
    close(*report_fd);
    *report_fd = -1;
    return known;
}
