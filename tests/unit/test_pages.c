/* SPDX-License-Identifier: MIT */
/* Code that is given back, and what must not be. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "apps/common/pages.h"

#define SIZE ((size_t)16384)

static FILE *file;

static void write_file(void)
{
    file = tmpfile();
    for (size_t i = 0; i < SIZE; i++)
        fputc('a', file);
    fflush(file);
}

static void close_file(void)
{
    fclose(file);
}

TestSuite(pages, .init = write_file, .fini = close_file);

static char *map(int rights)
{
    char *code = mmap(NULL, SIZE, rights, MAP_PRIVATE, fileno(file), 0);

    cr_assert_neq(code, MAP_FAILED);
    return code;
}

/* KiB of this mapping in memory. */
static long resident(const char *code)
{
    char line[4500];
    void *start = NULL;
    void *end;
    long size = -1;
    FILE *maps = fopen("/proc/self/smaps", "r");

    while (size < 0 && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%p-%p", &start, &end) != 2 && start == code)
            sscanf(line, "Rss: %ld", &size);
    }
    fclose(maps);
    return size;
}

static int sum(const char *code)
{
    int total = 0;

    for (size_t i = 0; i < SIZE; i += 4096)
        total += code[i];
    return total;
}

Test(pages, of_code_are_given_back_and_come_back)
{
    const char *code = map(PROT_READ | PROT_EXEC);

    cr_expect_eq(sum(code), 4 * 'a');
    cr_expect_eq(resident(code), 16);
    app_give_back_code();
    cr_expect_eq(resident(code), 0);
    cr_expect_eq(sum(code), 4 * 'a');
}

/* As a debugger does for a breakpoint. */
Test(pages, that_were_changed_stay)
{
    char *code = map(PROT_READ | PROT_WRITE);

    code[4096] = 'b';
    cr_assert_eq(mprotect(code, SIZE, PROT_READ | PROT_EXEC), 0);
    app_give_back_code();
    cr_expect_eq(code[4096], 'b');
}

Test(pages, of_data_stay)
{
    const char *data = map(PROT_READ);

    cr_expect_eq(sum(data), 4 * 'a');
    app_give_back_code();
    cr_expect_eq(resident(data), 16);
}
