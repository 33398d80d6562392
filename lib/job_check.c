/* SPDX-License-Identifier: MIT */
/*
 * The limits of what executors say: claims, reports, heartbeats. Hides how
 * characters are told apart.
 */
#include "job.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/options.h"
#include "base/url.h"

#define USAGE_SECONDS_MAX 1e12
#define HEARTBEAT_SLOTS_MAX 1000000
/* Counts are added up over all executors: millions at the most still fit. */
#define HEARTBEAT_COUNT_MAX (INT64_C(1) << 40)

executr_status ex_as_too_large(executr_error *err)
{
    if (err)
        err->status = EXECUTR_E_TOO_LARGE;
    return EXECUTR_E_TOO_LARGE;
}

/* The code point of a valid sequence of `used` bytes. */
static uint32_t code_point(const char *at, size_t used)
{
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (unsigned char)at[0] & masks[used];

    for (size_t i = 1; i < used; i++)
        code = code << 6 | ((unsigned char)at[i] & 0x3f);
    return code;
}

static int is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

/* White space of Unicode; its control characters are caught before. */
static int is_space(uint32_t c)
{
    return c == ' ' || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* What is wrong with one character, or NULL. */
static const char *bad_character(const char *at, size_t left, size_t *used)
{
    if (!ex_utf8_step(at, left, used))
        return "is not valid UTF-8";
    return is_control(code_point(at, *used)) ? "has a control character" : NULL;
}

executr_status ex_word_check(
    const char *text, const char *field, size_t max, int32_t solid,
    executr_error *err)
{
    if (!text || !*text)
        return ex_fail_field(
            err, field, "%s is required: 1 to %zu characters", field, max);
    size_t length = strnlen(text, max * 4 + 1);
    size_t characters = 0;
    for (size_t at = 0; at < length; characters++) {
        size_t used;
        const char *problem = bad_character(text + at, length - at, &used);
        if (characters == max)
            return ex_fail_field(
                err, field, "%s is longer than %zu characters", field, max);
        if (!problem && solid && is_space(code_point(text + at, used)))
            problem = "has white space in it";
        if (problem)
            return ex_fail_field(err, field, "%s %s", field, problem);
        at += used;
    }
    return EXECUTR_OK;
}

executr_status ex_executor_id_check(const char *id, executr_error *err)
{
    return ex_word_check(id, "executor_id", EX_EXECUTOR_ID_MAX, 0, err);
}

static executr_status check_range(
    const char *field, int64_t value, int64_t min, int64_t max,
    executr_error *err)
{
    if (value >= min && value <= max)
        return EXECUTR_OK;
    return ex_fail_field(
        err, field, "%s is %lld, but must be %lld to %lld", field,
        (long long)value, (long long)min, (long long)max);
}

static executr_status check_types(
    const executr_claim *claim, executr_error *err)
{
    if (claim->type_count > EX_CLAIM_TYPES_MAX) {
        ex_fail_field(
            err, "types", "types names %zu types, but at most %d are allowed",
            claim->type_count, EX_CLAIM_TYPES_MAX);
        return ex_as_too_large(err);
    }
    for (size_t i = 0; i < claim->type_count; i++) {
        executr_status st =
            ex_word_check(claim->types[i], "types", EX_TYPE_MAX, 1, err);
        if (st)
            return st;
    }
    return EXECUTR_OK;
}

executr_status ex_claim_check(
    const executr_claim *claim, executr_claim *out, executr_error *err)
{
    const uint32_t all = 1u << EXECUTR_PRIORITY_FOREGROUND |
                         1u << EXECUTR_PRIORITY_BACKGROUND |
                         1u << EXECUTR_PRIORITY_BEST_EFFORT;
    executr_claim own;

    executr_status st =
        ex_options_read(&own, sizeof own, sizeof own, claim, err);
    if (!st)
        st = ex_executor_id_check(own.executor_id, err);
    if (!st)
        st = ex_word_check(
            own.executor_ip, "executor_ip", EX_EXECUTOR_IP_MAX, 0, err);
    if (!st)
        st = check_range("max_jobs", own.max_jobs, 0, EX_CLAIM_MAX, err);
    if (!st)
        st = check_range("wait_ms", own.wait_ms, 0, EX_WAIT_MAX_MS, err);
    if (!st)
        st = check_types(&own, err);
    if (!st && own.priorities & ~all)
        st = ex_fail_field(
            err, "priorities", "priorities names one that does not exist");
    if (st)
        return st;
    if (own.max_jobs == 0)
        own.max_jobs = 1;
    *out = own;
    return EXECUTR_OK;
}

int32_t ex_report_has_usage(const executr_report *report)
{
    return report->user_seconds > 0 || report->system_seconds > 0 ||
           report->wall_seconds > 0 || report->max_rss_bytes > 0;
}

/* Cut a message that is too long at the start of a character. */
static executr_status cut_message(
    ex_arena *arena, executr_report *report, executr_error *err)
{
    const char *text = report->error_message;

    size_t length = text ? strnlen(text, EX_ERROR_MESSAGE_MAX + 1) : 0;
    if (length <= EX_ERROR_MESSAGE_MAX)
        return EXECUTR_OK;
    length = EX_ERROR_MESSAGE_MAX;
    /* A continuation byte behind the cut: its character goes whole. */
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    report->error_message = ex_arena_copy(arena, text, length);
    return report->error_message ? EXECUTR_OK : ex_fail_nomem(err);
}

static executr_status check_message(
    const executr_report *report, executr_error *err)
{
    const char *text = report->error_message;

    if (text && !ex_utf8_valid(text, strlen(text)))
        return ex_fail_field(
            err, "error_message", "error_message is not valid UTF-8");
    if (report->status == EXECUTR_ATTEMPT_FAILED && !report->uncounted &&
        (!text || !*text))
        return ex_fail_field(
            err, "error_message",
            "error_message is required: say why the job failed");
    return EXECUTR_OK;
}

static executr_status check_usage(
    const executr_report *report, executr_error *err)
{
    const double seconds[] = {
        report->user_seconds, report->system_seconds, report->wall_seconds};

    for (int i = 0; i < 3; i++) {
        if (!(seconds[i] >= 0 && seconds[i] <= USAGE_SECONDS_MAX))
            return ex_fail_field(
                err, "usage", "usage has seconds that are not 0 to %.0f",
                USAGE_SECONDS_MAX);
    }
    return check_range("usage", report->max_rss_bytes, 0, INT64_MAX, err);
}

executr_status ex_report_check(
    const executr_report *report, ex_arena *arena, executr_report *out,
    executr_error *err)
{
    executr_report own;

    executr_status st =
        ex_options_read(&own, sizeof own, sizeof own, report, err);
    if (!st && own.status != EXECUTR_ATTEMPT_COMPLETED &&
        own.status != EXECUTR_ATTEMPT_FAILED)
        st = ex_fail_field(err, "status", "status must be completed or failed");
    if (!st)
        st = check_range("attempt", own.attempt, 0, INT32_MAX, err);
    if (!st)
        st = check_range("outcome", own.outcome, 0, EXECUTR_OUTCOME_LOST, err);
    if (!st)
        st = check_range("signal", own.signal, 0, INT32_MAX, err);
    if (!st && own.has_exit_code)
        st = check_range("exit_code", own.exit_code, 0, 255, err);
    if (!st)
        st = check_message(&own, err);
    if (!st)
        st = check_usage(&own, err);
    if (!st)
        st = cut_message(arena, &own, err);
    if (st)
        return st;
    if (own.outcome == EXECUTR_OUTCOME_NONE &&
        (own.has_exit_code || own.status == EXECUTR_ATTEMPT_COMPLETED))
        own.outcome = EXECUTR_OUTCOME_EXIT;
    *out = own;
    return EXECUTR_OK;
}

static executr_status check_figures(
    const executr_heartbeat *heartbeat, executr_error *err)
{
    executr_status st =
        check_range("hits", heartbeat->cache_hits, 0, HEARTBEAT_COUNT_MAX, err);
    if (!st)
        st = check_range(
            "misses", heartbeat->cache_misses, 0, HEARTBEAT_COUNT_MAX, err);
    if (!st)
        st = check_range("bytes", heartbeat->cache_bytes, 0, INT64_MAX, err);
    if (!st)
        st = check_range(
            "max_bytes", heartbeat->cache_max_bytes, 0, INT64_MAX, err);
    return st;
}

/* Optional texts: "" for NULL, else a word. */
static executr_status check_optional(
    const char **text, const char *field, size_t max, executr_error *err)
{
    if (!*text)
        *text = "";
    return **text ? ex_word_check(*text, field, max, 0, err) : EXECUTR_OK;
}

executr_status ex_heartbeat_check(
    const executr_heartbeat *heartbeat, executr_heartbeat *out,
    executr_error *err)
{
    executr_heartbeat own;

    executr_status st =
        ex_options_read(&own, sizeof own, sizeof own, heartbeat, err);
    if (!st)
        st = ex_executor_id_check(own.executor_id, err);
    if (!st)
        st = check_optional(
            &own.executor_ip, "executor_ip", EX_EXECUTOR_IP_MAX, err);
    if (!st)
        st = check_optional(&own.version, "version", EX_TYPE_MAX, err);
    if (!st)
        st = check_range("max_jobs", own.max_jobs, 0, HEARTBEAT_SLOTS_MAX, err);
    if (!st)
        st = check_figures(&own, err);
    if (st)
        return st;
    if (own.max_jobs == 0)
        own.max_jobs = 1;
    *out = own;
    return EXECUTR_OK;
}
