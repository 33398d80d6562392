/* SPDX-License-Identifier: MIT */
/*
 * Reads job records from a server's answers. The server is not trusted: an id
 * becomes a directory's name later, so ids and hashes must be what they claim.
 */
#include "job.h"

#include <string.h>

#include "base/fail.h"
#include "base/sha256.h"

static executr_status read_id(
    const ex_json *object, struct executr_job *job, executr_error *err)
{
    const char *id = NULL;
    ex_uuid uuid;

    executr_status st = ex_json_read_string(object, "id", &id, err);
    if (!st && !id)
        st = ex_json_read_string(object, "job_id", &id, err);
    if (st)
        return st;
    if (!id || ex_uuid_parse(id, &uuid))
        return ex_fail_field(err, "id", "id must be a job id (a UUID)");
    memcpy(job->id, id, EX_UUID_TEXT);
    return EXECUTR_OK;
}

static executr_status read_identity(
    const ex_json *object, ex_arena *arena, struct executr_job *job,
    executr_error *err)
{
    const char *sha256 = NULL;

    executr_status st = read_id(object, job, err);
    if (!st)
        st = ex_text_read(object, "type", arena, &job->type, err);
    if (!st)
        st = ex_word_read(
            object, "priority", executr_priority_parse, &job->priority, err);
    if (!st)
        st = ex_word_read(
            object, "status", executr_job_status_parse, &job->status, err);
    if (!st)
        st = ex_json_read_string(object, "binary_sha256", &sha256, err);
    job->is_brief = !sha256;
    if (!st && sha256)
        st = ex_sha256_normalize(
            sha256, job->binary_sha256, "binary_sha256", err);
    return st;
}

/* The strings, and the compact JSON a record is written from. */
static executr_status read_strings(
    const ex_json *object, ex_arena *arena, struct executr_job *job,
    executr_error *err)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    ex_buf arguments;
    ex_buf environment;

    ex_buf_init(&arguments, EX_BUF_UNLIMITED);
    ex_buf_init(&environment, EX_BUF_UNLIMITED);
    executr_status st = ex_strings_read(
        ex_json_get(object, "arguments"), "arguments", arena, &job->arguments,
        &job->argument_count, err);
    if (!st)
        st = ex_environment_read(
            ex_json_get(object, "env_variables"), arena, &job->environment,
            &job->environment_count, err);
    if (st)
        goto done;
    spec.arguments = job->arguments;
    spec.argument_count = job->argument_count;
    spec.environment = job->environment;
    spec.environment_count = job->environment_count;
    ex_spec_arguments_json(&spec, &arguments);
    ex_spec_environment_json(&spec, &environment);
    job->arguments_json = ex_arena_strdup(arena, ex_buf_text(&arguments));
    job->environment_json = ex_arena_strdup(arena, ex_buf_text(&environment));
    if (arguments.failed || environment.failed || !job->arguments_json ||
        !job->environment_json)
        st = ex_fail_nomem(err);
done:
    ex_buf_clear(&environment);
    ex_buf_clear(&arguments);
    return st;
}

static executr_status read_description(
    const ex_json *object, ex_arena *arena, struct executr_job *job,
    executr_error *err)
{
    const ex_limits limits = {
        &job->timeout_ms,
        &job->kill_grace_ms,
        {&job->memory_mb, &job->cpu_seconds, &job->max_processes,
         &job->max_file_mb},
        &job->isolation};

    executr_status st =
        ex_text_read(object, "binary_url", arena, &job->binary_url, err);
    if (!st)
        st = read_strings(object, arena, job, err);
    if (!st)
        st = ex_json_read_bool(object, "exclusive", &job->exclusive, err);
    if (!st)
        st = ex_json_read_i32(
            object, "max_retries", 0, INT32_MAX, &job->max_retries, err);
    return st ? st : ex_limits_read(object, &limits, err);
}

/* How the program ended, which jobs and attempts tell alike. */
static executr_status read_end(
    const ex_json *object, int32_t *outcome, int32_t *has_exit_code,
    int32_t *exit_code, int32_t *signal, executr_error *err)
{
    *has_exit_code = ex_json_get(object, "exit_code") != NULL;
    executr_status st = ex_json_read_i32(
        object, "exit_code", INT32_MIN, INT32_MAX, exit_code, err);
    if (!st)
        st = ex_word_read(
            object, "outcome", executr_outcome_parse, outcome, err);
    if (!st)
        st = ex_json_read_i32(object, "signal", 0, INT32_MAX, signal, err);
    return st;
}

static executr_status read_times(
    const ex_json *object, struct executr_job *job, executr_error *err)
{
    const struct {
        const char *name;
        int64_t *us;
    } times[] = {
        {"created_at", &job->created_at_us},
        {"started_at", &job->started_at_us},
        {"completed_at", &job->completed_at_us},
        {"last_heartbeat", &job->last_heartbeat_us},
        {"retry_after", &job->retry_after_us},
    };
    executr_status st = EXECUTR_OK;

    for (size_t i = 0; i < sizeof times / sizeof *times && !st; i++)
        st = ex_time_read(object, times[i].name, times[i].us, err);
    return st;
}

static executr_status read_state(
    const ex_json *object, ex_arena *arena, struct executr_job *job,
    executr_error *err)
{
    executr_status st = ex_json_read_i32(
        object, "retry_count", 0, INT32_MAX, &job->retry_count, err);
    if (!st)
        st = ex_json_read_i32(
            object, "attempt", 0, INT32_MAX, &job->attempt, err);
    if (!st)
        st = ex_text_read(object, "executor_id", arena, &job->executor_id, err);
    if (!st)
        st = ex_text_read(
            object, "error_message", arena, &job->error_message, err);
    if (!st)
        st = read_end(
            object, &job->outcome, &job->has_exit_code, &job->exit_code,
            &job->signal, err);
    return st ? st : read_times(object, job, err);
}

/* An output, which may hold NULs. */
static executr_status read_output(
    const ex_json *object, const char *name, ex_arena *arena, const char **data,
    size_t *length, executr_error *err)
{
    const ex_json *value = ex_json_get(object, name);

    if (!value)
        return EXECUTR_OK;
    if (ex_json_type(value) != EX_JSON_STRING)
        return ex_fail_field(err, name, "%s must be a string", name);
    const char *text = ex_json_string(value, length);
    const char *copy = ex_arena_copy(arena, text, *length);
    if (!copy)
        return ex_fail_nomem(err);
    *data = copy;
    return EXECUTR_OK;
}

static executr_status read_outputs(
    const ex_json *object, ex_arena *arena, struct executr_job *job,
    executr_error *err)
{
    job->has_output =
        ex_json_get(object, "stdout") || ex_json_get(object, "stderr");
    executr_status st = read_output(
        object, "stdout", arena, &job->stdout_data, &job->stdout_length, err);
    if (!st)
        st = read_output(
            object, "stderr", arena, &job->stderr_data, &job->stderr_length,
            err);
    return st;
}

static executr_status read_usage(
    const ex_json *object, struct executr_attempt *attempt, executr_error *err)
{
    ex_json *usage = NULL;

    executr_status st =
        ex_json_read_container(object, "usage", EX_JSON_OBJECT, &usage, err);
    if (st || !usage)
        return st;
    attempt->has_usage = 1;
    st =
        ex_json_read_double(usage, "user_seconds", &attempt->user_seconds, err);
    if (!st)
        st = ex_json_read_double(
            usage, "system_seconds", &attempt->system_seconds, err);
    if (!st)
        st = ex_json_read_double(
            usage, "wall_seconds", &attempt->wall_seconds, err);
    if (!st)
        st = ex_json_read_i64(
            usage, "max_rss_bytes", 0, INT64_MAX, &attempt->max_rss_bytes, err);
    return st;
}

static executr_status read_attempt(
    const ex_json *object, ex_arena *arena, struct executr_attempt *attempt,
    executr_error *err)
{
    attempt->executor_id = "";
    attempt->executor_ip = "";
    attempt->error_message = "";
    executr_status st = ex_json_read_i32(
        object, "attempt", 1, INT32_MAX, &attempt->number, err);
    if (!st)
        st = ex_word_read(
            object, "status", ex_attempt_status_parse, &attempt->status, err);
    if (!st)
        st = ex_text_read(
            object, "executor_id", arena, &attempt->executor_id, err);
    if (!st)
        st = ex_text_read(
            object, "executor_ip", arena, &attempt->executor_ip, err);
    if (!st)
        st = ex_text_read(
            object, "error_message", arena, &attempt->error_message, err);
    if (!st)
        st = ex_time_read(object, "started_at", &attempt->started_at_us, err);
    if (!st)
        st = ex_time_read(object, "ended_at", &attempt->ended_at_us, err);
    if (!st)
        st = read_end(
            object, &attempt->outcome, &attempt->has_exit_code,
            &attempt->exit_code, &attempt->signal, err);
    return st ? st : read_usage(object, attempt, err);
}

static executr_status read_attempts(
    const ex_json *object, ex_arena *arena, struct executr_job *job,
    executr_error *err)
{
    ex_json *array = NULL;

    executr_status st =
        ex_json_read_container(object, "attempts", EX_JSON_ARRAY, &array, err);
    if (st || !array)
        return st;
    size_t count = ex_json_count(array);
    job->attempts = ex_arena_get(arena, count * sizeof *job->attempts);
    if (!job->attempts)
        return ex_fail_nomem(err);
    for (size_t i = 0; i < count && !st; i++)
        st = read_attempt(ex_json_at(array, i), arena, &job->attempts[i], err);
    job->attempt_count = count;
    job->has_attempts = 1;
    return st;
}

executr_status ex_job_read(
    const ex_json *object, executr_jobs *jobs, executr_error *err)
{
    struct executr_job *job;

    if (ex_json_type(object) != EX_JSON_OBJECT)
        return ex_fail(err, EXECUTR_E_PROTOCOL, "a job must be a JSON object");
    executr_status st = ex_jobs_add(jobs, &job, err);
    if (st)
        return st;
    st = read_identity(object, &jobs->arena, job, err);
    if (!st && !job->is_brief) {
        st = read_description(object, &jobs->arena, job, err);
        if (!st)
            st = read_state(object, &jobs->arena, job, err);
        if (!st)
            st = read_outputs(object, &jobs->arena, job, err);
        if (!st)
            st = read_attempts(object, &jobs->arena, job, err);
    }
    if (st)
        jobs->count--; /* no half record; its memory goes with the list */
    return ex_as_protocol(st, err);
}
