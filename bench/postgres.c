/* SPDX-License-Identifier: MIT */
/*
 * The life of jobs (submit, claim, finish) by libpq alone.
 *
 *   bench_postgres --url URL --layout ours|guide|indexed --group N
 *                  [--connections N] [--jobs N] [--backlog N]
 *
 * `ours`: our own tables, the leanest statements on them, `group` jobs a
 * statement. Nothing of what makes a queue safe: no leases, no counts, no
 * retries. `guide`: one table and the claim of the performance guide, one job
 * a statement; `indexed` adds the index it lacks. The tables are emptied first;
 * then `backlog` jobs are submitted that are not counted.
 */
#include <executr/store.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define SHA256                                                                 \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define CONNECTIONS_MOST 64
#define CLAIMED_SEQ 5
#define FILL_GROUP 1000

/* So far behind the newest job a claim starts to look. */
#define SLACK (INT64_C(16384) * 256)

typedef struct layout {
    const char *name;
    const char *set_up; /* for each run */
    const char *session;
    const char *submit; /* ids, types, arguments */
    const char *claim;  /* how many, from where */
    const char *finish; /* ids, exit codes, outputs */
} layout;

/* What keeps plans from flipping, as in our own functions. */
#define PLANS                                                                  \
    "SET enable_seqscan = off; SET enable_bitmapscan = off;"                   \
    "SET enable_sort = off; SET enable_hashjoin = off;"                        \
    "SET enable_mergejoin = off; SET enable_material = off;"                   \
    "SET plan_cache_mode = force_generic_plan; SET jit = off"

#define OUR_SUBMIT                                                             \
    "WITH new AS (INSERT INTO jobs (id, seq, type, binary_url, binary_sha256," \
    " arguments, env_variables, priority, status)"                             \
    " SELECT u.id, (SELECT nextval('queue_seq')) + u.n, u.type,"               \
    " 'http://127.0.0.1/tool', '" SHA256 "', u.arguments::json, '{}',"         \
    " 'background', 'pending' FROM unnest($1::uuid[], $2::text[], $3::text[])" \
    " WITH ORDINALITY AS u (id, type, arguments, n)"                           \
    " RETURNING id, seq, type)"                                                \
    "INSERT INTO queue (priority, seq, job_id, demands, type)"                 \
    " SELECT 2, seq, id, 0, type FROM new"

#define OUR_CLAIM                                                              \
    "WITH picked AS MATERIALIZED (SELECT ctid AS place, job_id FROM queue"     \
    " WHERE priority = 2 AND seq >= $2::bigint ORDER BY seq LIMIT $1::integer" \
    " FOR UPDATE SKIP LOCKED),"                                                \
    "taken AS (DELETE FROM queue"                                              \
    " WHERE ctid = ANY (ARRAY(SELECT place FROM picked)))"                     \
    "UPDATE jobs j SET status = 'running', attempt = j.attempt + 1,"           \
    " executor_id = 'bench-0123abcd', executor_ip = '127.0.0.1',"              \
    " started_at = now(), last_heartbeat = now()"                              \
    " FROM picked WHERE j.id = picked.job_id"                                  \
    " RETURNING j.id, j.type, j.binary_url, j.binary_sha256, j.arguments,"     \
    " j.seq, j.env_variables, j.created_at"

#define OUR_FINISH                                                             \
    "WITH ended AS (UPDATE jobs j SET status = 'completed',"                   \
    " completed_at = now(), exit_code = u.code, outcome = 'exit'"              \
    " FROM unnest($1::uuid[], $2::integer[], $3::bytea[])"                     \
    " AS u (id, code, output) WHERE j.id = u.id"                               \
    " RETURNING j.id, j.attempt, j.executor_id, j.executor_ip, j.started_at,"  \
    " u.code, u.output)"                                                       \
    "INSERT INTO job_attempts (job_id, attempt, status, executor_id,"          \
    " executor_ip, started_at, ended_at, outcome, exit_code, stdout)"          \
    " SELECT id, attempt, 'completed', executor_id, executor_ip, started_at,"  \
    " now(), 'exit', code, output FROM ended"

#define GUIDE_TABLE                                                            \
    "SET client_min_messages = warning;"                                       \
    "DROP SCHEMA IF EXISTS guide CASCADE; CREATE SCHEMA guide;"                \
    "CREATE TABLE guide.jobs (id uuid PRIMARY KEY, type text NOT NULL,"        \
    " binary_url text, binary_sha256 text, arguments json, env_variables"      \
    " json, priority text NOT NULL, status text NOT NULL, executor_id text,"   \
    " stdout text, stderr text, exit_code integer, error_message text,"        \
    " created_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz,"  \
    " completed_at timestamptz, last_heartbeat timestamptz,"                   \
    " max_retries integer DEFAULT 0, retry_count integer DEFAULT 0,"           \
    " retry_after timestamptz)"

#define GUIDE_SUBMIT                                                           \
    "INSERT INTO guide.jobs (id, type, binary_url, binary_sha256, arguments,"  \
    " env_variables, priority, status) SELECT u.id, u.type,"                   \
    " 'http://127.0.0.1/tool', '" SHA256 "', u.arguments::json, '{}',"         \
    " 'background', 'pending' FROM unnest($1::uuid[], $2::text[], $3::text[])" \
    " AS u (id, type, arguments)"

/* As it stands in the guide; the two parameters are for show. */
#define GUIDE_CLAIM                                                            \
    "UPDATE guide.jobs SET status = 'running', executor_id = 'test',"          \
    " started_at = NOW(), last_heartbeat = NOW() WHERE id = ("                 \
    " SELECT id FROM guide.jobs WHERE status = 'pending'"                      \
    " AND $1::integer > 0 AND $2::bigint >= 0"                                 \
    " ORDER BY CASE priority WHEN 'foreground' THEN 1"                         \
    " WHEN 'background' THEN 2 WHEN 'best_effort' THEN 3 END, created_at"      \
    " FOR UPDATE SKIP LOCKED LIMIT 1)"                                         \
    " RETURNING id, type, binary_url, binary_sha256, arguments, 0,"            \
    " env_variables, created_at"

#define GUIDE_FINISH                                                           \
    "UPDATE guide.jobs SET status = 'completed', completed_at = NOW(),"        \
    " exit_code = ($2::integer[])[1],"                                         \
    " stdout = convert_from(($3::bytea[])[1], 'UTF8')"                         \
    " WHERE id = ($1::uuid[])[1]"

static const layout layouts[] = {
    {"ours", "TRUNCATE jobs, queue, job_attempts", PLANS, OUR_SUBMIT, OUR_CLAIM,
     OUR_FINISH},
    {"guide", GUIDE_TABLE, "SET jit = off", GUIDE_SUBMIT, GUIDE_CLAIM,
     GUIDE_FINISH},
    {"indexed",
     GUIDE_TABLE "; CREATE INDEX ON guide.jobs (created_at)"
                 " WHERE status = 'pending'",
     "SET jit = off", GUIDE_SUBMIT, GUIDE_CLAIM, GUIDE_FINISH},
};

typedef struct work {
    pthread_t thread;
    const char *url;
    const layout *plan;
    int64_t group;
    int64_t jobs;
} work;

/* A text array of which one element after the other is added. */
typedef struct list {
    char *text;
    size_t length;
} list;

static void list_begin(list *l, int64_t count, size_t longest)
{
    l->text = realloc(l->text, (size_t)count * (longest + 1) + 2);
    if (!l->text)
        bench_fail("no memory");
    memcpy(l->text, "{", 2);
    l->length = 1;
}

static void list_add(list *l, const char *element)
{
    size_t length = strlen(element);

    if (l->length > 1)
        l->text[l->length++] = ',';
    memcpy(l->text + l->length, element, length);
    l->length += length;
}

static const char *list_end(list *l)
{
    memcpy(l->text + l->length, "}", 2);
    return l->text;
}

static PGresult *must(PGconn *connection, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        bench_fail("PostgreSQL: %s", PQerrorMessage(connection));
    return result;
}

static void command(PGconn *connection, const char *sql)
{
    PQclear(must(connection, PQexec(connection, sql)));
}

static PGconn *dial(const char *url)
{
    PGconn *connection = PQconnectdb(url);

    if (PQstatus(connection) != CONNECTION_OK)
        bench_fail("PostgreSQL: %s", PQerrorMessage(connection));
    return connection;
}

static PGresult *call(
    PGconn *connection, const char *statement, int count,
    const char *const *values)
{
    return must(
        connection,
        PQexecPrepared(connection, statement, count, values, NULL, NULL, 0));
}

static void submit(PGconn *connection, int64_t group, list lists[3])
{
    char id[37];

    list_begin(&lists[0], group, sizeof id);
    list_begin(&lists[1], group, 16);
    list_begin(&lists[2], group, 16);
    for (int64_t i = 0; i < group; i++) {
        bench_uuid(id);
        list_add(&lists[0], id);
        list_add(&lists[1], "bench");
        list_add(&lists[2], "\"[\\\"a\\\"]\"");
    }
    const char *values[] = {
        list_end(&lists[0]), list_end(&lists[1]), list_end(&lists[2])};
    PQclear(call(connection, "submit", 3, values));
}

/* The ids that were claimed go into the first list; how many there were. */
static int claim(
    PGconn *connection, int64_t group, int64_t *floor, list lists[3])
{
    char wanted[24];
    char from[24];

    snprintf(wanted, sizeof wanted, "%lld", (long long)group);
    snprintf(
        from, sizeof from, "%lld",
        (long long)(*floor > SLACK ? *floor - SLACK : 0));
    const char *values[] = {wanted, from};
    PGresult *rows = call(connection, "claim", 2, values);
    int count = PQntuples(rows);
    list_begin(&lists[0], group, 37);
    for (int i = 0; i < count; i++) {
        long long seq = strtoll(PQgetvalue(rows, i, CLAIMED_SEQ), NULL, 10);
        list_add(&lists[0], PQgetvalue(rows, i, 0));
        *floor = seq > *floor ? seq : *floor;
    }
    PQclear(rows);
    return count;
}

static void finish(PGconn *connection, int count, list lists[3])
{
    list_begin(&lists[1], count, 2);
    list_begin(&lists[2], count, 32);
    for (int i = 0; i < count; i++) {
        list_add(&lists[1], "0");
        list_add(&lists[2], "\"\\\\x646f6e650a\"");
    }
    const char *values[] = {
        list_end(&lists[0]), list_end(&lists[1]), list_end(&lists[2])};
    PQclear(call(connection, "finish", 3, values));
}

static PGconn *open_session(const char *url, const layout *plan)
{
    PGconn *connection = dial(url);

    command(connection, plan->session);
    PQclear(PQprepare(connection, "submit", plan->submit, 0, NULL));
    PQclear(PQprepare(connection, "claim", plan->claim, 0, NULL));
    PQclear(PQprepare(connection, "finish", plan->finish, 0, NULL));
    return connection;
}

static void free_lists(list lists[3])
{
    for (size_t i = 0; i < 3; i++)
        free(lists[i].text);
}

static void fill(const char *url, const layout *plan, int64_t backlog)
{
    list lists[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    PGconn *connection = open_session(url, plan);

    for (int64_t done = 0; done < backlog; done += FILL_GROUP)
        submit(connection, FILL_GROUP, lists);
    PQfinish(connection);
    free_lists(lists);
}

static void *live(void *arg)
{
    const work *w = arg;
    list lists[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    int64_t floor = 0;
    PGconn *connection = open_session(w->url, w->plan);

    for (int64_t done = 0; done < w->jobs; done += w->group) {
        submit(connection, w->group, lists);
        /* Others may hold some: what is claimed next is theirs and ours. */
        int count = claim(connection, w->group, &floor, lists);
        if (count > 0)
            finish(connection, count, lists);
    }
    PQfinish(connection);
    free_lists(lists);
    return NULL;
}

static double wal_bytes(PGconn *connection)
{
    PGresult *rows = must(
        connection,
        PQexec(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'"));
    double bytes = strtod(PQgetvalue(rows, 0, 0), NULL);
    PQclear(rows);
    return bytes;
}

static void open_store(const char *url)
{
    executr_store *store;
    executr_error err;

    if (executr_store_open(url, NULL, &store, &err))
        bench_fail("%s", err.message);
    executr_store_free(store);
}

static const layout *find_layout(const char *name)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (strcmp(layouts[i].name, name) == 0)
            return &layouts[i];
    }
    bench_fail("there is no layout '%s'", name);
}

int main(int argc, char **argv)
{
    static work works[CONNECTIONS_MOST];
    const char *url = bench_text(argv, "url", NULL);
    const layout *plan = find_layout(bench_text(argv, "layout", NULL));
    int64_t group = bench_number(argv, "group", -1);
    int64_t connections = bench_number(argv, "connections", 2);
    int64_t jobs = bench_number(argv, "jobs", 20000) / connections;

    (void)argc;
    if (connections < 1 || connections > CONNECTIONS_MOST || group < 1)
        bench_fail("1 to %d connections, groups of 1", CONNECTIONS_MOST);
    open_store(url);
    PGconn *connection = dial(url);
    command(connection, plan->set_up);
    fill(url, plan, bench_number(argv, "backlog", 0));
    double wal = wal_bytes(connection);
    double begin = bench_seconds();
    for (int64_t i = 0; i < connections; i++) {
        works[i] = (work){0, url, plan, group, jobs};
        pthread_create(&works[i].thread, NULL, live, &works[i]);
    }
    for (int64_t i = 0; i < connections; i++)
        pthread_join(works[i].thread, NULL);
    double wall = bench_seconds() - begin;
    double total = (double)(jobs * connections);
    bench_sample(
        plan->name, "jobs_per_s", total / wall, "wal_bytes_per_job",
        (wal_bytes(connection) - wal) / total, (const char *)NULL);
    PQfinish(connection);
    return 0;
}
