/* SPDX-License-Identifier: MIT */
/*
 * The insides of job records and descriptions. Stores and the client fill
 * records; everyone else reads them through executr/job.h.
 */
#ifndef EX_JOB_H
#define EX_JOB_H

#include <executr/job.h>
#include <executr/queue.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/uuid.h"

/* Limits of the job model, as the REST API promises them. */
#define EX_TYPE_MAX 128 /* characters */
#define EX_ARGUMENTS_MAX 1024
#define EX_ARGUMENT_BYTES_MAX 131071 /* the kernel's own limit */
#define EX_STRINGS_BYTES_MAX (1024 * 1024)
#define EX_RETRIES_MAX 1000
#define EX_EXECUTOR_ID_MAX 255
#define EX_BULK_MAX 10000
#define EX_REPORTS_MAX 1000
#define EX_CLAIM_MAX 1000
#define EX_WAIT_MAX_MS 60000
#define EX_DURATION_MAX_MS (INT64_C(366) * 24 * 3600 * 1000)
#define EX_LIMIT_MAX INT64_C(1000000000) /* of memory_mb and its like */
#define EX_EXECUTOR_IP_MAX 64
#define EX_IDEMPOTENCY_KEY_MAX 255
#define EX_CLAIM_TYPES_MAX 100
#define EX_ERROR_MESSAGE_MAX (64 * 1024) /* bytes; what is longer is cut */

struct executr_attempt {
    int32_t number;
    int32_t status;
    int32_t outcome;
    int32_t signal;
    int32_t has_exit_code;
    int32_t exit_code;
    int32_t has_usage;
    const char *executor_id; /* texts are never NULL */
    const char *executor_ip;
    const char *error_message;
    int64_t started_at_us;
    int64_t ended_at_us;
    double user_seconds;
    double system_seconds;
    double wall_seconds;
    int64_t max_rss_bytes;
};

/*
 * A record. Texts are never NULL and belong to the list's arena. Arguments and
 * environment are kept as the compact JSON they are stored as, so that a row
 * becomes an answer without being taken apart; the string arrays are filled by
 * whoever makes the record for a reader of them (ex_job_unpack).
 */
struct executr_job {
    char id[EX_UUID_TEXT];
    char binary_sha256[65];
    int32_t priority;
    int32_t exclusive;
    int32_t status;
    int32_t max_retries;
    int32_t retry_count;
    int32_t attempt;
    int32_t outcome;
    int32_t signal;
    int32_t has_exit_code;
    int32_t exit_code;
    int32_t isolation;
    int32_t has_output; /* stdout and stderr below are known */
    int32_t has_attempts;
    int32_t is_brief; /* id, type, priority and status only are known */
    const char *type;
    const char *binary_url;
    const char *executor_id;
    const char *error_message;
    const char *arguments_json;   /* ["a","b"] */
    const char *environment_json; /* {"K":"v"} */
    const char **arguments;
    size_t argument_count;
    const char **environment; /* "K=v" */
    size_t environment_count;
    const char *stdout_data;
    size_t stdout_length;
    const char *stderr_data;
    size_t stderr_length;
    int64_t created_at_us;
    int64_t started_at_us;
    int64_t completed_at_us;
    int64_t last_heartbeat_us;
    int64_t retry_after_us;
    int64_t timeout_ms;
    int64_t kill_grace_ms;
    int64_t memory_mb;
    int64_t cpu_seconds;
    int64_t max_processes;
    int64_t max_file_mb;
    struct executr_attempt *attempts;
    size_t attempt_count;
};

struct executr_jobs {
    ex_arena arena; /* owns the records and their texts */
    struct executr_job **items;
    size_t count;
    size_t capacity;
};

executr_status ex_jobs_new(executr_jobs **out, executr_error *err)
    EXECUTR_CHECKED;

/* Append an empty record (texts "", arrays "[]" and "{}"). */
executr_status ex_jobs_add(
    executr_jobs *jobs, struct executr_job **out,
    executr_error *err) EXECUTR_CHECKED;

/* Append a copy of a record that has no output and no attempts; its arguments
 * are not unpacked. Without memory nothing is appended. */
executr_status ex_jobs_copy(
    executr_jobs *jobs, const struct executr_job *from,
    struct executr_job **out, executr_error *err) EXECUTR_CHECKED;

/* Fill arguments[] and environment[] from their JSON, if not done yet.
 * executr_queue_* and executr_client_* do this before they hand records out
 * that will be read by getters (claims, gets). */
executr_status ex_job_unpack(
    executr_jobs *jobs, struct executr_job *job,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Checks of what callers hand in. Each reads the caller's struct, which may be
 * of an older release, into *out and refuses what breaks a limit; texts stay
 * borrowed. *out may be the caller's own struct.
 */
/* The hash in *out is lower case (made in `arena` if it was not) and the
 * priority is never the default. */
executr_status ex_spec_take(
    const executr_job_spec *spec, ex_arena *arena, executr_job_spec *out,
    executr_error *err) EXECUTR_CHECKED;
/* max_jobs is at least 1 in *out. */
executr_status ex_claim_check(
    const executr_claim *claim, executr_claim *out,
    executr_error *err) EXECUTR_CHECKED;
/* A long error message is cut, into `arena`; outcome 0 becomes exit for
 * programs that exited. The job id is left to whoever parses it. */
executr_status ex_report_check(
    const executr_report *report, ex_arena *arena, executr_report *out,
    executr_error *err) EXECUTR_CHECKED;
/* 1 if the report says what the attempt used. */
int32_t ex_report_has_usage(const executr_report *report);
/* Texts are never NULL and max_jobs is at least 1 in *out. */
executr_status ex_heartbeat_check(
    const executr_heartbeat *heartbeat, executr_heartbeat *out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_executor_id_check(const char *id, executr_error *err)
    EXECUTR_CHECKED;

/* A text of 1 to `max` characters without control characters, and, with
 * `solid`, without white space; E_ARGUMENT naming `field`. */
executr_status ex_word_check(
    const char *text, const char *field, size_t max, int32_t solid,
    executr_error *err) EXECUTR_CHECKED;

/* Turn the E_ARGUMENT that ex_fail_field has just made into E_TOO_LARGE. */
executr_status ex_as_too_large(executr_error *err);

/* Words that only the library needs: 0 or "" for anything unknown. */
int32_t ex_attempt_status_parse(const char *word);
const char *ex_offer_word(int32_t bit); /* of 1 << bit */
uint32_t ex_offer_parse(const char *word);

/* The demands of a spec as EXECUTR_OFFER_… bits. */
uint32_t ex_spec_demands(const executr_job_spec *spec);

/* Arguments and environment of a checked spec as compact JSON texts. */
void ex_spec_arguments_json(const executr_job_spec *spec, ex_buf *out);
void ex_spec_environment_json(const executr_job_spec *spec, ex_buf *out);

/* 64 hex digits that are equal for equal descriptions (idempotency). */
executr_status ex_spec_digest(
    const executr_job_spec *spec, char out[65],
    executr_error *err) EXECUTR_CHECKED;

/* The legal moves of a job's status, pure. */
int32_t ex_job_may_move(int32_t from, int32_t to);

/*
 * JSON, the one place with field names: what clients write and servers read
 * (request.c), and what servers write and clients read. Writers append to a
 * writer's buffer and fail through it.
 */
void ex_job_write(
    const struct executr_job *job, int32_t parts, ex_json_writer *w);
void ex_spec_write(const executr_job_spec *spec, ex_json_writer *w);
void ex_claim_write(const executr_claim *claim, ex_json_writer *w);
/* With id an element of POST /jobs/report; without, only the members that the
 * bodies of /complete and /fail have beside executor_id, without braces. */
void ex_report_write(
    const executr_report *report, int32_t with_id, ex_json_writer *w);
void ex_heartbeat_write(const executr_heartbeat *heartbeat, ex_json_writer *w);

/* Read one job object, or a bulk result (is_brief), into a new record. Of an
 * answer, like the other readers of answers below: E_PROTOCOL if it is bad. */
executr_status ex_job_read(
    const ex_json *object, executr_jobs *jobs,
    executr_error *err) EXECUTR_CHECKED;
/* Read one submission and check it in full; strings borrowed from the document
 * and `arena`. */
executr_status ex_spec_read(
    const ex_json *object, ex_arena *arena, executr_job_spec *out,
    executr_error *err) EXECUTR_CHECKED;
/* An array of strings (NULL is an empty one), and an object of strings as
 * "NAME=value", copied into `arena`; *items is NULL only on failure. */
executr_status ex_strings_read(
    const ex_json *array, const char *field, ex_arena *arena,
    const char ***items, size_t *count, executr_error *err) EXECUTR_CHECKED;
executr_status ex_environment_read(
    const ex_json *object, ex_arena *arena, const char ***items, size_t *count,
    executr_error *err) EXECUTR_CHECKED;
/* A string member that is a duration; 0 is refused if `positive`. */
executr_status ex_duration_read(
    const ex_json *object, const char *name, int32_t positive, int64_t *ms,
    executr_error *err) EXECUTR_CHECKED;

/* Other typed members, by the rules of ex_json_read_…: absent leaves the
 * output alone. Texts are copied into `arena`. */
executr_status ex_text_read(
    const ex_json *object, const char *name, ex_arena *arena, const char **out,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_time_read(
    const ex_json *object, const char *name, int64_t *us,
    executr_error *err) EXECUTR_CHECKED;
executr_status ex_word_read(
    const ex_json *object, const char *name, int32_t (*parse)(const char *),
    int32_t *out, executr_error *err) EXECUTR_CHECKED;

/* Where to put the limits that submissions and records share. */
typedef struct ex_limits {
    int64_t *timeout_ms;
    int64_t *kill_grace_ms;
    /* memory_mb, cpu_seconds, max_processes, max_file_mb */
    int64_t *numbers[4];
    int32_t *isolation;
} ex_limits;
executr_status ex_limits_read(
    const ex_json *object, const ex_limits *out,
    executr_error *err) EXECUTR_CHECKED;

/* The cache figures of an executor: hits, misses, bytes, max_bytes. */
executr_status ex_cache_read(
    const ex_json *object, int64_t *hits, int64_t *misses, int64_t *bytes,
    int64_t *max_bytes, executr_error *err) EXECUTR_CHECKED;

/* Turn an E_ARGUMENT about an answer into E_PROTOCOL. */
executr_status ex_as_protocol(executr_status status, executr_error *err);

/* Figures that come back from stores and servers. */
struct executr_stats {
    int64_t jobs[6];    /* by EXECUTR_JOB_… */
    int64_t pending[4]; /* by EXECUTR_PRIORITY_… */
    int64_t active_executors;
    int64_t slots;
    int64_t cache_hits;
    int64_t cache_misses;
    int64_t timestamp_us;
};

typedef struct ex_executor {
    const char *id;
    const char *ip;
    const char *version;
    const char *current_job_id; /* "" when idle */
    const char *job_type;
    int64_t last_heartbeat_us;
    int32_t max_jobs;
    int32_t running_jobs;
    int64_t jobs_completed;
    int64_t cache_hits;
    int64_t cache_misses;
    int64_t cache_bytes;
    int64_t cache_max_bytes;
} ex_executor;

struct executr_executors {
    ex_arena arena;
    ex_executor *items;
    size_t count;
    size_t capacity;
};

executr_status ex_executors_new(executr_executors **out, executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_executors_add(
    executr_executors *executors, ex_executor **out,
    executr_error *err) EXECUTR_CHECKED;
void ex_stats_write(const struct executr_stats *stats, ex_json_writer *w);
executr_status ex_stats_read(
    const ex_json *object, struct executr_stats **out,
    executr_error *err) EXECUTR_CHECKED;
void ex_executor_write(const ex_executor *executor, ex_json_writer *w);
executr_status ex_executor_read(
    const ex_json *object, executr_executors *executors,
    executr_error *err) EXECUTR_CHECKED;

#endif
