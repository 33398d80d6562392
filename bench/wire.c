/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define FIRST_CAPACITY ((size_t)1 << 12)
#define HEAD_ROOM ((size_t)256)
#define EVENTS 256

void wire_open(wire *w, int64_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1;

    w->capacity = FIRST_CAPACITY;
    w->answer = malloc(w->capacity + 1);
    w->request = NULL;
    w->request_capacity = 0;
    w->unsent = 0;
    w->due = 0;
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!w->answer || w->fd < 0 ||
        connect(w->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        bench_fail_errno("cannot connect to the server");
}

void wire_close(wire *w)
{
    close(w->fd);
    free(w->answer);
    free(w->request);
}

char *wire_body(wire *w, size_t most)
{
    if (w->request_capacity < HEAD_ROOM + most) {
        w->request_capacity = HEAD_ROOM + most;
        w->request = realloc(w->request, w->request_capacity);
        if (!w->request)
            bench_fail("no memory");
    }
    return w->request + HEAD_ROOM;
}

/* Send what the socket takes. */
static void flush(wire *w)
{
    while (w->unsent > 0) {
        ssize_t sent =
            send(w->fd, w->request + w->sent, w->unsent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            bench_fail_errno("cannot send");
        w->sent += (size_t)sent;
        w->unsent -= (size_t)sent;
    }
}

/* The head goes right before the body, so that one call sends both. */
void wire_begin(wire *w, const char *method, const char *path, size_t length)
{
    char head[HEAD_ROOM];
    char *body = wire_body(w, length);

    int head_length = snprintf(
        head, sizeof head,
        "%s /api/v1%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        method, path, length);
    if (head_length < 0 || (size_t)head_length >= sizeof head)
        bench_fail("the path is too long: %s", path);
    memcpy(body - head_length, head, (size_t)head_length);
    w->sent = HEAD_ROOM - (size_t)head_length;
    w->unsent = (size_t)head_length + length;
    w->have = 0;
    w->whole = 0;
    w->due = 1;
    flush(w);
}

/* Learn from a head, once it is there, how long the answer is. */
static void look_at_head(wire *w)
{
    w->answer[w->have] = '\0';
    char *end = strstr(w->answer, "\r\n\r\n");
    if (!end)
        return;
    *end = '\0';
    const char *size = strcasestr(w->answer, "\r\nContent-Length:");
    w->status = (int)strtol(w->answer + 9, NULL, 10);
    w->body = end + 4;
    w->whole = (size_t)(w->body - w->answer) +
               (size ? strtoull(size + 17, NULL, 10) : 0);
}

static void make_room(wire *w)
{
    size_t needed = w->whole > w->have ? w->whole : w->have + 1;

    if (needed <= w->capacity)
        return;
    size_t body = w->whole ? (size_t)(w->body - w->answer) : 0;
    w->capacity = needed > w->capacity * 2 ? needed : w->capacity * 2;
    w->answer = realloc(w->answer, w->capacity + 1);
    if (!w->answer)
        bench_fail("no memory");
    w->body = w->answer + body;
}

/* Read on; 1 once the answer is whole, 0 if there is nothing more yet. */
static int receive(wire *w)
{
    while (w->whole == 0 || w->have < w->whole) {
        make_room(w);
        ssize_t got =
            recv(w->fd, w->answer + w->have, w->capacity - w->have, 0);
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got <= 0)
            bench_fail("the server closed the connection");
        w->have += (size_t)got;
        if (w->whole == 0)
            look_at_head(w);
    }
    w->answer[w->have] = '\0';
    w->due = 0;
    return 1;
}

int wire_call(wire *w, const char *method, const char *path, size_t length)
{
    wire_begin(w, method, path, length);
    if (!receive(w))
        bench_fail("a connection of a crowd was used alone");
    return w->status;
}

const char *wire_find(const char *from, const char *key)
{
    const char *at = strstr(from, key);

    return at ? at + strlen(key) : NULL;
}

void crowd_open(crowd *c)
{
    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll_fd < 0)
        bench_fail_errno("cannot make an epoll");
}

void crowd_close(crowd *c)
{
    close(c->epoll_fd);
}

/* Edges are enough: nothing is read between an answer and the next call, and
 * each answer makes one. */
void crowd_join(crowd *c, wire *w, int64_t port)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data = {.ptr = w}};

    wire_open(w, port);
    if (fcntl(w->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, w->fd, &event) != 0)
        bench_fail_errno("cannot watch a connection");
}

void crowd_wait(crowd *c, int timeout_ms)
{
    struct epoll_event events[EVENTS];

    int count = epoll_wait(c->epoll_fd, events, EVENTS, timeout_ms);
    if (count < 0 && errno != EINTR)
        bench_fail_errno("cannot wait for answers");
    for (int i = 0; i < count; i++) {
        wire *w = events[i].data.ptr;
        flush(w);
        if (events[i].events == EPOLLOUT)
            continue;
        if (!w->due)
            bench_fail("the server closed a connection");
        if (receive(w))
            w->answered(w);
    }
}
