/* SPDX-License-Identifier: MIT */
/* What the programs say and how they end. */
#ifndef APP_COMMON_H
#define APP_COMMON_H

#include <executr/base.h>

#include "common/flags.h"

/* Exit codes. */
enum {
    APP_OK = 0,
    APP_FAILED = 1,
    APP_USAGE = 2
};

/* "executr: message" on stderr, escape sequences made harmless; returns the
 * exit code for it: 2 for a bad argument, else 1. */
int app_fail(const executr_error *err);

/* The same with words of our own; returns 1. */
int app_failf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The --log-level and --log-format flags and what they make. */
typedef struct app_log_flags {
    const char *level;
    const char *format; /* json, text; NULL: text on a terminal */
} app_log_flags;
#define APP_LOG_FLAGS(flags)                                                   \
    {"log-level",                                                              \
     0,                                                                        \
     APP_CHOICE,                                                               \
     &(flags).level,                                                           \
     "error|warn|info|debug",                                                  \
     "info",                                                                   \
     "how much to log on stderr",                                              \
     0,                                                                        \
     0},                                                                       \
    {                                                                          \
        "log-format", 0, APP_CHOICE, &(flags).format, "json|text", NULL,       \
            "json, or text on a terminal", 0, 0                                \
    }
/* Lasts as long as the program. */
executr_log app_log(const app_log_flags *flags);

/* The token for the API: $EXECUTR_TOKEN, or the first line of `file` when it is
 * not NULL. NULL when there is none; the program ends with a message when the
 * file can't be read (*code is the exit code then). */
const char *app_token(const char *file, int *code);

/* From here on no process of the same user reads this one's memory, environment
 * or core: the programs that it runs may be of that user. Returns an exit code,
 * APP_GO_ON when it worked. */
int app_hide(void);

/* When memory is out, the kernel shall end programs that this one runs first.
 * It lets only those lower their score who may: root, on most machines. Before
 * app_hide, which gives the score to root. */
void app_outlive(void);

/* $XDG_DATA_HOME/executr, or ~/.local/share/executr, with "/name" behind it.
 * Lasts as long as the program; NULL without memory or home. */
const char *app_data_path(const char *name);

/* Replace this process by the program `name` that stands beside it (or in the
 * PATH); returns the exit code when that fails. */
int app_exec(const char *name, char **argv);

#endif
