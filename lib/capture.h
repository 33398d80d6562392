/* SPDX-License-Identifier: MIT */
/*
 * Head and tail of an output in bounded memory. What fits the limit is kept
 * whole. Longer output keeps its first 500 lines (at most half the limit), then
 * a line that says how many bytes and lines were cut, then as many of the last
 * lines as fit; a cut never splits a UTF-8 character and the result never
 * exceeds the limit. Any bytes are accepted.
 */
#ifndef EX_CAPTURE_H
#define EX_CAPTURE_H

#include "base/buf.h"

typedef struct ex_capture ex_capture;

/* Memory grows with the output up to about the limit, no further. */
executr_status ex_capture_open(
    size_t limit, ex_capture **out, executr_error *err) EXECUTR_CHECKED;
void ex_capture_free(ex_capture *capture);

/* Add output. On E_NOMEM the bytes are counted as cut and the capture stays
 * usable. */
executr_status ex_capture_add(
    ex_capture *capture, const void *data, size_t length,
    executr_error *err) EXECUTR_CHECKED;

/* Bytes seen so far. */
uint64_t ex_capture_total(const ex_capture *capture);

/* The text to report; lasts until the next call. May be called once or more,
 * also before the end. */
executr_status ex_capture_text(
    ex_capture *capture, const char **out, size_t *length,
    executr_error *err) EXECUTR_CHECKED;

/* Forget everything, for reuse. */
void ex_capture_reset(ex_capture *capture);

/* Bring a whole text within the limit by the same rules: appends to `out`. */
executr_status ex_capture_cut(
    const void *data, size_t length, size_t limit, ex_buf *out,
    executr_error *err) EXECUTR_CHECKED;

#endif
