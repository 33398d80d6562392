# SPDX-License-Identifier: MIT
"""What the databases can do by themselves: the life cycle without a server."""

import processes

RUNS = 5

# Group: how many jobs in all, and by how many connections at once (those that
# were fastest on two cores).
POSTGRES = {1: (2000, 16), 100: (20000, 4), 1000: (20000, 4)}
SQLITE = {1: 500, 100: 10000, 1000: 20000}


def postgres_life(url, layout, group, jobs=None, backlog=0):
    standard, connections = POSTGRES[group]
    return processes.generate_one(
        "postgres", url=url, layout=layout, group=group,
        connections=connections, jobs=jobs or standard, backlog=backlog)


def sqlite_life(group):
    with processes.directory(processes.DISK) as directory:
        return processes.generate_one(
            "sqlite", path=directory / "jobs.db", group=group,
            jobs=SQLITE[group])


def spawn_loop():
    with processes.directory(processes.TMPFS) as directory:
        return processes.generate_one(
            "spawn", program=processes.TINY, directory=directory, rounds=1,
            loop="bare")


def ask(figures):
    with processes.postgres() as database:
        for _ in range(figures.runs):
            for group in POSTGRES:
                take(figures, f"postgres.{group}",
                     postgres_life(database.url, "ours", group))
            for group in SQLITE:
                take(figures, f"sqlite.{group}", sqlite_life(group))
            take(figures, "spawn.tiny.tmpfs", spawn_loop())


def take(figures, name, sample):
    figures.add(name + ".jobs_per_s", "jobs/s", sample["jobs_per_s"])
    if "wal_bytes_per_job" in sample:
        figures.add(name + ".wal", "bytes/job", sample["wal_bytes_per_job"])
