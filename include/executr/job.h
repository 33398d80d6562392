/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_JOB_H
#define EXECUTR_JOB_H

#include <executr/base.h>

EXECUTR_BEGIN_DECLS

/*
 * A job runs one executable, named by its SHA-256, with arguments and an
 * environment in a fresh directory. This header has the description of a job
 * (executr_job_spec, made by the caller) and its record (executr_job, made by
 * the library and read through getters). All texts are UTF-8. Moments are
 * microseconds since 1970 UTC, 0 for "not yet"; durations are milliseconds.
 */

enum {
    EXECUTR_PRIORITY_DEFAULT = 0, /* background */
    EXECUTR_PRIORITY_FOREGROUND = 1,
    EXECUTR_PRIORITY_BACKGROUND = 2,
    EXECUTR_PRIORITY_BEST_EFFORT = 3
};

enum {
    EXECUTR_JOB_PENDING = 1,
    EXECUTR_JOB_RUNNING = 2,
    EXECUTR_JOB_COMPLETED = 3,
    EXECUTR_JOB_FAILED = 4,
    EXECUTR_JOB_CANCELLED = 5
};

/* How one attempt stands. */
enum {
    EXECUTR_ATTEMPT_RUNNING = 1,
    EXECUTR_ATTEMPT_COMPLETED = 2,
    EXECUTR_ATTEMPT_FAILED = 3,
    EXECUTR_ATTEMPT_CANCELLED = 4,
    EXECUTR_ATTEMPT_TIMEOUT = 5, /* its executor fell silent */
    EXECUTR_ATTEMPT_RELEASED = 6 /* given back before it ran; not counted */
};

/* How a program ended. */
enum {
    EXECUTR_OUTCOME_NONE = 0,
    EXECUTR_OUTCOME_EXIT = 1,
    EXECUTR_OUTCOME_SIGNAL = 2,
    EXECUTR_OUTCOME_TIMEOUT = 3,
    EXECUTR_OUTCOME_OOM = 4,
    EXECUTR_OUTCOME_LIMIT = 5,
    EXECUTR_OUTCOME_EXEC_FAILED = 6,
    EXECUTR_OUTCOME_FETCH_FAILED = 7,
    EXECUTR_OUTCOME_CANCELLED = 8,
    EXECUTR_OUTCOME_LOST = 9
};

enum {
    EXECUTR_ISOLATION_UNSET = 0, /* whatever the executor gives */
    EXECUTR_ISOLATION_NONE = 1,
    EXECUTR_ISOLATION_BASIC = 2,
    EXECUTR_ISOLATION_STANDARD = 3,
    EXECUTR_ISOLATION_STRICT = 4
};

/*
 * What a job may demand and an executor may offer, as bits. A job is claimed
 * only by an executor that offers all it demands.
 */
enum {
    EXECUTR_OFFER_TIMEOUT = 1,
    EXECUTR_OFFER_MEMORY = 2,
    EXECUTR_OFFER_CPU = 4,
    EXECUTR_OFFER_PROCESSES = 8,
    EXECUTR_OFFER_FILE_SIZE = 16,
    EXECUTR_OFFER_BASIC = 32,
    EXECUTR_OFFER_STANDARD = 64,
    EXECUTR_OFFER_STRICT = 128
};

/* The words of the REST API for the values above ("background", "pending",
 * "exec_failed", …); "" for a value outside the range. */
EXECUTR_API const char *executr_priority_word(int32_t priority);
EXECUTR_API const char *executr_job_status_word(int32_t status);
EXECUTR_API const char *executr_attempt_status_word(int32_t status);
EXECUTR_API const char *executr_outcome_word(int32_t outcome);
EXECUTR_API const char *executr_isolation_word(int32_t isolation);

/* The values for the words; 0 for any other text or NULL. */
EXECUTR_API int32_t executr_priority_parse(const char *word);
EXECUTR_API int32_t executr_job_status_parse(const char *word);
EXECUTR_API int32_t executr_outcome_parse(const char *word);
EXECUTR_API int32_t executr_isolation_parse(const char *word);

/* A job to submit. Zero or NULL is the default of every field. */
typedef struct executr_job_spec {
    uint32_t struct_size;
    int32_t priority;               /* EXECUTR_PRIORITY_…; background */
    const char *type;               /* 1 to 128 characters, no white space */
    const char *binary_url;         /* http(s); NULL: stored on the server */
    const char *binary_sha256;      /* 64 hex digits, required */
    const char *const *arguments;   /* without the program's own name */
    size_t argument_count;          /* at most 1,024 */
    const char *const *environment; /* "NAME=value" */
    size_t environment_count;
    const char *idempotency_key; /* 1 to 255 characters; NULL: none */
    int32_t max_retries;         /* 0 to 1,000 */
    int32_t exclusive;           /* 0 or 1 */
    int64_t timeout_ms;          /* wall clock of one attempt; 0: none */
    int64_t kill_grace_ms;       /* SIGTERM to SIGKILL; 0: executor's */
    int64_t memory_mb;           /* these four: 0 is no limit */
    int64_t cpu_seconds;
    int64_t max_processes;
    int64_t max_file_mb;
    int32_t isolation; /* EXECUTR_ISOLATION_… */
    int32_t reserved;  /* 0 */
} executr_job_spec;

/* clang-format off */
#define EXECUTR_JOB_SPEC_INIT {sizeof(executr_job_spec), 0, NULL, NULL, NULL, \
    NULL, 0, NULL, 0, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
/* clang-format on */

/*
 * Check a description against every limit of the job model. E_ARGUMENT or
 * E_TOO_LARGE with the offending field (its REST name) in err->field.
 */
EXECUTR_API executr_status executr_job_spec_check(
    const executr_job_spec *spec, executr_error *err) EXECUTR_CHECKED;

/*
 * A list of job records; it owns them and every text they give out. Reading a
 * list is safe from several threads.
 */
typedef struct executr_jobs executr_jobs;
typedef struct executr_job executr_job;
typedef struct executr_attempt executr_attempt;

EXECUTR_API size_t executr_jobs_count(const executr_jobs *jobs); /* NULL: 0 */
/* The i-th record, NULL outside the list. */
EXECUTR_API const executr_job *executr_jobs_at(
    const executr_jobs *jobs, size_t i);
EXECUTR_API void executr_jobs_free(executr_jobs *jobs);

/* Texts are never NULL; "" where the job has none. */
EXECUTR_API const char *executr_job_id(const executr_job *job);
EXECUTR_API const char *executr_job_type(const executr_job *job);
EXECUTR_API const char *executr_job_binary_url(const executr_job *job);
EXECUTR_API const char *executr_job_binary_sha256(const executr_job *job);
EXECUTR_API size_t executr_job_argument_count(const executr_job *job);
EXECUTR_API const char *executr_job_argument(const executr_job *job, size_t i);
EXECUTR_API size_t executr_job_environment_count(const executr_job *job);
/* "NAME=value" */
EXECUTR_API const char *executr_job_environment(
    const executr_job *job, size_t i);
EXECUTR_API int32_t executr_job_priority(const executr_job *job);
EXECUTR_API int32_t executr_job_exclusive(const executr_job *job);
EXECUTR_API int32_t executr_job_status(const executr_job *job);
EXECUTR_API int32_t executr_job_max_retries(const executr_job *job);
EXECUTR_API int32_t executr_job_retry_count(const executr_job *job);
EXECUTR_API int32_t executr_job_attempt(const executr_job *job); /* 0: none */
EXECUTR_API const char *executr_job_executor_id(const executr_job *job);
EXECUTR_API const char *executr_job_error_message(const executr_job *job);
/* 1 and *code if the program exited by itself, else 0. */
EXECUTR_API int32_t
executr_job_exit_code(const executr_job *job, int32_t *code);
EXECUTR_API int32_t executr_job_outcome(const executr_job *job);
EXECUTR_API int32_t executr_job_signal(const executr_job *job); /* 0: none */
/* Any bytes; only in records that were asked for with their output. */
EXECUTR_API const char *executr_job_stdout(
    const executr_job *job, size_t *length);
EXECUTR_API const char *executr_job_stderr(
    const executr_job *job, size_t *length);
EXECUTR_API int64_t executr_job_created_at_us(const executr_job *job);
EXECUTR_API int64_t executr_job_started_at_us(const executr_job *job);
EXECUTR_API int64_t executr_job_completed_at_us(const executr_job *job);
EXECUTR_API int64_t executr_job_last_heartbeat_us(const executr_job *job);
EXECUTR_API int64_t executr_job_retry_after_us(const executr_job *job);
EXECUTR_API int64_t executr_job_timeout_ms(const executr_job *job);
EXECUTR_API int64_t executr_job_kill_grace_ms(const executr_job *job);
EXECUTR_API int64_t executr_job_memory_mb(const executr_job *job);
EXECUTR_API int64_t executr_job_cpu_seconds(const executr_job *job);
EXECUTR_API int64_t executr_job_max_processes(const executr_job *job);
EXECUTR_API int64_t executr_job_max_file_mb(const executr_job *job);
EXECUTR_API int32_t executr_job_isolation(const executr_job *job);

/* Attempts, oldest first; only in records that were asked for with them. */
EXECUTR_API size_t executr_job_attempt_count(const executr_job *job);
EXECUTR_API const executr_attempt *executr_job_attempt_at(
    const executr_job *job, size_t i);
EXECUTR_API int32_t executr_attempt_number(const executr_attempt *attempt);
EXECUTR_API int32_t executr_attempt_status(const executr_attempt *attempt);
EXECUTR_API const char *executr_attempt_executor_id(
    const executr_attempt *attempt);
EXECUTR_API const char *executr_attempt_executor_ip(
    const executr_attempt *attempt);
EXECUTR_API const char *executr_attempt_error_message(
    const executr_attempt *attempt);
EXECUTR_API int64_t
executr_attempt_started_at_us(const executr_attempt *attempt);
EXECUTR_API int64_t executr_attempt_ended_at_us(const executr_attempt *attempt);
EXECUTR_API int32_t executr_attempt_outcome(const executr_attempt *attempt);
/* 1 and *code if the program exited by itself, else 0. */
EXECUTR_API int32_t
executr_attempt_exit_code(const executr_attempt *attempt, int32_t *code);
EXECUTR_API int32_t executr_attempt_signal(const executr_attempt *attempt);
/* What it used; all 0 where that was not measured. */
EXECUTR_API double executr_attempt_user_seconds(const executr_attempt *attempt);
EXECUTR_API double executr_attempt_system_seconds(
    const executr_attempt *attempt);
EXECUTR_API double executr_attempt_wall_seconds(const executr_attempt *attempt);
EXECUTR_API int64_t
executr_attempt_max_rss_bytes(const executr_attempt *attempt);

/*
 * Write a job as the JSON object of the REST API: its fields without output
 * and attempts, and with them where `parts` says so and the record has them.
 */
enum {
    EXECUTR_PART_OUTPUT = 1,   /* stdout, stderr */
    EXECUTR_PART_ATTEMPTS = 2, /* attempts */
    EXECUTR_PART_ALL = 3
};
EXECUTR_API executr_status executr_job_json(
    const executr_job *job, int32_t parts, executr_write write, void *ctx,
    executr_error *err) EXECUTR_CHECKED;

EXECUTR_END_DECLS

#endif
