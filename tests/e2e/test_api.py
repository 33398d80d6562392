# SPDX-License-Identifier: MIT
"""Every call of the REST API, against a real server on each store."""

import base64
import hashlib
import http.client
import json
import os
import re
import time
import urllib.parse

import pytest

import invariants

NOBODY = "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"
SHA = "ab" * 32
GOOD = {"type": "t", "binary_sha256": SHA, "binary_url": "http://h/x"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def check_error(answer, status, code, field=None):
    assert answer.status == status, answer
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json
    assert set(body) >= {"error", "code", "context"}, body
    assert body["code"] == code and body["error"], body
    assert isinstance(body["context"], dict)
    if field is not None:
        assert body["context"].get("field") == field, body


def test_health(api):
    answer = api.get("/health")
    assert answer.status == 200
    assert answer.json == {"status": "healthy", "database": "connected"}


def test_submit_answers_with_the_job(api):
    answer = api.post("/jobs", {
        **GOOD, "type": "data-processing", "arguments": ["a", "", "ü\n"],
        "env_variables": {"K": "v=w", "E": ""}, "priority": "foreground",
        "max_retries": 3, "exclusive": True, "timeout": "1h30m",
        "kill_grace": "300ms", "memory_mb": 64, "cpu_seconds": 2,
        "max_processes": 3, "max_file_mb": 4, "isolation": "basic",
        "unknown": {"is": ["ignored"]}})
    assert answer.status == 201
    job = answer.json
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        job["id"])
    assert TIME.fullmatch(job.pop("created_at"))
    same = {"type": "data-processing", "binary_url": "http://h/x",
            "binary_sha256": SHA, "arguments": ["a", "", "ü\n"],
            "env_variables": {"K": "v=w", "E": ""}, "priority": "foreground",
            "max_retries": 3, "exclusive": True, "status": "pending",
            "retry_count": 0, "memory_mb": 64, "cpu_seconds": 2,
            "max_processes": 3, "max_file_mb": 4, "isolation": "basic"}
    assert {name: job.get(name) for name in same} == same
    assert None not in job.values()
    assert not {"stdout", "stderr", "attempts", "exit_code"} & set(job)
    got = api.job(job["id"])
    assert {name: got.get(name) for name in same} == same
    assert got["timeout"] == job["timeout"] and got["attempts"] == []


def test_submit_has_defaults(api):
    job = api.post("/jobs", GOOD).json
    assert job["priority"] == "background" and job["exclusive"] is False
    assert job["arguments"] == [] and job["env_variables"] == {}
    assert job["max_retries"] == 0 and "timeout" not in job


@pytest.mark.parametrize("change, field", [
    ({"type": None}, "type"), ({"type": ""}, "type"),
    ({"type": "two words"}, "type"), ({"type": "x" * 129}, "type"),
    ({"type": 5}, "type"), ({"type": "tab\t"}, "type"),
    ({"binary_sha256": None}, "binary_sha256"),
    ({"binary_sha256": "ab" * 31}, "binary_sha256"),
    ({"binary_sha256": "ab" * 32 + "a"}, "binary_sha256"),
    ({"binary_sha256": "gg" * 32}, "binary_sha256"),
    ({"binary_sha256": "../" * 21 + "a"}, "binary_sha256"),
    ({"binary_sha256": "٣" * 64}, "binary_sha256"),
    ({"binary_url": "ftp://h/x"}, "binary_url"),
    ({"binary_url": "file:///etc/passwd"}, "binary_url"),
    ({"binary_url": 1}, "binary_url"),
    ({"arguments": "a"}, "arguments"),
    ({"arguments": ["x", 5]}, None),
    ({"env_variables": ["a"]}, "env_variables"),
    ({"env_variables": {"": "x"}}, None),
    ({"env_variables": {"a=b": "x"}}, None),
    ({"env_variables": {"a": 1}}, None),
    ({"priority": "urgent"}, "priority"), ({"priority": 1}, "priority"),
    ({"max_retries": -1}, "max_retries"),
    ({"max_retries": 1001}, "max_retries"),
    ({"max_retries": 1.5}, "max_retries"),
    ({"max_retries": "3"}, "max_retries"),
    ({"max_retries": 2**31}, "max_retries"),
    ({"exclusive": "yes"}, "exclusive"), ({"exclusive": 1}, "exclusive"),
    ({"timeout": "5"}, "timeout"), ({"timeout": 5}, "timeout"),
    ({"timeout": "-5s"}, "timeout"),
    ({"timeout": "99999999999999999999h"}, "timeout"),
    ({"kill_grace": "soon"}, "kill_grace"),
    ({"memory_mb": -1}, "memory_mb"), ({"cpu_seconds": "1"}, "cpu_seconds"),
    ({"max_processes": -2}, "max_processes"),
    ({"max_file_mb": -1}, "max_file_mb"),
    ({"isolation": "total"}, "isolation")])
def test_bad_submissions_are_400_and_name_the_field(api, change, field):
    body = {**GOOD, **change}
    if None in change.values():
        body = {k: v for k, v in body.items() if v is not None}
    answer = api.post("/jobs", body)
    assert answer.status == 400, answer
    check_error(answer, 400, "invalid_argument", field)
    if field is None:
        named = answer.json["context"]["field"]
        assert named.split("[")[0].split(".")[0] in change


@pytest.mark.parametrize("path, body, field, limit", [
    ("/jobs", {**GOOD, "arguments": ["x"] * 1025}, "arguments", "1024"),
    ("/jobs", {**GOOD, "type": "x" * 129}, "type", "128"),
    ("/jobs/claim", {"executor_id": "e", "executor_ip": "i",
                     "types": ["t"] * 101}, "types", "100")])
def test_t71_too_many_name_the_limit(api, path, body, field, limit):
    answer = api.post(path, body)
    assert answer.status in (400, 413), answer
    assert answer.json["context"]["field"] == field
    assert limit in answer.json["error"]


def test_t71_too_large_arguments_are_refused_with_the_limit(api):
    fits = api.post("/jobs", {**GOOD, "arguments": ["x" * 131071]})
    assert fits.status == 201
    answer = api.post("/jobs", {**GOOD, "arguments": ["x" * 131072]})
    assert answer.status in (400, 413) and "131071" in answer.json[
        "error"].replace(",", "")
    many = api.post("/jobs", {**GOOD, "arguments": ["x" * 100_000] * 11})
    assert many.status in (400, 413), many


def test_a_submission_without_url_needs_a_stored_binary(api):
    body = {"type": "t", "binary_sha256": hashlib.sha256(
        os.urandom(8)).hexdigest()}
    check_error(
        api.post("/jobs", body), 400, "invalid_argument", "binary_sha256")


def test_upper_case_digests_are_the_same_binary(api):
    answer = api.post("/jobs", {**GOOD, "binary_sha256": "AB" * 32})
    if answer.status == 201:
        assert answer.json["binary_sha256"] == SHA
    else:
        check_error(answer, 400, "invalid_argument", "binary_sha256")


def test_idempotency_keys_give_the_first_job(api):
    key = {"Idempotency-Key": f"key-{time.monotonic_ns()}"}
    first = api.post("/jobs", GOOD, headers=key)
    again = api.post("/jobs", GOOD, headers=key)
    assert (first.status, again.status) == (201, 201)
    assert first.json["id"] == again.json["id"]
    check_error(
        api.post("/jobs", {**GOOD, "type": "u"}, headers=key), 409,
        "conflict", "Idempotency-Key")
    check_error(
        api.post("/jobs", GOOD, headers={"Idempotency-Key": "k" * 256}), 400,
        "invalid_argument", "Idempotency-Key")


def test_list_filters_and_pages_by_cursor(api):
    kind = f"list-{time.monotonic_ns()}"
    ids = [api.submit(type=kind, priority=p)["id"]
           for p in ["foreground", "best_effort"] * 4]
    answer = api.get(f"/jobs?type={kind}")
    assert [j["id"] for j in answer.json] == ids[::-1]
    assert answer.headers["Link"] is None
    assert not {"stdout", "stderr", "attempts"} & set(answer.json[0])
    found, path = [], f"/jobs?type={kind}&limit=3&status=pending"
    while path:
        answer = api.get(path)
        assert len(answer.json) <= 3
        found += [j["id"] for j in answer.json]
        link = answer.headers["Link"]
        match = re.fullmatch(r'<([^>]+)>; rel="next"', link or "")
        assert bool(match) == bool(link)
        path = match and match.group(1)
    assert found == ids[::-1]
    foreground = api.get(f"/jobs?type={kind}&priority=foreground").json
    assert [j["id"] for j in foreground] == ids[-2::-2]
    skipped = api.get(f"/jobs?type={kind}&offset=6").json
    assert [j["id"] for j in skipped] == ids[1::-1]
    assert api.get(f"/jobs?type={kind}&status=failed").json == []
    assert api.get("/jobs?executor_id=nobody").json == []


@pytest.mark.parametrize("query, field", [
    ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"),
    ("limit=1e3", "limit"), ("limit=99999999999999999999", "limit"),
    ("offset=-1", "offset"), ("status=over", "status"),
    ("priority=1", "priority"), ("before=x", "before"),
    ("type=%zz", "type")])
def test_bad_list_queries_are_400(api, query, field):
    check_error(api.get(f"/jobs?{query}"), 400, "invalid_argument", field)


def test_claim_by_priority_then_age(api):
    kind = f"order-{time.monotonic_ns()}"
    order = ["best_effort", "background", "foreground"] * 2
    ids = [api.submit(type=kind, priority=p)["id"] for p in order]
    expected = [ids[i] for i in (2, 5, 1, 4, 0, 3)]
    got = [api.claim(types=[kind], max_jobs=4), api.claim(
        types=[kind], max_jobs=1000)]
    assert [j["id"] for part in got for j in part] == expected
    job = got[0][0]
    assert job["status"] == "running" and job["attempt"] == 1
    assert job["executor_id"] == "e-1" and TIME.fullmatch(job["started_at"])
    assert api.claim(types=[kind]) == []


def test_claim_without_max_jobs_answers_with_one_object(api):
    kind = f"one-{time.monotonic_ns()}"
    who = {"executor_id": "e-1", "executor_ip": "10.0.0.1", "types": [kind]}
    job = api.submit(type=kind)
    answer = api.post("/jobs/claim", who)
    assert answer.status == 200 and answer.json["id"] == job["id"]
    answer = api.post("/jobs/claim", who)
    assert answer.status == 204 and answer.body == b""


def test_claim_keeps_to_types_and_priorities(api):
    kind = f"filter-{time.monotonic_ns()}"
    low = api.submit(type=kind, priority="best_effort")
    api.submit(type=kind + "x", priority="foreground")
    assert api.claim(types=[kind], priorities=["foreground"]) == []
    both = api.claim(
        types=["none", kind], priorities=["background", "best_effort"])
    assert [j["id"] for j in both] == [low["id"]]


def test_a_job_that_demands_more_than_is_offered_stays(api):
    kind = f"demand-{time.monotonic_ns()}"
    job = api.submit(type=kind, memory_mb=64, isolation="basic")
    assert api.claim(types=[kind], offers=["basic"]) == []
    got = api.claim(types=[kind], offers=["basic", "memory_mb", "timeout"])
    assert [j["id"] for j in got] == [job["id"]]


@pytest.mark.parametrize("change, field", [
    ({"executor_id": None}, "executor_id"), ({"executor_id": ""},
                                             "executor_id"),
    ({"executor_id": "x" * 256}, "executor_id"),
    ({"executor_ip": None}, "executor_ip"), ({"executor_ip": 1},
                                             "executor_ip"),
    ({"max_jobs": 0}, "max_jobs"), ({"max_jobs": 1001}, "max_jobs"),
    ({"max_jobs": "2"}, "max_jobs"), ({"wait": "61s"}, "wait"),
    ({"wait": 5}, "wait"), ({"wait": "-1s"}, "wait"),
    ({"types": "t"}, "types"),
    ({"priorities": ["urgent"]}, "priorities"),
    ({"priorities": "foreground"}, "priorities")])
def test_bad_claims_are_400(api, change, field):
    body = {"executor_id": "e", "executor_ip": "1.2.3.4", **change}
    body = {k: v for k, v in body.items() if v is not None}
    check_error(
        api.post("/jobs/claim", body), 400, "invalid_argument", field)


def test_complete_keeps_the_output_and_may_be_repeated(api):
    api.submit(type="complete")
    job = api.claim(types=["complete"])[0]
    end = {"executor_id": "e-1", "attempt": job["attempt"], "exit_code": 0,
           "stdout": "out\n", "stderr": "é"}
    path = f"/jobs/{job['id']}/complete"
    for _ in range(3):
        answer = api.put(path, end)
        assert answer.status == 204 and answer.body == b""
    done = api.job(job["id"])
    assert done["status"] == "completed" and done["exit_code"] == 0
    assert (done["stdout"], done["stderr"]) == ("out\n", "é")
    attempt, = done["attempts"]
    assert attempt["status"] == "completed" and attempt["attempt"] == 1
    assert attempt["executor_id"] == "e-1"
    assert attempt["executor_ip"] == "127.0.0.1"
    assert TIME.fullmatch(attempt["started_at"])
    assert TIME.fullmatch(attempt["ended_at"])
    assert TIME.fullmatch(done["completed_at"])
    other = api.put(path, {**end, "executor_id": "e-2"})
    check_error(other, 409, "lost_attempt")
    assert api.job(job["id"]) == done


def test_any_bytes_come_back_by_stdout(api):
    api.submit(type="bytes")
    job = api.claim(types=["bytes"])[0]
    data = bytes(range(256)) * 40
    assert api.finish(
        job, stdout_base64=base64.b64encode(data).decode(),
        stderr="nul \0 and more") == 204
    answer = api.get(f"/jobs/{job['id']}/stdout")
    assert answer.status == 200 and answer.body == data
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert api.get(f"/jobs/{job['id']}/stdout?offset=250").body == data[250:]
    assert api.get(f"/jobs/{job['id']}/stdout?offset=99999999").body == b""
    assert api.get(
        f"/jobs/{job['id']}/stderr").body == b"nul \0 and more"
    seen = api.job(job["id"])
    assert "\ufffd" in seen["stdout"] and "\0" in seen["stderr"]
    check_error(api.get(f"/jobs/{job['id']}/stdout?offset=-1"), 400,
                "invalid_argument", "offset")
    check_error(api.get(f"/jobs/{NOBODY}/stdout"), 404, "not_found")


def test_fail_ends_or_retries(api):
    api.submit(type="fail", max_retries=1)
    job = api.claim(types=["fail"])[0]
    path = f"/jobs/{job['id']}/fail"
    end = {"executor_id": "e-1", "attempt": 1, "exit_code": 3,
           "error_message": "no luck", "stdout": "so far"}
    assert api.put(path, end).status == 204
    assert api.put(path, end).status == 204
    again = api.job(job["id"])
    assert again["status"] == "pending" and again["retry_count"] == 1
    assert again["attempts"][0]["error_message"] == "no luck"
    second = api.claim(types=["fail"], wait="20s")[0]
    assert second["id"] == job["id"] and second["attempt"] == 2
    complete = path.replace("fail", "complete")
    check_error(api.put(complete, end), 409, "lost_attempt")
    assert api.put(path, {**end, "attempt": 2}).status == 204
    final = api.job(job["id"])
    assert final["status"] == "failed" and final["exit_code"] == 3
    assert final["error_message"] == "no luck"
    assert [a["attempt"] for a in final["attempts"]] == [1, 2]
    check_error(api.put(path, {"executor_id": "e-1"}), 400,
                "invalid_argument", "error_message")


@pytest.mark.parametrize("change, field", [
    ({"executor_id": None}, "executor_id"), ({"attempt": 0}, "attempt"),
    ({"attempt": "1"}, "attempt"), ({"exit_code": "0"}, "exit_code"),
    ({"stdout": 5}, "stdout"), ({"stderr": ["x"]}, "stderr"),
    ({"stdout_base64": "*"}, "stdout_base64"),
    ({"outcome": "great"}, "outcome")])
def test_bad_reports_are_400(api, change, field):
    body = {"executor_id": "e", "attempt": 1, "exit_code": 0, **change}
    body = {k: v for k, v in body.items() if v is not None}
    check_error(api.put(f"/jobs/{NOBODY}/complete", body), 400,
                "invalid_argument", field)


def test_reports_of_unknown_jobs_are_404(api):
    end = {"executor_id": "e", "attempt": 1, "exit_code": 0,
           "error_message": "x"}
    for call in ("complete", "fail", "heartbeat"):
        check_error(
            api.put(f"/jobs/{NOBODY}/{call}", end), 404, "not_found")


def test_report_takes_many_ends(api):
    for _ in range(3):
        api.submit(type="many")
    first, second, third = api.claim(types=["many"], max_jobs=3)
    answer = api.post("/jobs/report", {"executor_id": "e-1", "reports": [
        {"id": first["id"], "attempt": 1, "status": "completed",
         "exit_code": 0, "stdout": "1"},
        {"id": second["id"], "attempt": 1, "status": "failed",
         "error_message": "broken", "exit_code": 1},
        {"id": third["id"], "attempt": 2, "status": "completed"},
        {"id": NOBODY, "attempt": 1, "status": "completed"}]})
    assert answer.status == 200
    assert [(r["id"], r["accepted"], r.get("code"))
            for r in answer.json["results"]] == [
        (first["id"], True, None), (second["id"], True, None),
        (third["id"], False, "lost_attempt"), (NOBODY, False, "not_found")]
    assert api.job(first["id"])["stdout"] == "1"
    assert api.job(second["id"])["status"] == "failed"
    assert api.job(third["id"])["status"] == "running"


def test_bad_bulk_reports_name_the_element(api):
    good = {"id": NOBODY, "attempt": 1, "status": "completed"}
    answer = api.post("/jobs/report", {
        "executor_id": "e", "reports": [good, {**good, "attempt": "x"}]})
    check_error(answer, 400, "invalid_argument", "reports[1].attempt")
    answer = api.post("/jobs/report", {
        "executor_id": "e", "reports": [{**good, "status": "failed"}]})
    check_error(answer, 400, "invalid_argument", "reports[0].error_message")
    answer = api.post(
        "/jobs/report", {"executor_id": "e", "reports": [good] * 1001})
    assert answer.status in (400, 413) and "1000" in answer.json[
        "error"].replace(",", "")


def test_heartbeat_of_a_job(api):
    job_id = api.submit(type="beat")["id"]
    job = api.claim(types=["beat"])[0]
    path = f"/jobs/{job_id}/heartbeat"
    assert api.put(path, {"executor_id": "e-1"}).status == 204
    assert api.put(path, {"executor_id": "e-1", "attempt": 1}).status == 204
    check_error(api.put(path, {"executor_id": "e-2"}), 409, "lost_attempt")
    check_error(api.put(path, {"executor_id": "e-1", "attempt": 2}), 409,
                "lost_attempt")
    answer = api.delete(f"/jobs/{job_id}")
    assert answer.status == 202
    answer = api.put(path, {"executor_id": "e-1"})
    assert answer.status == 200 and answer.json == {"cancel": True}
    assert api.put(f"/jobs/{job_id}/fail", {
        "executor_id": "e-1", "attempt": job["attempt"],
        "outcome": "cancelled", "error_message": "was told to"}).status == 204
    assert api.job(job_id)["status"] == "cancelled"


def test_cancel(api):
    pending = api.submit(type="cancel")["id"]
    answer = api.delete(f"/jobs/{pending}")
    assert answer.status == 204 and answer.body == b""
    assert api.job(pending)["status"] == "cancelled"
    assert api.claim(types=["cancel"]) == []
    check_error(api.delete(f"/jobs/{pending}"), 409, "conflict")
    check_error(api.delete(f"/jobs/{NOBODY}"), 404, "not_found")


def test_retry(api):
    job = api.submit(type="retry")
    check_error(
        api.post(f"/jobs/{job['id']}/retry", None), 409, "conflict")
    api.delete(f"/jobs/{job['id']}")
    answer = api.post(f"/jobs/{job['id']}/retry", None)
    assert answer.status == 200 and answer.json["status"] == "pending"
    assert [j["id"] for j in api.claim(types=["retry"])] == [job["id"]]
    check_error(api.post(f"/jobs/{NOBODY}/retry", None), 404, "not_found")


@pytest.mark.parametrize("job_id", [
    "x", "0192F0C1-7A7E-7CC3-98C4-DC0C0C07398", NOBODY + "0", "%00", "..%2f",
    "0192f0c1_7a7e_7cc3_98c4_dc0c0c07398f", "٣" * 8])
def test_what_is_no_job_id_is_a_clean_error(api, job_id):
    if "%" not in job_id:
        job_id = urllib.parse.quote(job_id)
    for answer in (
            api.get(f"/jobs/{job_id}"), api.delete(f"/jobs/{job_id}"),
            api.get(f"/jobs/{job_id}/stdout"),
            api.post(f"/jobs/{job_id}/retry", None)):
        assert answer.status in (400, 404), answer
        assert answer.json["code"] in (
            "invalid_argument", "not_found", "bad_request")


def test_bulk_submission(api):
    answer = api.post("/jobs/bulk", [GOOD] * 3)
    assert answer.status == 201
    body = answer.json
    assert (body["total"], body["successful"], body["failed"]) == (3, 3, 0)
    assert [r["index"] for r in body["results"]] == [0, 1, 2]
    for result in body["results"]:
        assert result["success"] and result["status"] == "pending"
        assert result["id"] == result["job_id"]
    bad = {**GOOD, "type": "x y"}
    answer = api.post("/jobs/bulk", [bad, GOOD, 5, []])
    assert answer.status == 207
    body = answer.json
    assert (body["total"], body["successful"], body["failed"]) == (4, 1, 3)
    assert [r["success"] for r in body["results"]] == [
        False, True, False, False]
    assert all(r["error"] for r in body["results"] if not r["success"])
    answer = api.post("/jobs/bulk", [bad, bad])
    assert answer.status == 400 and answer.json["successful"] == 0
    for wrong in ([], {}, "x", 5):
        assert api.post("/jobs/bulk", wrong).status == 400


def test_bulk_takes_ten_thousand(api):
    kind = f"bulk-{time.monotonic_ns()}"
    answer = api.post("/jobs/bulk", [{**GOOD, "type": kind}] * 10000)
    assert answer.status == 201 and answer.json["successful"] == 10000
    ids = [r["id"] for r in answer.json["results"]]
    assert len(set(ids)) == 10000 and ids == sorted(ids)
    answer = api.post("/jobs/bulk", [GOOD] * 10001)
    assert answer.status in (400, 413), answer.status
    answer = api.post("/jobs/bulk/cancel", {"type": kind})
    assert answer.json == {
        "cancelled": 10000, "failed": 0, "total": 10000, "errors": []}


def test_bulk_cancel_by_ids(api):
    job = api.submit(type="bc")["id"]
    answer = api.post("/jobs/bulk/cancel", {"job_ids": [job, NOBODY, "no"]})
    assert answer.status == 200
    body = answer.json
    assert (body["cancelled"], body["failed"], body["total"]) == (1, 2, 3)
    assert [e["job_id"] for e in body["errors"]] == [NOBODY, "no"]
    for wrong in ({}, {"job_ids": []}, {"job_ids": "x"},
                  {"job_ids": [job], "type": "t"}, {"status": "x"}, []):
        assert api.post("/jobs/bulk/cancel", wrong).status == 400, wrong


def test_executor_heartbeat_and_goodbye(api):
    kind = f"hb-{time.monotonic_ns()}"
    for _ in range(3):
        api.submit(type=kind)
    name = f"{kind}-e"
    kept, told, given = api.claim(name, types=[kind], max_jobs=3)
    api.delete(f"/jobs/{told['id']}")
    answer = api.put(f"/executors/{name}", {
        "executor_ip": "10.1.2.3", "max_jobs": 7, "hits": 1, "misses": 2,
        "bytes": 3, "max_bytes": 4, "version": "1.2.3",
        "running": [{"id": kept["id"], "attempt": 1},
                    {"id": told["id"], "attempt": 1},
                    {"id": given["id"], "attempt": 9},
                    {"id": NOBODY, "attempt": 1}]})
    assert answer.status == 200
    assert answer.json["cancel"] == [told["id"]]
    assert set(answer.json["lost"]) == {given["id"], NOBODY}
    seen = {e["executor_id"]: e for e in api.get("/admin/executors").json}
    entry = seen[name]
    assert entry["executor_ip"] == "10.1.2.3" and entry["max_jobs"] == 7
    assert entry["running_jobs"] == 3 and entry["jobs_completed"] == 0
    assert entry["job_type"] == kind and TIME.fullmatch(
        entry["last_heartbeat"])
    assert entry["current_job_id"] in {kept["id"], told["id"], given["id"]}
    answer = api.delete(f"/executors/{name}")
    assert answer.status == 204
    job = api.job(kept["id"])
    assert job["status"] == "pending" and job["retry_count"] == 0
    api.post("/jobs/bulk/cancel", {"type": kind})


def test_bad_executor_heartbeats_are_400(api):
    for change, field in (
            ({"executor_ip": 5}, "executor_ip"),
            ({"running": {}}, "running"), ({"max_jobs": "1"}, "max_jobs"),
            ({"running": [{"id": 5}]}, "running[0].id")):
        body = {"executor_ip": "1.2.3.4", "max_jobs": 1, "running": [],
                **change}
        body = {k: v for k, v in body.items() if v is not None}
        check_error(api.put("/executors/e-9", body), 400,
                    "invalid_argument", field)


def test_stats_have_all_keys(api):
    stats = api.stats()
    assert set(stats["jobs_by_status"]) == {
        "pending", "running", "completed", "failed", "cancelled"}
    assert set(stats["pending_by_priority"]) == {
        "foreground", "background", "best_effort"}
    assert isinstance(stats["active_executors"], int)
    assert TIME.fullmatch(stats["timestamp"])
    before = stats["pending_by_priority"]["best_effort"]
    api.submit(priority="best_effort")
    now = api.stats()["pending_by_priority"]["best_effort"]
    assert now == before + 1


def test_binaries(api):
    data = os.urandom(3_000_000)
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"/binaries/{sha256}"
    check_error(api.get(path), 404, "not_found")
    head = api.request("HEAD", path)
    assert head.status == 404 and head.body == b""
    check_error(api.put(f"/binaries/{SHA}", data), 400, "hash_mismatch")
    assert api.get(f"/binaries/{SHA}").status == 404
    octets = {"Content-Type": "application/octet-stream"}
    assert api.put(path, data, headers=octets).status == 201
    assert api.put(path, data, headers=octets).status == 200
    head = api.request("HEAD", path)
    assert head.status == 200 and head.body == b""
    assert head.headers["Content-Length"] == str(len(data))
    answer = api.get(path)
    assert answer.status == 200 and answer.body == data
    for wrong in ("x", "AB" * 31, "%2e%2e%2f", SHA + "a"):
        answer = api.put(f"/binaries/{wrong}", b"x")
        assert answer.status in (400, 404), answer
        assert api.get(f"/binaries/{wrong}").status in (400, 404)


def test_an_empty_and_a_chunked_upload(api):
    empty = hashlib.sha256(b"").hexdigest()
    assert api.put(f"/binaries/{empty}", b"").status in (200, 201)
    assert api.get(f"/binaries/{empty}").body == b""
    pieces = [os.urandom(70_000) for _ in range(9)]
    sha256 = hashlib.sha256(b"".join(pieces)).hexdigest()
    assert chunked(api, f"/api/v1/binaries/{sha256}", pieces) == 201
    assert api.get(f"/binaries/{sha256}").body == b"".join(pieces)


def chunked(api, path, pieces):
    connection = http.client.HTTPConnection(api.host, api.port, timeout=30)
    try:
        connection.request(
            "PUT", path, iter(pieces), encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize("method, path, allow", [
    ("PUT", "/jobs", {"GET", "POST"}), ("DELETE", "/jobs", {"GET", "POST"}),
    ("GET", "/jobs/bulk/cancel", {"POST"}),
    ("PUT", "/jobs/claim", {"POST"}),
    ("POST", f"/jobs/{NOBODY}", {"GET", "DELETE"}),
    ("POST", f"/jobs/{NOBODY}/stdout", {"GET"}),
    ("GET", f"/jobs/{NOBODY}/complete", {"PUT"}),
    ("POST", "/executors/e-1", {"PUT", "DELETE"}),
    ("POST", "/admin/stats", {"GET"}), ("POST", "/health", {"GET"}),
    ("DELETE", f"/binaries/{SHA}", {"GET", "PUT"}),
    ("PATCH", "/jobs", {"GET", "POST"})])
def test_wrong_methods_are_405_with_allow(api, method, path, allow):
    answer = api.request(method, path, {} if method != "GET" else None)
    check_error(answer, 405, "method_not_allowed")
    allowed = {m.strip() for m in answer.headers["Allow"].split(",")}
    assert allowed >= allow and method not in allowed


@pytest.mark.parametrize("path", [
    "/", "/jobs/", "/nothing", f"/jobs/{NOBODY}/nothing", "/admin",
    "/api/v2/jobs", "/executors", "/jobs/a/b/c/d"])
def test_unknown_paths_are_404(api, path):
    check_error(api.get(path), 404, "not_found")


def test_head_is_get_without_a_body(api):
    job = api.submit()
    for path in ("/health", "/jobs", f"/jobs/{job['id']}", "/admin/stats",
                 "/metrics"):
        head = api.request("HEAD", path)
        assert head.status == 200 and head.body == b"", path
        assert int(head.headers["Content-Length"]) > 0
    assert api.request("HEAD", f"/jobs/{NOBODY}").status == 404


def test_other_content_types_are_415(api):
    for content_type in ("text/plain", "application/x-www-form-urlencoded",
                         "application/jsonx", "multipart/form-data"):
        answer = api.post("/jobs", GOOD, headers={
            "Content-Type": content_type})
        check_error(answer, 415, "unsupported_media_type")
    assert api.post("/jobs", GOOD, headers={
        "Content-Type": "application/json; charset=utf-8"}).status == 201


def test_too_large_bodies_are_413_and_name_the_limit(api):
    body = json.dumps({**GOOD, "pad": "x" * (4 << 20)}).encode()
    answer = api.post("/jobs", body)
    check_error(answer, 413, "too_large")
    assert str(4 << 20) in answer.json["error"]


def test_an_early_answer_reaches_who_still_sends(api):
    data = os.urandom(20_000_000)
    path = f"/binaries/{hashlib.sha256(data).hexdigest()}"
    assert [api.put(path, data).status for _ in range(3)] == [201, 200, 200]
    check_error(api.put("/nothing", data), 404, "not_found")


def test_metrics(api):
    for path in ("/metrics", "/api/v1/metrics"):
        answer = api.get(path)
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
    text = answer.body.decode()
    for name in (
            "executr_jobs_submitted_total", "executr_jobs_completed_total",
            "executr_jobs_failed_total", "executr_queue_depth",
            "executr_job_duration_seconds_bucket",
            "executr_jobs_waiting_time_seconds_bucket",
            "executr_api_request_duration_seconds_bucket",
            "executr_cache_hit_ratio", "executr_executor_utilization",
            "executr_executors_active",
            "executr_database_connections_active",
            "executr_jobs_cancelled_total",
            "executr_stale_jobs_recovered_total",
            "executr_old_jobs_cleaned_total", "executr_build_info"):
        assert re.search(rf"^{name}(\{{.*\}})? ", text, re.M), name


def test_the_store_is_sound_after_all_that(shared, api):
    invariants.check(shared.store)
