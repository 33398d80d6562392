/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_CLIENT_H
#define EXECUTR_CLIENT_H

#include <executr/queue.h>

EXECUTR_BEGIN_DECLS

/*
 * The REST API of a server as functions; each does what the function of the
 * same name in queue.h does, and returns the same codes. Beside those:
 * E_UNAVAILABLE (no server there, or it said 503), E_TIMEOUT, E_AUTH,
 * E_PROTOCOL (the answer is not executr's). One thread at a time; different
 * handles are independent. Connections are kept alive.
 */
typedef struct executr_client executr_client;

typedef struct executr_client_options {
    uint32_t struct_size;
    uint32_t reserved;          /* 0 */
    const char *server_url;     /* http://127.0.0.1:8080 */
    const char *token;          /* sent as Authorization: Bearer; or NULL */
    int64_t network_timeout_ms; /* of one call, beside its wait; 60 s */
    executr_log log;
} executr_client_options;

/* clang-format off */
#define EXECUTR_CLIENT_OPTIONS_INIT \
    {sizeof(executr_client_options), 0, NULL, NULL, 0, {NULL, NULL}}
/* clang-format on */

EXECUTR_API executr_status executr_client_open(
    const executr_client_options *options, executr_client **out,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API void executr_client_free(executr_client *client);
EXECUTR_API const char *executr_client_url(const executr_client *client);

/* GET /health: OK, or E_UNAVAILABLE. */
EXECUTR_API executr_status executr_client_health(
    executr_client *client, executr_error *err) EXECUTR_CHECKED;

/*
 * Several specs travel as one POST /jobs/bulk: results[i] (may be NULL) tells
 * each one's fate, and *out has the accepted ones in order with id, type,
 * priority and status only; if none was accepted, the call fails as the first
 * one did. One spec is a POST /jobs, whose record is whole. Idempotency keys
 * go with single submissions only.
 */
EXECUTR_API executr_status executr_client_submit(
    executr_client *client, const executr_job_spec *const *specs, size_t count,
    executr_status *results, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_get(
    executr_client *client, const char *job_id, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_list(
    executr_client *client, const executr_filter *filter, executr_jobs **out,
    int32_t *more, executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_cancel(
    executr_client *client, const char *job_id, int32_t *running,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_cancel_matching(
    executr_client *client, const executr_filter *filter, int64_t *cancelled,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_retry(
    executr_client *client, const char *job_id, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_stats(
    executr_client *client, executr_stats **out,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_executors(
    executr_client *client, executr_executors **out,
    executr_error *err) EXECUTR_CHECKED;

/* Raw bytes of a job's stdout (stream 1) or stderr (stream 2) from `offset`.
 * With `follow` it goes on with what the job prints until it ends. */
EXECUTR_API executr_status executr_client_output(
    executr_client *client, const char *job_id, int32_t stream, int64_t offset,
    int32_t follow, executr_write write, void *ctx,
    executr_error *err) EXECUTR_CHECKED;

/*
 * executr_queue_follow over the API, both streams in one connection. One that
 * breaks is made again, and goes on where it was, as long as a server answers
 * within the network timeout.
 */
EXECUTR_API executr_status executr_client_follow(
    executr_client *client, executr_follow *follow,
    executr_error *err) EXECUTR_CHECKED;

/* For executors in other programs. */
EXECUTR_API executr_status executr_client_claim(
    executr_client *client, const executr_claim *claim, executr_jobs **out,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_report(
    executr_client *client, const char *executor_id,
    const executr_report *const *reports, size_t count, executr_status *results,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_heartbeat(
    executr_client *client, executr_heartbeat *heartbeat,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_put_output(
    executr_client *client, const char *executor_id,
    const executr_output *output, int32_t *followed,
    executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_goodbye(
    executr_client *client, const char *executor_id,
    executr_error *err) EXECUTR_CHECKED;

/* Does the server have this binary? OK or E_NOT_FOUND. */
EXECUTR_API executr_status executr_client_has_binary(
    executr_client *client, const char *sha256, int64_t *bytes,
    executr_error *err) EXECUTR_CHECKED;

/* Told now and then how far a transfer is; anything but 0 stops it
 * (E_CANCELLED). `total` is -1 when unknown. */
typedef int32_t (*executr_progress)(void *ctx, int64_t done, int64_t total);

/* Upload the file at `path`, which must hash to `sha256`. */
EXECUTR_API executr_status executr_client_put_binary(
    executr_client *client, const char *sha256, const char *path,
    executr_progress progress, void *ctx, executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_client_get_binary(
    executr_client *client, const char *sha256, executr_write write, void *ctx,
    executr_error *err) EXECUTR_CHECKED;

/* The SHA-256 (64 digits and NUL) of what `url` serves, computed while
 * streaming, and of a local file. */
EXECUTR_API executr_status executr_hash_url(
    const char *url, int64_t network_timeout_ms, executr_progress progress,
    void *ctx, char out[65], executr_error *err) EXECUTR_CHECKED;
EXECUTR_API executr_status executr_hash_file(
    const char *path, char out[65], executr_error *err) EXECUTR_CHECKED;

EXECUTR_END_DECLS

#endif
