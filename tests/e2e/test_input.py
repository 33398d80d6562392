# SPDX-License-Identifier: MIT
"""Hostile bytes on the socket: each gets an error or nothing, and the server
goes on as before."""

import contextlib
import json
import socket
import struct
import time

import pytest

import harness

NOBODY = "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"
GOOD = {"type": "t", "binary_sha256": "ab" * 32, "binary_url": "http://h/x"}
BODY = json.dumps(GOOD).encode()


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    from conftest import Lab, open_store
    place = tmp_path_factory.mktemp("input")
    lab = Lab(place, open_store("sqlite", place))
    lab.main = lab.server("--max-connections", "128")
    yield lab
    lab.end()


@pytest.fixture
def server(system):
    """The server; after each test it must be as it was before."""
    server = system.main
    threads, descriptors = server.threads(), server.descriptors()
    yield server
    assert server.running, server.text
    answer = server.api.get("/health")
    assert answer.status == 200
    harness.until(
        lambda: server.threads() <= threads
        and server.descriptors() <= descriptors + 4, "nothing is left over")


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def answer_of(s):
    """Everything that comes until the other side closes."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            data += piece
    return data


def exchange(server, data):
    with connect(server) as s:
        with contextlib.suppress(ConnectionError):
            s.sendall(data)
        return answer_of(s)


def request(method="POST", path="/api/v1/jobs", headers=(), body=BODY,
            length=True):
    lines = [f"{method} {path} HTTP/1.1", "Host: h", "Connection: close",
             "Content-Type: application/json", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def statuses(data):
    """The status of every answer in what came back."""
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


def count(server):
    return sum(server.api.stats()["jobs_by_status"].values())


def test_the_plain_request_works(server):
    assert statuses(exchange(server, request())) == [201]


@pytest.mark.parametrize("headers", [
    ["Content-Length: 0"], ["Transfer-Encoding: chunked"],
    ["Transfer-Encoding: identity"],
    [f"Content-Length: {len(BODY)}"]])
def test_ambiguous_lengths_are_refused_and_the_connection_closed(
        server, headers):
    before = count(server)
    smuggled = request(headers=headers) + request()
    found = statuses(exchange(server, smuggled))
    assert found[:1] in ([400], []) and 201 not in found
    assert count(server) == before


@pytest.mark.parametrize("length", [
    "-1", "x", "99999999999999999999", "1e3", "0x10", "9223372036854775807",
    "18446744073709551617", ""])
def test_odd_lengths_are_refused(server, length):
    data = exchange(server, request(
        headers=[f"Content-Length: {length}"], length=False))
    assert all(status in (400, 413) for status in statuses(data)), data
    if data:
        assert json.loads(data.split(b"\r\n\r\n")[1])["code"]


@pytest.mark.parametrize("chunks", [
    b"zz\r\n{}\r\n0\r\n\r\n", b"-5\r\n{}\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n", b"\r\n\r\n",
    b"5\r\n{}\r\n0\r\n\r\n"])
def test_bad_chunks_are_refused(server, chunks):
    before = count(server)
    data = exchange(server, request(
        headers=["Transfer-Encoding: chunked"], body=chunks, length=False))
    assert all(status == 400 for status in statuses(data)), data
    assert count(server) == before


def test_more_headers_than_are_kept_are_refused(server):
    many = [f"X-{i}: y" for i in range(80)]
    data = exchange(server, request(headers=many))
    assert statuses(data) == [400] and b"too many headers" in data
    few = [f"X-{i}: y" for i in range(40)]
    assert statuses(exchange(server, request(headers=few))) == [201]
    data = exchange(server, request(headers=["X: " + "y" * 20000]))
    assert all(400 <= status < 500 for status in statuses(data))


def test_http_1_1_needs_one_host(server):
    line = b"GET /api/v1/health HTTP/1.1\r\n"
    assert statuses(exchange(server, line + b"\r\n")) == [400]
    twice = line + b"Host: a\r\nHost: b\r\n\r\n"
    assert statuses(exchange(server, twice)) == [400]


@pytest.mark.parametrize("data", ids=lambda b: repr(b[:24]), argvalues=[
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET / \r\n\r\n", b"\0\0\0\0\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", b"NONSENSE / HTTP/1.1\r\n\r\n",
    b"GET /api/v1/jobs HTTP/9.9\r\nHost: h\r\n\r\n",
    b"GET " + b"/" * 30000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /api/v1/jobs/%00 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /api/v1/jobs/%ff%fe HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n"])
def test_nonsense_is_refused(server, data):
    with connect(server) as s:
        with contextlib.suppress(OSError):  # it may close at once
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        answer = answer_of(s)
    assert b"root:" not in answer
    assert all(400 <= status <= 505 for status in statuses(answer)), answer


BAD_JSON = [
    b"", b" ", b"{", b"}", b"[", b"nul", b"nan", b"NaN", b"'a'", b"{'a':1}",
    b'{"type":"t",}', b'{"type":"t"} x', b'{"type":"t"}{}', b"[1,]",
    b'{"type":"t" /* c */}', b'{"type":01}', b'{"a":1e}', b'{"a":+1}',
    b'{"a":.5}', b'{"a":0x10}', b'{"a":Infinity}', b'{"a":-}',
    b'{"a":"\xff\xfe"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}',
    b'{"a":"raw\nnewline"}', b'{"a":"\x01"}', b'{"a":"\\x"}', b'{"a":"\\u12"}',
    b'{"a":"\\ud800"}', b'{"type":"t","type":"u"}', b'{"a":\0}',
    b'\xef\xbb\xbf{}', b'{"a":"\0"}', b"\0", b'{"a":1}\0',
    b"[" * 33 + b"]" * 33, b"[" * 100000, b'{"a":' * 100000,
    b'{"a":99999999999999999999999}', b'{"a":' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("body", BAD_JSON, ids=lambda b: repr(b[:24]))
@pytest.mark.parametrize("path", [
    "/jobs", "/jobs/bulk", "/jobs/claim", "/jobs/report"])
def test_bad_json_is_400(server, path, body):
    answer = server.api.post(path, body)
    assert answer.status == 400, answer
    assert answer.json["code"] == "invalid_argument", answer
    assert answer.json["error"]


@pytest.mark.parametrize("body", [
    b"null", b"true", b"5", b'"text"', b"[]", b"{}", b"[[]]", b"[null]"])
@pytest.mark.parametrize("method, path", [
    ("POST", "/jobs"), ("POST", "/jobs/claim"), ("POST", "/jobs/report"),
    ("POST", "/jobs/bulk"), ("POST", "/jobs/bulk/cancel"),
    ("PUT", f"/jobs/{NOBODY}/complete"), ("PUT", f"/jobs/{NOBODY}/fail"),
    ("PUT", f"/jobs/{NOBODY}/heartbeat")])
def test_json_of_another_shape_is_400(server, method, path, body):
    answer = server.api.request(method, path, body)
    assert answer.status == 400, answer


@pytest.mark.parametrize("text", ["a\0b", "\0"])
@pytest.mark.parametrize("field", [
    "type", "binary_url", "binary_sha256", "priority", "timeout"])
def test_a_nul_in_a_text_is_400(server, field, text):
    answer = server.api.post("/jobs", {**GOOD, field: text})
    assert answer.status == 400, answer


@pytest.mark.parametrize("change", [
    {"arguments": ["a\0b"]}, {"env_variables": {"K": "a\0b"}},
    {"env_variables": {"K\0": "v"}}])
def test_a_nul_in_arguments_and_environment_is_400(server, change):
    answer = server.api.post("/jobs", {**GOOD, **change})
    assert answer.status == 400 and answer.json["error"], answer


def test_ten_thousand_unknown_fields_are_fine(server):
    body = {**GOOD, **{f"k{i}": i for i in range(10000)}}
    assert server.api.post("/jobs", body).status in (201, 400)


def test_control_characters_stay_out_of_the_terminal(server, system):
    for bad in ("\x1b[31m", "a\rb", "a\x7fb", "\u0085"):
        answer = server.api.post("/jobs", {**GOOD, "type": bad})
        assert answer.status == 400, (bad, answer)
    server.api.submit(type="arg", arguments=["\x1b[31mred"])
    out, _ = system.cli(server)("list")
    assert "\x1b" not in out


def test_long_keys_and_header_tricks(server):
    for key in ("k" * 256, " ", "\t", "a\x01b"):
        answer = server.api.post(
            "/jobs", GOOD, headers={"Idempotency-Key": key})
        assert answer.status in (400, 201), answer
        if answer.status == 400:
            assert answer.json["code"] in ("invalid_argument", "bad_request")


def test_half_requests_and_resets(server):
    whole = request()
    for end in range(0, len(whole), 7):
        with connect(server) as s:
            s.sendall(whole[:end])
            if end % 2:  # a reset in place of an orderly end
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))


def test_pipelined_requests_are_answered_in_order(server):
    line = b"GET /api/v1/jobs?limit=%d HTTP/1.1\r\nHost: h\r\n%s\r\n"
    data = line % (1, b"") + line % (0, b"") + line % (
        1, b"Connection: close\r\n")
    assert statuses(exchange(server, data)) == [200, 400, 200]


def test_a_reader_that_goes_away_is_no_harm(server):
    for _ in range(20):
        server.api.submit(arguments=["x" * 100000])
    for _ in range(10):
        with connect(server) as s:
            s.sendall(b"GET /api/v1/jobs?limit=1000 HTTP/1.1\r\n"
                      b"Host: h\r\n\r\n")
            s.recv(10)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))


def test_abandoned_waits_and_follows_free_their_threads(server):
    job = server.api.submit(type="follow")["id"]
    server.api.claim(types=["follow"])
    sockets = []
    claim = json.dumps({"executor_id": "gone", "executor_ip": "i",
                        "wait": "2s", "types": ["none"]}).encode()
    for _ in range(8):
        s = connect(server)
        s.sendall(request(path="/api/v1/jobs/claim", body=claim))
        sockets.append(s)
        s = connect(server)
        s.sendall(f"GET /api/v1/jobs/{job}/stdout?follow=1 HTTP/1.1\r\n"
                  "Host: h\r\n\r\n".encode())
        sockets.append(s)
    time.sleep(0.3)
    for s in sockets:
        s.close()
    server.api.finish({"id": job, "attempt": 1})


@pytest.mark.long
def test_slow_senders_are_cut_and_hold_nobody_up(server):
    slow = []
    for _ in range(20):
        s = connect(server)
        s.sendall(request()[:60])
        slow.append(s)
        s = connect(server)
        s.sendall(request()[:-10])
        slow.append(s)
    for _ in range(3):
        assert server.api.get("/health").status == 200
        assert server.api.submit()["status"] == "pending"
    for s in slow:
        answer = answer_of(s)
        assert 201 not in statuses(answer)
        s.close()


def test_more_connections_than_threads_are_served_in_turn(server):
    idle = []
    for _ in range(200):
        s = connect(server)
        s.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: h\r\n\r\n")
        idle.append(s)
    answers = [s.recv(65536) for s in idle]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    for s in idle:
        s.close()
