# SPDX-License-Identifier: MIT
"""A job system inside this process: a store, a queue on it, a worker."""

import ctypes
import dataclasses
import threading
import weakref

from . import _follow
from . import _structs as s
from ._calls import Calls
from ._client import hash_file
from ._errors import error_of
from ._job import JobSpec
from ._library import (
    Handle, call, encode, encode_all, lib, log_hook, milliseconds, pointer,
    priority_bits, reader, text, writer)

_EVENTS = {
    1: "submitted", 2: "claimed", 3: "completed", 4: "failed", 5: "retried",
    6: "cancelled", 7: "recovered", 8: "cleaned"}
_PARTS = 3


class Store(Handle):
    """Where jobs live: postgres://…, sqlite:///abs/path or sqlite:rel/path."""

    def __init__(self, url, query_timeout=None, log=None):
        hook = log_hook(log)
        options = s.StoreOptions(
            query_timeout_ms=milliseconds(query_timeout), log=hook)
        out = ctypes.c_void_p()
        call("executr_store_open", encode(url, "url"), ctypes.byref(options),
             ctypes.byref(out))
        self._adopt(out.value, "executr_store_free", keep=hook)

    @property
    def kind(self):
        """ "postgres" or "sqlite"."""
        with self._use() as handle:
            return text(lib.executr_store_kind(handle))

    def ping(self):
        """Raises Unavailable when the database is away."""
        with self._use() as handle:
            call("executr_store_ping", handle)


@dataclasses.dataclass(frozen=True)
class Event:
    """
    What happened to a job, told after it was committed. Times are seconds,
    None where unknown.
    """

    event: str
    type: str
    priority: str
    count: int
    waited: float | None
    ran: float | None


def _seconds(us):
    return None if us < 0 else us / 1e6


def _event_hook(on_event):
    if on_event is None:
        return s.Events()

    @s.NOTIFY
    def notify(_ctx, event, kind, priority, count, waited_us, ran_us):
        on_event(Event(
            _EVENTS.get(event, str(event)), text(kind),
            text(lib.executr_priority_word(priority)), count,
            _seconds(waited_us), _seconds(ran_us)))
    return s.Events(notify, None)


class Queue(Calls):
    """
    The rules over a store; any number of threads may use it at once. `on_event`
    is called with an Event, from any thread, and must not call back. Times are
    seconds; None is the default, math.inf as job_retention keeps all.
    """

    _prefix = "executr_queue_"

    def __init__(self, store, *, on_event=None, log=None, max_lost_attempts=0,
                 heartbeat_timeout=None, job_retention=None,
                 cleanup_interval=None, poll_interval=None, retry_base=None,
                 retry_max=None, max_output_bytes=0, max_parked=0):
        hooks = log_hook(log), _event_hook(on_event)
        options = s.QueueOptions(
            max_lost_attempts=max_lost_attempts,
            heartbeat_timeout_ms=milliseconds(heartbeat_timeout),
            job_retention_ms=milliseconds(job_retention),
            cleanup_interval_ms=milliseconds(cleanup_interval),
            poll_interval_ms=milliseconds(poll_interval),
            retry_base_ms=milliseconds(retry_base),
            retry_max_ms=milliseconds(retry_max),
            max_output_bytes=max_output_bytes, max_parked=max_parked,
            log=hooks[0], events=hooks[1])
        out = ctypes.c_void_p()
        with store._use() as handle:
            call("executr_queue_open", handle, ctypes.byref(options),
                 ctypes.byref(out))
            self._adopt(out.value, "executr_queue_free", store, hooks)

    def _hurry(self):
        lib.executr_queue_drain(self._pointer)

    def submit(self, file=None, *, binary_sha256=None, **fields):
        """
        Submit a job: a local file (kept in the store), or a binary by its
        SHA-256 and URL. `fields` are those of JobSpec. Gives its record.
        """
        if file is not None:
            binary_sha256 = self.upload(file)
        return self.submit_spec(JobSpec(
            binary_sha256=binary_sha256, **fields))

    def upload(self, path):
        """Make the store have a file; gives its SHA-256."""
        sha256 = hash_file(path)
        with open(path, "rb") as file:
            self.put_binary(sha256, file.read)
        return sha256

    def put_binary(self, sha256, read, max_bytes=0):
        """Keep what `read(size)` gives; true if it was not there before."""
        hook, failure = reader(read)
        created = ctypes.c_int32()
        with self._use() as handle:
            call("executr_queue_put_binary", handle,
                 encode(sha256, "sha256"), hook, None, max_bytes,
                 ctypes.byref(created), failure=failure)
        return bool(created.value)

    def binary_size(self, sha256):
        """The size of a stored binary."""
        size = ctypes.c_int64()
        with self._use() as handle:
            call("executr_queue_binary_size", handle,
                 encode(sha256, "sha256"), ctypes.byref(size))
        return size.value

    def download(self, sha256, write, offset=0):
        """Hand the bytes of a stored binary to `write(bytes)`."""
        hook, failure = writer(write)
        with self._use() as handle:
            call("executr_queue_get_binary", handle,
                 encode(sha256, "sha256"), offset, hook, None,
                 failure=failure)

    def get(self, job_id):
        """The record of a job, with output and attempts."""
        return self._jobs("get", encode(job_id, "id"), _PARTS)[0]

    def follow(self, job_id, stream=None, offset=0):
        """
        Iterate over what a job prints, as it comes, until it is over: bytes of
        "stdout" or "stderr" from `offset` on, or (stream, bytes) of both.
        """
        return _follow.follow(
            self, "executr_queue_follow", job_id, stream, offset)

    def cancel(self, job_id):
        """Cancel a job: "cancelled" now, or "running" and told to stop."""
        ids, count = encode_all([job_id], "id")
        results = (ctypes.c_int32 * count)()
        with self._use() as handle:
            call("executr_queue_cancel", handle, ids, count, results)
        status = results[0]
        if status not in (0, -14):
            raise error_of(status, field="id", message=(
                f"job {job_id}: {text(lib.executr_status_word(status))}"))
        return "running" if status else "cancelled"

    def drain(self):
        """Claims that wait return empty, and later ones don't wait."""
        with self._use() as handle:
            lib.executr_queue_drain(handle)


def _run(handle, outcome):
    """The worker's thread; knows no Worker, so that it keeps none alive."""
    try:
        call("executr_worker_run", handle)
    except Exception as error:
        outcome.append(error)


def _end(handle, threads, _keep):
    """Stop a worker at once, wait for its thread, free it."""
    for thread in threads:
        lib.executr_worker_stop(handle)
        lib.executr_worker_stop(handle)
        thread.join()
    lib.executr_worker_free(handle)


class Worker(Handle):
    """
    An executor in a thread, for a queue or a server. start() and stop() it, or
    run() it until stop() or Ctrl-C. Leaving its `with` lets running jobs
    finish; close() kills them and gives them back.
    """

    def __init__(self, queue=None, *, server_url=None, token=None, name=None,
                 max_jobs=1, cache_directory=None, work_directory=None,
                 max_cache_bytes=0, max_output_bytes=0, poll_interval=None,
                 heartbeat_interval=None, timeout=None, kill_grace=None,
                 types=(), priorities=(), subreaper=False, log=None):
        hook = log_hook(log)
        array, count = encode_all(types, "types")
        options = s.WorkerOptions(
            max_jobs=max_jobs, server_url=encode(server_url, "server_url"),
            token=encode(token, "token"), name=encode(name, "name"),
            cache_directory=encode(cache_directory, "cache_directory"),
            work_directory=encode(work_directory, "work_directory"),
            max_cache_bytes=max_cache_bytes,
            max_output_bytes=max_output_bytes,
            poll_interval_ms=milliseconds(poll_interval),
            heartbeat_interval_ms=milliseconds(heartbeat_interval),
            network_timeout_ms=milliseconds(timeout),
            kill_grace_ms=milliseconds(kill_grace),
            types=pointer(array, ctypes.c_char_p), type_count=count,
            priorities=priority_bits(priorities), subreaper=int(subreaper),
            log=hook)
        if queue is None:
            self._open(options, None, hook)
        else:
            with queue._use() as handle:
                options.queue = handle
                self._open(options, queue, hook)

    def _open(self, options, queue, hook):
        out = ctypes.c_void_p()
        call("executr_worker_open", ctypes.byref(options), ctypes.byref(out))
        self._threads, self._outcome = [], []
        self._adopt(out.value, "executr_worker_free", queue, hook)
        self._finalizer.detach()
        self._finalizer = weakref.finalize(
            self, _end, out.value, self._threads, (queue, hook))

    @property
    def id(self):
        """The id this worker goes by."""
        with self._use() as handle:
            return text(lib.executr_worker_id(handle))

    def start(self):
        """Start to work, in a thread of its own; once."""
        with self._use() as handle:
            if self._threads:
                raise RuntimeError("this worker was started before")
            self._threads.append(threading.Thread(
                target=_run, args=(handle, self._outcome), daemon=True,
                name="executr-worker"))
            self._threads[0].start()
        return self

    def stop(self):
        """
        Claim no more and let running jobs finish; the second call kills them
        and gives them back. Any thread.
        """
        with self._use() as handle:
            lib.executr_worker_stop(handle)

    def join(self, timeout=None):
        """Wait for the end of its thread; true when it ended. Raises what
        ended it, unless that was stop()."""
        for thread in self._threads:
            thread.join(timeout)
            if thread.is_alive():
                return False
        if self._outcome:
            raise self._outcome[0]
        return True

    def run(self):
        """Work until stopped. Ctrl-C lets running jobs finish, the second one
        kills them."""
        self.start()
        while True:
            try:
                while not self.join(0.2):
                    pass
                return
            except KeyboardInterrupt:
                self.stop()

    def __exit__(self, *_exception):
        try:
            if self._threads and not self._closed:
                self.stop()
                self.join()
        finally:
            self.close()


__all__ = ["Event", "Queue", "Store", "Worker"]
