/* SPDX-License-Identifier: MIT */
/* The job state machine, written a second time and as plainly as can be. */
#include "store/model.h"

#include <string.h>

void model_init(model *m, int32_t max_lost)
{
    memset(m, 0, sizeof *m);
    m->max_lost = max_lost;
    for (int32_t i = 0; i < MODEL_KEYS; i++)
        m->keys[i] = -1;
}

int32_t model_submit(model *m, const model_job *job, int32_t digest)
{
    if (job->key >= 0 && m->keys[job->key] >= 0)
        return m->digests[job->key] == digest ? m->keys[job->key] : -1;
    if (job->key >= 0) {
        m->keys[job->key] = m->count;
        m->digests[job->key] = digest;
    }
    m->jobs[m->count] = *job;
    m->jobs[m->count].status = EXECUTR_JOB_PENDING;
    return m->count++;
}

void model_take(model *m, int32_t at, int32_t executor)
{
    model_job *job = &m->jobs[at];

    job->status = EXECUTR_JOB_RUNNING;
    job->executor = executor;
    job->silent = 0;
    job->attempt++;
    job->attempts[job->attempt].executor = executor;
}

static int32_t may_claim(
    const model_job *job, uint32_t types, uint32_t priorities, uint32_t offers)
{
    return !job->deleted && job->status == EXECUTR_JOB_PENDING &&
           !job->waiting && (types & 1u << job->type) &&
           (priorities & 1u << job->priority) && !(job->demands & ~offers);
}

int32_t model_claim(
    model *m, int32_t executor, int32_t most, uint32_t types,
    uint32_t priorities, uint32_t offers, int32_t out[])
{
    int32_t count = 0;

    for (int32_t p = 1; p <= 3; p++) {
        for (int32_t i = 0; i < m->count && count < most; i++) {
            const model_job *job = &m->jobs[i];
            if (job->priority != p ||
                !may_claim(job, types, priorities, offers))
                continue;
            model_take(m, i, executor);
            out[count++] = i;
        }
    }
    return count;
}

/* The running attempt ends as `attempt`, and the job becomes `status`. */
static void end_attempt(model_job *job, int32_t attempt, int32_t status)
{
    job->attempts[job->attempt].status = attempt;
    job->status = status;
}

static void give_back(model_job *job)
{
    end_attempt(
        job, EXECUTR_ATTEMPT_RELEASED,
        job->stop ? EXECUTR_JOB_CANCELLED : EXECUTR_JOB_PENDING);
}

/* What an attempt ended by such a report is recorded as. */
static int32_t is_such(const executr_report *report, int32_t status)
{
    if (report->uncounted)
        return status == EXECUTR_ATTEMPT_RELEASED;
    if (report->status == EXECUTR_ATTEMPT_COMPLETED)
        return status == EXECUTR_ATTEMPT_COMPLETED;
    return status == EXECUTR_ATTEMPT_FAILED ||
           status == EXECUTR_ATTEMPT_CANCELLED;
}

static executr_status judge_late(
    const model_job *job, int32_t executor, const executr_report *report,
    int32_t *repeated)
{
    int32_t last =
        job->attempt < MODEL_ATTEMPTS ? job->attempt : MODEL_ATTEMPTS;

    for (int32_t a = last; a > 0; a--) {
        const model_attempt *attempt = &job->attempts[a];
        if (!attempt->status || attempt->executor != executor ||
            (report->attempt && report->attempt != a))
            continue;
        *repeated = is_such(report, attempt->status);
        return *repeated ? EXECUTR_OK : EXECUTR_E_LOST;
    }
    return EXECUTR_E_LOST;
}

executr_status model_finish(
    model *m, int32_t at, int32_t executor, const executr_report *report,
    int32_t *repeated)
{
    model_job *job = &m->jobs[at];

    *repeated = 0;
    if (job->deleted)
        return EXECUTR_E_NOT_FOUND;
    if (model_verdict(m, at, executor, report->attempt) == EXECUTR_LEASE_LOST)
        return judge_late(job, executor, report, repeated);
    if (report->uncounted) {
        give_back(job);
        return EXECUTR_OK;
    }
    job->lost_count = 0;
    if (report->status == EXECUTR_ATTEMPT_COMPLETED) {
        end_attempt(job, EXECUTR_ATTEMPT_COMPLETED, EXECUTR_JOB_COMPLETED);
    } else if (job->stop) {
        end_attempt(job, EXECUTR_ATTEMPT_CANCELLED, EXECUTR_JOB_CANCELLED);
    } else if (job->retry_count < job->max_retries) {
        end_attempt(job, EXECUTR_ATTEMPT_FAILED, EXECUTR_JOB_PENDING);
        job->retry_count++;
        job->waiting = 1;
    } else {
        end_attempt(job, EXECUTR_ATTEMPT_FAILED, EXECUTR_JOB_FAILED);
    }
    return EXECUTR_OK;
}

int32_t model_verdict(
    const model *m, int32_t at, int32_t executor, int32_t attempt)
{
    const model_job *job = &m->jobs[at];

    if (job->deleted)
        return EXECUTR_LEASE_UNKNOWN;
    if (job->status != EXECUTR_JOB_RUNNING || job->executor != executor ||
        (attempt && attempt != job->attempt))
        return EXECUTR_LEASE_LOST;
    return job->stop ? EXECUTR_LEASE_CANCEL : EXECUTR_LEASE_KEPT;
}

void model_extend(model *m, int32_t at)
{
    m->jobs[at].silent = 0;
}

static int32_t holds(const model *m, int32_t at, int32_t executor)
{
    const model_job *job = &m->jobs[at];

    return !job->deleted && job->status == EXECUTR_JOB_RUNNING &&
           (executor < 0 || job->executor == executor);
}

void model_beat(model *m, int32_t executor, const int32_t named[MODEL_JOBS])
{
    for (int32_t i = 0; i < m->count; i++) {
        if (!holds(m, i, executor))
            continue;
        m->jobs[i].silent = 0;
        if (!named[i])
            give_back(&m->jobs[i]);
    }
}

void model_goodbye(model *m, int32_t executor)
{
    for (int32_t i = 0; i < m->count; i++) {
        if (holds(m, i, executor))
            give_back(&m->jobs[i]);
    }
}

executr_status model_cancel(model *m, int32_t at)
{
    model_job *job = &m->jobs[at];

    if (job->deleted)
        return EXECUTR_E_NOT_FOUND;
    if (job->status == EXECUTR_JOB_PENDING) {
        job->status = EXECUTR_JOB_CANCELLED;
        job->waiting = 0;
        return EXECUTR_OK;
    }
    if (job->status != EXECUTR_JOB_RUNNING)
        return EXECUTR_E_CONFLICT;
    job->stop = 1;
    return EXECUTR_E_CANCELLED;
}

executr_status model_retry(model *m, int32_t at)
{
    model_job *job = &m->jobs[at];

    if (job->deleted)
        return EXECUTR_E_NOT_FOUND;
    if (job->status != EXECUTR_JOB_FAILED &&
        job->status != EXECUTR_JOB_CANCELLED)
        return EXECUTR_E_CONFLICT;
    job->status = EXECUTR_JOB_PENDING;
    job->stop = 0;
    job->retry_count = 0;
    job->lost_count = 0;
    return EXECUTR_OK;
}

void model_silence(model *m, int32_t executor)
{
    for (int32_t i = 0; i < m->count; i++) {
        if (holds(m, i, executor))
            m->jobs[i].silent = 1;
    }
}

int32_t model_reap(model *m, int32_t *failed)
{
    int32_t count = 0;

    *failed = 0;
    for (int32_t i = 0; i < m->count; i++) {
        model_job *job = &m->jobs[i];
        if (!holds(m, i, -1) || !job->silent)
            continue;
        count++;
        job->lost_count++;
        int32_t over = job->lost_count >= m->max_lost;
        *failed += over;
        end_attempt(
            job, EXECUTR_ATTEMPT_TIMEOUT,
            over        ? EXECUTR_JOB_FAILED
            : job->stop ? EXECUTR_JOB_CANCELLED
                        : EXECUTR_JOB_PENDING);
    }
    return count;
}

int32_t model_due(model *m)
{
    int32_t count = 0;

    for (int32_t i = 0; i < m->count; i++) {
        count += m->jobs[i].waiting;
        m->jobs[i].waiting = 0;
    }
    return count;
}

int32_t model_clean(model *m)
{
    int32_t count = 0;

    for (int32_t i = 0; i < m->count; i++) {
        model_job *job = &m->jobs[i];
        if (job->deleted || job->status < EXECUTR_JOB_COMPLETED)
            continue;
        job->deleted = 1;
        count++;
        if (job->key >= 0)
            m->keys[job->key] = -1;
    }
    return count;
}
