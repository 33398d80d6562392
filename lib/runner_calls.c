/* SPDX-License-Identifier: MIT */
/*
 * The calls of programs of the level strict: what ordinary programs, with
 * threads, children, sockets and files of their own, are made of. Not in it:
 * what looks into or steers other processes (ptrace, process_vm_readv, kcmp,
 * pidfd_getfd), what changes the machine or the view of it, and what has been a
 * way into the kernel and few need. clone, unshare and socket depend on their
 * arguments and are in the filter itself.
 */
#include <stddef.h>
#include <sys/syscall.h>

#include "runner_isolate.h"

const int ex_calls_strict[] = {
    /* clang-format off */
    SYS_read, SYS_write, SYS_close, SYS_fstat, SYS_lseek, SYS_mmap,
    SYS_mprotect, SYS_munmap, SYS_brk, SYS_rt_sigaction, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_ioctl, SYS_pread64, SYS_pwrite64, SYS_readv,
    SYS_writev, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2,
    SYS_sched_yield, SYS_mremap, SYS_msync, SYS_mincore, SYS_madvise, SYS_dup,
    SYS_dup3, SYS_nanosleep, SYS_getitimer, SYS_setitimer, SYS_getpid,
    SYS_gettid, SYS_sendfile, SYS_connect, SYS_accept, SYS_accept4, SYS_sendto,
    SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg,
    SYS_shutdown, SYS_bind, SYS_listen, SYS_getsockname, SYS_getpeername,
    SYS_socketpair, SYS_setsockopt, SYS_getsockopt, SYS_execve, SYS_execveat,
    SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_kill, SYS_tkill,
    SYS_tgkill, SYS_rt_tgsigqueueinfo, SYS_rt_sigqueueinfo, SYS_rt_sigpending,
    SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_sigaltstack, SYS_uname,
    SYS_fcntl, SYS_flock, SYS_fsync, SYS_fdatasync, SYS_sync, SYS_syncfs,
    SYS_sync_file_range, SYS_truncate, SYS_ftruncate, SYS_fallocate,
    SYS_getdents64, SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_renameat2,
    SYS_mkdirat, SYS_unlinkat, SYS_linkat, SYS_symlinkat, SYS_readlinkat,
    SYS_mknodat, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_umask,
    SYS_openat, SYS_openat2, SYS_newfstatat, SYS_statx, SYS_faccessat,
    SYS_faccessat2, SYS_statfs, SYS_fstatfs, SYS_utimensat, SYS_close_range,
    SYS_gettimeofday, SYS_getrlimit, SYS_setrlimit, SYS_prlimit64,
    SYS_getrusage, SYS_sysinfo, SYS_times, SYS_getuid, SYS_getgid, SYS_geteuid,
    SYS_getegid, SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid,
    SYS_setresuid, SYS_setresgid, SYS_getresuid, SYS_getresgid, SYS_setfsuid,
    SYS_setfsgid, SYS_getgroups, SYS_setgroups, SYS_setpgid, SYS_getpgid,
    SYS_getppid, SYS_setsid, SYS_getsid, SYS_capget, SYS_capset, SYS_prctl,
    SYS_getpriority, SYS_setpriority, SYS_sched_setparam, SYS_sched_getparam,
    SYS_sched_setscheduler, SYS_sched_getscheduler, SYS_sched_get_priority_max,
    SYS_sched_get_priority_min, SYS_sched_rr_get_interval,
    SYS_sched_setaffinity, SYS_sched_getaffinity, SYS_sched_setattr,
    SYS_sched_getattr, SYS_ioprio_get, SYS_ioprio_set, SYS_mlock, SYS_mlock2,
    SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_setxattr, SYS_lsetxattr,
    SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_listxattr,
    SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr,
    SYS_fremovexattr, SYS_readahead, SYS_fadvise64, SYS_futex,
    SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address,
    SYS_restart_syscall, SYS_timer_create, SYS_timer_settime, SYS_timer_gettime,
    SYS_timer_getoverrun, SYS_timer_delete, SYS_clock_gettime, SYS_clock_getres,
    SYS_clock_nanosleep, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait,
    SYS_epoll_pwait2, SYS_pselect6, SYS_ppoll, SYS_eventfd2, SYS_signalfd4,
    SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_pipe2,
    SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_splice,
    SYS_tee, SYS_copy_file_range, SYS_getrandom, SYS_memfd_create, SYS_shmget,
    SYS_shmctl, SYS_shmat, SYS_shmdt, SYS_semget, SYS_semctl, SYS_semop,
    SYS_semtimedop, SYS_msgget, SYS_msgctl, SYS_msgsnd, SYS_msgrcv, SYS_mq_open,
    SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive, SYS_mq_notify,
    SYS_mq_getsetattr, SYS_rseq, SYS_membarrier, SYS_getcpu, SYS_pidfd_open,
    SYS_pidfd_send_signal, SYS_landlock_create_ruleset, SYS_landlock_add_rule,
    SYS_landlock_restrict_self, SYS_seccomp, SYS_pkey_mprotect, SYS_pkey_alloc,
    SYS_pkey_free, SYS_process_mrelease, SYS_get_mempolicy, SYS_futex_waitv,
    SYS_remap_file_pages,
#if defined(__x86_64__)
    /* What newer machines have only by the *at names. */
    SYS_open, SYS_stat, SYS_lstat, SYS_poll, SYS_access, SYS_pipe, SYS_select,
    SYS_dup2, SYS_pause, SYS_alarm, SYS_fork, SYS_vfork, SYS_rename, SYS_mkdir,
    SYS_rmdir, SYS_creat, SYS_link, SYS_unlink, SYS_symlink, SYS_readlink,
    SYS_chmod, SYS_chown, SYS_lchown, SYS_getdents, SYS_getpgrp, SYS_utime,
    SYS_mknod, SYS_ustat, SYS_arch_prctl, SYS_time, SYS_epoll_create,
    SYS_epoll_wait, SYS_signalfd, SYS_eventfd, SYS_inotify_init, SYS_utimes,
    SYS_futimesat,
#endif
    SYS_renameat,
    /* clang-format on */
};

const size_t ex_calls_strict_count =
    sizeof ex_calls_strict / sizeof *ex_calls_strict;
