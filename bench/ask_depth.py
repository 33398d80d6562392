# SPDX-License-Identifier: MIT
"""Claims while many jobs wait, lists of many jobs, and an old snapshot."""

import contextlib

import processes

RUNS = 5
DEPTHS = {"1k": 1000, "10k": 10000, "100k": 100000, "1m": 1000000}
# A p99 is that of the worst but two, not of the worst one.
ROUNDS = {1: 300, 100: 300}
FINISHED = 1000000
LISTS = {"list": "/jobs?limit=100", "list_page": "/jobs?limit=100&offset=10000",
         "list_none": "/jobs?limit=100&status=failed", "stats": "/admin/stats"}
LIST_ROUNDS = 50
PASSING = {"jobs": 200000, "executors": 16, "producers": 2, "group": 100}
TIMES_MOST = 1.5

# As submissions leave them, {count} at once; ids and places go up.
FILL = """
CREATE TEMPORARY TABLE fill AS SELECT n, (lpad(to_hex(
        (extract(epoch FROM now()) * 1000)::bigint - {count} + n), 12, '0')
    || '7' || substr(md5(n::text), 1, 3)
    || '8' || substr(md5(n::text), 4, 15))::uuid AS id,
    {place} + n AS seq
FROM generate_series(1, {count}) AS n;
SELECT setval('queue_seq', {place} + {count} + 16384);
INSERT INTO jobs (id, seq, type, binary_url, binary_sha256, arguments,
    env_variables, priority, status)
SELECT id, seq, 'bench', 'http://127.0.0.1/tool', repeat('0', 64), '[]', '{{}}',
    'background', 'pending' FROM fill;
"""
QUEUE = """
INSERT INTO queue (priority, seq, job_id, demands, type)
SELECT 2, seq, id, 0, 'bench' FROM fill;
INSERT INTO job_counts (background) VALUES ({count});
"""
END = """
UPDATE jobs SET status = 'completed', attempt = 1, executor_id = 'fill',
    executor_ip = '127.0.0.1', started_at = now(), last_heartbeat = now(),
    completed_at = now(), exit_code = 0, outcome = 'exit';
INSERT INTO job_attempts (job_id, attempt, status, executor_id, executor_ip,
    started_at, ended_at, outcome, exit_code, stdout)
SELECT id, 1, 'completed', 'fill', '127.0.0.1', now(), now(), 'exit', 0, 'done'
FROM fill;
INSERT INTO job_counts (completed) VALUES ({count});
"""


def ask(figures):
    with processes.postgres() as database:
        with contextlib.ExitStack() as stack:
            depths = {name: filled(stack, database, f"depth_{name}", count,
                                   QUEUE) for name, count in DEPTHS.items()}
            finished = filled(stack, database, "finished", FINISHED, END)
            database.ask("CHECKPOINT")  # or it is written out meanwhile
            for _ in range(figures.runs):
                for name, server in depths.items():
                    for group in ROUNDS:
                        claims(figures, f"pending.{name}", server, group)
                for name, path in LISTS.items():
                    take(figures, f"finished.1m.{name}", port=finished.port,
                         path=path, rounds=LIST_ROUNDS)
        for run in range(figures.runs):
            for snapshot in "none", "held":
                passing(figures, database, run, snapshot)
    for group in ROUNDS:
        compare(figures, group, "pending.1m", "pending.10k", "1m_to_10k")
        for quantile in "p50", "p99":
            figures.goal(f"1m_to_10k.claim_{group}.{quantile}_ratio",
                         most=TIMES_MOST)
    compare(figures, 100, "snapshot.held", "snapshot.none", "held_to_none")
    figures.goal("held_to_none.claim_100.p50_ratio", most=TIMES_MOST)


def compare(figures, group, part, whole, name):
    for quantile in "p50", "p99":
        figures.ratio(f"{name}.claim_{group}.{quantile}_ratio",
                      f"{part}.claim_{group}.{quantile}",
                      f"{whole}.claim_{group}.{quantile}")


def take(figures, name, **options):
    sample = processes.generate_one("depth", **options)
    for quantile in "p50", "p99":
        figures.add(f"{name}.{quantile}", "ms", sample[quantile + "_ms"])


def claims(figures, name, server, group):
    take(figures, f"{name}.claim_{group}", port=server.port, group=group,
         rounds=ROUNDS[group])


def filled(stack, database, name, count, more):
    """A server on a database of its own, where so many jobs are."""
    own = database.another(name)
    directory = stack.enter_context(processes.directory(processes.TMPFS))
    server = stack.enter_context(processes.Server(directory, own.url))
    place = own.ask("SELECT nextval('queue_seq')")
    own.ask((FILL + more).format(count=count, place=place))
    own.ask("VACUUM (FREEZE)")
    return server


def passing(figures, database, run, snapshot):
    """Claims after so many jobs have come and gone, on a new database."""
    own = database.another(f"snapshot_{snapshot}_{run}")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(processes.directory(processes.TMPFS))
        server = stack.enter_context(processes.Server(directory, own.url))
        if snapshot == "held":
            stack.enter_context(processes.old_snapshot(own))
        processes.generate_one("queue", port=server.port, **PASSING)
        claims(figures, f"snapshot.{snapshot}", server, 100)
    database.ask(f"DROP DATABASE {own.url.rpartition('/')[2]}")
