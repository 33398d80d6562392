/* SPDX-License-Identifier: MIT */
/*
 * The insides of the worker, shared by its files. Everything runs on the thread
 * in executr_worker_run; only fetches have threads of their own, and share
 * nothing with it but the fetch queue.
 */
#ifndef EX_WORKER_H
#define EX_WORKER_H

#include <executr/worker.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "source.h"
#include "spool.h"

#define EX_NEVER_US INT64_MAX

/*
 * A job this worker holds, from claim to the end of its report.
 *
 *   WAITING   will be fetched (no pin) or started (pin) at due_us; never:
 *             not before a heartbeat has said that it is still ours
 *   FETCHING  a thread is at it
 *   READY     stands in line for a slot, with its pin
 *   RUNNING   the runner has it, under `token`
 *   ENDED     its report waits to be taken; pin and record are given up
 */
enum {
    EX_WORK_WAITING = 1,
    EX_WORK_FETCHING = 2,
    EX_WORK_READY = 3,
    EX_WORK_RUNNING = 4,
    EX_WORK_ENDED = 5,
    EX_WORK_STATES
};

/* The records of one claim, freed with the last job that needs them. */
typedef struct ex_batch {
    executr_jobs *jobs;
    size_t users;
} ex_batch;

typedef struct ex_work {
    struct ex_work *next; /* of all, last claim first */
    struct ex_work *previous;
    struct ex_work *after; /* of those in the same state */
    struct ex_work *before;
    uint64_t token;
    int32_t state;
    int32_t attempt;
    int32_t exclusive;
    int32_t dropped;   /* the lease is lost: no report */
    int32_t returned;  /* give it back: its end is nobody's fault */
    int32_t reporting; /* its report is borrowed: being spooled or sent */
    int32_t spooled;   /* its report is on disk */
    int32_t tries;     /* of its fetch, of its start */
    int32_t renewed;   /* by a heartbeat, not only by its claim */
    int32_t named;     /* by a heartbeat since it was started */
    char job_id[40];
    int64_t due_us;
    int64_t since_us;   /* in line, to be fetched, or waiting for a heartbeat */
    int64_t taken_us;   /* when its claim was answered */
    int64_t renewed_us; /* its lease runs from here at the earliest */
    int64_t started_us;
    ex_batch *batch;
    const executr_job *job;
    executr_pin *pin;
    executr_report report;
    char *out;
    char *err;
    char *message;
    int32_t followed;    /* somebody wants its output while it runs */
    int32_t put_turn;    /* which stream is looked at next */
    int64_t put_next[2]; /* bytes of each that were put */
    int64_t put_at_us;   /* the next look */
} ex_work;

/* Works in one state, by the time they came to it. */
typedef struct ex_works {
    ex_work *first;
    ex_work *last;
    size_t count;
} ex_works;

/* A fetch on its way to a thread and back. It owns all it needs, so that its
 * job may be gone when it returns. */
typedef struct ex_fetch {
    struct ex_fetch *next;
    uint64_t token;
    char sha256[65];
    char *url; /* NULL: from the source */
    executr_cancel *cancel;
    executr_pin *pin;
    executr_status status;
    executr_error err;
} ex_fetch;

/* A socket, and what it takes to resolve a name. */
#define EX_SPARES 8

/*
 * Every slot may have a thread that fetches, so that no download, however
 * slow, keeps another job's from starting; there are as many as were ever
 * needed at once.
 */
typedef struct ex_fetcher {
    executr_cache *cache;
    ex_source *source;
    int done_fd; /* eventfd: something stands in `done` */
    pthread_t *threads;
    size_t thread_count;
    size_t max_threads;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    ex_fetch *queue;   /* first in, first out */
    ex_fetch *running; /* threads are at these */
    ex_fetch *done;
    size_t idle;
    int32_t ending;
} ex_fetcher;

executr_status ex_fetcher_open(
    ex_fetcher *fetcher, executr_cache *cache, ex_source *source,
    size_t max_threads, executr_error *err) EXECUTR_CHECKED;

/* Hand a fetch over; it comes back through ex_fetcher_take. */
executr_status ex_fetcher_start(
    ex_fetcher *fetcher, uint64_t token, const char *sha256, const char *url,
    executr_error *err) EXECUTR_CHECKED;
ex_fetch *ex_fetcher_take(ex_fetcher *fetcher); /* NULL: no more */
void ex_fetch_free(ex_fetch *fetch);

/* Nobody wants that one any more; it may come back all the same. */
void ex_fetcher_cancel(ex_fetcher *fetcher, uint64_t token);

/* Give up what threads are at, and end them. Fetches may still be cancelled
 * after it, to no effect, until it is closed. */
void ex_fetcher_stop(ex_fetcher *fetcher);
void ex_fetcher_close(ex_fetcher *fetcher);

/* Finds out whether there is enough again; else `err` tells what is short. */
typedef executr_status (*ex_probe)(executr_worker *worker, executr_error *err);

/* What keeps the worker out of service; no probe: nothing. */
typedef struct ex_trouble {
    ex_probe probe;
    int64_t since_us;
    int64_t back_us; /* the last time it was over; 0: never */
    int64_t probe_at_us;
    int32_t probes;
} ex_trouble;

#define EX_TROUBLES 2 /* as many as there are probes */

/* Results of dead executors, told for them: see worker_adopt.c. */
typedef struct ex_adoption {
    ex_orphan orphan;
    ex_spool_page page; /* of it, not answered yet */
    size_t limit;       /* reports in a call */
    size_t sending;     /* in the call under way */
    int64_t look_us;    /* when to look for more */
    int64_t cut;
    int32_t removed;
} ex_adoption;

enum {
    EX_SPOOL_IDLE,
    EX_SPOOL_ADD,
    EX_SPOOL_RENEW,
    EX_SPOOL_TRIM,
    EX_SPOOL_READ
};

/* The spool and the thread that works on it: see worker_spool.c. */
typedef struct ex_spooler {
    int32_t used; /* with a server */
    int32_t busy; /* a task is the thread's */
    int32_t broken;
    int64_t retry_us; /* after that */
    int done_fd;      /* eventfd: a task ended */
    pthread_t thread;
    pthread_mutex_t lock; /* guards the next four */
    pthread_cond_t wake;
    int32_t task;
    int32_t ended; /* the task that did */
    int32_t ending;
    executr_status status; /* of that, with err */
    executr_error err;
    int32_t trim;
    ex_spool spool;
    ex_work **works; /* borrowed by the task, and their reports */
    const executr_report **reports;
    size_t count;
    size_t room;
    size_t sending; /* reports to be sent after it */
    ex_adoption adoption;
} ex_spooler;

struct executr_worker {
    executr_worker_options options; /* no zeroes; texts are our copies */
    char id[256];
    char ip[64];
    ex_arena arena; /* of the texts in options */
    executr_log log;
    executr_cache *cache;
    executr_runner *runner;
    ex_source *source;
    ex_fetcher fetcher;
    int epoll_fd;
    int stop_fd;           /* eventfd, written by executr_worker_stop */
    atomic_int stops;      /* calls of it */
    int spares[EX_SPARES]; /* descriptors kept for heartbeats */
    size_t spare_count;
    int32_t stopping; /* those the loop has seen; 2: at once */
    int32_t has_run;
    uint64_t random;
    uint64_t tokens;

    ex_work *works;
    size_t held; /* as many */
    ex_works lists[EX_WORK_STATES];
    size_t ended_bytes;  /* of output, in ENDED ones */
    size_t spooled;      /* reports on disk */
    int64_t mean_run_us; /* of programs of late; 0: not known */

    ex_spooler spooler;

    int32_t claiming;
    int32_t claim_failures;
    int64_t claim_sent_us;
    int64_t claim_at_us;
    executr_claim claim; /* the one under way */

    ex_trouble troubles[EX_TROUBLES];
    char reason[560]; /* why it is out of service */

    int64_t lease_us; /* as the server tells; 0: not known */
    int64_t margin_us;
    int64_t interval_us; /* between heartbeats */
    int64_t woke_us;     /* no report before a heartbeat sent after this */

    int32_t beating;
    int32_t heard; /* a heartbeat was answered */
    int32_t beat_failures;
    int64_t beat_sent_us;
    int64_t beat_at_us;
    executr_heartbeat beat;
    executr_lease *leases; /* handed in with the beat under way */

    int32_t reporting;
    int32_t report_turn; /* 1: of a dead executor's results */
    int32_t report_failures;
    size_t report_limit; /* reports in a call; lower after a refusal */
    int64_t report_at_us;
    ex_work **reported; /* in the call under way, and their reports */
    const executr_report **reports;

    int32_t live;    /* some job may be followed */
    int32_t putting; /* a piece of live output is under way: this one */
    uint64_t put_token;
    char put_job_id[40];
    executr_output output;
    char *piece; /* its bytes; NULL while nobody follows anything */

    int32_t leaving; /* goodbye: 1 under way, 2 done */
    int64_t give_up_us;
};

/* 0 to 1, for jitter. */
double ex_worker_random(executr_worker *worker);

/* worker_options.c */
executr_status ex_worker_take_options(
    executr_worker *worker, const executr_worker_options *options,
    executr_error *err) EXECUTR_CHECKED;

/* worker_claim.c */
#define EX_CLAIM_WAIT_MS 20000 /* how long a source may hold a claim */
void ex_worker_claim(executr_worker *worker, int64_t now_us);
int64_t ex_worker_claim_due_us(const executr_worker *worker);
/* Jobs can't be run here, whatever the reason: take none for a while. */
void ex_worker_pause(executr_worker *worker, const char *why);
void ex_worker_claimed(
    void *ctx, executr_status status, executr_jobs *jobs,
    const executr_error *err);

/* worker_slots.c */
void ex_work_move(executr_worker *worker, ex_work *work, int32_t state);
/* Into all and WAITING, and out again. */
void ex_work_add(executr_worker *worker, ex_work *work);
void ex_work_remove(executr_worker *worker, ex_work *work);

/* How many jobs to claim now. */
size_t ex_worker_room(const executr_worker *worker);
/* A program ran for so long. */
void ex_worker_ran(executr_worker *worker, int64_t us);

/* It has its binary: start it, or let it stand in line. */
void ex_work_ready(executr_worker *worker, ex_work *work);
/* Start who stands in line, as slots allow. */
void ex_worker_fill(executr_worker *worker);
/* Give them back. */
void ex_worker_return_line(executr_worker *worker, const char *why);
/* Give back who stood there for too long. */
void ex_worker_keep_line(executr_worker *worker, int64_t now_us);
int64_t ex_worker_line_due_us(const executr_worker *worker);

/* worker_jobs.c */
#define EX_STOPPING "this executor is about to stop"
/* Hold the jobs of a claim sent at `sent_us`; takes them over. */
void ex_worker_take(
    executr_worker *worker, executr_jobs *jobs, int64_t sent_us);
/* Move on those that are due: fetches, starts, leases that run out. */
void ex_works_due(executr_worker *worker, int64_t now_us);
int64_t ex_works_due_us(const executr_worker *worker);
/* Fetch it, or start it if its binary is still what it was. */
void ex_work_resume(executr_worker *worker, ex_work *work);
void ex_worker_fetched(executr_worker *worker); /* results of fetches */
executr_status ex_worker_run_programs(
    executr_worker *worker, executr_error *err) EXECUTR_CHECKED;
/* End it: on a verdict, an exclusive lease that can't be renewed, a stop. */
void ex_work_cancel(executr_worker *worker, ex_work *work);
void ex_work_drop(executr_worker *worker, ex_work *work);
void ex_work_return(executr_worker *worker, ex_work *work, const char *message);
void ex_work_free(executr_worker *worker, ex_work *work);

/* Give up its record and its pin: it is ENDED and will be reported. */
void ex_work_release(executr_worker *worker, ex_work *work);

/* This machine can't run it now: later, or elsewhere. */
void ex_work_machine_failed(
    executr_worker *worker, ex_work *work, const executr_error *err);

/* worker_spare.c */
/* Keep descriptors for heartbeats; E_IO when there are not enough. */
executr_status ex_worker_keep_spares(executr_worker *worker, executr_error *err)
    EXECUTR_CHECKED;
/* Let go of them: the next heartbeat may need them. */
void ex_worker_give_spares(executr_worker *worker);

/* worker_service.c */
/*
 * Something is short, as `why` tells. Unless the probe is content it is 1, and
 * from then until the probe is, no jobs are claimed, and what comes all the
 * same is given back with worker->reason.
 */
int ex_worker_leave_service(
    executr_worker *worker, ex_probe probe, const char *why);
int ex_worker_in_service(const executr_worker *worker);
/* Make the probes that are due. */
void ex_worker_probe(executr_worker *worker, int64_t now_us);
int64_t ex_worker_probe_due_us(const executr_worker *worker);
/* An ex_probe: disk, descriptors, memory and processes for one more job. */
executr_status ex_worker_machine_ready(
    executr_worker *worker, executr_error *err) EXECUTR_CHECKED;

/* worker_start.c */
void ex_work_start(executr_worker *worker, ex_work *work);
/* 1 if all that a job demands can be had here. */
int ex_worker_can_give(const executr_worker *worker, const executr_job *job);
/* The same for what the options set for all jobs. */
executr_status ex_worker_check_defaults(
    const executr_worker *worker, executr_error *err) EXECUTR_CHECKED;

/* worker_report.c */
#define EX_REPORTS_PER_CALL 1000
/* The job ended without having run. */
void ex_work_failed(
    executr_worker *worker, ex_work *work, int32_t outcome,
    const char *message);
/* Its program ended. */
void ex_work_ended(
    executr_worker *worker, ex_work *work, const executr_result *result);
void ex_worker_report(executr_worker *worker, int64_t now_us);
int ex_worker_may_report(const executr_worker *worker);
void ex_worker_reported(
    void *ctx, executr_status status, const executr_status *results,
    size_t count, const executr_error *err);

/* Send the first `count` of worker->reported. */
void ex_worker_send(executr_worker *worker, size_t count);
/* Whether a refusal of a whole call may be one report's fault. */
int ex_report_blames_one(executr_status status);

/* worker_spool.c */
executr_status ex_spooler_open(executr_worker *worker, executr_error *err)
    EXECUTR_CHECKED;
/* Ends the thread, and leaves to the next start what was not delivered. */
void ex_spooler_close(executr_worker *worker);
void ex_spooler_start(ex_spooler *spooler, int32_t task);
/* Make safe what is about to be sent; then it is. 0: send it now. */
int ex_worker_spool(executr_worker *worker, size_t count);
void ex_worker_spooled(executr_worker *worker);
void ex_worker_keep_spool(executr_worker *worker, int64_t now_us);
int64_t ex_worker_spool_due_us(const executr_worker *worker);

/* worker_adopt.c */
executr_status ex_adopt_read(ex_spooler *spooler) EXECUTR_CHECKED;
void ex_adopt_close(ex_spooler *spooler);
void ex_worker_adopted(
    executr_worker *worker, executr_status status, const executr_error *err);
void ex_worker_adopt(executr_worker *worker, int64_t now_us);
int64_t ex_worker_adopt_due_us(const executr_worker *worker);
int ex_worker_has_adopted(const executr_worker *worker);
void ex_worker_send_adopted(executr_worker *worker);
int ex_worker_adopted_reported(
    executr_worker *worker, executr_status status,
    const executr_status *results, const executr_error *err, int *later);

/* worker_live.c */
void ex_work_follow(executr_worker *worker, ex_work *work, int32_t followed);
void ex_worker_live(executr_worker *worker, int64_t now_us);
int64_t ex_worker_live_due_us(const executr_worker *worker);
void ex_worker_put(
    void *ctx, executr_status status, int32_t followed,
    const executr_error *err);

/* worker_beat.c */
void ex_worker_beat(executr_worker *worker, int64_t now_us);
int64_t ex_worker_beat_due_us(const executr_worker *worker);
void ex_worker_beaten(
    void *ctx, executr_status status, const executr_lease *leases, size_t count,
    const executr_error *err);
void ex_worker_left(void *ctx, executr_status status, const executr_error *err);

/* worker_lease.c */
/* The server told how long leases last; 0: it did not. */
void ex_worker_lease(executr_worker *worker, int64_t lease_ms);
/* When we kill a running exclusive job, and when its guard does, unless its
 * lease is renewed. */
int64_t ex_work_expiry_us(const executr_worker *worker, const ex_work *work);
int64_t ex_work_deadline_us(const executr_worker *worker, const ex_work *work);
/* 1 if its lease can't have been given away, so that it may be started. */
int ex_work_sure(
    const executr_worker *worker, const ex_work *work, int64_t now_us);
/* It waits for a heartbeat that says so, and one is sent soon. */
void ex_work_ask(executr_worker *worker, ex_work *work, int64_t now_us);
/* When it is given back for want of an answer: a lease after it began to wait
 * for that heartbeat, or two after the last one while its binary is not there.
 * A server may hear us and not be heard; then our heartbeats keep from others
 * what we can't start. */
int64_t ex_work_unheard_us(const executr_worker *worker, const ex_work *work);
/* The heartbeat under way renewed its lease. */
void ex_work_renew(executr_worker *worker, ex_work *work);
/* When a heartbeat is due for it alone: soon after its start, so that whoever
 * follows or cancels it need not wait for a whole interval. */
int64_t ex_work_young_us(const executr_worker *worker, const ex_work *work);
/* We last looked at `before_us`. After a long sleep not of our own (stopped,
 * suspended, starved) leases are checked before anything is reported. */
void ex_worker_woke(executr_worker *worker, int64_t before_us, int64_t now_us);

#endif
