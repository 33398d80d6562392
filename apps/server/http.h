/* SPDX-License-Identifier: MIT */
/*
 * HTTP in front of the API: the only user of the web server library, so that
 * it can be replaced. One thread serves one connection.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "api.h"

typedef struct http_server http_server;

typedef struct http_settings {
    const char *host;
    int64_t port;            /* 0: a free one */
    int64_t max_connections; /* threads */
} http_settings;

/* Listen and serve; E_UNAVAILABLE when the address can't be had. */
executr_status http_open(
    api *a, const http_settings *settings, http_server **out,
    executr_error *err) EXECUTR_CHECKED;

/* The port it listens on. */
int32_t http_port(const http_server *server);

/* Stop accepting, let answers under way end, close. */
void http_close(http_server *server);

#endif
