/* SPDX-License-Identifier: MIT */
/* The insides of a queue, shared by the files lib/queue*.c alone. */
#ifndef EX_QUEUE_H
#define EX_QUEUE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <executr/queue.h>

#include "group.h"
#include "job.h"
#include "store.h"

/* What a batch may hold: 2,000 small jobs, or so many bytes. */
#define EX_BATCH_BYTES ((size_t)8 * 1024 * 1024)
#define EX_RECORD_BYTES ((size_t)4096)

/* "For ever", as an age that no job has and that every clock can count. */
#define EX_FOR_EVER_MS (INT64_C(100) * 366 * 24 * 3600 * 1000)

/*
 * One kind of store call whose callers are grouped. A caller hands in an array
 * of records (ex_submit, ex_claim, …); the arrays of many callers become one.
 */
typedef struct ex_lane {
    executr_queue *queue;
    ex_group *group;
    size_t size; /* of a record */
    executr_status (*run)(
        executr_queue *queue, void *records, size_t count, executr_error *err);
    size_t (*weigh)(const void *record); /* bytes, about */
} ex_lane;

/* What a waiter was told. */
enum {
    EX_TOLD_NOTHING,
    EX_TOLD_OF_JOB, /* the rest of the word says of which */
    EX_TOLD_OF_SOME /* something may be there */
};

typedef struct ex_word {
    int32_t told;
    int32_t priority;
    uint32_t demands;
    int32_t count; /* of jobs like this one that it is about */
    uint64_t sum;  /* of their ids: tells whether a list is these jobs */
    char type[EX_TYPE_MAX * 4 + 1];
} ex_word;

/*
 * A parked claim; it lies on its caller's stack (queue_claim.c says how
 * waiting works). Everything but `request` is guarded by the queue's `lock`;
 * `jobs` is its caller's while that asks the store, and belongs to whoever holds
 * the waiter; `woken` and `next_woken` are those of whoever owes it a post.
 */
typedef struct ex_waiter {
    struct ex_waiter *next;
    struct ex_waiter *before;
    const executr_claim *request;
    executr_jobs *jobs;
    uint64_t filter; /* equal for equal filters */
    uint64_t turn;   /* when it was parked: the order of the list */
    int32_t listed;
    struct ex_waiter *next_parked; /* of all, also while it is not listed */
    struct ex_waiter *before_parked;
    int32_t sent_away; /* its executor left: it shall neither sleep nor take */
    int32_t sleeps;    /* its claim found nothing: its list is empty */
    ex_word word;      /* not yet answered by a claim */
    /* Held by a batch (queue_hand.c), which has so many jobs for it. */
    int32_t held;
    int32_t promised;
    uint64_t unheard; /* the queue's, when that began */
    struct ex_waiter *next_held;
    /* A post of `woken` that is still to come, or to be taken. */
    int32_t owed;
    sem_t woken;
    struct ex_waiter *next_woken;
} ex_waiter;

/* A job of a batch and who waits for it. */
typedef struct ex_promise {
    ex_waiter *waiter;          /* NULL: nobody */
    struct executr_job *record; /* in the waiter's list; NULL: no memory */
} ex_promise;

/* The waiters that one batch of submissions holds. */
typedef struct ex_handover {
    ex_promise *promises; /* one a job; NULL if nobody waits */
    ex_waiter *open;      /* with room for more jobs */
    ex_waiter *full;
} ex_handover;

struct executr_queue {
    executr_store *store;
    executr_queue_options options; /* no zeroes: defaults are set */
    ex_lane submit;
    ex_lane claim;
    ex_lane finish;
    ex_lane heartbeat;
    ex_lane cancel;
    atomic_uint_least64_t seed; /* of retry delays */

    /* Waiting claims. */
    pthread_mutex_t lock;
    int32_t has_lock;
    int32_t draining;
    ex_waiter *first; /* those that may be told of a job, by turn */
    ex_waiter *last;
    ex_waiter *hearing; /* told of a job, its claim not begun; or NULL */
    uint64_t turns;
    uint64_t unheard;   /* how often there was word for nobody */
    uint64_t told_turn; /* where the next round of ex_queue_wake_any begins */
    ex_waiter *woken;   /* by whoever has the lock, once it is free */
    ex_waiter *waiters; /* in the list or not, and how many */
    int64_t parked;
    int64_t asleep;
    int32_t announced; /* what upkeep told the store about waiters */
    int32_t slept;     /* someone slept since then */

    /* The store's health. `quiet_from_us` (monotonic) is set before `away` is
     * cleared: leases are safe for one heartbeat timeout from then. */
    atomic_int away;
    atomic_int_least64_t quiet_from_us;

    /* Upkeep. */
    pthread_t upkeep;
    int32_t has_upkeep;
    atomic_int stopping;
    int wake_fd; /* eventfd: look around now */
};

executr_status ex_lanes_open(executr_queue *queue, executr_error *err)
    EXECUTR_CHECKED;
void ex_lanes_close(executr_queue *queue);

/* Call the store for `count` records, in as many batches as they need. */
executr_status ex_lane_call(
    ex_lane *lane, void *records, size_t count,
    executr_error *err) EXECUTR_CHECKED;

/* Every status that comes from the store passes through here, unchanged. */
executr_status ex_queue_note(executr_queue *queue, executr_status status);

void ex_queue_event(
    executr_queue *queue, int32_t event, const char *type, int32_t priority,
    int64_t waited_us, int64_t ran_us);

/* The id of a job from outside; E_ARGUMENT. */
executr_status ex_queue_id(const char *text, ex_uuid *out, executr_error *err)
    EXECUTR_CHECKED;

/* Read and check a filter; limit is at least 1 in *out. */
executr_status ex_filter_check(
    const executr_filter *filter, executr_filter *out,
    executr_error *err) EXECUTR_CHECKED;

/* Unpack all records of a list. */
executr_status ex_jobs_unpack(executr_jobs *jobs, executr_error *err)
    EXECUTR_CHECKED;

/* Tell waiters of jobs that were just committed, as many as it takes to claim
 * them all, and of jobs that nobody knows much about. */
void ex_queue_wake(executr_queue *queue, const ex_submit *jobs, size_t count);
void ex_queue_wake_any(executr_queue *queue);

/*
 * Hold waiters for these jobs, whose records are made, and name them as takers.
 * After the store was asked, whatever came of it, ex_queue_hand_over lets them
 * go, with the jobs that it took for them.
 */
void ex_queue_promise(
    executr_queue *queue, ex_submit *jobs, size_t count, ex_handover *hand);
void ex_queue_hand_over(
    executr_queue *queue, const ex_submit *jobs, size_t count,
    ex_handover *hand);

/* For queue_hand.c: what a job is to waiters. */
void ex_word_set(ex_word *word, const ex_submit *job);
int32_t ex_words_alike(const ex_word *a, const ex_word *b);
int32_t ex_waiter_takes(const ex_waiter *waiter, const ex_word *word);

/* Under the lock: wake a waiter when ex_queue_unlock has freed that. Every
 * unlock after which somebody may be woken is by ex_queue_unlock. */
void ex_waiter_wake(executr_queue *queue, ex_waiter *waiter);
void ex_queue_unlock(executr_queue *queue);

/* For queue_claim.c, under the queue's lock: off the list; into the list, at
 * the place of its turn; tell up to `count` waiters with this filter; and give
 * word that a waiter with `filter` left unanswered to another one. */
void ex_waiter_unlist(executr_queue *queue, ex_waiter *waiter);
uint64_t ex_word_sum(const ex_uuid *id);
void ex_waiter_enlist(executr_queue *queue, ex_waiter *waiter);
void ex_queue_tell_alike(executr_queue *queue, uint64_t filter, int32_t count);
void ex_queue_pass_on(
    executr_queue *queue, const ex_word *word, uint64_t filter);

/* End the waits of an executor's claims; what they are just getting goes
 * back. */
void ex_queue_unpark(executr_queue *queue, const char *executor_id);

/* queue_upkeep.c */
executr_status ex_queue_upkeep_start(executr_queue *queue, executr_error *err)
    EXECUTR_CHECKED;
void ex_queue_upkeep_stop(executr_queue *queue);
/* Make the upkeep thread look around. */
void ex_queue_poke(executr_queue *queue);

/* The store calls behind the lanes. */
executr_status ex_queue_run_submit(
    executr_queue *queue, void *records, size_t count, executr_error *err);
size_t ex_queue_weigh_submit(const void *record);
executr_status ex_queue_run_claim(
    executr_queue *queue, void *records, size_t count, executr_error *err);
size_t ex_queue_weigh_claim(const void *record);
executr_status ex_queue_run_finish(
    executr_queue *queue, void *records, size_t count, executr_error *err);
size_t ex_queue_weigh_finish(const void *record);
executr_status ex_queue_run_heartbeat(
    executr_queue *queue, void *records, size_t count, executr_error *err);
size_t ex_queue_weigh_heartbeat(const void *record);
executr_status ex_queue_run_cancel(
    executr_queue *queue, void *records, size_t count, executr_error *err);

/* Retry delays with fresh randomness, and the limits of the options. */
void ex_queue_rules(executr_queue *queue, ex_rules *out);

#endif
