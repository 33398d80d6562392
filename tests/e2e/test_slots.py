# SPDX-License-Identifier: MIT
"""What an executor holds beyond its slots, and who runs that."""

import harness

FAST = ("--heartbeat-interval", "500ms", "--poll-interval", "200ms")


def submit(api, sha256, *arguments):
    """In one call, hence claimed together; their ids."""
    answer = api.post("/jobs/bulk", [
        {"type": "t", "binary_sha256": sha256, "arguments": [argument]}
        for argument in arguments])
    return [result["id"] for result in answer.json["results"]]


def test_what_is_held_ahead_does_not_wait_for_a_long_job(lab):
    """An executor that ran short jobs claims more than it has slots. When the
    first turns out long, the others are run elsewhere, and no retry is spent."""
    server = lab.server()
    api = server.api
    sha256 = api.upload(lab.script("exec sleep $1"))
    lab.executor(server, "--max-jobs", "1", *FAST)
    for job_id in submit(api, sha256, *["0"] * 50):
        assert api.wait(job_id)["status"] == "completed"
    first, *behind = submit(api, sha256, "600", *["0"] * 20)
    api.wait_status(first, "running")
    second = lab.executor(server, "--max-jobs", "1", *FAST)
    for job_id in behind:
        done = api.wait(job_id)
        assert done["status"] == "completed", done
        assert done["retry_count"] == 0
        assert done["executor_id"] == second.id
    assert api.job(first)["status"] == "running"


def test_never_more_programs_at_once_than_slots(lab):
    """However many are held: each counts those that run beside it."""
    server = lab.server()
    api = server.api
    place = lab.place / "running"
    place.mkdir()
    sha256 = api.upload(lab.script(
        f'touch {place}/$$; ls {place} | wc -l; sleep 0.01; rm {place}/$$'))
    lab.executor(server, "--max-jobs", "3", *FAST)
    for job_id in submit(api, sha256, *[""] * 150):
        done = api.wait(job_id)
        assert done["status"] == "completed", done
        assert 1 <= int(done["stdout"]) <= 3
    harness.until(lambda: not list(place.iterdir()), "all have gone")
