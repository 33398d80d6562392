/* SPDX-License-Identifier: MIT */
/* A store in memory for tests of the queue. */
#include "support/memory_store.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>

#include "base/fail.h"
#include "base/time.h"

static memory_store *of(executr_store *store)
{
    return (memory_store *)store;
}

/* Lock it, unless it fails just now. */
static executr_status enter(memory_store *m, executr_error *err)
{
    pthread_mutex_lock(&m->lock);
    executr_status st = m->failing;
    if (!st)
        return EXECUTR_OK;
    pthread_mutex_unlock(&m->lock);
    return ex_fail(err, st, "the store was told to fail");
}

static void leave(memory_store *m)
{
    pthread_mutex_unlock(&m->lock);
}

static void put(memory_store *m, const ex_uuid *id, const executr_job_spec *s)
{
    memory_job *job = &m->jobs[m->job_count++];

    cr_assert_leq(m->job_count, MEMORY_JOBS_MAX);
    memset(job, 0, sizeof *job);
    job->id = *id;
    strncpy(job->type, s->type, sizeof job->type - 1);
    job->priority = s->priority;
    job->demands = ex_spec_demands(s);
}

static executr_status submit(
    executr_store *store, ex_submit *jobs, size_t count, executr_error *err)
{
    memory_store *m = of(store);

    /* As one does that fails after a part of them. */
    for (size_t i = 0; i < count; i++)
        jobs[i].taken = jobs[i].taker != NULL;
    executr_status st = enter(m, err);
    if (st)
        return st;
    m->submit_calls++;
    for (size_t i = 0; i < count; i++) {
        jobs[i].result = EXECUTR_OK;
        jobs[i].taken = 0;
        if (!jobs[i].spec->binary_url) {
            jobs[i].result = EXECUTR_E_NOT_FOUND;
        } else {
            put(m, &jobs[i].id, jobs[i].spec);
            jobs[i].taken = jobs[i].taker && !m->declines;
            m->jobs[m->job_count - 1].claimed = jobs[i].taken;
        }
        jobs[i].created_at_us = ex_now_us();
    }
    leave(m);
    return EXECUTR_OK;
}

static int32_t fits(const memory_job *job, const executr_claim *request)
{
    int32_t named = request->type_count == 0;

    for (size_t i = 0; i < request->type_count; i++)
        named |= strcmp(request->types[i], job->type) == 0;
    return named && !job->claimed && !(job->demands & ~request->offers) &&
           (!request->priorities ||
            (request->priorities & UINT32_C(1) << job->priority));
}

static executr_status hand_out(
    memory_store *m, ex_claim *claim, executr_error *err)
{
    for (size_t i = 0; i < m->job_count; i++) {
        struct executr_job *job;
        if (claim->jobs->count == (size_t)claim->request->max_jobs)
            return EXECUTR_OK;
        if (!fits(&m->jobs[i], claim->request))
            continue;
        executr_status st = ex_jobs_add(claim->jobs, &job, err);
        if (st)
            return st;
        m->jobs[i].claimed = 1;
        ex_uuid_format(&m->jobs[i].id, job->id);
        job->type = ex_arena_strdup(&claim->jobs->arena, m->jobs[i].type);
        job->attempt = 1;
    }
    return EXECUTR_OK;
}

static executr_status claim(
    executr_store *store, ex_claim *claims, size_t count, executr_error *err)
{
    memory_store *m = of(store);

    executr_status st = enter(m, err);
    if (st)
        return st;
    m->claim_requests += count;
    for (size_t i = 0; i < count && !st; i++)
        st = hand_out(m, &claims[i], err);
    leave(m);
    return st;
}

/* Every end gives the job back: the queue can't tell. */
static executr_status finish(
    executr_store *store, ex_finish *ends, size_t count, const ex_rules *rules,
    executr_error *err)
{
    memory_store *m = of(store);

    (void)rules;
    executr_status st = enter(m, err);
    if (st)
        return st;
    for (size_t i = 0; i < count; i++) {
        ends[i].result = EXECUTR_E_NOT_FOUND;
        for (size_t k = 0; k < m->job_count; k++) {
            if (ex_uuid_compare(&ends[i].id, &m->jobs[k].id) != 0)
                continue;
            m->jobs[k].claimed = 0;
            ends[i].job_status = EXECUTR_JOB_PENDING;
            ends[i].result = EXECUTR_OK;
        }
    }
    leave(m);
    return EXECUTR_OK;
}

static executr_status list(
    executr_store *store, const executr_filter *filter, executr_jobs *jobs,
    executr_error *err)
{
    memory_store *m = of(store);
    struct executr_job *job;

    executr_status st = enter(m, err);
    if (st)
        return st;
    for (size_t i = m->job_count; i-- > 0 && !st;) {
        if (jobs->count > (size_t)filter->limit)
            break;
        st = ex_jobs_add(jobs, &job, err);
        if (!st)
            ex_uuid_format(&m->jobs[i].id, job->id);
    }
    leave(m);
    return st;
}

static executr_status upkeep(
    executr_store *store, const ex_rules *rules, int32_t reap, ex_upkeep *out,
    executr_error *err)
{
    memory_store *m = of(store);

    (void)rules;
    executr_status st = enter(m, err);
    if (st)
        return st;
    m->upkeeps++;
    m->reaps += reap != 0;
    *out = m->upkeep;
    leave(m);
    return EXECUTR_OK;
}

static executr_status cleanup(
    executr_store *store, int64_t retention_ms, int64_t *deleted,
    executr_error *err)
{
    memory_store *m = of(store);

    (void)retention_ms;
    executr_status st = enter(m, err);
    if (st)
        return st;
    m->cleanups++;
    *deleted = m->cleanups <= m->full_cleanups ? 1000 : m->deleted;
    leave(m);
    return EXECUTR_OK;
}

static executr_status watch(
    executr_store *store, int32_t parked, int64_t timeout_ms, int wake,
    int32_t *told, executr_error *err)
{
    memory_store *m = of(store);
    struct pollfd p = {wake, POLLIN, 0};

    executr_status st = enter(m, err);
    if (st)
        return st;
    m->parked = parked;
    leave(m);
    poll(&p, 1, (int)timeout_ms);
    st = enter(m, err);
    if (st)
        return st;
    *told = m->told;
    m->told = 0;
    leave(m);
    return EXECUTR_OK;
}

static executr_status binary_begin(
    executr_store *store, const ex_uuid *upload, executr_error *err)
{
    memory_store *m = of(store);

    executr_status st = enter(m, err);
    if (st)
        return st;
    m->upload = *upload;
    m->open_uploads++;
    ex_buf_reset(&m->uploaded);
    leave(m);
    return EXECUTR_OK;
}

static executr_status binary_part(
    executr_store *store, const ex_uuid *upload, int32_t part, const void *data,
    size_t length, executr_error *err)
{
    memory_store *m = of(store);

    executr_status st = enter(m, err);
    if (st)
        return st;
    cr_assert_eq(ex_uuid_compare(upload, &m->upload), 0);
    cr_assert_eq((size_t)part * EX_BINARY_PART, m->uploaded.length);
    ex_buf_add(&m->uploaded, data, length);
    leave(m);
    return EXECUTR_OK;
}

static executr_status binary_end(
    executr_store *store, const ex_uuid *upload, const char *sha256,
    int64_t bytes, int32_t *created, executr_error *err)
{
    memory_store *m = of(store);

    executr_status st = enter(m, err);
    if (st)
        return st;
    cr_assert_eq(ex_uuid_compare(upload, &m->upload), 0);
    cr_assert_eq((size_t)bytes, m->uploaded.length);
    memcpy(m->binary, sha256, sizeof m->binary);
    m->open_uploads--;
    *created = 1;
    leave(m);
    return EXECUTR_OK;
}

static executr_status binary_drop(
    executr_store *store, const ex_uuid *upload, executr_error *err)
{
    memory_store *m = of(store);

    executr_status st = enter(m, err);
    if (st)
        return st;
    cr_assert_eq(ex_uuid_compare(upload, &m->upload), 0);
    m->open_uploads--;
    leave(m);
    return EXECUTR_OK;
}

static executr_status binary_size(
    executr_store *store, const char *sha256, int64_t *bytes,
    executr_error *err)
{
    memory_store *m = of(store);

    executr_status st = enter(m, err);
    if (st)
        return st;
    if (strcmp(m->binary, sha256) != 0)
        st = ex_fail(err, EXECUTR_E_NOT_FOUND, "no such binary");
    *bytes = (int64_t)m->uploaded.length;
    leave(m);
    return st;
}

static executr_status binary_read(
    executr_store *store, const char *sha256, int32_t part, ex_buf *out,
    executr_error *err)
{
    memory_store *m = of(store);
    size_t from = (size_t)part * EX_BINARY_PART;

    (void)sha256;
    executr_status st = enter(m, err);
    if (st)
        return st;
    size_t left = m->uploaded.length - from;
    ex_buf_add(
        out, m->uploaded.data + from,
        left < EX_BINARY_PART ? left : EX_BINARY_PART);
    leave(m);
    return EXECUTR_OK;
}

static const ex_store_ops ops = {
    .kind = "memory",
    .parallel = 2,
    .submit = submit,
    .claim = claim,
    .finish = finish,
    .list = list,
    .upkeep = upkeep,
    .cleanup = cleanup,
    .watch = watch,
    .binary_begin = binary_begin,
    .binary_part = binary_part,
    .binary_end = binary_end,
    .binary_drop = binary_drop,
    .binary_size = binary_size,
    .binary_read = binary_read,
};

memory_store *memory_store_open(void)
{
    void *memory;

    cr_assert_eq(ex_alloc(&memory, sizeof(memory_store), NULL), EXECUTR_OK);
    memory_store *m = memory;
    m->base.ops = &ops;
    pthread_mutex_init(&m->lock, NULL);
    ex_buf_init(&m->uploaded, EX_BUF_UNLIMITED);
    return m;
}

void memory_store_free(memory_store *store)
{
    ex_buf_clear(&store->uploaded);
    pthread_mutex_destroy(&store->lock);
    ex_free(store);
}

size_t memory_store_read(memory_store *store, const size_t *field)
{
    pthread_mutex_lock(&store->lock);
    size_t value = *field;
    pthread_mutex_unlock(&store->lock);
    return value;
}

void memory_store_fail(memory_store *store, executr_status status)
{
    pthread_mutex_lock(&store->lock);
    store->failing = status;
    pthread_mutex_unlock(&store->lock);
}

void memory_store_slip_in(memory_store *store, const char *type)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;
    ex_uuid id;

    spec.type = type;
    spec.priority = EXECUTR_PRIORITY_BACKGROUND;
    cr_assert_eq(ex_uuid_make(&id, 1, NULL), EXECUTR_OK);
    pthread_mutex_lock(&store->lock);
    put(store, &id, &spec);
    pthread_mutex_unlock(&store->lock);
}
