/* SPDX-License-Identifier: MIT */
/* Reading jobs from SQLite: rows become records. */
#include "store/sqlite.h"

#include <string.h>

#include "base/fail.h"
#include "store/limits.h"

/* ---- Records. */

/* The columns of EX_SQLITE_JOB_COLUMNS that are texts of a record. */
static executr_status read_texts(
    const ex_stmt *s, ex_arena *arena, struct executr_job *job,
    executr_error *err)
{
    const struct {
        int column;
        const char **out;
    } texts[] = {
        {1, &job->type},
        {13, &job->executor_id},
        {17, &job->error_message},
        {19, &job->binary_url},
        {21, &job->arguments_json},
        {22, &job->environment_json}};
    executr_status st = EXECUTR_OK;

    for (size_t i = 0; i < sizeof texts / sizeof *texts && !st; i++)
        st = ex_column_copy(s, texts[i].column, arena, texts[i].out, NULL, err);
    return st;
}

executr_status ex_sqlite_record(
    const ex_stmt *s, executr_jobs *jobs, struct executr_job **out,
    executr_error *err)
{
    struct executr_job *job;

    executr_status st = ex_jobs_add(jobs, &job, err);
    if (st)
        return st;
    *out = job;
    strncpy(job->id, ex_column_text(s, 0), sizeof job->id - 1);
    job->status = executr_job_status_parse(ex_column_text(s, 2));
    job->priority = executr_priority_parse(ex_column_text(s, 3));
    job->created_at_us = ex_column_i64(s, 4);
    job->started_at_us = ex_column_i64(s, 5);
    job->completed_at_us = ex_column_i64(s, 6);
    job->last_heartbeat_us = ex_column_i64(s, 7);
    job->attempt = (int32_t)ex_column_i64(s, 8);
    job->max_retries = (int32_t)ex_column_i64(s, 9);
    job->retry_count = (int32_t)ex_column_i64(s, 10);
    job->retry_after_us = ex_column_i64(s, 11);
    job->exclusive = (int32_t)ex_column_i64(s, 12);
    job->has_exit_code = *ex_column_text(s, 14) != '\0';
    job->exit_code = (int32_t)ex_column_i64(s, 14);
    job->outcome = executr_outcome_parse(ex_column_text(s, 15));
    job->signal = (int32_t)ex_column_i64(s, 16);
    strncpy(
        job->binary_sha256, ex_column_text(s, 20),
        sizeof job->binary_sha256 - 1);
    st = read_texts(s, &jobs->arena, job, err);
    return st ? st : ex_limits_load(ex_column_text(s, 18), job, err);
}

/* ---- One job. */

void ex_sqlite_see_leases(const ex_stmt *s, struct executr_job *job)
{
    int64_t leases_at = ex_column_i64(s, EX_SQLITE_JOB_COLUMN_COUNT);

    if (job->last_heartbeat_us && leases_at > job->last_heartbeat_us)
        job->last_heartbeat_us = leases_at;
}

static executr_status read_output(
    ex_sqlite *db, const ex_uuid *id, executr_jobs *jobs,
    struct executr_job *job, executr_error *err)
{
    static const char sql[] =
        "SELECT stdout, stderr FROM job_attempts WHERE job_id = ?"
        " ORDER BY attempt DESC LIMIT 1";
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, id);
    st = ex_stmt_row(&s, &row, err);
    if (st || !row)
        return st;
    st = ex_column_copy(
        &s, 0, &jobs->arena, &job->stdout_data, &job->stdout_length, err);
    if (!st)
        st = ex_column_copy(
            &s, 1, &jobs->arena, &job->stderr_data, &job->stderr_length, err);
    job->has_output = !st;
    ex_stmt_end(&s);
    return st;
}

static int32_t parse_attempt_status(const char *word)
{
    for (int32_t i = EXECUTR_ATTEMPT_RUNNING; i <= EXECUTR_ATTEMPT_RELEASED;
         i++) {
        if (strcmp(executr_attempt_status_word(i), word) == 0)
            return i;
    }
    return 0;
}

static executr_status read_attempt(
    const ex_stmt *s, ex_arena *arena, struct executr_attempt *out,
    executr_error *err)
{
    out->number = (int32_t)ex_column_i64(s, 0);
    out->started_at_us = ex_column_i64(s, 3);
    out->ended_at_us = ex_column_i64(s, 4);
    out->status = parse_attempt_status(ex_column_text(s, 5));
    out->outcome = executr_outcome_parse(ex_column_text(s, 6));
    out->has_exit_code = *ex_column_text(s, 7) != '\0';
    out->exit_code = (int32_t)ex_column_i64(s, 7);
    out->signal = (int32_t)ex_column_i64(s, 8);
    out->has_usage = sqlite3_column_type(s->stmt, 12) != SQLITE_NULL;
    out->user_seconds = sqlite3_column_double(s->stmt, 10);
    out->system_seconds = sqlite3_column_double(s->stmt, 11);
    out->wall_seconds = sqlite3_column_double(s->stmt, 12);
    out->max_rss_bytes = ex_column_i64(s, 13);
    executr_status st =
        ex_column_copy(s, 1, arena, &out->executor_id, NULL, err);
    if (!st)
        st = ex_column_copy(s, 2, arena, &out->executor_ip, NULL, err);
    if (!st)
        st = ex_column_copy(s, 9, arena, &out->error_message, NULL, err);
    return st;
}

static executr_status count_attempts(
    ex_sqlite *db, const ex_uuid *id, size_t *count, executr_error *err)
{
    static const char sql[] =
        "SELECT count(*) FROM job_attempts WHERE job_id = ?";
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, id);
    st = ex_stmt_row(&s, &row, err);
    *count = !st && row ? (size_t)ex_column_i64(&s, 0) : 0;
    ex_stmt_end(&s);
    return st;
}

/* The ended attempts, and behind them the one under way. */
static executr_status read_attempts(
    ex_sqlite *db, const ex_uuid *id, executr_jobs *jobs,
    struct executr_job *job, executr_error *err)
{
    static const char sql[] =
        "SELECT attempt, executor_id, executor_ip, started_at, ended_at,"
        " status, outcome, exit_code, signal, error_message, user_seconds,"
        " system_seconds, wall_seconds, max_rss_bytes FROM job_attempts"
        " WHERE job_id = ? ORDER BY attempt LIMIT ?";
    size_t count;
    int32_t row = 1;
    ex_stmt s;

    executr_status st = count_attempts(db, id, &count, err);
    if (!st)
        st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    /* Read in one snapshot, so there are as many as were counted. */
    job->attempts =
        ex_arena_get(&jobs->arena, (count + 1) * sizeof *job->attempts);
    if (!job->attempts)
        return ex_fail_nomem(err);
    ex_stmt_uuid(&s, id);
    ex_stmt_i64(&s, (int64_t)count);
    while (!st && row) {
        st = ex_stmt_row(&s, &row, err);
        if (!st && row)
            st = read_attempt(
                &s, &jobs->arena, &job->attempts[job->attempt_count++], err);
    }
    job->has_attempts = !st;
    return st;
}

static void add_running(struct executr_job *job, const char *executor_ip)
{
    struct executr_attempt *last = &job->attempts[job->attempt_count++];

    last->number = job->attempt;
    last->status = EXECUTR_ATTEMPT_RUNNING;
    last->executor_id = job->executor_id;
    last->executor_ip = executor_ip;
    last->error_message = "";
    last->started_at_us = job->started_at_us;
}

static executr_status read_job(
    ex_sqlite *db, const ex_uuid *id, int32_t parts, executr_jobs *jobs,
    executr_error *err)
{
    struct executr_job *job;
    const char *executor_ip = "";
    static const char sql[] = EX_SQLITE_SELECT_JOB " WHERE jobs.id = ?";
    char text[EX_UUID_TEXT];
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, id);
    st = ex_stmt_row(&s, &row, err);
    ex_uuid_format(id, text);
    if (!st && !row)
        return ex_fail(err, EXECUTR_E_NOT_FOUND, "there is no job %s", text);
    if (!st)
        st = ex_sqlite_record(&s, jobs, &job, err);
    if (!st)
        st = ex_column_copy(
            &s, EX_SQLITE_JOB_COLUMN_COUNT + 1, &jobs->arena, &executor_ip,
            NULL, err);
    if (st)
        return st;
    ex_sqlite_see_leases(&s, job);
    if (parts & EXECUTR_PART_OUTPUT)
        st = read_output(db, id, jobs, job, err);
    if (!st && parts & EXECUTR_PART_ATTEMPTS)
        st = read_attempts(db, id, jobs, job, err);
    if (!st && job->has_attempts && job->status == EXECUTR_JOB_RUNNING)
        add_running(job, executor_ip);
    return st;
}

executr_status ex_sqlite_get(
    executr_store *base, const ex_uuid *id, int32_t parts, executr_jobs *jobs,
    executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    ex_sqlite *db;

    executr_status st = ex_sqlite_begin_read(store, &db, err);
    if (st)
        return st;
    st = read_job(db, id, parts, jobs, err);
    ex_sqlite_end_read(store, db);
    return st;
}
