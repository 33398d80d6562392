/* SPDX-License-Identifier: MIT */
/* Reads a database URL; hides which parameters are ours and which libpq's. */
#include "store/pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/time.h"

#define LONGEST_URL 8192
#define MOST_CONNECTIONS 10000

static int is_ours(const char *parameter)
{
    return strncmp(parameter, "pool_", 5) == 0;
}

/* The URL without our parameters. */
static void strip(const char *url, ex_buf *out)
{
    const char *query = strchr(url, '?');
    char separator = '?';

    if (!query) {
        ex_buf_puts(out, url);
        return;
    }
    ex_buf_add(out, url, (size_t)(query - url));
    for (const char *at = query + 1; *at;) {
        size_t length = strcspn(at, "&");
        if (length && !is_ours(at)) {
            ex_buf_putc(out, separator);
            ex_buf_add(out, at, length);
            separator = '&';
        }
        at += length + (at[length] == '&');
    }
}

static executr_status read_count(
    const char *name, const char *text, int32_t least, int32_t *out,
    executr_error *err)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < least || value > MOST_CONNECTIONS)
        return ex_fail_field(
            err, name, "%s in the database URL must be a number from %d to %d",
            name, (int)least, MOST_CONNECTIONS);
    *out = (int32_t)value;
    return EXECUTR_OK;
}

static executr_status read_duration(
    const char *name, const char *text, int64_t *out_us, executr_error *err)
{
    int64_t ms;

    if (ex_duration_parse(text, &ms) || ms == 0)
        return ex_fail_field(
            err, name,
            "%s in the database URL must be a duration such as 30m or 1h",
            name);
    *out_us = ms * 1000;
    return EXECUTR_OK;
}

static executr_status read_parameter(
    const char *name, const char *value, ex_pool_settings *out,
    executr_error *err)
{
    if (strcmp(name, "pool_max_conns") == 0)
        return read_count(name, value, 1, &out->max_conns, err);
    if (strcmp(name, "pool_min_conns") == 0)
        return read_count(name, value, 0, &out->min_conns, err);
    if (strcmp(name, "pool_max_conn_lifetime") == 0)
        return read_duration(name, value, &out->lifetime_us, err);
    if (strcmp(name, "pool_max_conn_idle_time") == 0)
        return read_duration(name, value, &out->idle_us, err);
    return ex_fail_field(
        err, name,
        "%s in the database URL is unknown; there are pool_max_conns, "
        "pool_min_conns, pool_max_conn_lifetime and pool_max_conn_idle_time",
        name);
}

/* Our parameters, "name=value" each. */
static executr_status read_ours(
    const char *url, ex_pool_settings *out, executr_error *err)
{
    const char *at = strchr(url, '?');
    executr_status st = EXECUTR_OK;

    while (at && *at && !st) {
        char text[96];
        at++;
        size_t length = strcspn(at, "&");
        if (is_ours(at)) {
            size_t kept = length < sizeof text ? length : sizeof text - 1;
            memcpy(text, at, kept);
            text[kept] = '\0';
            char *equals = strchr(text, '=');
            if (equals)
                *equals = '\0';
            st = read_parameter(text, equals ? equals + 1 : "", out, err);
        }
        at += length;
    }
    return st;
}

/*
 * libpq's complaint names a bad parameter, which helps, or quotes parts of the
 * URL, which may be the password.
 */
static executr_status fail_parse(char *message, executr_error *err)
{
    const char *known = "invalid URI query parameter";
    int harmless = message && strncmp(message, known, strlen(known)) == 0;
    executr_status st;

    if (harmless)
        message[strcspn(message, "\n")] = '\0';
    st = ex_fail_field(
        err, "db-url",
        "the database URL is not valid%s%s; it looks like "
        "postgres://user:password@host:5432/database?sslmode=require, with "
        "special characters in the password as %%XX",
        harmless ? ": " : "", harmless ? message : "");
    PQfreemem(message);
    return st;
}

executr_status ex_pool_settings_read(
    const char *url, ex_pool_settings *out, executr_error *err)
{
    char *message = NULL;
    ex_buf rest;

    memset(out, 0, sizeof *out);
    out->max_conns = 25;
    out->lifetime_us = INT64_C(3600) * 1000000;
    out->idle_us = INT64_C(1800) * 1000000;
    ex_buf_init(&rest, LONGEST_URL);
    strip(url, &rest);
    executr_status st = ex_buf_status(&rest, "the database URL", err);
    if (!st)
        st = read_ours(url, out, err);
    if (!st && out->min_conns > out->max_conns)
        st = ex_fail_field(
            err, "pool_min_conns",
            "pool_min_conns (%d) is more than pool_max_conns (%d)",
            (int)out->min_conns, (int)out->max_conns);
    if (!st) {
        out->options = PQconninfoParse(ex_buf_text(&rest), &message);
        if (!out->options)
            st = fail_parse(message, err);
    }
    ex_buf_clear(&rest);
    return st;
}

void ex_pool_settings_clear(ex_pool_settings *settings)
{
    PQconninfoFree(settings->options);
    settings->options = NULL;
}

const char *ex_pool_setting(const ex_pool_settings *settings, const char *name)
{
    for (const PQconninfoOption *o = settings->options; o && o->keyword; o++) {
        if (strcmp(o->keyword, name) == 0)
            return o->val && *o->val ? o->val : NULL;
    }
    return NULL;
}

/* Messages of libpq don't quote passwords by themselves, but they may quote
 * what a server says. */
void ex_pool_explain(
    const ex_pool_settings *settings, const char *message, ex_buf *out)
{
    const char *password = ex_pool_setting(settings, "password");
    size_t secret = password ? strlen(password) : 0;
    size_t length = strlen(message);

    while (length &&
           (message[length - 1] == '\n' || message[length - 1] == ' '))
        length--;
    for (size_t i = 0; i < length;) {
        if (secret && strncmp(message + i, password, secret) == 0) {
            ex_buf_puts(out, "***");
            i += secret;
        } else if (message[i] == '\n' || message[i] == '\t') {
            ex_buf_putc(out, ' ');
            i++;
        } else {
            ex_buf_putc(out, message[i++]);
        }
    }
}
