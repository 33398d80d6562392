# SPDX-License-Identifier: MIT
"""
executr: run programs on many machines and never lose one.

    import executr
    with executr.Client("http://127.0.0.1:8080") as client:
        job = client.run("/usr/bin/sha256sum", arguments=["/etc/hostname"])
        print(job.stdout.decode(), job.exit_code)

Client talks to a server. Store, Queue and Worker are a whole job system in
this process. Every failure is an Error; its classes say what to do about it.
The library is taken from $EXECUTR_LIBRARY, from beside this package, or from
the system.
"""

from ._calls import Page, Report
from ._client import Client, hash_file, hash_url
from ._embed import Event, Queue, Store, Worker
from ._errors import (
    ArgumentError, CallbackFailed, Cancelled, Conflict, Error, HashMismatch,
    InputOutputError, InternalError, LostAttempt, NotFound, OutOfMemory,
    ProtocolError, TimedOut, TooLarge, Unauthorized, Unavailable, Unsupported)
from ._job import Attempt, Job, JobSpec
from ._library import version

__all__ = [
    "ArgumentError", "Attempt", "CallbackFailed", "Cancelled", "Client",
    "Conflict", "Error", "Event", "HashMismatch", "InputOutputError",
    "InternalError", "Job", "JobSpec", "LostAttempt", "NotFound",
    "OutOfMemory", "Page", "ProtocolError", "Queue", "Report", "Store",
    "TimedOut", "TooLarge", "Unauthorized", "Unavailable", "Unsupported",
    "Worker", "hash_file", "hash_url", "version"]
