/* SPDX-License-Identifier: MIT */
/* Log messages; hides gathering of fields and the two forms of a line. */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/time.h"
#include "base/url.h"

#define MOST_FIELDS 24

/* Longer texts in a line are cut: they may quote somebody's output. */
#define LONGEST_TEXT 4096

void ex_log(const executr_log *log, int32_t level, const char *message, ...)
{
    const char *fields[2 * MOST_FIELDS + 1];
    size_t count = 0;
    va_list args;

    if (!log || !log->write)
        return;
    va_start(args, message);
    const char *name = va_arg(args, const char *);
    while (name && count < 2 * MOST_FIELDS) {
        const char *value = va_arg(args, const char *);
        if (value) {
            fields[count++] = name;
            fields[count++] = value;
        }
        name = va_arg(args, const char *);
    }
    va_end(args);
    assert(!name);
    fields[count] = NULL;
    log->write(log->ctx, level, message, fields);
}

ex_i64_text ex_i64_format(int64_t value)
{
    ex_i64_text out;

    snprintf(out.text, sizeof out.text, "%lld", (long long)value);
    return out;
}

static const char *const level_names[] = {
    NULL, "error", "warn", "info", "debug"};

#define LEVELS ((int32_t)(sizeof level_names / sizeof level_names[0]))

static const char *level_name(int32_t level)
{
    return level > 0 && level < LEVELS ? level_names[level] : "debug";
}

int32_t ex_log_level_parse(const char *text)
{
    for (int32_t level = 1; level < LEVELS; level++) {
        if (strcmp(text, level_names[level]) == 0)
            return level;
    }
    return 0;
}

/* A text's length, cut in front of a character. */
static size_t cut_length(const char *text)
{
    size_t length = strnlen(text, LONGEST_TEXT + 1);

    if (length <= LONGEST_TEXT)
        return length;
    length = LONGEST_TEXT;
    while (length > LONGEST_TEXT - 4 && (text[length] & 0xc0) == 0x80)
        length--;
    return length;
}

static void put_cut(ex_json_writer *w, const char *text)
{
    ex_json_put_bytes(w, text, cut_length(text));
}

static void json_line(
    ex_buf *line, const char *time, int32_t level, const char *message,
    const char *const *fields)
{
    ex_json_writer w;

    ex_json_begin(&w, line);
    ex_json_open(&w, '{');
    ex_json_add_string(&w, "time", time);
    ex_json_add_string(&w, "level", level_name(level));
    ex_json_key(&w, "msg");
    put_cut(&w, message);
    for (; fields && fields[0]; fields += 2) {
        ex_json_key(&w, fields[0]);
        put_cut(&w, fields[1]);
    }
    ex_json_close(&w, '}');
}

/* For terminals: controls become '?', what is no UTF-8 becomes U+FFFD. */
static void put_clean(ex_buf *line, const char *text)
{
    size_t length = cut_length(text);

    while (length > 0) {
        size_t used;
        int valid = ex_utf8_step(text, length, &used);
        unsigned char first = (unsigned char)text[0];
        int c1 = used == 2 && first == 0xc2 && (unsigned char)text[1] < 0xa0;
        if (!valid)
            ex_buf_puts(line, "\xef\xbf\xbd");
        else if (first < 0x20 || first == 0x7f || c1)
            ex_buf_putc(line, '?');
        else
            ex_buf_add(line, text, used);
        text += used;
        length -= used;
    }
}

static void text_line(
    ex_buf *line, const char *time, int32_t level, const char *message,
    const char *const *fields)
{
    ex_buf_printf(line, "%s %-5s ", time, level_name(level));
    put_clean(line, message);
    for (; fields && fields[0]; fields += 2) {
        const char *quote = "";
        if (!fields[1][0] || strpbrk(fields[1], " \"="))
            quote = strchr(fields[1], '"') ? "'" : "\"";
        ex_buf_printf(line, " %s=%s", fields[0], quote);
        put_clean(line, fields[1]);
        ex_buf_puts(line, quote);
    }
}

/* One write, so that lines of threads and processes do not mix. */
static void write_line(const char *line, size_t length)
{
    ssize_t written;

    do {
        written = write(STDERR_FILENO, line, length);
    } while (written < 0 && errno == EINTR);
    /* There is nowhere to tell that stderr is gone. */
}

static void stderr_write(
    void *ctx, int32_t level, const char *message, const char *const *fields)
{
    static const char lost[] = "executr: out of memory, a log line is lost\n";
    const ex_stderr_log *settings = ctx;
    char time[EX_TIME_TEXT];
    ex_buf line;

    if (level > settings->level)
        return;
    int saved_errno = errno;
    ex_buf_init(&line, EX_BUF_UNLIMITED);
    ex_time_format(ex_now_us(), time);
    if (settings->json)
        json_line(&line, time, level, message, fields);
    else
        text_line(&line, time, level, message, fields);
    ex_buf_putc(&line, '\n');
    if (line.failed)
        write_line(lost, sizeof lost - 1);
    else
        write_line(line.data, line.length);
    ex_buf_clear(&line);
    errno = saved_errno;
}

executr_log ex_stderr_log_hook(ex_stderr_log *settings)
{
    return (executr_log){stderr_write, settings};
}
