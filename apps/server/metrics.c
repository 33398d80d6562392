/* SPDX-License-Identifier: MIT */
/* Counters by job type, histograms, and their exposition. */
#include "metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fail.h"

#define TYPES 101 /* 100 and "_other", which is the last */
#define OTHER (TYPES - 1)
#define TYPE_BYTES 513
#define ROUTES 40
#define PRIORITIES 3

/* Upper bounds in µs; one more bucket takes the rest. */
static const int64_t fast_bounds[] = {
    500,    1000,   2500,    5000,    10000,   25000,    50000,    100000,
    250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000};
static const int64_t slow_bounds[] = {
    10000,      50000,       100000,      500000,     1000000,
    5000000,    15000000,    60000000,    300000000,  900000000,
    3600000000, 14400000000, 43200000000, 86400000000};

#define FAST (sizeof fast_bounds / sizeof *fast_bounds)
#define SLOW (sizeof slow_bounds / sizeof *slow_bounds)

typedef struct histogram {
    atomic_uint_fast64_t buckets[FAST + 1]; /* FAST is the larger of both */
    atomic_uint_fast64_t sum_us;
} histogram;

typedef enum counter {
    SUBMITTED,
    COMPLETED,
    FAILED,
    CANCELLED,
    COUNTERS
} counter;

typedef struct type_row {
    char name[TYPE_BYTES];
    atomic_uint_fast64_t count[COUNTERS][PRIORITIES];
} type_row;

typedef struct route_row {
    const char *method;
    const char *pattern;
    histogram took;
} route_row;

struct metrics {
    pthread_mutex_t lock; /* guards adding rows; rows never move or go */
    atomic_size_t types;
    type_row rows[TYPES];
    atomic_size_t routes;
    route_row route_rows[ROUTES];
    histogram duration;
    histogram waiting;
    atomic_uint_fast64_t recovered;
    atomic_uint_fast64_t cleaned;
};

executr_status metrics_open(metrics **out, executr_error *err)
{
    void *memory = NULL;
    executr_status st = ex_alloc(&memory, sizeof(metrics), err);
    *out = memory;
    if (st)
        return st;
    metrics *m = memory;
    memcpy(m->rows[OTHER].name, "_other", sizeof "_other");
    if (pthread_mutex_init(&m->lock, NULL)) {
        ex_free(m);
        *out = NULL;
        return ex_fail_nomem(err);
    }
    return EXECUTR_OK;
}

void metrics_free(metrics *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    ex_free(m);
}

static void observe(
    histogram *h, const int64_t *bounds, size_t count, int64_t us)
{
    size_t i = 0;
    while (i < count && us > bounds[i])
        i++;
    atomic_fetch_add(&h->buckets[i], 1);
    atomic_fetch_add(&h->sum_us, (uint64_t)(us > 0 ? us : 0));
}

static type_row *find_type(metrics *m, const char *type, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(m->rows[i].name, type) == 0)
            return &m->rows[i];
    }
    return NULL;
}

static type_row *row_of(metrics *m, const char *type)
{
    type_row *row = find_type(m, type, atomic_load(&m->types));
    if (row)
        return row;
    pthread_mutex_lock(&m->lock);
    size_t count = atomic_load(&m->types);
    row = find_type(m, type, count);
    if (!row && (count == OTHER || strlen(type) >= TYPE_BYTES)) {
        row = &m->rows[OTHER];
    } else if (!row) {
        row = &m->rows[count];
        memcpy(row->name, type, strlen(type) + 1);
        atomic_store(&m->types, count + 1);
    }
    pthread_mutex_unlock(&m->lock);
    return row;
}

static void count_job(
    metrics *m, counter which, const char *type, int32_t priority, int64_t n)
{
    if (priority < 1 || priority > PRIORITIES)
        return;
    atomic_fetch_add(&row_of(m, type)->count[which][priority - 1], (uint64_t)n);
}

static void notify(
    void *ctx, int32_t event, const char *type, int32_t priority, int64_t count,
    int64_t waited_us, int64_t ran_us)
{
    metrics *m = ctx;
    switch (event) {
    case EXECUTR_EVENT_SUBMITTED:
        count_job(m, SUBMITTED, type, priority, count);
        break;
    case EXECUTR_EVENT_COMPLETED:
        count_job(m, COMPLETED, type, priority, count);
        break;
    case EXECUTR_EVENT_FAILED:
        count_job(m, FAILED, type, priority, count);
        break;
    case EXECUTR_EVENT_CANCELLED:
        count_job(m, CANCELLED, type, priority, count);
        break;
    case EXECUTR_EVENT_RECOVERED:
        atomic_fetch_add(&m->recovered, (uint64_t)count);
        break;
    case EXECUTR_EVENT_CLEANED:
        atomic_fetch_add(&m->cleaned, (uint64_t)count);
        break;
    default:
        break;
    }
    if (event == EXECUTR_EVENT_CLAIMED && waited_us >= 0)
        observe(&m->waiting, slow_bounds, SLOW, waited_us);
    else if (ran_us >= 0)
        observe(&m->duration, slow_bounds, SLOW, ran_us);
}

executr_events metrics_events(metrics *m)
{
    return (executr_events){notify, m};
}

static route_row *find_route(
    metrics *m, const char *method, const char *pattern)
{
    size_t count = atomic_load(&m->routes);
    for (size_t i = 0; i < count; i++) {
        route_row *row = &m->route_rows[i];
        if (row->pattern == pattern && row->method == method)
            return row;
    }
    return NULL;
}

void metrics_request(
    metrics *m, const char *method, const char *pattern, int64_t us)
{
    /* Both texts stand in the table of routes, so pointers tell them apart. */
    route_row *row = find_route(m, method, pattern);
    if (!row) {
        pthread_mutex_lock(&m->lock);
        row = find_route(m, method, pattern);
        size_t count = atomic_load(&m->routes);
        if (!row && count < ROUTES) {
            row = &m->route_rows[count];
            row->method = method;
            row->pattern = pattern;
            atomic_store(&m->routes, count + 1);
        }
        pthread_mutex_unlock(&m->lock);
    }
    if (row)
        observe(&row->took, fast_bounds, FAST, us);
}

static void put_help(
    ex_buf *out, const char *name, const char *type, const char *help)
{
    ex_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label value: backslash, quote and line feed escaped. */
static void put_label(ex_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\\' || *text == '"')
            ex_buf_putc(out, '\\');
        if (*text == '\n')
            ex_buf_puts(out, "\\n");
        else
            ex_buf_putc(out, *text);
    }
}

static void put_counter(
    metrics *m, ex_buf *out, counter which, const char *name, const char *help)
{
    size_t types = atomic_load(&m->types);
    put_help(out, name, "counter", help);
    for (size_t i = 0; i <= types; i++) {
        type_row *row = i < types ? &m->rows[i] : &m->rows[OTHER];
        for (int32_t p = 0; p < PRIORITIES; p++) {
            uint64_t n = atomic_load(&row->count[which][p]);
            if (n == 0)
                continue;
            ex_buf_printf(out, "%s{type=\"", name);
            put_label(out, row->name);
            ex_buf_printf(
                out, "\",priority=\"%s\"} %llu\n", executr_priority_word(p + 1),
                (unsigned long long)n);
        }
        if (i == OTHER)
            break;
    }
}

static void put_histogram(
    ex_buf *out, const char *name, const char *labels, histogram *h,
    const int64_t *bounds, size_t count)
{
    unsigned long long sum = 0;
    const char *comma = *labels ? "," : "";
    for (size_t i = 0; i <= count; i++) {
        sum += atomic_load(&h->buckets[i]);
        ex_buf_printf(out, "%s_bucket{%s%sle=\"", name, labels, comma);
        if (i < count)
            ex_buf_printf(out, "%g", (double)bounds[i] / 1e6);
        else
            ex_buf_puts(out, "+Inf");
        ex_buf_printf(out, "\"} %llu\n", sum);
    }
    const char *open = *labels ? "{" : "";
    const char *close = *labels ? "}" : "";
    ex_buf_printf(
        out, "%s_sum%s%s%s %.6f\n", name, open, labels, close,
        (double)atomic_load(&h->sum_us) / 1e6);
    ex_buf_printf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, sum);
}

static void put_requests(metrics *m, ex_buf *out)
{
    static const char name[] = "executr_api_request_duration_seconds";
    ex_buf labels;
    ex_buf_init(&labels, 512);
    put_help(
        out, name, "histogram", "Time to answer a request, waits included.");
    for (size_t i = 0; i < atomic_load(&m->routes); i++) {
        route_row *row = &m->route_rows[i];
        ex_buf_reset(&labels);
        ex_buf_printf(
            &labels, "method=\"%s\",route=\"%s\"", row->method, row->pattern);
        put_histogram(
            out, name, ex_buf_text(&labels), &row->took, fast_bounds, FAST);
    }
    ex_buf_clear(&labels);
}

static void put_total(
    ex_buf *out, const char *name, const char *help,
    atomic_uint_fast64_t *value)
{
    put_help(out, name, "counter", help);
    ex_buf_printf(
        out, "%s %llu\n", name, (unsigned long long)atomic_load(value));
}

static void put_gauge(
    ex_buf *out, const char *name, const char *help, double value)
{
    put_help(out, name, "gauge", help);
    ex_buf_printf(out, "%s %g\n", name, value);
}

static double ratio(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static void put_store_gauges(const executr_stats *stats, ex_buf *out)
{
    put_help(
        out, "executr_queue_depth", "gauge", "Jobs that wait to be claimed.");
    for (int32_t p = 1; p <= PRIORITIES; p++)
        ex_buf_printf(
            out, "executr_queue_depth{priority=\"%s\"} %lld\n",
            executr_priority_word(p),
            (long long)executr_stats_pending(stats, p));
    int64_t hits = executr_stats_cache_hits(stats);
    put_gauge(
        out, "executr_cache_hit_ratio",
        "Share of binaries that active executors had in their caches.",
        ratio(hits, hits + executr_stats_cache_misses(stats)));
    put_gauge(
        out, "executr_executor_utilization",
        "Share of the slots of active executors that run a job.",
        ratio(
            executr_stats_jobs(stats, EXECUTR_JOB_RUNNING),
            executr_stats_slots(stats)));
    put_gauge(
        out, "executr_executors_active", "Executors with a live heartbeat.",
        (double)executr_stats_active_executors(stats));
}

void metrics_write(
    metrics *m, const executr_stats *stats, int32_t connections_active,
    ex_buf *out)
{
    put_counter(
        m, out, SUBMITTED, "executr_jobs_submitted_total", "Jobs accepted.");
    put_counter(
        m, out, COMPLETED, "executr_jobs_completed_total", "Jobs completed.");
    put_counter(
        m, out, FAILED, "executr_jobs_failed_total", "Jobs failed for good.");
    put_counter(
        m, out, CANCELLED, "executr_jobs_cancelled_total", "Jobs cancelled.");
    put_total(
        out, "executr_stale_jobs_recovered_total",
        "Jobs taken back from silent executors.", &m->recovered);
    put_total(
        out, "executr_old_jobs_cleaned_total",
        "Finished jobs deleted after their retention.", &m->cleaned);
    put_help(
        out, "executr_job_duration_seconds", "histogram",
        "Time from the start of an attempt to its end.");
    put_histogram(
        out, "executr_job_duration_seconds", "", &m->duration, slow_bounds,
        SLOW);
    put_help(
        out, "executr_jobs_waiting_time_seconds", "histogram",
        "Time from submission to claim.");
    put_histogram(
        out, "executr_jobs_waiting_time_seconds", "", &m->waiting, slow_bounds,
        SLOW);
    put_requests(m, out);
    if (stats)
        put_store_gauges(stats, out);
    put_gauge(
        out, "executr_database_connections_active",
        "Database connections that carry a statement right now.",
        connections_active);
    put_help(out, "executr_build_info", "gauge", "The version that runs.");
    ex_buf_printf(
        out, "executr_build_info{version=\"%s\"} 1\n", executr_version());
}
