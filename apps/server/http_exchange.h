/* SPDX-License-Identifier: MIT */
/* One request on its way: what reading it and answering it share. */
#ifndef SERVER_HTTP_EXCHANGE_H
#define SERVER_HTTP_EXCHANGE_H

#include "api.h"

struct mg_connection;
struct mg_request_info;

typedef struct exchange {
    struct mg_connection *connection;
    const struct mg_request_info *info;
    const api_route *route;
    int64_t limit;    /* of the body */
    int64_t got;      /* bytes of body read */
    int64_t deadline; /* monotonic µs */
    int32_t whole;    /* the body was read to its end */
    int32_t head;     /* HEAD: no body in the answer */
    int32_t broken;   /* the body has no end that can be found */
} exchange;

/*
 * Send the answer, streamed or whole. The connection ends after it unless the
 * body of the request was read to its end. `a` may be NULL when there is no
 * stream.
 */
void http_send(api *a, exchange *x, api_response *response);

#endif
