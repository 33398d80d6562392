/* SPDX-License-Identifier: MIT */
/* What comes out of one request; hides libcurl's figures and error codes. */
#include "http_transfer.h"

#include <curl/curl.h>
#include <string.h>

#include "base/fail.h"
#include "base/time.h"

#define SLOWEST 100 /* bytes a second */

void ex_http_show_url(ex_buf *out, const char *url)
{
    const char *host = strstr(url, "://");

    host = host ? host + 3 : url;
    ex_buf_add(out, url, (size_t)(host - url));
    const char *at_sign = memrchr(host, '@', strcspn(host, "/?#"));
    if (at_sign)
        host = at_sign + 1;
    ex_buf_add(out, host, strcspn(host, "?#"));
}

static void put_url(ex_transfer *transfer, ex_buf *out)
{
    char *url = NULL;

    ex_buf_init(out, EX_BUF_UNLIMITED);
    curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &url);
    ex_http_show_url(out, url ? url : "?");
}

/* Bytes moved in both directions, as far as libcurl knows them. */
static int64_t moved_bytes(ex_transfer *transfer)
{
    curl_off_t down = 0;
    curl_off_t up = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
    curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &up);
    return down + up;
}

/*
 * Several looks in a row must find it slow, and time that our own callbacks
 * took counts as one look only: a slow disk is no slow peer.
 */
executr_status ex_transfer_check_speed(
    ex_transfer *transfer, int64_t now_us, executr_error *err)
{
    int64_t stall_ms = transfer->request.stall_ms;

    if (!transfer->check_at_us || now_us < transfer->check_at_us)
        return EXECUTR_OK;
    int64_t moved = moved_bytes(transfer);
    int64_t wanted = stall_ms * SLOWEST / 1000 / EX_LOOKS;
    if (moved - transfer->checked_bytes < (wanted > 0 ? wanted : 1))
        transfer->slow++;
    else
        transfer->slow = 0;
    transfer->checked_bytes = moved;
    transfer->check_at_us = now_us + stall_ms * 1000 / EX_LOOKS;
    if (transfer->slow < EX_LOOKS)
        return EXECUTR_OK;
    ex_buf url;
    put_url(transfer, &url);
    executr_status st = ex_fail(
        err, EXECUTR_E_TIMEOUT,
        "%s: nothing, or next to nothing, came for %lld ms", ex_buf_text(&url),
        (long long)stall_ms);
    ex_buf_clear(&url);
    return st;
}

static executr_status status_of_code(ex_transfer *transfer, int32_t code)
{
    curl_off_t connected = 0;

    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return EXECUTR_E_NOMEM;
    case CURLE_OPERATION_TIMEDOUT:
        /* No connection in time is no server rather than a slow one. */
        curl_easy_getinfo(transfer->easy, CURLINFO_CONNECT_TIME_T, &connected);
        return connected ? EXECUTR_E_TIMEOUT : EXECUTR_E_UNAVAILABLE;
    case CURLE_UNSUPPORTED_PROTOCOL: /* after a redirect, or HTTP/0.9 */
    case CURLE_URL_MALFORMAT:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_BAD_CONTENT_ENCODING:
        return EXECUTR_E_PROTOCOL;
    default:
        return EXECUTR_E_UNAVAILABLE;
    }
}

/* It could go nowhere but to an address that it may not go to. */
static executr_status fail_refused(ex_transfer *transfer, executr_error *err)
{
    ex_buf url;

    put_url(transfer, &url);
    executr_status st = ex_fail(
        err, EXECUTR_E_PROTOCOL,
        "%s leads to %s, which is link-local or a metadata service, and "
        "refused: such addresses tell this machine's own secrets",
        ex_buf_text(&url), transfer->refused);
    ex_buf_clear(&url);
    return st;
}

static executr_status fail_with_code(
    ex_transfer *transfer, int32_t code, executr_error *err)
{
    ex_buf url;
    executr_status status = transfer->failed;
    const char *words = transfer->words;

    if (transfer->refused[0] && !status)
        return fail_refused(transfer, err);
    if (status)
        words = transfer->failure.message;
    else
        status = status_of_code(transfer, code);
    if (!*words)
        words = curl_easy_strerror((CURLcode)code);
    put_url(transfer, &url);
    ex_fail(err, status, "%s: %s", ex_buf_text(&url), words);
    ex_buf_clear(&url);
    if (err)
        err->native = code;
    return status;
}

static void read_answer(ex_transfer *transfer)
{
    ex_http_response *response = transfer->response;
    struct curl_header *link = NULL;
    curl_off_t retry_after = 0;
    curl_off_t length = -1;

    response->status = ex_transfer_status(transfer);
    curl_easy_getinfo(
        transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    response->content_length = length;
    curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
    if (retry_after > 0 && retry_after < INT64_MAX / 1000)
        response->retry_after_ms = retry_after * 1000;
    CURLHcode found =
        curl_easy_header(transfer->easy, "Link", 0, CURLH_HEADER, -1, &link);
    if (found == CURLHE_OK)
        ex_buf_puts(&response->link, link->value);
}

executr_status ex_transfer_result(
    ex_transfer *transfer, int32_t code, executr_error *err)
{
    ex_http_response *response = transfer->response;

    if (code == CURLE_OK || transfer->cut)
        read_answer(transfer);
    else
        return fail_with_code(transfer, code, err);
    executr_status st = ex_buf_status(&response->link, "a Link header", err);
    if (!st)
        st = ex_buf_status(&response->body, "an answer", err);
    /* A streamed answer without any byte has a length, too. */
    if (!st && transfer->request.write && response->status >= 200 &&
        response->status <= 299 && ex_transfer_begin(transfer))
        st = ex_fail(err, EXECUTR_E_CALLBACK, "stopped by its reader");
    return st;
}
