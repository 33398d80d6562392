/* SPDX-License-Identifier: MIT */
/*
 * Starts programs by vfork-like clone, which costs the same however big this
 * process is. Hides the child: what it is before it becomes the program.
 */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fail.h"

#define STACK_BYTES ((size_t)64 * 1024)
#define PAGE_BYTES ((size_t)4096)
#define PROGRAM_FD 3
#define OOM_SCORE "500"

#if defined(__SANITIZE_THREAD__)
/* The thread sanitizer takes clone for fork: as the child shares our memory, it
 * would from then on see no synchronisation of our own thread. */
int __clone(int (*run)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

executr_status ex_child_stack_open(ex_child_stack *stack, executr_error *err)
{
    void *memory = mmap(
        NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (memory == MAP_FAILED)
        return ex_fail_errno(err, errno, "cannot map a stack");
    stack->memory = memory;
    stack->size = STACK_BYTES;
    if (mprotect(memory, PAGE_BYTES, PROT_NONE) != 0)
        return ex_fail_errno(err, errno, "cannot guard a stack");
    return EXECUTR_OK;
}

void ex_child_stack_close(ex_child_stack *stack)
{
    if (stack->memory)
        munmap(stack->memory, stack->size);
    stack->memory = NULL;
}

/*
 * Every signal to its default, before any is let through: a handler of ours
 * must not run in the child. libc would refuse the two signals it keeps for
 * itself; the kernel's struct is all zero for "default".
 */
EX_CHILD_CODE static int reset_signals(void)
{
    static const unsigned long kernel_default[8];
    static const uint64_t nothing;

    for (int number = 1; number <= 64; number++) {
        if (number == SIGKILL || number == SIGSTOP)
            continue;
        if (syscall(SYS_rt_sigaction, number, kernel_default, NULL, 8) != 0)
            return errno;
    }
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &nothing, NULL, 8) != 0)
        return errno;
    return 0;
}

/*
 * stdin, stdout and stderr, and nothing else; but of the program, if it is open
 * for exec, as number 3.
 */
EX_CHILD_CODE static int set_descriptors(const ex_launch *launch, int program)
{
    unsigned first = 3;

    if (syscall(SYS_dup3, launch->stdin_fd, 0, 0) < 0 ||
        syscall(SYS_dup3, launch->stdout_fd, 1, 0) < 0 ||
        syscall(SYS_dup3, launch->stderr_fd, 2, 0) < 0)
        return errno;
    if (program > PROGRAM_FD &&
        syscall(SYS_dup3, program, PROGRAM_FD, O_CLOEXEC) < 0)
        return errno;
    if (program >= PROGRAM_FD)
        first++;
    return syscall(SYS_close_range, first, ~0U, 0U) == 0 ? 0 : errno;
}

EX_CHILD_CODE static long set_limit(int resource, uint64_t value)
{
    const uint64_t limit[2] = {value, value}; /* as the kernel has it */

    return syscall(SYS_prlimit64, 0, resource, limit, NULL);
}

/* What may not be there or not be ours to set, and is no loss then. */
EX_CHILD_CODE void ex_child_optional(ex_launch *launch)
{
    if (launch->mark && set_limit(RLIMIT_RTTIME, launch->mark) != 0)
        errno = 0;
    /* When memory is short, the program goes before its executor. */
    long fd = syscall(
        SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    launch->unscored = fd < 0;
    if (fd < 0)
        return;
    if (syscall(SYS_write, fd, OOM_SCORE, sizeof OOM_SCORE - 1) < 0)
        errno = 0;
    syscall(SYS_close, fd);
}

/* The signal that ends us with our parent. It is forgotten when the user is
 * changed, so this comes after that. */
EX_CHILD_CODE static int die_with_parent(const ex_launch *launch)
{
    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return errno;
    /* Had the parent died before that, no signal would ever come. */
    return syscall(SYS_getppid) == launch->parent ? 0 : ESRCH;
}

/* Another user may not reach the file by its path, but may execute it. */
EX_CHILD_CODE static int open_program(const ex_launch *launch)
{
    if (!launch->path)
        return launch->program_fd;
    if (!launch->iso->user.set)
        return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, launch->path, O_PATH | O_CLOEXEC);
}

/* The one place where a child is made what a job is promised. */
EX_CHILD_CODE static int set_up(ex_launch *launch)
{
    int number = ex_child_limits(launch);
    if (number)
        return number;
    if (syscall(SYS_setsid) < 0)
        return errno;
    /* A caged one is there already; our descriptor leads out of its cage. */
    if (launch->isolation <= EXECUTR_ISOLATION_BASIC &&
        (syscall(SYS_fchdir, launch->directory_fd) != 0 ||
         syscall(SYS_chdir, launch->directory) != 0))
        return errno;
    if (launch->isolation <= EXECUTR_ISOLATION_BASIC)
        ex_child_optional(launch);
    number = set_descriptors(launch, open_program(launch));
    if (number)
        return number;
    if (launch->isolation >= EXECUTR_ISOLATION_BASIC) {
        syscall(SYS_umask, 077);
        if (set_limit(RLIMIT_CORE, 0) != 0)
            return errno;
    }
    number = ex_child_become(launch->iso, launch->isolation);
    if (!number && launch->isolation > EXECUTR_ISOLATION_BASIC) {
        launch->what = "restrict it with Landlock";
        number = ex_child_lock();
    }
    if (!number)
        number = die_with_parent(launch);
    return number ? number : reset_signals();
}

EX_CHILD_CODE static int execute(const ex_launch *launch)
{
    const char *path = launch->path;
    int number = EACCES;

    if (path) {
        syscall(SYS_execve, path, launch->argv, launch->envp);
        number = errno;
        if (number != EACCES || !launch->iso->user.set)
            return number;
    }
    syscall(
        SYS_execveat, PROGRAM_FD, "", launch->argv, launch->envp,
        AT_EMPTY_PATH);
    if (errno == EBADF)
        return number;
    /* A script, whose interpreter has to read it by this very descriptor. */
    if (errno == ENOENT && syscall(SYS_fcntl, PROGRAM_FD, F_SETFD, 0) == 0)
        syscall(
            SYS_execveat, PROGRAM_FD, "", launch->argv, launch->envp,
            AT_EMPTY_PATH);
    return errno;
}

EX_CHILD_CODE static int child_main(void *arg)
{
    ex_launch *launch = arg;

    launch->stage = EX_STAGE_SETUP;
    launch->error = set_up(launch);
    if (launch->error)
        return 127;
    if (launch->isolation > EXECUTR_ISOLATION_BASIC) {
        launch->what = "filter its system calls";
        launch->error = ex_child_filter(launch->iso, launch->isolation);
        if (launch->error)
            return 127;
    }
    launch->what = NULL;
    if (!launch->path && launch->program_fd < 0)
        return 0;
    launch->stage = EX_STAGE_EXEC;
    /* Before this look it had its mark: either we see the strike, or the strike
     * sees us. */
    if (launch->deadline && atomic_load(launch->deadline) == EX_STRUCK) {
        launch->error = ETIME;
        return 127;
    }
    launch->error = execute(launch);
    return 127;
}

/* A child that did not become a program: its end is certain and near. */
static void reap(pid_t pid, int pidfd)
{
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        continue;
    close(pidfd);
}

/* Returns when the child has called exec or is gone. All signals are blocked,
 * so that none is handled in it. */
EX_CHILD_CODE long ex_child_start(
    const ex_child_stack *stack, ex_launch *launch)
{
    char *top = (char *)stack->memory + stack->size;
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;

    launch->stage = EX_STAGE_CLONE;
    launch->error = 0;
    long child = clone(child_main, top, flags, launch, &launch->pidfd);
    if (child < 0)
        launch->error = errno;
    return child;
}

/*
 * What a process that is not dumpable has in /proc is root's, and a child that
 * shares our memory is as dumpable as we are. A program has its own.
 */
static void score(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/oom_score_adj", (long)pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* it has ended, or nobody may read it */
    if (write(fd, OOM_SCORE, sizeof OOM_SCORE - 1) < 0)
        errno = 0;
    close(fd);
}

int ex_spawn(
    const ex_child_stack *stack, ex_launch *launch, pid_t *pid, int *pidfd)
{
    sigset_t all;
    sigset_t before;

    launch->stage = EX_STAGE_CLONE;
    launch->report_fd = -1;
    if (launch->isolation > EXECUTR_ISOLATION_BASIC)
        return ex_spawn_caged(stack, launch, pid, pidfd);
    launch->parent = getpid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long child = ex_child_start(stack, launch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child > 0 && launch->error)
        reap((pid_t)child, launch->pidfd);
    else if (child > 0 && launch->unscored)
        score((pid_t)child);
    *pid = (pid_t)child;
    *pidfd = launch->pidfd;
    return launch->error;
}
