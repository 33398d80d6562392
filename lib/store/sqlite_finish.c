/* SPDX-License-Identifier: MIT */
/* Ends of attempts in SQLite: by report, and the steps that all ends share. */
#include "store/sqlite.h"

#include <string.h>

#include "base/fail.h"

static void copy_text(char *out, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);

    memcpy(out, text, length);
    out[length] = '\0';
}

executr_status ex_sqlite_hold(
    ex_sqlite *db, const ex_uuid *id, ex_held *out, executr_error *err)
{
    static const char sql[] =
        "SELECT seq, status, priority, attempt, retry_count, max_retries,"
        " lost_count, cancel_requested, demands, started_at, executor_id,"
        " executor_ip, type FROM jobs WHERE id = ?";
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, id);
    st = ex_stmt_row(&s, &row, err);
    if (st || !row)
        return st ? st : EXECUTR_E_NOT_FOUND;
    out->seq = ex_column_i64(&s, 0);
    out->id = *id;
    out->status = executr_job_status_parse(ex_column_text(&s, 1));
    out->priority = executr_priority_parse(ex_column_text(&s, 2));
    out->attempt = (int32_t)ex_column_i64(&s, 3);
    out->retry_count = (int32_t)ex_column_i64(&s, 4);
    out->max_retries = (int32_t)ex_column_i64(&s, 5);
    out->lost_count = (int32_t)ex_column_i64(&s, 6);
    out->cancel_requested = (int32_t)ex_column_i64(&s, 7);
    out->demands = (uint32_t)ex_column_i64(&s, 8);
    out->started_at_us = ex_column_i64(&s, 9);
    copy_text(
        out->executor_id, sizeof out->executor_id, ex_column_text(&s, 10));
    copy_text(
        out->executor_ip, sizeof out->executor_ip, ex_column_text(&s, 11));
    copy_text(out->type, sizeof out->type, ex_column_text(&s, 12));
    ex_stmt_end(&s);
    return EXECUTR_OK;
}

executr_status ex_sqlite_enqueue(
    ex_sqlite *db, const ex_held *job, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO queue (priority, seq, job_id, type, demands)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, job->priority);
    ex_stmt_i64(&s, job->seq);
    ex_stmt_uuid(&s, &job->id);
    ex_stmt_string(&s, job->type);
    ex_stmt_i64(&s, job->demands);
    st = ex_stmt_run(&s, err);
    /* The row never left: a person had claimed the job by hand, and the
     * counters have not heard of it. */
    if (!st && ex_sqlite_changes(db) == 0)
        ex_deltas_move(
            &db->deltas, job->priority, EXECUTR_JOB_PENDING,
            EXECUTR_JOB_RUNNING);
    return st;
}

static executr_status wait_for_retry(
    ex_sqlite *db, const ex_held *job, int64_t due_at_us, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO waiting (job_id, due_at) VALUES (?, ?)"
        " ON CONFLICT DO NOTHING";
    static const char again[] =
        "UPDATE waiting SET due_at = ?2 WHERE job_id = ?1";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, &job->id);
    ex_stmt_i64(&s, due_at_us);
    st = ex_stmt_run(&s, err);
    if (st || ex_sqlite_changes(db) > 0)
        return st;
    /* It waits already: it was claimed by hand, see ex_sqlite_enqueue. */
    ex_deltas_move(
        &db->deltas, job->priority, EXECUTR_JOB_PENDING, EXECUTR_JOB_RUNNING);
    st = ex_stmt_use(&s, db, again, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, &job->id);
    ex_stmt_i64(&s, due_at_us);
    return ex_stmt_run(&s, err);
}

/* Usage and outputs, of which an attempt without a report has none. */
static void bind_report(ex_stmt *s, const executr_report *report)
{
    int32_t known =
        report && (report->user_seconds > 0 || report->system_seconds > 0 ||
                   report->wall_seconds > 0 || report->max_rss_bytes > 0);

    ex_stmt_double_or_null(s, known, known ? report->user_seconds : 0);
    ex_stmt_double_or_null(s, known, known ? report->system_seconds : 0);
    ex_stmt_double_or_null(s, known, known ? report->wall_seconds : 0);
    ex_stmt_i64_or_null(s, known, known ? report->max_rss_bytes : 0);
    if (report) {
        ex_stmt_blob(s, report->stdout_data, report->stdout_length);
        ex_stmt_blob(s, report->stderr_data, report->stderr_length);
    } else {
        ex_stmt_i64_or_null(s, 0, 0);
        ex_stmt_i64_or_null(s, 0, 0);
    }
}

/* What is recorded of an attempt stays: a job that a person claimed by hand
 * has no number of its own, and its end may meet one. */
static executr_status record_attempt(
    ex_sqlite *db, const ex_held *job, const ex_end *end, executr_error *err)
{
    static const char sql[] =
        "INSERT INTO job_attempts (job_id, attempt, executor_id, executor_ip,"
        " started_at, ended_at, status, outcome, exit_code, signal,"
        " error_message, user_seconds, system_seconds, wall_seconds,"
        " max_rss_bytes, stdout, stderr)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING";
    const executr_report *report = end->report;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, &job->id);
    ex_stmt_i64(&s, job->attempt);
    ex_stmt_string(&s, job->executor_id);
    ex_stmt_string(&s, job->executor_ip);
    ex_stmt_i64(&s, job->started_at_us);
    ex_stmt_i64(&s, db->now_us);
    ex_stmt_string(&s, executr_attempt_status_word(end->attempt_status));
    ex_stmt_text(&s, executr_outcome_word(end->outcome));
    ex_stmt_i64_or_null(
        &s, report && report->has_exit_code, report ? report->exit_code : 0);
    ex_stmt_i64_or_null(
        &s, report && report->signal, report ? report->signal : 0);
    ex_stmt_text(&s, end->error_message);
    bind_report(&s, report);
    return ex_stmt_run(&s, err);
}

static executr_status update_job(
    ex_sqlite *db, const ex_held *job, const ex_end *end, executr_error *err)
{
    static const char sql[] =
        "UPDATE jobs SET status = ?2, retry_count = ?3, retry_after = ?4,"
        " lost_count = ?5, completed_at = ?6,"
        " outcome = CASE WHEN ?7 THEN outcome ELSE ?8 END,"
        " exit_code = CASE WHEN ?7 THEN exit_code ELSE ?9 END,"
        " signal = CASE WHEN ?7 THEN signal ELSE ?10 END,"
        " error_message = CASE WHEN ?7 THEN error_message ELSE ?11 END"
        " WHERE seq = ?1";
    const executr_report *report = end->report;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, job->seq);
    ex_stmt_string(&s, executr_job_status_word(end->job_status));
    ex_stmt_i64(&s, job->retry_count + end->retry);
    ex_stmt_i64_or_null(&s, end->due_at_us != 0, end->due_at_us);
    ex_stmt_i64(&s, end->lost_count);
    ex_stmt_i64_or_null(&s, end->job_status != EXECUTR_JOB_PENDING, db->now_us);
    ex_stmt_i64(&s, end->keep_results);
    ex_stmt_text(&s, executr_outcome_word(end->outcome));
    ex_stmt_i64_or_null(
        &s, report && report->has_exit_code, report ? report->exit_code : 0);
    ex_stmt_i64_or_null(
        &s, report && report->signal, report ? report->signal : 0);
    ex_stmt_text(&s, end->job_message ? end->job_message : end->error_message);
    return ex_stmt_run(&s, err);
}

static executr_status forget_executor(
    ex_sqlite *db, const ex_held *job, executr_error *err)
{
    static const char sql[] =
        "UPDATE jobs SET executor_id = NULL, executor_ip = NULL,"
        " started_at = NULL, last_heartbeat = NULL WHERE seq = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, job->seq);
    return ex_stmt_run(&s, err);
}

executr_status ex_sqlite_end_attempt(
    ex_sqlite *db, const ex_held *job, const ex_end *end, executr_error *err)
{
    ex_deltas_move(
        &db->deltas, job->priority, EXECUTR_JOB_RUNNING, end->job_status);
    executr_status st = record_attempt(db, job, end, err);
    if (!st)
        st = update_job(db, job, end, err);
    if (st || end->job_status != EXECUTR_JOB_PENDING)
        return st;
    st = forget_executor(db, job, err);
    if (!st && end->due_at_us)
        st = wait_for_retry(db, job, end->due_at_us, err);
    else if (!st)
        st = ex_sqlite_enqueue(db, job, err);
    return st;
}

executr_status ex_sqlite_release(
    ex_sqlite *db, const ex_held *job, executr_error *err)
{
    const ex_end end = {
        .attempt_status = EXECUTR_ATTEMPT_RELEASED,
        .job_status =
            job->cancel_requested ? EXECUTR_JOB_CANCELLED : EXECUTR_JOB_PENDING,
        .lost_count = job->lost_count,
        .keep_results = 1,
        .outcome = EXECUTR_OUTCOME_LOST};

    return ex_sqlite_end_attempt(db, job, &end, err);
}

/* ---- Reports. */

/* What a report makes of the job it ends. */
static ex_end decide(
    const ex_held *job, const executr_report *report, const ex_rules *rules,
    int64_t now_us)
{
    ex_end end = {
        .attempt_status = report->status,
        .job_status = EXECUTR_JOB_COMPLETED,
        .outcome = report->outcome ? report->outcome : EXECUTR_OUTCOME_EXIT,
        .error_message = report->error_message,
        .report = report};

    if (report->status == EXECUTR_ATTEMPT_COMPLETED) {
        end.job_status = EXECUTR_JOB_COMPLETED; /* whatever else it says */
    } else if (report->uncounted) {
        end.attempt_status = EXECUTR_ATTEMPT_RELEASED;
        end.job_status =
            job->cancel_requested ? EXECUTR_JOB_CANCELLED : EXECUTR_JOB_PENDING;
        end.lost_count = job->lost_count;
        end.keep_results = 1;
    } else if (job->cancel_requested) {
        end.attempt_status = EXECUTR_ATTEMPT_CANCELLED;
        end.job_status = EXECUTR_JOB_CANCELLED;
    } else if (job->retry_count < job->max_retries) {
        int32_t step = job->retry_count < EX_RETRY_STEPS ? job->retry_count
                                                         : EX_RETRY_STEPS - 1;
        end.job_status = EXECUTR_JOB_PENDING;
        end.retry = 1;
        end.due_at_us = now_us + rules->retry_ms[step] * 1000;
    } else {
        end.job_status = EXECUTR_JOB_FAILED;
    }
    return end;
}

/* 1 if an attempt recorded as `word` may have come from such a report. */
static int32_t matches(const executr_report *report, const char *word)
{
    if (report->status == EXECUTR_ATTEMPT_COMPLETED)
        return strcmp(word, "completed") == 0;
    if (report->uncounted)
        return strcmp(word, "released") == 0;
    return strcmp(word, "failed") == 0 || strcmp(word, "cancelled") == 0;
}

/* A report that does not end the running attempt: said before, or lost. */
static executr_status judge_late(
    ex_sqlite *db, ex_finish *finish, executr_error *err)
{
    static const char sql[] =
        "SELECT status FROM job_attempts WHERE job_id = ?1"
        " AND executor_id = ?2 AND (?3 = 0 OR attempt = ?3)"
        " ORDER BY attempt DESC LIMIT 1";
    int32_t row = 0;
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_uuid(&s, &finish->id);
    ex_stmt_string(&s, finish->executor_id);
    ex_stmt_i64(&s, finish->report->attempt);
    st = ex_stmt_row(&s, &row, err);
    if (st)
        return st;
    finish->repeated = row && matches(finish->report, ex_column_text(&s, 0));
    finish->result = finish->repeated ? EXECUTR_OK : EXECUTR_E_LOST;
    ex_stmt_end(&s);
    return EXECUTR_OK;
}

static int32_t is_current(const ex_held *job, const ex_finish *finish)
{
    return job->status == EXECUTR_JOB_RUNNING &&
           strcmp(job->executor_id, finish->executor_id) == 0 &&
           (finish->report->attempt == 0 ||
            finish->report->attempt == job->attempt);
}

static executr_status finish_one(
    ex_sqlite *db, ex_finish *finish, const ex_rules *rules, executr_error *err)
{
    ex_held job;

    finish->result = EXECUTR_OK;
    finish->repeated = 0;
    finish->ran_us = -1;
    executr_status st = ex_sqlite_hold(db, &finish->id, &job, err);
    if (st == EXECUTR_E_NOT_FOUND) {
        finish->result = st;
        return EXECUTR_OK;
    }
    if (st)
        return st;
    finish->job_status = job.status;
    finish->priority = job.priority;
    copy_text(finish->type, sizeof finish->type, job.type);
    if (!is_current(&job, finish))
        return judge_late(db, finish, err);
    ex_end end = decide(&job, finish->report, rules, db->now_us);
    finish->job_status = end.job_status;
    finish->ran_us = db->now_us - job.started_at_us;
    return ex_sqlite_end_attempt(db, &job, &end, err);
}

static executr_status count_completed(
    ex_sqlite *db, const char *executor_id, int64_t completed,
    executr_error *err)
{
    static const char sql[] =
        "UPDATE executors SET jobs_completed = jobs_completed + ?"
        " WHERE executor_id = ?";
    ex_stmt s;

    executr_status st = ex_stmt_use(&s, db, sql, err);
    if (st)
        return st;
    ex_stmt_i64(&s, completed);
    ex_stmt_string(&s, executor_id);
    return ex_stmt_run(&s, err);
}

/* Neighbours with one executor, as one report of many ends is. */
static executr_status finish_run(
    ex_sqlite *db, ex_finish *ends, size_t count, const ex_rules *rules,
    executr_error *err)
{
    executr_status st = EXECUTR_OK;
    int64_t completed = 0;

    for (size_t i = 0; i < count && !st; i++) {
        st = finish_one(db, &ends[i], rules, err);
        completed += !st && !ends[i].result && !ends[i].repeated &&
                     ends[i].job_status == EXECUTR_JOB_COMPLETED;
    }
    if (!st && completed)
        st = count_completed(db, ends[0].executor_id, completed, err);
    return st;
}

executr_status ex_sqlite_finish(
    executr_store *base, ex_finish *ends, size_t count, const ex_rules *rules,
    executr_error *err)
{
    ex_sqlite_store *store = (ex_sqlite_store *)base;
    size_t start = 0;

    executr_status st = ex_sqlite_begin_write(store, err);
    if (st)
        return st;
    while (start < count && !st) {
        size_t end = start + 1;
        while (end < count &&
               strcmp(ends[end].executor_id, ends[start].executor_id) == 0)
            end++;
        st = finish_run(&store->writer, ends + start, end - start, rules, err);
        start = end;
    }
    return ex_sqlite_end_write(store, st, err);
}
