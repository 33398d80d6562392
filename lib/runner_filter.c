/* SPDX-License-Identifier: MIT */
/*
 * What a program of the levels above basic may ask of the kernel and where it
 * may write: seccomp and Landlock. Hides both.
 */
#include <errno.h>
#include <executr/job.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "runner_isolate.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#define OUR_ARCH 0 /* whose calls we don't know: no filter, no such level */
#endif

/* The newest call of Linux 6.1. What came later is said not to be there, which
 * programs can deal with, so that no new door is open by itself. The second ABI
 * of x86-64 has numbers above that, too. */
#define NEWEST_CALL 450

#define NAMESPACES                                                             \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |             \
     CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define NEW_TIME 0x80 /* CLONE_NEWTIME; to clone it is a part of a signal */

/* Doors into the kernel that are for who runs the machine, or that would get
 * past this filter (io_uring). */
static const int denied[] = {
    SYS_acct,
    SYS_add_key,
    SYS_bpf,
    SYS_clock_settime,
    SYS_delete_module,
    SYS_fanotify_init,
    SYS_finit_module,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_fspick,
    SYS_init_module,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_io_uring_setup,
    SYS_kexec_file_load,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_mount,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_open_by_handle_at,
    SYS_open_tree,
    SYS_perf_event_open,
    SYS_pivot_root,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_reboot,
    SYS_request_key,
    SYS_setns,
    SYS_settimeofday,
    SYS_swapoff,
    SYS_swapon,
    SYS_syslog,
    SYS_umount2,
    SYS_userfaultfd,
    SYS_vhangup,
#if defined(__x86_64__)
    SYS_ioperm,
    SYS_iopl,
    SYS_uselib,
#endif
};

static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MOST_CODE (2 * COUNT(denied) + 2 * ex_calls_strict_count + 64)

#define FIELD(name) ((uint32_t)offsetof(struct seccomp_data, name))
#define ERRNO(number) (SECCOMP_RET_ERRNO | (uint32_t)(number))

static void emit(
    struct sock_fprog *program, uint16_t code, uint32_t k, uint8_t yes,
    uint8_t no)
{
    program->filter[program->len++] = (struct sock_filter){code, yes, no, k};
}

static void emit_load(struct sock_fprog *program, uint32_t offset)
{
    emit(program, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void emit_return(struct sock_fprog *program, uint32_t what)
{
    emit(program, BPF_RET | BPF_K, what, 0, 0);
}

/* If the accumulator is `value`, return; else go on. */
static void emit_case(struct sock_fprog *program, int value, uint32_t what)
{
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)value, 0, 1);
    emit_return(program, what);
}

/* A call that is fine unless its first argument has one of these bits. */
static void emit_flags(struct sock_fprog *program, int call, uint32_t bits)
{
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4);
    emit_load(program, FIELD(args[0]));
    emit(program, BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    emit_return(program, ERRNO(EPERM));
    emit_return(program, SECCOMP_RET_ALLOW);
}

static void emit_families(struct sock_fprog *program)
{
    uint8_t rest = (uint8_t)(2 * COUNT(families) + 2);

    emit(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, rest);
    emit_load(program, FIELD(args[0]));
    for (size_t i = 0; i < COUNT(families); i++)
        emit_case(program, families[i], SECCOMP_RET_ALLOW);
    emit_return(program, ERRNO(EAFNOSUPPORT));
}

static void write_filter(struct sock_fprog *program, int32_t level)
{
    /* A call of another ABI has other numbers. */
    emit_load(program, FIELD(arch));
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
    emit_return(program, SECCOMP_RET_KILL_PROCESS);
    emit_load(program, FIELD(nr));
    emit(program, BPF_JMP | BPF_JGT | BPF_K, NEWEST_CALL, 0, 1);
    emit_return(program, ERRNO(ENOSYS));
    for (size_t i = 0; i < COUNT(denied); i++)
        emit_case(program, denied[i], ERRNO(EPERM));
    /* Its flags are in memory, where we can't look; libc then takes clone. */
    emit_case(program, SYS_clone3, ERRNO(ENOSYS));
    emit_flags(program, SYS_clone, NAMESPACES);
    emit_flags(program, SYS_unshare, NAMESPACES | NEW_TIME);
    emit_families(program);
    if (level < EXECUTR_ISOLATION_STRICT) {
        emit_return(program, SECCOMP_RET_ALLOW);
        return;
    }
    for (size_t i = 0; i < ex_calls_strict_count; i++)
        emit_case(program, ex_calls_strict[i], SECCOMP_RET_ALLOW);
    emit_return(program, ERRNO(EPERM));
}

executr_status ex_filter_open(ex_isolation *iso, executr_error *err)
{
    executr_status st = EXECUTR_OK;
    int32_t level = EXECUTR_ISOLATION_STANDARD;

    for (; !st && OUR_ARCH && level < EX_LEVELS; level++) {
        void *memory;
        struct sock_fprog *program = &iso->filters[level];
        st = ex_alloc(&memory, MOST_CODE * sizeof *program->filter, err);
        if (st)
            break;
        program->filter = memory;
        write_filter(program, level);
    }
    return st;
}

void ex_filter_close(ex_isolation *iso)
{
    for (size_t level = 0; level < EX_LEVELS; level++) {
        ex_free(iso->filters[level].filter);
        iso->filters[level].filter = NULL;
    }
}

/* ---- In the child. */

/* Of Landlock: what the headers of Linux 6.1 do not name. */
#define FS_TRUNCATE (UINT64_C(1) << 14) /* ABI 3 */
#define FS_IOCTL (UINT64_C(1) << 15)    /* ABI 5 */
#define SCOPED UINT64_C(3)              /* ABI 6: abstract sockets, signals */

#define FS_READ                                                                \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |               \
     LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_ABI_2 ((UINT64_C(1) << 14) - 1)

typedef struct ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
} ruleset;

EX_CHILD_CODE static int allow(long rules, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access};

    long fd = syscall(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno;
    rule.parent_fd = (int)fd;
    long failed = syscall(
        SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    int number = failed ? errno : 0;
    syscall(SYS_close, fd);
    return number;
}

/* Everything may be read, but written only what is the program's own. */
EX_CHILD_CODE int ex_child_lock(void)
{
    ruleset what = {FS_ABI_2, 0, 0};

    long abi = syscall(
        SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 0)
        return errno;
    if (abi < 2) /* it could not even rename between directories */
        return ENOSYS;
    what.fs |= abi >= 3 ? FS_TRUNCATE : 0;
    what.fs |= abi >= 5 ? FS_IOCTL : 0;
    what.scoped = abi >= 6 ? SCOPED : 0;
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    long rules = syscall(SYS_landlock_create_ruleset, &what, size, 0);
    if (rules < 0)
        return errno;
    uint64_t device = LANDLOCK_ACCESS_FS_WRITE_FILE | (what.fs & FS_IOCTL);
    int number = allow(rules, "/", FS_READ);
    if (!number)
        number = allow(rules, ".", what.fs);
    if (!number)
        number = allow(rules, "/tmp", what.fs);
    if (!number)
        number = allow(rules, "/dev", FS_READ | device);
    if (!number)
        number = allow(rules, "/dev/shm", what.fs);
    if (!number && syscall(SYS_landlock_restrict_self, rules, 0) != 0)
        number = errno;
    syscall(SYS_close, rules);
    return number;
}

EX_CHILD_CODE int ex_child_filter(const ex_isolation *iso, int32_t level)
{
    const struct sock_fprog *program = &iso->filters[level];

    if (program->len == 0)
        return ENOSYS;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) != 0)
        return errno;
    return 0;
}
