/* SPDX-License-Identifier: MIT */
/* Results that outlive the executor which had them. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/home.h"
#include "support/http_fixture.h"
#include "support/work_bench.h"

#define JOB "0192f0c1-7a7e-7cc3-98c4-dc0c0c07390"
#define TAKEN "{\"results\":[{\"id\":\"" JOB "1\",\"accepted\":true}]}"
#define LOST                                                                   \
    "{\"results\":[{\"id\":\"" JOB                                             \
    "1\",\"accepted\":false,\"code\":\"lost_attempt\"}]}"
#define KEPT "{\"cancel\":[],\"lost\":[],\"lease\":\"1m\"}"

static http_fixture *server;
static char jobs_json[2][1000];
static char body[20000];

static void answer(
    const char *method, const char *path, int status, const char *text)
{
    http_fixture_add(
        server, &(http_script){
                    .method = method,
                    .path = path,
                    .status = status,
                    .headers = "Content-Type: application/json\r\n",
                    .body = text});
}

/* The next claims get this job. */
static void offer(int number, const char *pid_file)
{
    char *json = jobs_json[number - 1];

    snprintf(
        json, sizeof jobs_json[0],
        "[{\"id\":\"" JOB "%d\",\"type\":\"t\",\"binary_sha256\":\"%s\","
        "\"arguments\":[\"stubborn\",\"%s\"],\"env_variables\":{},"
        "\"priority\":\"background\",\"status\":\"running\",\"attempt\":1,"
        "\"max_retries\":0,\"retry_count\":0,"
        "\"created_at\":\"2026-01-01T12:00:00.123456Z\"}]",
        number, job_sha256(), in_home(pid_file));
    answer("POST", "/api/v1/jobs/claim", 200, json);
}

static void offer_nothing(void)
{
    answer("POST", "/api/v1/jobs/claim", 204, "");
}

/* The binary comes from the cache, which a worker on the queue has filled. */
static void open_spool_bench(void)
{
    open_bench();
    const char *id = submit_job(ARGS("exit", "0"));
    start_worker();
    wait_for_status(id, EXECUTR_JOB_COMPLETED);
    stop_worker(1);
    server = http_fixture_start();
    http_fixture_keep(server, "/api/v1/jobs/report");
    options.queue = NULL;
    options.server_url = http_fixture_url(server, "");
    answer("DELETE", NULL, 204, "");
    answer("PUT", NULL, 200, KEPT);
    answer("POST", "/api/v1/jobs/report", 503, "");
}

static void close_spool_bench(void)
{
    close_bench();
    http_fixture_stop(server);
}

TestSuite(worker_spool, .init = open_spool_bench, .fini = close_spool_bench);

static int files(void)
{
    int count = 0;
    DIR *list = opendir(in_home("spool"));

    cr_assert(list != NULL);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        count += entry->d_name[0] != '.';
    closedir(list);
    return count;
}

/* The next report that comes after the call. */
static const char *wait_for_report(void)
{
    int before = http_fixture_kept(server, body, sizeof body);

    while (http_fixture_kept(server, body, sizeof body) == before)
        usleep(500);
    return body;
}

/* One that came, or comes. */
static const char *any_report(void)
{
    while (http_fixture_kept(server, body, sizeof body) == 0)
        usleep(500);
    return body;
}

static void wait_for_requests(int more)
{
    int before = http_fixture_requests(server);

    while (http_fixture_requests(server) < before + more)
        usleep(1000);
}

/* A worker in a process of its own. */
static pid_t fork_worker(void)
{
    pid_t pid = fork();

    cr_assert_geq(pid, 0);
    if (pid > 0)
        return pid;
    executr_status st = executr_worker_open(&options, &worker, &err);
    if (!st)
        st = executr_worker_run(worker, &err);
    _exit(st != 0);
}

/* The name a report is made under, out of its body. */
static void take_executor(const char *report, char out[64])
{
    const char *at = strstr(report, "\"executor_id\":\"");

    cr_assert(at != NULL);
    cr_assert_eq(sscanf(at, "\"executor_id\":\"%63[^\"]", out), 1);
}

/* A worker whose job ended is killed while the server takes no reports. */
static void leave_a_result(char executor[64])
{
    offer(1, "pid");
    pid_t pid = fork_worker();
    int job = wait_for_pid("pid");
    offer_nothing();
    kill(job, SIGKILL);
    take_executor(any_report(), executor);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    http_fixture_keep(server, "/api/v1/jobs/report");
    cr_assert_eq(files(), 1);
}

/* The next worker, until nothing but its own file is left. */
static void expect_delivered(const char *reply)
{
    char dead[64];
    char told[64];

    leave_a_result(dead);
    answer("POST", "/api/v1/jobs/report", 200, reply);
    start_worker();
    const char *report = any_report();
    take_executor(report, told);
    cr_expect_str_eq(told, dead);
    cr_expect_str_neq(told, executr_worker_id(worker));
    cr_expect(strstr(report, "killed by signal 9") != NULL, "%s", report);
    while (files() > 1)
        usleep(1000);
    stop_worker(1);
    cr_expect_eq(files(), 0);
    cr_expect_eq(http_fixture_kept(server, body, sizeof body), 1, "told twice");
}

Test(worker_spool, t32_result_of_a_killed_executor_is_delivered_by_the_next)
{
    expect_delivered(TAKEN);
}

Test(worker_spool, t30_result_of_a_lost_attempt_is_dropped)
{
    expect_delivered(LOST);
}

Test(worker_spool, t36_result_waits_for_the_server_and_is_tried_again)
{
    char dead[64];
    char told[64];

    leave_a_result(dead);
    start_worker();
    for (int i = 0; i < 3; i++) {
        take_executor(wait_for_report(), told);
        cr_expect_str_eq(told, dead);
    }
    stop_worker(1); /* which does not wait for what is safe */
    cr_expect_eq(files(), 1);
}

Test(worker_spool, result_of_another_server_is_left_alone)
{
    char dead[64];
    http_fixture *other = http_fixture_start();

    leave_a_result(dead);
    http_fixture_add(other, &(http_script){.status = 503});
    options.server_url = http_fixture_url(other, "");
    start_worker();
    while (http_fixture_requests(other) < 20)
        usleep(1000);
    stop_worker(2);
    cr_expect_eq(files(), 1);
    http_fixture_stop(other);
}

Test(worker_spool, second_stop_leaves_what_was_not_delivered)
{
    offer(1, "pid");
    start_worker();
    int pid = wait_for_pid("pid");
    offer_nothing();
    kill(pid, SIGKILL);
    any_report();
    stop_worker(2);
    cr_expect_eq(files(), 1);
    answer("POST", "/api/v1/jobs/report", 200, TAKEN);
    start_worker();
    while (files() > 1)
        usleep(1000);
    stop_worker(1);
}

Test(worker_spool, answered_result_is_not_kept)
{
    answer("POST", "/api/v1/jobs/report", 200, TAKEN);
    offer(1, "pid");
    start_worker();
    int pid = wait_for_pid("pid");
    offer_nothing();
    kill(pid, SIGKILL);
    any_report();
    stop_worker(1);
    cr_expect_eq(files(), 0);
}

static void let_files_grow(int may)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = may ? limit.rlim_max : 0;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* As on a full disk. */
Test(worker_spool, t40_spool_that_fails_costs_no_result_and_stops_claims)
{
    answer("POST", "/api/v1/jobs/report", 200, TAKEN);
    offer(1, "first");
    start_worker();
    int pid = wait_for_pid("first");
    offer_nothing();
    let_files_grow(0);
    kill(pid, SIGKILL);
    cr_expect(strstr(any_report(), "killed by signal 9") != NULL);
    offer(2, "second");
    wait_for_requests(5);
    cr_expect_not(exists("second"));
    let_files_grow(1);
    wait_for_pid("second");
}

Test(worker_spool, directory_that_is_not_ours_is_refused)
{
    executr_worker *none = NULL;

    make_dir("spool");
    chmod(in_home("spool"), 0777);
    cr_expect_eq(executr_worker_open(&options, &none, &err), EXECUTR_E_IO);
    cr_expect(
        strstr(err.message, "spool directory") != NULL, "%s", err.message);
    cr_expect_null(none);
}
