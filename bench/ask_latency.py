# SPDX-License-Identifier: MIT
"""From a submission to the start of its program, on an idle system."""

import contextlib

import processes

RUNS = 5
JOBS = 100


def ask(figures):
    with processes.stores("postgres") as store:
        for _ in range(figures.runs):
            bare(figures, store)
            for servers in 1, 2:
                measure(figures, store, "postgres", servers)
            measure(figures, store, "sqlite", 1)
    figures.ratio("servers.1.p50.to_bare", "servers.1.p50", "bare.p50")
    for servers, p50, p99 in (1, 1.5, 6), (2, 4, 25):
        figures.goal(f"servers.{servers}.p50", most=p50)
        figures.goal(f"servers.{servers}.p99", most=p99)


def bare(figures, store):
    """What the same way takes that does nothing else."""
    with store("postgres") as (url, _):
        sample = processes.generate_one(
            "chain", url=url, program=processes.STAMP, jobs=JOBS)
    figures.add("bare.p50", "ms", sample["p50_ms"])
    figures.add("bare.p99", "ms", sample["p99_ms"])


def measure(figures, store, kind, servers):
    name = f"servers.{servers}" if kind == "postgres" else kind
    with contextlib.ExitStack() as stack:
        url, _ = stack.enter_context(store(kind))
        directory = stack.enter_context(
            processes.directory(processes.TMPFS))
        first = stack.enter_context(processes.Server(directory, url))
        last = first if servers == 1 else stack.enter_context(
            processes.Server(directory, url))
        sha256 = first.upload(processes.STAMP)
        stack.enter_context(processes.Executor(directory, last, max_jobs=2))
        for sample in processes.generate(
                "latency", port=first.port, sha256=sha256, jobs=JOBS):
            figures.add(name + ".p50", "ms", sample["p50_ms"])
            figures.add(name + ".p99", "ms", sample["p99_ms"])
