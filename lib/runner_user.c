/* SPDX-License-Identifier: MIT */
/* Whose rights a program gets: the user it runs as and what root's programs
 * keep of root's powers. Hides how those are given up. */
#include <ctype.h>
#include <errno.h>
#include <executr/job.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "runner_isolate.h"

#define NAME_MOST 256
#define ENTRY_MOST ((size_t)64 * 1024)
#define GROUPS_MOST 65536 /* NGROUPS_MAX */

/* ---- Looking up. */

/* A number that is neither empty nor -1, which means "leave it". */
static int read_number(const char *text, uint32_t *out)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return 0;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || value >= UINT32_MAX)
        return 0;
    *out = (uint32_t)value;
    return 1;
}

static executr_status find_groups(
    const char *name, ex_user *out, executr_error *err)
{
    void *memory;
    int count = GROUPS_MOST;

    executr_status st = ex_alloc(&memory, GROUPS_MOST * sizeof(gid_t), err);
    if (st)
        return st;
    out->groups = memory;
    if (getgrouplist(name, out->gid, out->groups, &count) < 0)
        return ex_fail(
            err, EXECUTR_E_ARGUMENT, "run_as: %s is in too many groups", name);
    out->group_count = (size_t)count;
    return EXECUTR_OK;
}

/* A number needs no entry; then it has the group of the same number. */
static executr_status find_user(
    const char *name, ex_user *out, executr_error *err)
{
    struct passwd entry;
    struct passwd *found = NULL;
    uint32_t number;
    void *memory;

    executr_status st = ex_alloc(&memory, ENTRY_MOST, err);
    if (st)
        return st;
    int numeric = read_number(name, &number);
    int failed = numeric
                     ? getpwuid_r(number, &entry, memory, ENTRY_MOST, &found)
                     : getpwnam_r(name, &entry, memory, ENTRY_MOST, &found);
    if (found) {
        out->uid = entry.pw_uid;
        out->gid = entry.pw_gid;
        st = find_groups(entry.pw_name, out, err);
    } else if (numeric) {
        out->uid = number;
        out->gid = number;
    } else {
        st = ex_fail_field(
            err, "run_as",
            "run_as: there is no user '%s' on this machine%s%s; give the name "
            "or the number of one",
            name, failed ? ": " : "", failed ? strerrordesc_np(failed) : "");
    }
    ex_free(memory);
    return st;
}

static executr_status find_group(
    const char *name, ex_user *out, executr_error *err)
{
    struct group entry;
    struct group *found = NULL;
    uint32_t number;
    void *memory;

    if (read_number(name, &number)) {
        out->gid = number;
        return EXECUTR_OK;
    }
    executr_status st = ex_alloc(&memory, ENTRY_MOST, err);
    if (st)
        return st;
    int failed = getgrnam_r(name, &entry, memory, ENTRY_MOST, &found);
    if (found)
        out->gid = entry.gr_gid;
    else
        st = ex_fail_field(
            err, "run_as", "run_as: there is no group '%s' on this machine%s%s",
            name, failed ? ": " : "", failed ? strerrordesc_np(failed) : "");
    ex_free(memory);
    return st;
}

executr_status ex_user_find(const char *name, ex_user *out, executr_error *err)
{
    char user[NAME_MOST];
    size_t length = strcspn(name, ":");

    if (length == 0 || length >= sizeof user)
        return ex_fail_field(
            err, "run_as", "run_as '%.64s' names no user", name);
    if (geteuid() != 0)
        return ex_fail_field(
            err, "run_as",
            "run_as needs root: this process is user %lu, whose programs can "
            "only run as itself",
            (unsigned long)geteuid());
    memcpy(user, name, length);
    user[length] = '\0';
    executr_status st = find_user(user, out, err);
    if (!st && name[length] == ':')
        st = find_group(name + length + 1, out, err);
    out->set = !st;
    return st;
}

void ex_user_clear(ex_user *user)
{
    ex_free(user->groups);
    user->groups = NULL;
    user->set = 0;
}

/* ---- Capabilities. */

#define CAP(name) (UINT64_C(1) << (CAP_##name))

/*
 * What a program of root keeps: what it takes to be root among its own files
 * and processes. All others go, those too that Linux will invent: with
 * SYS_RESOURCE a program could raise the limit that is our mark of it, with
 * SYS_TIME change the clock, with SYS_PTRACE take over its executor; SYS_ADMIN,
 * SYS_MODULE, SYS_RAWIO, SYS_BOOT, NET_ADMIN and MKNOD are the machine's.
 */
#define FILES (CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID))
#define USERS (CAP(SETUID) | CAP(SETGID) | CAP(KILL))
#define STANDARD_CAPS (FILES | USERS | CAP(NET_BIND_SERVICE))
#define BASIC_CAPS                                                             \
    (STANDARD_CAPS | CAP(NET_RAW) | CAP(SYS_CHROOT) | CAP(SETFCAP) |           \
     CAP(AUDIT_WRITE))

void ex_capabilities_read(ex_isolation *iso)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};

    /* Should it fail, dropping is tried, and fails or not, for each child. */
    int failed = syscall(SYS_capget, &head, data) != 0;
    uint64_t permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    iso->has_caps =
        failed || permitted || data[0].inheritable || data[1].inheritable;
    iso->caps[EXECUTR_ISOLATION_BASIC] = permitted & BASIC_CAPS;
    iso->caps[EXECUTR_ISOLATION_STANDARD] = permitted & STANDARD_CAPS;
    iso->caps[EXECUTR_ISOLATION_STRICT] = 0;
}

/* ---- In the child. */

/*
 * Because of no_new_privs, exec gives root no more than what is left here; the
 * bounding set, which takes a call a capability to empty, need not be touched.
 */
EX_CHILD_CODE static int keep_only(uint64_t caps)
{
    const uint32_t head[2] = {_LINUX_CAPABILITY_VERSION_3, 0};
    const uint32_t low = (uint32_t)caps;
    const uint32_t high = (uint32_t)(caps >> 32);
    const uint32_t data[6] = {low, low, 0, high, high, 0};

    return syscall(SYS_capset, head, data) == 0 ? 0 : errno;
}

EX_CHILD_CODE int ex_child_become(const ex_isolation *iso, int32_t level)
{
    const ex_user *user = &iso->user;

    /* Before the rest: it is what makes the rest last. */
    if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return errno;
    if (user->set &&
        (syscall(SYS_setgroups, user->group_count, user->groups) != 0 ||
         syscall(SYS_setresgid, user->gid, user->gid, user->gid) != 0 ||
         syscall(SYS_setresuid, user->uid, user->uid, user->uid) != 0))
        return errno;
    /* In a user namespace of its own a child has them all. */
    if (level < EXECUTR_ISOLATION_BASIC ||
        (!iso->has_caps && level == EXECUTR_ISOLATION_BASIC))
        return 0;
    return keep_only(user->set && user->uid != 0 ? 0 : iso->caps[level]);
}
