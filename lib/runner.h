/* SPDX-License-Identifier: MIT */
/* The insides of the runner, shared by its files. */
#ifndef EX_RUNNER_H
#define EX_RUNNER_H

#include <executr/runner.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "capture.h"
#include "runner_cgroup.h"
#include "runner_isolate.h"

/* Where a start failed, as the child tells it. */
enum {
    EX_STAGE_CLONE = 0,
    EX_STAGE_SETUP = 1,
    EX_STAGE_EXEC = 2
};

/* A limit of the kernel on each process of a program. */
typedef struct ex_rlimit {
    int32_t resource;
    uint64_t soft;
    uint64_t hard;
} ex_rlimit;
#define EX_RLIMITS 4

/* Everything the child needs, made before it: it may not allocate. */
typedef struct ex_launch {
    const char *path;
    const char **argv;
    const char **envp;
    const char *directory; /* relative to directory_fd */
    int directory_fd;
    int stdin_fd; /* these three are above 2 */
    int stdout_fd;
    int stderr_fd;
    uint64_t mark; /* 0: none */
    ex_rlimit rlimits[EX_RLIMITS];
    size_t rlimit_count;
    const int *joins;  /* cgroup.procs of groups; -1, NULL: none */
    int32_t isolation; /* EXECUTR_ISOLATION_…, never unset */
    const ex_isolation *iso;
    /* Without a path: what is executed; -1: nothing, it ends before. */
    int program_fd;
    /* Absolute, of the directory; for levels above basic. */
    const char *place;
    /* Its deadline, EX_STRUCK when the guard has killed what it found: then
     * there must be no program. NULL: none. */
    const _Atomic int64_t *deadline;
    pid_t parent;
    int pidfd;        /* out */
    int stage;        /* out: how far it came … */
    int error;        /* … and the errno that stopped it, or 0 */
    const char *what; /* out: what it tried then; or NULL */
    int report_fd;    /* out: tells how a caged program ended; -1: none */
    int unscored;     /* out: its oom_score_adj is left to its parent */
} ex_launch;

/* The stack on which children run until exec; one at a time. */
typedef struct ex_child_stack {
    void *memory;
    size_t size;
} ex_child_stack;

executr_status ex_child_stack_open(ex_child_stack *stack, executr_error *err)
    EXECUTR_CHECKED;
void ex_child_stack_close(ex_child_stack *stack);

/*
 * Start a program: 0 with *pid and *pidfd, or an errno with launch->stage
 * saying where it came up; then there is no child any more.
 */
int ex_spawn(
    const ex_child_stack *stack, ex_launch *launch, pid_t *pid, int *pidfd);

/* Its parts, for other files about children. Start: in the process that is to
 * be the parent; the child's pid or -1, with launch->stage and ->error. */
long ex_child_start(const ex_child_stack *stack, ex_launch *launch);
void ex_child_optional(ex_launch *launch);

/*
 * The same for levels above basic: what is started is the init of namespaces,
 * as whose child the program runs. How the program ended is in the report;
 * without one init itself was killed. Closes *report_fd. 0: init ended without
 * a report, of its own will, so how the program ended is not known.
 */
int ex_spawn_caged(
    const ex_child_stack *stack, ex_launch *launch, pid_t *pid, int *pidfd);
int ex_init_report(int *report_fd, int *status, struct rusage *usage);

/* In init: make its view of the machine; 0 or an errno with launch->what. */
int ex_cage_make(ex_launch *launch);
int ex_cage_loopback(ex_launch *launch);

/*
 * The work directory. Each runner has a directory of its own in it, locked as
 * long as the runner lives; those of dead runners are removed. Big removals
 * are done by a helper thread.
 */
typedef struct ex_doomed ex_doomed;
typedef struct ex_workdir {
    executr_log log;
    int root_fd;         /* the work directory */
    int fd;              /* ours in it, locked */
    char name[40];       /* its name */
    uint64_t serial;     /* names what waits for removal */
    const ex_user *user; /* whose the programs' directories are; or NULL */
    int32_t has_thread;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    ex_doomed *doomed; /* to be removed by the thread */
    ex_doomed **last_doomed;
    size_t waiting;
    int32_t ending;
    atomic_int give_up; /* the thread's work is left to the next start */
} ex_workdir;

/* How the directories of runners begin. */
#define EX_WORKDIR_PREFIX "runner-"

void ex_workdir_init(ex_workdir *dir, const executr_log *log);
executr_status ex_workdir_open(
    ex_workdir *dir, const char *path, executr_error *err) EXECUTR_CHECKED;

/*
 * Make an empty directory. E_CONFLICT: the name is in use. E_UNAVAILABLE: the
 * volume is full, or too many wait for their removal.
 */
executr_status ex_workdir_make(
    ex_workdir *dir, const char *name, executr_error *err) EXECUTR_CHECKED;

/* Remove, soon, what dead runners left. */
void ex_workdir_sweep(ex_workdir *dir);

/* Its name is free at once; what is in it goes away soon. */
void ex_workdir_remove(ex_workdir *dir, const char *name);

/* Removes all, or for some seconds what it can: the rest is removed by the next
 * runner that is opened on the work directory. */
void ex_workdir_close(ex_workdir *dir);

struct executr_result {
    int32_t outcome;
    int32_t has_exit_code;
    int32_t exit_code;
    int32_t signal;
    int32_t lease_lost; /* it was stopped for that */
    double user_seconds;
    double system_seconds;
    double wall_seconds;
    int64_t max_rss_bytes;
    const char *stdout_data;
    size_t stdout_length;
    const char *stderr_data;
    size_t stderr_length;
    char message[472];
};

enum {
    EX_WATCH_TIMER,
    EX_WATCH_PROCESS,
    EX_WATCH_OUTPUT,
    EX_WATCH_STUCK
};

/* A descriptor in the epoll set, or about to be; -1: closed. */
typedef struct ex_watch {
    int fd;
    int32_t kind;
    struct ex_run *run;  /* NULL for the timer and what is stuck */
    ex_capture *capture; /* of an output */
} ex_watch;

/*
 * The life of a program. WAITING has no process: its file was busy and is
 * tried again. ALIVE has a leader that is not reaped, so its pid, which is also
 * the number of its session and group, is its own. DRAINING: the leader is
 * reaped; output may still come and strays may still die. OVER: nothing of it
 * is left and the result is complete, to be told by the step.
 */
enum {
    EX_RUN_WAITING = 1,
    EX_RUN_ALIVE = 2,
    EX_RUN_DRAINING = 3,
    EX_RUN_OVER = 4
};

#define EX_NEVER INT64_MAX

/* The leader of a program that does not die, after the program's end was told:
 * it is a child that is still to be reaped. */
typedef struct ex_stuck {
    ex_watch process; /* first: the loop hands it over */
    struct ex_stuck *next;
    pid_t pid;
} ex_stuck;

typedef struct ex_deadline ex_deadline;

/* What a program may use; 0 is no limit. */
typedef struct ex_allowance {
    int64_t memory_mb;
    int64_t cpu_seconds;
    int64_t max_processes;
    int64_t max_file_mb;
} ex_allowance;

typedef struct ex_run {
    struct ex_run *next; /* in runner->runs or runner->over */
    struct ex_run *previous;
    struct ex_run *next_by_pid;
    uint64_t token;
    int32_t state;
    int32_t tries; /* of a start */
    int32_t looks; /* for strays */
    int32_t isolation;
    int32_t stopped; /* outcome of a stop or timeout that was signalled; 0 */
    int32_t killed;  /* SIGKILL was sent */
    pid_t pid;
    uint64_t mark;
    ex_deadline *deadline; /* shared with the guard; or NULL */
    int64_t timeout_ms;
    int64_t grace_ms;
    ex_allowance limits;
    ex_cgroup group;
    int64_t started_us;
    int64_t timeout_at_us; /* moments are EX_NEVER when not set */
    int64_t kill_at_us;
    int64_t drain_until_us;
    int64_t cpu_at_us;  /* next look at the CPU time of all its processes */
    int64_t look_at_us; /* next try of a start, next look for strays */
    ex_watch process;
    ex_watch out;
    ex_watch err;
    int report_fd;
    int out_fd; /* the child's ends, open while WAITING */
    int err_fd;
    char *name;
    const char *path;
    const char **argv;
    const char **envp;
    executr_result result;
    ex_arena arena; /* owns the strings and arrays */
} ex_run;

/* What stopped a start: E_UNAVAILABLE if `number` says that the machine is
 * short of something, else as ex_fail_errno. */
executr_status ex_start_failed(
    executr_error *err, int number, const char *what);

#define EX_PID_BUCKETS 256
#define EX_MARK_RANGE (UINT64_C(1) << 32) /* marks of one runner */

/* Orphans that ended are reaped so often while programs run. */
#define EX_REAP_US (INT64_C(1000) * 1000)
#define EX_BITE 65536

struct executr_runner {
    int32_t max_running;
    int32_t subreaper;
    size_t max_output;
    int64_t kill_grace_ms;
    int64_t drain_ms;
    executr_log log;
    int64_t unkillable_us; /* after SIGKILL it is gone by then, or stuck */
    uint32_t offers;       /* EXECUTR_OFFER_… */
    ex_buf abilities;      /* the same in words */
    int epoll_fd;
    int null_fd;
    ex_watch timer;
    int64_t armed_us; /* when the timer fires; never later than it should */
    pid_t pid;
    uint64_t own_limit; /* RLIMIT_RTTIME of this process: carries no mark */
    uint64_t mark_base; /* marks lie less than a range below; 0: none */
    uint64_t mark_serial;
    int children;             /* those of this process, in /proc; -1: none */
    int guard;                /* pidfd of the guard; -1: none */
    int guard_wake;           /* eventfd */
    ex_deadline *deadlines;   /* max_running of them, shared with the guard */
    int64_t next_deadline_us; /* of the program that is started next */
    int64_t reap_at_us;       /* of orphans that ended while programs run on */
    int32_t stepping;         /* inside executr_runner_step */
    size_t running;           /* runs and over */
    ex_run *runs;
    ex_run *over;
    ex_stuck *stuck;
    size_t stuck_count;
    ex_run *by_pid[EX_PID_BUCKETS];
    ex_child_stack stack;
    ex_isolation iso;
    ex_workdir dir;
    ex_cgroups groups;
    char bite[EX_BITE]; /* of output, on its way to a capture */
};

/* Watching descriptors; close takes it out of the set first. */
executr_status ex_watch_add(
    executr_runner *runner, ex_watch *watch, uint32_t events,
    executr_error *err) EXECUTR_CHECKED;
void ex_watch_close(executr_runner *runner, ex_watch *watch);

/* The descriptor, or a copy above 2 in its place: a child can then move it to
 * its place without treading on another. -1 and errno. */
int ex_fd_above_stdio(int fd);

/* Be called back (ex_run_due) at this moment or earlier. */
void ex_runner_wake_at(executr_runner *runner, int64_t at_us);

/* Try to start: moves to ALIVE, WAITING or OVER; on failure nothing changed
 * and it was the machine's fault. */
executr_status ex_run_launch(
    executr_runner *runner, ex_run *run, executr_error *err) EXECUTR_CHECKED;

/* The moment a run next needs care, and that care. */
int64_t ex_run_due_us(const ex_run *run);
void ex_run_due(executr_runner *runner, ex_run *run, int64_t now_us);

/* The leader ended; output can be read; a stop was asked for. */
void ex_run_leader_ended(executr_runner *runner, ex_run *run);
void ex_run_output(executr_runner *runner, ex_watch *watch);
void ex_run_stop(
    executr_runner *runner, ex_run *run, int32_t outcome, int64_t grace_ms);

/* Move to OVER; it will be told by the step. */
void ex_run_over(executr_runner *runner, ex_run *run);
void ex_run_close_ends(ex_run *run);
void ex_run_forget_pid(executr_runner *runner, ex_run *run);

void ex_run_free(executr_runner *runner, ex_run *run);

/* Fill the result: from how the leader ended (code and status as waitid gives
 * them; 0: unknown), from a failed start, from what was captured. */
void ex_result_ended(ex_run *run, int32_t code, int32_t value, int32_t stopped);
void ex_result_no_memory(ex_run *run);
void ex_result_untold(ex_run *run);
void ex_result_unkillable(ex_run *run);
void ex_result_exec_failed(ex_run *run, int number);
void ex_result_output(const executr_runner *runner, ex_run *run);

/*
 * Limits. ex_limits_open finds what can be enforced and says so; the others
 * refuse a program that asks for more, prepare a launch, and are the child's
 * part (an errno or 0).
 */
void ex_limits_open(executr_runner *runner);
executr_status ex_limits_check(
    const executr_runner *runner, const executr_program *program,
    executr_error *err) EXECUTR_CHECKED;
void ex_limits_launch(
    const executr_runner *runner, const ex_run *run, ex_launch *launch);
int ex_child_limits(const ex_launch *launch);

/* Look at the CPU time of all processes of a program; stops one that used
 * more than it may. */
void ex_limits_look(executr_runner *runner, ex_run *run, int64_t now_us);

/* Its leader ended: tell limits from other ends. Nothing of it is left: its
 * figures. */
void ex_limits_judge(const executr_runner *runner, ex_run *run);
void ex_limits_usage(const executr_runner *runner, ex_run *run);

/*
 * The control group of a program with limits; none is made for others, as it
 * costs a quarter of a start. make gives an errno or 0; kill gives 1 while
 * something is left in it.
 */
#define EX_GROUP_NAME "job-" /* and the mark */
void ex_group_init(ex_cgroup *group);
int ex_group_make(const executr_runner *runner, ex_run *run);
void ex_group_joined(ex_run *run); /* or failed to */
size_t ex_group_kill(const executr_runner *runner, const ex_run *run);
void ex_group_measure(
    const executr_runner *runner, const ex_run *run, ex_cgroup_figures *out);
void ex_group_remove(const executr_runner *runner, ex_run *run);

/* One that does not die is told as LOST and its leader kept apart; gone ones
 * are reaped when the loop says so, the rest is let go at the end. */
void ex_stuck_keep(executr_runner *runner, ex_run *run);
void ex_stuck_gone(executr_runner *runner, ex_watch *watch);
void ex_stuck_close(executr_runner *runner);

/*
 * Strays: what a program started and left outside its process group. Where
 * marks can't be made, only groups are killed. ex_strays_kill kills what a run
 * left behind (with NULL: what no live run can own) and reaps what came to us;
 * it returns how many were still there.
 */
void ex_strays_open(executr_runner *runner);
void ex_strays_close(executr_runner *runner);
size_t ex_strays_kill(executr_runner *runner, const ex_run *run);

/*
 * The guard: a process that kills all our programs when we die, and those with
 * a deadline when it passes, even while we are stopped. The end of such a
 * program is told as EXECUTR_OUTCOME_LOST. Without marks there is no guard.
 */
executr_status ex_guard_open(executr_runner *runner, executr_error *err)
    EXECUTR_CHECKED;
void ex_guard_close(executr_runner *runner);
void ex_deadline_set(executr_runner *runner, ex_run *run, int64_t at_us);
int32_t ex_deadline_struck(const ex_run *run);
#define EX_STRUCK INT64_MIN
const _Atomic int64_t *ex_deadline_of(const ex_run *run); /* or NULL */
void ex_deadline_clear(ex_run *run);

/* For the worker: the deadline (of ex_boottime_us) of the program that is started
 * next, and a new one of a program under way. */
void ex_runner_next_deadline(executr_runner *runner, int64_t at_us);
void ex_runner_deadline(executr_runner *runner, uint64_t token, int64_t at_us);

/*
 * How programs are kept apart: the user they run as, before there is a work
 * directory; and when all else is there, which levels there are.
 * E_UNSUPPORTED: not the one that the options ask for.
 */
executr_status ex_isolation_open(
    executr_runner *runner, const executr_runner_options *options,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_isolation_try(
    executr_runner *runner, const executr_runner_options *options,
    executr_error *err) EXECUTR_CHECKED;

/* What caged programs are not to see; `dir` is open. */
executr_status ex_view_open(
    ex_isolation *iso, const ex_workdir *dir, const char *const *hidden,
    size_t count, executr_error *err) EXECUTR_CHECKED;
void ex_view_close(ex_isolation *iso);

ex_run *ex_run_by_pid(const executr_runner *runner, pid_t pid);

/* runner_ready.c: has this machine all that a program needs to be started? */
/* Of all that only whether there is some space: costs next to nothing. */
executr_status ex_runner_space(const executr_runner *runner, executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_runner_ready(const executr_runner *runner, executr_error *err)
    EXECUTR_CHECKED;

#endif
