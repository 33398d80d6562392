/* SPDX-License-Identifier: MIT */
/* The limits a job asks for, as the JSON text that both stores keep. */
#ifndef EX_STORE_LIMITS_H
#define EX_STORE_LIMITS_H

#include "job.h"

/* Append {"timeout_ms":…,"isolation":"basic"} with what is set, or nothing. */
void ex_limits_store(const executr_job_spec *spec, ex_buf *out);

/* Such a text into a record; NULL and "" leave it without limits. */
executr_status ex_limits_load(
    const char *text, struct executr_job *job,
    executr_error *err) EXECUTR_CHECKED;

#endif
