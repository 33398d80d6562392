/* SPDX-License-Identifier: MIT */
/*
 * Live output in the queue: pieces that executors put, and what a follower is
 * told of them. Hides how an output that was cut continues what was told live.
 */
#include "queue_live.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/options.h"
#include "capture.h"

/* An output that is kept whole is kept whole for followers, too, up to here. */
#define WINDOW_LEAST (INT64_C(1) << 20)
#define WINDOW_MOST (INT64_C(16) << 20)

#define SUM_START UINT64_C(0xcbf29ce484222325) /* FNV-1a */
#define SUM_PRIME UINT64_C(0x100000001b3)

static int64_t window(const executr_queue *queue)
{
    int64_t bytes = queue->options.max_output_bytes;

    if (bytes < WINDOW_LEAST)
        return WINDOW_LEAST;
    return bytes < WINDOW_MOST ? bytes : WINDOW_MOST;
}

static executr_status check_piece(
    const executr_output *output, ex_piece *out, executr_error *err)
{
    executr_status st = ex_queue_id(output->job_id, &out->id, err);
    if (st)
        return st;
    if (output->stream != 1 && output->stream != 2)
        return ex_fail_field(
            err, "stream", "stream is 1 (stdout) or 2 (stderr), not %d",
            (int)output->stream);
    if (output->offset < 0 || output->offset > INT64_MAX - EXECUTR_OUTPUT_MAX)
        return ex_fail_field(err, "offset", "there is no such offset");
    if (output->attempt < 0)
        return ex_fail_field(err, "attempt", "attempt can't be negative");
    if (output->length > EXECUTR_OUTPUT_MAX)
        return ex_fail(
            err, EXECUTR_E_TOO_LARGE,
            "a piece of output has %zu bytes, at most %d are allowed",
            output->length, EXECUTR_OUTPUT_MAX);
    if (!output->data && output->length)
        return ex_fail_field(err, "data", "the output is missing");
    out->attempt = output->attempt;
    out->stream = output->stream;
    out->offset = output->offset;
    out->data = output->data;
    out->length = output->length;
    return EXECUTR_OK;
}

executr_status executr_queue_put_output(
    executr_queue *queue, const char *executor_id, const executr_output *output,
    int32_t *followed, executr_error *err)
{
    executr_output o;
    ex_piece piece = {.executor_id = executor_id, .window = window(queue)};

    *followed = 0;
    executr_status st = ex_options_read(&o, sizeof o, sizeof o, output, err);
    if (!st)
        st = ex_executor_id_check(executor_id, err);
    if (!st)
        st = check_piece(&o, &piece, err);
    if (st)
        return st;
    return ex_queue_note(
        queue,
        queue->store->ops->live_put(queue->store, &piece, followed, err));
}

void ex_told_begin(ex_told *told, int64_t offset)
{
    told->next = offset;
    told->from = offset;
    told->sum = SUM_START;
    told->inside = 0;
}

static uint64_t add_up(uint64_t sum, const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ (unsigned char)data[i]) * SUM_PRIME;
    return sum;
}

static executr_status tell_raw(
    const ex_teller *teller, const ex_told *told, int64_t offset,
    const char *data, size_t length, executr_error *err)
{
    if (teller->write(
            teller->ctx, told->stream, teller->attempt, offset, data, length))
        return ex_fail(err, EXECUTR_E_CALLBACK, "the reader went away");
    return EXECUTR_OK;
}

/* A line that says that bytes are missing; what follows stands at `offset`. */
static executr_status tell_gap(
    const ex_teller *teller, ex_told *told, int64_t offset, executr_error *err)
{
    char line[64];
    int32_t inside = told->inside;
    int64_t missing = offset - told->next;

    ex_told_begin(told, offset);
    (void)snprintf(
        line, sizeof line, "%s[... %lld bytes skipped ...]\n",
        inside ? "\n" : "", (long long)missing);
    return tell_raw(teller, told, -1, line, strlen(line), err);
}

executr_status ex_tell(
    ex_teller *teller, ex_told *told, int64_t offset, const char *data,
    size_t length, executr_error *err)
{
    int64_t end = offset + (int64_t)length;

    if (!told->stream || length == 0 || end <= told->next)
        return EXECUTR_OK;
    executr_status st = EXECUTR_OK;
    if (offset > told->next)
        st = tell_gap(teller, told, offset, err);
    if (st)
        return st;
    size_t known = (size_t)(told->next - offset);
    data += known;
    length -= known;
    st = tell_raw(teller, told, told->next, data, length, err);
    if (st)
        return st;
    told->sum = add_up(told->sum, data, length);
    told->next = end;
    told->inside = data[length - 1] != '\n';
    return EXECUTR_OK;
}

/* Whether what was told since the last gap stands in the text where it would
 * if nothing had been cut before it. */
static int32_t stands_in(const ex_told *told, const char *text, size_t length)
{
    if (told->next == told->from || (uint64_t)told->next > length)
        return 0;
    return add_up(
               SUM_START, text + told->from,
               (size_t)(told->next - told->from)) == told->sum;
}

/*
 * An output that was cut has a head, a line that says so, and a tail. Which
 * byte the tail begins with is known from that line, so the rest continues
 * exactly what was told, wherever that ended.
 */
executr_status ex_tell_rest(
    ex_teller *teller, ex_told *told, const char *text, size_t length,
    executr_error *err)
{
    ex_gap gap;

    if (!told->stream)
        return EXECUTR_OK;
    int32_t cut = ex_capture_gap(text, length, &gap);
    if (!cut ||
        ((uint64_t)told->next > gap.head && stands_in(told, text, length)))
        return ex_tell(teller, told, 0, text, length, err);
    int32_t at_head = (uint64_t)told->next <= gap.head;
    executr_status st = ex_tell(teller, told, 0, text, gap.head, err);
    if (!st && at_head) {
        st = tell_raw(
            teller, told, -1, text + gap.head, gap.tail - gap.head, err);
        ex_told_begin(told, (int64_t)gap.tail_at);
    }
    if (st)
        return st;
    return ex_tell(
        teller, told, (int64_t)gap.tail_at, text + gap.tail, length - gap.tail,
        err);
}
