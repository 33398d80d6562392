/* SPDX-License-Identifier: MIT */
/* A queue on SQLite in a home of its own, and a worker on it in a thread. */
#ifndef TEST_SUPPORT_WORK_BENCH_H
#define TEST_SUPPORT_WORK_BENCH_H

#include <executr/worker.h>

extern executr_queue *queue;
extern executr_worker *worker;
extern executr_error err;
extern executr_worker_options options; /* of the next start_worker */

/* .init and .fini */
void open_bench(void);
void close_bench(void);

/* Options of a worker in the home, on the queue, with quick intervals. */
void set_options(void);
void start_worker(void);
/* Stop it so many times and wait for the end of its run. */
void stop_worker(int times);
void join_worker(void);
/* 1 if executr_worker_run has returned. */
int worker_returned(void);

/* The SHA-256 of the job program, which the queue has stored. */
const char *job_sha256(void);

/* Submit the job program with these arguments (NULL at the end); its id lasts
 * as long as the test. */
const char *submit_job(const char *const *arguments);
const char *submit_spec(executr_job_spec *spec, const char *const *arguments);

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Wait until the job has this status; its record lasts as long as the test. */
const executr_job *wait_for_status(const char *id, int32_t status);
const executr_job *wait_for_attempt(const char *id, int32_t attempt);
const executr_job *get_job(const char *id);

/* Wait for a file in the home; the pid in it. */
int wait_for_pid(const char *name);
/* 1 if it ended, waited for or not. */
int has_ended(int pid);
void wait_for_death(int pid);

#endif
