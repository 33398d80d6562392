/* SPDX-License-Identifier: MIT */
/* Log messages: what reaches a hook and what a line on stderr looks like. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/time.h"

static void join(
    void *ctx, int32_t level, const char *message, const char *const *fields)
{
    ex_buf_printf(ctx, "%d %s", level, message);
    for (; fields[0]; fields += 2)
        ex_buf_printf(ctx, " %s=%s", fields[0], fields[1]);
}

Test(log, hands_fields_to_the_hook)
{
    ex_buf got;
    executr_log log = {join, &got};

    ex_buf_init(&got, EX_BUF_UNLIMITED);
    ex_log(
        &log, EXECUTR_LOG_WARN, "hello", "a", "1", "absent", NULL, "n",
        EX_I64(INT64_MIN), NULL);
    cr_expect_str_eq(ex_buf_text(&got), "2 hello a=1 n=-9223372036854775808");
    ex_buf_clear(&got);
}

Test(log, does_nothing_without_a_hook)
{
    executr_log log = {NULL, NULL};

    ex_log(&log, EXECUTR_LOG_ERROR, "nobody", "hears", "it", NULL);
    ex_log(NULL, EXECUTR_LOG_ERROR, "nobody", NULL);
}

Test(log_level, is_read_by_name)
{
    cr_expect_eq(ex_log_level_parse("debug"), EXECUTR_LOG_DEBUG);
    cr_expect_eq(ex_log_level_parse("info"), EXECUTR_LOG_INFO);
    cr_expect_eq(ex_log_level_parse("warn"), EXECUTR_LOG_WARN);
    cr_expect_eq(ex_log_level_parse("error"), EXECUTR_LOG_ERROR);
    cr_expect_eq(ex_log_level_parse("Error"), 0);
    cr_expect_eq(ex_log_level_parse(""), 0);
}

/* What stands in for stderr keeps the borders of writes. */
static int own_end;
static int saved_stderr;
static ex_stderr_log settings = {EXECUTR_LOG_INFO, 1};
static executr_log hook;

static void redirect(void)
{
    int ends[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    saved_stderr = dup(STDERR_FILENO);
    cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    own_end = ends[0];
    hook = ex_stderr_log_hook(&settings);
}

static void restore(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(own_end);
}

TestSuite(log_stderr, .init = redirect, .fini = restore);

/* The next write to stderr, or "" if there was none. */
static const char *next_write(void)
{
    static char line[65536];

    ssize_t got = recv(own_end, line, sizeof line - 1, MSG_DONTWAIT);
    line[got > 0 ? got : 0] = '\0';
    return line;
}

static ex_json *next_json(void)
{
    const char *line = next_write();
    size_t length = strlen(line);
    ex_json *document = NULL;

    cr_assert_gt(length, 0);
    cr_expect_eq(strchr(line, '\n'), line + length - 1);
    cr_assert_eq(ex_json_parse(line, length, &document, NULL), EXECUTR_OK);
    return document;
}

static const char *member(const ex_json *object, const char *name)
{
    return ex_json_string(ex_json_get(object, name), NULL);
}

Test(log_stderr, writes_one_json_line_with_one_write)
{
    int64_t us;

    ex_log(&hook, EXECUTR_LOG_INFO, "job done", "job_id", "7", NULL);
    ex_json *line = next_json();
    cr_expect_eq(ex_json_count(line), 4);
    cr_expect_eq(ex_time_parse(member(line, "time"), &us), 0);
    cr_expect_str_eq(member(line, "level"), "info");
    cr_expect_str_eq(member(line, "msg"), "job done");
    cr_expect_str_eq(member(line, "job_id"), "7");
    cr_expect_str_eq(next_write(), "");
    ex_json_free(line);
}

Test(log_stderr, drops_what_is_above_the_level)
{
    ex_log(&hook, EXECUTR_LOG_DEBUG, "not this", NULL);
    cr_expect_str_eq(next_write(), "");
    ex_log(&hook, EXECUTR_LOG_ERROR, "but this", NULL);
    cr_expect_not_null(strstr(next_write(), "but this"));
}

Test(log_stderr, stays_valid_json_whatever_is_logged)
{
    ex_log(
        &hook, EXECUTR_LOG_INFO, "a\xff\n\"b", "f", "\xed\xa0\x80\x1b", NULL);
    ex_json *line = next_json();
    cr_expect_str_eq(member(line, "msg"), "a\xef\xbf\xbd\n\"b");
    cr_expect_str_eq(
        member(line, "f"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\x1b");
    ex_json_free(line);
}

Test(log_stderr, cuts_long_values_at_a_character)
{
    char value[9001];

    for (size_t i = 0; i < 9000; i += 3)
        memcpy(value + i, "\xe2\x82\xac", 4);
    ex_log(&hook, EXECUTR_LOG_INFO, "long", "v", value, NULL);
    ex_json *line = next_json();
    cr_expect_eq(strlen(member(line, "v")), 4095);
    cr_expect_null(strstr(member(line, "v"), "\xef\xbf\xbd"));
    ex_json_free(line);
}

Test(log_stderr, keeps_errno)
{
    errno = ENOTTY;
    ex_log(&hook, EXECUTR_LOG_INFO, "x", NULL);
    cr_expect_eq(errno, ENOTTY);
}

Test(log_stderr, writes_text_without_control_characters)
{
    settings.json = 0;
    ex_log(
        &hook, EXECUTR_LOG_WARN, "a\n\x1b[31mb", "k", "v", "quoted", "x y",
        "empty", "", "bytes", "\xff\xc2\x9b", NULL);
    const char *line = next_write();
    cr_expect_str_eq(
        line + EX_TIME_TEXT - 1,
        " warn  a??[31mb k=v quoted=\"x y\" empty=\"\" "
        "bytes=\xef\xbf\xbd?\n");
    cr_expect_str_eq(next_write(), "");
}
