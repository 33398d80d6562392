/* SPDX-License-Identifier: MIT */
/* SHA-256 by libcrypto, and its 64 lower-case hex digits. */
#ifndef EX_BASE_SHA256_H
#define EX_BASE_SHA256_H

#include <executr/base.h>

#define EX_SHA256_HEX 65 /* digits and NUL */

typedef struct ex_sha256 ex_sha256;

executr_status ex_sha256_open(ex_sha256 **out, executr_error *err)
    EXECUTR_CHECKED;
void ex_sha256_add(ex_sha256 *hash, const void *data, size_t length);
void ex_sha256_end(ex_sha256 *hash, char out[EX_SHA256_HEX]);
void ex_sha256_free(ex_sha256 *hash);

/* Hash what an open file holds from its start, whatever its offset. */
executr_status ex_sha256_fd(int fd, char out[EX_SHA256_HEX], executr_error *err)
    EXECUTR_CHECKED;
executr_status ex_sha256_bytes(
    const void *data, size_t length, char out[EX_SHA256_HEX],
    executr_error *err) EXECUTR_CHECKED;

/* 1 for exactly 64 of 0-9a-f, else 0 (NULL too). */
int32_t ex_sha256_valid(const char *hex);

/* Copy 64 hex digits of either case as lower case; else E_ARGUMENT naming
 * `field`. */
executr_status ex_sha256_normalize(
    const char *hex, char out[EX_SHA256_HEX], const char *field,
    executr_error *err) EXECUTR_CHECKED;

#endif
