/* SPDX-License-Identifier: MIT */
/*
 * The getters of records, counts and executors. No record (NULL, which
 * executr_jobs_at gives outside a list) reads like an empty one.
 */
#include "job.h"

static const struct executr_job no_job = {
    .type = "",
    .binary_url = "",
    .executor_id = "",
    .error_message = "",
    .arguments_json = "[]",
    .environment_json = "{}",
    .stdout_data = "",
    .stderr_data = ""};
static const struct executr_attempt no_attempt = {
    .executor_id = "", .executor_ip = "", .error_message = ""};
static const ex_executor no_executor = {
    .id = "", .ip = "", .version = "", .current_job_id = "", .job_type = ""};

static const struct executr_job *job_or_none(const executr_job *job)
{
    return job ? job : &no_job;
}

static const struct executr_attempt *attempt_or_none(
    const executr_attempt *attempt)
{
    return attempt ? attempt : &no_attempt;
}

size_t executr_jobs_count(const executr_jobs *jobs)
{
    return jobs ? jobs->count : 0;
}

const executr_job *executr_jobs_at(const executr_jobs *jobs, size_t i)
{
    return i < executr_jobs_count(jobs) ? jobs->items[i] : NULL;
}

const char *executr_job_id(const executr_job *job)
{
    return job_or_none(job)->id;
}

const char *executr_job_type(const executr_job *job)
{
    return job_or_none(job)->type;
}

const char *executr_job_binary_url(const executr_job *job)
{
    return job_or_none(job)->binary_url;
}

const char *executr_job_binary_sha256(const executr_job *job)
{
    return job_or_none(job)->binary_sha256;
}

size_t executr_job_argument_count(const executr_job *job)
{
    return job_or_none(job)->argument_count;
}

const char *executr_job_argument(const executr_job *job, size_t i)
{
    return i < executr_job_argument_count(job) ? job->arguments[i] : "";
}

size_t executr_job_environment_count(const executr_job *job)
{
    return job_or_none(job)->environment_count;
}

const char *executr_job_environment(const executr_job *job, size_t i)
{
    return i < executr_job_environment_count(job) ? job->environment[i] : "";
}

int32_t executr_job_priority(const executr_job *job)
{
    return job_or_none(job)->priority;
}

int32_t executr_job_exclusive(const executr_job *job)
{
    return job_or_none(job)->exclusive;
}

int32_t executr_job_status(const executr_job *job)
{
    return job_or_none(job)->status;
}

int32_t executr_job_max_retries(const executr_job *job)
{
    return job_or_none(job)->max_retries;
}

int32_t executr_job_retry_count(const executr_job *job)
{
    return job_or_none(job)->retry_count;
}

int32_t executr_job_attempt(const executr_job *job)
{
    return job_or_none(job)->attempt;
}

const char *executr_job_executor_id(const executr_job *job)
{
    return job_or_none(job)->executor_id;
}

const char *executr_job_error_message(const executr_job *job)
{
    return job_or_none(job)->error_message;
}

int32_t executr_job_exit_code(const executr_job *job, int32_t *code)
{
    if (!job_or_none(job)->has_exit_code)
        return 0;
    *code = job->exit_code;
    return 1;
}

int32_t executr_job_outcome(const executr_job *job)
{
    return job_or_none(job)->outcome;
}

int32_t executr_job_signal(const executr_job *job)
{
    return job_or_none(job)->signal;
}

const char *executr_job_stdout(const executr_job *job, size_t *length)
{
    if (length)
        *length = job_or_none(job)->stdout_length;
    return job_or_none(job)->stdout_data;
}

const char *executr_job_stderr(const executr_job *job, size_t *length)
{
    if (length)
        *length = job_or_none(job)->stderr_length;
    return job_or_none(job)->stderr_data;
}

int64_t executr_job_created_at_us(const executr_job *job)
{
    return job_or_none(job)->created_at_us;
}

int64_t executr_job_started_at_us(const executr_job *job)
{
    return job_or_none(job)->started_at_us;
}

int64_t executr_job_completed_at_us(const executr_job *job)
{
    return job_or_none(job)->completed_at_us;
}

int64_t executr_job_last_heartbeat_us(const executr_job *job)
{
    return job_or_none(job)->last_heartbeat_us;
}

int64_t executr_job_retry_after_us(const executr_job *job)
{
    return job_or_none(job)->retry_after_us;
}

int64_t executr_job_timeout_ms(const executr_job *job)
{
    return job_or_none(job)->timeout_ms;
}

int64_t executr_job_kill_grace_ms(const executr_job *job)
{
    return job_or_none(job)->kill_grace_ms;
}

int64_t executr_job_memory_mb(const executr_job *job)
{
    return job_or_none(job)->memory_mb;
}

int64_t executr_job_cpu_seconds(const executr_job *job)
{
    return job_or_none(job)->cpu_seconds;
}

int64_t executr_job_max_processes(const executr_job *job)
{
    return job_or_none(job)->max_processes;
}

int64_t executr_job_max_file_mb(const executr_job *job)
{
    return job_or_none(job)->max_file_mb;
}

int32_t executr_job_isolation(const executr_job *job)
{
    return job_or_none(job)->isolation;
}

size_t executr_job_attempt_count(const executr_job *job)
{
    return job_or_none(job)->attempt_count;
}

const executr_attempt *executr_job_attempt_at(const executr_job *job, size_t i)
{
    return i < executr_job_attempt_count(job) ? &job->attempts[i] : NULL;
}

int32_t executr_attempt_number(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->number;
}

int32_t executr_attempt_status(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->status;
}

const char *executr_attempt_executor_id(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->executor_id;
}

const char *executr_attempt_executor_ip(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->executor_ip;
}

const char *executr_attempt_error_message(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->error_message;
}

int64_t executr_attempt_started_at_us(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->started_at_us;
}

int64_t executr_attempt_ended_at_us(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->ended_at_us;
}

int32_t executr_attempt_outcome(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->outcome;
}

int32_t executr_attempt_exit_code(const executr_attempt *attempt, int32_t *code)
{
    const executr_attempt *known = attempt_or_none(attempt);
    if (known->has_exit_code)
        *code = known->exit_code;
    return known->has_exit_code;
}

int32_t executr_attempt_signal(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->signal;
}

double executr_attempt_user_seconds(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->user_seconds;
}

double executr_attempt_system_seconds(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->system_seconds;
}

double executr_attempt_wall_seconds(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->wall_seconds;
}

int64_t executr_attempt_max_rss_bytes(const executr_attempt *attempt)
{
    return attempt_or_none(attempt)->max_rss_bytes;
}

int64_t executr_stats_jobs(const executr_stats *stats, int32_t status)
{
    if (status < EXECUTR_JOB_PENDING || status > EXECUTR_JOB_CANCELLED)
        return 0;
    return stats->jobs[status];
}

int64_t executr_stats_pending(const executr_stats *stats, int32_t priority)
{
    if (priority < EXECUTR_PRIORITY_FOREGROUND ||
        priority > EXECUTR_PRIORITY_BEST_EFFORT)
        return 0;
    return stats->pending[priority];
}

int64_t executr_stats_active_executors(const executr_stats *stats)
{
    return stats->active_executors;
}

int64_t executr_stats_timestamp_us(const executr_stats *stats)
{
    return stats->timestamp_us;
}

int64_t executr_stats_slots(const executr_stats *stats)
{
    return stats->slots;
}

int64_t executr_stats_cache_hits(const executr_stats *stats)
{
    return stats->cache_hits;
}

int64_t executr_stats_cache_misses(const executr_stats *stats)
{
    return stats->cache_misses;
}

void executr_stats_free(executr_stats *stats)
{
    ex_free(stats);
}

size_t executr_executors_count(const executr_executors *executors)
{
    return executors ? executors->count : 0;
}

static const ex_executor *executor_or_none(
    const executr_executors *executors, size_t i)
{
    return i < executr_executors_count(executors) ? &executors->items[i]
                                                  : &no_executor;
}

const char *executr_executors_id(const executr_executors *executors, size_t i)
{
    return executor_or_none(executors, i)->id;
}

const char *executr_executors_ip(const executr_executors *executors, size_t i)
{
    return executor_or_none(executors, i)->ip;
}

const char *executr_executors_current_job_id(
    const executr_executors *executors, size_t i)
{
    return executor_or_none(executors, i)->current_job_id;
}

int64_t executr_executors_last_heartbeat_us(
    const executr_executors *executors, size_t i)
{
    return executor_or_none(executors, i)->last_heartbeat_us;
}

int32_t executr_executors_max_jobs(const executr_executors *executors, size_t i)
{
    return executor_or_none(executors, i)->max_jobs;
}

int32_t executr_executors_running_jobs(
    const executr_executors *executors, size_t i)
{
    return executor_or_none(executors, i)->running_jobs;
}

int64_t executr_executors_jobs_completed(
    const executr_executors *executors, size_t i)
{
    return executor_or_none(executors, i)->jobs_completed;
}
