/* SPDX-License-Identifier: MIT */
/* The queue over a real store; compiled for each of them with the fixtures of
 * the store suite, whose check of all invariants ends every test. */
#include <executr/queue.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/sha256.h"
#include "store/suite.h"

static executr_queue *queue;
static atomic_llong events[EXECUTR_EVENT_CLEANED + 1];

static void count_event(
    void *ctx, int32_t event, const char *type, int32_t priority, int64_t count,
    int64_t waited_us, int64_t ran_us)
{
    (void)ctx;
    (void)type;
    (void)priority;
    (void)waited_us;
    (void)ran_us;
    atomic_fetch_add(&events[event], count);
}

static void open_with(executr_queue_options options)
{
    suite_open();
    options.events.notify = count_event;
    must(executr_queue_open(store, &options, &queue, &err));
}

static void open_queue(void)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;

    options.max_output_bytes = 1000;
    open_with(options);
}

static void close_queue(void)
{
    executr_queue_free(queue);
    suite_close();
}

/* Submit one; its id lasts until the next. */
static const char *submit_spec(const executr_job_spec *spec)
{
    static char id[40];
    executr_jobs *jobs;

    must(executr_queue_submit(queue, &spec, 1, NULL, &jobs, &err));
    cr_assert_eq(executr_jobs_count(jobs), 1);
    strcpy(id, executr_job_id(executr_jobs_at(jobs, 0)));
    executr_jobs_free(jobs);
    return id;
}

static const char *submit_one(const char *type)
{
    executr_job_spec spec = spec_of(type);

    return submit_spec(&spec);
}

static executr_jobs *claim_one(const char *executor)
{
    executr_claim claim = claim_of(executor, 1);
    executr_jobs *jobs;

    must(executr_queue_claim(queue, &claim, &jobs, &err));
    return jobs;
}

static void claim_and_forget(const char *executor)
{
    executr_jobs *jobs = claim_one(executor);

    cr_assert_eq(executr_jobs_count(jobs), 1);
    executr_jobs_free(jobs);
}

static executr_status report_one(const char *executor, executr_report report)
{
    const executr_report *reports[] = {&report};
    executr_status result;

    must(executr_queue_report(queue, executor, reports, 1, &result, &err));
    return result;
}

static executr_jobs *get(const char *id)
{
    executr_jobs *jobs;

    must(executr_queue_get(queue, id, EXECUTR_PART_ALL, &jobs, &err));
    cr_assert_eq(executr_jobs_count(jobs), 1);
    return jobs;
}

static int32_t status_now(const char *id)
{
    executr_jobs *jobs = get(id);
    int32_t status = executr_job_status(executr_jobs_at(jobs, 0));

    executr_jobs_free(jobs);
    return status;
}

TestSuite(queue, .init = open_queue, .fini = close_queue);

Test(queue, gives_back_whole_records_of_what_is_submitted)
{
    static const char *const arguments[] = {"a \"b\"", "c"};
    static const char *const environment[] = {"K=v=w"};
    executr_job_spec spec = spec_of("kind");

    spec.arguments = arguments;
    spec.argument_count = 2;
    spec.environment = environment;
    spec.environment_count = 1;
    const executr_job_spec *specs[] = {&spec};
    executr_jobs *jobs;
    must(executr_queue_submit(queue, specs, 1, NULL, &jobs, &err));
    const executr_job *made = executr_jobs_at(jobs, 0);
    executr_jobs *read = get(executr_job_id(made));
    ex_buf texts[2];
    for (int i = 0; i < 2; i++) {
        ex_buf_init(&texts[i], EX_BUF_UNLIMITED);
        must(executr_job_json(
            executr_jobs_at(i ? read : jobs, 0), 0, ex_buf_write, &texts[i],
            &err));
    }
    cr_assert_str_eq(texts[0].data, texts[1].data);
    cr_assert_str_eq(executr_job_argument(made, 0), "a \"b\"");
    cr_assert_str_eq(executr_job_environment(made, 0), "K=v=w");
    ex_buf_clear(&texts[0]);
    ex_buf_clear(&texts[1]);
    executr_jobs_free(jobs);
    executr_jobs_free(read);
}

Test(queue, gives_the_first_job_back_for_a_repeated_key)
{
    executr_job_spec spec = spec_of("kind");
    char first[40];

    spec.idempotency_key = "key";
    strcpy(first, submit_spec(&spec));
    cr_assert_str_eq(submit_spec(&spec), first);
    cr_assert_eq(events[EXECUTR_EVENT_SUBMITTED], 1);
}

Test(queue, refuses_a_key_that_was_used_for_something_else)
{
    executr_job_spec spec = spec_of("kind");
    const executr_job_spec *specs[] = {&spec};
    executr_jobs *jobs;

    spec.idempotency_key = "key";
    submit_spec(&spec);
    spec.type = "other";
    expect_status(
        EXECUTR_E_CONFLICT,
        executr_queue_submit(queue, specs, 1, NULL, &jobs, &err));
    cr_assert_str_eq(err.field, "Idempotency-Key");
    cr_assert_eq(err.status, EXECUTR_E_CONFLICT);
    cr_assert_null(jobs);
}

Test(queue, keeps_records_in_order_around_refused_and_repeated_ones)
{
    executr_job_spec keyed = spec_of("keyed");
    executr_job_spec other = spec_of("other");
    executr_job_spec fresh = spec_of("fresh");
    const executr_job_spec *specs[] = {&other, &fresh, &keyed, &fresh};
    executr_status results[4];
    executr_jobs *jobs;

    keyed.idempotency_key = other.idempotency_key = "key";
    submit_spec(&keyed);
    must(executr_queue_submit(queue, specs, 4, results, &jobs, &err));
    cr_assert_eq(results[0], EXECUTR_E_CONFLICT);
    cr_assert_eq(executr_jobs_count(jobs), 3);
    static const char *const types[] = {"fresh", "keyed", "fresh"};
    for (size_t i = 0; i < 3; i++)
        cr_assert_str_eq(executr_job_type(executr_jobs_at(jobs, i)), types[i]);
    executr_jobs_free(jobs);
}

Test(queue, completes_a_job_and_keeps_its_output)
{
    executr_report report = EXECUTR_REPORT_INIT;
    size_t length;

    report.job_id = submit_one("kind");
    claim_and_forget("e1");
    report.attempt = 1;
    report.status = EXECUTR_ATTEMPT_COMPLETED;
    report.has_exit_code = 1;
    report.stdout_data = "o\0t";
    report.stdout_length = 3;
    cr_assert_eq(report_one("e1", report), EXECUTR_OK);
    cr_assert_eq(report_one("e1", report), EXECUTR_OK);
    cr_assert_eq(report_one("e2", report), EXECUTR_E_LOST);
    executr_jobs *jobs = get(report.job_id);
    const executr_job *done = executr_jobs_at(jobs, 0);
    cr_assert_eq(executr_job_status(done), EXECUTR_JOB_COMPLETED);
    cr_assert_eq(memcmp(executr_job_stdout(done, &length), "o\0t", 3), 0);
    cr_assert_eq(length, 3);
    cr_assert_eq(events[EXECUTR_EVENT_COMPLETED], 1);
    executr_jobs_free(jobs);
}

Test(queue, cuts_output_that_is_too_long)
{
    static char text[100000];
    executr_report report = EXECUTR_REPORT_INIT;
    size_t length;

    memset(text, 'x', sizeof text);
    report.job_id = submit_one("kind");
    claim_and_forget("e1");
    report.status = EXECUTR_ATTEMPT_COMPLETED;
    report.stderr_data = text;
    report.stderr_length = sizeof text;
    cr_assert_eq(report_one("e1", report), EXECUTR_OK);
    executr_jobs *jobs = get(report.job_id);
    const char *kept = executr_job_stderr(executr_jobs_at(jobs, 0), &length);
    cr_assert_leq(length, 1000);
    cr_assert_not_null(memmem(kept, length, "cut ...]", 8));
    executr_jobs_free(jobs);
}

Test(queue, judges_each_report_for_itself)
{
    executr_report good = EXECUTR_REPORT_INIT;
    executr_report unknown = EXECUTR_REPORT_INIT;
    executr_report silent = EXECUTR_REPORT_INIT;
    executr_report odd = EXECUTR_REPORT_INIT;
    const executr_report *reports[] = {&silent, &unknown, &odd, &good};
    executr_status results[4];

    good.status = unknown.status = odd.status = EXECUTR_ATTEMPT_COMPLETED;
    silent.status = EXECUTR_ATTEMPT_FAILED;
    silent.job_id = good.job_id = submit_one("kind");
    unknown.job_id = "01920000-0000-7000-8000-000000000000";
    odd.job_id = "none";
    claim_and_forget("e1");
    must(executr_queue_report(queue, "e1", reports, 4, results, &err));
    cr_assert_eq(results[0], EXECUTR_E_ARGUMENT);
    cr_assert_eq(results[1], EXECUTR_E_NOT_FOUND);
    cr_assert_eq(results[2], EXECUTR_E_ARGUMENT);
    cr_assert_eq(results[3], EXECUTR_OK);
}

Test(queue, tells_the_hook_how_failures_end)
{
    executr_job_spec spec = spec_of("kind");
    executr_report report = EXECUTR_REPORT_INIT;

    report.status = EXECUTR_ATTEMPT_FAILED;
    report.error_message = "it broke";
    report.job_id = submit_spec(&spec);
    claim_and_forget("e1");
    cr_assert_eq(report_one("e1", report), EXECUTR_OK);
    spec.max_retries = 1;
    report.job_id = submit_spec(&spec);
    claim_and_forget("e1");
    cr_assert_eq(report_one("e1", report), EXECUTR_OK);
    cr_assert_eq(events[EXECUTR_EVENT_FAILED], 1);
    cr_assert_eq(events[EXECUTR_EVENT_RETRIED], 1);
    cr_assert_eq(events[EXECUTR_EVENT_CLAIMED], 2);
}

Test(queue, gives_verdicts_on_leases)
{
    executr_heartbeat beat = EXECUTR_HEARTBEAT_INIT;
    executr_lease leases[4] = {
        {.attempt = 1}, {.attempt = 0}, {.attempt = 7}, {.attempt = 1}};
    executr_status result;

    strcpy(leases[0].job_id, submit_one("kind"));
    strcpy(leases[1].job_id, "no id at all");
    strcpy(leases[2].job_id, leases[0].job_id);
    strcpy(leases[3].job_id, submit_one("kind"));
    claim_and_forget("e1");
    claim_and_forget("e1");
    const char *ids[] = {leases[3].job_id};
    must(executr_queue_cancel(queue, ids, 1, &result, &err));
    cr_assert_eq(result, EXECUTR_E_CANCELLED);
    beat.executor_id = "e1";
    beat.executor_ip = "127.0.0.1";
    beat.leases = leases;
    beat.lease_count = 4;
    must(executr_queue_heartbeat(queue, &beat, &err));
    cr_assert_eq(leases[0].verdict, EXECUTR_LEASE_KEPT);
    cr_assert_eq(leases[1].verdict, EXECUTR_LEASE_UNKNOWN);
    cr_assert_eq(leases[2].verdict, EXECUTR_LEASE_LOST);
    cr_assert_eq(leases[3].verdict, EXECUTR_LEASE_CANCEL);
    must(executr_queue_heartbeat_job(queue, "e2", &leases[0], &err));
    cr_assert_eq(leases[0].verdict, EXECUTR_LEASE_LOST);
}

Test(queue, cancels_by_id_and_by_what_jobs_share)
{
    const char *ids[2] = {"x"};
    executr_status results[2];
    executr_filter filter = EXECUTR_FILTER_INIT;
    int64_t cancelled;

    ids[1] = submit_one("kind");
    must(executr_queue_cancel(queue, ids, 2, results, &err));
    cr_assert_eq(results[0], EXECUTR_E_ARGUMENT);
    cr_assert_eq(results[1], EXECUTR_OK);
    for (int i = 0; i < 5; i++)
        submit_one(i < 3 ? "many" : "few");
    claim_and_forget("e1");
    filter.type = "many";
    must(executr_queue_cancel_matching(queue, &filter, &cancelled, &err));
    cr_assert_eq(cancelled, 3);
    cr_assert_eq(events[EXECUTR_EVENT_CANCELLED], 3);
}

Test(queue, retries_what_was_cancelled)
{
    executr_jobs *jobs;
    executr_status result;
    const char *id = submit_one("kind");

    must(executr_queue_cancel(queue, &id, 1, &result, &err));
    must(executr_queue_retry(queue, id, &jobs, &err));
    cr_assert_eq(
        executr_job_status(executr_jobs_at(jobs, 0)), EXECUTR_JOB_PENDING);
    executr_jobs_free(jobs);
    expect_status(
        EXECUTR_E_CONFLICT, executr_queue_retry(queue, id, &jobs, &err));
    cr_assert_null(jobs);
    claim_and_forget("e1");
}

Test(queue, lists_by_pages)
{
    executr_filter filter = EXECUTR_FILTER_INIT;
    executr_jobs *jobs;
    int32_t more = 1;
    size_t seen = 0;
    char last[40] = "";

    for (int i = 0; i < 5; i++)
        submit_one("kind");
    filter.limit = 2;
    while (more) {
        must(executr_queue_list(queue, &filter, &jobs, &more, &err));
        seen += executr_jobs_count(jobs);
        strcpy(
            last, executr_job_id(
                      executr_jobs_at(jobs, executr_jobs_count(jobs) - 1)));
        filter.before_id = last;
        executr_jobs_free(jobs);
    }
    cr_assert_eq(seen, 5);
}

Test(queue, counts_jobs_and_executors)
{
    executr_stats *stats_now;
    executr_executors *executors;

    submit_one("kind");
    submit_one("kind");
    claim_and_forget("e1");
    must(executr_queue_stats(queue, &stats_now, &err));
    cr_assert_eq(executr_stats_jobs(stats_now, EXECUTR_JOB_PENDING), 1);
    cr_assert_eq(executr_stats_jobs(stats_now, EXECUTR_JOB_RUNNING), 1);
    cr_assert_eq(executr_stats_active_executors(stats_now), 1);
    executr_stats_free(stats_now);
    must(executr_queue_executors(queue, &executors, &err));
    cr_assert_eq(executr_executors_count(executors), 1);
    cr_assert_str_eq(executr_executors_id(executors, 0), "e1");
    executr_executors_free(executors);
}

Test(queue, refuses_what_makes_no_sense)
{
    executr_claim claim = EXECUTR_CLAIM_INIT;
    executr_filter filter = EXECUTR_FILTER_INIT;
    executr_jobs *jobs;
    int32_t more;

    expect_status(
        EXECUTR_E_ARGUMENT, executr_queue_claim(queue, &claim, &jobs, &err));
    cr_assert_str_eq(err.field, "executor_id");
    filter.limit = 1001;
    expect_status(
        EXECUTR_E_ARGUMENT,
        executr_queue_list(queue, &filter, &jobs, &more, &err));
    cr_assert_str_eq(err.field, "limit");
    expect_status(
        EXECUTR_E_ARGUMENT, executr_queue_get(queue, "x", 0, &jobs, &err));
    expect_status(EXECUTR_E_ARGUMENT, executr_queue_goodbye(queue, "", &err));
}

typedef struct bytes {
    const char *at;
    size_t left;
} bytes;

static int32_t read_bytes(void *ctx, void *data, size_t size, size_t *length)
{
    bytes *b = ctx;

    *length = b->left < size ? b->left : size;
    memcpy(data, b->at, *length);
    b->at += *length;
    b->left -= *length;
    return 0;
}

Test(queue, keeps_binaries)
{
    static char data[EX_BINARY_PART * 2 + 99];
    char sha[EX_SHA256_HEX];
    bytes source = {data, sizeof data};
    int32_t created;
    ex_buf back;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i ^ i >> 9);
    must(ex_sha256_bytes(data, sizeof data, sha, &err));
    must(executr_queue_put_binary(
        queue, sha, read_bytes, &source, 0, &created, &err));
    cr_assert_eq(created, 1);
    ex_buf_init(&back, EX_BUF_UNLIMITED);
    must(executr_queue_get_binary(queue, sha, 5, ex_buf_write, &back, &err));
    cr_assert_eq(back.length, sizeof data - 5);
    cr_assert_eq(memcmp(back.data, data + 5, back.length), 0);
    ex_buf_clear(&back);
    executr_job_spec spec = spec_of("kind");
    spec.binary_url = NULL;
    spec.binary_sha256 = sha;
    submit_spec(&spec);
}

/* Waiting on a thread of its own. */
static void *wait_for_one(void *ctx)
{
    executr_claim claim = claim_of(ctx, 1);
    executr_jobs *jobs;

    claim.wait_ms = 60000;
    if (executr_queue_claim(queue, &claim, &jobs, NULL))
        return NULL;
    size_t count = executr_jobs_count(jobs);
    executr_jobs_free(jobs);
    return count == 1 ? ctx : NULL;
}

static void expect_woken_by(void (*act)(const char *id), const char *id)
{
    pthread_t thread;
    void *got;

    pthread_create(&thread, NULL, wait_for_one, (void *)"waiter");
    act(id);
    pthread_join(thread, &got);
    cr_assert_not_null(got);
}

static void give_job_back(const char *id)
{
    executr_report report = EXECUTR_REPORT_INIT;

    report.job_id = id;
    report.status = EXECUTR_ATTEMPT_FAILED;
    report.uncounted = 1;
    report.error_message = "no room";
    cr_assert_eq(report_one("e1", report), EXECUTR_OK);
}

static void say_goodbye(const char *id)
{
    (void)id;
    must(executr_queue_goodbye(queue, "e1", &err));
}

Test(queue, wakes_a_waiter_for_a_job_given_back)
{
    char id[40];

    strcpy(id, submit_one("kind"));
    claim_and_forget("e1");
    expect_woken_by(give_job_back, id);
    cr_assert_eq(status_now(id), EXECUTR_JOB_RUNNING);
}

Test(queue, wakes_a_waiter_when_an_executor_leaves)
{
    char id[40];

    strcpy(id, submit_one("kind"));
    claim_and_forget("e1");
    expect_woken_by(say_goodbye, id);
    cr_assert_eq(status_now(id), EXECUTR_JOB_RUNNING);
}

static void open_hasty(void)
{
    executr_queue_options options = EXECUTR_QUEUE_OPTIONS_INIT;

    options.heartbeat_timeout_ms = 200;
    options.poll_interval_ms = 20;
    options.retry_base_ms = 1;
    options.retry_max_ms = 2;
    options.max_lost_attempts = 2;
    open_with(options);
}

TestSuite(queue_upkeep, .init = open_hasty, .fini = close_queue);

Test(queue_upkeep, gives_up_a_job_whose_executors_fall_silent)
{
    const char *id = submit_one("kind");

    wait_for_one((void *)"silent");
    wait_for_one((void *)"silent");
    while (status_now(id) == EXECUTR_JOB_RUNNING)
        usleep(5000);
    cr_assert_eq(status_now(id), EXECUTR_JOB_FAILED);
    while (!atomic_load(&events[EXECUTR_EVENT_FAILED]))
        usleep(1000);
    cr_assert_geq(events[EXECUTR_EVENT_RECOVERED], 1);
}

Test(queue_upkeep, brings_retries_back_when_they_are_due)
{
    executr_job_spec spec = spec_of("kind");
    executr_report report = EXECUTR_REPORT_INIT;

    spec.max_retries = 3;
    report.job_id = submit_spec(&spec);
    report.status = EXECUTR_ATTEMPT_FAILED;
    report.error_message = "it broke";
    for (int i = 0; i < 4; i++) {
        cr_assert_not_null(wait_for_one((void *)"e1"));
        cr_assert_eq(report_one("e1", report), EXECUTR_OK);
    }
    cr_assert_eq(status_now(report.job_id), EXECUTR_JOB_FAILED);
    cr_assert_eq(events[EXECUTR_EVENT_RETRIED], 3);
}
