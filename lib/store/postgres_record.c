/* SPDX-License-Identifier: MIT */
/* Rows of type executr_job_row as job records. */
#include <string.h>

#include "base/fail.h"
#include "store/limits.h"
#include "store/postgres.h"

/* The columns of executr_job_row (sql/postgres/002_queue.sql), of which
 * executr_claimed_row has the first. */
enum {
    SLOT,
    ID,
    SEQ,
    TYPE,
    PRIORITY,
    ATTEMPT,
    CREATED_AT,
    STARTED_AT,
    MAX_RETRIES,
    RETRY_COUNT,
    EXCLUSIVE,
    EXIT_CODE,
    SIGNAL,
    OUTCOME,
    ERROR_MESSAGE,
    BINARY_URL,
    BINARY_SHA256,
    ARGUMENTS,
    ENV_VARIABLES,
    LIMITS,
    CLAIMED_COLUMN_COUNT,
    STATUS = CLAIMED_COLUMN_COUNT,
    EXECUTOR_ID,
    EXECUTOR_IP,
    LAST_HEARTBEAT,
    COMPLETED_AT,
    RETRY_AFTER,
    STDOUT,
    STDERR,
    USER_SECONDS,
    SYSTEM_SECONDS,
    WALL_SECONDS,
    MAX_RSS_BYTES,
    COLUMN_COUNT
};

/* A row being read; the first failure sticks. */
typedef struct reader {
    const PGresult *rows;
    int row;
    ex_arena *arena;
    int32_t failed;
} reader;

static const char *copy(reader *r, int column, size_t *length)
{
    size_t size = (size_t)PQgetlength(r->rows, r->row, column);

    if (length)
        *length = size;
    if (size == 0)
        return "";
    const char *text =
        ex_arena_copy(r->arena, PQgetvalue(r->rows, r->row, column), size);
    if (!text)
        r->failed = 1;
    return text ? text : "";
}

static void read_texts(reader *r, struct executr_job *job)
{
    job->type = copy(r, TYPE, NULL);
    job->binary_url = copy(r, BINARY_URL, NULL);
    job->error_message = copy(r, ERROR_MESSAGE, NULL);
    job->arguments_json = copy(r, ARGUMENTS, NULL);
    job->environment_json = copy(r, ENV_VARIABLES, NULL);
}

static void read_numbers(const reader *r, struct executr_job *job)
{
    const PGresult *rows = r->rows;
    int row = r->row;

    job->priority = executr_priority_parse(ex_pg_text(rows, row, PRIORITY));
    job->attempt = ex_pg_i32(rows, row, ATTEMPT);
    job->created_at_us = ex_pg_time(rows, row, CREATED_AT);
    job->started_at_us = ex_pg_time(rows, row, STARTED_AT);
    job->max_retries = ex_pg_i32(rows, row, MAX_RETRIES);
    job->retry_count = ex_pg_i32(rows, row, RETRY_COUNT);
    job->exclusive = ex_pg_bool(rows, row, EXCLUSIVE);
    job->has_exit_code = !PQgetisnull(rows, row, EXIT_CODE);
    job->exit_code = ex_pg_i32(rows, row, EXIT_CODE);
    job->signal = ex_pg_i32(rows, row, SIGNAL);
    job->outcome = executr_outcome_parse(ex_pg_text(rows, row, OUTCOME));
}

/* What a claim does not tell. */
static void read_more(reader *r, struct executr_job *job)
{
    const PGresult *rows = r->rows;
    int row = r->row;

    job->status = executr_job_status_parse(ex_pg_text(rows, row, STATUS));
    job->executor_id = copy(r, EXECUTOR_ID, NULL);
    job->last_heartbeat_us = ex_pg_time(rows, row, LAST_HEARTBEAT);
    job->completed_at_us = ex_pg_time(rows, row, COMPLETED_AT);
    job->retry_after_us = ex_pg_time(rows, row, RETRY_AFTER);
    job->stdout_data = copy(r, STDOUT, &job->stdout_length);
    job->stderr_data = copy(r, STDERR, &job->stderr_length);
}

static executr_status read_row(
    reader *r, int columns, executr_jobs *jobs, struct executr_job **out,
    executr_error *err)
{
    if (PQnfields(r->rows) != columns) {
        ex_fail(
            err, EXECUTR_E_INTERNAL, "a job has %d columns instead of %d",
            PQnfields(r->rows), columns);
        return EXECUTR_E_INTERNAL; /* a constant, for the optimiser to see */
    }
    executr_status st = ex_jobs_add(jobs, out, err);
    if (st)
        return st;
    struct executr_job *job = *out;
    ex_uuid id = ex_pg_uuid(r->rows, r->row, ID);
    ex_uuid_format(&id, job->id);
    const char *sha256 = ex_pg_text(r->rows, r->row, BINARY_SHA256);
    memcpy(
        job->binary_sha256, sha256,
        strnlen(sha256, sizeof job->binary_sha256 - 1));
    read_texts(r, job);
    read_numbers(r, job);
    return ex_limits_load(ex_pg_text(r->rows, r->row, LIMITS), job, err);
}

executr_status ex_pg_record(
    const PGresult *rows, int row, executr_jobs *jobs, struct executr_job **out,
    executr_error *err)
{
    reader r = {rows, row, &jobs->arena, 0};
    struct executr_job *job;

    executr_status st = read_row(&r, COLUMN_COUNT, jobs, &job, err);
    if (st)
        return st;
    read_more(&r, job);
    if (out)
        *out = job;
    return r.failed ? ex_fail_nomem(err) : EXECUTR_OK;
}

executr_status ex_pg_claimed(
    const PGresult *rows, int row, const char *executor_id, executr_jobs *jobs,
    executr_error *err)
{
    reader r = {rows, row, &jobs->arena, 0};
    struct executr_job *job;

    executr_status st = read_row(&r, CLAIMED_COLUMN_COUNT, jobs, &job, err);
    if (st)
        return st;
    job->status = EXECUTR_JOB_RUNNING;
    job->last_heartbeat_us = job->started_at_us;
    job->executor_id = ex_arena_strdup(&jobs->arena, executor_id);
    if (!job->executor_id || r.failed)
        return ex_fail_nomem(err);
    return EXECUTR_OK;
}

static int32_t attempt_status(const char *word)
{
    for (int32_t s = EXECUTR_ATTEMPT_RUNNING; s <= EXECUTR_ATTEMPT_RELEASED;
         s++) {
        if (strcmp(executr_attempt_status_word(s), word) == 0)
            return s;
    }
    return 0;
}

static void read_attempt(reader *r, struct executr_attempt *a)
{
    const PGresult *rows = r->rows;
    int row = r->row;

    a->number = ex_pg_i32(rows, row, ATTEMPT);
    a->status = attempt_status(ex_pg_text(rows, row, STATUS));
    a->outcome = executr_outcome_parse(ex_pg_text(rows, row, OUTCOME));
    a->signal = ex_pg_i32(rows, row, SIGNAL);
    a->has_exit_code = !PQgetisnull(rows, row, EXIT_CODE);
    a->exit_code = ex_pg_i32(rows, row, EXIT_CODE);
    a->executor_id = copy(r, EXECUTOR_ID, NULL);
    a->executor_ip = copy(r, EXECUTOR_IP, NULL);
    a->error_message = copy(r, ERROR_MESSAGE, NULL);
    a->started_at_us = ex_pg_time(rows, row, STARTED_AT);
    a->ended_at_us = ex_pg_time(rows, row, COMPLETED_AT);
    a->has_usage = !PQgetisnull(rows, row, WALL_SECONDS);
    a->user_seconds = ex_pg_f64(rows, row, USER_SECONDS);
    a->system_seconds = ex_pg_f64(rows, row, SYSTEM_SECONDS);
    a->wall_seconds = ex_pg_f64(rows, row, WALL_SECONDS);
    a->max_rss_bytes = ex_pg_i64(rows, row, MAX_RSS_BYTES);
}

/* Rows behind the first are attempts that ended; the one under way is told by
 * the job itself. */
static executr_status read_attempts(
    const PGresult *rows, executr_jobs *jobs, struct executr_job *job,
    executr_error *err)
{
    size_t ended = (size_t)PQntuples(rows) - 1;
    size_t total = ended + (job->status == EXECUTR_JOB_RUNNING ? 1 : 0);

    job->has_attempts = 1;
    job->attempts =
        ex_arena_get(&jobs->arena, (total ? total : 1) * sizeof *job->attempts);
    if (!job->attempts)
        return ex_fail_nomem(err);
    for (size_t i = 0; i < ended; i++) {
        reader r = {rows, (int)i + 1, &jobs->arena, 0};
        read_attempt(&r, &job->attempts[i]);
        if (r.failed)
            return ex_fail_nomem(err);
    }
    if (total > ended) {
        reader r = {rows, 0, &jobs->arena, 0};
        struct executr_attempt *current = &job->attempts[ended];
        current->number = job->attempt;
        current->status = EXECUTR_ATTEMPT_RUNNING;
        current->executor_id = job->executor_id;
        current->executor_ip = copy(&r, EXECUTOR_IP, NULL);
        current->error_message = "";
        current->started_at_us = job->started_at_us;
        if (r.failed)
            return ex_fail_nomem(err);
    }
    job->attempt_count = total;
    return EXECUTR_OK;
}

executr_status ex_pg_no_job(const ex_uuid *id, executr_error *err)
{
    char text[EX_UUID_TEXT];

    ex_uuid_format(id, text);
    return ex_fail(err, EXECUTR_E_NOT_FOUND, "there is no job %s", text);
}

executr_status ex_pg_get(
    executr_store *base, const ex_uuid *id, int32_t parts, executr_jobs *jobs,
    executr_error *err)
{
    struct executr_job *job = NULL;
    PGresult *rows = NULL;
    ex_params p;

    ex_params_init(&p);
    ex_params_one(&p, EX_PG_UUID);
    ex_item_uuid(&p, id);
    ex_params_one(&p, EX_PG_INT4);
    ex_item_i32(&p, parts);
    executr_status st = ex_pg_once(
        (ex_pg_store *)base, EX_PG_REPEATABLE,
        "SELECT * FROM executr_get($1, $2)", &p, &rows, err);
    if (!st && PQntuples(rows) == 0)
        st = ex_pg_no_job(id, err);
    if (!st)
        st = ex_pg_record(rows, 0, jobs, &job, err);
    if (job)
        job->has_output = (parts & EXECUTR_PART_OUTPUT) != 0;
    if (!st && job && (parts & EXECUTR_PART_ATTEMPTS))
        st = read_attempts(rows, jobs, job, err);
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}
