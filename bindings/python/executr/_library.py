# SPDX-License-Identifier: MIT
"""
Finds and loads libexecutr, and calls it: converts texts and times, turns
statuses into exceptions, and lets exceptions of callbacks through.
"""

import contextlib
import ctypes
import logging
import math
import os
import pathlib
import threading
import weakref

from . import _structs as s
from ._abi import FUNCTIONS
from ._errors import ArgumentError, Error, error_of

ABI = 0
NAME = f"libexecutr.so.{ABI}"


def _candidates():
    """Where the library may be: as told, beside this package, the system."""
    told = os.environ.get("EXECUTR_LIBRARY")
    if told:
        return [told]
    here = pathlib.Path(__file__).resolve().parent
    beside = [here / NAME, here / "libexecutr.so"]
    return [str(path) for path in beside if path.exists()] + [NAME]


def _load():
    failures = []
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            failures.append(str(error))
            continue
        for name, (result, parameters) in FUNCTIONS.items():
            try:
                function = getattr(library, name)
            except AttributeError:
                raise ImportError(
                    f"{path} has no {name}: it is older than this package"
                ) from None
            function.restype = result
            function.argtypes = parameters
        if library.executr_abi() != ABI:
            raise ImportError(
                f"{path} has ABI {library.executr_abi()}, this package is for "
                f"ABI {ABI}; install the two of the same release")
        return library
    raise ImportError(
        f"can't load {NAME}: {'; '.join(failures)}. Install executr, or name "
        "the file in EXECUTR_LIBRARY")


lib = _load()


def version():
    """The version of the library that was loaded."""
    return lib.executr_version().decode()


def call(name, *arguments, failure=()):
    """
    Call a function that returns a status and raise what it says. `failure` is
    where callbacks leave their exceptions, which then count instead.
    """
    err = s.Error()
    status = getattr(lib, name)(*arguments, ctypes.byref(err))
    if failure:
        raise failure[0]
    if status:
        raise error_of(
            status, err.native, text(err.field), text(err.message))


def text(data):
    """A text of the library; bytes that are no UTF-8 survive a round trip."""
    return (data or b"").decode("utf-8", "surrogateescape")


def encode(value, field):
    """A text for the library; None stays None."""
    if value is None:
        return None
    data = os.fspath(value)
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    if b"\0" in data:  # C would see the part before it only
        raise ArgumentError(-1, 0, field, f"{field} must not hold a NUL")
    return data


def encode_all(values, field):
    """Texts as a C array and its length."""
    items = [encode(value, field) for value in values]
    return (ctypes.c_char_p * len(items))(*items), len(items)


def milliseconds(seconds):
    """Seconds (None: the default, inf: for ever) as the library has them."""
    if seconds is None:
        return 0
    if math.isinf(seconds):
        return -1
    return max(round(seconds * 1000), 1) if seconds > 0 else 0


def word(parse, value, field):
    """The number of a word such as "foreground"; None is 0."""
    if value is None:
        return 0
    number = getattr(lib, parse)(encode(value, field))
    if not number:
        raise ArgumentError(-1, 0, field, f"{field} can't be {value!r}")
    return number


def priority_bits(priorities):
    """Priorities a claim is limited to, as bits; none: all."""
    bits = 0
    for priority in priorities:
        bits |= 1 << word("executr_priority_parse", priority, "priorities")
    return bits


def pointer(array, kind):
    return ctypes.cast(array, ctypes.POINTER(kind))


def writer(write):
    """`write(bytes)` as a C callback, and the list its exception goes to."""
    failure = []

    @s.WRITE
    def trampoline(_ctx, data, length):
        try:
            if length:
                write(ctypes.string_at(data, length))
            return 0
        except BaseException as error:  # C can't carry it; call() raises it
            failure.append(error)
            return 1
    return trampoline, failure


def reader(read):
    """`read(size) -> bytes` as a C callback, and its exceptions."""
    failure = []

    @s.READ
    def trampoline(_ctx, data, size, length):
        try:
            piece = read(size)
            if len(piece) > size:
                raise ValueError(f"read({size}) gave {len(piece)} bytes")
            ctypes.memmove(data, piece, len(piece))
            length[0] = len(piece)
            return 0
        except BaseException as error:
            failure.append(error)
            return 1
    return trampoline, failure


def progress_hook(progress):
    """`progress(done, total)` as a C callback; true stops the transfer."""
    failure = []
    if progress is None:
        return ctypes.cast(None, s.PROGRESS), failure

    @s.PROGRESS
    def trampoline(_ctx, done, total):
        try:
            return 1 if progress(done, None if total < 0 else total) else 0
        except BaseException as error:
            failure.append(error)
            return 1
    return trampoline, failure


def collect(name, *arguments):
    """The bytes that a function writes to the callback that comes last."""
    out = bytearray()
    write, failure = writer(out.extend)
    call(name, *arguments, write, None, failure=failure)
    return bytes(out)


_LEVELS = {
    1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}


def log_hook(logger):
    """A logging.Logger (or None) as the library's log hook."""
    if logger is None:
        return s.Log()

    @s.LOG_WRITE
    def write(_ctx, level, message, fields):
        pairs, i = [], 0
        while fields and fields[i]:
            pairs.append(f"{text(fields[i])}={text(fields[i + 1])}")
            i += 2
        logger.log(
            _LEVELS.get(level, logging.DEBUG), "%s",
            " ".join([text(message), *pairs]))
    return s.Log(write, None)


def _free(function, handle, _keep):
    getattr(lib, function)(handle)


class Handle:
    """
    An object of the library. It is freed by close(), at the end of a `with`,
    with the last reference to it, or at exit; children before their parents.
    A call under way keeps it open: close() waits for it.
    """

    _exclusive = False  # True: one call at a time

    def _adopt(self, handle, free, parent=None, keep=None):
        self._pointer = handle
        self._users = 0
        self._closed = False
        self._changed = threading.Condition()
        self._children = weakref.WeakSet()
        self._finalizer = weakref.finalize(
            self, _free, free, handle, (parent, keep))
        if parent is not None:
            parent._children.add(self)

    @contextlib.contextmanager
    def _use(self):
        """The pointer, which lasts as long as the block."""
        with self._changed:
            while self._exclusive and self._users and not self._closed:
                self._changed.wait()
            if self._closed:
                raise ArgumentError(
                    -1, 0, "", f"this {type(self).__name__} is closed")
            self._users += 1
        try:
            yield self._pointer
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _hurry(self):
        """Make calls under way return soon."""

    def close(self):
        """Free it, and what was opened on it. May be repeated."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        for child in list(self._children):
            child.close()
        self._hurry()
        with self._changed:
            self._changed.wait_for(lambda: not self._users)
        self._finalizer()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()


__all__ = [
    "ABI", "Error", "Handle", "call", "collect", "encode", "encode_all",
    "lib", "log_hook", "milliseconds", "pointer", "priority_bits",
    "progress_hook", "reader", "text", "version", "word", "writer"]
