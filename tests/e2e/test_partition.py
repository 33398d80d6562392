# SPDX-License-Identifier: MIT
"""Executors that are cut off or stopped, in many rounds at once: attempts of
an exclusive job never overlap, and no result is lost or recorded twice.

EXECUTR_TEST_ROUNDS says how many rounds, EXECUTR_TEST_SEED repeats a run."""

import concurrent.futures
import signal
import time

import pytest

import harness
import invariants
from proxy import DOWN, UP
from rounds import WITNESS, Trace, chance, number, overlaps

pytestmark = pytest.mark.long
LANES = 10
LEASE = 2.0
FAST = ("--heartbeat-interval", "500ms", "--poll-interval", "200ms")
FAULTS = ["both", "reset", "up", "down", "stop", "stop and both"]


class Fault:
    """What happens to the executor that holds the job."""

    def __init__(self, kind, worker, proxy):
        self.kind, self.worker, self.proxy = kind, worker, proxy

    def begin(self):
        if "stop" in self.kind:
            self.worker.signal(signal.SIGSTOP)
        if "both" in self.kind or self.kind == "reset":
            self.proxy.cut()
        elif self.kind in ("up", "down"):
            self.proxy.cut({"up": UP, "down": DOWN}[self.kind])

    def end(self):
        self.proxy.heal(reset=self.kind == "reset")
        self.worker.signal(signal.SIGCONT)


class Lane:
    """Two executors that have a type of jobs for themselves."""

    def __init__(self, lab, server, index, trace, sha256):
        self.lab, self.server, self.trace = lab, server, trace
        self.type, self.sha256 = f"lane-{index}", sha256
        self.workers = {}
        self.takeovers = self.rounds = 0
        self.jobs = {}  # token -> id
        for _ in range(2):
            proxy = lab.proxy(server)
            worker = lab.executor(proxy.url, "--types", self.type, *FAST)
            self.workers[worker.id] = worker, proxy

    def submit(self, token, gate):
        answer = self.server.api.post("/jobs", {
            "type": self.type, "binary_sha256": self.sha256,
            "exclusive": True, "max_retries": 0,
            "arguments": [str(self.trace.path), token, str(gate), "120000"]})
        assert answer.status == 201, answer
        self.jobs[token] = answer.json["id"]
        return answer.json["id"]

    def running(self, job, after=0):
        """Its record once an attempt later than `after` runs or ended."""
        def look():
            record = self.server.api.job(job)
            return record if record["attempt"] > after else None
        return harness.until(look, f"a later attempt than {after} of {job}",
                             60, 0.05)

    def round(self, token, chance):
        """
        Three kinds: the fault lasts until another attempt runs; it ends some
        time about when the lease does; or the program ends in the middle of
        it, and its result has to wait.
        """
        kind = chance.choice(["takeover", "brief", "end"])
        gate = self.lab.place / f"gate-{token}"
        job = self.submit(token, gate)
        record = self.running(job)
        fault = Fault(chance.choice(FAULTS),
                      *self.workers[record["executor_id"]])
        time.sleep(chance.uniform(0, 0.8))
        fault.begin()
        if kind == "takeover":
            self.running(job, record["attempt"])
            time.sleep(chance.uniform(0, 0.5))
        elif kind == "brief":
            time.sleep(chance.uniform(0, 1.5 * LEASE))
        else:
            time.sleep(chance.uniform(0, 0.8 * LEASE))
            gate.touch()
            time.sleep(chance.uniform(0, 0.8 * LEASE))
        fault.end()
        time.sleep(chance.uniform(0, 0.5))
        gate.touch()
        done = self.server.api.wait(job, 60)
        self.takeovers += done["attempt"] > 1
        self.rounds += 1

    def run(self, tokens, chance):
        for token in tokens:
            self.round(token, chance)


def check(lanes, trace, store):
    runs = trace.runs()
    for lane in lanes:
        for token, job in lane.jobs.items():
            record = lane.server.api.job(job)
            assert record["status"] == "completed", record
            assert record["exit_code"] == 0
            assert not overlaps(runs[token]), (token, runs[token], record)
            # The result is that of a run, to its end, and of the last one.
            name = record["stdout"].split()[1]
            assert [run.name for run in runs[token]][-1] == name, record
            assert runs[token][-1].ended
            ended = [a["attempt"] for a in record["attempts"]
                     if a["status"] == "completed"]
            assert ended == [record["attempt"]], record
            assert len(runs[token]) <= record["attempt"]
    invariants.check(store)


def test_t35_attempts_of_an_exclusive_job_never_overlap(lab):
    rounds = number("EXECUTR_TEST_ROUNDS", 20)
    seed = chance()
    server = lab.server("--heartbeat-timeout", f"{LEASE:g}s",
                        "--max-lost-attempts", "1000")
    trace = Trace(lab.place)
    sha256 = server.api.upload(WITNESS)
    lanes = [Lane(lab, server, i, trace, sha256) for i in range(LANES)]
    with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
        work = [pool.submit(
            lane.run, [f"t{n}" for n in range(i, rounds, LANES)],
            type(seed)(seed.getrandbits(32)))
            for i, lane in enumerate(lanes)]
        for one in work:
            one.result()
    check(lanes, trace, lab.store)
    takeovers = sum(lane.takeovers for lane in lanes)
    print(f"{rounds} rounds, {takeovers} jobs taken over, no overlap")
    assert sum(lane.rounds for lane in lanes) == rounds
    assert takeovers >= rounds / 5, "too few were taken over to tell anything"
