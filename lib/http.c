/* SPDX-License-Identifier: MIT */
/* Runs requests side by side: starts them, moves them on, ends them. */
#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/time.h"
#include "http_transfer.h"

#define EVENTS 32
#define KEPT_IDLE 4 /* handles */

/* The timer fires when libcurl or the next look at a speed is due. */
static void arm_timer(ex_http *http)
{
    int64_t at = http->curl_at_us;

    for (ex_transfer *t = http->active; t; t = t->next) {
        if (t->check_at_us && (!at || t->check_at_us < at))
            at = t->check_at_us;
    }
    if (at == http->armed_us)
        return;
    struct itimerspec when = {
        .it_value = {.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000}};
    /* Fails for nothing but bad arguments. */
    timerfd_settime(http->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    http->armed_us = at;
}

static executr_status take_transfer(
    ex_http *http, ex_transfer **out, executr_error *err)
{
    void *memory;

    *out = http->idle;
    if (http->idle) {
        http->idle = http->idle->next;
        http->idle_count--;
        (*out)->next = NULL;
        return EXECUTR_OK;
    }
    executr_status st = ex_alloc(&memory, sizeof(ex_transfer), err);
    if (st)
        return st;
    ex_transfer *transfer = memory;
    transfer->easy = curl_easy_init();
    if (!transfer->easy) {
        ex_transfer_free(transfer);
        ex_fail_nomem(err);
        return EXECUTR_E_NOMEM; /* a constant, for the optimiser to see */
    }
    *out = transfer;
    return EXECUTR_OK;
}

static void give_transfer(ex_http *http, ex_transfer *transfer)
{
    if (http->idle_count == KEPT_IDLE) {
        ex_transfer_free(transfer);
        return;
    }
    ex_transfer_reset(transfer);
    transfer->next = http->idle;
    http->idle = transfer;
    http->idle_count++;
}

/* Take a transfer out of libcurl's and our hands; its memory stays. */
static void remove_transfer(ex_http *http, ex_transfer *transfer)
{
    ex_transfer **link = &http->active;

    while (*link && *link != transfer)
        link = &(*link)->next;
    if (*link)
        *link = transfer->next;
    transfer->next = NULL;
    curl_multi_remove_handle(http->multi, transfer->easy);
}

static void init_response(ex_http_response *response)
{
    memset(response, 0, sizeof *response);
    ex_buf_init(&response->body, EX_BUF_UNLIMITED); /* max_bytes limits it */
    ex_buf_init(&response->link, 8192);
    response->retry_after_ms = -1;
    response->content_length = -1;
}

void ex_http_response_clear(ex_http_response *response)
{
    ex_buf_clear(&response->body);
    ex_buf_clear(&response->link);
    init_response(response);
}

/* `response` is where the answer goes, NULL for the transfer's own. */
static executr_status start(
    ex_http *http, const ex_http_request *request, ex_http_response *response,
    ex_transfer **out, executr_error *err)
{
    ex_transfer *transfer;

    executr_status st = take_transfer(http, &transfer, err);
    if (st)
        return st;
    init_response(&transfer->own);
    transfer->response = response ? response : &transfer->own;
    st = ex_transfer_prepare(transfer, request, err);
    if (st)
        goto done;
    CURLMcode code = curl_multi_add_handle(http->multi, transfer->easy);
    if (code) {
        st = EXECUTR_E_INTERNAL;
        ex_fail(
            err, st, "cannot start a request: %s", curl_multi_strerror(code));
        goto done;
    }
    transfer->id = ++http->last_id;
    transfer->next = http->active;
    http->active = transfer;
    arm_timer(http);
    *out = transfer;
    transfer = NULL;
done:
    if (transfer)
        give_transfer(http, transfer);
    return st;
}

executr_status ex_http_start(
    ex_http *http, const ex_http_request *request, ex_http_done done, void *ctx,
    uint64_t *id, executr_error *err)
{
    ex_transfer *transfer = NULL;

    executr_status st = start(http, request, NULL, &transfer, err);
    if (st)
        return st;
    transfer->done = done;
    transfer->ctx = ctx;
    if (id)
        *id = transfer->id;
    return EXECUTR_OK;
}

void ex_http_cancel(ex_http *http, uint64_t id)
{
    ex_transfer *transfer = http->active;

    while (transfer && transfer->id != id)
        transfer = transfer->next;
    if (!transfer)
        return;
    remove_transfer(http, transfer);
    give_transfer(http, transfer);
    arm_timer(http);
}

int ex_http_fd(const ex_http *http)
{
    return http->epoll_fd;
}

/* The callback comes last: it may start and cancel requests. */
static void end(
    ex_http *http, ex_transfer *transfer, executr_status status,
    const executr_error *err)
{
    remove_transfer(http, transfer);
    transfer->done(transfer->ctx, status, transfer->response, err);
    give_transfer(http, transfer);
}

static void end_finished(ex_http *http)
{
    executr_error err;
    int left;

    for (;;) {
        CURLMsg *message = curl_multi_info_read(http->multi, &left);
        if (!message)
            return;
        char *owner = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
        ex_transfer *transfer = (void *)owner;
        memset(&err, 0, sizeof err);
        executr_status st =
            ex_transfer_result(transfer, message->data.result, &err);
        end(http, transfer, st, &err);
    }
}

/* A callback may change the list, so each end begins a new walk. */
static void end_stalled(ex_http *http)
{
    executr_error err;
    int64_t now = ex_monotonic_us();
    ex_transfer *transfer = http->active;

    while (transfer) {
        memset(&err, 0, sizeof err);
        executr_status st = ex_transfer_check_speed(transfer, now, &err);
        if (st) {
            end(http, transfer, st, &err);
            transfer = http->active;
        } else {
            transfer = transfer->next;
        }
    }
}

static executr_status act(
    ex_http *http, const struct epoll_event *event, executr_error *err)
{
    int running;
    int bits = 0;

    if (event->data.fd == http->timer_fd)
        return EXECUTR_OK; /* what is due is done after the events */
    if (event->data.fd == http->wake_fd) {
        uint64_t count;
        if (read(http->wake_fd, &count, sizeof count) < 0)
            errno = 0; /* another wait has seen it */
        return EXECUTR_OK;
    }
    if (event->events & EPOLLIN)
        bits |= CURL_CSELECT_IN;
    if (event->events & EPOLLOUT)
        bits |= CURL_CSELECT_OUT;
    if (event->events & (EPOLLERR | EPOLLHUP))
        bits |= CURL_CSELECT_ERR;
    CURLMcode code =
        curl_multi_socket_action(http->multi, event->data.fd, bits, &running);
    if (code)
        return ex_fail(
            err, EXECUTR_E_INTERNAL, "libcurl: %s", curl_multi_strerror(code));
    return EXECUTR_OK;
}

/* What libcurl wanted to do by now; it sets its next time itself. */
static executr_status act_on_time(ex_http *http, executr_error *err)
{
    int running;

    if (!http->curl_at_us || ex_monotonic_us() < http->curl_at_us)
        return EXECUTR_OK;
    http->curl_at_us = 0;
    CURLMcode code =
        curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    if (code)
        return ex_fail(
            err, EXECUTR_E_INTERNAL, "libcurl: %s", curl_multi_strerror(code));
    return EXECUTR_OK;
}

executr_status ex_http_step(
    ex_http *http, int64_t timeout_ms, executr_error *err)
{
    struct epoll_event events[EVENTS];
    int wait = timeout_ms < 0       ? -1
               : timeout_ms > 60000 ? 60000
                                    : (int)timeout_ms;

    int count = epoll_wait(http->epoll_fd, events, EVENTS, wait);
    if (count < 0 && errno != EINTR)
        return ex_fail_errno(err, errno, "epoll_wait");
    executr_status st = EXECUTR_OK;
    for (int i = 0; !st && i < count; i++)
        st = act(http, &events[i], err);
    if (!st)
        st = act_on_time(http, err);
    end_finished(http);
    end_stalled(http);
    http->armed_us = -1; /* a timer that fired has to be set again */
    arm_timer(http);
    return st;
}

typedef struct call {
    int32_t ended;
    executr_status status;
    executr_error err;
} call;

static void call_done(
    void *ctx, executr_status status, const ex_http_response *response,
    const executr_error *err)
{
    call *c = ctx;

    (void)response; /* the caller's own: start() was given it */
    c->ended = 1;
    c->status = status;
    c->err = *err;
}

void ex_http_wake(ex_http *http)
{
    const uint64_t one = 1;

    /* EAGAIN: the counter is at its end, so the wait ends already. */
    if (write(http->wake_fd, &one, sizeof one) < 0)
        errno = 0;
}

executr_status ex_http_call(
    ex_http *http, const ex_http_request *request, ex_http_response *response,
    executr_error *err)
{
    call c = {0};
    ex_transfer *transfer = NULL;

    init_response(response);
    executr_status st = start(http, request, response, &transfer, err);
    if (st)
        return st;
    transfer->done = call_done;
    transfer->ctx = &c;
    uint64_t id = transfer->id;
    while (!st && !c.ended) {
        if (request->stopped && request->stopped(request->write_ctx))
            st = ex_fail(err, EXECUTR_E_CANCELLED, "the request was given up");
        else
            st = ex_http_step(http, -1, err);
    }
    if (st) {
        ex_http_cancel(http, id);
        return st;
    }
    if (c.status && err)
        *err = c.err;
    return c.status;
}
