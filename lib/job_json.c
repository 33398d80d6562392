/* SPDX-License-Identifier: MIT */
/*
 * Writes jobs, requests and figures as the JSON of the REST API. Together with
 * job_parse.c and request.c the one place with field names.
 */
#include "job.h"

#include <string.h>

#include "base/base64.h"
#include "base/time.h"
#include "base/url.h"

/* Members that are left out when there is nothing to say. */
static void add_text(ex_json_writer *w, const char *name, const char *text)
{
    if (text && *text)
        ex_json_add_string(w, name, text);
}

static void add_number(ex_json_writer *w, const char *name, int64_t value)
{
    if (value)
        ex_json_add_i64(w, name, value);
}

static void add_duration(ex_json_writer *w, const char *name, int64_t ms)
{
    char text[32];

    if (ms <= 0)
        return;
    ex_duration_format(ms, text, sizeof text);
    ex_json_add_string(w, name, text);
}

static void add_raw(ex_json_writer *w, const char *name, const char *json)
{
    ex_json_key(w, name);
    ex_json_put_raw(w, json, strlen(json));
}

static void add_double(ex_json_writer *w, const char *name, double value)
{
    ex_json_key(w, name);
    ex_json_put_double(w, value);
}

static void write_usage(const struct executr_attempt *a, ex_json_writer *w)
{
    ex_json_key(w, "usage");
    ex_json_open(w, '{');
    add_double(w, "user_seconds", a->user_seconds);
    add_double(w, "system_seconds", a->system_seconds);
    add_double(w, "wall_seconds", a->wall_seconds);
    ex_json_add_i64(w, "max_rss_bytes", a->max_rss_bytes);
    ex_json_close(w, '}');
}

static void write_attempt(const struct executr_attempt *a, ex_json_writer *w)
{
    ex_json_open(w, '{');
    ex_json_add_i64(w, "attempt", a->number);
    ex_json_add_string(w, "executor_id", a->executor_id);
    add_text(w, "executor_ip", a->executor_ip);
    ex_json_add_time(w, "started_at", a->started_at_us);
    ex_json_add_time(w, "ended_at", a->ended_at_us);
    ex_json_add_string(w, "status", executr_attempt_status_word(a->status));
    add_text(w, "outcome", executr_outcome_word(a->outcome));
    if (a->has_exit_code)
        ex_json_add_i64(w, "exit_code", a->exit_code);
    add_number(w, "signal", a->signal);
    add_text(w, "error_message", a->error_message);
    if (a->has_usage)
        write_usage(a, w);
    ex_json_close(w, '}');
}

/* The limits, which descriptions and records share. */
static void write_limits(
    int64_t timeout_ms, int64_t kill_grace_ms, const int64_t numbers[4],
    int32_t isolation, ex_json_writer *w)
{
    add_duration(w, "timeout", timeout_ms);
    add_duration(w, "kill_grace", kill_grace_ms);
    add_number(w, "memory_mb", numbers[0]);
    add_number(w, "cpu_seconds", numbers[1]);
    add_number(w, "max_processes", numbers[2]);
    add_number(w, "max_file_mb", numbers[3]);
    add_text(w, "isolation", executr_isolation_word(isolation));
}

/* What was asked for. */
static void write_description(const struct executr_job *job, ex_json_writer *w)
{
    const int64_t limits[4] = {
        job->memory_mb, job->cpu_seconds, job->max_processes, job->max_file_mb};

    add_text(w, "binary_url", job->binary_url);
    ex_json_add_string(w, "binary_sha256", job->binary_sha256);
    add_raw(w, "arguments", job->arguments_json);
    add_raw(w, "env_variables", job->environment_json);
    ex_json_add_string(w, "priority", executr_priority_word(job->priority));
    ex_json_add_bool(w, "exclusive", job->exclusive);
    ex_json_add_i64(w, "max_retries", job->max_retries);
    write_limits(
        job->timeout_ms, job->kill_grace_ms, limits, job->isolation, w);
}

/* How it stands. */
static void write_state(const struct executr_job *job, ex_json_writer *w)
{
    ex_json_add_string(w, "status", executr_job_status_word(job->status));
    ex_json_add_i64(w, "retry_count", job->retry_count);
    ex_json_add_i64(w, "attempt", job->attempt);
    add_text(w, "executor_id", job->executor_id);
    if (job->has_exit_code)
        ex_json_add_i64(w, "exit_code", job->exit_code);
    add_text(w, "outcome", executr_outcome_word(job->outcome));
    add_number(w, "signal", job->signal);
    add_text(w, "error_message", job->error_message);
    ex_json_add_time(w, "created_at", job->created_at_us);
    ex_json_add_time(w, "started_at", job->started_at_us);
    ex_json_add_time(w, "completed_at", job->completed_at_us);
    ex_json_add_time(w, "last_heartbeat", job->last_heartbeat_us);
    ex_json_add_time(w, "retry_after", job->retry_after_us);
}

static void write_parts(
    const struct executr_job *job, int32_t parts, ex_json_writer *w)
{
    if ((parts & EXECUTR_PART_OUTPUT) && job->has_output) {
        ex_json_key(w, "stdout");
        ex_json_put_bytes(w, job->stdout_data, job->stdout_length);
        ex_json_key(w, "stderr");
        ex_json_put_bytes(w, job->stderr_data, job->stderr_length);
    }
    if ((parts & EXECUTR_PART_ATTEMPTS) && job->has_attempts) {
        ex_json_key(w, "attempts");
        ex_json_open(w, '[');
        for (size_t i = 0; i < job->attempt_count; i++)
            write_attempt(&job->attempts[i], w);
        ex_json_close(w, ']');
    }
}

void ex_job_write(
    const struct executr_job *job, int32_t parts, ex_json_writer *w)
{
    ex_json_open(w, '{');
    ex_json_add_string(w, "id", job->id);
    if (job->is_brief) {
        add_text(w, "type", job->type);
        if (job->priority)
            add_text(w, "priority", executr_priority_word(job->priority));
        add_text(w, "status", executr_job_status_word(job->status));
    } else {
        ex_json_add_string(w, "type", job->type);
        write_description(job, w);
        write_state(job, w);
        write_parts(job, parts, w);
    }
    ex_json_close(w, '}');
}

/* The hash in lower case, so that equal descriptions give equal texts. */
static void add_hash(ex_json_writer *w, const char *sha256)
{
    char lower[65];
    size_t length = 0;

    for (; length < 64 && sha256[length]; length++) {
        char c = sha256[length];
        lower[length] = (char)(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
    }
    ex_json_key(w, "binary_sha256");
    ex_json_put_bytes(w, lower, length);
}

void ex_spec_write(const executr_job_spec *spec, ex_json_writer *w)
{
    const int64_t limits[4] = {
        spec->memory_mb, spec->cpu_seconds, spec->max_processes,
        spec->max_file_mb};

    ex_json_open(w, '{');
    ex_json_add_string(w, "type", spec->type);
    add_text(w, "binary_url", spec->binary_url);
    add_hash(w, spec->binary_sha256);
    ex_json_key(w, "arguments");
    ex_spec_arguments_json(spec, w->buf);
    w->comma = 1;
    ex_json_key(w, "env_variables");
    ex_spec_environment_json(spec, w->buf);
    w->comma = 1;
    ex_json_add_string(w, "priority", executr_priority_word(spec->priority));
    ex_json_add_i64(w, "max_retries", spec->max_retries);
    ex_json_add_bool(w, "exclusive", spec->exclusive);
    write_limits(
        spec->timeout_ms, spec->kill_grace_ms, limits, spec->isolation, w);
    ex_json_close(w, '}');
}

/* The words of the set bits of `bits`; bit i has the word word(i). */
static void write_bits(
    const char *name, uint32_t bits, const char *(*word)(int32_t),
    ex_json_writer *w)
{
    if (!bits)
        return;
    ex_json_key(w, name);
    ex_json_open(w, '[');
    for (int32_t i = 0; i < 32; i++) {
        if (bits & 1u << i)
            ex_json_put_string(w, word(i));
    }
    ex_json_close(w, ']');
}

void ex_claim_write(const executr_claim *claim, ex_json_writer *w)
{
    ex_json_open(w, '{');
    ex_json_add_string(w, "executor_id", claim->executor_id);
    ex_json_add_string(w, "executor_ip", claim->executor_ip);
    ex_json_add_i64(w, "max_jobs", claim->max_jobs ? claim->max_jobs : 1);
    add_duration(w, "wait", claim->wait_ms);
    if (claim->type_count) {
        ex_json_key(w, "types");
        ex_json_open(w, '[');
        for (size_t i = 0; i < claim->type_count; i++)
            ex_json_put_string(w, claim->types[i]);
        ex_json_close(w, ']');
    }
    write_bits("priorities", claim->priorities, executr_priority_word, w);
    write_bits("offers", claim->offers, ex_offer_word, w);
    ex_json_close(w, '}');
}

/* Output as a string, or in base64 where a string would change it. */
static void write_output(
    const char *name, const char *base64_name, const void *data, size_t length,
    ex_json_writer *w)
{
    if (!length)
        return;
    if (ex_utf8_valid(data, length) && !memchr(data, 0, length)) {
        ex_json_key(w, name);
        ex_json_put_bytes(w, data, length);
        return;
    }
    /* Straight into the buffer: base64 needs no escapes, and outputs are
     * long. */
    ex_json_key(w, base64_name);
    ex_json_put_raw(w, "\"", 1);
    ex_base64_encode(w->buf, data, length);
    ex_buf_putc(w->buf, '"');
}

static void write_report_usage(const executr_report *report, ex_json_writer *w)
{
    const struct executr_attempt usage = {
        .user_seconds = report->user_seconds,
        .system_seconds = report->system_seconds,
        .wall_seconds = report->wall_seconds,
        .max_rss_bytes = report->max_rss_bytes};

    if (ex_report_has_usage(report))
        write_usage(&usage, w);
}

void ex_report_write(
    const executr_report *report, int32_t with_id, ex_json_writer *w)
{
    if (with_id) {
        ex_json_open(w, '{');
        ex_json_add_string(w, "id", report->job_id);
        ex_json_add_string(
            w, "status", executr_attempt_status_word(report->status));
    }
    add_number(w, "attempt", report->attempt);
    add_text(w, "outcome", executr_outcome_word(report->outcome));
    if (report->has_exit_code)
        ex_json_add_i64(w, "exit_code", report->exit_code);
    add_number(w, "signal", report->signal);
    if (report->uncounted)
        ex_json_add_bool(w, "uncounted", 1);
    add_text(w, "error_message", report->error_message);
    write_output(
        "stdout", "stdout_base64", report->stdout_data, report->stdout_length,
        w);
    write_output(
        "stderr", "stderr_base64", report->stderr_data, report->stderr_length,
        w);
    write_report_usage(report, w);
    if (with_id)
        ex_json_close(w, '}');
}

static void write_cache(
    int64_t hits, int64_t misses, int64_t bytes, int64_t max_bytes,
    ex_json_writer *w)
{
    ex_json_key(w, "cache");
    ex_json_open(w, '{');
    ex_json_add_i64(w, "hits", hits);
    ex_json_add_i64(w, "misses", misses);
    ex_json_add_i64(w, "bytes", bytes);
    ex_json_add_i64(w, "max_bytes", max_bytes);
    ex_json_close(w, '}');
}

void ex_heartbeat_write(const executr_heartbeat *heartbeat, ex_json_writer *w)
{
    ex_json_open(w, '{');
    add_text(w, "executor_ip", heartbeat->executor_ip);
    add_text(w, "version", heartbeat->version);
    ex_json_add_i64(
        w, "max_jobs", heartbeat->max_jobs ? heartbeat->max_jobs : 1);
    ex_json_key(w, "running");
    ex_json_open(w, '[');
    for (size_t i = 0; i < heartbeat->lease_count; i++) {
        ex_json_open(w, '{');
        ex_json_add_string(w, "id", heartbeat->leases[i].job_id);
        add_number(w, "attempt", heartbeat->leases[i].attempt);
        ex_json_close(w, '}');
    }
    ex_json_close(w, ']');
    write_cache(
        heartbeat->cache_hits, heartbeat->cache_misses, heartbeat->cache_bytes,
        heartbeat->cache_max_bytes, w);
    ex_json_close(w, '}');
}

void ex_stats_write(const struct executr_stats *stats, ex_json_writer *w)
{
    ex_json_open(w, '{');
    ex_json_key(w, "jobs_by_status");
    ex_json_open(w, '{');
    for (int32_t i = EXECUTR_JOB_PENDING; i <= EXECUTR_JOB_CANCELLED; i++)
        ex_json_add_i64(w, executr_job_status_word(i), stats->jobs[i]);
    ex_json_close(w, '}');
    ex_json_key(w, "pending_by_priority");
    ex_json_open(w, '{');
    for (int32_t i = EXECUTR_PRIORITY_FOREGROUND;
         i <= EXECUTR_PRIORITY_BEST_EFFORT; i++)
        ex_json_add_i64(w, executr_priority_word(i), stats->pending[i]);
    ex_json_close(w, '}');
    ex_json_add_i64(w, "active_executors", stats->active_executors);
    ex_json_add_i64(w, "slots", stats->slots);
    ex_json_add_i64(w, "cache_hits", stats->cache_hits);
    ex_json_add_i64(w, "cache_misses", stats->cache_misses);
    ex_json_add_time(w, "timestamp", stats->timestamp_us);
    ex_json_close(w, '}');
}

void ex_executor_write(const ex_executor *executor, ex_json_writer *w)
{
    ex_json_open(w, '{');
    ex_json_add_string(w, "executor_id", executor->id);
    ex_json_add_string(w, "executor_ip", executor->ip);
    add_text(w, "version", executor->version);
    ex_json_add_time(w, "last_heartbeat", executor->last_heartbeat_us);
    ex_json_add_i64(w, "max_jobs", executor->max_jobs);
    ex_json_add_i64(w, "running_jobs", executor->running_jobs);
    add_text(w, "current_job_id", executor->current_job_id);
    add_text(w, "job_type", executor->job_type);
    ex_json_add_i64(w, "jobs_completed", executor->jobs_completed);
    write_cache(
        executor->cache_hits, executor->cache_misses, executor->cache_bytes,
        executor->cache_max_bytes, w);
    ex_json_close(w, '}');
}
