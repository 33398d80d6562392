/* SPDX-License-Identifier: MIT */
#include "support/attack.h"

#include <criterion/criterion.h>
#include <executr/job.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/home.h"
#include "support/programs.h"

executr_runner_options options;

void prepare_attack(void)
{
    options = (executr_runner_options)EXECUTR_RUNNER_OPTIONS_INIT;
    make_home();
    options.work_directory = in_home("work");
}

void close_attack(void)
{
    executr_runner_free(runner);
    runner = NULL;
    drop_home();
}

void open_it(void)
{
    static char work[256];

    snprintf(work, sizeof work, "%s", in_home("work"));
    options.work_directory = work;
    open_runner_with(&options);
}

int needs_root(void)
{
    if (geteuid() == 0)
        return 0;
    cr_skip_test("this needs root");
    return 1;
}

const char *attack_by(const char *path, int32_t level, const char *const *tries)
{
    executr_program program = EXECUTR_PROGRAM_INIT;
    size_t before = end_count;
    char name[32];

    snprintf(name, sizeof name, "job-%zu", before);
    program.path = path;
    program.name = name;
    program.isolation = level;
    program.arguments = tries;
    while (tries[program.argument_count])
        program.argument_count++;
    executr_status st = start_program(before + 1, &program);
    cr_assert_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
    wait_for_ends(before + 1);
    const end *e = &ends[before % ENDS];
    cr_assert_eq(e->outcome, EXECUTR_OUTCOME_EXIT, "%s", e->message);
    cr_assert_eq(e->exit_code, 0);
    return e->out;
}

const char *attack_at(int32_t level, const char *const *tries)
{
    return attack_by(TEST_ATTACKER, level, tries);
}

void expect_line(const char *out, const char *format, ...)
{
    char line[512] = "\n";
    char all[8192];
    va_list args;

    va_start(args, format);
    vsnprintf(line + 1, sizeof line - 2, format, args);
    va_end(args);
    strcat(line, "\n");
    snprintf(all, sizeof all, "\n%s", out);
    cr_expect(
        strstr(all, line), "no line '%.*s' in:\n%s", (int)strlen(line) - 2,
        line + 1, out);
}

int lacks(int32_t level)
{
    uint32_t offer = level == EXECUTR_ISOLATION_STRICT ? EXECUTR_OFFER_STRICT
                                                       : EXECUTR_OFFER_STANDARD;

    open_it();
    if (executr_runner_offers(runner) & offer)
        return 0;
    cr_skip_test("%s", executr_runner_abilities(runner));
    return 1;
}
