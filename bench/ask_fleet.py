# SPDX-License-Identifier: MIT
"""Thousands of executors that wait for jobs, and what else is asked then."""

import contextlib
import time

import ask_run
import processes

RUNS = 5
FLEETS = 1000, 5000
ROUNDS = 200
WORKED = 1000
CALLS = "submit_p99", "get_p99", "stats_p99", "health_p99"
TIMES = "submit_p50", "wake_p50", "wake_p99", *CALLS


def ask(figures):
    with processes.stores("postgres") as store:
        for _ in range(figures.runs):
            idle(figures, store)
            for executors in FLEETS:
                measure(figures, store, executors)
    figures.goal("idle.server.rss", most=16)
    figures.goal("idle.executor.rss", most=8)
    figures.goal("parked.1000.rss", most=64)
    for executors in FLEETS:
        figures.goal(f"parked.{executors}.woken", most=1)
        for call in CALLS:
            figures.goal(f"parked.{executors}.{call}", most=10)


def take_memory(figures, name, program):
    figures.add(name + ".rss", "MiB", program.status("VmRSS") / 1024)
    figures.add(name + ".own", "MiB", program.status("RssAnon") / 1024)
    figures.add(name + ".threads", "threads", program.status("Threads"))


def idle(figures, store):
    """With the connections that are allowed unless told otherwise."""
    with contextlib.ExitStack() as stack:
        url, _ = stack.enter_context(store("postgres"))
        directory = stack.enter_context(processes.directory(processes.TMPFS))
        server = stack.enter_context(
            processes.Server(directory, url, max_connections=256))
        executor = stack.enter_context(
            processes.Executor(directory, server, max_jobs=4))
        time.sleep(2)
        take_memory(figures, "idle.server", server)
        take_memory(figures, "idle.executor", executor)
        ask_run.submit(server, server.upload(processes.TINY), WORKED)
        ask_run.wait_for(server, WORKED)
        time.sleep(2)
        take_memory(figures, "worked.executor", executor)


def measure(figures, store, executors):
    name = f"parked.{executors}"
    with contextlib.ExitStack() as stack:
        url, _ = stack.enter_context(store("postgres"))
        directory = stack.enter_context(processes.directory(processes.TMPFS))
        # An eighth is for followers, and not all may be claims that wait.
        server = stack.enter_context(processes.Server(
            directory, url, max_connections=executors * 5 // 4 + 256))
        samples = processes.generate("fleet", port=server.port,
                                     executors=executors, rounds=ROUNDS)
        next(samples)
        take_memory(figures, name, server)
        for sample in samples:
            for time_of in TIMES:
                figures.add(f"{name}.{time_of}", "ms",
                            sample[time_of + "_ms"])
            figures.add(name + ".woken", "per job", sample["woken"])
        figures.add(name + ".peak", "MiB", server.status("VmHWM") / 1024)
