/* SPDX-License-Identifier: MIT */
/* What goes into one request; hides libcurl's options and callbacks. */
#include "http_transfer.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/time.h"
#include "base/url.h"

#define DEFAULT_MAX_BYTES (INT64_C(64) << 20)
#define ERROR_BODY_BYTES ((size_t)64 << 10)
#define HEADER_BYTES (INT64_C(256) << 10) /* an answer may have no more */
#define REDIRECTS 5L
#define CONNECT_MS INT64_C(10000)

int32_t ex_transfer_status(ex_transfer *transfer)
{
    long status = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int32_t)status;
}

/* Note the first thing that went wrong in our own callbacks. */
static void stop(ex_transfer *transfer, executr_status status, const char *what)
{
    if (!transfer->failed)
        transfer->failed = ex_fail(&transfer->failure, status, "%s", what);
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    ex_transfer *transfer = ctx;

    (void)data;
    transfer->header_bytes += (int64_t)(size * count);
    if (transfer->header_bytes <= HEADER_BYTES)
        return size * count;
    stop(transfer, EXECUTR_E_PROTOCOL, "the answer's headers never end");
    return 0;
}

/* Keep the start of an error's body: it is for people to read. */
static size_t keep_error(ex_transfer *transfer, const char *data, size_t length)
{
    ex_buf *body = &transfer->response->body;
    size_t room =
        body->length < ERROR_BODY_BYTES ? ERROR_BODY_BYTES - body->length : 0;

    ex_buf_add(body, data, length < room ? length : room);
    transfer->cut = length > room;
    return transfer->cut ? 0 : length;
}

/* A header's value is libcurl's until the next call on the handle's headers:
 * three of them need three copies. */
static void copy_header(ex_transfer *transfer, const char *name, char out[256])
{
    struct curl_header *header = NULL;

    out[0] = '\0';
    CURLHcode found =
        curl_easy_header(transfer->easy, name, 0, CURLH_HEADER, -1, &header);
    if (found == CURLHE_OK && strlen(header->value) < 256)
        memcpy(out, header->value, strlen(header->value) + 1);
}

int32_t ex_transfer_begin(ex_transfer *transfer)
{
    const ex_http_request *request = &transfer->request;
    curl_off_t length = -1;
    char etag[256];
    char last_modified[256];
    char content_range[256];

    if (transfer->begun || !request->begin)
        return 0;
    transfer->begun = 1;
    curl_easy_getinfo(
        transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    copy_header(transfer, "ETag", etag);
    copy_header(transfer, "Last-Modified", last_modified);
    copy_header(transfer, "Content-Range", content_range);
    const ex_http_head head = {
        .status = ex_transfer_status(transfer),
        .length = length,
        .etag = etag,
        .last_modified = last_modified,
        .content_range = content_range};
    return request->begin(request->write_ctx, &head);
}

static size_t on_data(char *data, size_t size, size_t count, void *ctx)
{
    ex_transfer *transfer = ctx;
    const ex_http_request *request = &transfer->request;
    size_t length = size * count;
    int32_t status = ex_transfer_status(transfer);

    if (status < 200 || status > 299)
        return keep_error(transfer, data, length);
    int64_t max =
        request->max_bytes > 0 ? request->max_bytes : DEFAULT_MAX_BYTES;
    if ((int64_t)length > max - transfer->received) {
        transfer->failed = ex_fail(
            &transfer->failure, EXECUTR_E_TOO_LARGE,
            "the answer is longer than %lld bytes, the most allowed",
            (long long)max);
        return 0;
    }
    transfer->received += (int64_t)length;
    if (!request->write) {
        ex_buf_add(&transfer->response->body, data, length);
        if (transfer->response->body.failed)
            stop(transfer, EXECUTR_E_NOMEM, "out of memory");
    } else if (
        ex_transfer_begin(transfer) ||
        request->write(request->write_ctx, data, length)) {
        stop(transfer, EXECUTR_E_CALLBACK, "stopped by its reader");
    }
    return transfer->failed ? 0 : length;
}

/* libcurl would wait for ever for an answer to a body that ended early. */
static size_t on_read(char *data, size_t size, size_t count, void *ctx)
{
    ex_transfer *transfer = ctx;
    const ex_http_request *request = &transfer->request;
    size_t length = 0;

    if (request->read(request->read_ctx, data, size * count, &length))
        stop(transfer, EXECUTR_E_CALLBACK, "stopped by its sender");
    transfer->sent += (int64_t)length;
    int known = request->read_length >= 0;
    if (known && ((length == 0 && transfer->sent < request->read_length) ||
                  transfer->sent > request->read_length))
        stop(
            transfer, EXECUTR_E_IO,
            "the body to send is not as long as was said");
    return transfer->failed ? CURL_READFUNC_ABORT : length;
}

/* The user's exceptions from proxies, and this machine itself. */
static executr_status set_no_proxy(CURL *easy, executr_error *err)
{
    ex_buf list;

    const char *user = getenv("no_proxy");
    if (!user)
        user = getenv("NO_PROXY");
    if (user && strcmp(user, "*") == 0)
        return EXECUTR_OK;
    ex_buf_init(&list, EX_BUF_UNLIMITED);
    if (user && *user)
        ex_buf_printf(&list, "%s,", user);
    ex_buf_puts(&list, "localhost,127.0.0.0/8,::1");
    executr_status st = ex_buf_status(&list, "no_proxy", err);
    if (!st && curl_easy_setopt(easy, CURLOPT_NOPROXY, list.data))
        st = ex_fail_nomem(err);
    ex_buf_clear(&list);
    return st;
}

/* One header line; `value` NULL takes `name` as the whole of it. */
static executr_status add_header(
    ex_transfer *transfer, const char *name, const char *value,
    executr_error *err)
{
    ex_buf line;

    ex_buf_init(&line, EX_BUF_UNLIMITED);
    ex_buf_puts(&line, name);
    if (value)
        ex_buf_puts(&line, value);
    executr_status st = ex_buf_status(&line, "a header", err);
    struct curl_slist *longer =
        st ? NULL : curl_slist_append(transfer->headers, line.data);
    if (longer)
        transfer->headers = longer;
    else if (!st)
        st = ex_fail_nomem(err);
    ex_buf_clear(&line);
    return st;
}

/*
 * "Expect:" alone takes the header out: with it every larger upload would wait
 * a second for servers that don't know it. The token is a header of our own,
 * which is safe as requests with a token never follow redirects.
 */
static executr_status set_headers(ex_transfer *transfer, executr_error *err)
{
    const ex_http_request *request = &transfer->request;
    int has_type = 0;

    executr_status st = add_header(transfer, "Expect:", NULL, err);
    for (size_t i = 0; !st && request->headers && request->headers[i]; i++) {
        const char *line = request->headers[i];
        has_type |= strncasecmp(line, "Content-Type:", 13) == 0;
        if (strpbrk(line, "\r\n"))
            st =
                ex_fail(err, EXECUTR_E_ARGUMENT, "a header holds a line break");
        else
            st = add_header(transfer, line, NULL, err);
    }
    if (!st && !has_type)
        st = add_header(transfer, "Content-Type:", NULL, err);
    if (!st && request->token)
        st =
            add_header(transfer, "Authorization: Bearer ", request->token, err);
    if (!st)
        curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
    return st;
}

static void set_body(ex_transfer *transfer)
{
    const ex_http_request *request = &transfer->request;
    CURL *easy = transfer->easy;
    const char *method = request->method;
    int sends = request->body || strcmp(method, "POST") == 0 ||
                strcmp(method, "PUT") == 0;

    if (request->read) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
        curl_easy_setopt(
            easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->read_length);
        /* A stream can't be sent again, as a kept connection that turns out
         * to be dead would need. */
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    } else if (sends) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(
            easy, CURLOPT_POSTFIELDSIZE_LARGE,
            (curl_off_t)(request->body ? request->body_length : 0));
        curl_easy_setopt(
            easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_limits(ex_transfer *transfer)
{
    const ex_http_request *request = &transfer->request;
    CURL *easy = transfer->easy;
    int64_t connect_ms =
        request->connect_ms > 0 ? request->connect_ms : CONNECT_MS;

    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    if (request->timeout_ms > 0)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    if (request->stall_ms > 0)
        transfer->check_at_us =
            ex_monotonic_us() + request->stall_ms * 1000 / EX_LOOKS;
    if (request->refuse_local)
        ex_transfer_refuse_local(transfer);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, request->close ? 1L : 0L);
    if (request->redirects && !request->token) {
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(easy, CURLOPT_MAXREDIRS, REDIRECTS);
    }
}

static void set_constants(ex_transfer *transfer)
{
    CURL *easy = transfer->easy;

    static_assert(
        sizeof transfer->words >= CURL_ERROR_SIZE, "too small for libcurl");
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->words);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* don't wait for DNS */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    /* Finds a peer that vanished under an answer of unknown length. */
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
}

static executr_status check_request(
    const ex_http_request *request, executr_error *err)
{
    if (!request->url || !ex_url_is_http(request->url))
        return ex_fail_field(
            err, "url", "'%.200s' is no http or https URL",
            request->url ? request->url : "");
    const char *token = request->token;
    for (size_t i = 0; token && (i == 0 || token[i]); i++) {
        if (token[i] <= ' ' || token[i] > '~')
            return ex_fail_field(
                err, "token",
                "the token is empty or holds white space or other characters "
                "that none may hold");
    }
    return EXECUTR_OK;
}

executr_status ex_transfer_prepare(
    ex_transfer *transfer, const ex_http_request *request, executr_error *err)
{
    char agent[64];
    CURL *easy = transfer->easy;

    executr_status st = check_request(request, err);
    if (st)
        return st;
    transfer->request = *request;
    set_constants(transfer);
    set_body(transfer);
    set_limits(transfer);
    (void)snprintf(agent, sizeof agent, "executr/%s", executr_version());
    if (curl_easy_setopt(easy, CURLOPT_USERAGENT, agent) ||
        curl_easy_setopt(easy, CURLOPT_URL, request->url))
        return ex_fail_nomem(err);
    st = set_no_proxy(easy, err);
    if (!st)
        st = set_headers(transfer, err);
    return st;
}

void ex_transfer_reset(ex_transfer *transfer)
{
    CURL *easy = transfer->easy;

    curl_easy_reset(easy);
    curl_slist_free_all(transfer->headers);
    ex_http_response_clear(&transfer->own);
    memset(transfer, 0, sizeof *transfer);
    transfer->easy = easy;
}

void ex_transfer_free(ex_transfer *transfer)
{
    if (!transfer)
        return;
    if (transfer->easy)
        ex_transfer_reset(transfer);
    curl_easy_cleanup(transfer->easy);
    ex_free(transfer);
}
