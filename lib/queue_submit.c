/* SPDX-License-Identifier: MIT */
/* Submission: checks, ids and records; hides that accepted jobs are never read
 * back. */
#include "queue.h"

#include <string.h>

#include "base/fail.h"

/* One submit call. submits[k] and jobs->items[k] are about the same job, in
 * the order of the specs that passed their checks. */
typedef struct submission {
    ex_arena arena;
    ex_buf json;
    executr_job_spec *specs;
    ex_submit *submits;
    executr_jobs *jobs;
    size_t count;
} submission;

/* Tell the hook of what is new. */
static void announce(
    executr_queue *queue, const ex_submit *submits, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        const ex_submit *submit = &submits[k];
        if (!submit->result && !submit->repeated)
            ex_queue_event(
                queue, EXECUTR_EVENT_SUBMITTED, submit->spec->type,
                submit->spec->priority, -1, -1);
    }
}

executr_status ex_queue_run_submit(
    executr_queue *queue, void *records, size_t count, executr_error *err)
{
    ex_submit *submits = records;
    ex_handover hand;

    ex_queue_promise(queue, submits, count, &hand);
    executr_status st =
        queue->store->ops->submit(queue->store, submits, count, err);
    /* A part may have been taken before all of it was rolled back, or before
     * nobody knows what became of it. */
    for (size_t i = 0; i < count && st; i++)
        submits[i].taken = 0;
    ex_queue_hand_over(queue, submits, count, &hand);
    if (!st) {
        ex_queue_wake(queue, submits, count);
        announce(queue, submits, count);
    }
    return st;
}

size_t ex_queue_weigh_submit(const void *record)
{
    const ex_submit *submit = record;
    size_t bytes = strlen(submit->arguments) + strlen(submit->environment);

    /* The usual few hundred are in EX_RECORD_BYTES already. */
    return bytes > EX_RECORD_BYTES ? bytes : 0;
}

/* What the buffer holds as a text of the list, and empty it. */
static const char *keep(submission *all, executr_jobs *jobs)
{
    const char *text =
        ex_arena_copy(&jobs->arena, ex_buf_text(&all->json), all->json.length);

    ex_buf_reset(&all->json);
    return text;
}

static void copy_limits(const executr_job_spec *spec, struct executr_job *job)
{
    job->priority = spec->priority;
    job->exclusive = spec->exclusive;
    job->max_retries = spec->max_retries;
    job->timeout_ms = spec->timeout_ms;
    job->kill_grace_ms = spec->kill_grace_ms;
    job->memory_mb = spec->memory_mb;
    job->cpu_seconds = spec->cpu_seconds;
    job->max_processes = spec->max_processes;
    job->max_file_mb = spec->max_file_mb;
    job->isolation = spec->isolation;
}

/* The record of a job as it is accepted: pending, also if somebody takes it at
 * once. */
static executr_status add_record(
    submission *all, const executr_job_spec *spec, ex_submit *submit,
    executr_error *err)
{
    struct executr_job *job;

    executr_status st = ex_jobs_add(all->jobs, &job, err);
    if (st)
        return st;
    ex_spec_arguments_json(spec, &all->json);
    st = ex_buf_status(&all->json, "arguments", err);
    if (st)
        return st;
    job->arguments_json = keep(all, all->jobs);
    ex_spec_environment_json(spec, &all->json);
    st = ex_buf_status(&all->json, "env_variables", err);
    if (st)
        return st;
    job->environment_json = keep(all, all->jobs);
    job->type = ex_arena_strdup(&all->jobs->arena, spec->type);
    job->binary_url = ex_arena_strdup(
        &all->jobs->arena, spec->binary_url ? spec->binary_url : "");
    if (!job->arguments_json || !job->environment_json || !job->type ||
        !job->binary_url)
        return ex_fail_nomem(err);
    memcpy(job->binary_sha256, spec->binary_sha256, sizeof job->binary_sha256);
    job->status = EXECUTR_JOB_PENDING;
    copy_limits(spec, job);
    submit->record = job;
    submit->arguments = job->arguments_json;
    submit->environment = job->environment_json;
    return ex_job_unpack(all->jobs, job, err);
}

/* Take in a spec that passed its check. */
static executr_status add(
    submission *all, const executr_job_spec *spec, executr_error *err)
{
    ex_submit *submit = &all->submits[all->count];

    submit->spec = spec;
    submit->digest = "";
    executr_status st = add_record(all, spec, submit, err);
    if (st)
        return st;
    if (spec->idempotency_key) {
        char *digest = ex_arena_get(&all->arena, 65);
        if (!digest)
            return ex_fail_nomem(err);
        st = ex_spec_digest(spec, digest, err);
        submit->digest = digest;
    }
    all->count++;
    return st;
}

static executr_status allocate(
    submission *all, size_t count, executr_error *err)
{
    void *memory;

    executr_status st = ex_jobs_new(&all->jobs, err);
    if (st)
        return st;
    st = ex_alloc_array(&memory, count, sizeof *all->specs, err);
    if (st)
        return st;
    all->specs = memory;
    st = ex_alloc_array(&memory, count, sizeof *all->submits, err);
    if (!st)
        all->submits = memory;
    return st;
}

/*
 * Check and copy one spec. With `result` a bad one ends there, and only a lack
 * of memory ends it all.
 */
static executr_status take(
    submission *all, const executr_job_spec *given, executr_status *result,
    executr_error *err)
{
    executr_job_spec *spec = &all->specs[all->count];

    executr_status st =
        ex_spec_take(given, &all->arena, spec, result ? NULL : err);
    if (result)
        *result = st;
    if (result && st == EXECUTR_E_NOMEM)
        return ex_fail_nomem(err);
    if (!st)
        return add(all, spec, err);
    return result ? EXECUTR_OK : st;
}

/* Ids grow in the order of the specs. */
static executr_status name_all(submission *all, executr_error *err)
{
    void *memory;

    executr_status st =
        ex_alloc_array(&memory, all->count, sizeof(ex_uuid), err);
    if (st)
        return st;
    ex_uuid *ids = memory;
    st = ex_uuid_make(ids, all->count, err);
    for (size_t k = 0; k < all->count; k++)
        all->submits[k].id = ids[k];
    ex_free(memory);
    return st;
}

/* Check and copy all specs; those that fail end in `results`, or end it all. */
static executr_status prepare(
    submission *all, const executr_job_spec *const *specs, size_t count,
    executr_status *results, executr_error *err)
{
    executr_status st = allocate(all, count, err);

    for (size_t i = 0; i < count && !st; i++)
        st = take(all, specs[i], results ? &results[i] : NULL, err);
    return st ? st : name_all(all, err);
}

/* The public status of a job the store refused. */
static executr_status refusal(const ex_submit *submit, executr_error *err)
{
    if (submit->result == EXECUTR_E_NOT_FOUND)
        return ex_fail_field(
            err, "binary_sha256",
            "binary %.64s is not stored here: upload it first, or give a "
            "binary_url",
            submit->spec->binary_sha256);
    if (submit->result == EXECUTR_E_CONFLICT) {
        ex_ignore(ex_fail_field(
            err, "Idempotency-Key",
            "this key was used before for a job that is described "
            "differently: use a new one for a new job"));
        if (err)
            err->status = EXECUTR_E_CONFLICT;
        return EXECUTR_E_CONFLICT;
    }
    return ex_fail(err, submit->result, "the store refused the job");
}

/* Finish the record of a stored job; that of a repeat is the first job's. */
static executr_status fill_record(
    executr_queue *queue, submission *all, size_t k, executr_error *err)
{
    const ex_submit *submit = &all->submits[k];
    struct executr_job *job = all->jobs->items[k];

    if (!submit->repeated) {
        ex_uuid_format(&submit->id, job->id);
        job->created_at_us = submit->created_at_us;
        return EXECUTR_OK;
    }
    executr_status st = ex_queue_note(
        queue,
        queue->store->ops->get(queue->store, &submit->id, 0, all->jobs, err));
    if (st)
        return st;
    job = all->jobs->items[--all->jobs->count];
    all->jobs->items[k] = job;
    return ex_job_unpack(all->jobs, job, err);
}

/* Set results, complete the records and drop those of refused jobs. */
static executr_status settle(
    executr_queue *queue, submission *all, size_t count,
    executr_status *results, executr_error *err)
{
    executr_status st = EXECUTR_OK;
    size_t kept = 0;
    size_t k = 0;

    for (size_t i = 0; i < count && !st; i++) {
        if (results && results[i])
            continue;
        const ex_submit *submit = &all->submits[k];
        if (submit->result && results)
            results[i] = refusal(submit, NULL);
        else if (submit->result)
            st = refusal(submit, err);
        else
            st = fill_record(queue, all, k, err);
        if (!submit->result)
            all->jobs->items[kept++] = all->jobs->items[k];
        k++;
    }
    all->jobs->count = kept;
    return st;
}

executr_status executr_queue_submit(
    executr_queue *queue, const executr_job_spec *const *specs, size_t count,
    executr_status *results, executr_jobs **out, executr_error *err)
{
    submission all = {.arena = EX_ARENA_INIT};

    *out = NULL;
    ex_buf_init(&all.json, EX_BUF_UNLIMITED);
    executr_status st = prepare(&all, specs, count, results, err);
    if (!st)
        st = ex_lane_call(&queue->submit, all.submits, all.count, err);
    if (!st)
        st = settle(queue, &all, count, results, err);
    if (!st) {
        *out = all.jobs;
        all.jobs = NULL;
    }
    executr_jobs_free(all.jobs);
    ex_buf_clear(&all.json);
    ex_free(all.submits);
    ex_free(all.specs);
    ex_arena_clear(&all.arena);
    return st;
}
