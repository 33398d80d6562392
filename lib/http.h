/* SPDX-License-Identifier: MIT */
/*
 * HTTP requests over libcurl, many at a time on one epoll descriptor, or one
 * at a time for those who can wait. Only http and https, at most five
 * redirects (only where asked for), no content encodings, no credentials to
 * other hosts; the limits on size and time are counted here, not by libcurl.
 */
#ifndef EX_HTTP_H
#define EX_HTTP_H

#include "base/buf.h"

typedef struct ex_http ex_http; /* one thread at a time */

/* What a streamed answer says of itself. */
typedef struct ex_http_head {
    int32_t status;            /* 2xx */
    int64_t length;            /* of what comes; -1: unknown */
    const char *etag;          /* "" when it has none, and for the others */
    const char *last_modified; /* all three last for the call */
    const char *content_range;
} ex_http_head;

typedef struct ex_http_request {
    const char *method; /* "GET", … */
    const char *url;
    const char *token;          /* Authorization: Bearer …; or NULL */
    const char *const *headers; /* "Name: value", NULL at the end; or NULL */
    const void *body;           /* kept until the end by the caller; or NULL */
    size_t body_length;
    executr_read read; /* streamed body instead; or NULL */
    void *read_ctx;
    int64_t read_length; /* its length, -1: chunked */
    /* streamed answer, only for status 2xx; NULL: the response keeps it */
    executr_write write;
    void *write_ctx;
    int64_t max_bytes;  /* of the answer; 0: 64 MiB */
    int64_t timeout_ms; /* of the whole; 0: none */
    int64_t stall_ms;   /* slower than 100 bytes/s so long; 0: none */
    int64_t connect_ms; /* 0: 10 s */
    int32_t redirects;  /* 1: follow up to five; never with a token */
    /* 1: refuse the addresses that machines talk to about themselves */
    int32_t refuse_local;
    int32_t close; /* 1: keep no connection for the next request */
    /* Told the head of a streamed answer before its first byte, with
     * write_ctx; anything but 0 stops the request. Or NULL. */
    int32_t (*begin)(void *ctx, const ex_http_head *head);
    /* Asked by ex_http_call after every wait (see ex_http_wake); anything but
     * 0 ends it with E_CANCELLED. With write_ctx; or NULL. */
    int32_t (*stopped)(void *ctx);
} ex_http_request;

typedef struct ex_http_response {
    int32_t status;         /* HTTP status; 0 if there was no answer */
    ex_buf body;            /* of an error: its first 64 KiB */
    ex_buf link;            /* the Link header, for paging */
    int64_t retry_after_ms; /* -1: none */
    int64_t content_length; /* -1: unknown */
} ex_http_response;

executr_status ex_http_open(ex_http **out, executr_error *err) EXECUTR_CHECKED;
void ex_http_free(ex_http *http); /* ends what is under way without callback */

/*
 * The end of a request, told by ex_http_step. `status` is OK when an answer
 * with any HTTP status came, whole; else E_UNAVAILABLE (no connection, reset,
 * short), E_TIMEOUT, E_TOO_LARGE, E_CALLBACK, E_PROTOCOL (not HTTP, a bad
 * certificate, a redirect to elsewhere). The response lasts for the callback,
 * which may start new requests; read, write and length may not.
 */
typedef void (*ex_http_done)(
    void *ctx, executr_status status, const ex_http_response *response,
    const executr_error *err);

/*
 * Start; the request struct is copied, its url and headers too, the body is
 * borrowed until the end. *id names it for ex_http_cancel (may be NULL).
 * E_ARGUMENT: a URL that is not http or https, a token that is not one word.
 */
executr_status ex_http_start(
    ex_http *http, const ex_http_request *request, ex_http_done done, void *ctx,
    uint64_t *id, executr_error *err) EXECUTR_CHECKED;

/* Drop a request; its callback is not called. Unknown ids are fine. */
void ex_http_cancel(ex_http *http, uint64_t id);

/* Readable when ex_http_step has work. */
int ex_http_fd(const ex_http *http);

/* Move everything on, waiting up to timeout_ms (0: not, -1: for ever). */
executr_status ex_http_step(
    ex_http *http, int64_t timeout_ms, executr_error *err) EXECUTR_CHECKED;

/* Start one, wait for its end. The caller clears the response. */
executr_status ex_http_call(
    ex_http *http, const ex_http_request *request, ex_http_response *response,
    executr_error *err) EXECUTR_CHECKED;
void ex_http_response_clear(ex_http_response *response);

/* Any thread: the ex_http_call under way asks `stopped` soon. */
void ex_http_wake(ex_http *http);

/* Append a URL for messages: without user, password and query, which are
 * secrets more often than not. */
void ex_http_show_url(ex_buf *out, const char *url);

#endif
