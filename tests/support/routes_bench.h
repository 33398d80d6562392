/* SPDX-License-Identifier: MIT */
/* The routes of the server as functions, over a store of their own. */
#ifndef TEST_ROUTES_BENCH_H
#define TEST_ROUTES_BENCH_H

#include "apps/server/api.h"

#define SHA "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define JOB                                                                    \
    "{\"type\":\"t\",\"binary_url\":\"http://x/y\",\"binary_sha256\":\"" SHA   \
    "\"}"

extern api a;
extern executr_error err;
extern api_response response; /* the last answer */
extern char job[64];          /* the job submitted last */

/* .init and .fini */
void routes_start(void);
void routes_stop(void);

/* One request; its answer stays in `response`. Returns the status. */
int ask_as(
    const char *method, const char *target, const char *body, const char *type,
    const char *authorization);
int ask(const char *method, const char *target, const char *body);

/* A value of the answer, as text. */
const char *answer(const char *name);

void submit(void);
void claim(void);                      /* as executor "e" */
const char *path_of(const char *rest); /* of the job */

#endif
