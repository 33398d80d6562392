/* SPDX-License-Identifier: MIT */
/* How a worker gets binaries: beside everything else it does. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"
#include "support/home.h"
#include "support/http_fixture.h"
#include "support/work_bench.h"
#include "worker.h"

static http_fixture *server;

static void open_all(void)
{
    server = http_fixture_start();
    http_fixture_add(server, &(http_script){.path = "/hangs", .hang = 1});
    open_bench();
}

static void close_all(void)
{
    close_bench();
    http_fixture_stop(server);
}

TestSuite(worker_fetch, .init = open_all, .fini = close_all);

/* A job whose binary never comes; its own hash each. */
static const char *submit_hanging(char digit)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    const executr_job_spec *one = &spec;
    executr_jobs *jobs;
    static char ids[16][40];
    char hash[65];

    memset(hash, digit, 64);
    hash[64] = '\0';
    spec.type = "hangs";
    spec.binary_sha256 = hash;
    spec.binary_url = http_fixture_url(server, "/hangs");
    cr_assert_eq(executr_queue_submit(queue, &one, 1, NULL, &jobs, &err), 0);
    char *id = ids[digit - '0'];
    snprintf(id, 40, "%s", executr_job_id(executr_jobs_at(jobs, 0)));
    executr_jobs_free(jobs);
    return id;
}

static void wait_for_requests(int count)
{
    while (http_fixture_requests(server) < count)
        nanosleep(&(struct timespec){0, 5000000}, NULL);
}

/* All slots but one wait for downloads that never end. */
Test(worker_fetch, downloads_that_hang_hold_up_no_other_job)
{
    options.max_jobs = 9;
    start_worker();
    for (char digit = '0'; digit < '8'; digit++)
        submit_hanging(digit);
    wait_for_requests(8);
    /* Not in the cache yet, and then in it. */
    for (int i = 0; i < 2; i++)
        wait_for_status(submit_job(ARGS("exit", "0")), EXECUTR_JOB_COMPLETED);
}

Test(worker_fetch, a_cancelled_job_gives_up_its_download)
{
    executr_status result;

    options.max_jobs = 1;
    start_worker();
    const char *id = submit_hanging('1');
    wait_for_requests(1);
    cr_assert_eq(executr_queue_cancel(queue, &id, 1, &result, &err), 0);
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_CANCELLED);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_CANCELLED);
    /* The one thread of the one slot is free again. */
    wait_for_status(submit_job(ARGS("exit", "0")), EXECUTR_JOB_COMPLETED);
}

/* Nothing but the end of its download could keep it for a minute. */
Test(worker_fetch, freeing_waits_for_no_download, .timeout = 30)
{
    options.max_jobs = 3;
    start_worker();
    submit_hanging('1');
    submit_hanging('2');
    wait_for_requests(2);
    stop_worker(2);
}

/* Other bytes under the name of the job program. */
static void flip(void)
{
    char path[512];

    snprintf(
        path, sizeof path, "%s/objects/%.2s/%s", options.cache_directory,
        job_sha256(), job_sha256());
    cr_assert_eq(chmod(path, 0755), 0);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    cr_assert_geq(fputs("#!/bin/sh\necho owned\n", f), 0);
    cr_assert_eq(fclose(f), 0);
    cr_assert_eq(chmod(path, 0555), 0);
}

/* A file that is altered in the cache is thrown out, and never runs. */
Test(worker_fetch, t45_a_flipped_file_is_never_executed)
{
    size_t length;

    start_worker();
    wait_for_status(submit_job(ARGS("exit", "0")), EXECUTR_JOB_COMPLETED);
    flip();
    const char *id = submit_job(ARGS("arguments", "well"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_COMPLETED);
    cr_expect(strstr(executr_job_stdout(job, &length), "[well]"));
}

/* A worker that is not run takes the job that waits. */
static ex_work *take_one(executr_worker *idle, int64_t sent_us)
{
    executr_claim claim = EXECUTR_CLAIM_INIT;
    executr_jobs *jobs;

    claim.executor_id = "tester";
    claim.executor_ip = "127.0.0.1";
    cr_assert_eq(executr_queue_claim(queue, &claim, &jobs, &err), 0);
    cr_assert_eq(executr_jobs_count(jobs), 1);
    ex_worker_lease(idle, 1000);
    ex_worker_take(idle, jobs, sent_us);
    return idle->works;
}

static ex_work *hold_claimed(executr_worker *idle, int64_t sent_us)
{
    submit_job(ARGS("exit", "0"));
    return take_one(idle, sent_us);
}

/* Its lease is too old to start it: its binary is at hand, and it waits for a
 * heartbeat. */
static ex_work *hold_waiting(executr_worker *idle)
{
    ex_work *work = hold_claimed(idle, ex_boottime_us() - INT64_C(60000000));
    while (!work->pin) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        ex_worker_fetched(idle);
    }
    cr_assert_eq(work->state, EX_WORK_WAITING);
    return work;
}

static void renew(ex_work *work)
{
    work->renewed_us = ex_boottime_us();
    work->renewed = 1;
    work->due_us = 0;
}

Test(worker_fetch, t45_a_file_flipped_while_its_job_waits_is_not_executed)
{
    executr_worker *idle;

    cr_assert_eq(executr_worker_open(&options, &idle, &err), 0);
    ex_work *work = hold_waiting(idle);
    flip();
    renew(work);
    ex_works_due(idle, ex_boottime_us());
    cr_expect_eq(work->state, EX_WORK_FETCHING);
    cr_expect_null(work->pin);
    executr_worker_free(idle);
}

/* Between the end of the fetch and the loop's turn. */
Test(worker_fetch, t45_a_file_flipped_after_its_fetch_is_not_executed)
{
    executr_worker *idle;
    struct stat info;

    cr_assert_eq(executr_worker_open(&options, &idle, &err), 0);
    ex_work *work = hold_claimed(idle, ex_boottime_us());
    struct pollfd done = {.fd = idle->fetcher.done_fd, .events = POLLIN};
    cr_assert_eq(poll(&done, 1, 10000), 1);
    flip();
    while (work->state != EX_WORK_RUNNING) {
        ex_worker_fetched(idle);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    cr_assert_eq(stat(executr_pin_path(work->pin), &info), 0);
    cr_expect_gt(info.st_size, 1000, "it was fetched again");
    executr_worker_free(idle);
}

/* That it starts is what the test above must not see. */
Test(worker_fetch, a_job_that_waited_starts_when_its_lease_is_kept)
{
    executr_worker *idle;

    cr_assert_eq(executr_worker_open(&options, &idle, &err), 0);
    ex_work *work = hold_waiting(idle);
    renew(work);
    ex_works_due(idle, ex_boottime_us());
    cr_expect_eq(work->state, EX_WORK_RUNNING);
    executr_worker_free(idle);
}

/* All descriptors but so many, which would do for a program. */
static void leave_descriptors(int count)
{
    struct rlimit few = {.rlim_cur = 256, .rlim_max = 256};
    int taken[256];
    int last = 0;

    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int fd = dup(0); fd >= 0; fd = dup(0))
        taken[last++] = fd;
    while (count-- > 0)
        close(taken[--last]);
}

/* Heartbeats that are heard while none is answered would keep it for ever. */
Test(worker_fetch, t35_a_job_that_waits_in_vain_for_a_heartbeat_is_given_back)
{
    executr_worker *idle;

    cr_assert_eq(executr_worker_open(&options, &idle, &err), 0);
    ex_work *work = hold_waiting(idle);
    int64_t due = ex_works_due_us(idle);
    cr_expect_eq(due, work->since_us + 1000000, "a lease");
    ex_works_due(idle, due - 1);
    cr_expect_eq(work->state, EX_WORK_WAITING);
    ex_works_due(idle, due);
    cr_expect_eq(work->state, EX_WORK_ENDED);
    cr_expect(work->report.uncounted);
    executr_worker_free(idle);
}

/* The same for one that can't be fetched: two leases after the last word. */
Test(worker_fetch, t35_a_job_that_hangs_unheard_of_is_given_back)
{
    executr_worker *idle;

    submit_hanging('1');
    cr_assert_eq(executr_worker_open(&options, &idle, &err), 0);
    ex_work *work = take_one(idle, ex_boottime_us());
    cr_assert_eq(work->state, EX_WORK_FETCHING);
    int64_t due = ex_works_due_us(idle);
    cr_expect_eq(due, work->taken_us + 2000000);
    idle->beat_sent_us = work->taken_us + 500000;
    ex_work_renew(idle, work);
    due = ex_works_due_us(idle);
    cr_expect_eq(due, work->taken_us + 2500000, "a heartbeat was answered");
    idle->woke_us = due;
    ex_works_due(idle, due);
    cr_expect_eq(
        work->state, EX_WORK_FETCHING, "we were stopped: first we ask");
    idle->woke_us = 0;
    ex_works_due(idle, due - 1);
    cr_expect_eq(work->state, EX_WORK_FETCHING);
    ex_works_due(idle, due);
    cr_expect_eq(work->state, EX_WORK_ENDED);
    cr_expect(work->report.uncounted);
    executr_worker_free(idle);
}

/* Nor is it tried for ever; see is_outage. */
Test(worker_fetch, t35_a_job_that_waits_for_its_next_fetch_is_given_back)
{
    executr_worker *idle;

    cr_assert_eq(executr_worker_open(&options, &idle, &err), 0);
    ex_work *work = hold_waiting(idle);
    work->due_us = work->taken_us + 3000000;
    cr_expect_eq(ex_works_due_us(idle), work->taken_us + 2000000);
    ex_works_due(idle, work->taken_us + 2000000);
    cr_expect_eq(work->state, EX_WORK_ENDED);
    executr_worker_free(idle);
}

/* A heartbeat failed, so what was kept for it was let go. */
Test(worker_fetch, t40_the_last_descriptors_are_for_heartbeats)
{
    executr_worker *idle;
    executr_error none = {0};

    cr_assert_eq(executr_worker_open(&options, &idle, &err), 0);
    ex_work *work = hold_waiting(idle);
    ex_worker_beaten(idle, EXECUTR_E_UNAVAILABLE, NULL, 0, &none);
    cr_expect_eq(idle->spare_count, 0);
    leave_descriptors(EX_SPARES - 1);
    renew(work);
    ex_works_due(idle, ex_boottime_us());
    cr_expect_neq(work->state, EX_WORK_RUNNING);
    executr_worker_free(idle);
}

/* Nothing is renamed or linked from the cache to where jobs run. */
Test(worker_fetch, cache_and_work_directory_on_separate_volumes)
{
    char cache[256];

    snprintf(cache, sizeof cache, "%s", options.cache_directory);
    cr_assert_eq(mkdir(cache, 0700), 0);
    if (mount("none", cache, "tmpfs", 0, "size=64m,mode=0700") != 0) {
        cr_skip(
            "SKIPPED: a second volume needs root to mount a tmpfs (%s)",
            strerror(errno));
        return;
    }
    start_worker();
    const char *id = submit_job(ARGS("exit", "0"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_COMPLETED);
    cr_expect_eq(executr_job_attempt(job), 1);
    stop_worker(1);
    cr_expect_eq(umount(cache), 0);
}
