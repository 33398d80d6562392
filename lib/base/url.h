/* SPDX-License-Identifier: MIT */
/* The little of URLs that we need: percent codes and query strings. */
#ifndef EX_BASE_URL_H
#define EX_BASE_URL_H

#include "base/buf.h"

/* Append `text` with everything but unreserved characters as %XX. */
void ex_url_encode(ex_buf *out, const char *text);

/* Append `length` characters with %XX resolved ('+' is a space if `form`);
 * -1 for a bad code or a NUL. */
int ex_url_decode(ex_buf *out, const char *text, size_t length, int form);

/*
 * The decoded value of `name` in a query string such as "a=1&b=2", appended to
 * `out`: 1 found, 0 not there, -1 badly encoded. `query` may be NULL.
 */
int ex_url_query(ex_buf *out, const char *query, const char *name);

/* 1 if `url` is a plain http:// or https:// URL with a host, no white space
 * or control characters, at most 8192 bytes. */
int32_t ex_url_is_http(const char *url);

/* 1 if `text` is valid UTF-8 of `length` bytes. */
int32_t ex_utf8_valid(const void *text, size_t length);

/*
 * One step through text of at least one byte: 1 and the length of the
 * character in *used, or 0 and how many bytes one U+FFFD should replace.
 */
int32_t ex_utf8_step(const void *text, size_t length, size_t *used);

/* The greatest cut at or before byte `at` that splits no character. */
size_t ex_utf8_cut(const void *text, size_t at);

#endif
