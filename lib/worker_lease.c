/* SPDX-License-Identifier: MIT */
/*
 * How long a lease is good for, on our own clock. Hides when an exclusive job
 * must be dead, and when a job may not be started before the server said again
 * that it is ours.
 *
 * The invariant: when the server can give an exclusive job to another, no
 * program of our attempt is alive. Let s be the moment at which the last call
 * was *sent* that the server took as a sign of life for it, and L the length of
 * a lease, which the server tells. The server took it at s or later, so it
 * gives the job away at s + L at the earliest. With the margin M
 *
 *   s + L - M     we kill it (expiry), or don't start it;
 *   s + L - M / 2 the guard kills it (deadline), also while we are stopped, and
 *                 a program between clone and exec finds its deadline struck;
 *   s + L         it is dead.
 *
 * So M / 2 is what a kill of a whole tree may take, what a process may be kept
 * from the CPU, and what two clocks may differ in L. What the kernel itself
 * can't kill runs no code of its own. The clock is the one that goes on while
 * the machine is suspended.
 */
#include "worker.h"

#include "base/log.h"
#include "base/time.h"
#include "runner.h"

/* Bounds of the margin, as parts of a lease. */
#define STANDARD_MARGIN 3
#define LEAST_MARGIN 10
#define MOST_MARGIN_OF_4 3

/* Heartbeats between the start of a lease and its expiry. */
#define BEATS 2
#define LEAST_BEAT_US (INT64_C(20) * 1000)
#define MOST_BEAT_MS 5000

#define SOON_US (INT64_C(200) * 1000)
#define YOUNG_US (INT64_C(1000) * 1000)

static int64_t margin_us(const executr_worker *worker, int64_t lease_us)
{
    int64_t wanted = worker->options.fence_margin_ms * 1000;
    int64_t least = lease_us / LEAST_MARGIN;
    int64_t most = lease_us / 4 * MOST_MARGIN_OF_4;

    if (wanted == 0)
        return lease_us / STANDARD_MARGIN;
    if (wanted >= least && wanted <= most)
        return wanted;
    wanted = wanted < least ? least : most;
    ex_log(
        &worker->log, EXECUTR_LOG_WARN,
        "the fence margin does not fit the server's lease and was changed",
        "lease_ms", EX_I64(lease_us / 1000), "fence_margin_ms",
        EX_I64(wanted / 1000), NULL);
    return wanted;
}

void ex_worker_lease(executr_worker *worker, int64_t lease_ms)
{
    int64_t interval = worker->options.heartbeat_interval_ms * 1000;
    int64_t lease = lease_ms * 1000;

    if (lease_ms <= 0 || lease == worker->lease_us)
        return;
    worker->lease_us = lease;
    worker->margin_us = margin_us(worker, lease);
    int64_t most = (lease - worker->margin_us) / BEATS;
    if (most < LEAST_BEAT_US)
        most = LEAST_BEAT_US;
    if (interval > most) {
        interval = most;
        ex_log(
            &worker->log, EXECUTR_LOG_INFO,
            "heartbeats are sent more often, to fit the server's lease",
            "lease_ms", EX_I64(lease_ms), "heartbeat_interval_ms",
            EX_I64(interval / 1000), NULL);
    }
    worker->interval_us = interval;
    if (worker->beat_at_us > worker->beat_sent_us + interval)
        worker->beat_at_us = worker->beat_sent_us + interval;
    /* One that hangs must not cost the leases that the next would keep. */
    worker->source->heartbeat_timeout_ms =
        most / 1000 < MOST_BEAT_MS ? most / 1000 : MOST_BEAT_MS;
}

int64_t ex_work_expiry_us(const executr_worker *worker, const ex_work *work)
{
    if (!work->exclusive || work->state != EX_WORK_RUNNING || work->returned)
        return EX_NEVER_US;
    return work->renewed_us + worker->lease_us - worker->margin_us;
}

int64_t ex_work_deadline_us(const executr_worker *worker, const ex_work *work)
{
    if (!work->exclusive)
        return EX_NEVER_US;
    return work->renewed_us + worker->lease_us - worker->margin_us / 2;
}

int ex_work_sure(
    const executr_worker *worker, const ex_work *work, int64_t now_us)
{
    int64_t until = work->renewed_us + worker->lease_us;

    if (work->exclusive)
        return now_us < until - worker->margin_us;
    /* A claim may have been held for long before it got the job. */
    if (!work->renewed)
        until += EX_CLAIM_WAIT_MS * INT64_C(1000);
    return !worker->lease_us || now_us < until;
}

void ex_work_ask(executr_worker *worker, ex_work *work, int64_t now_us)
{
    int64_t soonest =
        worker->beat_sent_us +
        (SOON_US < worker->interval_us ? SOON_US : worker->interval_us);

    ex_work_move(worker, work, EX_WORK_WAITING);
    work->due_us = EX_NEVER_US;
    work->since_us = now_us;
    /* While heartbeats fail, they have a pace of their own. */
    if (worker->beat_failures > 0)
        return;
    if (soonest < now_us)
        soonest = now_us;
    if (worker->beat_at_us > soonest)
        worker->beat_at_us = soonest;
}

int64_t ex_work_unheard_us(const executr_worker *worker, const ex_work *work)
{
    int64_t heard = work->renewed ? work->renewed_us : work->taken_us;

    if (work->state != EX_WORK_WAITING && work->state != EX_WORK_FETCHING)
        return EX_NEVER_US;
    if (work->state == EX_WORK_WAITING && work->due_us == EX_NEVER_US)
        return work->since_us + worker->lease_us;
    if (!worker->lease_us || worker->woke_us) /* stopped ourselves: ask first */
        return EX_NEVER_US;
    return heard + 2 * worker->lease_us;
}

void ex_work_renew(executr_worker *worker, ex_work *work)
{
    if (work->renewed_us < worker->beat_sent_us)
        work->renewed_us = worker->beat_sent_us;
    work->renewed = 1;
    if (work->state == EX_WORK_WAITING && work->due_us == EX_NEVER_US)
        work->due_us = 0;
    if (work->exclusive && work->state == EX_WORK_RUNNING)
        ex_runner_deadline(
            worker->runner, work->token, ex_work_deadline_us(worker, work));
}

int64_t ex_work_young_us(const executr_worker *worker, const ex_work *work)
{
    int64_t due = work->started_us + YOUNG_US;

    if (work->state != EX_WORK_RUNNING || work->named ||
        worker->beat_failures > 0)
        return EX_NEVER_US;
    if (due < worker->beat_sent_us + YOUNG_US)
        due = worker->beat_sent_us + YOUNG_US;
    return due;
}

void ex_worker_woke(executr_worker *worker, int64_t before_us, int64_t now_us)
{
    if (!worker->lease_us || now_us - before_us < worker->lease_us / 2)
        return;
    worker->woke_us = now_us;
    if (worker->beat_at_us > now_us)
        worker->beat_at_us = now_us;
}
