/* SPDX-License-Identifier: MIT */
/* Programs killed at any moment: what they were told stays true. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/workers.h"

TestSuite(kill, .init = suite_open_database, .fini = suite_close);

#define ROUNDS 30
#define FACTS 20000

enum {
    SUBMITTED = 1,
    CLAIMED,
    COMPLETED,
    FAILED
};

static fact facts[FACTS];
static size_t fact_count;

/* ---- The child. No assertions here. */

static int end_one(executr_store *s, const char *name, fact told, int out)
{
    executr_report report = EXECUTR_REPORT_INIT;
    ex_finish end;

    memset(&end, 0, sizeof end);
    told.kind = rand() % 2 ? COMPLETED : FAILED;
    report.status = told.kind == COMPLETED ? EXECUTR_ATTEMPT_COMPLETED
                                           : EXECUTR_ATTEMPT_FAILED;
    report.error_message = "e";
    report.attempt = told.attempt;
    end.executor_id = name;
    end.report = &report;
    end.id = told.id;
    if (s->ops->finish(s, &end, 1, &rules, NULL) || end.result)
        return -1;
    return tell(out, &told);
}

/* Some stay running, as a killed executor leaves them. */
static int work_on(executr_store *s, const char *name, fact told, int out)
{
    told.kind = CLAIMED;
    int failed = tell(out, &told);
    if (!failed && rand() % 4)
        failed = end_one(s, name, told, out);
    return failed;
}

static executr_claim request_of(const char *name)
{
    executr_claim request = EXECUTR_CLAIM_INIT;

    request.executor_id = name;
    request.executor_ip = "::1";
    request.max_jobs = 2;
    return request;
}

/* At times they are its own at once. */
static int submit_two(executr_store *s, const char *name, int round, int out)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    executr_claim taker = request_of(name);
    ex_submit two[2];
    int failed = 0;

    spec.type = "kill";
    spec.priority = 1 + rand() % 3;
    spec.binary_url = "http://example.com/";
    spec.binary_sha256 = SHA_A;
    memset(two, 0, sizeof two);
    for (int i = 0; i < 2 && !failed; i++) {
        two[i].spec = &spec;
        two[i].arguments = "[]";
        two[i].environment = "{}";
        two[i].digest = "";
        two[i].taker = rand() % 3 ? NULL : &taker;
        failed = ex_uuid_make(&two[i].id, 1, NULL);
    }
    failed = failed || s->ops->submit(s, two, 2, NULL);
    for (int i = 0; i < 2 && !failed; i++) {
        fact told = {round, SUBMITTED, 0, 1, two[i].id};
        failed = tell(out, &told);
        if (!failed && two[i].taken)
            failed = work_on(s, name, told, out);
    }
    return failed;
}

static int claim_two(executr_store *s, const char *name, int round, int out)
{
    executr_claim request = request_of(name);
    executr_jobs *jobs = NULL;

    int failed = ex_jobs_new(&jobs, NULL);
    ex_claim claim = {&request, jobs};
    failed = failed || s->ops->claim(s, &claim, 1, NULL);
    for (size_t i = 0; !failed && i < jobs->count; i++) {
        fact told = {round, CLAIMED, 0, jobs->items[i]->attempt, {{0}}};
        ex_uuid_parse(jobs->items[i]->id, &told.id);
        failed = work_on(s, name, told, out);
    }
    executr_jobs_free(jobs);
    return failed;
}

static void be_child(int round, int out)
{
    executr_store *s = NULL;
    char name[20];
    int failed;

    snprintf(name, sizeof name, "round %d", round);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    srand((unsigned)round);
    failed = executr_store_open(backend_url(), NULL, &s, NULL);
    while (!failed)
        failed =
            submit_two(s, name, round, out) || claim_two(s, name, round, out);
    _exit(1);
}

/* ---- The parent. */

static pid_t start(int round, int *in)
{
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        be_child(round, ends[1]);
    }
    close(ends[1]);
    *in = ends[0];
    return pid;
}

/* Listen for a random while, kill, and hear what was said before. */
static void kill_at_random(int round)
{
    struct timespec pause = {0, (rand() % 30) * 1000000L};
    int in;
    int status;

    pid_t pid = start(round, &in);
    if (hear(in, 20000, &facts[fact_count]))
        fact_count++;
    nanosleep(&pause, NULL);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(
        WIFSIGNALED(status), "the child gave up in round %d: %d", round,
        status);
    while (fact_count < FACTS && hear(in, 0, &facts[fact_count]))
        fact_count++;
    close(in);
}

static void expect_fact(const fact *told)
{
    const job *got = look(&told->id, EXECUTR_PART_ATTEMPTS);
    int32_t wanted = told->kind == COMPLETED ? EXECUTR_ATTEMPT_COMPLETED
                                             : EXECUTR_ATTEMPT_FAILED;

    if (told->kind == SUBMITTED)
        return;
    cr_assert(got->attempt >= told->attempt);
    const struct executr_attempt *attempt = &got->attempts[told->attempt - 1];
    cr_assert_eq(attempt->number, told->attempt);
    if (told->kind != CLAIMED)
        cr_assert_eq(attempt->status, wanted);
}

Test(kill, loses_nothing_that_was_answered, .timeout = 115)
{
    unsigned seed = (unsigned)time(NULL);
    size_t checked = 0;

    fprintf(stderr, "kill test: seed %u\n", seed);
    for (int round = 0; round < ROUNDS; round++) {
        srand(seed + (unsigned)round);
        kill_at_random(round);
        backend_settle();
        must(executr_store_open(backend_url(), NULL, &store, &err));
        for (; checked < fact_count; checked++)
            expect_fact(&facts[checked]);
        suite_check();
        executr_store_free(store);
        store = NULL;
    }
    cr_expect(fact_count > ROUNDS, "the children did nothing");
    must(executr_store_open(backend_url(), NULL, &store, &err));
    for (size_t i = 0; i < fact_count; i++)
        expect_fact(&facts[i]);
}

/* ---- Kills while the tables are made. */

static void kill_while_opening(long delay_us)
{
    struct timespec pause = {0, delay_us * 1000};
    int status;

    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        executr_status st =
            executr_store_open(backend_url(), NULL, &store, NULL);
        _exit(st ? 1 : 0);
    }
    nanosleep(&pause, NULL);
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
}

Test(kill, leaves_tables_that_can_be_completed, .timeout = 115)
{
    for (int round = 0; round < 12; round++) {
        kill_while_opening(round * round * (backend_is_shared() ? 600 : 60));
        must(executr_store_open(backend_url(), NULL, &store, &err));
        put("t", EXECUTR_PRIORITY_BACKGROUND);
        suite_check();
        executr_store_free(store);
        store = NULL;
        backend_drop();
        backend_create();
    }
}
