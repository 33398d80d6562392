# SPDX-License-Identifier: MIT
"""The life cycle through HTTP, by executors that run nothing."""

import contextlib

import ask_limit
import processes

RUNS = 5
GROUPED = 16

# Connections: how many jobs a run has, in single calls.
SINGLE = {1: 500, 4: 1500, 16: 3000, 64: 4000, 256: 4000}
MIXED = 64
MIXED_JOBS = 10000
BULK = 100
BULK_JOBS = 20000
CALLS = 50000
FIGURES = {"claim_p50_ms": "ms", "claim_p99_ms": "ms", "life_p50_ms": "ms",
           "life_p99_ms": "ms", "claimed_jobs": "jobs",
           "generator_cpu_us": "us/job"}


def ask(figures):
    with processes.stores("postgres") as store:
        for _ in range(figures.runs):
            for kind in "postgres", "sqlite":
                for connections, jobs in SINGLE.items():
                    measure(figures, store, kind, "single", connections, jobs)
                measure(figures, store, kind, "mixed", MIXED, MIXED_JOBS)
                for connections in SINGLE:
                    measure(figures, store, kind, "bulk", connections,
                            BULK_JOBS)
                measure(figures, store, kind, "backlog", GROUPED, BULK_JOBS)
    for kind in "postgres", "sqlite":
        for mode, connections in (
                *(("single", n) for n in SINGLE), ("mixed", MIXED),
                *(("bulk", n) for n in SINGLE), ("backlog", GROUPED)):
            name = f"{kind}.{mode}.{connections}"
            figures.ratio(f"{name}.to_limit", f"{name}.jobs_per_s",
                          f"{name}.limit")
        figures.ratio(f"{kind}.single.64.to_http", f"{kind}.single.64.calls",
                      f"{kind}.single.64.http")
    figures.goal(f"postgres.bulk.{GROUPED}.to_limit", least=0.75)
    figures.goal("postgres.single.64.to_limit", least=0.3)
    figures.goal(f"sqlite.bulk.{GROUPED}.to_limit", least=0.6)
    figures.goal(f"postgres.bulk.{GROUPED}.wal", most=1.3 * 1024)


def limit(figures, store, kind, name):
    """What the database can do by itself in groups of 100, just now."""
    if kind == "sqlite":
        sample = ask_limit.sqlite_life(100)
    else:
        with store(kind) as (url, _):
            sample = ask_limit.postgres_life(url, "ours", 100)
    figures.add(name, "jobs/s", sample["jobs_per_s"])


def load_of(mode, connections):
    """N connections of single calls are shared by producers and executors (1:
    one each); mixed, the latter are as few as with groups, and group as they
    do. With groups N are executors', and two producers feed them, or as many,
    which is more than they can do."""
    if mode == "mixed":
        return {"executors": GROUPED, "producers": connections - GROUPED,
                "group": BULK, "batch": 1}
    if mode != "single":
        return {"executors": connections, "group": BULK,
                "producers": 2 if mode == "bulk" else connections}
    half = max(connections // 2, 1)
    return {"executors": half, "producers": half, "group": 1}


def measure(figures, store, kind, mode, connections, jobs):
    name = f"{kind}.{mode}.{connections}"
    limit(figures, store, kind, name + ".limit")
    with contextlib.ExitStack() as stack:
        url, database = stack.enter_context(store(kind))
        directory = stack.enter_context(processes.directory(processes.TMPFS))
        server = stack.enter_context(processes.Server(directory, url))
        load = {"port": server.port} | load_of(mode, connections)
        warm_up(load)
        if (mode, connections) == ("single", 64):
            http(figures, server, name)
        wal = database.wal_bytes() if database else 0
        cpu = server.cpu_seconds()
        database_cpu = database.cpu_seconds() if database else 0
        for sample in processes.generate("queue", jobs=jobs, **load):
            figures.add(name + ".jobs_per_s", "jobs/s", sample["jobs_per_s"])
            for figure, unit in FIGURES.items():
                figures.add(f"{name}.{figure.rpartition('_')[0]}", unit,
                            sample[figure])
            if (mode, connections) == ("single", 64):
                figures.add(name + ".calls", "calls/s",
                            3 * sample["jobs_per_s"])
        figures.add(name + ".server_cpu", "us/job",
                    (server.cpu_seconds() - cpu) / jobs * 1e6)
        if database:
            figures.add(name + ".postgres_cpu", "us/job",
                        (database.cpu_seconds() - database_cpu) / jobs * 1e6)
            figures.add(name + ".wal", "bytes/job",
                        (database.wal_bytes() - wal) / jobs)


def http(figures, server, name):
    """What the server's HTTP alone can do on as many connections."""
    for sample in processes.generate("calls", port=server.port, connections=64,
                                     calls=CALLS):
        figures.add(name + ".http", "calls/s", sample["calls_per_s"])


def warm_up(load):
    for _ in processes.generate("queue", jobs=100, **load):
        pass
