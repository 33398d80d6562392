# SPDX-License-Identifier: MIT
"""The REST API of a server."""

import ctypes
import time

from . import _follow
from . import _structs as s
from ._calls import Calls
from ._errors import NotFound, TimedOut, Unavailable
from ._job import JobSpec
from ._library import (
    call, collect, encode, log_hook, milliseconds, progress_hook, text,
    writer)


def hash_file(path):
    """The SHA-256 of a file, in hex."""
    out = ctypes.create_string_buffer(65)
    call("executr_hash_file", encode(path, "path"), out)
    return text(out.value)


def hash_url(url, timeout=60, progress=None):
    """The SHA-256 of what a URL serves, in hex."""
    out = ctypes.create_string_buffer(65)
    hook, failure = progress_hook(progress)
    call("executr_hash_url", encode(url, "url"), milliseconds(timeout), hook,
         None, out, failure=failure)
    return text(out.value)


class Client(Calls):
    """
    A server, by URL. Any thread may use it; calls go one after the other, so
    threads that shall not wait for each other take a client each.
    """

    _prefix = "executr_client_"
    _exclusive = True

    def __init__(self, server_url="http://127.0.0.1:8080", token=None,
                 timeout=60, log=None):
        hook = log_hook(log)
        options = s.ClientOptions(
            server_url=encode(server_url, "server_url"),
            token=encode(token, "token"),
            network_timeout_ms=milliseconds(timeout), log=hook)
        out = ctypes.c_void_p()
        call("executr_client_open", ctypes.byref(options), ctypes.byref(out))
        self._adopt(out.value, "executr_client_free", keep=hook)
        self._patience = timeout
        self._same = {"server_url": server_url, "token": token,
                      "timeout": timeout, "log": log}
        self.url = server_url

    def health(self):
        """Raises Unavailable when the server or its database is away."""
        with self._use() as handle:
            call("executr_client_health", handle)

    def submit(self, file=None, *, binary_url=None, binary_sha256=None,
               progress=None, **fields):
        """
        Submit a job: a local file (uploaded if the server lacks it), a URL
        (hashed if its SHA-256 is not given), or the SHA-256 of a binary that
        the server has. `fields` are those of JobSpec. Gives its record.
        """
        if file is not None:
            binary_sha256 = self.upload(file, progress)
        elif binary_sha256 is None and binary_url is not None:
            binary_sha256 = hash_url(binary_url, self._patience, progress)
        return self.submit_spec(JobSpec(
            binary_sha256=binary_sha256, binary_url=binary_url, **fields))

    def run(self, file=None, *, wait_timeout=None, **fields):
        """Submit a job (see submit), wait for it, and give its record."""
        job = self.submit(file, **fields)
        return self.wait(job.id, wait_timeout)

    def upload(self, path, progress=None):
        """Make the server have a file; gives its SHA-256."""
        sha256 = hash_file(path)
        if self.binary_size(sha256) is None:
            hook, failure = progress_hook(progress)
            with self._use() as handle:
                call("executr_client_put_binary", handle,
                     encode(sha256, "sha256"), encode(path, "path"), hook,
                     None, failure=failure)
        return sha256

    def binary_size(self, sha256):
        """The size of a binary that the server has; None if it has not."""
        size = ctypes.c_int64()
        try:
            with self._use() as handle:
                call("executr_client_has_binary", handle,
                     encode(sha256, "sha256"), ctypes.byref(size))
        except NotFound:
            return None
        return size.value

    def download(self, sha256, write):
        """Hand the bytes of a stored binary to `write(bytes)`."""
        hook, failure = writer(write)
        with self._use() as handle:
            call("executr_client_get_binary", handle,
                 encode(sha256, "sha256"), hook, None, failure=failure)

    def get(self, job_id):
        """The record of a job, with output and attempts."""
        return self._jobs("get", encode(job_id, "id"))[0]

    def wait(self, job_id, timeout=None):
        """
        Wait until a job is over and give its record; TimedOut after `timeout`
        seconds. A server that is away meanwhile is waited for.
        """
        end = None if timeout is None else time.monotonic() + timeout
        patience, pause = time.monotonic() + self._patience, 0.005
        while True:
            try:
                job = self.get(job_id)
                if job.finished:
                    return job
                patience = time.monotonic() + self._patience
            except (Unavailable, TimedOut):
                if time.monotonic() > patience:
                    raise
            if end is not None and time.monotonic() >= end:
                raise TimedOut(
                    -9, message=f"job {job_id} is not over after {timeout} s")
            if end is not None:
                pause = min(pause, max(end - time.monotonic(), 0))
            time.sleep(pause)
            pause = min(max(pause, 0.005) * 1.5, 0.5)

    def cancel(self, job_id):
        """Cancel a job: "cancelled" now, or "running" and told to stop."""
        running = ctypes.c_int32()
        with self._use() as handle:
            call("executr_client_cancel", handle, encode(job_id, "id"),
                 ctypes.byref(running))
        return "running" if running.value else "cancelled"

    def follow(self, job_id, stream=None, offset=0):
        """
        Iterate over what a job prints, as it comes, until it is over: bytes of
        "stdout" or "stderr" from `offset` on, or (stream, bytes) of both. A
        connection that breaks is made again and goes on where it was. It has a
        client of its own, so this one is free for other calls.
        """
        own = Client(**self._same)
        return _follow.follow(
            own, "executr_client_follow", job_id, stream, offset, own.close)

    def logs(self, job_id, stream="stdout", offset=0, follow=False,
             write=None):
        """
        What a job wrote to "stdout" or "stderr", as bytes; with `write` they
        are handed to it instead, with `follow` until the job is over.
        """
        number = _follow.number_of(stream)
        arguments = (
            encode(job_id, "id"), number, offset, int(bool(follow)))
        with self._use() as handle:
            if write is None:
                return collect("executr_client_output", handle, *arguments)
            hook, failure = writer(write)
            call("executr_client_output", handle, *arguments, hook, None,
                 failure=failure)
            return None
