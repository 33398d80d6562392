/* SPDX-License-Identifier: MIT */
/* Messages, logs, tokens and places that the programs share. */
#include "common/common.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "common/plain.h"

/* The words may be a job's or a server's, so they are not trusted. */
static void put_message(const char *message)
{
    fputs("executr: ", stderr);
    app_plain(stderr, message);
    fputc('\n', stderr);
}

int app_fail(const executr_error *err)
{
    put_message(err->message);
    return err->status == EXECUTR_E_ARGUMENT ? APP_USAGE : APP_FAILED;
}

int app_failf(const char *format, ...)
{
    char message[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    put_message(message);
    return APP_FAILED;
}

executr_log app_log(const app_log_flags *flags)
{
    static ex_stderr_log settings;
    settings.level = ex_log_level_parse(flags->level);
    settings.json = flags->format ? strcmp(flags->format, "json") == 0
                                  : !isatty(STDERR_FILENO);
    return ex_stderr_log_hook(&settings);
}

const char *app_token(const char *file, int *code)
{
    static ex_buf text;
    *code = APP_GO_ON;
    if (!file) {
        const char *token = getenv("EXECUTR_TOKEN");
        return token && *token ? token : NULL;
    }
    executr_error err;
    ex_buf_init(&text, 4096);
    if (ex_fs_read(file, &text, &err)) {
        *code = app_fail(&err);
        return NULL;
    }
    if (text.data)
        text.data[strcspn(text.data, "\r\n")] = '\0';
    if (!ex_buf_text(&text)[0]) {
        *code = app_failf("%s holds no token; put one on its first line", file);
        return NULL;
    }
    return text.data;
}

int app_hide(void)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
        return APP_GO_ON;
    return app_failf("cannot become undumpable: %s", strerror(errno));
}

void app_outlive(void)
{
    FILE *file = fopen("/proc/self/oom_score_adj", "we");

    if (file && fputs("-500", file) < 0)
        errno = 0;
    if (file && fclose(file) != 0)
        errno = 0;
}

const char *app_data_path(const char *name)
{
    static ex_buf path;
    executr_error err;
    const char *base = getenv("XDG_DATA_HOME");
    ex_buf_init(&path, PATH_MAX);
    if (base && base[0] == '/') {
        ex_buf_puts(&path, base);
    } else if (ex_fs_expand(&path, "~/.local/share", &err)) {
        return NULL;
    }
    ex_buf_puts(&path, "/executr/");
    ex_buf_puts(&path, name);
    return path.failed ? NULL : path.data;
}

int app_exec(const char *name, char **argv)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n > 0) {
        path[n] = '\0';
        char *slash = strrchr(path, '/');
        size_t room = sizeof path - (size_t)(slash + 1 - path);
        snprintf(slash + 1, room, "%s", name);
        execv(path, argv);
    }
    execvp(name, argv);
    return app_failf(
        "can't start %s: %s; is it installed beside executr?", name,
        strerror(errno));
}
