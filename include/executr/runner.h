/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_RUNNER_H
#define EXECUTR_RUNNER_H

#include <executr/base.h>

EXECUTR_BEGIN_DECLS

/*
 * Runs programs: each in a session of its own, in a fresh directory, with
 * exactly the environment given, stdin empty, its output kept head and tail
 * in bounded memory; when it ends, whatever it left behind is killed and its
 * directory removed. Everything happens in executr_runner_step on one epoll
 * descriptor, so a host program can put it into a loop of its own. One thread
 * at a time; it must be the thread that opened the runner, whose end ends its
 * programs too.
 */
typedef struct executr_runner executr_runner;

typedef struct executr_runner_options {
    uint32_t struct_size;
    int32_t max_running;        /* programs at once; 1,024 */
    const char *work_directory; /* /tmp/executr-jobs; made with mode 0700 */
    int64_t max_output_bytes;   /* of stdout and of stderr; 1 MiB */
    int64_t kill_grace_ms;      /* SIGTERM to SIGKILL; 10 s */
    int64_t drain_ms;           /* wait for output after the end; 2 s */
    executr_log log;
    /* 1: orphans of the programs become children of this process (below) */
    int32_t subreaper;
    /* EXECUTR_ISOLATION_… of programs that ask for none; basic */
    int32_t isolation;
    /* Name or number of the user whose rights programs get; needs root; NULL:
     * our own. */
    const char *run_as;
    /* 0: control groups make limits and ends certain where they are ours to
     * use; -1: they are left alone */
    int32_t cgroups;
    int32_t reserved; /* 0 */
    /* Files and directories that programs of levels above basic must not see;
     * the work directory, /root, /home, /run and /tmp they never do. */
    const char *const *hidden;
    size_t hidden_count;
} executr_runner_options;

/*
 * What a program leaves behind when it ends is killed: its session by number,
 * everything else it started, however detached, by a mark that all its
 * descendants carry (an else meaningless RLIMIT_RTTIME). To look for the mark
 * the runner reads all of /proc at each end. With `subreaper` it looks at its
 * own children only, which is certain and much faster, but makes this process
 * a child subreaper for good (PR_SET_CHILD_SUBREAPER), which is why it is for
 * the program to say and not for the library. Either way children that the
 * program made itself are never touched.
 *
 * In return the program must not ignore SIGCHLD or wait for children that it
 * does not know: the end of a job would be taken from the runner.
 */

/* clang-format off */
#define EXECUTR_RUNNER_OPTIONS_INIT \
    {sizeof(executr_runner_options), 0, NULL, 0, 0, 0, {NULL, NULL}, 0, 0, NULL, 0, 0, NULL, 0}
/* clang-format on */

EXECUTR_API executr_status executr_runner_open(
    const executr_runner_options *options, executr_runner **out,
    executr_error *err) EXECUTR_CHECKED;

/*
 * What this runner can give and enforce: EXECUTR_OFFER_… bits, found by trying
 * when it was opened. And the same in words for a person, one line a fact: how
 * the end of a program is made certain, what enforces limits, which levels of
 * isolation there are and why others are not. Lasts as long as the runner.
 */
EXECUTR_API uint32_t executr_runner_offers(const executr_runner *runner);
EXECUTR_API const char *executr_runner_abilities(const executr_runner *runner);

/* Kill what still runs, remove its directories, close. NULL is fine. */
EXECUTR_API void executr_runner_free(executr_runner *runner);

/* One program to run. */
typedef struct executr_program {
    uint32_t struct_size;
    int32_t isolation; /* EXECUTR_ISOLATION_…; unset: the runner's */
    /* Of the executable, absolute; it must stay until the program ended. */
    const char *path;
    const char *name;             /* of its directory: a job id */
    const char *const *arguments; /* argv[1]…; argv[0] is the path */
    size_t argument_count;
    /* "NAME=value"; nothing is added, so there is no PATH or HOME unless it is
     * here. */
    const char *const *environment;
    size_t environment_count;
    int64_t timeout_ms;    /* then TERM, grace, KILL; 0: none */
    int64_t kill_grace_ms; /* 0: the runner's */
    int64_t memory_mb;     /* these four: 0 is no limit */
    int64_t cpu_seconds;
    int64_t max_processes;
    int64_t max_file_mb;
} executr_program;

/* clang-format off */
#define EXECUTR_PROGRAM_INIT \
    {sizeof(executr_program), 0, NULL, NULL, NULL, 0, NULL, 0, 0, 0, 0, 0, 0, 0}
/* clang-format on */

/* How a program ended. Lasts for the callback only. */
typedef struct executr_result executr_result;
EXECUTR_API int32_t executr_result_outcome(const executr_result *result);
/* 1 and *code if it exited by itself. */
EXECUTR_API int32_t
executr_result_exit_code(const executr_result *result, int32_t *code);
EXECUTR_API int32_t executr_result_signal(const executr_result *result);
/* One line: what ended it. "" for an exit, but with another code than 0 maybe
 * which limit it reached. */
EXECUTR_API const char *executr_result_message(const executr_result *result);
EXECUTR_API const char *executr_result_stdout(
    const executr_result *result, size_t *length);
EXECUTR_API const char *executr_result_stderr(
    const executr_result *result, size_t *length);
EXECUTR_API double executr_result_user_seconds(const executr_result *result);
EXECUTR_API double executr_result_system_seconds(const executr_result *result);
EXECUTR_API double executr_result_wall_seconds(const executr_result *result);
/* An upper bound: Linux counts in what this process had at the start. */
EXECUTR_API int64_t executr_result_max_rss_bytes(const executr_result *result);

/* Called by executr_runner_step when a program and all it started are gone. */
typedef void (*executr_ended)(
    void *ctx, uint64_t token, const executr_result *result);

/*
 * Start a program. `token` names it in later calls; it must not be in use.
 * OK means it was started or that its failed start will be told to the ended
 * callback (outcome exec_failed). E_CONFLICT: token or name in use.
 * E_UNAVAILABLE: the machine can't start one now (no process, descriptor,
 * memory or disk space; max_running), which is not the program's fault.
 * E_UNSUPPORTED: more isolation, or another limit, than there is.
 */
EXECUTR_API executr_status executr_runner_start(
    executr_runner *runner, const executr_program *program, uint64_t token,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Stop a program: SIGTERM to its session, SIGKILL after the grace (0: at
 * once; -1: the program's own). `outcome` (EXECUTR_OUTCOME_CANCELLED, _LOST)
 * is what its result will say, unless it ends by itself before the signal. No
 * such token: nothing happens.
 */
EXECUTR_API void executr_runner_stop(
    executr_runner *runner, uint64_t token, int32_t outcome, int64_t grace_ms);

/*
 * What a program wrote so far to stdout (stream 1) or stderr (2): up to `size`
 * bytes from byte `offset` of it on. *at is which byte the first one is, more
 * than `offset` where output was dropped. The number of bytes; 0: none yet, or
 * no such token. What is read here is in the result too.
 */
EXECUTR_API size_t executr_runner_output(
    const executr_runner *runner, uint64_t token, int32_t stream,
    int64_t offset, void *data, size_t size, int64_t *at);

/*
 * Programs whose end was told (EXECUTR_OUTCOME_LOST) though their process is
 * still there a minute after SIGKILL: it waits in the kernel for a disk or a
 * network file system. Each holds what one program holds, so a host does well
 * to start as many fewer. They are counted until they are gone.
 */
EXECUTR_API size_t executr_runner_unkillable(const executr_runner *runner);

/* Programs under way. */
EXECUTR_API size_t executr_runner_running(const executr_runner *runner);

/* A descriptor that is readable when executr_runner_step has work. */
EXECUTR_API int32_t executr_runner_fd(const executr_runner *runner);

/* Do what there is to do, waiting up to `timeout_ms` for it (0: not at all,
 * -1: for ever), and call `ended` for each program that ended. */
EXECUTR_API executr_status executr_runner_step(
    executr_runner *runner, int64_t timeout_ms, executr_ended ended, void *ctx,
    executr_error *err) EXECUTR_CHECKED;

EXECUTR_END_DECLS

#endif
