# SPDX-License-Identifier: MIT
"""What a job prints, while it does, as an iterator."""

import ctypes
import queue
import threading

from . import _structs as s
from ._library import call, encode

STREAMS = {"stdout": 1, "stderr": 2}
_NAMES = {number: name for name, number in STREAMS.items()}
_AHEAD = 16  # pieces read before they are asked for
_END = object()


def number_of(stream):
    number = STREAMS.get(stream)
    if number is None:
        raise ValueError(f"stream is stdout or stderr, not {stream!r}")
    return number


class _Reader:
    """The call, in a thread: it blocks until the job is over."""

    def __init__(self, owner, name, job_id, streams, offsets):
        self._owner, self._name = owner, name
        self._pieces = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._failure = None
        # These two must live as long as the call.
        self._write, self._idle = (
            s.OUTPUT_WRITE(self._on_output), s.IDLE(self._on_idle))
        self._job_id = encode(job_id, "id")
        self._request = s.Follow(
            job_id=self._job_id, streams=streams, stdout_offset=offsets[0],
            stderr_offset=offsets[1], write=self._write, idle=self._idle)
        self._thread = threading.Thread(
            target=self._run, daemon=True, name="executr-follow")
        self._thread.start()

    def _hand_over(self, piece):
        """False when nobody reads any more."""
        while not self._stop.is_set():
            try:
                self._pieces.put(piece, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    def _on_output(self, _ctx, stream, _attempt, _offset, data, length):
        piece = _NAMES[stream], ctypes.string_at(data, length)
        return 0 if self._hand_over(piece) else 1

    def _on_idle(self, _ctx):
        return int(self._stop.is_set())

    def _run(self):
        try:
            with self._owner._use() as handle:
                call(self._name, handle, ctypes.byref(self._request))
        except Exception as error:
            self._failure = error
        self._hand_over(_END)

    def __iter__(self):
        while True:
            piece = self._pieces.get()
            if piece is _END:
                break
            yield piece
        if self._failure:
            raise self._failure

    def close(self):
        self._stop.set()
        self._thread.join()


def follow(owner, name, job_id, stream, offset, done=None):
    """
    Pieces until the job is over; the call ends with the iterator. `done` is
    called then.
    """
    wanted = 0 if stream is None else 1 << number_of(stream)
    reader = _Reader(owner, name, job_id, wanted, (
        offset if stream != "stderr" else 0,
        offset if stream == "stderr" else 0))
    try:
        for which, data in reader:
            yield data if stream else (which, data)
    finally:
        reader.close()
        if done:
            done()


__all__ = ["STREAMS", "follow", "number_of"]
