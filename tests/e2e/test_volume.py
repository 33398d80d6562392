# SPDX-License-Identifier: MIT
"""Many trivial jobs through one executor leave nothing behind.

EXECUTR_TEST_JOBS says how many."""

import os
import pathlib

import pytest

import harness
import invariants
from rounds import groups_of, number

pytestmark = pytest.mark.long
WARM = 1000
BATCH = 1000


def memory_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"no VmRSS of {pid}")


def zombies_of(pid):
    """Ended children that nobody has asked after."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        state, parent = stat.rsplit(")", 1)[1].split()[:2]
        if state == "Z" and int(parent) == pid:
            found.append(int(entry))
    return found


def submit(server, sha256, count):
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        answer = server.api.post("/jobs/bulk", [
            {"type": "t", "binary_sha256": sha256, "arguments": ["exit", "0"]}
        ] * size)
        assert answer.status == 201 and answer.json["successful"] == size


def finished(server, count):
    harness.until(
        lambda: server.api.stats()["jobs_by_status"]["completed"] == count,
        f"{count} jobs were completed", 60 + count / 50, 0.1)


class Traces:
    """What an executor has at one moment, but for memory, is to be the same
    at a later one."""

    def __init__(self, worker):
        self.descriptors = worker.descriptors()
        self.threads = worker.threads()
        self.zombies = zombies_of(worker.pid)
        self.children = worker.children()
        self.directories = sorted(
            p.name for d in worker.work.iterdir() for p in d.iterdir())
        self.groups = sorted(
            str(p) for group in groups_of(worker.pid)
            for p in group.iterdir() if p.is_dir())


def test_t79_many_jobs_leave_nothing(lab):
    count = max(number("EXECUTR_TEST_JOBS", 2000), WARM + BATCH)
    server = lab.server()
    sha256 = server.api.upload(harness.JOBS / "job")
    worker = lab.executor(server, "--max-jobs", "4")
    submit(server, sha256, WARM)
    finished(server, WARM)
    # Directories are removed beside the work, so a moment later.
    harness.until(lambda: not Traces(worker).directories, "all were removed")
    before, memory = Traces(worker), memory_kib(worker.pid)
    submit(server, sha256, count - WARM)
    finished(server, count)
    harness.until(lambda: not Traces(worker).directories, "all were removed")
    after, grown = Traces(worker), memory_kib(worker.pid) - memory
    print(f"{count} jobs: {memory} KiB after {WARM}, then {grown:+d}; "
          f"{after.descriptors} descriptors, {after.threads} threads")
    assert after.zombies == [] and after.children == set()
    assert after.descriptors <= before.descriptors + 2, "a connection or two"
    assert after.threads <= before.threads
    assert after.groups == []
    assert grown < 2048, f"{grown} KiB more after {count - WARM} more jobs"
    assert worker.stop() == 0
    assert not list(worker.work.iterdir())
    invariants.check(lab.store)
