/* SPDX-License-Identifier: MIT */
/*
 * Control groups: the kernel's own way to hold a whole tree of processes to
 * limits and to end it at one stroke. A runner has a directory of its own,
 * locked as long as it lives, in each hierarchy that is of use and writable;
 * each program with limits has a group in it.
 */
#ifndef EX_RUNNER_CGROUP_H
#define EX_RUNNER_CGROUP_H

#include <executr/base.h>

/* Hierarchies. Where version 2 has the controllers, the others are not used. */
enum {
    EX_CGROUP_UNIFIED, /* version 2 */
    EX_CGROUP_MEMORY,  /* version 1 from here */
    EX_CGROUP_PIDS,
    EX_CGROUP_KINDS
};

#define EX_CGROUP_PATH 512

/* The group of this process in each hierarchy, where ours can be made; ""
 * where there is none. */
typedef struct ex_cgroup_places {
    char path[EX_CGROUP_KINDS][EX_CGROUP_PATH];
} ex_cgroup_places;

/* From the text of /proc/self/mountinfo and of /proc/self/cgroup. */
void ex_cgroup_find(const char *mounts, const char *own, ex_cgroup_places *out);

/* What a runner has. */
typedef struct ex_cgroups {
    executr_log log;
    int fd[EX_CGROUP_KINDS]; /* its directory, locked; -1: none */
    int32_t memory_in;       /* which hierarchy limits memory; -1: none */
    int32_t pids_in;
    int32_t has_kill; /* cgroup.kill */
    char name[40];    /* of its directories */
} ex_cgroups;

void ex_cgroups_init(ex_cgroups *groups, const executr_log *log);

/* Remove what dead runners left and make ours where that can be. `is_ours`: the
 * whole process is the executor's and may be moved to a group of its own. */
void ex_cgroups_open(
    ex_cgroups *groups, const ex_cgroup_places *places, int32_t is_ours);
void ex_cgroups_close(ex_cgroups *groups);

/* A file of a group, relative to a directory: short ones only. 0 or -1. */
int ex_cgroup_write(
    int fd, const char *group, const char *file, const char *text);
int ex_cgroup_read(
    int fd, const char *group, const char *file, char *out, size_t size);

/* The number behind a word at the start of a line; -1: not there. */
int64_t ex_cgroup_figure(const char *text, const char *word);

/* Kill all that is in a group; 1 if something is left in it. */
int ex_cgroup_kill(int fd, const char *group);

/* Remove a group and those below it; 0 if it is gone. */
int ex_cgroup_remove(int fd, const char *group);

/* The group of one program. */
typedef struct ex_cgroup {
    uint32_t in;                /* 1 << hierarchy, where it has a directory */
    int joins[EX_CGROUP_KINDS]; /* cgroup.procs, open for the child; -1 */
    char name[32];
} ex_cgroup;

/* What a group tells of its processes, ended or not; -1: unknown. */
typedef struct ex_cgroup_figures {
    int64_t oom_kills;
    int64_t pids_refused;
    int64_t peak_bytes;
    int64_t user_us;
    int64_t system_us;
} ex_cgroup_figures;

#endif
