/* SPDX-License-Identifier: MIT */
/*
 * Command-line flags from a table: flags over environment over defaults. Every
 * flag --some-name has the variable EXECUTR_SOME_NAME.
 */
#ifndef APP_FLAGS_H
#define APP_FLAGS_H

#include <executr/base.h>

enum {
    APP_STRING,    /* const char ** */
    APP_LIST,      /* app_list *, repeatable */
    APP_WORDS,     /* app_list *, repeatable and split at commas */
    APP_INT,       /* int64_t *, min … max */
    APP_DURATION,  /* int64_t *, milliseconds */
    APP_MEGABYTES, /* int64_t *, bytes; plain numbers are MB; also 10GB, 64KB */
    APP_BYTES,     /* int64_t *, bytes; plain numbers are bytes; also 4GB */
    APP_SWITCH,    /* int32_t *, 1 when given (variable: 1/true/yes) */
    APP_CHOICE     /* const char **, one of the words in `value` (a|b|c) */
};

typedef struct app_list {
    const char **items;
    size_t count;
} app_list;

typedef struct app_flag {
    const char *name; /* without dashes */
    char letter;      /* short form, or 0 */
    int kind;
    void *target;
    const char *value;    /* what the help calls its value */
    const char *fallback; /* default: text to parse, NULL leaves the target */
    const char *help;
    int64_t min, max; /* of APP_INT and sizes; both 0: any above zero */
} app_flag;

/* A command: what its help says and which flags it takes. */
typedef struct app_command {
    const char *name;      /* "executr submit" */
    const char *arguments; /* "[FILE] [-- WORDS…]" or "" */
    const char *summary;
    const char *notes; /* printed below the flags; or NULL */
    /* NULL-terminated list of tables, each ended by a row without a name */
    const app_flag *const *tables;
} app_command;

/* What was left on the line. */
typedef struct app_rest {
    const char **words; /* before "--" */
    size_t count;
    const char **after; /* behind "--" */
    size_t after_count;
} app_rest;

#define APP_GO_ON (-1)

/*
 * Read the line (argv[0] is skipped) into the targets. Returns APP_GO_ON, or
 * the exit code: 0 after --help or --version, 2 after a usage error that was
 * explained on stderr.
 */
int app_flags_read(
    const app_command *command, int argc, char **argv, app_rest *rest);

/* The same for a command that takes nothing but flags. */
int app_flags_only(const app_command *command, int argc, char **argv);

/* Explain a usage error on stderr and return 2. */
int app_usage(const app_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
