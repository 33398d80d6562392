/* SPDX-License-Identifier: MIT */
/*
 * Job records: their words, their lists and the legal moves of a status. Hides
 * how words are numbered and how a stored JSON text becomes strings.
 */
#include "job.h"

#include <string.h>

#include "base/fail.h"

static const char *const priority_words[] = {
    "", "foreground", "background", "best_effort"};
static const char *const status_words[] = {
    "", "pending", "running", "completed", "failed", "cancelled"};
static const char *const attempt_words[] = {
    "", "running", "completed", "failed", "cancelled", "timeout", "released"};
static const char *const outcome_words[] = {
    "",      "exit",        "signal",       "timeout",   "oom",
    "limit", "exec_failed", "fetch_failed", "cancelled", "lost"};
static const char *const isolation_words[] = {
    "", "none", "basic", "standard", "strict"};
static const char *const offer_words[] = {
    "timeout",     "memory_mb", "cpu_seconds", "max_processes",
    "max_file_mb", "basic",     "standard",    "strict"};

#define COUNT(array) ((int32_t)(sizeof(array) / sizeof *(array)))

static const char *word_of(
    const char *const *words, int32_t count, int32_t value)
{
    return value > 0 && value < count ? words[value] : "";
}

/* Its place, or 0: place 0 is never a word. */
static int32_t place_of(
    const char *const *words, int32_t count, const char *word)
{
    for (int32_t i = 1; i < count && word; i++) {
        if (strcmp(words[i], word) == 0)
            return i;
    }
    return 0;
}

const char *executr_priority_word(int32_t priority)
{
    if (priority == EXECUTR_PRIORITY_DEFAULT)
        priority = EXECUTR_PRIORITY_BACKGROUND;
    return word_of(priority_words, COUNT(priority_words), priority);
}

const char *executr_job_status_word(int32_t status)
{
    return word_of(status_words, COUNT(status_words), status);
}

const char *executr_attempt_status_word(int32_t status)
{
    return word_of(attempt_words, COUNT(attempt_words), status);
}

const char *executr_outcome_word(int32_t outcome)
{
    return word_of(outcome_words, COUNT(outcome_words), outcome);
}

const char *executr_isolation_word(int32_t isolation)
{
    return word_of(isolation_words, COUNT(isolation_words), isolation);
}

int32_t executr_priority_parse(const char *word)
{
    return place_of(priority_words, COUNT(priority_words), word);
}

int32_t executr_job_status_parse(const char *word)
{
    return place_of(status_words, COUNT(status_words), word);
}

int32_t ex_attempt_status_parse(const char *word)
{
    return place_of(attempt_words, COUNT(attempt_words), word);
}

int32_t executr_outcome_parse(const char *word)
{
    return place_of(outcome_words, COUNT(outcome_words), word);
}

int32_t executr_isolation_parse(const char *word)
{
    return place_of(isolation_words, COUNT(isolation_words), word);
}

const char *ex_offer_word(int32_t bit)
{
    return bit >= 0 && bit < COUNT(offer_words) ? offer_words[bit] : "";
}

uint32_t ex_offer_parse(const char *word)
{
    for (int32_t i = 0; i < COUNT(offer_words); i++) {
        if (strcmp(offer_words[i], word) == 0)
            return 1u << i;
    }
    return 0;
}

int32_t ex_job_may_move(int32_t from, int32_t to)
{
    switch (from) {
    case EXECUTR_JOB_PENDING:
        return to == EXECUTR_JOB_RUNNING || to == EXECUTR_JOB_CANCELLED;
    case EXECUTR_JOB_RUNNING: /* back to pending: lost, retried, given back */
        return to == EXECUTR_JOB_PENDING || to == EXECUTR_JOB_COMPLETED ||
               to == EXECUTR_JOB_FAILED || to == EXECUTR_JOB_CANCELLED;
    case EXECUTR_JOB_FAILED:
    case EXECUTR_JOB_CANCELLED: /* a person asked for a retry */
        return to == EXECUTR_JOB_PENDING;
    default:
        return 0;
    }
}

executr_status ex_jobs_new(executr_jobs **out, executr_error *err)
{
    void *memory;

    executr_status st = ex_alloc(&memory, sizeof(executr_jobs), err);
    *out = memory;
    return st;
}

/* Room for one more pointer or item of `size` bytes. */
static executr_status grow(
    void **items, size_t count, size_t *capacity, size_t size,
    executr_error *err)
{
    if (count < *capacity)
        return EXECUTR_OK;
    size_t wanted = *capacity ? *capacity * 2 : 8;
    if (wanted > SIZE_MAX / size)
        return ex_fail_nomem(err);
    executr_status st = ex_realloc(items, wanted * size, err);
    if (!st)
        *capacity = wanted;
    return st;
}

executr_status ex_jobs_add(
    executr_jobs *jobs, struct executr_job **out, executr_error *err)
{
    void *items = jobs->items;

    *out = NULL;
    executr_status st = grow(
        &items, jobs->count, &jobs->capacity, sizeof(struct executr_job *),
        err);
    jobs->items = items;
    if (st)
        return st;
    struct executr_job *job = ex_arena_get(&jobs->arena, sizeof *job);
    if (!job)
        return ex_fail_nomem(err);
    job->type = "";
    job->binary_url = "";
    job->executor_id = "";
    job->error_message = "";
    job->arguments_json = "[]";
    job->environment_json = "{}";
    job->stdout_data = "";
    job->stderr_data = "";
    jobs->items[jobs->count++] = job;
    *out = job;
    return EXECUTR_OK;
}

executr_status ex_jobs_copy(
    executr_jobs *jobs, const struct executr_job *from,
    struct executr_job **out, executr_error *err)
{
    ex_arena *arena = &jobs->arena;
    struct executr_job *job;

    executr_status st = ex_jobs_add(jobs, &job, err);
    *out = job;
    if (!job)
        return st;
    *job = *from;
    job->arguments = NULL;
    job->environment = NULL;
    job->type = ex_arena_strdup(arena, from->type);
    job->binary_url = ex_arena_strdup(arena, from->binary_url);
    job->executor_id = ex_arena_strdup(arena, from->executor_id);
    job->error_message = ex_arena_strdup(arena, from->error_message);
    job->arguments_json = ex_arena_strdup(arena, from->arguments_json);
    job->environment_json = ex_arena_strdup(arena, from->environment_json);
    if (job->type && job->binary_url && job->executor_id &&
        job->error_message && job->arguments_json && job->environment_json)
        return EXECUTR_OK;
    jobs->count--;
    *out = NULL;
    return ex_fail_nomem(err);
}

void executr_jobs_free(executr_jobs *jobs)
{
    if (!jobs)
        return;
    ex_arena_clear(&jobs->arena);
    ex_free(jobs->items);
    ex_free(jobs);
}

executr_status ex_executors_new(executr_executors **out, executr_error *err)
{
    void *memory;

    executr_status st = ex_alloc(&memory, sizeof(executr_executors), err);
    *out = memory;
    return st;
}

executr_status ex_executors_add(
    executr_executors *executors, ex_executor **out, executr_error *err)
{
    static const ex_executor empty = {
        .id = "",
        .ip = "",
        .version = "",
        .current_job_id = "",
        .job_type = ""};
    void *items = executors->items;

    *out = NULL;
    executr_status st = grow(
        &items, executors->count, &executors->capacity, sizeof(ex_executor),
        err);
    executors->items = items;
    if (st)
        return st;
    *out = &executors->items[executors->count++];
    **out = empty;
    return EXECUTR_OK;
}

void executr_executors_free(executr_executors *executors)
{
    if (!executors)
        return;
    ex_arena_clear(&executors->arena);
    ex_free(executors->items);
    ex_free(executors);
}
