/* SPDX-License-Identifier: MIT */
/*
 * Opens and closes what requests run on; hides how libcurl's sockets and timer
 * come to stand behind one epoll descriptor.
 */
#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/time.h"
#include "http_transfer.h"

#define KEPT_CONNECTIONS 8L

/* libcurl's own global state, set up once a process. */
static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void global_setup(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    ex_http *http = ctx;

    (void)multi;
    http->curl_at_us =
        timeout_ms < 0 ? 0 : ex_monotonic_us() + timeout_ms * INT64_C(1000);
    return 0;
}

static int on_socket(
    CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    ex_http *http = ctx;
    struct epoll_event event = {.data.fd = fd};

    (void)easy;
    (void)socket_ctx;
    if (what == CURL_POLL_REMOVE) {
        /* It may be closed already, and so be gone. */
        epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    if (what & CURL_POLL_IN)
        event.events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        event.events |= EPOLLOUT;
    if (epoll_ctl(http->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    if (errno != ENOENT)
        return -1;
    return epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static executr_status open_multi(ex_http *http, executr_error *err)
{
    http->multi = curl_multi_init();
    if (!http->multi)
        return ex_fail_nomem(err);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
    return EXECUTR_OK;
}

static executr_status watch(ex_http *http, int fd, executr_error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return ex_fail_errno(err, errno, "epoll_ctl");
    return EXECUTR_OK;
}

static executr_status open_descriptors(ex_http *http, executr_error *err)
{
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (http->epoll_fd < 0)
        return ex_fail_errno(err, errno, "epoll_create1");
    http->timer_fd =
        timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (http->timer_fd < 0)
        return ex_fail_errno(err, errno, "timerfd_create");
    http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (http->wake_fd < 0)
        return ex_fail_errno(err, errno, "eventfd");
    executr_status st = watch(http, http->timer_fd, err);
    return st ? st : watch(http, http->wake_fd, err);
}

executr_status ex_http_open(ex_http **out, executr_error *err)
{
    void *memory;

    *out = NULL;
    pthread_once(&global_once, global_setup);
    if (global_result)
        return ex_fail(
            err, EXECUTR_E_INTERNAL, "cannot start libcurl: %s",
            curl_easy_strerror(global_result));
    executr_status st = ex_alloc(&memory, sizeof(ex_http), err);
    if (st)
        return st;
    ex_http *http = memory;
    http->epoll_fd = -1;
    http->timer_fd = -1;
    http->wake_fd = -1;
    st = open_multi(http, err);
    if (!st)
        st = open_descriptors(http, err);
    if (st)
        ex_http_free(http);
    else
        *out = http;
    return st;
}

static void free_list(ex_transfer *list)
{
    while (list) {
        ex_transfer *next = list->next;
        ex_transfer_free(list);
        list = next;
    }
}

void ex_http_free(ex_http *http)
{
    if (!http)
        return;
    for (ex_transfer *t = http->active; t; t = t->next)
        curl_multi_remove_handle(http->multi, t->easy);
    free_list(http->active);
    free_list(http->idle);
    curl_multi_cleanup(http->multi);
    if (http->timer_fd >= 0)
        close(http->timer_fd);
    if (http->wake_fd >= 0)
        close(http->wake_fd);
    if (http->epoll_fd >= 0)
        close(http->epoll_fd);
    ex_free(http);
}
