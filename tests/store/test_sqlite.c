/* SPDX-License-Identifier: MIT */
/* What only an embedded store has: a file, its lock, a disk that fills up. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/suite.h"

TestSuite(sqlite, .init = suite_open, .fini = suite_close);
TestSuite(
    sqlite_file, .init = suite_open_database, .fini = suite_close_database);

static const char *path(void)
{
    return backend_url() + strlen("sqlite://");
}

static executr_status open_url(const char *url)
{
    executr_store *other = NULL;
    executr_status st = executr_store_open(url, NULL, &other, &err);

    cr_expect_eq(other == NULL, st != EXECUTR_OK);
    executr_store_free(other);
    return st;
}

/* ---- Names and files. */

Test(sqlite_file, refuses_urls_that_name_no_file)
{
    const char *bad[] = {
        "sqlite:",
        "sqlite://",
        "sqlite://host/x.db",
        "sqlite:///x/?a=b",
        "sqlite:///tmp/",
        "sqlite::memory:",
        "sqlite:///a%zz",
        "mysql://x",
        "sqlit",
        "",
        "/tmp/x.db"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(open_url(bad[i]), EXECUTR_E_ARGUMENT, "%s", bad[i]);
    cr_expect_eq(open_url(NULL), EXECUTR_E_ARGUMENT);
}

Test(sqlite_file, makes_file_and_directory_for_its_owner_alone)
{
    char directory[300];
    struct stat info;

    must(executr_store_open(backend_url(), NULL, &store, &err));
    put("t", EXECUTR_PRIORITY_BACKGROUND);
    cr_assert_eq(stat(path(), &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0600);
    snprintf(directory, sizeof directory, "%s-wal", path());
    cr_assert_eq(stat(directory, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0600);
    snprintf(directory, sizeof directory, "%s", path());
    *strrchr(directory, '/') = '\0';
    cr_assert_eq(stat(directory, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0700);
}

Test(sqlite_file, takes_relative_names_and_percent_codes)
{
    char directory[] = "/tmp/executr-rel.XXXXXX";

    cr_assert(mkdtemp(directory));
    cr_assert_eq(chdir(directory), 0);
    must(open_url("sqlite:sub/dir/a%20b.db"));
    cr_expect_eq(access("sub/dir/a b.db", F_OK), 0);
    must(open_url("sqlite:plain.db"));
    cr_expect_eq(access("plain.db", F_OK), 0);
    cr_expect_eq(chdir("/"), 0);
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", directory);
    cr_expect_eq(system(command), 0);
}

Test(sqlite_file, keeps_jobs_when_closed_and_folds_the_log_in)
{
    char log[300];

    must(executr_store_open(backend_url(), NULL, &store, &err));
    ex_uuid id = put("t", EXECUTR_PRIORITY_BACKGROUND);
    executr_store_free(store);
    store = NULL;
    snprintf(log, sizeof log, "%s-wal", path());
    cr_expect_neq(access(log, F_OK), 0, "the log is still there");
    must(executr_store_open(backend_url(), NULL, &store, &err));
    cr_expect_eq(status_of(&id), EXECUTR_JOB_PENDING);
}

Test(sqlite_file, that_is_none_of_ours_is_refused)
{
    must(open_url(backend_url()));
    FILE *file = fopen(path(), "w");
    cr_assert(file);
    for (int i = 0; i < 500; i++)
        fputs("this is no database\n", file);
    fclose(file);
    cr_expect_eq(open_url(backend_url()), EXECUTR_E_IO);
    cr_expect(strstr(err.message, "test.db"), "%s", err.message);
    cr_expect_eq(err.native & 0xff, 26);
}

Test(sqlite_file, of_a_newer_release_is_refused)
{
    must(open_url(backend_url()));
    sql("INSERT INTO schema_migrations VALUES (999, 'later', 0)");
    cr_expect_eq(open_url(backend_url()), EXECUTR_E_UNSUPPORTED);
    sql("DELETE FROM schema_migrations WHERE version = 999");
    must(open_url(backend_url()));
}

/* ---- One program at a time. */

Test(sqlite, is_refused_to_a_second_program)
{
    cr_expect_eq(open_url(backend_url()), EXECUTR_E_CONFLICT);
    cr_expect(strstr(err.message, "in use"), "%s", err.message);
    cr_expect(strstr(err.message, path()), "%s", err.message);
    put("t", EXECUTR_PRIORITY_BACKGROUND);
}

Test(sqlite, is_refused_by_any_name_of_the_file)
{
    char link_path[300];
    char url[320];

    snprintf(link_path, sizeof link_path, "%s.link", path());
    snprintf(url, sizeof url, "sqlite://%s", link_path);
    cr_assert_eq(symlink(path(), link_path), 0);
    cr_expect_eq(open_url(url), EXECUTR_E_CONFLICT);
}

/* ---- Readers, the writer, waiting. */

Test(sqlite, reads_while_somebody_writes)
{
    ex_uuid id = put("t", EXECUTR_PRIORITY_BACKGROUND);
    executr_filter filter = EXECUTR_FILTER_INIT;

    sql("BEGIN IMMEDIATE");
    sql("UPDATE jobs SET type = 'changed'");
    cr_expect_str_eq(look(&id, EXECUTR_PART_ALL)->type, "t");
    must(store->ops->list(store, &filter, new_list(), &err));
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 1);
    sql("ROLLBACK");
}

Test(sqlite_file, waits_for_a_person_who_writes_but_not_for_ever)
{
    executr_store_options options = EXECUTR_STORE_OPTIONS_INIT;
    executr_job_spec spec = spec_of("t");

    options.query_timeout_ms = 100;
    must(executr_store_open(backend_url(), &options, &store, &err));
    ex_submit entry = entry_of(&spec);
    sql("BEGIN IMMEDIATE");
    cr_expect_eq(submit(&entry, 1), EXECUTR_E_UNAVAILABLE);
    cr_expect_eq(err.native & 0xff, 5);
    cr_expect_eq(executr_store_connections_active(store), 0);
    sql("ROLLBACK");
    must(submit(&entry, 1));
    suite_check();
}

Test(sqlite, watch_returns_when_woken)
{
    int wake = eventfd(0, EFD_CLOEXEC);
    uint64_t one = 1;
    int32_t told = -1;

    must(store->ops->watch(store, 1, 1, wake, &told, &err));
    cr_expect_eq(told, 0);
    cr_assert_eq(write(wake, &one, sizeof one), (ssize_t)sizeof one);
    must(store->ops->watch(store, 1, 1000000, wake, &told, &err));
    cr_expect_eq(told, 0);
    close(wake);
}

/* ---- A full disk. */

/* A small file system of this test's own, where that is allowed. */
static int mount_small(char *directory)
{
    if (!mkdtemp(directory) || unshare(CLONE_NEWNS) ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return -1;
    return mount("none", directory, "tmpfs", 0, "size=4m");
}

/* Submit a hundred jobs at a time until the disk is full; how many went in. */
static int64_t fill_up(void)
{
    static char arguments[20000];
    executr_job_spec spec = spec_of("t");
    executr_status st = EXECUTR_OK;
    int64_t count = 0;

    memset(arguments, 'x', sizeof arguments - 1);
    memcpy(arguments, "[\"", 2);
    memcpy(arguments + sizeof arguments - 3, "\"]", 2);
    while (!st && count < 10000) {
        ex_submit entries[10];
        for (int i = 0; i < 10; i++) {
            entries[i] = entry_of(&spec);
            entries[i].arguments = arguments;
        }
        st = submit(entries, 10);
        count += st ? 0 : 10;
    }
    cr_expect_eq(st, EXECUTR_E_UNAVAILABLE);
    cr_expect_eq(err.native & 0xff, 13, "%d", (int)err.native);
    cr_expect(strstr(err.message, "full"), "%s", err.message);
    return count;
}

Test(sqlite_file, survives_a_full_disk)
{
    char directory[] = "/tmp/executr-full.XXXXXX";
    char ballast[100];
    char url[100];

    if (mount_small(directory)) {
        fprintf(
            stderr, "SKIPPED, the disk was not filled: %s\n", strerror(errno));
        return;
    }
    snprintf(url, sizeof url, "sqlite://%s/x.db", directory);
    snprintf(ballast, sizeof ballast, "%s/ballast", directory);
    FILE *file = fopen(ballast, "w");
    cr_assert(file && ftruncate(fileno(file), 0) == 0);
    for (int i = 0; i < 1024 * 1024; i++)
        fputc('x', file);
    fclose(file);
    must(executr_store_open(url, NULL, &store, &err));
    int64_t count = fill_up();
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], count);
    cr_assert_eq(unlink(ballast), 0);
    const job *got = take_one("e1");
    cr_assert(got);
    ex_uuid id = id_of(got);
    must(end("e1", &id, 1, EXECUTR_ATTEMPT_COMPLETED));
    must(executr_store_ping(store, &err));
    executr_store_free(store);
    must(executr_store_open(url, NULL, &store, &err));
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], count - 1);
    cr_expect_eq(status_of(&id), EXECUTR_JOB_COMPLETED);
    executr_store_free(store);
    store = NULL;
    umount2(directory, MNT_DETACH);
    rmdir(directory);
}
