/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench.h"

#define FIRST_CAPACITY ((size_t)1 << 16)

void wire_open(wire *w, int64_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1;

    w->capacity = FIRST_CAPACITY;
    w->answer = malloc(w->capacity + 1);
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
}

static void send_all(wire *w, struct iovec *parts, int count)
{
    while (count > 0) {
        ssize_t sent = writev(w->fd, parts, count);
        if (sent < 0)
            bench_fail_errno("cannot send");
        while (count > 0 && (size_t)sent >= parts->iov_len) {
            sent -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
}

/* Read on until there are `needed` bytes, or (0) a whole head. */
static size_t receive(wire *w, size_t have, size_t needed)
{
    while (needed ? have < needed : !strstr(w->answer, "\r\n\r\n")) {
        size_t most = needed > w->capacity ? needed : w->capacity;
        if (most > w->capacity || have == w->capacity) {
            w->capacity = most > have ? most : have * 2;
            w->answer = realloc(w->answer, w->capacity + 1);
            if (!w->answer)
                bench_fail("no memory");
        }
        ssize_t got = read(w->fd, w->answer + have, w->capacity - have);
        if (got <= 0)
            bench_fail("the server closed the connection");
        have += (size_t)got;
        w->answer[have] = '\0';
    }
    return have;
}

int wire_call(
    wire *w, const char *method, const char *path, const char *body,
    size_t length)
{
    char head[256];
    int head_length = snprintf(
        head, sizeof head,
        "%s /api/v1%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        method, path, length);
    struct iovec parts[2] = {
        {head, (size_t)head_length}, {(char *)(uintptr_t)body, length}};

    send_all(w, parts, length ? 2 : 1);
    w->answer[0] = '\0';
    size_t have = receive(w, 0, 0);
    size_t head_end = (size_t)(strstr(w->answer, "\r\n\r\n") - w->answer) + 4;
    const char *size = strcasestr(w->answer, "\r\nContent-Length:");
    size_t expected = 0;
    if (size && size < w->answer + head_end)
        expected = strtoull(size + 17, NULL, 10);
    if (have < head_end + expected)
        receive(w, have, head_end + expected);
    w->body = w->answer + head_end;
    return (int)strtol(w->answer + 9, NULL, 10);
}

const char *wire_find(const char *from, const char *key)
{
    const char *at = strstr(from, key);

    return at ? at + strlen(key) : NULL;
}
