/* SPDX-License-Identifier: MIT */
/*
 * The life of jobs (submit, claim, finish) by SQLite alone, on our own tables
 * and as durable as our store.
 *
 *   bench_sqlite --path FILE --group N [--jobs N]
 */
#include <executr/store.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define SHA256                                                                 \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum {
    BEGIN,
    COMMIT,
    INSERT_JOB,
    INSERT_QUEUE,
    PICK,
    UNQUEUE,
    START,
    END,
    INSERT_ATTEMPT,
    STATEMENTS
};

static const char *const texts[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [INSERT_JOB] =
        "INSERT INTO jobs (id, status, priority, type, created_at, max_retries,"
        " exclusive, demands, binary_url, binary_sha256, arguments,"
        " env_variables) VALUES (?1, 'pending', 'background', 'bench', ?2, 0, "
        "0, 0, 'http://127.0.0.1/tool', '" SHA256 "', '[\"a\"]', '{}')",
    [INSERT_QUEUE] = "INSERT INTO queue (priority, seq, job_id, type, demands)"
                     " VALUES (2, ?1, ?2, 'bench', 0)",
    [PICK] = "SELECT seq FROM queue WHERE priority = 2 ORDER BY seq LIMIT ?1",
    [UNQUEUE] = "DELETE FROM queue WHERE priority = 2 AND seq = ?1",
    [START] = "UPDATE jobs SET status = 'running', attempt = attempt + 1,"
              " executor_id = 'bench-0123abcd', executor_ip = '127.0.0.1',"
              " started_at = ?2, last_heartbeat = ?2 WHERE seq = ?1"
              " RETURNING id, type, binary_url, binary_sha256, arguments,"
              " env_variables, created_at",
    [END] = "UPDATE jobs SET status = 'completed', completed_at = ?2,"
            " exit_code = 0, outcome = 'exit' WHERE seq = ?1",
    [INSERT_ATTEMPT] =
        "INSERT INTO job_attempts (job_id, attempt, executor_id, executor_ip,"
        " started_at, ended_at, status, outcome, exit_code, stdout)"
        " SELECT id, attempt, executor_id, executor_ip, started_at, ?2,"
        " 'completed', 'exit', 0, x'646f6e650a' FROM jobs WHERE seq = ?1",
};

typedef struct life {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    int64_t group;
    int64_t *seqs;
    int64_t now;
} life;

/* One step; 1 if it gave a row. */
static int step(life *l, int which)
{
    int result = sqlite3_step(l->statements[which]);

    if (result != SQLITE_ROW && result != SQLITE_DONE)
        bench_fail("SQLite: %s", sqlite3_errmsg(l->db));
    return result == SQLITE_ROW;
}

static void run(life *l, int which)
{
    while (step(l, which))
        continue;
    sqlite3_reset(l->statements[which]);
}

static void run_on(life *l, int which, int64_t seq)
{
    sqlite3_bind_int64(l->statements[which], 1, seq);
    if (sqlite3_bind_parameter_count(l->statements[which]) > 1)
        sqlite3_bind_int64(l->statements[which], 2, l->now);
    run(l, which);
}

static void submit(life *l)
{
    char id[37];

    run(l, BEGIN);
    for (int64_t i = 0; i < l->group; i++) {
        bench_uuid(id);
        sqlite3_bind_text(l->statements[INSERT_JOB], 1, id, -1, SQLITE_STATIC);
        sqlite3_bind_int64(l->statements[INSERT_JOB], 2, l->now);
        run(l, INSERT_JOB);
        sqlite3_bind_int64(
            l->statements[INSERT_QUEUE], 1, sqlite3_last_insert_rowid(l->db));
        sqlite3_bind_text(
            l->statements[INSERT_QUEUE], 2, id, -1, SQLITE_STATIC);
        run(l, INSERT_QUEUE);
    }
    run(l, COMMIT);
}

static void claim(life *l)
{
    int64_t count = 0;

    run(l, BEGIN);
    sqlite3_bind_int64(l->statements[PICK], 1, l->group);
    while (step(l, PICK))
        l->seqs[count++] = sqlite3_column_int64(l->statements[PICK], 0);
    sqlite3_reset(l->statements[PICK]);
    if (count != l->group)
        bench_fail("%lld jobs were claimed", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        run_on(l, UNQUEUE, l->seqs[i]);
        run_on(l, START, l->seqs[i]);
    }
    run(l, COMMIT);
}

static void finish(life *l)
{
    run(l, BEGIN);
    for (int64_t i = 0; i < l->group; i++) {
        run_on(l, END, l->seqs[i]);
        run_on(l, INSERT_ATTEMPT, l->seqs[i]);
    }
    run(l, COMMIT);
}

static void open_life(life *l, const char *path)
{
    char url[512];
    executr_store *store;
    executr_error err;

    snprintf(url, sizeof url, "sqlite://%s", path);
    if (executr_store_open(url, NULL, &store, &err))
        bench_fail("%s", err.message);
    executr_store_free(store);
    if (sqlite3_open(path, &l->db) != SQLITE_OK ||
        sqlite3_exec(
            l->db,
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -32768",
            NULL, NULL, NULL) != SQLITE_OK)
        bench_fail("SQLite: %s", sqlite3_errmsg(l->db));
    for (int i = 0; i < STATEMENTS; i++) {
        if (sqlite3_prepare_v2(l->db, texts[i], -1, &l->statements[i], NULL) !=
            SQLITE_OK)
            bench_fail("SQLite: %s", sqlite3_errmsg(l->db));
    }
}

int main(int argc, char **argv)
{
    life l = {.group = bench_number(argv, "group", -1)};
    int64_t jobs = bench_number(argv, "jobs", 20000);

    (void)argc;
    l.now = 1;
    l.seqs = calloc((size_t)l.group + 1, sizeof *l.seqs);
    if (!l.seqs)
        bench_fail("no memory");
    open_life(&l, bench_text(argv, "path", NULL));
    double begin = bench_seconds();
    for (int64_t done = 0; done < jobs; done += l.group) {
        submit(&l);
        claim(&l);
        finish(&l);
    }
    double wall = bench_seconds() - begin;
    bench_sample(
        "sqlite", "jobs_per_s", (double)jobs / wall, (const char *)NULL);
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(l.statements[i]);
    sqlite3_close(l.db);
    free(l.seqs);
    return 0;
}
