/* SPDX-License-Identifier: MIT */
/*
 * The insides of http, shared by its files. libcurl's own header stays out of
 * this one: its handles are void pointers.
 */
#ifndef EX_HTTP_TRANSFER_H
#define EX_HTTP_TRANSFER_H

#include "http.h"

struct curl_slist;

#define EX_LOOKS 4 /* at the speed in one stall_ms */

typedef struct ex_transfer {
    struct ex_transfer *next;
    void *easy; /* CURL, kept from request to request: it is dear to make */
    struct curl_slist *headers;
    ex_http_request request;
    uint64_t id;
    ex_http_done done;
    void *ctx;
    ex_http_response own;
    ex_http_response *response; /* `own`, or that of ex_http_call */
    executr_status failed;      /* what our own callbacks found wrong */
    executr_error failure;
    int32_t begun;    /* request.begin was called */
    int32_t cut;      /* enough of an error's body was kept */
    int64_t received; /* bytes of the answer */
    int64_t sent;     /* bytes of a streamed body */
    int64_t header_bytes;
    int64_t check_at_us;   /* next look at the speed; 0: none */
    int64_t checked_bytes; /* moved until the last look */
    int32_t slow;          /* looks in a row that found it too slow */
    char refused[64];      /* an address that refuse_local kept us from */
    char words[256];       /* CURL_ERROR_SIZE */
} ex_transfer;

struct ex_http {
    void *multi; /* CURLM */
    int epoll_fd;
    int timer_fd;
    int wake_fd;        /* eventfd; written by any thread */
    int64_t curl_at_us; /* when libcurl wants to be called; 0: not */
    int64_t armed_us;   /* what the timer is set to; 0: nothing */
    ex_transfer *active;
    ex_transfer *idle; /* kept for the next requests */
    size_t idle_count;
    uint64_t last_id;
};

/* Have it connect to no link-local address and no metadata service. */
void ex_transfer_refuse_local(ex_transfer *transfer);

/* Make the easy handle do `request`. */
executr_status ex_transfer_prepare(
    ex_transfer *transfer, const ex_http_request *request,
    executr_error *err) EXECUTR_CHECKED;

/* The HTTP status so far; 0 before there is one. */
int32_t ex_transfer_status(ex_transfer *transfer);

/* Tell a streamed answer's head, once; anything but 0 stops it. */
int32_t ex_transfer_begin(ex_transfer *transfer);

/* Fill the response from the handle and turn libcurl's code into ours. */
executr_status ex_transfer_result(
    ex_transfer *transfer, int32_t code, executr_error *err) EXECUTR_CHECKED;

/* E_TIMEOUT when it has been too slow for its stall_ms, else OK. */
executr_status ex_transfer_check_speed(
    ex_transfer *transfer, int64_t now_us, executr_error *err) EXECUTR_CHECKED;

/* Forget the request; the easy handle stays for the next one. */
void ex_transfer_reset(ex_transfer *transfer);
void ex_transfer_free(ex_transfer *transfer);

#endif
