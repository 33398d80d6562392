/* SPDX-License-Identifier: MIT */
/* The limits of a job as JSON; hides the names they are stored under. */
#include "store/limits.h"

#include <string.h>

#include "base/fail.h"

static void add_number(ex_json_writer *w, const char *name, int64_t value)
{
    if (value)
        ex_json_add_i64(w, name, value);
}

void ex_limits_store(const executr_job_spec *spec, ex_buf *out)
{
    const char *isolation = executr_isolation_word(spec->isolation);
    ex_json_writer w;

    if (!spec->timeout_ms && !spec->kill_grace_ms && !spec->memory_mb &&
        !spec->cpu_seconds && !spec->max_processes && !spec->max_file_mb &&
        !*isolation)
        return;
    ex_json_begin(&w, out);
    ex_json_open(&w, '{');
    add_number(&w, "timeout_ms", spec->timeout_ms);
    add_number(&w, "kill_grace_ms", spec->kill_grace_ms);
    add_number(&w, "memory_mb", spec->memory_mb);
    add_number(&w, "cpu_seconds", spec->cpu_seconds);
    add_number(&w, "max_processes", spec->max_processes);
    add_number(&w, "max_file_mb", spec->max_file_mb);
    if (*isolation)
        ex_json_add_string(&w, "isolation", isolation);
    ex_json_close(&w, '}');
}

static executr_status read_numbers(
    const ex_json *object, struct executr_job *job, executr_error *err)
{
    const struct {
        const char *name;
        int64_t *out;
    } numbers[] = {{"timeout_ms", &job->timeout_ms},
                   {"kill_grace_ms", &job->kill_grace_ms},
                   {"memory_mb", &job->memory_mb},
                   {"cpu_seconds", &job->cpu_seconds},
                   {"max_processes", &job->max_processes},
                   {"max_file_mb", &job->max_file_mb}};
    executr_status st = EXECUTR_OK;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !st; i++)
        st = ex_json_read_i64(
            object, numbers[i].name, 0, INT64_MAX, numbers[i].out, err);
    return st;
}

executr_status ex_limits_load(
    const char *text, struct executr_job *job, executr_error *err)
{
    ex_json *document = NULL;
    const char *isolation = NULL;

    if (!text || !*text)
        return EXECUTR_OK;
    executr_status st = ex_json_parse(text, strlen(text), &document, err);
    if (!st)
        st = read_numbers(document, job, err);
    if (!st)
        st = ex_json_read_string(document, "isolation", &isolation, err);
    if (!st)
        job->isolation = executr_isolation_parse(isolation);
    ex_json_free(document);
    if (st && st != EXECUTR_E_NOMEM)
        st = ex_fail(
            err, EXECUTR_E_INTERNAL, "the stored limits of job %s: %s", job->id,
            err ? err->message : "not readable");
    return st;
}
