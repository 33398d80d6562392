/* SPDX-License-Identifier: MIT */
/* Base64 with the standard alphabet and padding (RFC 4648, section 4). */
#ifndef EX_BASE_BASE64_H
#define EX_BASE_BASE64_H

#include "base/buf.h"

/* Append `length` bytes as base64. */
void ex_base64_encode(ex_buf *out, const void *data, size_t length);

/* Room that the decoded form of `length` characters needs at most. */
#define EX_BASE64_DECODED_MAX(length) ((length) / 4 * 3)

/*
 * Decode into `out`, which has room for EX_BASE64_DECODED_MAX(length) bytes: 0
 * and their number in *used, or -1 for anything but what encode writes (no
 * white space, no missing padding, no stray bits).
 */
int ex_base64_decode(const char *text, size_t length, void *out, size_t *used);

#endif
