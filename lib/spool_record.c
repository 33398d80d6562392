/* SPDX-License-Identifier: MIT */
/*
 * What stands in a spool: frames of length, checksum and body. The first names
 * the format, the executor and the server, the others are reports. A file is
 * read by the machine that wrote it, so numbers are in its order; everything
 * else about the bytes is doubted.
 */
#include "spool.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sha256.h"

#define FORMAT "executr results 1"

typedef struct frame {
    uint64_t length; /* of the body */
    char sum[64];    /* SHA-256 of it, in hex */
} frame;

/* A report's body: this, stdout, stderr, the message and a NUL. */
typedef struct fixed {
    char job_id[40];
    int32_t attempt;
    int32_t status;
    int32_t outcome;
    int32_t has_exit_code;
    int32_t exit_code;
    int32_t signal;
    int32_t uncounted;
    int32_t reserved;
    double user_seconds;
    double system_seconds;
    double wall_seconds;
    int64_t max_rss_bytes;
    uint64_t out_length;
    uint64_t err_length;
} fixed;

/* Room for a frame's head; its body follows. Returns where it is. */
static size_t begin(ex_buf *out)
{
    static const frame none;
    size_t at = out->length;

    ex_buf_add(out, &none, sizeof none);
    return at;
}

static void end(ex_buf *out, size_t at)
{
    char hex[EX_SHA256_HEX];
    frame head = {0};

    if (out->failed)
        return;
    head.length = out->length - at - sizeof head;
    out->failed = ex_sha256_bytes(
        out->data + at + sizeof head, (size_t)head.length, hex, NULL);
    if (out->failed)
        return;
    memcpy(head.sum, hex, sizeof head.sum);
    memcpy(out->data + at, &head, sizeof head);
}

void ex_spool_write_head(
    ex_buf *out, const char *executor_id, const char *server)
{
    size_t at = begin(out);

    ex_buf_add(out, FORMAT, sizeof FORMAT);
    ex_buf_add(out, executor_id, strlen(executor_id) + 1);
    ex_buf_add(out, server, strlen(server) + 1);
    end(out, at);
}

void ex_spool_write_report(ex_buf *out, const executr_report *report)
{
    const char *message = report->error_message ? report->error_message : "";
    fixed f = {
        .attempt = report->attempt,
        .status = report->status,
        .outcome = report->outcome,
        .has_exit_code = report->has_exit_code,
        .exit_code = report->exit_code,
        .signal = report->signal,
        .uncounted = report->uncounted,
        .user_seconds = report->user_seconds,
        .system_seconds = report->system_seconds,
        .wall_seconds = report->wall_seconds,
        .max_rss_bytes = report->max_rss_bytes,
        .out_length = report->stdout_length,
        .err_length = report->stderr_length,
    };
    size_t length = strlen(report->job_id);
    size_t at = begin(out);

    /* An id is a UUID of 36 digits; a longer one would be nobody's. */
    memcpy(
        f.job_id, report->job_id,
        length < sizeof f.job_id ? length : sizeof f.job_id - 1);
    ex_buf_add(out, &f, sizeof f);
    if (report->stdout_length > 0)
        ex_buf_add(out, report->stdout_data, report->stdout_length);
    if (report->stderr_length > 0)
        ex_buf_add(out, report->stderr_data, report->stderr_length);
    ex_buf_add(out, message, strlen(message) + 1);
    end(out, at);
}

/* All of it: 1, or 0 at the end of the file; else E_IO. */
static executr_status read_at(
    int fd, void *data, size_t length, int64_t offset, int *all,
    executr_error *err)
{
    size_t done = 0;

    while (done < length) {
        ssize_t n = pread(
            fd, (char *)data + done, length - done, offset + (int64_t)done);
        if (n < 0 && errno != EINTR)
            return ex_fail_errno(err, errno, "cannot read spooled results");
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
    }
    *all = done == length;
    return EXECUTR_OK;
}

executr_status ex_spool_read_frame(
    const ex_orphan *file, ex_arena *arena, ex_spool_frame *out,
    executr_error *err)
{
    frame head;
    char hex[EX_SHA256_HEX];
    int64_t at = file->offset + (int64_t)sizeof head;
    int64_t room = file->size - at;
    int all = 0;

    *out = (ex_spool_frame){0};
    executr_status st =
        read_at(file->fd, &head, sizeof head, file->offset, &all, err);
    /* No length is believed that the file has no room for. */
    if (st || !all || room < 0 || head.length > (uint64_t)room)
        return st;
    char *bytes = ex_arena_get(arena, (size_t)head.length + 1);
    if (!bytes)
        return ex_fail_nomem(err);
    out->length = (size_t)head.length;
    out->next = at + (int64_t)head.length;
    st = read_at(file->fd, bytes, out->length, at, &all, err);
    if (!st && all)
        st = ex_sha256_bytes(bytes, out->length, hex, err);
    if (!st && all && memcmp(hex, head.sum, sizeof head.sum) == 0)
        out->body = bytes;
    return st;
}

/* The text at *at, which must end before `end`; NULL if it does not. */
static const char *take_text(const char **at, const char *end)
{
    const char *text = *at;
    const char *nul = memchr(text, '\0', (size_t)(end - text));

    *at = nul ? nul + 1 : end;
    return nul ? text : NULL;
}

int ex_spool_parse_head(
    const char *body, size_t length, const char **executor_id,
    const char **server)
{
    const char *at = body;
    const char *end = body + length;

    const char *format = take_text(&at, end);
    *executor_id = take_text(&at, end);
    *server = take_text(&at, end);
    return format && strcmp(format, FORMAT) == 0 && *executor_id && *server
               ? 0
               : -1;
}

int ex_spool_parse_report(
    const char *body, size_t length, executr_report *report)
{
    fixed f;
    const char *rest = body + sizeof f;

    if (length <= sizeof f)
        return -1;
    memcpy(&f, body, sizeof f);
    size_t room = length - sizeof f - 1; /* but for the NUL of the message */
    if (f.out_length > room || f.err_length > room - f.out_length ||
        body[length - 1] != '\0' || !memchr(f.job_id, '\0', sizeof f.job_id))
        return -1;
    *report = (executr_report)EXECUTR_REPORT_INIT;
    report->job_id = body; /* it stands first */
    report->attempt = f.attempt;
    report->status = f.status;
    report->outcome = f.outcome;
    report->has_exit_code = f.has_exit_code;
    report->exit_code = f.exit_code;
    report->signal = f.signal;
    report->uncounted = f.uncounted;
    report->user_seconds = f.user_seconds;
    report->system_seconds = f.system_seconds;
    report->wall_seconds = f.wall_seconds;
    report->max_rss_bytes = f.max_rss_bytes;
    report->stdout_data = rest;
    report->stdout_length = (size_t)f.out_length;
    report->stderr_data = rest + f.out_length;
    report->stderr_length = (size_t)f.err_length;
    report->error_message = rest + f.out_length + f.err_length;
    return 0;
}
