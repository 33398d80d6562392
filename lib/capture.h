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

/*
 * Output while it comes: up to `size` bytes of what was added, from byte
 * `offset` of it on, as far as they are still there. *at says which byte the
 * first one is: more than `offset` where bytes were dropped, and then it
 * begins a line if there is one near. The number of bytes; 0: none yet.
 */
size_t ex_capture_read(
    const ex_capture *capture, uint64_t offset, char *data, size_t size,
    uint64_t *at);

/* Where the parts of a text that was cut stand. */
typedef struct ex_gap {
    size_t head;      /* bytes of it that are the beginning of the output */
    size_t tail;      /* where in it the rest begins */
    uint64_t tail_at; /* which byte of the output that is */
} ex_gap;

/*
 * Whether a text looks cut: 1 and its parts, or 0. A program may write such a
 * line itself, so this is for those who know no better.
 */
int32_t ex_capture_gap(const char *text, size_t length, ex_gap *out);

/* Forget everything, for reuse. */
void ex_capture_reset(ex_capture *capture);

/* Bring a whole text within the limit by the same rules: appends to `out`. */
executr_status ex_capture_cut(
    const void *data, size_t length, size_t limit, ex_buf *out,
    executr_error *err) EXECUTR_CHECKED;

#endif
