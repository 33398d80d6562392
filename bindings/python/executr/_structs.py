# SPDX-License-Identifier: MIT
"""The structs of libexecutr's ABI, field by field as its headers have them."""

import ctypes
from ctypes import (
    CFUNCTYPE, POINTER, c_char, c_char_p, c_double, c_int32, c_int64,
    c_size_t, c_uint32, c_void_p)

# Callbacks. Bytes come as c_void_p and a length: they may hold NUL.
LOG_WRITE = CFUNCTYPE(None, c_void_p, c_int32, c_char_p, POINTER(c_char_p))
NOTIFY = CFUNCTYPE(
    None, c_void_p, c_int32, c_char_p, c_int32, c_int64, c_int64, c_int64)
WRITE = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t)
READ = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, POINTER(c_size_t))
PROGRESS = CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64)
OUTPUT_WRITE = CFUNCTYPE(
    c_int32, c_void_p, c_int32, c_int32, c_int64, c_void_p, c_size_t)
IDLE = CFUNCTYPE(c_int32, c_void_p)


class Error(ctypes.Structure):
    _fields_ = [
        ("status", c_int32), ("native", c_int32),
        ("field", c_char * 32), ("message", c_char * 472)]


class Log(ctypes.Structure):
    _fields_ = [("write", LOG_WRITE), ("ctx", c_void_p)]


class Events(ctypes.Structure):
    _fields_ = [("notify", NOTIFY), ("ctx", c_void_p)]


class Sized(ctypes.Structure):
    """An option struct: its first field says how much of it we know."""

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


class JobSpec(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("priority", c_int32),
        ("type", c_char_p), ("binary_url", c_char_p),
        ("binary_sha256", c_char_p),
        ("arguments", POINTER(c_char_p)), ("argument_count", c_size_t),
        ("environment", POINTER(c_char_p)), ("environment_count", c_size_t),
        ("idempotency_key", c_char_p),
        ("max_retries", c_int32), ("exclusive", c_int32),
        ("timeout_ms", c_int64), ("kill_grace_ms", c_int64),
        ("memory_mb", c_int64), ("cpu_seconds", c_int64),
        ("max_processes", c_int64), ("max_file_mb", c_int64),
        ("isolation", c_int32), ("reserved", c_int32)]


class StoreOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32),
        ("query_timeout_ms", c_int64), ("log", Log)]


class QueueOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("max_lost_attempts", c_int32),
        ("heartbeat_timeout_ms", c_int64), ("job_retention_ms", c_int64),
        ("cleanup_interval_ms", c_int64), ("poll_interval_ms", c_int64),
        ("retry_base_ms", c_int64), ("retry_max_ms", c_int64),
        ("max_output_bytes", c_int64), ("max_parked", c_int64),
        ("log", Log), ("events", Events)]


class Claim(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("max_jobs", c_int32),
        ("executor_id", c_char_p), ("executor_ip", c_char_p),
        ("wait_ms", c_int64),
        ("types", POINTER(c_char_p)), ("type_count", c_size_t),
        ("priorities", c_uint32), ("offers", c_uint32)]


class Report(Sized):
    # The outputs are pointer and length in C; a c_char_p field points at the
    # bytes object it was given and stops at no NUL.
    _fields_ = [
        ("struct_size", c_uint32), ("attempt", c_int32),
        ("job_id", c_char_p), ("status", c_int32), ("outcome", c_int32),
        ("has_exit_code", c_int32), ("exit_code", c_int32),
        ("signal", c_int32), ("uncounted", c_int32),
        ("stdout_data", c_char_p), ("stdout_length", c_size_t),
        ("stderr_data", c_char_p), ("stderr_length", c_size_t),
        ("error_message", c_char_p),
        ("user_seconds", c_double), ("system_seconds", c_double),
        ("wall_seconds", c_double), ("max_rss_bytes", c_int64)]


class Lease(ctypes.Structure):
    _fields_ = [
        ("job_id", c_char * 40), ("attempt", c_int32), ("verdict", c_int32)]


class Heartbeat(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("max_jobs", c_int32),
        ("executor_id", c_char_p), ("executor_ip", c_char_p),
        ("version", c_char_p),
        ("leases", POINTER(Lease)), ("lease_count", c_size_t),
        ("cache_hits", c_int64), ("cache_misses", c_int64),
        ("cache_bytes", c_int64), ("cache_max_bytes", c_int64),
        ("lease_ms", c_int64)]


class Output(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("attempt", c_int32),
        ("job_id", c_char_p),
        ("stream", c_int32), ("reserved", c_int32),
        ("offset", c_int64), ("data", c_void_p), ("length", c_size_t)]


class Follow(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("attempt", c_int32),
        ("job_id", c_char_p),
        ("streams", c_int32), ("reserved", c_int32),
        ("stdout_offset", c_int64), ("stderr_offset", c_int64),
        ("write", OUTPUT_WRITE), ("idle", IDLE), ("ctx", c_void_p)]


class Filter(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("status", c_int32),
        ("priority", c_int32), ("limit", c_int32),
        ("type", c_char_p), ("executor_id", c_char_p),
        ("before_id", c_char_p), ("offset", c_int64)]


FETCH = CFUNCTYPE(
    c_int32, c_void_p, c_char_p, WRITE, c_void_p, POINTER(Error))


class CacheOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("allow_link_local", c_uint32),
        ("directory", c_char_p), ("max_bytes", c_int64),
        ("max_binary_bytes", c_int64), ("network_timeout_ms", c_int64),
        ("log", Log), ("max_download_ms", c_int64)]


class CacheRequest(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("trusted", c_int32),
        ("sha256", c_char_p), ("url", c_char_p), ("token", c_char_p),
        ("fetch", FETCH), ("fetch_ctx", c_void_p), ("cancel", c_void_p)]


class ClientOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_uint32),
        ("server_url", c_char_p), ("token", c_char_p),
        ("network_timeout_ms", c_int64), ("log", Log)]


class RunnerOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("max_running", c_int32),
        ("work_directory", c_char_p), ("max_output_bytes", c_int64),
        ("kill_grace_ms", c_int64), ("drain_ms", c_int64), ("log", Log),
        ("subreaper", c_int32), ("isolation", c_int32),
        ("run_as", c_char_p), ("cgroups", c_int32), ("reserved", c_int32),
        ("hidden", c_void_p), ("hidden_count", c_size_t)]


class Program(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("isolation", c_int32),
        ("path", c_char_p), ("name", c_char_p),
        ("arguments", POINTER(c_char_p)), ("argument_count", c_size_t),
        ("environment", POINTER(c_char_p)), ("environment_count", c_size_t),
        ("timeout_ms", c_int64), ("kill_grace_ms", c_int64),
        ("memory_mb", c_int64), ("cpu_seconds", c_int64),
        ("max_processes", c_int64), ("max_file_mb", c_int64)]


class WorkerOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("max_jobs", c_int32),
        ("server_url", c_char_p), ("token", c_char_p), ("queue", c_void_p),
        ("name", c_char_p), ("cache_directory", c_char_p),
        ("work_directory", c_char_p), ("max_cache_bytes", c_int64),
        ("max_output_bytes", c_int64), ("poll_interval_ms", c_int64),
        ("heartbeat_interval_ms", c_int64), ("network_timeout_ms", c_int64),
        ("kill_grace_ms", c_int64),
        ("types", POINTER(c_char_p)), ("type_count", c_size_t),
        ("priorities", c_uint32), ("subreaper", c_int32), ("log", Log),
        ("spool_directory", c_char_p), ("run_as", c_char_p),
        ("isolation", c_int32), ("allow_link_local", c_int32),
        ("fence_margin_ms", c_int64), ("timeout_ms", c_int64),
        ("memory_mb", c_int64), ("cpu_seconds", c_int64),
        ("max_processes", c_int64), ("max_file_mb", c_int64),
        ("max_download_ms", c_int64)]


# Callbacks over the structs above.
ENDED = CFUNCTYPE(None, c_void_p, ctypes.c_uint64, c_void_p)
