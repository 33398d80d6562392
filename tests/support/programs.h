/* SPDX-License-Identifier: MIT */
/* A runner for one test, and what became of the programs it ran. */
#ifndef TEST_SUPPORT_PROGRAMS_H
#define TEST_SUPPORT_PROGRAMS_H

#include <executr/runner.h>

#define ENDS 64

typedef struct end {
    uint64_t token;
    int32_t outcome;
    int32_t exit_code; /* -1: none */
    int32_t signal;
    char message[512];
    char out[4096]; /* cut here */
    char err[256];
    size_t out_length;
    size_t err_length;
    double user_seconds;
    double wall_seconds;
    int64_t max_rss;
} end;

/* The newest ends, in order. */
extern executr_runner *runner;
extern end ends[ENDS];
extern size_t end_count;
extern executr_error err;

/* .init and .fini: a home, and a runner with its work directory in it. */
void open_runner(void);
void open_reaping_runner(void); /* one that is a subreaper */
void close_runner(void);
void open_runner_with(const executr_runner_options *options);

/* The path of the program in support/job.c. */
const char *job_path(void);

/* Start it with these arguments (NULL at the end) under a number. */
executr_status start(uint64_t token, const char *const *arguments);
executr_status start_program(uint64_t token, const executr_program *program);

/* Step until so many programs have ended. */
void wait_for_ends(size_t count);

/* Step until there is such a file in the home. */
void wait_for_file(const char *name);

/* Run one to its end. */
const end *run(const char *const *arguments);

/* Arguments by hand: run(ARGS("exit", "3")). */
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The pid a program wrote to a file in the home; 1 if it is gone. */
int is_gone(const char *pid_file);

/* How many entries a directory has. */
int entries(const char *path);

#endif
