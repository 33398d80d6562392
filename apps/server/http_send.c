/* SPDX-License-Identifier: MIT */
/* Puts answers on the wire; hides heads, chunks and readers that went away. */
#include "http_exchange.h"

#include <civetweb.h>

#include "base/fail.h"
#include "base/log.h"
#include "peer.h"

/* About as long as a head is. */
#define HEAD_BYTES 256

static const char *reason_of(int32_t status)
{
    const char *text = mg_get_response_code_text(NULL, status);
    return text ? text : "";
}

/* The head of an answer; `length` -1 means chunked. */
static void put_head(
    ex_buf *out, const api_response *response, int64_t length, int keep)
{
    ex_buf_printf(
        out, "HTTP/1.1 %d %s\r\n", (int)response->status,
        reason_of(response->status));
    if (response->status != 204)
        ex_buf_printf(out, "Content-Type: %s\r\n", response->content_type);
    if (length >= 0 && response->status != 204)
        ex_buf_printf(out, "Content-Length: %lld\r\n", (long long)length);
    else if (response->status != 204)
        ex_buf_puts(out, "Transfer-Encoding: chunked\r\n");
    ex_buf_puts(
        out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    ex_buf_printf(out, "Connection: %s\r\n", keep ? "keep-alive" : "close");
    ex_buf_puts(out, ex_buf_text(&response->headers));
    ex_buf_puts(out, "\r\n");
}

typedef struct stream_target {
    exchange *x;
    int32_t chunked;
    int32_t looked; /* for the socket */
    int socket;     /* or -1 */
} stream_target;

/* Nothing is written, so nothing can fail: ask for the reader itself. */
static int32_t probe(stream_target *target)
{
    const struct mg_request_info *info = target->x->info;
    if (!target->looked)
        target->socket =
            peer_find(info->remote_addr, info->remote_port, info->server_port);
    target->looked = 1;
    return target->socket >= 0 && peer_gone(target->socket) ? -1 : 0;
}

static int32_t stream_write(void *ctx, const void *data, size_t length)
{
    stream_target *target = ctx;
    const char *at = data;
    if (length == 0)
        return probe(target);
    while (length > 0) {
        unsigned piece = length > (1 << 20) ? 1 << 20 : (unsigned)length;
        int n = target->chunked
                    ? mg_send_chunk(target->x->connection, at, piece)
                    : mg_write(target->x->connection, at, piece);
        if (n <= 0)
            return -1;
        at += piece;
        length -= piece;
    }
    return 0;
}

static void send_stream(api *a, exchange *x, api_response *response)
{
    executr_error err;
    ex_buf head;
    stream_target target = {x, response->length < 0, 0, -1};
    ex_buf_init(&head, 65536);
    put_head(&head, response, response->length, 0);
    mg_disable_keep_alive(x->connection);
    int sent = mg_write(x->connection, head.data, head.length);
    ex_buf_clear(&head);
    if (sent <= 0 || x->head)
        return;
    executr_status st =
        response->stream(a, response, stream_write, &target, &err);
    if (st) /* the reader sees a short body; we say why */
        ex_log(
            &a->log,
            err.status == EXECUTR_E_CALLBACK ? EXECUTR_LOG_DEBUG
                                             : EXECUTR_LOG_WARN,
            "answer cut short", "error", err.message, NULL);
    else if (target.chunked)
        mg_send_chunk(x->connection, "", 0);
}

void http_send(api *a, exchange *x, api_response *response)
{
    if (response->body.failed) {
        executr_error err;
        ex_fail_nomem(&err);
        ex_buf_clear(&response->body);
        ex_buf_init(&response->body, 65536);
        api_error(response, &err);
    }
    if (!x->whole)
        mg_disable_keep_alive(x->connection);
    if (response->stream) {
        send_stream(a, x, response);
        return;
    }
    ex_buf out;
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_buf_reserve(&out, HEAD_BYTES + response->body.length);
    put_head(&out, response, (int64_t)response->body.length, x->whole);
    if (!x->head && response->status != 204)
        ex_buf_add(&out, response->body.data, response->body.length);
    /* One write, so that a small answer is one packet. A reader that went
     * away is no error of ours. */
    if (!out.failed)
        mg_write(x->connection, out.data, out.length);
    else
        mg_disable_keep_alive(x->connection);
    ex_buf_clear(&out);
}
