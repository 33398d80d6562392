# SPDX-License-Identifier: MIT
"""What programs may not get hold of: the token of their executor."""

import hashlib
import os
import pathlib
import shutil
import tempfile

import pytest

import harness

TOKEN = "exr-secret-4711"
FAST = ("--heartbeat-interval", "500ms", "--poll-interval", "200ms")


@pytest.fixture
def place():
    """A directory that any user can get at, as a test's own is not."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="executr-secrets."))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("user", [None, "nobody"])
def test_t78_a_program_can_not_read_the_token(sqlite_lab, place, user):
    """
    As root, whose programs have less power than their executor, and as a user
    whose programs have all of its: neither environment nor memory of executor
    and guard can be opened, nor of the server.
    """
    if os.geteuid() != 0:
        pytest.skip("this needs root, to be root and somebody else in turn")
    lab = sqlite_lab
    secret = {"EXECUTR_TOKEN": TOKEN}
    server = lab.server(env=harness.environment(lab.place, **secret))
    worker = lab.executor(
        server, *FAST, "--work-dir", place / "work", "--cache-dir",
        place / "cache", user=user, env=harness.environment(place, **secret))
    environ = pathlib.Path(f"/proc/{worker.pid}/environ")
    assert environ.stat().st_uid == 0, "it is dumpable"
    guards = [pid for pid in harness.descendants(worker.pid)
              if harness.name_of(pid) == "executr-guard"]
    assert len(guards) == 1
    headers = {"Authorization": f"Bearer {TOKEN}"}
    data = (harness.JOBS / "attacker").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    server.api.request("PUT", f"/binaries/{sha256}", data, headers)
    tries = [f"{what}:/proc/{pid}/{name}"
             for pid in (worker.pid, guards[0], server.pid)
             for what, name in (("read", "environ"), ("write", "mem"))]
    answer = server.api.post("/jobs", {
        "type": "t", "binary_sha256": sha256, "arguments": [
            "ids", *tries, "read:/proc/self/environ"]}, headers=headers)
    assert answer.status == 201, answer

    def over():
        job = server.api.get(f"/jobs/{answer.json['id']}", headers=headers)
        return job.json if job.json["status"] == "completed" else None
    lines = harness.until(over, "it tried").get("stdout").splitlines()
    assert lines[0].startswith(f"user {0 if user is None else 65534} ")
    for line in tries:
        assert any(f"{line} {number}" in lines for number in (1, 13)), lines
    # Its own it may read, and there is nothing in it.
    assert lines[-1] == "read:/proc/self/environ 0"
    for program in (server, worker):
        assert TOKEN not in program.text
