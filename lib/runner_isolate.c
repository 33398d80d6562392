/* SPDX-License-Identifier: MIT */
/* Finds out, when a runner is opened, how its programs can be kept apart. */
#include <errno.h>
#include <executr/job.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/fail.h"
#include "runner.h"

static const uint32_t offers[EX_LEVELS] = {
    0, 0, EXECUTR_OFFER_BASIC, EXECUTR_OFFER_STANDARD, EXECUTR_OFFER_STRICT};

executr_status ex_isolation_check(
    const ex_isolation *iso, int32_t level, executr_error *err)
{
    if (level < 0 || level >= EX_LEVELS)
        return ex_fail_field(
            err, "isolation", "there is no isolation level %d", level);
    if (iso->missing[level][0])
        return ex_fail(
            err, EXECUTR_E_UNSUPPORTED, "no isolation level %s here: %s",
            executr_isolation_word(level), iso->missing[level]);
    return EXECUTR_OK;
}

/*
 * A child that changes its user shares our memory until it is a program, and
 * its new user's other processes must not get at that by ptrace.
 */
static executr_status find_user(
    executr_runner *runner, const char *name, executr_error *err)
{
    executr_status st = ex_user_find(name, &runner->iso.user, err);
    if (st)
        return st;
    runner->dir.user = &runner->iso.user;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return ex_fail_errno(err, errno, "cannot become undumpable");
    return EXECUTR_OK;
}

executr_status ex_isolation_open(
    executr_runner *runner, const executr_runner_options *options,
    executr_error *err)
{
    ex_isolation *iso = &runner->iso;
    executr_status st = EXECUTR_OK;

    iso->standard =
        options->isolation ? options->isolation : EXECUTR_ISOLATION_BASIC;
    ex_capabilities_read(iso);
    for (int32_t level = EXECUTR_ISOLATION_STANDARD; level < EX_LEVELS; level++)
        snprintf(
            iso->missing[level], sizeof iso->missing[level],
            "programs can't have namespaces of their own yet");
    if (options->run_as)
        st = find_user(runner, options->run_as, err);
    if (!st)
        st = ex_isolation_check(iso, iso->standard, err);
    if (st)
        return st;
    for (int32_t level = 0; level < EX_LEVELS; level++) {
        if (!iso->missing[level][0])
            runner->offers |= offers[level];
    }
    return EXECUTR_OK;
}

void ex_isolation_close(ex_isolation *iso)
{
    ex_user_clear(&iso->user);
}
