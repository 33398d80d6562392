# SPDX-License-Identifier: MIT
"""What a client of a server and a queue in this process have in common."""

import ctypes
import dataclasses
import json

from . import _structs as s
from ._errors import Error, error_of
from ._job import take_jobs
from ._library import (
    Handle, call, collect, encode, encode_all, lib, milliseconds, pointer,
    priority_bits, text, word)


@dataclasses.dataclass
class Report:
    """How an attempt ended, for report(). `status`: completed or failed."""

    job_id: str
    attempt: int = 0
    status: str = "completed"
    outcome: str | None = None
    exit_code: int | None = None
    signal: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    error_message: str | None = None
    uncounted: bool = False

    def _struct(self):
        return s.Report(
            job_id=encode(self.job_id, "id"), attempt=self.attempt,
            status=STATUSES.get(self.status, 0),
            outcome=word("executr_outcome_parse", self.outcome, "outcome"),
            has_exit_code=int(self.exit_code is not None),
            exit_code=self.exit_code or 0, signal=self.signal,
            uncounted=int(self.uncounted),
            stdout_data=bytes(self.stdout), stdout_length=len(self.stdout),
            stderr_data=bytes(self.stderr), stderr_length=len(self.stderr),
            error_message=encode(self.error_message, "error_message"))


class Page(list):
    """Jobs of a list; `more` is true when older ones match."""

    more = False


STATUSES = {"completed": 2, "failed": 3}
VERDICTS = {1: "kept", 2: "cancel", 3: "lost", 4: "unknown",
            5: "followed"}


def pointers(structs, kind):
    """Structs as an array of pointers to them."""
    items = [ctypes.pointer(item) for item in structs]
    return (ctypes.POINTER(kind) * len(items))(*items)


def filter_of(status, type, priority, executor_id, limit, before, offset):
    return s.Filter(
        status=word("executr_job_status_parse", status, "status"),
        priority=word("executr_priority_parse", priority, "priority"),
        type=encode(type, "type"),
        executor_id=encode(executor_id, "executor_id"),
        before_id=encode(before, "before"), limit=limit, offset=offset)


def _refusal(struct, status):
    """The error of one job of many; the check has the words, if it was it."""
    try:
        call("executr_job_spec_check", ctypes.byref(struct))
    except Error as error:
        if error.status == status:
            return error
    return error_of(status, message=text(lib.executr_status_word(status)))


class Calls(Handle):
    """Calls that clients and queues share; `_prefix` says whose they are."""

    _prefix = ""

    def _jobs(self, name, *arguments):
        """The records that a call gives."""
        out = ctypes.c_void_p()
        with self._use() as handle:
            call(self._prefix + name, handle, *arguments, ctypes.byref(out))
        return take_jobs(out)

    def submit_spec(self, spec):
        """Submit one JobSpec and give its record."""
        array = pointers([spec._struct()], s.JobSpec)
        return self._jobs("submit", array, 1, None)[0]

    def submit_many(self, specs):
        """
        Submit JobSpecs at once. Each stands for itself: for each there is its
        Job, or the Error that refused it.
        """
        structs = [spec._struct() for spec in specs]
        array = pointers(structs, s.JobSpec)
        results = (ctypes.c_int32 * len(array))()
        accepted = iter(self._jobs("submit", array, len(array), results))
        return [
            _refusal(struct, status) if status else next(accepted)
            for struct, status in zip(structs, results)]

    def list(self, status=None, type=None, priority=None, executor_id=None,
             limit=100, before=None, offset=0):
        """Jobs, newest first; `before` is the id of the last one known."""
        where = filter_of(
            status, type, priority, executor_id, limit, before, offset)
        out, more = ctypes.c_void_p(), ctypes.c_int32()
        with self._use() as handle:
            call(self._prefix + "list", handle, ctypes.byref(where),
                 ctypes.byref(out), ctypes.byref(more))
        page = Page(take_jobs(out))
        page.more = bool(more.value)
        return page

    def jobs(self, **filters):
        """All jobs that match (see list), newest first, page by page."""
        page = self.list(**filters)
        yield from page
        while page.more:
            filters.update(before=page[-1].id, offset=0)
            page = self.list(**filters)
            yield from page

    def cancel_matching(self, status=None, type=None, priority=None):
        """Cancel all that match; gives their number."""
        where = filter_of(status, type, priority, None, 0, None, 0)
        cancelled = ctypes.c_int64()
        with self._use() as handle:
            call(self._prefix + "cancel_matching", handle,
                 ctypes.byref(where), ctypes.byref(cancelled))
        return cancelled.value

    def retry(self, job_id):
        """Run a failed or cancelled job again; gives its record."""
        return self._jobs("retry", encode(job_id, "id"))[0]

    def _document(self, name, to_json, free):
        out = ctypes.c_void_p()
        with self._use() as handle:
            call(self._prefix + name, handle, ctypes.byref(out))
        try:
            return json.loads(collect(to_json, out))
        finally:
            getattr(lib, free)(out)

    def stats(self):
        """Counts of jobs and executors: the answer of GET /admin/stats."""
        return self._document(
            "stats", "executr_stats_json", "executr_stats_free")

    def executors(self):
        """Executors seen lately: the answer of GET /admin/executors."""
        return self._document(
            "executors", "executr_executors_json", "executr_executors_free")

    def claim(self, executor_id, executor_ip, max_jobs=1, wait=0, types=(),
              priorities=(), offers=0):
        """Claim jobs to run; waits up to `wait` seconds for the first."""
        array, count = encode_all(types, "types")
        request = s.Claim(
            executor_id=encode(executor_id, "executor_id"),
            executor_ip=encode(executor_ip, "executor_ip"),
            max_jobs=max_jobs, wait_ms=milliseconds(wait),
            types=pointer(array, ctypes.c_char_p), type_count=count,
            priorities=priority_bits(priorities), offers=offers)
        return self._jobs("claim", ctypes.byref(request))

    def report(self, executor_id, reports):
        """Record the ends of attempts: None (done) or the Error for each."""
        array = pointers([r._struct() for r in reports], s.Report)
        results = (ctypes.c_int32 * len(array))()
        with self._use() as handle:
            call(self._prefix + "report", handle,
                 encode(executor_id, "executor_id"), array, len(array),
                 results)
        return [
            error_of(
                status, message=text(lib.executr_status_word(status)))
            if status else None for status in results]

    def heartbeat(self, executor_id, executor_ip, leases=(), max_jobs=1):
        """
        Keep the leases ((job id, attempt), …) of an executor alive: gives
        kept, cancel, lost, unknown or followed (kept, and somebody wants its
        output) for each job id.
        """
        array = (s.Lease * len(leases))()
        for lease, (job_id, attempt) in zip(array, leases):
            lease.job_id = encode(job_id, "id")
            lease.attempt = attempt
        beat = s.Heartbeat(
            executor_id=encode(executor_id, "executor_id"),
            executor_ip=encode(executor_ip, "executor_ip"),
            version=lib.executr_version(), max_jobs=max_jobs,
            leases=pointer(array, s.Lease), lease_count=len(array))
        with self._use() as handle:
            call(self._prefix + "heartbeat", handle, ctypes.byref(beat))
        return {text(lease.job_id): VERDICTS.get(lease.verdict, "lost")
                for lease in array}

    def goodbye(self, executor_id):
        """An executor leaves; its jobs go back to pending."""
        with self._use() as handle:
            call(self._prefix + "goodbye", handle,
                 encode(executor_id, "executor_id"))



