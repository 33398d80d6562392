# SPDX-License-Identifier: MIT
"""What the databases can do by themselves: the life cycle without a server."""

import processes

RUNS = 5

# Group: how many jobs in all, and by how many connections at once (those that
# were fastest on two cores).
POSTGRES = {1: (2000, 16), 100: (20000, 4), 1000: (20000, 4)}
SQLITE = {1: 500, 100: 10000, 1000: 20000}


def postgres_life(figures, url, name, layout, group, jobs=None, backlog=0):
    standard, connections = POSTGRES[group]
    for sample in processes.generate(
            "postgres", url=url, layout=layout, group=group,
            connections=connections, jobs=jobs or standard, backlog=backlog):
        figures.add(name + ".jobs_per_s", "jobs/s", sample["jobs_per_s"])
        figures.add(name + ".wal", "bytes/job", sample["wal_bytes_per_job"])


def sqlite_life(figures, name, group):
    with processes.directory(processes.DISK) as directory:
        for sample in processes.generate(
                "sqlite", path=directory / "jobs.db", group=group,
                jobs=SQLITE[group]):
            figures.add(name + ".jobs_per_s", "jobs/s", sample["jobs_per_s"])


def ask(figures):
    with processes.postgres() as url:
        for _ in range(figures.runs):
            for group in POSTGRES:
                postgres_life(figures, url, f"postgres.{group}", "ours", group)
            for group in SQLITE:
                sqlite_life(figures, f"sqlite.{group}", group)
            spawn_loop(figures)
    for kind in "postgres", "sqlite":
        figures.ratio(f"{kind}.1.to_100", f"{kind}.1.jobs_per_s",
                      f"{kind}.100.jobs_per_s")


def spawn_loop(figures):
    with processes.directory(processes.TMPFS) as directory:
        for sample in processes.generate(
                "spawn", program=processes.TINY, directory=directory,
                rounds=1, loop="bare"):
            figures.add("spawn.tiny.tmpfs.jobs_per_s", "jobs/s",
                        sample["jobs_per_s"])
