/* SPDX-License-Identifier: MIT */
/* How programs are kept apart; shared by the runner's files about that. */
#ifndef EX_RUNNER_ISOLATE_H
#define EX_RUNNER_ISOLATE_H

#include <executr/base.h>
#include <linux/filter.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

/*
 * Code of a process that is no program yet. It may share our memory, while we
 * are suspended, so it makes bare system calls only: libc's wrappers look for a
 * cancellation of the thread that is suspended, and sanitizers replace them by
 * code that counts the child for that thread. It allocates nothing.
 */
#define EX_CHILD_CODE                                                          \
    __attribute__((no_sanitize("address", "undefined", "thread")))

#define EX_COVERS 32
#define EX_LEVELS 5 /* EXECUTR_ISOLATION_…, the first is unset */

/* Whose rights programs get. */
typedef struct ex_user {
    int32_t set; /* 0: ours */
    uid_t uid;
    gid_t gid;
    size_t group_count;
    gid_t *groups;
} ex_user;

/*
 * What the children of a runner need to know, made when it is opened; they only
 * read it.
 */
typedef struct ex_isolation {
    ex_user user;
    int32_t standard;         /* the level of programs that ask for none */
    int32_t has_caps;         /* this process has capabilities … */
    uint64_t caps[EX_LEVELS]; /* … of which programs may keep these */
    struct sock_fprog filters[EX_LEVELS];
    int self;          /* pidfd of this process */
    int32_t own_users; /* not root: it takes a user namespace, too */
    char uid_map[32];
    char gid_map[32];
    char *work;              /* absolute, where the work directories are */
    char *kept;              /* a file to be seen all the same; or NULL */
    int32_t var_tmp;         /* 1: there is a /var/tmp that is no /tmp */
    char *covers[EX_COVERS]; /* directories with what is private; /tmp and */
    size_t cover_count;      /* /dev apart */
    char *hidden[EX_COVERS]; /* files */
    size_t hidden_count;
    char missing[EX_LEVELS][200]; /* why a level can't be given; "": it can */
} ex_isolation;

/* E_UNSUPPORTED, with the reason: programs can't be kept apart so. */
executr_status ex_isolation_check(
    const ex_isolation *iso, int32_t level, executr_error *err) EXECUTR_CHECKED;
void ex_isolation_close(ex_isolation *iso);

/* Look up "user", "user:group", by names or numbers. E_ARGUMENT: there is no
 * such user, or we may not change to another. */
executr_status ex_user_find(const char *name, ex_user *out, executr_error *err)
    EXECUTR_CHECKED;
void ex_user_clear(ex_user *user);

/* Find out what capabilities there are, and which a level leaves. */
void ex_capabilities_read(ex_isolation *iso);

/* The filters of system calls; a level without one can't be given. */
executr_status ex_filter_open(ex_isolation *iso, executr_error *err)
    EXECUTR_CHECKED;
void ex_filter_close(ex_isolation *iso);

/* In the child, at last: lock it out of what is not its own; 0 or an errno. */
int ex_child_lock(void);
int ex_child_filter(const ex_isolation *iso, int32_t level);

/* A descriptor, 3 or more, of a program that ends with this code; or -1. */
#define EX_PROBE_CODE 42
int ex_probe_open(void);

/* The calls that a program of the level strict may make. */
extern const int ex_calls_strict[];
extern const size_t ex_calls_strict_count;

/* In the child: become the user, drop capabilities; 0 or an errno. */
int ex_child_become(const ex_isolation *iso, int32_t level);

#endif
