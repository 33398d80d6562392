# SPDX-License-Identifier: MIT
"""Jobs: what is submitted, and the records that come back."""

import ctypes
import dataclasses
import datetime

from . import _structs as s
from ._library import (
    encode, encode_all, lib, milliseconds, pointer, text, word)

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def moment(us):
    """Microseconds since 1970 as a datetime in UTC; None for "not yet"."""
    return _EPOCH + datetime.timedelta(microseconds=us) if us else None


@dataclasses.dataclass
class JobSpec:
    """A job to submit. None is the default of a field; times are seconds."""

    binary_sha256: str
    binary_url: str | None = None
    arguments: tuple = ()
    environment: dict = dataclasses.field(default_factory=dict)
    type: str = "default"
    priority: str | None = None
    max_retries: int = 0
    exclusive: bool = False
    timeout: float | None = None
    kill_grace: float | None = None
    memory_mb: int = 0
    cpu_seconds: int = 0
    max_processes: int = 0
    max_file_mb: int = 0
    isolation: str | None = None
    idempotency_key: str | None = None

    def _struct(self):
        pairs = []
        for name, value in self.environment.items():
            pairs.append(
                encode(name, "env_variables") + b"=" +
                encode(value, "env_variables"))
        arguments, argument_count = encode_all(self.arguments, "arguments")
        environment, environment_count = encode_all(pairs, "env_variables")
        return s.JobSpec(
            type=encode(self.type, "type"),
            binary_url=encode(self.binary_url, "binary_url"),
            binary_sha256=encode(self.binary_sha256, "binary_sha256"),
            arguments=pointer(arguments, ctypes.c_char_p),
            argument_count=argument_count,
            environment=pointer(environment, ctypes.c_char_p),
            environment_count=environment_count,
            idempotency_key=encode(self.idempotency_key, "Idempotency-Key"),
            priority=word(
                "executr_priority_parse", self.priority, "priority"),
            isolation=word(
                "executr_isolation_parse", self.isolation, "isolation"),
            max_retries=self.max_retries, exclusive=int(self.exclusive),
            timeout_ms=milliseconds(self.timeout),
            kill_grace_ms=milliseconds(self.kill_grace),
            memory_mb=self.memory_mb, cpu_seconds=self.cpu_seconds,
            max_processes=self.max_processes, max_file_mb=self.max_file_mb)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One try of an executor at a job."""

    number: int
    status: str
    executor_id: str
    executor_ip: str
    error_message: str
    started_at: datetime.datetime | None
    ended_at: datetime.datetime | None
    outcome: str
    exit_code: int | None
    signal: int
    user_seconds: float
    system_seconds: float
    wall_seconds: float
    max_rss_bytes: int


@dataclasses.dataclass(frozen=True)
class Job:
    """
    The record of a job. `stdout` and `stderr` (bytes) and `attempts` are there
    when the record was asked for alone: from get, wait and run.
    """

    id: str
    type: str
    binary_url: str
    binary_sha256: str
    arguments: list
    environment: dict
    priority: str
    exclusive: bool
    status: str
    max_retries: int
    retry_count: int
    attempt: int
    executor_id: str
    error_message: str
    exit_code: int | None
    outcome: str
    signal: int
    stdout: bytes = dataclasses.field(repr=False)
    stderr: bytes = dataclasses.field(repr=False)
    created_at: datetime.datetime | None
    started_at: datetime.datetime | None
    completed_at: datetime.datetime | None
    last_heartbeat: datetime.datetime | None
    retry_after: datetime.datetime | None
    timeout: float | None
    kill_grace: float | None
    memory_mb: int
    cpu_seconds: int
    max_processes: int
    max_file_mb: int
    isolation: str
    attempts: list = dataclasses.field(repr=False)

    @property
    def finished(self):
        """Is it over for good: completed, failed or cancelled?"""
        return self.status not in ("pending", "running")


def _output(record, getter):
    length = ctypes.c_size_t()
    data = getter(record, ctypes.byref(length))
    return ctypes.string_at(data, length.value) if length.value else b""


def _exit_code(record, getter):
    code = ctypes.c_int32()
    known = getter(record, ctypes.byref(code))
    return code.value if known else None


def _texts(record, count, at):
    return [text(at(record, i)) for i in range(count(record))]


def _environment(record):
    pairs = _texts(
        record, lib.executr_job_environment_count,
        lib.executr_job_environment)
    return dict(pair.split("=", 1) for pair in pairs)


def _attempt(record):
    return Attempt(
        number=lib.executr_attempt_number(record),
        status=text(lib.executr_attempt_status_word(
            lib.executr_attempt_status(record))),
        executor_id=text(lib.executr_attempt_executor_id(record)),
        executor_ip=text(lib.executr_attempt_executor_ip(record)),
        error_message=text(lib.executr_attempt_error_message(record)),
        started_at=moment(lib.executr_attempt_started_at_us(record)),
        ended_at=moment(lib.executr_attempt_ended_at_us(record)),
        outcome=text(lib.executr_outcome_word(
            lib.executr_attempt_outcome(record))),
        exit_code=_exit_code(record, lib.executr_attempt_exit_code),
        signal=lib.executr_attempt_signal(record),
        user_seconds=lib.executr_attempt_user_seconds(record),
        system_seconds=lib.executr_attempt_system_seconds(record),
        wall_seconds=lib.executr_attempt_wall_seconds(record),
        max_rss_bytes=lib.executr_attempt_max_rss_bytes(record))


def _plain(name):
    return getattr(lib, f"executr_job_{name}")


_TEXTS = ("id", "type", "binary_url", "binary_sha256", "executor_id",
          "error_message")
_NUMBERS = ("max_retries", "retry_count", "attempt", "signal", "memory_mb",
            "cpu_seconds", "max_processes", "max_file_mb")
_MOMENTS = ("created_at", "started_at", "completed_at", "last_heartbeat",
            "retry_after")
_SECONDS = ("timeout", "kill_grace")
_WORDS = {
    "priority": lib.executr_priority_word,
    "status": lib.executr_job_status_word,
    "outcome": lib.executr_outcome_word,
    "isolation": lib.executr_isolation_word,
}


def job_of(record):
    """A copy of a record; nothing in it belongs to the library."""
    fields = {name: text(_plain(name)(record)) for name in _TEXTS}
    fields.update((name, _plain(name)(record)) for name in _NUMBERS)
    for name in _MOMENTS:
        fields[name] = moment(_plain(f"{name}_us")(record))
    for name in _SECONDS:
        ms = _plain(f"{name}_ms")(record)
        fields[name] = ms / 1000 if ms else None
    for name, to_word in _WORDS.items():
        fields[name] = text(to_word(_plain(name)(record)))
    count = lib.executr_job_attempt_count(record)
    return Job(
        arguments=_texts(
            record, lib.executr_job_argument_count, lib.executr_job_argument),
        environment=_environment(record),
        exclusive=bool(lib.executr_job_exclusive(record)),
        exit_code=_exit_code(record, lib.executr_job_exit_code),
        stdout=_output(record, lib.executr_job_stdout),
        stderr=_output(record, lib.executr_job_stderr),
        attempts=[_attempt(lib.executr_job_attempt_at(record, i))
                  for i in range(count)],
        **fields)


def take_jobs(jobs):
    """The records of a list, which is freed."""
    try:
        return [job_of(lib.executr_jobs_at(jobs, i))
                for i in range(lib.executr_jobs_count(jobs))]
    finally:
        lib.executr_jobs_free(jobs)
