/* SPDX-License-Identifier: MIT */
/* Binaries on the server, and the hashes of files and URLs. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sha256.h"

static executr_status begin_binary(
    ex_call *call, const executr_client *client, const char *method,
    const char *sha256, executr_error *err)
{
    char name[EX_SHA256_HEX];

    ex_call_begin(call, client, method, "/binaries/");
    executr_status st = ex_sha256_normalize(sha256, name, "sha256", err);
    if (st)
        return st;
    ex_buf_puts(&call->url, name);
    call->request.max_bytes = INT64_MAX;
    return EXECUTR_OK;
}

executr_status executr_client_has_binary(
    executr_client *client, const char *sha256, int64_t *bytes,
    executr_error *err)
{
    ex_call call;
    ex_http_response response = {0};

    *bytes = 0;
    executr_status st = begin_binary(&call, client, "HEAD", sha256, err);
    if (!st)
        st = ex_call_finish(&call, err);
    if (!st)
        st = ex_client_call(client, &call, &response, err);
    if (!st)
        *bytes = response.content_length;
    else if (response.status == 404)
        st = ex_fail(
            err, EXECUTR_E_NOT_FOUND, "the server has no binary %s", sha256);
    ex_http_response_clear(&response);
    ex_call_clear(&call);
    return st;
}

/* A file on its way to the server, or bytes on their way to a hash. */
typedef struct transfer {
    int fd;
    ex_sha256 *hash;
    int64_t done;
    int64_t total;
    executr_progress progress;
    void *ctx;
    executr_status failed;
    executr_error failure;
} transfer;

static int32_t tell(transfer *t, size_t length)
{
    t->done += (int64_t)length;
    if (t->progress && t->progress(t->ctx, t->done, t->total))
        t->failed = ex_fail(
            &t->failure, EXECUTR_E_CANCELLED, "the transfer was stopped");
    return t->failed ? -1 : 0;
}

static int32_t read_file(void *ctx, void *data, size_t size, size_t *length)
{
    transfer *t = ctx;
    ssize_t got;

    *length = 0;
    /* No more than was announced, should the file grow meanwhile. */
    if ((int64_t)size > t->total - t->done)
        size = (size_t)(t->total - t->done);
    do {
        got = read(t->fd, data, size);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        t->failed =
            ex_fail_errno(&t->failure, errno, "cannot read the file to upload");
        return -1;
    }
    *length = (size_t)got;
    return tell(t, *length);
}

static executr_status open_file(
    transfer *t, const char *path, executr_error *err)
{
    struct stat info;

    t->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (t->fd < 0)
        return ex_fail_errno(err, errno, "cannot open %s", path);
    if (fstat(t->fd, &info) != 0)
        return ex_fail_errno(err, errno, "cannot look at %s", path);
    if (!S_ISREG(info.st_mode))
        return ex_fail_field(err, "path", "%s is no regular file", path);
    t->total = info.st_size;
    return EXECUTR_OK;
}

executr_status executr_client_put_binary(
    executr_client *client, const char *sha256, const char *path,
    executr_progress progress, void *ctx, executr_error *err)
{
    static const char *const headers[] = {
        "Content-Type: application/octet-stream", NULL};
    ex_call call;
    transfer t = {.fd = -1, .progress = progress, .ctx = ctx};

    executr_status st = begin_binary(&call, client, "PUT", sha256, err);
    if (!st)
        st = open_file(&t, path, err);
    if (st)
        goto done;
    call.request.headers = headers;
    call.request.read = read_file;
    call.request.read_ctx = &t;
    call.request.read_length = t.total;
    call.request.timeout_ms = 0;
    call.request.stall_ms = client->network_timeout_ms;
    st = ex_client_send(client, &call, NULL, err);
    if (t.failed && err)
        *err = t.failure;
    if (t.failed)
        st = t.failed;
done:
    if (t.fd >= 0)
        close(t.fd);
    ex_call_clear(&call);
    return st;
}

executr_status executr_client_get_binary(
    executr_client *client, const char *sha256, executr_write write, void *ctx,
    executr_error *err)
{
    ex_call call;

    executr_status st = begin_binary(&call, client, "GET", sha256, err);
    if (!st) {
        call.request.write = write;
        call.request.write_ctx = ctx;
        call.request.timeout_ms = 0;
        call.request.stall_ms = client->network_timeout_ms;
        st = ex_client_send(client, &call, NULL, err);
    }
    ex_call_clear(&call);
    return st;
}

static int32_t hash_bytes(void *ctx, const void *data, size_t length)
{
    transfer *t = ctx;

    ex_sha256_add(t->hash, data, length);
    return tell(t, length);
}

static int32_t note_length(void *ctx, const ex_http_head *head)
{
    transfer *t = ctx;

    t->total = head->length;
    return 0;
}

static executr_status get_url(
    transfer *t, const char *url, int64_t timeout_ms, executr_error *err)
{
    ex_http *http;
    ex_http_response response;
    ex_http_request request = {
        .method = "GET",
        .url = url,
        .write = hash_bytes,
        .write_ctx = t,
        .begin = note_length,
        .max_bytes = INT64_MAX,
        .stall_ms = timeout_ms > 0 ? timeout_ms : 60000,
        .redirects = 1};

    executr_status st = ex_http_open(&http, err);
    if (st)
        return st;
    st = ex_http_call(http, &request, &response, err);
    if (!st && response.status != 200) {
        ex_buf shown;
        ex_buf_init(&shown, EX_BUF_UNLIMITED);
        ex_http_show_url(&shown, url);
        st = ex_fail(
            err, ex_answer_http(response.status), "%s answers HTTP %d",
            ex_buf_text(&shown), (int)response.status);
        ex_buf_clear(&shown);
    }
    ex_http_response_clear(&response);
    ex_http_free(http);
    if (t->failed && err)
        *err = t->failure;
    return t->failed ? t->failed : st;
}

executr_status executr_hash_url(
    const char *url, int64_t network_timeout_ms, executr_progress progress,
    void *ctx, char out[65], executr_error *err)
{
    transfer t = {.fd = -1, .total = -1, .progress = progress, .ctx = ctx};

    out[0] = '\0';
    executr_status st = ex_sha256_open(&t.hash, err);
    if (!st)
        st = get_url(&t, url, network_timeout_ms, err);
    if (!st) {
        ex_sha256_end(t.hash, out);
        if (!out[0])
            st = ex_fail(err, EXECUTR_E_INTERNAL, "libcrypto failed to hash");
    }
    ex_sha256_free(t.hash);
    return st;
}

executr_status executr_hash_file(
    const char *path, char out[65], executr_error *err)
{
    transfer t = {.fd = -1};

    out[0] = '\0';
    executr_status st = open_file(&t, path, err);
    if (!st)
        st = ex_sha256_fd(t.fd, out, err);
    if (t.fd >= 0)
        close(t.fd);
    return st;
}
