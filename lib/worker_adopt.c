/* SPDX-License-Identifier: MIT */
/*
 * Results of executors that are gone, told for them: the server asks for the
 * executor that held the lease, not for who brings the end. One page at a time
 * is in memory, and a file goes when all in it was answered; until then it is
 * what a next start finds.
 */
#include <string.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"
#include "retry.h"
#include "worker.h"

/* One that dies beside us is found as soon as its lease needs. */
#define LOOK_US (INT64_C(5) * 1000 * 1000)

/* On the spooler's thread: the next page, of the next file if need be. */
executr_status ex_adopt_read(ex_spooler *s)
{
    ex_adoption *a = &s->adoption;
    executr_status st = EXECUTR_OK;

    a->removed = 0;
    a->cut = 0;
    ex_spool_page_clear(&a->page);
    while (!st && a->page.count == 0) {
        int removed = 0;
        if (a->orphan.fd < 0)
            st = ex_spool_find(&s->spool, &a->orphan, &removed, &s->err);
        a->removed += removed;
        if (st || a->orphan.fd < 0)
            break;
        int64_t cut = 0;
        st = ex_spool_read(&a->orphan, &a->page, &cut, &s->err);
        a->cut += cut;
        if (!st && a->page.count == 0)
            ex_spool_leave(&s->spool, &a->orphan, 1);
    }
    return st;
}

void ex_adopt_close(ex_spooler *s)
{
    ex_spool_page_clear(&s->adoption.page);
    ex_spool_leave(&s->spool, &s->adoption.orphan, 0);
}

void ex_worker_adopted(
    executr_worker *worker, executr_status status, const executr_error *err)
{
    ex_adoption *a = &worker->spooler.adoption;

    if (a->cut > 0 || a->removed > 0)
        ex_log(
            &worker->log, EXECUTR_LOG_WARN,
            "the spool of a dead executor has an unfinished end, which was cut",
            "bytes", EX_I64(a->cut), "empty_files", EX_I64(a->removed), NULL);
    if (status)
        ex_log(
            &worker->log, EXECUTR_LOG_WARN,
            "cannot read what a dead executor left", "error", err->message,
            NULL);
    if (a->page.count > 0)
        ex_log(
            &worker->log, EXECUTR_LOG_INFO,
            "delivering results of an executor that is gone", "executor",
            a->orphan.executor_id, "count", EX_I64((int64_t)a->page.count),
            NULL);
    a->limit = EX_REPORTS_PER_CALL;
    a->look_us = a->page.count > 0 ? 0 : ex_boottime_us() + LOOK_US;
}

int64_t ex_worker_adopt_due_us(const executr_worker *worker)
{
    const ex_spooler *s = &worker->spooler;

    /* They are safe where they are; a stop need not wait for them. */
    if (!s->used || s->busy || worker->stopping || s->adoption.page.count > 0)
        return EX_NEVER_US;
    return s->adoption.look_us;
}

void ex_worker_adopt(executr_worker *worker, int64_t now_us)
{
    if (ex_worker_adopt_due_us(worker) <= now_us)
        ex_spooler_start(&worker->spooler, EX_SPOOL_READ);
}

int ex_worker_has_adopted(const executr_worker *worker)
{
    const ex_spooler *s = &worker->spooler;

    return s->used && !s->busy && !worker->stopping &&
           s->adoption.page.count > 0;
}

/* Answered, or never to be. */
static void drop(ex_spool_page *page, size_t i)
{
    page->reports[i] = NULL;
}

static void squeeze(ex_spool_page *page)
{
    size_t kept = 0;

    for (size_t i = 0; i < page->count; i++) {
        if (page->reports[i])
            page->reports[kept++] = page->reports[i];
    }
    page->count = kept;
}

void ex_worker_send_adopted(executr_worker *worker)
{
    ex_adoption *a = &worker->spooler.adoption;
    executr_error err = {0};
    size_t count = a->page.count < a->limit ? a->page.count : a->limit;

    worker->reporting = 1;
    a->sending = count;
    executr_status st = worker->source->ops->report(
        worker->source, a->orphan.executor_id, a->page.reports, count, &err);
    if (st)
        ex_worker_reported(worker, st, NULL, count, &err);
}

/* The whole call failed. 1 if one report's fault was found and dropped. */
static int blame(
    executr_worker *worker, executr_status status, const executr_error *err)
{
    ex_adoption *a = &worker->spooler.adoption;

    if (!ex_report_blames_one(status))
        return 0;
    if (a->sending > 1) {
        a->limit = a->sending / 2;
        return 0;
    }
    ex_log(
        &worker->log, EXECUTR_LOG_ERROR,
        "a spooled result is refused and given up", "job_id",
        a->page.reports[0]->job_id, "error", err->message, NULL);
    drop(&a->page, 0);
    return 1;
}

/* 1 if this was the end of a call for a dead executor; then *later says
 * whether it has to be made again, after a while. */
int ex_worker_adopted_reported(
    executr_worker *worker, executr_status status,
    const executr_status *results, const executr_error *err, int *later)
{
    ex_adoption *a = &worker->spooler.adoption;

    if (a->sending == 0)
        return 0;
    *later = status && !blame(worker, status, err);
    for (size_t i = 0; !status && i < a->sending; i++) {
        if (executr_status_retriable(results[i]) ||
            results[i] == EXECUTR_E_INTERNAL) {
            *later = 1;
            continue;
        }
        ex_log(
            &worker->log, EXECUTR_LOG_INFO,
            results[i] ? "a spooled result does not count"
                       : "a spooled result was delivered",
            "job_id", a->page.reports[i]->job_id, "attempt",
            EX_I64(a->page.reports[i]->attempt), "code",
            results[i] ? executr_status_word(results[i]) : NULL, NULL);
        drop(&a->page, i);
    }
    a->sending = 0;
    squeeze(&a->page);
    return 1;
}
