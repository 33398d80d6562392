/* SPDX-License-Identifier: MIT */
/* Claiming: requests with the same filter share a statement. */
#include <string.h>

#include "base/fail.h"
#include "store/postgres.h"

static const ex_pg_kept kept = {
    EX_PG_KEEP_CLAIM, "executr_claim",
    "SELECT * FROM executr_claim($1, $2, $3, $4, $5, $6)"};

#define ALL_PRIORITIES 0xeu /* bits 1 to 3 */

/* Requests that one statement serves, and what it found. */
typedef struct group {
    const executr_claim *filter; /* of any of them */
    size_t *members;             /* positions in the operation's claims */
    size_t count;
    char key[400];
    int64_t floors[4]; /* where it begins to look, and how far it got */
    int64_t top[4];
    uint64_t stamp;
} group;

typedef struct claiming {
    ex_claim *claims;
    size_t count;
    group *groups;
    size_t group_count;
    size_t *members; /* room for all groups */
} claiming;

static uint32_t priorities_of(const executr_claim *request)
{
    uint32_t wanted = request->priorities & ALL_PRIORITIES;

    return wanted ? wanted : ALL_PRIORITIES;
}

static int same_types(const executr_claim *a, const executr_claim *b)
{
    if (a->type_count != b->type_count)
        return 0;
    for (size_t i = 0; i < a->type_count; i++) {
        if (strcmp(a->types[i], b->types[i]) != 0)
            return 0;
    }
    return 1;
}

static int same_filter(const executr_claim *a, const executr_claim *b)
{
    return a->offers == b->offers && priorities_of(a) == priorities_of(b) &&
           same_types(a, b);
}

/* A text that is equal for equal filters; as long as the floors' or longer if
 * there are many types, which then have no floor. */
static void write_key(const executr_claim *filter, char *out, size_t size)
{
    ex_buf key;

    ex_buf_init(&key, size - 1);
    ex_buf_put_i64(&key, filter->offers);
    for (size_t i = 0; i < filter->type_count; i++) {
        ex_buf_putc(&key, ' ');
        ex_buf_puts(&key, filter->types[i]);
    }
    memset(out, 0, size);
    if (key.failed)
        memset(out, 'x', size - 1);
    else
        memcpy(out, ex_buf_text(&key), key.length);
    ex_buf_clear(&key);
}

/* Sort the requests into groups of one filter. */
static executr_status make_groups(claiming *c, executr_error *err)
{
    size_t *next;

    executr_status st =
        ex_alloc_array((void **)&c->groups, c->count, sizeof *c->groups, err);
    if (!st)
        st = ex_alloc_array(
            (void **)&c->members, c->count * 2, sizeof *c->members, err);
    if (st)
        return st;
    size_t *group_of = c->members + c->count;
    for (size_t i = 0; i < c->count; i++) {
        const executr_claim *request = c->claims[i].request;
        size_t g = 0;
        while (g < c->group_count && !same_filter(c->groups[g].filter, request))
            g++;
        if (g == c->group_count) {
            c->groups[c->group_count++].filter = request;
            write_key(request, c->groups[g].key, sizeof c->groups[g].key);
        }
        c->groups[g].count++;
        group_of[i] = g;
    }
    next = c->members;
    for (size_t g = 0; g < c->group_count; g++) {
        c->groups[g].members = next;
        next += c->groups[g].count;
        c->groups[g].count = 0;
    }
    for (size_t i = 0; i < c->count; i++) {
        group *g = &c->groups[group_of[i]];
        g->members[g->count++] = i;
    }
    return EXECUTR_OK;
}

static void add_requests(ex_params *p, const claiming *c, const group *g)
{
    size_t slots = 0;

    ex_params_array(p, EX_PG_TEXTS, g->count);
    for (size_t i = 0; i < g->count; i++)
        ex_item_text(p, c->claims[g->members[i]].request->executor_id);
    ex_params_array(p, EX_PG_TEXTS, g->count);
    for (size_t i = 0; i < g->count; i++) {
        const executr_claim *request = c->claims[g->members[i]].request;
        ex_item_text(p, request->executor_ip ? request->executor_ip : "");
    }
    for (size_t i = 0; i < g->count; i++)
        slots += (size_t)c->claims[g->members[i]].request->max_jobs;
    ex_params_array(p, EX_PG_INT4S, slots);
    for (size_t i = 0; i < g->count; i++) {
        int32_t wanted = c->claims[g->members[i]].request->max_jobs;
        for (int32_t k = 0; k < wanted; k++)
            ex_item_i32(p, (int32_t)i + 1);
    }
}

static void add_filter(ex_params *p, const group *g)
{
    uint32_t wanted = priorities_of(g->filter);

    ex_params_array(p, EX_PG_INT8S, 3);
    for (int priority = 1; priority <= 3; priority++) {
        if (wanted & 1u << priority)
            ex_item_i64(p, g->floors[priority]);
        else
            ex_item_null(p);
    }
    if (g->filter->type_count) {
        ex_params_array(p, EX_PG_TEXTS, g->filter->type_count);
        for (size_t i = 0; i < g->filter->type_count; i++)
            ex_item_text(p, g->filter->types[i]);
    } else {
        ex_params_one(p, EX_PG_TEXTS);
        ex_item_null(p);
    }
    ex_params_one(p, EX_PG_INT4);
    ex_item_i32(p, (int32_t)g->filter->offers);
}

/* How far a claim reached: the place of a job, or (slot 0) the end of what
 * there is when it found too little. */
static void note_place(const PGresult *rows, int row, group *g)
{
    int32_t priority =
        executr_priority_parse(ex_pg_text(rows, row, EX_PG_ROW_PRIORITY));
    int64_t seq = ex_pg_i64(rows, row, EX_PG_ROW_SEQ);

    if (priority && seq > g->top[priority])
        g->top[priority] = seq;
}

/* Deal the rows out. */
static executr_status take_rows(
    const PGresult *rows, claiming *c, group *g, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    memset(g->top, 0, sizeof g->top);
    for (int row = 0; row < PQntuples(rows) && !st; row++) {
        int32_t slot = ex_pg_i32(rows, row, EX_PG_ROW_SLOT);
        note_place(rows, row, g);
        if (slot == 0)
            continue;
        if (slot < 0 || (size_t)slot > g->count)
            return ex_fail(
                err, EXECUTR_E_INTERNAL, "a job was claimed for nobody");
        const ex_claim *claim = &c->claims[g->members[slot - 1]];
        st = ex_pg_claimed(
            rows, row, claim->request->executor_id, claim->jobs, err);
    }
    return st;
}

static executr_status claim_group(
    ex_pg_session *session, claiming *c, group *g, executr_error *err)
{
    PGresult *rows = NULL;
    ex_params p;

    ex_pg_floor_get(session->store, g->key, g->floors, &g->stamp);
    ex_params_init(&p);
    add_requests(&p, c, g);
    add_filter(&p, g);
    executr_status st = ex_pg_run_kept(session, &kept, &p, &rows, err);
    if (!st)
        st = take_rows(rows, c, g, err);
    PQclear(rows);
    ex_params_clear(&p);
    return st;
}

/* A try before this one was rolled back, and its jobs with it. */
static void forget_jobs(claiming *c)
{
    for (size_t i = 0; i < c->count; i++)
        c->claims[i].jobs->count = 0;
}

static executr_status claim_all(
    ex_pg_session *session, void *ctx, executr_error *err)
{
    claiming *c = ctx;
    executr_status st = EXECUTR_OK;

    forget_jobs(c);
    if (c->group_count == 1)
        return claim_group(session, c, &c->groups[0], err);
    st = ex_pg_begin(session, err);
    for (size_t g = 0; g < c->group_count && !st; g++)
        st = claim_group(session, c, &c->groups[g], err);
    return st ? st : ex_pg_commit(session, err);
}

executr_status ex_pg_claim(
    executr_store *base, ex_claim *claims, size_t count, executr_error *err)
{
    ex_pg_store *store = (ex_pg_store *)base;
    claiming c = {claims, count, NULL, 0, NULL};

    if (!count)
        return EXECUTR_OK;
    executr_status st = make_groups(&c, err);
    /* Jobs whose claim was committed unseen come back when their executor
     * does not name them; claiming again would only take more. */
    if (!st)
        st = ex_pg_run(store, EX_PG_ONCE, claim_all, &c, err);
    for (size_t g = 0; g < c.group_count && !st; g++)
        ex_pg_floor_raise(
            store, c.groups[g].key, c.groups[g].floors, c.groups[g].top,
            c.groups[g].stamp);
    if (st)
        forget_jobs(&c);
    ex_free(c.groups);
    ex_free(c.members);
    return st;
}
