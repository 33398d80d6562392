# SPDX-License-Identifier: MIT
"""Chaos in numbered rounds: how many, from which seed, and what the programs
under test say of themselves."""

import collections
import contextlib
import os
import pathlib
import random

import harness

WITNESS = harness.JOBS / "witness"


def number(name, usual):
    """How many, from the environment; few by default."""
    return int(os.environ.get(name, usual))


def chance():
    """A generator whose seed is printed, so that a failure can be repeated."""
    given = os.environ.get("EXECUTR_TEST_SEED")
    seed = int(given) if given else random.getrandbits(32)
    print(f"EXECUTR_TEST_SEED={seed}")
    return random.Random(seed)


Run = collections.namedtuple("Run", "name start last ended")


class Trace:
    """The file that witnesses (tests/support/witness.c) append to."""

    def __init__(self, place):
        self.path = place / "trace"
        self.path.touch()
        self.path.chmod(0o666)

    def runs(self):
        """token -> its runs, in the order of their starts."""
        found = collections.defaultdict(dict)
        # Behind the last end of a line may be a piece of one.
        whole, _, _ = self.path.read_text().rpartition("\n")
        for line in whole.splitlines():
            token, name, what, moment = line.split()
            moment = int(moment)
            run = found[token].get(name, Run(name, moment, moment, False))
            found[token][name] = run._replace(
                last=max(run.last, moment),
                ended=run.ended or what == "end")
        return {token: sorted(runs.values(), key=lambda run: run.start)
                for token, runs in found.items()}


def overlaps(runs):
    """Pairs of runs of which one was alive after the other had started."""
    return [(one, two) for one, two in zip(runs, runs[1:])
            if one.last >= two.start]


def alive(*marks):
    """Processes that have one of these in their command line: id -> it."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
            text = line.replace(b"\0", b" ").decode(errors="replace")
            if any(str(mark) in text for mark in marks):
                found[int(entry)] = text
    return found


def groups_of(pid):
    """The control groups that an executor made for its jobs."""
    found = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            path = pathlib.Path(os.readlink(f"/proc/{pid}/fd/{entry}"))
            if str(path).startswith("/sys/fs/cgroup") and (
                    path.name.startswith("executr-")):
                found.add(path)
    return found
