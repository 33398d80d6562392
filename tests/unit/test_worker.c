/* SPDX-License-Identifier: MIT */
/* A worker on a queue in the same process: jobs from claim to report. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner.h"
#include "support/freezer.h"
#include "support/home.h"
#include "support/http_fixture.h"
#include "support/work_bench.h"
#include "worker.h"

TestSuite(worker, .init = open_bench, .fini = close_bench);

static void expect_text(const char *text, const char *part)
{
    cr_expect(strstr(text, part) != NULL, "'%s' is not in: %s", part, text);
}

Test(worker, runs_a_job_and_reports_its_output)
{
    size_t length;
    int32_t code = -1;

    start_worker();
    const char *id = submit_job(ARGS("bytes"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_COMPLETED);
    const char *out = executr_job_stdout(job, &length);
    cr_expect_eq(length, 11);
    cr_expect_arr_eq(out, "a\0b\xff\xed\xa0\x80\033[1m", 11);
    cr_expect(executr_job_exit_code(job, &code));
    cr_expect_eq(code, 0);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_EXIT);
    cr_expect_eq(executr_job_attempt(job), 1);
    cr_expect_str_eq(executr_job_executor_id(job), executr_worker_id(worker));
}

Test(worker, passes_arguments_and_environment)
{
    const char *environment[] = {"A=1", "B=x y"};
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    size_t length;

    spec.environment = environment;
    spec.environment_count = 2;
    start_worker();
    const char *one = submit_spec(&spec, ARGS("environment"));
    const char *two = submit_job(ARGS("arguments", "", "a b"));
    const executr_job *job = wait_for_status(one, EXECUTR_JOB_COMPLETED);
    cr_expect_str_eq(executr_job_stdout(job, &length), "A=1\nB=x y\n");
    job = wait_for_status(two, EXECUTR_JOB_COMPLETED);
    expect_text(executr_job_stdout(job, &length), "[][a b]");
}

Test(worker, exit_code_other_than_0_is_a_failure)
{
    int32_t code = -1;

    start_worker();
    const char *id = submit_job(ARGS("exit", "3"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_FAILED);
    cr_expect(executr_job_exit_code(job, &code));
    cr_expect_eq(code, 3);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_EXIT);
    cr_expect_str_eq(executr_job_error_message(job), "exited with code 3");
}

Test(worker, death_by_signal_is_a_failure_without_exit_code)
{
    int32_t code;

    start_worker();
    const char *id = submit_job(ARGS("raise", "9"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_FAILED);
    cr_expect_not(executr_job_exit_code(job, &code));
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_SIGNAL);
    cr_expect_eq(executr_job_signal(job), SIGKILL);
}

Test(worker, timeout_of_a_job_is_kept)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.timeout_ms = 50;
    start_worker();
    const char *id = submit_spec(&spec, ARGS("sleep"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_FAILED);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_TIMEOUT);
    expect_text(executr_job_error_message(job), "timeout 50ms");
}

Test(worker, failed_job_is_retried_as_often_as_it_may)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.max_retries = 1;
    start_worker();
    const char *id = submit_spec(&spec, ARGS("exit", "1"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_FAILED);
    cr_expect_eq(executr_job_attempt(job), 2);
    cr_expect_eq(executr_job_retry_count(job), 1);
}

Test(worker, cancelled_job_is_stopped)
{
    executr_status result;

    start_worker();
    const char *id = submit_job(ARGS("stubborn", in_home("pid")));
    int pid = wait_for_pid("pid");
    cr_assert_eq(executr_queue_cancel(queue, &id, 1, &result, &err), 0);
    cr_expect_eq(result, EXECUTR_E_CANCELLED);
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_CANCELLED);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_CANCELLED);
    cr_expect(has_ended(pid));
}

Test(worker, lost_job_is_killed_and_its_end_does_not_count)
{
    start_worker();
    const char *id = submit_job(ARGS("stubborn", in_home("pid")));
    int pid = wait_for_pid("pid");
    cr_assert_eq(
        executr_queue_goodbye(queue, executr_worker_id(worker), &err), 0);
    wait_for_death(pid);
    const executr_job *job = wait_for_attempt(id, 2);
    cr_expect_eq(executr_job_status(job), EXECUTR_JOB_RUNNING);
    cr_expect_eq(executr_job_retry_count(job), 0);
}

Test(worker, limits_of_the_executor_are_for_jobs_without)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    options.max_jobs = 2;
    options.timeout_ms = 60;
    spec.timeout_ms = 3600000;
    start_worker();
    submit_spec(&spec, ARGS("stubborn", in_home("pid")));
    const char *id = submit_job(ARGS("sleep"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_FAILED);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_TIMEOUT);
    expect_text(executr_job_error_message(job), "timeout 60ms");
    cr_expect_not(has_ended(wait_for_pid("pid")));
}

Test(worker, t74_limits_of_the_executor_end_jobs_without)
{
    options.max_jobs = 2;
    options.max_file_mb = 1;
    options.cpu_seconds = 1;
    start_worker();
    const char *file = submit_job(ARGS("file", "1048577"));
    const char *cpu = submit_job(ARGS("burn", "1"));
    const executr_job *job = wait_for_status(file, EXECUTR_JOB_FAILED);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_LIMIT);
    expect_text(executr_job_error_message(job), "max_file_mb 1");
    job = wait_for_status(cpu, EXECUTR_JOB_FAILED);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_LIMIT);
    expect_text(executr_job_error_message(job), "cpu_seconds 1");
}

/* What a job that asks for this level says of itself. */
static const char *state_at(int32_t isolation)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    size_t length;

    spec.isolation = isolation;
    const char *id = submit_spec(&spec, ARGS("state"));
    return executr_job_stdout(
        wait_for_status(id, EXECUTR_JOB_COMPLETED), &length);
}

Test(worker, isolation_is_never_less_than_its_executors)
{
    umask(022);
    options.isolation = EXECUTR_ISOLATION_NONE;
    start_worker();
    expect_text(state_at(0), "umask 022");
    expect_text(state_at(EXECUTR_ISOLATION_BASIC), "umask 077");
    stop_worker(1);
    options.isolation = EXECUTR_ISOLATION_BASIC;
    start_worker();
    expect_text(state_at(0), "umask 077");
    expect_text(state_at(EXECUTR_ISOLATION_NONE), "umask 077");
}

/* It may still hold all that it used, so nothing is put in its place. */
Test(worker, t67_a_program_that_does_not_die_is_lost_and_keeps_its_slot)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.timeout_ms = 1000;
    spec.kill_grace_ms = 1;
    start_worker();
    worker->runner->unkillable_us = 50000;
    const char *id = submit_spec(&spec, ARGS("stubborn", in_home("pid")));
    freeze(wait_for_pid("pid"));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_FAILED);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_LOST);
    expect_text(executr_job_error_message(job), "SIGKILL");
    const char *next = submit_job(ARGS("exit", "0"));
    usleep(300000);
    cr_expect_eq(executr_job_status(get_job(next)), EXECUTR_JOB_PENDING);
    thaw();
    wait_for_status(next, EXECUTR_JOB_COMPLETED);
}

Test(worker, heartbeats_name_what_runs)
{
    executr_executors *executors = NULL;

    start_worker();
    submit_job(ARGS("stubborn", in_home("pid")));
    wait_for_pid("pid");
    while (!executors || executr_executors_count(executors) == 0) {
        executr_executors_free(executors);
        cr_assert_eq(executr_queue_executors(queue, &executors, &err), 0);
    }
    cr_expect_str_eq(
        executr_executors_id(executors, 0), executr_worker_id(worker));
    cr_expect_str_eq(executr_executors_ip(executors, 0), "127.0.0.1");
    cr_expect_eq(executr_executors_max_jobs(executors, 0), 1);
    executr_executors_free(executors);
}

static void expect_fetch_failure(const char *url, const char *why)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    const executr_job_spec *one = &spec;
    executr_jobs *jobs;

    spec.type = "test";
    spec.binary_url = url;
    spec.binary_sha256 =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    cr_assert_eq(executr_queue_submit(queue, &one, 1, NULL, &jobs, &err), 0);
    const char *id = executr_job_id(executr_jobs_at(jobs, 0));
    const executr_job *job = wait_for_status(id, EXECUTR_JOB_FAILED);
    cr_expect_eq(executr_job_outcome(job), EXECUTR_OUTCOME_FETCH_FAILED);
    expect_text(executr_job_error_message(job), why);
    executr_jobs_free(jobs);
}

Test(worker, binary_that_is_not_there_or_another_fails_the_job)
{
    http_fixture *server = http_fixture_start();

    http_fixture_add(
        server, &(http_script){.path = "/other", .body = "something else"});
    start_worker();
    expect_fetch_failure(http_fixture_url(server, "/none"), "cannot fetch");
    expect_fetch_failure(http_fixture_url(server, "/other"), "cannot fetch");
    stop_worker(1);
    http_fixture_stop(server);
}

Test(worker, binary_behind_a_broken_server_is_tried_again)
{
    http_fixture *server = http_fixture_start();

    http_fixture_add(server, &(http_script){.path = "/x", .status = 503});
    start_worker();
    expect_fetch_failure(http_fixture_url(server, "/x"), "cannot fetch");
    cr_expect_gt(http_fixture_requests(server), 2);
    stop_worker(1);
    http_fixture_stop(server);
}

Test(worker, many_jobs_run_once_each_and_leave_nothing)
{
    static const char *ids[200];

    options.max_jobs = 8;
    for (size_t i = 0; i < 200; i++)
        ids[i] = strdup(submit_job(ARGS("exit", "0")));
    start_worker();
    for (size_t i = 0; i < 200; i++) {
        const executr_job *job = wait_for_status(ids[i], EXECUTR_JOB_COMPLETED);
        cr_expect_eq(executr_job_attempt(job), 1);
    }
    stop_worker(1);
    make_dir("work");
    cr_expect_neq(rmdir(in_home("work")), -1, "directories are left");
}

Test(worker, types_restrict_what_it_claims)
{
    const char *types[] = {"mine"};
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    options.types = types;
    options.type_count = 1;
    const char *other = submit_job(ARGS("exit", "0"));
    spec.type = "mine";
    const char *mine = submit_spec(&spec, ARGS("exit", "0"));
    start_worker();
    wait_for_status(mine, EXECUTR_JOB_COMPLETED);
    stop_worker(1);
    cr_expect_eq(executr_job_status(get_job(other)), EXECUTR_JOB_PENDING);
}

Test(worker, first_stop_lets_jobs_finish_and_takes_no_more)
{
    char go[256];

    snprintf(go, sizeof go, "%s", in_home("go"));
    start_worker();
    const char *first = submit_job(ARGS("wait", go, in_home("pid")));
    wait_for_pid("pid");
    executr_worker_stop(worker);
    const char *second = submit_job(ARGS("exit", "0"));
    cr_expect_not(worker_returned());
    make_file("go", "");
    join_worker();
    cr_expect_eq(executr_job_status(get_job(first)), EXECUTR_JOB_COMPLETED);
    cr_expect_eq(executr_job_status(get_job(second)), EXECUTR_JOB_PENDING);
}

Test(worker, second_stop_kills_jobs_and_gives_them_back)
{
    start_worker();
    const char *id = submit_job(ARGS("stubborn", in_home("pid")));
    int pid = wait_for_pid("pid");
    stop_worker(2);
    cr_expect(has_ended(pid));
    const executr_job *job = get_job(id);
    cr_expect_eq(executr_job_status(job), EXECUTR_JOB_PENDING);
    cr_expect_eq(executr_job_retry_count(job), 0);
}

Test(worker, stop_before_run_is_heard)
{
    cr_assert_eq(executr_worker_open(&options, &worker, &err), EXECUTR_OK);
    executr_worker_stop(worker);
    cr_expect_eq(executr_worker_run(worker, &err), EXECUTR_OK);
    cr_expect_eq(executr_worker_run(worker, &err), EXECUTR_E_ARGUMENT);
    executr_worker_free(worker);
    worker = NULL;
}

Test(worker, id_is_the_name_and_eight_digits_new_each_time)
{
    executr_worker *other;

    cr_assert_eq(executr_worker_open(&options, &worker, &err), EXECUTR_OK);
    cr_assert_eq(executr_worker_open(&options, &other, &err), EXECUTR_OK);
    cr_expect_eq(strlen(executr_worker_id(worker)), strlen("bench-01234567"));
    cr_expect_arr_eq(executr_worker_id(worker), "bench-", 6);
    cr_expect_str_neq(executr_worker_id(worker), executr_worker_id(other));
    executr_worker_free(other);
    executr_worker_free(worker);
    worker = NULL;
}

Test(worker, bad_options_are_refused)
{
    executr_worker *none = NULL;

    options.max_jobs = 1025;
    cr_expect_eq(
        executr_worker_open(&options, &none, &err), EXECUTR_E_ARGUMENT);
    cr_expect_str_eq(err.field, "max_jobs");
    set_options();
    options.server_url = "http://127.0.0.1:1";
    cr_expect_eq(
        executr_worker_open(&options, &none, &err), EXECUTR_E_ARGUMENT);
    set_options();
    options.poll_interval_ms = -1;
    cr_expect_eq(
        executr_worker_open(&options, &none, &err), EXECUTR_E_ARGUMENT);
    set_options();
    options.isolation = EXECUTR_ISOLATION_STRICT + 1;
    cr_expect_eq(
        executr_worker_open(&options, &none, &err), EXECUTR_E_ARGUMENT);
    cr_expect_str_eq(err.field, "isolation");
    set_options();
    options.memory_mb = -1;
    cr_expect_eq(
        executr_worker_open(&options, &none, &err), EXECUTR_E_ARGUMENT);
    cr_expect_str_eq(err.field, "memory_mb");
    cr_expect_null(none);
}
