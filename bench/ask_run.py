# SPDX-License-Identifier: MIT
"""Real processes, from their submission to the last result."""

import contextlib
import subprocess
import time

import processes

RUNS = 5
JOBS = 6000
AT_ONCE = 4
BULK = 1000

PROGRAMS = {"tiny": processes.TINY, "true": "/bin/true"}


def ask(figures):
    with processes.stores("postgres") as store:
        for _ in range(figures.runs):
            for program in PROGRAMS:
                bare(figures, program)
                for kind in "postgres", "sqlite":
                    executr(figures, store, kind, program)
                xargs(figures, program)
    for program, goal in ("tiny", 0.65), ("true", 0.75):
        for kind in "postgres", "sqlite":
            name = f"{program}.{kind}"
            for peer in "bare", "xargs":
                figures.ratio(f"{name}.to_{peer}", f"{name}.jobs_per_s",
                              f"{program}.{peer}.jobs_per_s")
            figures.goal(f"{name}.to_bare", least=goal)
            figures.goal(f"{name}.executor_cpu", most=120)


def bare(figures, program):
    with processes.directory(processes.TMPFS) as directory:
        sample = processes.generate_one(
            "spawn", program=PROGRAMS[program], directory=directory,
            rounds=1, jobs=JOBS, concurrency=AT_ONCE, loop="bare")
    figures.add(f"{program}.bare.jobs_per_s", "jobs/s", sample["jobs_per_s"])


def xargs(figures, program):
    lines = "x\n" * JOBS
    begin = time.monotonic()
    subprocess.run(["xargs", "-n", "1", "-P", str(AT_ONCE), PROGRAMS[program]],
                   input=lines, text=True, stdout=subprocess.DEVNULL,
                   check=True)
    figures.add(f"{program}.xargs.jobs_per_s", "jobs/s",
                JOBS / (time.monotonic() - begin))


def submit(server, sha256, count):
    for first in range(0, count, BULK):
        job = {"type": "bench", "binary_sha256": sha256}
        server.call("POST", "/jobs/bulk", [job] * min(BULK, count - first))


def wait_for(server, completed):
    while True:
        by_status = server.call("GET", "/admin/stats")["jobs_by_status"]
        if by_status["completed"] >= completed:
            return
        if by_status["failed"]:
            raise SystemExit("bench: a job failed")
        time.sleep(0.05)


def executr(figures, store, kind, program):
    with contextlib.ExitStack() as stack:
        url, _ = stack.enter_context(store(kind))
        directory = stack.enter_context(processes.directory(processes.TMPFS))
        server = stack.enter_context(processes.Server(directory, url))
        sha256 = server.upload(PROGRAMS[program])
        executor = stack.enter_context(
            processes.Executor(directory, server, max_jobs=AT_ONCE))
        submit(server, sha256, 50)
        wait_for(server, 50)
        cpu = [p.cpu_seconds() for p in (executor, server)]
        begin = time.monotonic()
        submit(server, sha256, JOBS)
        wait_for(server, JOBS + 50)
        took = time.monotonic() - begin
        name = f"{program}.{kind}"
        figures.add(name + ".jobs_per_s", "jobs/s", JOBS / took)
        for who, process, before in zip(
                ("executor", "server"), (executor, server), cpu):
            figures.add(f"{name}.{who}_cpu", "us/job",
                        (process.cpu_seconds() - before) / JOBS * 1e6)
