/* SPDX-License-Identifier: MIT */
/* Starts the program of a held job, with what it and the operator ask for. */
#include "worker.h"

#include <stdio.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"
#include "job.h"
#include "runner.h"

/* The limits of a job: its own, else the worker's for jobs without. */
static void fill_limits(
    const executr_worker_options *o, const executr_job *job,
    executr_program *program)
{
    const struct {
        int64_t *to;
        int64_t own;
        int64_t standard;
    } limits[] = {
        {&program->timeout_ms, executr_job_timeout_ms(job), o->timeout_ms},
        {&program->kill_grace_ms, executr_job_kill_grace_ms(job),
         o->kill_grace_ms},
        {&program->memory_mb, executr_job_memory_mb(job), o->memory_mb},
        {&program->cpu_seconds, executr_job_cpu_seconds(job), o->cpu_seconds},
        {&program->max_processes, executr_job_max_processes(job),
         o->max_processes},
        {&program->max_file_mb, executr_job_max_file_mb(job), o->max_file_mb},
    };

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        *limits[i].to = limits[i].own ? limits[i].own : limits[i].standard;
}

static void fill_program(
    const executr_worker *worker, const executr_job *job,
    executr_program *program)
{
    program->argument_count = executr_job_argument_count(job);
    program->environment_count = executr_job_environment_count(job);
    fill_limits(&worker->options, job, program);
    /* A job may ask for more than our operator wants for all, never for less.
     */
    program->isolation = executr_job_isolation(job);
    if (program->isolation < worker->options.isolation)
        program->isolation = worker->options.isolation;
}

/* What these limits and this isolation demand of a runner. */
static uint32_t demands_of(const executr_program *program)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.timeout_ms = program->timeout_ms;
    spec.memory_mb = program->memory_mb;
    spec.cpu_seconds = program->cpu_seconds;
    spec.max_processes = program->max_processes;
    spec.max_file_mb = program->max_file_mb;
    spec.isolation = program->isolation;
    return ex_spec_demands(&spec);
}

int ex_worker_can_give(const executr_worker *worker, const executr_job *job)
{
    executr_program program = EXECUTR_PROGRAM_INIT;

    fill_program(worker, job, &program);
    return (demands_of(&program) & ~executr_runner_offers(worker->runner)) == 0;
}

executr_status ex_worker_check_defaults(
    const executr_worker *worker, executr_error *err)
{
    const executr_worker_options *o = &worker->options;
    const struct {
        const char *what;
        int64_t wanted;
        uint32_t offer;
    } wants[] = {
        {"memory_mb", o->memory_mb, EXECUTR_OFFER_MEMORY},
        {"cpu_seconds", o->cpu_seconds, EXECUTR_OFFER_CPU},
        {"max_processes", o->max_processes, EXECUTR_OFFER_PROCESSES},
        {"max_file_mb", o->max_file_mb, EXECUTR_OFFER_FILE_SIZE},
    };
    uint32_t offers = executr_runner_offers(worker->runner);

    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++) {
        if (wants[i].wanted && !(offers & wants[i].offer))
            return ex_fail(
                err, EXECUTR_E_UNSUPPORTED,
                "%s can't be enforced here: leave it out, or give the executor "
                "what it needs for that: %s",
                wants[i].what, executr_runner_abilities(worker->runner));
    }
    return EXECUTR_OK;
}

static executr_status start_program(
    executr_worker *worker, ex_work *work, executr_error *err)
{
    executr_program program = EXECUTR_PROGRAM_INIT;
    const executr_job *job = work->job;
    char name[64];
    void *strings = NULL;

    fill_program(worker, job, &program);
    /* Attempts don't share a directory: an older one may still be dying. */
    snprintf(name, sizeof name, "%s.%d", work->job_id, work->attempt);
    program.name = name;
    program.path = executr_pin_path(work->pin);
    size_t count = program.argument_count + program.environment_count;
    executr_status st =
        ex_alloc_array(&strings, count, sizeof(const char *), err);
    if (st)
        return st;
    const char **list = strings;
    for (size_t i = 0; i < program.argument_count; i++)
        list[i] = executr_job_argument(job, i);
    for (size_t i = 0; i < program.environment_count; i++)
        list[program.argument_count + i] = executr_job_environment(job, i);
    program.arguments = list;
    program.environment = list + program.argument_count;
    ex_runner_next_deadline(worker->runner, ex_work_deadline_us(worker, work));
    st = executr_runner_start(worker->runner, &program, work->token, err);
    ex_free(strings);
    return st;
}

void ex_work_start(executr_worker *worker, ex_work *work)
{
    executr_error err = {0};
    int64_t now = ex_boottime_us();

    if (!ex_work_sure(worker, work, now)) {
        ex_work_ask(worker, work, now);
        return;
    }
    /* A program that finds the disk full would fail, and be charged for it. */
    executr_status st = ex_runner_space(worker->runner, &err);
    if (!st)
        st = ex_worker_keep_spares(worker, &err);
    if (!st)
        st = start_program(worker, work, &err);
    if (!st) {
        ex_work_move(worker, work, EX_WORK_RUNNING);
        work->started_us = now;
        ex_log(
            &worker->log, EXECUTR_LOG_DEBUG, "job started", "job_id",
            work->job_id, "attempt", EX_I64(work->attempt), NULL);
    } else if (st == EXECUTR_E_ARGUMENT || st == EXECUTR_E_UNSUPPORTED) {
        ex_work_failed(worker, work, EXECUTR_OUTCOME_EXEC_FAILED, err.message);
    } else {
        ex_work_machine_failed(worker, work, &err);
    }
}
