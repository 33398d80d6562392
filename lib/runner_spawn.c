/* SPDX-License-Identifier: MIT */
/*
 * Starts programs by vfork-like clone, which costs the same however big this
 * process is. Hides the child: what it is before it becomes the program.
 */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fail.h"

#define STACK_BYTES ((size_t)64 * 1024)
#define PAGE_BYTES ((size_t)4096)

/*
 * The child lives in our memory, on its own stack, while we are suspended. It
 * makes bare system calls only: libc's wrappers look for a cancellation of the
 * thread that is suspended, and sanitizers replace them by code that counts
 * the child for that thread.
 */
#define CHILD_CODE                                                             \
    __attribute__((no_sanitize("address", "undefined", "thread")))

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
CHILD_CODE static int reset_signals(void)
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

/* stdin, stdout and stderr, and nothing else. */
CHILD_CODE static int set_descriptors(const ex_launch *launch)
{
    if (syscall(SYS_dup3, launch->stdin_fd, 0, 0) < 0 ||
        syscall(SYS_dup3, launch->stdout_fd, 1, 0) < 0 ||
        syscall(SYS_dup3, launch->stderr_fd, 2, 0) < 0 ||
        syscall(SYS_close_range, 3U, ~0U, 0U) != 0)
        return errno;
    return 0;
}

CHILD_CODE static long set_limit(int resource, uint64_t value)
{
    const uint64_t limit[2] = {value, value}; /* as the kernel has it */

    return syscall(SYS_prlimit64, 0, resource, limit, NULL);
}

/* What may not be there or not be ours to set, and is no loss then. */
CHILD_CODE static void set_optional(const ex_launch *launch)
{
    if (launch->mark && set_limit(RLIMIT_RTTIME, launch->mark) != 0)
        errno = 0;
    /* When memory is short, the program goes before its executor. */
    long fd = syscall(
        SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (syscall(SYS_write, fd, "500", 3) != 3)
        errno = 0;
    syscall(SYS_close, fd);
}

/*
 * The one place where a child is made what a job is promised. Levels above
 * basic add theirs here.
 */
CHILD_CODE static int set_up(const ex_launch *launch)
{
    int number = ex_child_limits(launch);
    if (number)
        return number;
    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return errno;
    /* Had the parent died before that, no signal would ever come. */
    if (syscall(SYS_getppid) != launch->parent)
        return ESRCH;
    if (syscall(SYS_setsid) < 0)
        return errno;
    if (syscall(SYS_fchdir, launch->directory_fd) != 0 ||
        syscall(SYS_chdir, launch->directory) != 0)
        return errno;
    set_optional(launch);
    number = set_descriptors(launch);
    if (number)
        return number;
    syscall(SYS_umask, 077);
    if (set_limit(RLIMIT_CORE, 0) != 0)
        return errno;
    if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return errno;
    return reset_signals();
}

CHILD_CODE static int child_main(void *arg)
{
    ex_launch *launch = arg;

    launch->stage = EX_STAGE_SETUP;
    launch->error = set_up(launch);
    if (launch->error)
        return 127;
    launch->stage = EX_STAGE_EXEC;
    /* Before this look it had its mark: either we see the strike, or the strike
     * sees us. */
    if (launch->deadline && atomic_load(launch->deadline) == EX_STRUCK) {
        launch->error = ETIME;
        return 127;
    }
    syscall(SYS_execve, launch->path, launch->argv, launch->envp);
    launch->error = errno;
    return 127;
}

/* A child that did not become a program: its end is certain and near. */
static void reap(pid_t pid, int pidfd)
{
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        continue;
    close(pidfd);
}

int ex_spawn(
    const ex_child_stack *stack, ex_launch *launch, pid_t *pid, int *pidfd)
{
    sigset_t all;
    sigset_t before;
    char *top = (char *)stack->memory + stack->size;
    int fd = -1;

    launch->stage = EX_STAGE_CLONE;
    launch->error = 0;
    launch->parent = getpid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* Returns when the child has called exec or is gone. */
    pid_t child = clone(
        child_main, top, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, launch,
        &fd);
    int number = child < 0 ? errno : launch->error;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child > 0 && number)
        reap(child, fd);
    if (number)
        return number;
    *pid = child;
    *pidfd = fd;
    return 0;
}
