# SPDX-License-Identifier: MIT
"""kill -9 of executors at random moments, whatever their jobs are: every job
is recorded once, and nothing of an executor outlives it.

EXECUTR_TEST_KILLS says how many, EXECUTR_TEST_SEED repeats a run."""

import json
import time
import warnings

import pytest

import harness
import invariants
from rounds import (
    WITNESS, Trace, alive, chance, groups_of, number, overlaps)

pytestmark = pytest.mark.long
USUAL = 20
FAST = ("--heartbeat-interval", "300ms", "--poll-interval", "200ms",
        "--max-jobs", "4")
WILD = ["deaf", "family", "daemon"]
LIMITS = {"memory_mb": 64, "max_processes": 16}

# What programs do to stay alive, and what was asked for them.
KINDS = [
    ([], {}),
    (["deaf"], {}),
    (["daemon"], {}),
    (WILD, {}),
    (WILD, {"exclusive": True}),
    (WILD, LIMITS),
    (WILD, {"isolation": "standard"}),
    (WILD, {"isolation": "strict", **LIMITS}),
]


class Zoo:
    """Jobs of all kinds, and executors that live for a moment."""

    def __init__(self, lab, server, chance):
        self.lab, self.server, self.chance = lab, server, chance
        self.trace = Trace(lab.place)
        self.sha256 = server.api.upload(WITNESS)
        self.work = lab.place / "work"
        self.kinds, self.jobs = KINDS, {}
        self.groups = set()
        self.slowest = self.seen = 0

    def executor(self):
        worker = self.lab.executor(
            self.server, *FAST, "--work-dir", self.work)
        self.groups |= groups_of(worker.pid)
        return worker

    def find_kinds(self, worker):
        """Leave out what this machine can't give, and say so."""
        said = "\n".join(record.get("ability", "")
                         for record in worker.records())
        for word in ("standard", "strict", "max_processes"):
            if f"{word}: no" in said or f"isolation: no {word}" in said:
                warnings.warn(f"not tested, for lack of {word}:\n{said}")
                self.kinds = [kind for kind in self.kinds
                              if word not in json.dumps(kind)]

    def submit(self, count):
        for _ in range(count):
            how, asked = self.chance.choice(self.kinds)
            token = f"zoo{len(self.jobs)}"
            # A caged one can't write to a file of ours.
            trace = "-" if "isolation" in asked else str(self.trace.path)
            answer = self.server.api.post("/jobs", {
                "type": "t", "binary_sha256": self.sha256, **asked,
                "arguments": [trace, token, "-",
                              str(self.chance.randrange(300)), *how]})
            assert answer.status == 201, answer
            self.jobs[token] = answer.json["id"]

    def kill(self, worker, patience):
        """At once; then nothing of it may live on."""
        self.seen = max(self.seen, len(alive(worker.cache)))
        worker.kill()
        began = time.monotonic()
        harness.until(lambda: not alive(worker.cache),
                      f"all of executor {worker.id} was gone", patience)
        self.slowest = max(self.slowest, time.monotonic() - began)

    def settled(self):
        def idle():
            counts = self.server.api.stats()["jobs_by_status"]
            return counts["pending"] == counts["running"] == 0
        harness.until(idle, "all jobs were over", 120, 0.1)

    def check(self, store):
        runs, repeated = self.trace.runs(), 0
        for token, job in self.jobs.items():
            record = self.server.api.job(job)
            assert record["status"] == "completed", record
            assert record["stdout"].split()[0] == token
            ended = [a["attempt"] for a in record["attempts"]
                     if a["status"] == "completed"]
            assert ended == [record["attempt"]], record
            assert len(runs.get(token, [])) <= record["attempt"]
            if token in runs:
                assert runs[token][-1].name == record["stdout"].split()[1]
            repeated += record["attempt"] > 1
            # Nobody but a dead executor can have had the job before.
            assert not overlaps(runs.get(token, [])), (token, runs[token])
        invariants.check(store)
        return repeated


def test_t34_kill_9_of_executors_leaves_nothing_alive(lab):
    kills = number("EXECUTR_TEST_KILLS", USUAL)
    # The promise is two seconds; beside other tests a machine may be slow.
    patience = 2 if kills > USUAL else 10
    server = lab.server(
        "--heartbeat-timeout", "1s", "--max-lost-attempts", "1000")
    zoo = Zoo(lab, server, chance())
    workers = [zoo.executor() for _ in range(2)]
    zoo.find_kinds(workers[0])
    for _ in range(kills):
        zoo.submit(zoo.chance.randrange(1, 6))
        time.sleep(zoo.chance.uniform(0, 0.6))
        victim = workers.pop(zoo.chance.randrange(len(workers)))
        zoo.kill(victim, patience)
        workers.append(zoo.executor())
    zoo.settled()
    repeated = zoo.check(lab.store)
    for worker in workers:
        assert worker.stop() == 0
    # What the dead ones left goes when the next one starts.
    assert zoo.executor().stop() == 0
    assert not list(zoo.work.iterdir())
    assert not [path for path in zoo.groups if path.exists()]
    print(f"{kills} kills, {len(zoo.jobs)} jobs, {repeated} of them begun "
          f"again; {zoo.seen} processes at most were left, and gone after "
          f"{zoo.slowest:.2f} s at most")
    assert zoo.seen >= 6, "its jobs were not found among the processes"
    assert repeated >= kills / 10, "too few were hit to tell anything"
