/* SPDX-License-Identifier: MIT */
/* A client and a scripted server for it. */
#ifndef TEST_CLIENT_BENCH_H
#define TEST_CLIENT_BENCH_H

#include <executr/client.h>

#include "support/http_fixture.h"

#define ID1 "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"
#define ID2 "0192f0c1-7a7e-7cc3-98c4-dc0c0c073990"
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define JOB(id)                                                                \
    "{\"id\":\"" id "\",\"type\":\"t\",\"binary_url\":\"http://h/b\","         \
    "\"binary_sha256\":\"" ABC "\",\"arguments\":[\"a\",\"b c\"],"             \
    "\"env_variables\":{\"K\":\"v\"},\"priority\":\"foreground\","             \
    "\"exclusive\":false,\"status\":\"running\",\"max_retries\":2,"            \
    "\"retry_count\":1,\"attempt\":3,\"executor_id\":\"e-1\","                 \
    "\"created_at\":\"2026-01-01T12:00:00.123456Z\"}"

extern http_fixture *server;
extern executr_client *client;
extern executr_jobs *jobs; /* freed at the end */
extern executr_error err;

/* For TestSuite's .init and .fini. */
void client_setup(void);
void client_teardown(void);

executr_client *open_client(const char *url, const char *token);

/* From now on everything is answered so. */
void answer(int status, const char *body);

/* Does the last request begin with this line? Does its body hold this? */
int sent_to(const char *line);
int sent(const char *text);

/* An executr_write into an ex_buf. */
int32_t add_text(void *ctx, const void *data, size_t length);

#endif
