/* SPDX-License-Identifier: MIT */
/* What is out of reach of programs: power, other jobs, secrets, the clock. */
#include <criterion/criterion.h>
#include <errno.h>
#include <executr/job.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "support/attack.h"
#include "support/home.h"
#include "support/programs.h"

TestSuite(runner_reach, .init = prepare_attack, .fini = close_attack);

static const char *copy_attacker(const char *name, unsigned mode)
{
    static char path[512];
    char command[1200];

    snprintf(path, sizeof path, "%s", in_home(name));
    snprintf(
        command, sizeof command, "install -m %o %s %s", mode, TEST_ATTACKER,
        path);
    cr_assert_eq(system(command), 0);
    return path;
}

/* It was tried, and did not succeed. */
static void expect_refused(const char *out, const char *what)
{
    char success[600];

    snprintf(success, sizeof success, "%s 0\n", what);
    cr_expect(strstr(out, what) != NULL, "no '%s' in:\n%s", what, out);
    cr_expect(strstr(out, success) == NULL, "'%s' worked", what);
}

Test(runner_reach, t73_a_setuid_program_stays_who_it_is)
{
    struct statvfs volume;

    if (needs_root())
        return;
    const char *path = copy_attacker("setuid", 04755);
    cr_assert_eq(statvfs(path, &volume), 0);
    if (volume.f_flag & ST_NOSUID)
        cr_skip_test("set-user-ID means nothing on the volume of %s", path);
    options.run_as = "nobody";
    options.isolation = EXECUTR_ISOLATION_NONE;
    open_it();
    expect_line(
        attack_by(path, EXECUTR_ISOLATION_NONE, ARGS("ids")),
        "user 65534 group 65534 groups 65534");
    expect_line(
        attack_by(path, EXECUTR_ISOLATION_BASIC, ARGS("ids")),
        "user 65534 group 65534 groups 65534");
}

static void check_state(int32_t level)
{
    executr_program program = EXECUTR_PROGRAM_INIT;

    if (lacks(level))
        return;
    program.path = job_path();
    program.name = "state";
    program.isolation = level;
    program.arguments = ARGS("state");
    program.argument_count = 1;
    cr_assert_eq(start_program(1, &program), EXECUTR_OK);
    wait_for_ends(1);
    const char *out = ends[0].out;
    expect_line(out, "descriptors 3");
    expect_line(out, "SigBlk:\t0000000000000000");
    expect_line(out, "SigIgn:\t0000000000000000");
    expect_line(out, "umask 077");
    expect_line(out, "core 0");
    expect_line(out, "new_privs 1");
    expect_line(out, "leader 1");
    expect_line(out, "stdin 0");
    expect_line(out, "mode 700");
    expect_line(out, "oom 500");
}

Test(runner_reach, t50_standard_starts_programs_as_basic_does)
{
    check_state(EXECUTR_ISOLATION_STANDARD);
}

Test(runner_reach, t50_strict_starts_programs_as_basic_does)
{
    check_state(EXECUTR_ISOLATION_STRICT);
}

static void check_mounts(int32_t level)
{
    if (lacks(level))
        return;
    const char *out = attack_at(
        level, ARGS("flags:.", "flags:/tmp", "flags:/dev", "flags:/"));
    expect_line(out, ". is nosuid nodev");
    expect_line(out, "/tmp is nosuid nodev");
    expect_line(out, "/dev is nosuid");
    expect_line(out, "/ is read-only nosuid nodev");
}

Test(runner_reach, t73_standard_has_no_setuid_files_and_no_devices)
{
    check_mounts(EXECUTR_ISOLATION_STANDARD);
}

Test(runner_reach, t73_strict_has_no_setuid_files_and_no_devices)
{
    check_mounts(EXECUTR_ISOLATION_STRICT);
}

/* The directory of a job of this runner. */
static void find_directory(const char *job, char *out, size_t size)
{
    char command[600];

    snprintf(
        command, sizeof command, "echo %s/runner-*/%s", in_home("work"), job);
    FILE *lines = popen(command, "re");
    cr_assert_not_null(lines);
    cr_assert_not_null(fgets(out, (int)size, lines));
    pclose(lines);
    out[strcspn(out, "\n")] = '\0';
}

static void check_writes(int32_t level)
{
    char other[512];
    char beside[600];
    char cached[600];

    if (lacks(level))
        return;
    cr_assert_eq(mkdir(in_home("cache"), 0700), 0);
    snprintf(cached, 600, "write:%s", copy_attacker("cache/file", 0555));
    cr_assert_eq(start(500, ARGS("sleep")), EXECUTR_OK);
    find_directory("job-500", other, sizeof other);
    snprintf(beside, 600, "write:%s/planted", other);
    const char *out =
        attack_at(level, ARGS("write:/proc/self/exe", cached, beside));
    expect_refused(out, "write:/proc/self/exe");
    expect_refused(out, cached);
    expect_refused(out, beside);
    cr_expect_eq(entries(other), 0);
}

Test(runner_reach, t76_standard_writes_to_no_program_cache_or_other_job)
{
    check_writes(EXECUTR_ISOLATION_STANDARD);
}

Test(runner_reach, t76_strict_writes_to_no_program_cache_or_other_job)
{
    check_writes(EXECUTR_ISOLATION_STRICT);
}

Test(runner_reach, t76_nobody_writes_to_the_program_that_runs)
{
    open_it();
    const char *out =
        attack_at(EXECUTR_ISOLATION_BASIC, ARGS("write:/proc/self/exe"));
    expect_line(out, "write:/proc/self/exe %d", ETXTBSY);
}

static void check_clock(int32_t level)
{
    if (!lacks(level))
        expect_line(attack_at(level, ARGS("clock")), "clock %d", EPERM);
}

Test(runner_reach, t77_standard_sets_no_clock)
{
    check_clock(EXECUTR_ISOLATION_STANDARD);
}

Test(runner_reach, t77_strict_sets_no_clock)
{
    check_clock(EXECUTR_ISOLATION_STRICT);
}

/* As that of the token is: its directory may be seen, and it may not. */
Test(runner_reach, t78_a_file_of_the_executor_alone_is_not_read)
{
    char token[600];

    if (needs_root())
        return;
    make_file("token", "secret");
    cr_assert_eq(chmod(in_home(""), 0755), 0);
    cr_assert_eq(chmod(in_home("token"), 0600), 0);
    snprintf(token, sizeof token, "read:%s", in_home("token"));
    options.run_as = "nobody";
    open_it();
    const char *out = attack_at(EXECUTR_ISOLATION_BASIC, ARGS(token));
    expect_line(out, "%s %d", token, EACCES);
}
