/* SPDX-License-Identifier: MIT */
/*
 * Opens one connection under a deadline. Hosts are tried one by one here and
 * not by libpq, whose asynchronous calls would spend the whole time on a first
 * host that does not answer.
 */
#include "store/pool.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/time.h"

#define LEAST_SLICE_US 500000
#define HOST_MAX 256

int32_t ex_pool_wait(PGconn *pg, short events, int64_t deadline_us)
{
    struct pollfd fd = {PQsocket(pg), events, 0};

    if (fd.fd < 0)
        return -1;
    for (;;) {
        int64_t left_us = deadline_us - ex_monotonic_us();
        if (left_us < 0)
            left_us = 0;
        /* Rounded up, so that the last wait is not a spin. */
        int64_t left_ms = (left_us + 999) / 1000;
        int ready = poll(&fd, 1, left_ms > 60000 ? 60000 : (int)left_ms);
        if (ready > 0)
            return 1;
        if (ready == 0 && left_us <= 60000000)
            return 0;
    }
}

/* The i-th item of a comma list into `out`; a list of one serves all. */
static void pick(const char *list, int32_t index, char out[HOST_MAX])
{
    if (!strchr(list, ','))
        index = 0;
    while (index > 0 && *list) {
        list += strcspn(list, ",");
        list += *list == ',';
        index--;
    }
    size_t length = strcspn(list, ",");
    if (length >= HOST_MAX)
        length = HOST_MAX - 1;
    memcpy(out, list, length);
    out[length] = '\0';
}

static int32_t count_hosts(const ex_pool_settings *settings)
{
    const char *list = ex_pool_setting(settings, "hostaddr");
    int32_t count = 1;

    if (!list)
        list = ex_pool_setting(settings, "host");
    for (; list && *list && count < EX_POOL_HOSTS_MAX; list++)
        count += *list == ',';
    return count;
}

/* Notices are for people at a terminal. */
static void ignore_notice(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

/* The parameters of one host, and the texts that they point to. */
typedef struct dial {
    const char *names[EX_POOL_OPTIONS_MAX];
    const char *values[EX_POOL_OPTIONS_MAX];
    char host[HOST_MAX];
    char port[HOST_MAX];
    char address[HOST_MAX];
} dial;

static const char *value_for(
    dial *d, const PQconninfoOption *option, int32_t host, const char *attrs)
{
    char *out = NULL;

    if (strcmp(option->keyword, "host") == 0)
        out = d->host;
    else if (strcmp(option->keyword, "port") == 0)
        out = d->port;
    else if (strcmp(option->keyword, "hostaddr") == 0)
        out = d->address;
    else if (strcmp(option->keyword, "target_session_attrs") == 0)
        return attrs;
    if (!out)
        return option->val;
    pick(option->val, host, out);
    return out;
}

static void fill(
    dial *d, const ex_pool_settings *settings, int32_t host, const char *attrs)
{
    int n = 0;

    for (const PQconninfoOption *o = settings->options; o->keyword; o++) {
        if (!o->val || n >= EX_POOL_OPTIONS_MAX - 3)
            continue;
        d->names[n] = o->keyword;
        d->values[n++] = value_for(d, o, host, attrs);
    }
    d->names[n] = "fallback_application_name";
    d->values[n++] = "executr";
    d->names[n] = "client_encoding";
    d->values[n++] = "UTF8";
    d->names[n] = NULL;
    d->values[n] = NULL;
}

/* Poll a connection that was started until it stands; NULL, or why not. */
static const char *finish_dial(PGconn *pg, int64_t deadline_us)
{
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;

    while (next != PGRES_POLLING_OK) {
        short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (PQstatus(pg) == CONNECTION_BAD)
            return PQerrorMessage(pg);
        if (ex_pool_wait(pg, events, deadline_us) != 1)
            return "no answer in time";
        next = PQconnectPoll(pg);
        if (next == PGRES_POLLING_FAILED)
            return PQerrorMessage(pg);
    }
    return PQsetnonblocking(pg, 1) ? PQerrorMessage(pg) : NULL;
}

/* NULL, with the reason appended to `why`, or a connection. */
static PGconn *dial_host(
    const ex_pool_settings *settings, int32_t host, const char *attrs,
    int64_t deadline_us, ex_buf *why)
{
    dial d;

    memset(&d, 0, sizeof d);
    fill(&d, settings, host, attrs);
    PGconn *pg = PQconnectStartParams(d.names, d.values, 0);
    if (!pg) {
        ex_buf_puts(why, "out of memory");
        return NULL;
    }
    PQsetNoticeProcessor(pg, ignore_notice, NULL);
    const char *problem = finish_dial(pg, deadline_us);
    if (!problem)
        return pg;
    if (why->length)
        ex_buf_puts(why, "; ");
    ex_pool_explain(settings, problem, why);
    PQfinish(pg);
    return NULL;
}

/* A fair share of the time for each host that is left. */
static int64_t slice_end(int64_t deadline_us, int32_t hosts_left)
{
    int64_t now = ex_monotonic_us();
    int64_t slice = (deadline_us - now) / hosts_left;

    return now + (slice > LEAST_SLICE_US ? slice : LEAST_SLICE_US);
}

executr_status ex_pool_dial(
    const ex_pool_settings *settings, int32_t *preferred, int64_t deadline_us,
    PGconn **out, executr_error *err)
{
    const char *attrs = ex_pool_setting(settings, "target_session_attrs");
    int standby_first = attrs && strcmp(attrs, "prefer-standby") == 0;
    const char *wanted[2] = {standby_first ? "standby" : attrs, "any"};
    int32_t passes = standby_first ? 2 : 1;
    int32_t hosts = count_hosts(settings);
    int32_t first = *preferred < hosts ? *preferred : 0;
    ex_buf why;

    ex_buf_init(&why, 2000);
    *out = NULL;
    for (int32_t i = 0; i < hosts * passes && !*out; i++) {
        int32_t host = (first + i) % hosts;
        *out = dial_host(
            settings, host, wanted[i / hosts],
            slice_end(deadline_us, hosts * passes - i), &why);
        if (*out)
            *preferred = host;
    }
    executr_status st = EXECUTR_OK;
    if (!*out)
        st = ex_fail(
            err, EXECUTR_E_UNAVAILABLE, "can't connect to the database: %s",
            ex_buf_text(&why));
    ex_buf_clear(&why);
    return st;
}
