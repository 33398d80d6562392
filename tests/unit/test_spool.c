/* SPDX-License-Identifier: MIT */
/* The spool on disk: what survives, what is cut, who may have it. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spool.h"
#include "support/home.h"

#define SERVER "http://here/api/v1/binaries/"

static executr_error err;
static ex_spool spool;
static char directory[300];

static void must(executr_status status)
{
    cr_assert_eq(
        status, EXECUTR_OK, "%s: %s", executr_status_word(status), err.message);
}

static void open_spool(ex_spool *out, const char *executor)
{
    must(ex_spool_open(out, directory, executor, SERVER, &err));
}

static void init(void)
{
    make_fast_home();
    snprintf(directory, sizeof directory, "%s", in_home("spool"));
    open_spool(&spool, "one-00000001");
}

static void fini(void)
{
    ex_spool_close(&spool, 0);
    drop_home();
}

TestSuite(spool, .init = init, .fini = fini);

static executr_report make_report(int number, const char *out, size_t length)
{
    static char ids[10][40];
    executr_report report = EXECUTR_REPORT_INIT;

    snprintf(ids[number], sizeof ids[0], "job-%d", number);
    report.job_id = ids[number];
    report.attempt = number + 1;
    report.status = EXECUTR_ATTEMPT_FAILED;
    report.outcome = EXECUTR_OUTCOME_SIGNAL;
    report.signal = 9;
    report.stdout_data = out;
    report.stdout_length = length;
    report.stderr_data = "e\0e";
    report.stderr_length = 3;
    report.error_message = "killed";
    report.user_seconds = 1.5;
    report.max_rss_bytes = 4096;
    return report;
}

static void add(int number, const char *out, size_t length)
{
    executr_report report = make_report(number, out, length);
    const executr_report *one = &report;

    must(ex_spool_add(&spool, &one, 1, &err));
}

/* As a kill does: nothing but the lock is given up. */
static void die(void)
{
    ex_spool_close(&spool, 1);
}

/* What the next executor finds; the end of the file is checked by the caller. */
static size_t adopt(ex_spool_page *page, int64_t *cut, int *removed)
{
    ex_spool next;
    ex_orphan orphan;
    size_t count = 0;

    *page = (ex_spool_page){.count = 0};
    *cut = 0;
    open_spool(&next, "two-00000002");
    must(ex_spool_find(&next, &orphan, removed, &err));
    if (orphan.fd >= 0) {
        must(ex_spool_read(&orphan, page, cut, &err));
        count = page->count;
    }
    ex_spool_leave(&next, &orphan, 0);
    ex_spool_close(&next, 0);
    return count;
}

static size_t adopted(void)
{
    ex_spool_page page;
    int64_t cut;
    int removed;
    size_t count = adopt(&page, &cut, &removed);

    ex_spool_page_clear(&page);
    return count;
}

static int files(void)
{
    int count = 0;
    DIR *list = opendir(directory);

    cr_assert(list != NULL);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        count += entry->d_name[0] != '.';
    closedir(list);
    return count;
}

Test(spool, gives_back_what_it_took)
{
    ex_spool_page page;
    int64_t cut;
    int removed;

    add(0, "a\0b", 3);
    add(1, "", 0);
    die();
    cr_assert_eq(adopt(&page, &cut, &removed), 2);
    const executr_report *first = page.reports[0];
    cr_expect_str_eq(first->job_id, "job-0");
    cr_expect_eq(first->attempt, 1);
    cr_expect_eq(first->status, EXECUTR_ATTEMPT_FAILED);
    cr_expect_eq(first->outcome, EXECUTR_OUTCOME_SIGNAL);
    cr_expect_eq(first->signal, 9);
    cr_expect_eq(first->stdout_length, 3);
    cr_expect_arr_eq(first->stdout_data, "a\0b", 3);
    cr_expect_eq(first->stderr_length, 3);
    cr_expect_arr_eq(first->stderr_data, "e\0e", 3);
    cr_expect_str_eq(first->error_message, "killed");
    cr_expect_eq(first->user_seconds, 1.5);
    cr_expect_eq(first->max_rss_bytes, 4096);
    cr_expect_str_eq(page.reports[1]->job_id, "job-1");
    cr_expect_eq(cut, 0);
    ex_spool_page_clear(&page);
}

Test(spool, is_for_its_owner_alone)
{
    struct stat info;

    add(0, "x", 1);
    cr_assert_eq(stat(directory, &info), 0);
    cr_expect_eq(info.st_mode & 07777, 0700);
    cr_assert_eq(fstat(spool.fd, &info), 0);
    cr_expect_eq(info.st_mode & 07777, 0600);
}

Test(spool, file_of_a_living_executor_is_left_alone)
{
    add(0, "x", 1);
    cr_expect_eq(adopted(), 0);
    cr_expect_eq(files(), 1);
    die();
    cr_expect_eq(adopted(), 1);
}

/* Two look at the same time: the lock gives it to one. */
Test(spool, orphan_is_one_executors)
{
    ex_orphan orphan;
    int removed;
    ex_spool next;

    add(0, "x", 1);
    die();
    open_spool(&next, "two-00000002");
    must(ex_spool_find(&next, &orphan, &removed, &err));
    cr_assert_geq(orphan.fd, 0);
    cr_expect_str_eq(orphan.executor_id, "one-00000001");
    cr_expect_eq(adopted(), 0);
    ex_spool_leave(&next, &orphan, 1);
    cr_expect_eq(files(), 0);
    ex_spool_close(&next, 0);
}

static void copy_cut(const char *from, size_t length)
{
    static char bytes[4096];
    int in = openat(spool.dir_fd, from, O_RDONLY);
    int out = openat(
        spool.dir_fd, EX_SPOOL_PREFIX "copy", O_WRONLY | O_CREAT | O_TRUNC,
        0600);

    cr_assert_eq(read(in, bytes, length), (ssize_t)length);
    cr_assert_eq(write(out, bytes, length), (ssize_t)length);
    close(in);
    close(out);
}

Test(spool, t36_torn_tail_is_cut_wherever_it_is_torn)
{
    add(0, "first", 5);
    int64_t one = spool.size;
    add(1, "second", 6);
    int64_t two = spool.size;
    for (int64_t length = 0; length <= two; length++) {
        ex_spool_page page;
        int64_t cut;
        int removed;
        size_t wanted = length < one ? 0 : length < two ? 1 : 2;
        copy_cut(spool.name, (size_t)length);
        cr_expect_eq(adopt(&page, &cut, &removed), wanted, "%ld", length);
        cr_expect_eq(removed, length < spool.empty_size, "%ld", length);
        if (!removed && wanted < 2)
            cr_expect_eq(
                cut, length - (wanted ? one : spool.empty_size), "%ld", length);
        ex_spool_page_clear(&page);
    }
}

Test(spool, changed_byte_ends_what_counts)
{
    add(0, "first", 5);
    int64_t one = spool.size;
    add(1, "second", 6);
    for (int64_t at = spool.empty_size; at < spool.size; at++) {
        char byte;
        copy_cut(spool.name, (size_t)spool.size);
        int fd = openat(spool.dir_fd, EX_SPOOL_PREFIX "copy", O_RDWR);
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        byte = (char)~byte;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        cr_expect_eq(adopted(), at >= one, "%ld", at);
    }
}

Test(spool, garbage_breaks_nothing)
{
    unsigned state = 1;

    for (int i = 0; i < 300; i++) {
        char bytes[700];
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = (char)((state = state * 1103515245 + 12345) >> 16);
        int fd = openat(
            spool.dir_fd, EX_SPOOL_PREFIX "garbage", O_WRONLY | O_CREAT, 0600);
        cr_assert_geq(write(fd, bytes, (size_t)i * 2), 0);
        close(fd);
        cr_expect_eq(adopted(), 0);
        cr_expect_eq(files(), 0);
    }
}

/* A body that has a right checksum is doubted all the same. */
Test(spool, lengths_in_a_record_are_not_believed)
{
    executr_report report = make_report(0, "xyz", 3);
    executr_report parsed;
    ex_buf bytes;

    ex_buf_init(&bytes, EX_BUF_UNLIMITED);
    ex_spool_write_report(&bytes, &report);
    for (size_t length = 0; length < bytes.length; length++) {
        for (size_t at = 0; at < length; at++) {
            char *body = malloc(length);
            memcpy(body, bytes.data + bytes.length - length, length);
            body[at] = (char)0xff;
            if (ex_spool_parse_report(body, length, &parsed) == 0)
                cr_expect_leq(
                    parsed.stdout_length + parsed.stderr_length, length);
            free(body);
        }
    }
    ex_buf_clear(&bytes);
}

Test(spool, links_and_pipes_are_not_followed)
{
    make_file("elsewhere", "something");
    cr_assert_eq(
        symlinkat(in_home("elsewhere"), spool.dir_fd, EX_SPOOL_PREFIX "link"),
        0);
    cr_assert_eq(mkfifoat(spool.dir_fd, EX_SPOOL_PREFIX "pipe", 0600), 0);
    cr_assert_eq(mkdirat(spool.dir_fd, EX_SPOOL_PREFIX "dir", 0700), 0);
    cr_expect_eq(adopted(), 0);
    cr_expect_eq(files(), 3);
    cr_expect(exists("elsewhere"));
    unlinkat(spool.dir_fd, EX_SPOOL_PREFIX "link", 0);
    unlinkat(spool.dir_fd, EX_SPOOL_PREFIX "pipe", 0);
    unlinkat(spool.dir_fd, EX_SPOOL_PREFIX "dir", AT_REMOVEDIR);
}

Test(spool, is_cut_when_all_is_answered)
{
    add(0, "x", 1);
    must(ex_spool_trim(&spool, &err));
    cr_expect_eq(spool.size, spool.empty_size);
    add(1, "y", 1);
    die();
    cr_expect_eq(adopted(), 1);
}

Test(spool, renewed_file_has_just_what_was_given)
{
    executr_report report = make_report(2, "z", 1);
    const executr_report *one = &report;

    add(0, "x", 1);
    add(1, "y", 1);
    must(ex_spool_renew(&spool, &one, 1, &err));
    cr_expect_eq(files(), 1);
    die();
    cr_expect_eq(adopted(), 1);
}

Test(spool, more_than_a_page_is_read_page_by_page)
{
    static char big[3 * 1024 * 1024];
    ex_orphan orphan;
    ex_spool_page page = {.count = 0};
    ex_spool next;
    int64_t cut;
    int removed;
    size_t total = 0;

    for (int i = 0; i < 8; i++)
        add(i, big, sizeof big);
    die();
    open_spool(&next, "two-00000002");
    must(ex_spool_find(&next, &orphan, &removed, &err));
    do {
        must(ex_spool_read(&orphan, &page, &cut, &err));
        cr_expect_leq(page.count, 3);
        total += page.count;
    } while (page.count > 0);
    cr_expect_eq(total, 8);
    ex_spool_page_clear(&page);
    ex_spool_leave(&next, &orphan, 1);
    ex_spool_close(&next, 0);
}

Test(spool, full_disk_keeps_what_was_there)
{
    static char big[2 * 1024 * 1024];

    ex_spool_close(&spool, 0);
    if (geteuid() != 0 ||
        mount("none", directory, "tmpfs", 0, "size=5m,mode=0700") != 0)
        cr_skip("mounting a small disk is not allowed here");
    open_spool(&spool, "one-00000001");
    executr_report report = make_report(1, big, sizeof big);
    const executr_report *one = &report;
    int taken = 0;
    while (ex_spool_add(&spool, &one, 1, &err) == EXECUTR_OK)
        taken++;
    cr_expect_eq(taken, 2);
    cr_expect_eq(err.status, EXECUTR_E_IO);
    cr_expect_eq(ex_spool_renew(&spool, &one, 1, &err), EXECUTR_E_IO);
    cr_expect_eq(files(), 1);
    die();
    cr_expect_eq(adopted(), 2);
    open_spool(&spool, "three-00000003");
    ex_spool_close(&spool, 0);
    umount(directory);
}

static executr_status all_of_it(void)
{
    executr_report report = make_report(0, "x", 1);
    const executr_report *one = &report;
    ex_spool_page page = {.count = 0};
    ex_orphan orphan = {.fd = -1};
    ex_spool next = {.dir_fd = -1, .fd = -1};
    int64_t cut = 0;
    int removed = 0;

    executr_status st = ex_spool_add(&spool, &one, 1, &err);
    die();
    if (!st)
        st = ex_spool_open(&next, directory, "two-00000002", SERVER, &err);
    if (!st)
        st = ex_spool_find(&next, &orphan, &removed, &err);
    if (!st)
        st = ex_spool_read(&orphan, &page, &cut, &err);
    cr_expect(st || page.count == 1);
    ex_spool_page_clear(&page);
    ex_spool_leave(&next, &orphan, !st);
    ex_spool_close(&next, 0);
    return st;
}

Test(spool, failed_allocation_is_an_error_and_loses_nothing)
{
    executr_status st = EXECUTR_E_NOMEM;

    for (uint64_t n = 1; st; n++) {
        ex_alloc_fail_at(n);
        st = all_of_it();
        ex_alloc_fail_at(0);
        cr_expect(st == EXECUTR_OK || st == EXECUTR_E_NOMEM);
        open_spool(&spool, "one-00000001");
        cr_assert_lt(n, 100);
    }
}
