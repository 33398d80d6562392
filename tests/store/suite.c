/* SPDX-License-Identifier: MIT */
/* The fixtures of the store suite, and its programs' main. */
#include "store/suite.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

executr_store *store;
executr_error err;
ex_rules rules;
int suite_check_at_end = 1;

static executr_jobs **lists;
static size_t list_count;

executr_jobs *new_list(void)
{
    executr_jobs *list = NULL;

    must(ex_jobs_new(&list, &err));
    lists = realloc(lists, (list_count + 1) * sizeof *lists);
    cr_assert(lists);
    lists[list_count++] = list;
    return list;
}

void suite_open_database(void)
{
    rules.heartbeat_timeout_ms = HOUR_MS;
    rules.max_lost_attempts = 5;
    for (int i = 0; i < EX_RETRY_STEPS; i++)
        rules.retry_ms[i] = HOUR_MS;
    backend_create();
}

void suite_open(void)
{
    suite_open_database();
    must(executr_store_open(backend_url(), NULL, &store, &err));
}

void suite_close_database(void)
{
    for (size_t i = 0; i < list_count; i++)
        executr_jobs_free(lists[i]);
    free(lists);
    lists = NULL;
    list_count = 0;
    executr_store_free(store);
    store = NULL;
    backend_drop();
}

void suite_close(void)
{
    if (store && suite_check_at_end)
        suite_check();
    suite_close_database();
}

static void format_sql(char *out, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void format_sql(char *out, size_t size, const char *format, va_list args)
{
    int length = vsnprintf(out, size, format, args);
    cr_assert(length >= 0 && (size_t)length < size, "SQL too long");
}

int64_t number(const char *format, ...)
{
    char text[4096];
    va_list args;

    va_start(args, format);
    format_sql(text, sizeof text, format, args);
    va_end(args);
    return backend_number(text);
}

void sql(const char *format, ...)
{
    char text[4096];
    va_list args;

    va_start(args, format);
    format_sql(text, sizeof text, format, args);
    va_end(args);
    backend_exec(text);
}

/* 77 is how a program tells ctest that it was skipped. The main of a test
 * process is found by its name, so it must be visible. */
__attribute__((visibility("default"))) int main(int argc, char *argv[])
{
    const char *missing = backend_missing();
    int code = 0;

    if (missing) {
        fprintf(stderr, "SKIPPED, nothing was tested: %s\n", missing);
        return 77;
    }
    struct criterion_test_set *tests = criterion_initialize();
    if (criterion_handle_args(argc, argv, true))
        code = !criterion_run_all_tests(tests);
    criterion_finalize(tests);
    return code;
}
