/* SPDX-License-Identifier: MIT */
/* A scripted HTTP server: one thread accepts, one each serves a connection. */
#include "support/http_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SCRIPTS 64
#define MAX_URLS 64
#define MAX_CONNECTIONS 512
#define HEAD_SIZE 65536

struct http_fixture {
    pthread_mutex_t mutex;
    pthread_cond_t idle; /* a connection's thread has ended */
    pthread_t acceptor;
    int listener;
    int port;
    int stopping;
    int serving;
    int fds[MAX_CONNECTIONS];
    int fd_count;
    http_script scripts[MAX_SCRIPTS];
    size_t script_count;
    char *urls[MAX_URLS];
    size_t url_count;
    int requests;
    int connections;
    char *head;
    char *body;
    const char *keep; /* a path */
    char *kept;
    int kept_count;
};

typedef struct connection {
    http_fixture *fixture;
    int fd;
    char *buffer; /* what was received and not used yet */
    size_t length;
} connection;

static void die(const char *what)
{
    perror(what);
    _exit(70);
}

static void *check(void *memory)
{
    if (!memory)
        die("malloc");
    return memory;
}

/* Wait, unless the fixture stops. */
static void wait_ms(http_fixture *f, int ms)
{
    for (; ms > 0 && !__atomic_load_n(&f->stopping, __ATOMIC_SEQ_CST);
         ms -= 10) {
        struct timespec t = {0, (ms < 10 ? ms : 10) * 1000000L};
        nanosleep(&t, NULL);
    }
}

static int send_all(int fd, const void *data, size_t length)
{
    const char *at = data;

    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return -1;
        at += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static int receive(connection *c)
{
    c->buffer = check(realloc(c->buffer, c->length + 65536 + 1));
    ssize_t got = recv(c->fd, c->buffer + c->length, 65536, 0);
    if (got <= 0)
        return -1;
    c->length += (size_t)got;
    c->buffer[c->length] = '\0';
    return 0;
}

static size_t content_length(const char *head)
{
    const char *line = strcasestr(head, "\r\nContent-Length:");

    return line ? strtoul(line + 17, NULL, 10) : 0;
}

static int is_kept(const http_fixture *f)
{
    const char *path = strchr(f->head, ' ');

    return f->keep && path &&
           strncmp(path + 1, f->keep, strlen(f->keep)) == 0 &&
           path[1 + strlen(f->keep)] == ' ';
}

/* Receive one request and keep it; 0, or -1 at the end of the connection. */
static int receive_request(connection *c)
{
    http_fixture *f = c->fixture;
    char *end = c->length ? strstr(c->buffer, "\r\n\r\n") : NULL;

    while (!end) {
        if (c->length > HEAD_SIZE || receive(c))
            return -1;
        end = strstr(c->buffer, "\r\n\r\n");
    }
    size_t head = (size_t)(end - c->buffer) + 4;
    char *text = check(strndup(c->buffer, head));
    size_t body = content_length(text);
    while (c->length < head + body) {
        if (receive(c)) {
            free(text);
            return -1;
        }
    }
    pthread_mutex_lock(&f->mutex);
    free(f->head);
    free(f->body);
    f->head = text;
    f->body = check(calloc(1, body + 1));
    memcpy(f->body, c->buffer + head, body);
    f->requests++;
    if (is_kept(f)) {
        free(f->kept);
        f->kept = check(strdup(f->body));
        f->kept_count++;
    }
    pthread_mutex_unlock(&f->mutex);
    c->length -= head + body;
    memmove(c->buffer, c->buffer + head + body, c->length + 1);
    return 0;
}

static int fits(const http_script *s, const char *head)
{
    size_t method = strcspn(head, " ");
    const char *path = head + method + 1;
    size_t length = strcspn(path, " ?");

    if (s->method &&
        (strlen(s->method) != method || strncmp(s->method, head, method) != 0))
        return 0;
    return !s->path ||
           (strlen(s->path) == length && strncmp(s->path, path, length) == 0);
}

/* The rest of the body, if that is asked for, and of this version. */
static void choose_range(http_script *s, const char *head, char range[128])
{
    const char *line = strcasestr(head, "\r\nRange: bytes=");
    const char *version = strcasestr(head, "\r\nIf-Range: ");
    char wanted[256];

    range[0] = '\0';
    if (!s->ranges || !line)
        return;
    if (version) {
        snprintf(
            wanted, sizeof wanted, "%.*s", (int)strcspn(version + 12, "\r"),
            version + 12);
        if (!s->headers || !strstr(s->headers, wanted))
            return;
    }
    size_t first = strtoul(line + 15, NULL, 10);
    if (first >= s->length) {
        s->status = 416;
        s->length = 0;
        return;
    }
    snprintf(
        range, 128, "Content-Range: bytes %zu-%zu/%zu\r\n", first,
        s->length - 1, s->length);
    s->status = 206;
    s->body = (const char *)s->body + first;
    s->length -= first;
}

static void choose(
    http_fixture *f, http_script *out, int *is_head, char range[128])
{
    static const http_script missing = {.status = 404, .body = "not here"};

    pthread_mutex_lock(&f->mutex);
    *out = missing;
    for (size_t i = f->script_count; i-- > 0;) {
        if (fits(&f->scripts[i], f->head)) {
            *out = f->scripts[i];
            if (out->cuts && f->scripts[i].cut && --f->scripts[i].cuts == 0)
                f->scripts[i].cut = 0;
            break;
        }
    }
    *is_head = strncmp(f->head, "HEAD ", 5) == 0;
    if (!out->status)
        out->status = 200;
    if (!out->body)
        out->body = "";
    if (!out->length)
        out->length = strlen(out->body);
    choose_range(out, f->head, range);
    pthread_mutex_unlock(&f->mutex);
}

static int send_head(connection *c, const http_script *s, const char *range)
{
    char head[8192];
    char sizes[64] = "";

    if (s->chunked)
        snprintf(sizes, sizeof sizes, "Transfer-Encoding: chunked\r\n");
    else if (!s->unsized && !s->endless && s->status != 204)
        snprintf(sizes, sizeof sizes, "Content-Length: %zu\r\n", s->length);
    int length = snprintf(
        head, sizeof head, "HTTP/1.1 %d Scripted\r\n%s%s%s\r\n", s->status,
        sizes, range, s->headers ? s->headers : "");
    return send_all(c->fd, head, (size_t)length);
}

static int send_piece(
    connection *c, const http_script *s, const char *data, size_t length)
{
    char size[32];

    if (!s->chunked)
        return send_all(c->fd, data, length);
    int digits = snprintf(size, sizeof size, "%zx\r\n", length);
    return send_all(c->fd, size, (size_t)digits) ||
           send_all(c->fd, data, length) || send_all(c->fd, "\r\n", 2);
}

/* The body as scripted; -1 to close the connection. */
static int send_body(connection *c, const http_script *s)
{
    size_t step = s->drip ? s->drip : s->length;
    size_t sent = 0;

    while (sent < s->length &&
           !__atomic_load_n(&c->fixture->stopping, __ATOMIC_SEQ_CST)) {
        size_t length = s->length - sent < step ? s->length - sent : step;
        if (s->cut && sent + length > s->cut)
            length = s->cut - sent;
        if (length && send_piece(c, s, (const char *)s->body + sent, length))
            return -1;
        sent += length;
        if (s->cut && sent >= s->cut)
            return -1;
        if (s->drip)
            wait_ms(c->fixture, s->drip_ms);
        if (s->endless && sent == s->length)
            sent = 0;
    }
    return s->chunked ? send_all(c->fd, "0\r\n\r\n", 5) : 0;
}

/* Answer one request; -1 to close the connection. */
static int answer(connection *c)
{
    http_script s;
    char range[128];
    int is_head;

    choose(c->fixture, &s, &is_head, range);
    wait_ms(c->fixture, s.hang ? 3600000 : s.delay_ms);
    if (s.drop || s.hang)
        return -1;
    if (s.raw) {
        send_all(c->fd, s.raw, strlen(s.raw));
        return -1;
    }
    if (send_head(c, &s, range) || (!is_head && send_body(c, &s)))
        return -1;
    return s.close || s.unsized || s.endless ? -1 : 0;
}

static void forget_fd(http_fixture *f, int fd)
{
    for (int i = 0; i < f->fd_count; i++) {
        if (f->fds[i] == fd) {
            f->fds[i] = f->fds[--f->fd_count];
            return;
        }
    }
}

static void *serve(void *memory)
{
    connection *c = memory;
    http_fixture *f = c->fixture;

    while (receive_request(c) == 0 && answer(c) == 0)
        continue;
    pthread_mutex_lock(&f->mutex);
    forget_fd(f, c->fd);
    shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
    f->serving--;
    pthread_cond_signal(&f->idle);
    pthread_mutex_unlock(&f->mutex);
    free(c->buffer);
    free(c);
    return NULL;
}

static void begin_serving(http_fixture *f, int fd)
{
    pthread_t thread;
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_mutex_lock(&f->mutex);
    if (f->stopping || f->fd_count == MAX_CONNECTIONS) {
        close(fd);
        pthread_mutex_unlock(&f->mutex);
        return;
    }
    connection *c = check(calloc(1, sizeof *c));
    c->fixture = f;
    c->fd = fd;
    f->fds[f->fd_count++] = fd;
    f->connections++;
    f->serving++;
    if (pthread_create(&thread, NULL, serve, c))
        die("pthread_create");
    pthread_detach(thread);
    pthread_mutex_unlock(&f->mutex);
}

static void *accept_all(void *memory)
{
    http_fixture *f = memory;

    for (;;) {
        int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            begin_serving(f, fd);
        else if (__atomic_load_n(&f->stopping, __ATOMIC_SEQ_CST))
            return NULL;
    }
}

http_fixture *http_fixture_start(void)
{
    http_fixture *f = check(calloc(1, sizeof *f));
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->idle, NULL);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->listener < 0 ||
        bind(f->listener, (struct sockaddr *)&address, sizeof address) ||
        listen(f->listener, 256) ||
        getsockname(f->listener, (struct sockaddr *)&address, &length))
        die("listen");
    f->port = ntohs(address.sin_port);
    f->head = check(strdup(""));
    f->body = check(strdup(""));
    if (pthread_create(&f->acceptor, NULL, accept_all, f))
        die("pthread_create");
    return f;
}

void http_fixture_stop(http_fixture *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->mutex);
    __atomic_store_n(&f->stopping, 1, __ATOMIC_SEQ_CST);
    shutdown(f->listener, SHUT_RDWR);
    for (int i = 0; i < f->fd_count; i++)
        shutdown(f->fds[i], SHUT_RDWR);
    pthread_mutex_unlock(&f->mutex);
    pthread_join(f->acceptor, NULL);
    pthread_mutex_lock(&f->mutex);
    while (f->serving)
        pthread_cond_wait(&f->idle, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
    close(f->listener);
    for (size_t i = 0; i < f->url_count; i++)
        free(f->urls[i]);
    free(f->head);
    free(f->body);
    free(f->kept);
    free(f);
}

void http_fixture_add(http_fixture *f, const http_script *script)
{
    pthread_mutex_lock(&f->mutex);
    if (f->script_count == MAX_SCRIPTS)
        die("too many scripts");
    f->scripts[f->script_count++] = *script;
    pthread_mutex_unlock(&f->mutex);
}

const char *http_fixture_url(http_fixture *f, const char *path)
{
    char *url;

    pthread_mutex_lock(&f->mutex);
    if (f->url_count == MAX_URLS ||
        asprintf(&url, "http://127.0.0.1:%d%s", f->port, path) < 0)
        die("too many URLs");
    f->urls[f->url_count++] = url;
    pthread_mutex_unlock(&f->mutex);
    return url;
}

static int read_count(http_fixture *f, const int *count)
{
    pthread_mutex_lock(&f->mutex);
    int value = *count;
    pthread_mutex_unlock(&f->mutex);
    return value;
}

int http_fixture_requests(http_fixture *f)
{
    return read_count(f, &f->requests);
}

int http_fixture_connections(http_fixture *f)
{
    return read_count(f, &f->connections);
}

const char *http_fixture_head(http_fixture *f)
{
    return f->head;
}

const char *http_fixture_body(http_fixture *f)
{
    return f->body;
}

void http_fixture_keep(http_fixture *f, const char *path)
{
    pthread_mutex_lock(&f->mutex);
    f->keep = path;
    f->kept_count = 0;
    pthread_mutex_unlock(&f->mutex);
}

int http_fixture_kept(http_fixture *f, char *out, size_t size)
{
    pthread_mutex_lock(&f->mutex);
    snprintf(out, size, "%s", f->kept ? f->kept : "");
    int count = f->kept_count;
    pthread_mutex_unlock(&f->mutex);
    return count;
}
