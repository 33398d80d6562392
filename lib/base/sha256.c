/* SPDX-License-Identifier: MIT */
/* SHA-256; hides libcrypto. */
#include "base/sha256.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"

#define CHUNK ((size_t)128 * 1024)
#define DIGEST_SIZE 32

struct ex_sha256 {
    EVP_MD_CTX *context;
    int failed; /* then there is no digest, rather than a wrong one */
};

executr_status ex_sha256_open(ex_sha256 **out, executr_error *err)
{
    void *memory;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(ex_sha256), err);
    if (st)
        return st;
    ex_sha256 *hash = memory;
    hash->context = EVP_MD_CTX_new();
    if (!hash->context)
        st = ex_fail_nomem(err);
    else if (EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1)
        st = ex_fail(
            err, EXECUTR_E_UNSUPPORTED,
            "libcrypto offers no SHA-256: check its configuration");
    if (st)
        ex_sha256_free(hash);
    else
        *out = hash;
    return st;
}

void ex_sha256_add(ex_sha256 *hash, const void *data, size_t length)
{
    if (EVP_DigestUpdate(hash->context, data, length) != 1)
        hash->failed = 1;
}

void ex_sha256_end(ex_sha256 *hash, char out[EX_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    out[0] = '\0';
    if (hash->failed ||
        EVP_DigestFinal_ex(hash->context, digest, &length) != 1 ||
        length != DIGEST_SIZE)
        return;
    for (unsigned i = 0; i < DIGEST_SIZE; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[EX_SHA256_HEX - 1] = '\0';
}

void ex_sha256_free(ex_sha256 *hash)
{
    if (!hash)
        return;
    EVP_MD_CTX_free(hash->context);
    ex_free(hash);
}

static executr_status add_file(ex_sha256 *hash, int fd, executr_error *err)
{
    void *chunk;
    off_t offset = 0;

    executr_status st = ex_alloc(&chunk, CHUNK, err);
    if (st)
        return st;
    for (;;) {
        ssize_t got = pread(fd, chunk, CHUNK, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            st = ex_fail_errno(err, errno, "cannot read a file to hash");
        if (got <= 0)
            break;
        ex_sha256_add(hash, chunk, (size_t)got);
        offset += got;
    }
    ex_free(chunk);
    return st;
}

static executr_status end_checked(
    ex_sha256 *hash, char out[EX_SHA256_HEX], executr_error *err)
{
    ex_sha256_end(hash, out);
    if (!out[0])
        return ex_fail(err, EXECUTR_E_INTERNAL, "libcrypto failed to hash");
    return EXECUTR_OK;
}

executr_status ex_sha256_fd(int fd, char out[EX_SHA256_HEX], executr_error *err)
{
    ex_sha256 *hash;

    out[0] = '\0';
    executr_status st = ex_sha256_open(&hash, err);
    if (st)
        return st;
    st = add_file(hash, fd, err);
    if (!st)
        st = end_checked(hash, out, err);
    ex_sha256_free(hash);
    return st;
}

executr_status ex_sha256_bytes(
    const void *data, size_t length, char out[EX_SHA256_HEX],
    executr_error *err)
{
    ex_sha256 *hash;

    out[0] = '\0';
    executr_status st = ex_sha256_open(&hash, err);
    if (st)
        return st;
    ex_sha256_add(hash, data, length);
    st = end_checked(hash, out, err);
    ex_sha256_free(hash);
    return st;
}

int32_t ex_sha256_valid(const char *hex)
{
    return hex && strspn(hex, "0123456789abcdef") == EX_SHA256_HEX - 1 &&
           hex[EX_SHA256_HEX - 1] == '\0';
}

executr_status ex_sha256_normalize(
    const char *hex, char out[EX_SHA256_HEX], const char *field,
    executr_error *err)
{
    out[0] = '\0';
    if (!hex || strspn(hex, "0123456789abcdefABCDEF") != EX_SHA256_HEX - 1 ||
        hex[EX_SHA256_HEX - 1])
        return ex_fail_field(
            err, field, "%s must be a SHA-256 of 64 hex digits", field);
    for (int i = 0; i < EX_SHA256_HEX; i++) {
        int upper = hex[i] >= 'A' && hex[i] <= 'F';
        out[i] = (char)(upper ? hex[i] - 'A' + 'a' : hex[i]);
    }
    return EXECUTR_OK;
}
