/* SPDX-License-Identifier: MIT */
/* A worker and a server that is away, slow or broken. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"
#include "support/home.h"
#include "support/http_fixture.h"
#include "support/work_bench.h"
#include "worker.h"

#define REPORT "/api/v1/jobs/report"

static http_fixture *server;
static char jobs_json[2000];
static char kept_json[100];
static char body[20000]; /* the last report */

static void open_remote(void)
{
    open_bench();
    server = http_fixture_start();
    options.queue = NULL;
    options.server_url = http_fixture_url(server, "");
}

static void close_remote(void)
{
    close_bench();
    http_fixture_stop(server);
}

TestSuite(worker_remote, .init = open_remote, .fini = close_remote);

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

/* One more job in what the next claim gets. */
static void add_job(int number, int exclusive, const char *pid_file)
{
    size_t length = strlen(jobs_json);

    snprintf(
        jobs_json + length, sizeof jobs_json - length,
        "%s{\"id\":\"0192f0c1-7a7e-7cc3-98c4-dc0c0c0739%02d\",\"type\":\"t\","
        "\"binary_sha256\":\"%s\",\"arguments\":[\"stubborn\",\"%s\"],"
        "\"env_variables\":{},\"priority\":\"background\",\"exclusive\":%s,"
        "\"status\":\"running\",\"max_retries\":0,\"retry_count\":0,"
        "\"attempt\":1,\"created_at\":\"2026-01-01T12:00:00.123456Z\"}",
        length ? "," : "[", number, job_sha256(), in_home(pid_file),
        exclusive ? "true" : "false");
}

/* The binary comes from the cache, which a worker on the queue has filled. */
static void fill_cache(void)
{
    const char *url = options.server_url;

    options.server_url = NULL;
    options.queue = queue;
    const char *id = submit_job(ARGS("exit", "0"));
    start_worker();
    wait_for_status(id, EXECUTR_JOB_COMPLETED);
    stop_worker(1);
    options.queue = NULL;
    options.server_url = url;
}

/* A worker whose heartbeats are answered, with these leases. */
static void script_remote(const char *lease)
{
    strcat(jobs_json, "]");
    snprintf(
        kept_json, sizeof kept_json,
        "{\"cancel\":[],\"lost\":[],\"lease\":\"%s\"}", lease);
    answer("DELETE", NULL, 204, "");
    answer("PUT", NULL, 200, kept_json);
    answer("POST", "/api/v1/jobs/claim", 200, jobs_json);
}

static void start_remote(const char *lease)
{
    script_remote(lease);
    start_worker();
}

/* From now on nothing is claimed and no lease renewed. */
static void go_away(void)
{
    answer("PUT", NULL, 503, "");
    answer("POST", "/api/v1/jobs/claim", 503, "");
}

Test(worker_remote, exclusive_job_dies_before_its_lease_others_run_on)
{
    fill_cache();
    options.max_jobs = 2;
    add_job(1, 1, "exclusive");
    add_job(2, 0, "ordinary");
    start_remote("1s");
    int exclusive = wait_for_pid("exclusive");
    int ordinary = wait_for_pid("ordinary");
    go_away();
    wait_for_death(exclusive);
    cr_expect_not(has_ended(ordinary));
}

Test(worker_remote, exclusive_job_lives_while_its_lease_is_renewed)
{
    fill_cache();
    add_job(1, 1, "exclusive");
    start_remote("1500ms");
    int exclusive = wait_for_pid("exclusive");
    answer("POST", "/api/v1/jobs/claim", 204, "");
    usleep(2000000);
    cr_expect_not(has_ended(exclusive));
}

Test(worker_remote, server_that_is_away_is_waited_for)
{
    answer(NULL, NULL, 503, "");
    start_worker();
    while (http_fixture_requests(server) < 10)
        usleep(1000);
    cr_expect_not(worker_returned());
    stop_worker(1);
}

/* A worker in a process of its own, which has every descriptor it may have. */
static pid_t start_worker_without_descriptors(void)
{
    struct rlimit few = {.rlim_cur = 256, .rlim_max = 256};

    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
        executr_worker_open(&options, &worker, &err) ||
        setrlimit(RLIMIT_NOFILE, &few) != 0)
        _exit(1);
    while (dup(0) >= 0)
        ;
    _exit(executr_worker_run(worker, &err) != EXECUTR_OK);
}

Test(worker_remote, t40_leases_are_renewed_without_a_descriptor, .timeout = 15)
{
    answer("PUT", NULL, 200, "{\"cancel\":[],\"lost\":[],\"lease\":\"3s\"}");
    http_fixture_add(server, &(http_script){.method = "POST", .hang = 1});
    pid_t pid = start_worker_without_descriptors();

    for (int beats = 0; beats < 3;) {
        int before = http_fixture_requests(server);
        while (http_fixture_requests(server) == before)
            usleep(1000);
        beats += strncmp(http_fixture_head(server), "PUT ", 4) == 0;
    }
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* More tries than an executor has for a binary of any other place. */
Test(worker_remote, t30_binary_of_a_server_that_is_away_is_waited_for)
{
    static char data[4 * 1024 * 1024];
    char path[128];

    options.heartbeat_interval_ms = 60000;
    add_job(1, 0, "pid");
    snprintf(path, sizeof path, "/api/v1/binaries/%s", job_sha256());
    http_fixture_add(
        server, &(http_script){.method = "GET", .path = path, .drop = 1});
    http_fixture_keep(server, REPORT);
    start_remote("1m");
    while (http_fixture_requests(server) < 20)
        usleep(1000);
    cr_expect_eq(http_fixture_kept(server, body, sizeof body), 0);
    FILE *file = fopen(TEST_JOB, "re");
    cr_assert(file != NULL);
    size_t length = fread(data, 1, sizeof data, file);
    fclose(file);
    http_fixture_add(
        server,
        &(http_script){
            .method = "GET", .path = path, .body = data, .length = length});
    wait_for_pid("pid");
}

/* One report more than `seen`; how many there are then. */
static int wait_for_report(int seen)
{
    int count = http_fixture_kept(server, body, sizeof body);

    while (count <= seen) {
        usleep(500);
        count = http_fixture_kept(server, body, sizeof body);
    }
    return count;
}

Test(worker_remote, report_is_told_until_it_is_taken)
{
    int seen = 0;

    fill_cache();
    add_job(1, 0, "pid");
    answer("POST", REPORT, 503, "");
    http_fixture_keep(server, REPORT);
    start_remote("1m");
    wait_for_pid("pid");
    go_away();
    executr_worker_stop(worker);
    kill(wait_for_pid("pid"), 9);
    for (int i = 0; i < 3; i++) {
        seen = wait_for_report(seen);
        cr_expect(strstr(body, "killed by signal 9") != NULL);
    }
    cr_expect_not(worker_returned());
    answer(
        "POST", REPORT, 200,
        "{\"results\":[{\"id\":\"0192f0c1-7a7e-7cc3-98c4-dc0c0c073901\","
        "\"accepted\":false,\"code\":\"lost_attempt\"}]}");
    join_worker();
}

Test(worker_remote, heartbeat_that_hangs_is_given_up_and_sent_again)
{
    fill_cache();
    options.network_timeout_ms = 3600000;
    add_job(1, 0, "pid");
    start_remote("3s");
    int pid = wait_for_pid("pid");
    http_fixture_add(server, &(http_script){.method = "PUT", .hang = 1});
    int before = http_fixture_requests(server);
    while (http_fixture_requests(server) < before + 2)
        usleep(1000);
    answer(
        "PUT", NULL, 200,
        "{\"cancel\":[],\"lost\":[\"0192f0c1-7a7e-7cc3-98c4-dc0c0c073901\"]}");
    wait_for_death(pid);
}

/* It ignores SIGTERM, so the kill at the end of its lease comes after its own
 * end, by timeout, has begun. */
Test(worker_remote, exclusive_job_that_timed_out_is_not_given_back)
{
    fill_cache();
    options.kill_grace_ms = 3600000;
    add_job(1, 1, "pid");
    jobs_json[strlen(jobs_json) - 1] = '\0';
    strcat(jobs_json, ",\"timeout\":\"50ms\"}");
    answer("POST", REPORT, 503, "");
    http_fixture_keep(server, REPORT);
    start_remote("2s");
    int pid = wait_for_pid("pid");
    go_away();
    wait_for_death(pid);
    wait_for_report(0);
    cr_expect(strstr(body, "\"timeout\"") != NULL, "%s", body);
    cr_expect_not(strstr(body, "uncounted"), "%s", body);
}

Test(worker_remote, exclusive_job_without_a_known_lease_is_given_back)
{
    fill_cache();
    add_job(1, 1, "exclusive");
    strcat(jobs_json, "]");
    answer("DELETE", NULL, 204, "");
    answer("PUT", NULL, 200, "{\"cancel\":[],\"lost\":[]}");
    answer("POST", "/api/v1/jobs/claim", 200, jobs_json);
    answer("POST", REPORT, 503, "");
    http_fixture_keep(server, REPORT);
    start_worker();
    wait_for_report(0);
    cr_expect(strstr(body, "\"uncounted\":true") != NULL, "%s", body);
    cr_expect_not(exists("exclusive"));
}

/* The claim was answered after its lease, so nobody can know whose the job is
 * until a heartbeat has named it. */
Test(worker_remote, claim_answered_late_waits_for_a_heartbeat)
{
    fill_cache();
    add_job(1, 1, "exclusive");
    strcat(jobs_json, "]");
    http_fixture_add(
        server, &(http_script){
                    .method = "POST",
                    .path = "/api/v1/jobs/claim",
                    .headers = "Content-Type: application/json\r\n",
                    .delay_ms = 1500,
                    .body = jobs_json});
    answer("PUT", NULL, 200, "{\"lease\":\"1s\"}");
    start_worker();
    while (http_fixture_requests(server) < 3)
        usleep(1000);
    answer("PUT", NULL, 503, "");
    usleep(2000000);
    cr_expect_not(exists("exclusive"));
    answer("PUT", NULL, 200, "{\"lease\":\"1m\"}");
    wait_for_pid("exclusive");
}

/* No server of ours hands out such a job; whoever does, it is not run. */
Test(worker_remote, t80_job_that_demands_more_than_is_offered_is_not_run)
{
    fill_cache();
    add_job(1, 0, "pid");
    jobs_json[strlen(jobs_json) - 1] = '\0';
    strcat(jobs_json, ",\"isolation\":\"strict\"}");
    answer("POST", REPORT, 503, "");
    http_fixture_keep(server, REPORT);
    answer("PUT", NULL, 503, "");
    start_worker();
    worker->runner->offers = EXECUTR_OFFER_TIMEOUT;
    script_remote("1m"); /* claims begin with the first heartbeat */
    wait_for_report(0);
    cr_expect(strstr(body, "exec_failed") != NULL, "%s", body);
    cr_expect(strstr(body, "can't give the limits") != NULL, "%s", body);
    cr_expect_not(exists("pid"));
}
