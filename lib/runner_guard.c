/* SPDX-License-Identifier: MIT */
/*
 * A small process beside the runner's, which kills programs when that one can't
 * do it: all of them when it dies, and one whose deadline has passed even
 * while it is stopped. Hides that process and the table it reads.
 *
 * It is a plain copy of the runner's process that never calls exec, allocates
 * nothing, takes no lock and holds no descriptor but those it
 * waits on and the directory of the runner's control groups. It
 * sends no SIGCHLD, so that a host program which waits for any child of its
 * own does not see it.
 */
#include "runner.h"

#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"

/*
 * What a deadline is for. A slot is taken by storing the moment first and the
 * mark second, and given back by clearing the mark, so that a mark is never
 * seen with the moment of another. STRUCK: the guard has killed it.
 */
struct ex_deadline {
    _Atomic uint64_t mark; /* 0: free */
    _Atomic int64_t at_us; /* of ex_boottime_us */
};

#define STRUCK EX_STRUCK

/* Looks for what must die while something is found: a fork may be quicker. One
 * whose parents keep ending may be missed by a look, but hardly by several. */
#define LOOKS 2000
#define CLEAN_LOOKS 3
#define LOOK_NS 1000000

/* What the guard knows; a copy of the runner's at its start. */
typedef struct guard {
    ex_deadline *slots;
    size_t count;
    int parent; /* pidfd of the runner's process */
    int wake;   /* eventfd: a deadline was set */
    uint64_t lowest;
    uint64_t highest; /* marks of the runner */
    int groups;       /* its directory of version 2, with cgroup.kill; or -1 */
} guard;

/* ---- In the guard. Bare system calls: sanitizers know nothing of it. */

#define GUARD_CODE                                                             \
    __attribute__((no_sanitize("address", "undefined", "thread")))

GUARD_CODE static int64_t now_us(void)
{
    struct timespec now = {0, 0};
    syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

GUARD_CODE static int in_range(long pid, uint64_t lowest, uint64_t highest)
{
    uint64_t limit[2] = {0, 0};
    if (syscall(SYS_prlimit64, pid, RLIMIT_RTTIME, NULL, limit) != 0)
        return 0;
    return limit[1] >= lowest && limit[1] <= highest;
}

/* Kill a process with such a mark; 1 if there was one that lived. */
GUARD_CODE static int strike(long pid, uint64_t lowest, uint64_t highest)
{
    struct pollfd ended = {.events = POLLIN};
    struct timespec none = {0, 0};
    int found = 0;

    if (!in_range(pid, lowest, highest))
        return 0;
    /* The descriptor pins whom we look at; the number may change hands. */
    ended.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (ended.fd < 0)
        return 0;
    if (syscall(SYS_ppoll, &ended, 1L, &none, NULL, 8L) == 0 &&
        in_range(pid, lowest, highest)) {
        syscall(SYS_pidfd_send_signal, ended.fd, SIGKILL, NULL, 0);
        found = 1;
    }
    syscall(SYS_close, ended.fd);
    return found;
}

GUARD_CODE static long number_of(const char *name)
{
    long number = 0;
    for (; *name >= '0' && *name <= '9'; name++)
        number = number * 10 + (*name - '0');
    return *name ? 0 : number;
}

/* One look at all processes; 1 if some had to die. */
GUARD_CODE static int look(uint64_t lowest, uint64_t highest)
{
    char names[8192] __attribute__((aligned(8)));
    int found = 0;

    int list = (int)syscall(
        SYS_openat, AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (list < 0)
        return 0;
    long got = syscall(SYS_getdents64, list, names, sizeof names);
    for (; got > 0; got = syscall(SYS_getdents64, list, names, sizeof names)) {
        for (long at = 0; at < got;) {
            /* inode 8, offset 8, length 2, type 1, name */
            unsigned short length;
            memcpy(&length, names + at + 16, sizeof length);
            long pid = number_of(names + at + 19);
            if (pid > 1)
                found |= strike(pid, lowest, highest);
            at += length;
        }
    }
    syscall(SYS_close, list);
    return found;
}

GUARD_CODE static void strike_all(uint64_t lowest, uint64_t highest)
{
    struct timespec pause = {0, LOOK_NS};
    int clean = 0;

    for (int i = 0; i < LOOKS && clean < CLEAN_LOOKS; i++) {
        clean = look(lowest, highest) ? 0 : clean + 1;
        if (clean < CLEAN_LOOKS)
            syscall(SYS_nanosleep, &pause, NULL);
    }
}

/* Kill a whole group at once, whatever its processes did with their mark. */
GUARD_CODE static void kill_group(const guard *g, const char *file)
{
    if (g->groups < 0)
        return;
    int fd = (int)syscall(SYS_openat, g->groups, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* this program has none */
    if (syscall(SYS_write, fd, "1", 1L) < 0)
        errno = 0;
    syscall(SYS_close, fd);
}

/* The group of one program has its mark in its name. */
GUARD_CODE static void kill_group_of(const guard *g, uint64_t mark)
{
    char file[] = EX_GROUP_NAME "0123456789abcdef/cgroup.kill";
    char *digits = file + sizeof EX_GROUP_NAME - 1;

    for (int i = 15; i >= 0; i--, mark >>= 4)
        digits[i] =
            (char)((mark & 15) < 10 ? '0' + (mark & 15) : 'a' + (mark & 15) - 10);
    kill_group(g, file);
}

/* Kill what is due; the moment of the next one, or EX_NEVER. */
GUARD_CODE static int64_t strike_due(const guard *g)
{
    int64_t next = EX_NEVER;

    for (size_t i = 0; i < g->count; i++) {
        ex_deadline *slot = &g->slots[i];
        uint64_t mark = atomic_load(&slot->mark);
        int64_t at = atomic_load(&slot->at_us);
        if (!mark || at == STRUCK || at == EX_NEVER)
            continue;
        if (at > now_us()) {
            next = at < next ? at : next;
        } else if (
            atomic_load(&slot->mark) == mark &&
            atomic_compare_exchange_strong(&slot->at_us, &at, STRUCK)) {
            kill_group_of(g, mark);
            strike_all(mark, mark);
        }
    }
    return next;
}

/* Close all descriptors but these; -1 stands for none. */
GUARD_CODE static void keep(const int *kept, size_t count)
{
    int from = 0;

    for (;;) {
        int next = INT_MAX;
        for (size_t i = 0; i < count; i++) {
            if (kept[i] >= from && kept[i] < next)
                next = kept[i];
        }
        if (next == INT_MAX)
            break;
        if (next > from)
            syscall(SYS_close_range, (unsigned)from, (unsigned)next - 1, 0U);
        from = next + 1;
    }
    syscall(SYS_close_range, (unsigned)from, ~0U, 0U);
}

/* A timer that fires at once when the machine wakes after its moment; a wait
 * with a limit would not have counted the time in between. */
GUARD_CODE static void set_timer(int timer, int64_t at_us)
{
    int64_t spec[4] = {0, 0, 0, 0}; /* interval, then the moment */

    if (at_us != EX_NEVER) {
        spec[2] = at_us / 1000000;
        spec[3] = at_us % 1000000 * 1000 + 1;
    }
    syscall(SYS_timerfd_settime, timer, TFD_TIMER_ABSTIME, spec, NULL);
}

GUARD_CODE static void guard_main(const guard *g)
{
    struct pollfd events[3] = {
        {.fd = g->parent, .events = POLLIN},
        {.fd = g->wake, .events = POLLIN},
        {.fd = -1, .events = POLLIN}};
    uint64_t count;

    syscall(SYS_setsid);
    syscall(SYS_prctl, PR_SET_NAME, "executr-guard", 0, 0, 0);
    if (syscall(SYS_chdir, "/") != 0)
        errno = 0;
    keep((const int[]){g->parent, g->wake, g->groups}, 3);
    events[2].fd = (int)syscall(SYS_timerfd_create, CLOCK_BOOTTIME, 0);
    for (;;) {
        int64_t next = strike_due(g);
        set_timer(events[2].fd, next);
        int64_t left = next == EX_NEVER ? 0 : next - now_us();
        left = left < 0 ? 0 : left;
        struct timespec wait = {left / 1000000, left % 1000000 * 1000};
        syscall(
            SYS_ppoll, events, 3L, next == EX_NEVER ? NULL : &wait, NULL, 8L);
        if (events[0].revents)
            break;
        if (events[1].revents &&
            syscall(SYS_read, g->wake, &count, sizeof count) < 0)
            errno = 0;
    }
    kill_group(g, "cgroup.kill");
    strike_all(g->lowest, g->highest);
    syscall(SYS_exit_group, 0);
}

/* ---- In the runner. */

static executr_status start(
    executr_runner *runner, const guard *g, executr_error *err)
{
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long pid = syscall(SYS_clone, 0L, NULL, NULL, NULL, 0L);
    if (pid == 0)
        guard_main(g);
    int number = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return ex_start_failed(err, number, "cannot start the guard");
    runner->guard = pidfd_open((pid_t)pid, 0);
    /* Without it the guard stays, ends with us and is no harm. */
    if (runner->guard < 0)
        return ex_fail_errno(err, errno, "cannot hold the guard");
    return EXECUTR_OK;
}

executr_status ex_guard_open(executr_runner *runner, executr_error *err)
{
    guard g = {.parent = -1};

    if (!runner->mark_base)
        return EXECUTR_OK; /* nothing could be told from others */
    size_t size = (size_t)runner->max_running * sizeof(ex_deadline);
    void *memory = mmap(
        NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return ex_fail_errno(err, errno, "cannot map memory for the guard");
    runner->deadlines = memory;
    runner->guard_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (runner->guard_wake < 0)
        return ex_fail_errno(err, errno, "cannot make a descriptor");
    g.parent = pidfd_open(runner->pid, 0);
    if (g.parent < 0)
        return ex_fail_errno(err, errno, "cannot watch this process");
    g.slots = runner->deadlines;
    g.count = (size_t)runner->max_running;
    g.wake = runner->guard_wake;
    g.groups =
        runner->groups.has_kill ? runner->groups.fd[EX_CGROUP_UNIFIED] : -1;
    g.highest = runner->mark_base - 1;
    g.lowest = runner->mark_base - EX_MARK_RANGE + 1;
    executr_status st = start(runner, &g, err);
    close(g.parent);
    return st;
}

void ex_guard_close(executr_runner *runner)
{
    siginfo_t info;

    if (runner->guard >= 0) {
        pidfd_send_signal(runner->guard, SIGKILL, NULL, 0);
        while (waitid(P_PIDFD, (id_t)runner->guard, &info, WEXITED | __WALL) <
                   0 &&
               errno == EINTR)
            continue;
        close(runner->guard);
    }
    if (runner->guard_wake >= 0)
        close(runner->guard_wake);
    if (runner->deadlines)
        munmap(
            runner->deadlines,
            (size_t)runner->max_running * sizeof(ex_deadline));
}

void ex_deadline_set(executr_runner *runner, ex_run *run, int64_t at_us)
{
    int64_t before = STRUCK;
    uint64_t one = 1;

    if (runner->guard < 0 || !run->mark)
        return;
    for (int32_t i = 0; !run->deadline && i < runner->max_running; i++) {
        ex_deadline *slot = &runner->deadlines[i];
        if (atomic_load(&slot->mark))
            continue;
        atomic_store(&slot->at_us, EX_NEVER);
        atomic_store(&slot->mark, run->mark);
        run->deadline = slot;
    }
    if (!run->deadline) /* more programs end than may run: none is left */
        return;
    /* What was struck stays struck. */
    before = atomic_load(&run->deadline->at_us);
    while (before != STRUCK &&
           !atomic_compare_exchange_weak(&run->deadline->at_us, &before, at_us))
        continue;
    if (write(runner->guard_wake, &one, sizeof one) < 0)
        errno = 0; /* it has not looked since the last one */
}

const _Atomic int64_t *ex_deadline_of(const ex_run *run)
{
    return run->deadline ? &run->deadline->at_us : NULL;
}

int32_t ex_deadline_struck(const ex_run *run)
{
    return run->deadline && atomic_load(&run->deadline->at_us) == STRUCK;
}

void ex_deadline_clear(ex_run *run)
{
    if (run->deadline)
        atomic_store(&run->deadline->mark, 0);
    run->deadline = NULL;
}

void ex_runner_next_deadline(executr_runner *runner, int64_t at_us)
{
    runner->next_deadline_us = at_us;
}

void ex_runner_deadline(executr_runner *runner, uint64_t token, int64_t at_us)
{
    ex_run *run = runner->runs;

    while (run && run->token != token)
        run = run->next;
    if (run && run->state != EX_RUN_OVER)
        ex_deadline_set(runner, run, at_us);
}
