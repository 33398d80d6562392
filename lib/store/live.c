/* SPDX-License-Identifier: MIT */
/* Live output in memory; hides how pieces are kept and dropped. */
#include "store/live.h"

#include <string.h>

#include "base/alloc.h"
#include "base/time.h"

typedef struct part {
    struct part *next;
    int64_t offset;
    size_t length;
    char data[];
} part;

/* Oldest first; offsets behind the parts only grow. */
typedef struct stream {
    part *first;
    part *last;
} stream;

struct ex_live_job {
    ex_live_job *next;
    ex_uuid id;
    int64_t until_us; /* monotonic */
    int32_t attempt;
    stream streams[2];
};

static int64_t behind(const part *p)
{
    return p->offset + (int64_t)p->length;
}

static void drop_first(stream *s)
{
    part *first = s->first;

    s->first = first->next;
    if (!s->first)
        s->last = NULL;
    ex_free(first);
}

static void drop_all(ex_live_job *job)
{
    for (int i = 0; i < 2; i++) {
        while (job->streams[i].first)
            drop_first(&job->streams[i]);
    }
}

static ex_live_job *find(const ex_live_memory *live, const ex_uuid *id)
{
    ex_live_job *job = live->jobs;

    while (job && ex_uuid_compare(&job->id, id) != 0)
        job = job->next;
    return job;
}

void ex_live_open(ex_live_memory *live)
{
    memset(live, 0, sizeof *live);
    pthread_mutex_init(&live->lock, NULL);
}

static void forget(ex_live_memory *live, int64_t before_us)
{
    ex_live_job **link = &live->jobs;

    while (*link) {
        ex_live_job *job = *link;
        if (job->until_us >= before_us) {
            link = &job->next;
            continue;
        }
        *link = job->next;
        drop_all(job);
        ex_free(job);
        atomic_fetch_sub(&live->count, 1);
    }
}

void ex_live_close(ex_live_memory *live)
{
    forget(live, INT64_MAX);
    pthread_mutex_destroy(&live->lock);
}

void ex_live_sweep(ex_live_memory *live)
{
    if (atomic_load(&live->count) == 0)
        return;
    pthread_mutex_lock(&live->lock);
    forget(live, ex_monotonic_us());
    pthread_mutex_unlock(&live->lock);
}

executr_status ex_live_follow(
    ex_live_memory *live, const ex_uuid *id, int64_t for_ms, executr_error *err)
{
    int64_t until = ex_monotonic_us() + for_ms * 1000;
    executr_status st = EXECUTR_OK;
    void *memory;

    pthread_mutex_lock(&live->lock);
    ex_live_job *job = find(live, id);
    if (!job) {
        st = ex_alloc(&memory, sizeof *job, err);
        if (!st) {
            job = memory;
            job->id = *id;
            job->next = live->jobs;
            live->jobs = job;
            atomic_fetch_add(&live->count, 1);
        }
    }
    if (job && job->until_us < until)
        job->until_us = until;
    pthread_mutex_unlock(&live->lock);
    return st;
}

int32_t ex_live_is_followed(ex_live_memory *live, const ex_uuid *id)
{
    if (atomic_load(&live->count) == 0)
        return 0;
    pthread_mutex_lock(&live->lock);
    const ex_live_job *job = find(live, id);
    int32_t followed = job && job->until_us > ex_monotonic_us();
    pthread_mutex_unlock(&live->lock);
    return followed;
}

/*
 * What is there already is not put twice; a piece from before the window
 * begins the stream anew: its executor was asked again after nobody had wanted
 * it for a while.
 */
static executr_status append(
    stream *s, const ex_piece *piece, executr_error *err)
{
    int64_t end = piece->offset + (int64_t)piece->length;
    void *memory;

    while (s->first && piece->offset < s->first->offset)
        drop_first(s);
    if (piece->length == 0 || (s->last && end <= behind(s->last)))
        return EXECUTR_OK;
    executr_status st = ex_alloc(&memory, sizeof(part) + piece->length, err);
    if (st)
        return st;
    part *new = memory;
    new->offset = piece->offset;
    new->length = piece->length;
    memcpy(new->data, piece->data, piece->length);
    while (s->first && behind(s->first) <= end - piece->window)
        drop_first(s);
    if (s->last)
        s->last->next = new;
    else
        s->first = new;
    s->last = new;
    return EXECUTR_OK;
}

executr_status ex_live_put(
    ex_live_memory *live, const ex_piece *piece, int32_t attempt,
    int32_t *followed, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    pthread_mutex_lock(&live->lock);
    ex_live_job *job = find(live, &piece->id);
    *followed = job && job->until_us > ex_monotonic_us();
    if (*followed && attempt != job->attempt) {
        drop_all(job);
        job->attempt = attempt;
    }
    if (*followed)
        st = append(&job->streams[piece->stream - 1], piece, err);
    pthread_mutex_unlock(&live->lock);
    return st;
}

void ex_live_read(
    ex_live_memory *live, const ex_uuid *id, int32_t attempt,
    const int64_t from[2], ex_view *out)
{
    pthread_mutex_lock(&live->lock);
    const ex_live_job *job = find(live, id);
    for (int i = 0; job && job->attempt == attempt && i < 2; i++) {
        const part *p = job->streams[i].first;
        while (p && behind(p) <= from[i])
            p = p->next;
        if (p && from[i] >= 0) {
            out->pieces[i].offset = p->offset;
            ex_buf_add(&out->pieces[i].data, p->data, p->length);
        }
    }
    pthread_mutex_unlock(&live->lock);
}
