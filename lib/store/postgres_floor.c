/* SPDX-License-Identifier: MIT */
/*
 * Where claims start to look. While somebody holds an old snapshot (a backup,
 * an analyst), claimed queue rows can't be cleaned away, and a claim that
 * starts at the head wades through all of them. So each filter of claims
 * remembers below which place nothing claimable is left.
 *
 * A floor may be too high for a moment: submits commit out of order, other
 * servers put jobs back. Upkeep, which hurries nobody, looks for the lowest
 * place each round and lowers floors to it. Where no upkeep is made, a claim
 * looks from the start again now and then.
 */
#include <string.h>

#include "base/time.h"
#include "store/postgres.h"

#define REREAD_US (INT64_C(30) * 1000 * 1000)

static ex_pg_floor *find(ex_pg_store *store, const char *filter, int64_t now)
{
    ex_pg_floor *oldest = &store->floors[0];

    for (size_t i = 0; i < EX_PG_FLOORS; i++) {
        ex_pg_floor *floor = &store->floors[i];
        if (floor->used_us && strcmp(floor->filter, filter) == 0)
            return floor;
        if (floor->used_us < oldest->used_us)
            oldest = floor;
    }
    memset(oldest, 0, sizeof *oldest);
    memcpy(oldest->filter, filter, strnlen(filter, sizeof oldest->filter - 1));
    oldest->reread_us = now;
    return oldest;
}

void ex_pg_floor_get(
    ex_pg_store *store, const char *filter, int64_t seq[4], uint64_t *stamp)
{
    int64_t now = ex_monotonic_us();

    memset(seq, 0, 4 * sizeof *seq);
    pthread_mutex_lock(&store->lock);
    *stamp = store->floor_changes;
    /* A filter too long to remember goes from the start each time. */
    if (strlen(filter) < sizeof store->floors[0].filter) {
        ex_pg_floor *floor = find(store, filter, now);
        floor->used_us = now;
        if (now - floor->reread_us >= REREAD_US)
            floor->reread_us = now;
        else
            memcpy(seq, floor->seq, sizeof floor->seq);
    }
    pthread_mutex_unlock(&store->lock);
}

/*
 * The lowest place that became claimable since `stamp`: a claim that was under
 * way may have passed it by. 0 if that is no longer known.
 */
static int64_t lowest_since(const ex_pg_store *store, uint64_t stamp)
{
    int64_t lowest = INT64_MAX;

    if (store->floor_changes - stamp > EX_PG_FLOOR_EVENTS)
        return 0;
    for (; stamp < store->floor_changes; stamp++) {
        int64_t seq = store->floor_events[stamp % EX_PG_FLOOR_EVENTS];
        if (seq < lowest)
            lowest = seq;
    }
    return lowest;
}

/*
 * A claim tells nothing of places before the one where it began: when another
 * looked from the start meanwhile and found something there, its lower floor
 * stays, or what lies behind would wait for the next look from the start.
 */
void ex_pg_floor_raise(
    ex_pg_store *store, const char *filter, const int64_t seq[4],
    const int64_t top[4], uint64_t stamp)
{
    if (strlen(filter) >= sizeof store->floors[0].filter)
        return;
    pthread_mutex_lock(&store->lock);
    int64_t lowest = lowest_since(store, stamp);
    ex_pg_floor *floor = find(store, filter, ex_monotonic_us());
    for (int p = 1; p <= 3; p++) {
        if (top[p] && seq[p] <= floor->seq[p])
            floor->seq[p] = top[p] + 1 < lowest ? top[p] + 1 : lowest;
    }
    pthread_mutex_unlock(&store->lock);
}

void ex_pg_floor_lower(ex_pg_store *store, int64_t seq)
{
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < EX_PG_FLOORS; i++) {
        for (int p = 1; p <= 3; p++) {
            if (store->floors[i].seq[p] > seq)
                store->floors[i].seq[p] = seq;
        }
    }
    store->floor_events[store->floor_changes % EX_PG_FLOOR_EVENTS] = seq;
    store->floor_changes++;
    pthread_mutex_unlock(&store->lock);
}
