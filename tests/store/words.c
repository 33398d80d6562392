/* SPDX-License-Identifier: MIT */
/* Short words for the operations, with what most tests don't care about. */
#include <stdio.h>
#include <string.h>

#include "store/suite.h"

executr_job_spec spec_of(const char *type)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.type = type;
    spec.priority = EXECUTR_PRIORITY_BACKGROUND;
    spec.binary_url = "http://example.com/tool";
    spec.binary_sha256 = SHA_A;
    return spec;
}

ex_submit entry_of(const executr_job_spec *spec)
{
    ex_submit entry;

    memset(&entry, 0, sizeof entry);
    entry.spec = spec;
    entry.arguments = "[\"a\",\"b\"]";
    entry.environment = "{\"K\":\"v\"}";
    entry.digest = "";
    must(ex_uuid_make(&entry.id, 1, &err));
    return entry;
}

executr_status submit(ex_submit *entries, size_t count)
{
    return store->ops->submit(store, entries, count, &err);
}

ex_uuid put_spec(const executr_job_spec *spec)
{
    ex_submit entry = entry_of(spec);

    must(submit(&entry, 1));
    must(entry.result);
    return entry.id;
}

ex_uuid put(const char *type, int32_t priority)
{
    executr_job_spec spec = spec_of(type);

    spec.priority = priority;
    return put_spec(&spec);
}

void put_many(size_t count, ex_uuid *ids)
{
    static ex_submit entries[1000];
    executr_job_spec spec = spec_of("many");

    cr_assert(count <= 1000);
    for (size_t i = 0; i < count; i++)
        entries[i] = entry_of(&spec);
    must(submit(entries, count));
    for (size_t i = 0; i < count; i++) {
        must(entries[i].result);
        if (ids)
            ids[i] = entries[i].id;
    }
}

ex_uuid put_running(const char *executor)
{
    ex_uuid id = put("t", EXECUTR_PRIORITY_FOREGROUND);
    const job *got = take_one(executor);

    cr_assert(got);
    ex_uuid taken = id_of(got);
    cr_assert(same_id(&taken, &id));
    return id;
}

executr_claim claim_of(const char *executor, int32_t count)
{
    executr_claim request = EXECUTR_CLAIM_INIT;

    request.executor_id = executor;
    request.executor_ip = "10.0.0.1";
    request.max_jobs = count;
    return request;
}

executr_jobs *take_as(const executr_claim *request)
{
    ex_claim one = {request, new_list()};

    must(store->ops->claim(store, &one, 1, &err));
    return one.jobs;
}

executr_jobs *take(const char *executor, int32_t count)
{
    executr_claim request = claim_of(executor, count);

    return take_as(&request);
}

job *take_one(const char *executor)
{
    executr_jobs *got = take(executor, 1);

    cr_assert(got->count <= 1);
    return got->count ? got->items[0] : NULL;
}

executr_report report_of(int32_t status)
{
    executr_report report = EXECUTR_REPORT_INIT;

    report.status = status;
    report.outcome = EXECUTR_OUTCOME_EXIT;
    report.has_exit_code = 1;
    report.exit_code = status == EXECUTR_ATTEMPT_COMPLETED ? 0 : 3;
    if (status != EXECUTR_ATTEMPT_COMPLETED)
        report.error_message = "it broke";
    return report;
}

ex_finish end_of(
    const char *executor, const ex_uuid *id, const executr_report *report)
{
    ex_finish entry;

    memset(&entry, 0, sizeof entry);
    entry.executor_id = executor;
    entry.report = report;
    entry.id = *id;
    return entry;
}

executr_status finish(ex_finish *ends, size_t count)
{
    return store->ops->finish(store, ends, count, &rules, &err);
}

executr_status end(
    const char *executor, const ex_uuid *id, int32_t attempt, int32_t status)
{
    executr_report report = report_of(status);

    report.attempt = attempt;
    ex_finish entry = end_of(executor, id, &report);
    must(finish(&entry, 1));
    return entry.result;
}

executr_status give_back(
    const char *executor, const ex_uuid *id, int32_t attempt)
{
    executr_report report = report_of(EXECUTR_ATTEMPT_FAILED);

    report.attempt = attempt;
    report.uncounted = 1;
    ex_finish entry = end_of(executor, id, &report);
    must(finish(&entry, 1));
    return entry.result;
}

int32_t beat_job(const char *executor, const ex_uuid *id, int32_t attempt)
{
    ex_lease lease = {*id, attempt, 0};

    beat(executor, &lease, 1, -1);
    return lease.verdict;
}

void beat(
    const char *executor, ex_lease *leases, size_t count,
    int64_t unnamed_after_ms)
{
    executr_heartbeat info = EXECUTR_HEARTBEAT_INIT;
    ex_heartbeat whole = {&info, leases, count, unnamed_after_ms, 0};

    info.executor_id = executor;
    if (unnamed_after_ms >= 0) {
        info.executor_ip = "10.0.0.2";
        info.version = "1.2.3";
        info.max_jobs = 4;
        info.cache_hits = 30;
        info.cache_misses = 10;
        info.cache_bytes = 1000;
        info.cache_max_bytes = 2000;
    }
    must(store->ops->heartbeat(store, &whole, 1, &err));
}

executr_status cancel(const ex_uuid *id)
{
    ex_cancel entry;

    memset(&entry, 0, sizeof entry);
    entry.id = *id;
    must(store->ops->cancel(store, &entry, 1, &err));
    return entry.result;
}

executr_status retry(const ex_uuid *id)
{
    return store->ops->retry(store, id, &err);
}

ex_upkeep keep_up(int32_t reap)
{
    ex_upkeep done;

    memset(&done, 0, sizeof done);
    must(store->ops->upkeep(store, &rules, reap, &done, &err));
    return done;
}

int64_t clean(int64_t retention_ms)
{
    int64_t deleted = -1;

    must(store->ops->cleanup(store, retention_ms, &deleted, &err));
    return deleted;
}

/* Move a column two hours back; `where` begins with a space or is empty. */
static void age(const char *table, const char *column, const char *where)
{
    sql("UPDATE %s SET %s = %s%s", table, column,
        backend_earlier(column, 2 * HOUR_MS), where);
}

void silence(const char *executor)
{
    char where[300] = "";

    if (executor)
        snprintf(where, sizeof where, " WHERE executor_id = '%s'", executor);
    age("jobs", "last_heartbeat", where);
    age("executors", "leases_at", where);
    age("executors", "last_heartbeat", where);
}

void make_due(void)
{
    age("waiting", "due_at", "");
    age("jobs", "retry_after", " WHERE retry_after IS NOT NULL");
}

void make_old(void)
{
    age("jobs", "created_at", "");
    age("jobs", "started_at", "");
    age("jobs", "completed_at", "");
}

job *look(const ex_uuid *id, int32_t parts)
{
    executr_jobs *list = new_list();

    must(store->ops->get(store, id, parts, list, &err));
    cr_assert_eq(list->count, 1);
    return list->items[0];
}

int32_t status_of(const ex_uuid *id)
{
    return look(id, 0)->status;
}

ex_uuid id_of(const job *record)
{
    ex_uuid id;

    cr_assert_eq(ex_uuid_parse(record->id, &id), 0);
    return id;
}

int same_id(const ex_uuid *a, const ex_uuid *b)
{
    return ex_uuid_compare(a, b) == 0;
}

struct executr_stats stats(void)
{
    struct executr_stats out;

    memset(&out, 0, sizeof out);
    must(store->ops->stats(store, 60000, &out, &err));
    return out;
}
