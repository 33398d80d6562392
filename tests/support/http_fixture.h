/* SPDX-License-Identifier: MIT */
/*
 * A little HTTP server for tests, on a free port of 127.0.0.1, that answers as
 * scripted: well, badly, slowly or for ever. It lives in threads of the test's
 * own process; children forked by a test may call it.
 */
#ifndef TEST_HTTP_FIXTURE_H
#define TEST_HTTP_FIXTURE_H

#include <stddef.h>

typedef struct http_fixture http_fixture;

/* What to answer on one path. Zero is the default of every field. */
typedef struct http_script {
    const char *path;    /* "/tool", without query; NULL: any */
    const char *method;  /* NULL: any */
    int status;          /* 200 */
    const char *headers; /* more of them, each with \r\n at its end */
    const void *body;
    size_t length;   /* 0: strlen of the body */
    int chunked;     /* by Transfer-Encoding, without a length */
    int unsized;     /* without a length, the end closes */
    size_t cut;      /* close when so many bytes of the body were sent */
    int cuts;        /* cut only so many answers; 0: all */
    int ranges;      /* understand "Range: bytes=N-" and If-Range, which has to
                        be found in `headers` */
    size_t drip;     /* send so many bytes at a time */
    int drip_ms;     /* and wait so long after each */
    int endless;     /* send the body again and again; unsized */
    int delay_ms;    /* before the answer */
    int hang;        /* never answer */
    int close;       /* close after the answer, without saying so */
    int drop;        /* close before any answer */
    const char *raw; /* send just this instead, then close */
} http_script;

http_fixture *http_fixture_start(void);
void http_fixture_stop(http_fixture *fixture);

/* Add a script, copied but for what it points to; of those that fit, the one
 * added last counts. Without any, everything is 404. */
void http_fixture_add(http_fixture *fixture, const http_script *script);

/* "http://127.0.0.1:port" + path; lasts as long as the fixture. */
const char *http_fixture_url(http_fixture *fixture, const char *path);

/* How many requests came, and over how many connections. */
int http_fixture_requests(http_fixture *fixture);
int http_fixture_connections(http_fixture *fixture);

/* The head (request line and headers) and body of the last request; "" if
 * there was none. Last until the next request: only for tests in which no other
 * can come meanwhile. */
const char *http_fixture_head(http_fixture *fixture);
const char *http_fixture_body(http_fixture *fixture);

/* From now on the last body sent to this path is kept for itself, whatever
 * else is sent; copy it, and get how many came. */
void http_fixture_keep(http_fixture *fixture, const char *path);
int http_fixture_kept(http_fixture *fixture, char *out, size_t size);

#endif
