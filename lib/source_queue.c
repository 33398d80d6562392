/* SPDX-License-Identifier: MIT */
/*
 * The source of a worker that shares its process with the queue. Calls of a
 * queue block, so three threads make them: one for claims, which wait, one for
 * heartbeats, so that no slow report costs leases, and one for the rest; an
 * eventfd tells the worker's loop of their ends.
 *
 * A slot belongs to the worker's thread while IDLE or DONE and to the helper
 * while ASKED; it changes hands under the lock.
 */
#include "source.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "queue.h"

enum {
    CLAIM,
    HEARTBEAT,
    REPORT,
    OUTPUT,
    GOODBYE,
    KINDS
};
enum {
    IDLE,
    ASKED,
    DONE
};

/* A claim waits in slices, so that one given up before it was parked ends
 * soon too. */
#define SLICE_MS 1000

typedef struct slot {
    int state;
    executr_status status;
    executr_error err;
} slot;

typedef struct queue_source {
    ex_source base; /* first, so that a source is one of these */
    executr_queue *queue;
    int wake; /* eventfd: something is DONE */
    pthread_mutex_t lock;
    pthread_cond_t asked;
    int32_t ending;
    pthread_t threads[3];
    int32_t started;
    slot slots[KINDS];

    const executr_claim *claim;
    char executor_id[256]; /* of the claim under way, for unclaim */
    atomic_int unclaimed;
    executr_jobs *jobs;
    const char *report_executor;
    const executr_report *const *reports;
    size_t report_count;
    executr_status *results;
    executr_heartbeat *heartbeat;
    const char *output_executor;
    const executr_output *output;
    int32_t followed;
    const char *goodbye_executor;
} queue_source;

static executr_status claim_in_slices(queue_source *s, executr_error *err)
{
    executr_claim claim = *s->claim;
    int64_t left = claim.wait_ms;

    for (;;) {
        claim.wait_ms = left < SLICE_MS ? left : SLICE_MS;
        left -= claim.wait_ms;
        executr_status st =
            executr_queue_claim(s->queue, &claim, &s->jobs, err);
        if (st || executr_jobs_count(s->jobs) > 0 || left <= 0 ||
            atomic_load(&s->unclaimed))
            return st;
        executr_jobs_free(s->jobs);
        s->jobs = NULL;
    }
}

static executr_status call(queue_source *s, int kind, executr_error *err)
{
    switch (kind) {
    case CLAIM:
        return claim_in_slices(s, err);
    case REPORT:
        return executr_queue_report(
            s->queue, s->report_executor, s->reports, s->report_count,
            s->results, err);
    case HEARTBEAT:
        return executr_queue_heartbeat(s->queue, s->heartbeat, err);
    case OUTPUT:
        return executr_queue_put_output(
            s->queue, s->output_executor, s->output, &s->followed, err);
    default:
        return executr_queue_goodbye(s->queue, s->goodbye_executor, err);
    }
}

/* Make the call of an ASKED slot, unlocked, and tell the loop. */
static void serve(queue_source *s, int kind)
{
    uint64_t one = 1;
    executr_error err = {0};

    pthread_mutex_unlock(&s->lock);
    executr_status st = call(s, kind, &err);
    pthread_mutex_lock(&s->lock);
    s->slots[kind] = (slot){DONE, st, err};
    while (write(s->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* The first ASKED slot from `first` up to `last`; -1 when there is none. */
static int find_asked(const queue_source *s, int first, int last)
{
    for (int kind = first; kind <= last; kind++) {
        if (s->slots[kind].state == ASKED)
            return kind;
    }
    return -1;
}

static void help(queue_source *s, int first, int last)
{
    pthread_mutex_lock(&s->lock);
    while (!s->ending) {
        int kind = find_asked(s, first, last);
        if (kind >= 0)
            serve(s, kind);
        else
            pthread_cond_wait(&s->asked, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

static void *help_claims(void *ctx)
{
    help(ctx, CLAIM, CLAIM);
    return NULL;
}

static void *help_heartbeats(void *ctx)
{
    help(ctx, HEARTBEAT, HEARTBEAT);
    return NULL;
}

static void *help_rest(void *ctx)
{
    help(ctx, REPORT, GOODBYE);
    return NULL;
}

static void ask(queue_source *s, int kind)
{
    pthread_mutex_lock(&s->lock);
    s->slots[kind].state = ASKED;
    pthread_cond_broadcast(&s->asked);
    pthread_mutex_unlock(&s->lock);
}

static executr_status source_claim(
    ex_source *source, const executr_claim *claim, executr_error *err)
{
    queue_source *s = (queue_source *)source;

    executr_status st = ex_executor_id_check(claim->executor_id, err);
    if (st)
        return st;
    s->claim = claim;
    atomic_store(&s->unclaimed, 0);
    memcpy(s->executor_id, claim->executor_id, strlen(claim->executor_id) + 1);
    ask(s, CLAIM);
    return EXECUTR_OK;
}

static executr_status source_report(
    ex_source *source, const char *executor_id,
    const executr_report *const *reports, size_t count, executr_error *err)
{
    queue_source *s = (queue_source *)source;
    void *results = s->results;

    executr_status st = ex_realloc(&results, count * sizeof *s->results, err);
    if (st)
        return st;
    s->results = results;
    s->report_executor = executor_id;
    s->reports = reports;
    s->report_count = count;
    ask(s, REPORT);
    return EXECUTR_OK;
}

static executr_status source_heartbeat(
    ex_source *source, executr_heartbeat *heartbeat, executr_error *err)
{
    queue_source *s = (queue_source *)source;

    (void)err;
    s->heartbeat = heartbeat;
    ask(s, HEARTBEAT);
    return EXECUTR_OK;
}

static executr_status source_output(
    ex_source *source, const char *executor_id, const executr_output *output,
    executr_error *err)
{
    queue_source *s = (queue_source *)source;

    (void)err;
    s->output_executor = executor_id;
    s->output = output;
    ask(s, OUTPUT);
    return EXECUTR_OK;
}

static executr_status source_goodbye(
    ex_source *source, const char *executor_id, executr_error *err)
{
    queue_source *s = (queue_source *)source;

    (void)err;
    s->goodbye_executor = executor_id;
    ask(s, GOODBYE);
    return EXECUTR_OK;
}

static void source_unclaim(ex_source *source)
{
    queue_source *s = (queue_source *)source;

    atomic_store(&s->unclaimed, 1);
    pthread_mutex_lock(&s->lock);
    int32_t waiting = s->slots[CLAIM].state == ASKED;
    pthread_mutex_unlock(&s->lock);
    if (waiting)
        ex_queue_unpark(s->queue, s->executor_id);
}

static int source_fd(const ex_source *source)
{
    return ((const queue_source *)source)->wake;
}

static void tell(queue_source *s, int kind, const slot *end)
{
    const ex_source_events *e = &s->base.events;
    executr_jobs *jobs = NULL;

    switch (kind) {
    case CLAIM:
        /* Only now: else the helper may be at it. */
        jobs = s->jobs;
        s->jobs = NULL;
        e->claimed(e->ctx, end->status, jobs, &end->err);
        break;
    case REPORT:
        e->reported(
            e->ctx, end->status, s->results, s->report_count, &end->err);
        break;
    case HEARTBEAT:
        e->beaten(
            e->ctx, end->status, s->heartbeat->leases,
            s->heartbeat->lease_count, &end->err);
        break;
    case OUTPUT:
        e->put(e->ctx, end->status, s->followed, &end->err);
        break;
    default:
        e->left(e->ctx, end->status, &end->err);
    }
}

static executr_status source_step(ex_source *source, executr_error *err)
{
    queue_source *s = (queue_source *)source;
    uint64_t count;

    while (read(s->wake, &count, sizeof count) < 0) {
        if (errno == EAGAIN)
            return EXECUTR_OK;
        if (errno != EINTR)
            return ex_fail_errno(err, errno, "cannot read an eventfd");
    }
    for (int kind = 0; kind < KINDS; kind++) {
        pthread_mutex_lock(&s->lock);
        slot end = s->slots[kind];
        if (end.state == DONE)
            s->slots[kind].state = IDLE;
        pthread_mutex_unlock(&s->lock);
        if (end.state == DONE)
            tell(s, kind, &end);
    }
    return EXECUTR_OK;
}

static executr_status source_fetch(
    void *ctx, const char *sha256, executr_write write, void *write_ctx,
    executr_error *err)
{
    queue_source *s = ctx;

    return executr_queue_get_binary(s->queue, sha256, 0, write, write_ctx, err);
}

static void source_free(ex_source *source)
{
    queue_source *s = (queue_source *)source;

    if (!s)
        return;
    source_unclaim(source);
    pthread_mutex_lock(&s->lock);
    s->ending = 1;
    pthread_cond_broadcast(&s->asked);
    pthread_mutex_unlock(&s->lock);
    for (int32_t i = 0; i < s->started; i++)
        pthread_join(s->threads[i], NULL);
    pthread_cond_destroy(&s->asked);
    pthread_mutex_destroy(&s->lock);
    if (s->wake >= 0)
        close(s->wake);
    executr_jobs_free(s->jobs); /* claimed and not told; goodbye gives back */
    ex_free(s->results);
    ex_free(s);
}

static const ex_source_ops queue_ops = {
    source_claim,   source_report,  source_heartbeat, source_output,
    source_goodbye, source_unclaim, source_fd,        source_step,
    source_fetch,   source_free};

static executr_status start_threads(queue_source *s, executr_error *err)
{
    static void *(*const work[])(void *) = {
        help_claims, help_heartbeats, help_rest};

    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0)
        return ex_fail_errno(err, errno, "cannot open an eventfd");
    while (s->started < 3) {
        int rc =
            pthread_create(&s->threads[s->started], NULL, work[s->started], s);
        if (rc)
            return ex_fail_errno(err, rc, "cannot start a thread");
        s->started++;
    }
    return EXECUTR_OK;
}

executr_status ex_source_queue_open(
    executr_queue *queue, const executr_log *log,
    const ex_source_events *events, ex_source **out, executr_error *err)
{
    void *memory = NULL;

    (void)log; /* the queue has a hook of its own */
    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof(queue_source), err);
    if (st)
        return st;
    queue_source *s = memory;
    s->base = (ex_source){&queue_ops, *events, 0, NULL, NULL};
    s->queue = queue;
    s->wake = -1;
    int rc = pthread_mutex_init(&s->lock, NULL);
    if (!rc) {
        rc = pthread_cond_init(&s->asked, NULL);
        if (rc)
            pthread_mutex_destroy(&s->lock);
    }
    if (rc) {
        ex_free(s);
        return ex_fail_errno(err, rc, "cannot make a lock");
    }
    st = start_threads(s, err);
    if (st)
        source_free(&s->base);
    else
        *out = &s->base;
    return st;
}
