# SPDX-License-Identifier: MIT
"""What every function of libexecutr takes and gives, and nothing else."""

from ctypes import (
    POINTER, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32,
    c_uint64, c_void_p)

from . import _structs as s

HANDLE, OUT_HANDLE = c_void_p, POINTER(c_void_p)
TEXT, TEXTS = c_char_p, POINTER(c_char_p)
BYTES = c_void_p  # a pointer that goes with an OUT_SIZE; may hold NUL
I32, OUT_I32 = c_int32, POINTER(c_int32)
I64, OUT_I64 = c_int64, POINTER(c_int64)
SIZE, OUT_SIZE = c_size_t, POINTER(c_size_t)
U32, U64, DOUBLE = c_uint32, c_uint64, c_double
ERR = POINTER(s.Error)

# name: (result, [parameters])
FUNCTIONS = {
    # base.h
    "executr_status_word": (TEXT, [I32]),
    "executr_status_http": (I32, [I32]),
    "executr_status_retriable": (I32, [I32]),
    "executr_version": (TEXT, []),
    "executr_abi": (U32, []),
    # job.h
    "executr_priority_word": (TEXT, [I32]),
    "executr_job_status_word": (TEXT, [I32]),
    "executr_attempt_status_word": (TEXT, [I32]),
    "executr_outcome_word": (TEXT, [I32]),
    "executr_isolation_word": (TEXT, [I32]),
    "executr_priority_parse": (I32, [TEXT]),
    "executr_job_status_parse": (I32, [TEXT]),
    "executr_outcome_parse": (I32, [TEXT]),
    "executr_isolation_parse": (I32, [TEXT]),
    "executr_job_spec_check": (I32, [POINTER(s.JobSpec), ERR]),
    "executr_jobs_count": (SIZE, [HANDLE]),
    "executr_jobs_at": (HANDLE, [HANDLE, SIZE]),
    "executr_jobs_free": (None, [HANDLE]),
    "executr_job_id": (TEXT, [HANDLE]),
    "executr_job_type": (TEXT, [HANDLE]),
    "executr_job_binary_url": (TEXT, [HANDLE]),
    "executr_job_binary_sha256": (TEXT, [HANDLE]),
    "executr_job_argument_count": (SIZE, [HANDLE]),
    "executr_job_argument": (TEXT, [HANDLE, SIZE]),
    "executr_job_environment_count": (SIZE, [HANDLE]),
    "executr_job_environment": (TEXT, [HANDLE, SIZE]),
    "executr_job_priority": (I32, [HANDLE]),
    "executr_job_exclusive": (I32, [HANDLE]),
    "executr_job_status": (I32, [HANDLE]),
    "executr_job_max_retries": (I32, [HANDLE]),
    "executr_job_retry_count": (I32, [HANDLE]),
    "executr_job_attempt": (I32, [HANDLE]),
    "executr_job_executor_id": (TEXT, [HANDLE]),
    "executr_job_error_message": (TEXT, [HANDLE]),
    "executr_job_exit_code": (I32, [HANDLE, OUT_I32]),
    "executr_job_outcome": (I32, [HANDLE]),
    "executr_job_signal": (I32, [HANDLE]),
    "executr_job_stdout": (BYTES, [HANDLE, OUT_SIZE]),
    "executr_job_stderr": (BYTES, [HANDLE, OUT_SIZE]),
    "executr_job_created_at_us": (I64, [HANDLE]),
    "executr_job_started_at_us": (I64, [HANDLE]),
    "executr_job_completed_at_us": (I64, [HANDLE]),
    "executr_job_last_heartbeat_us": (I64, [HANDLE]),
    "executr_job_retry_after_us": (I64, [HANDLE]),
    "executr_job_timeout_ms": (I64, [HANDLE]),
    "executr_job_kill_grace_ms": (I64, [HANDLE]),
    "executr_job_memory_mb": (I64, [HANDLE]),
    "executr_job_cpu_seconds": (I64, [HANDLE]),
    "executr_job_max_processes": (I64, [HANDLE]),
    "executr_job_max_file_mb": (I64, [HANDLE]),
    "executr_job_isolation": (I32, [HANDLE]),
    "executr_job_attempt_count": (SIZE, [HANDLE]),
    "executr_job_attempt_at": (HANDLE, [HANDLE, SIZE]),
    "executr_attempt_number": (I32, [HANDLE]),
    "executr_attempt_status": (I32, [HANDLE]),
    "executr_attempt_executor_id": (TEXT, [HANDLE]),
    "executr_attempt_executor_ip": (TEXT, [HANDLE]),
    "executr_attempt_error_message": (TEXT, [HANDLE]),
    "executr_attempt_started_at_us": (I64, [HANDLE]),
    "executr_attempt_ended_at_us": (I64, [HANDLE]),
    "executr_attempt_outcome": (I32, [HANDLE]),
    "executr_attempt_exit_code": (I32, [HANDLE, OUT_I32]),
    "executr_attempt_signal": (I32, [HANDLE]),
    "executr_attempt_user_seconds": (DOUBLE, [HANDLE]),
    "executr_attempt_system_seconds": (DOUBLE, [HANDLE]),
    "executr_attempt_wall_seconds": (DOUBLE, [HANDLE]),
    "executr_attempt_max_rss_bytes": (I64, [HANDLE]),
    "executr_job_json": (I32, [HANDLE, I32, s.WRITE, HANDLE, ERR]),
    # store.h
    "executr_store_open": (
        I32, [TEXT, POINTER(s.StoreOptions), OUT_HANDLE, ERR]),
    "executr_store_check": (I32, [TEXT, ERR]),
    "executr_store_free": (None, [HANDLE]),
    "executr_store_kind": (TEXT, [HANDLE]),
    "executr_store_ping": (I32, [HANDLE, ERR]),
    "executr_store_connections_active": (I32, [HANDLE]),
    # queue.h
    "executr_queue_open": (
        I32, [HANDLE, POINTER(s.QueueOptions), OUT_HANDLE, ERR]),
    "executr_queue_drain": (None, [HANDLE]),
    "executr_queue_free": (None, [HANDLE]),
    "executr_queue_submit": (
        I32, [HANDLE, POINTER(POINTER(s.JobSpec)), SIZE, OUT_I32, OUT_HANDLE,
            ERR]),
    "executr_queue_claim": (I32, [HANDLE, POINTER(s.Claim), OUT_HANDLE, ERR]),
    "executr_queue_report": (
        I32, [HANDLE, TEXT, POINTER(POINTER(s.Report)), SIZE, OUT_I32, ERR]),
    "executr_queue_heartbeat": (I32, [HANDLE, POINTER(s.Heartbeat), ERR]),
    "executr_queue_heartbeat_job": (
        I32, [HANDLE, TEXT, POINTER(s.Lease), ERR]),
    "executr_queue_goodbye": (I32, [HANDLE, TEXT, ERR]),
    "executr_queue_cancel": (I32, [HANDLE, TEXTS, SIZE, OUT_I32, ERR]),
    "executr_queue_cancel_matching": (
        I32, [HANDLE, POINTER(s.Filter), OUT_I64, ERR]),
    "executr_queue_put_output": (
        I32, [HANDLE, TEXT, POINTER(s.Output), OUT_I32, ERR]),
    "executr_queue_follow": (I32, [HANDLE, POINTER(s.Follow), ERR]),
    "executr_queue_retry": (I32, [HANDLE, TEXT, OUT_HANDLE, ERR]),
    "executr_queue_get": (I32, [HANDLE, TEXT, I32, OUT_HANDLE, ERR]),
    "executr_queue_list": (
        I32, [HANDLE, POINTER(s.Filter), OUT_HANDLE, OUT_I32, ERR]),
    "executr_queue_stats": (I32, [HANDLE, OUT_HANDLE, ERR]),
    "executr_stats_jobs": (I64, [HANDLE, I32]),
    "executr_stats_pending": (I64, [HANDLE, I32]),
    "executr_stats_active_executors": (I64, [HANDLE]),
    "executr_stats_timestamp_us": (I64, [HANDLE]),
    "executr_stats_slots": (I64, [HANDLE]),
    "executr_stats_cache_hits": (I64, [HANDLE]),
    "executr_stats_cache_misses": (I64, [HANDLE]),
    "executr_stats_json": (I32, [HANDLE, s.WRITE, HANDLE, ERR]),
    "executr_stats_free": (None, [HANDLE]),
    "executr_queue_executors": (I32, [HANDLE, OUT_HANDLE, ERR]),
    "executr_executors_count": (SIZE, [HANDLE]),
    "executr_executors_id": (TEXT, [HANDLE, SIZE]),
    "executr_executors_ip": (TEXT, [HANDLE, SIZE]),
    "executr_executors_current_job_id": (TEXT, [HANDLE, SIZE]),
    "executr_executors_last_heartbeat_us": (I64, [HANDLE, SIZE]),
    "executr_executors_max_jobs": (I32, [HANDLE, SIZE]),
    "executr_executors_running_jobs": (I32, [HANDLE, SIZE]),
    "executr_executors_jobs_completed": (I64, [HANDLE, SIZE]),
    "executr_executors_json": (I32, [HANDLE, s.WRITE, HANDLE, ERR]),
    "executr_executors_free": (None, [HANDLE]),
    "executr_queue_put_binary": (
        I32, [HANDLE, TEXT, s.READ, HANDLE, I64, OUT_I32, ERR]),
    "executr_queue_binary_size": (I32, [HANDLE, TEXT, OUT_I64, ERR]),
    "executr_queue_get_binary": (
        I32, [HANDLE, TEXT, I64, s.WRITE, HANDLE, ERR]),
    "executr_queue_healthy": (I32, [HANDLE]),
    # request.h
    "executr_request_parse": (I32, [I32, TEXT, TEXT, SIZE, OUT_HANDLE, ERR]),
    "executr_request_free": (None, [HANDLE]),
    "executr_request_count": (SIZE, [HANDLE]),
    "executr_request_spec": (POINTER(s.JobSpec), [HANDLE, SIZE, ERR]),
    "executr_request_set_idempotency_key": (None, [HANDLE, TEXT]),
    "executr_request_wants_array": (I32, [HANDLE]),
    "executr_request_claim": (POINTER(s.Claim), [HANDLE]),
    "executr_request_executor_id": (TEXT, [HANDLE]),
    "executr_request_report": (POINTER(s.Report), [HANDLE, SIZE]),
    "executr_request_heartbeat": (POINTER(s.Heartbeat), [HANDLE]),
    "executr_request_lease": (POINTER(s.Lease), [HANDLE]),
    "executr_request_job_ids": (TEXTS, [HANDLE]),
    "executr_request_filter": (POINTER(s.Filter), [HANDLE]),
    "executr_heartbeat_json": (
        I32, [POINTER(s.Heartbeat), s.WRITE, HANDLE, ERR]),
    "executr_report_results_json": (
        I32, [HANDLE, OUT_I32, s.WRITE, HANDLE, ERR]),
    # cache.h
    "executr_cache_open": (I32, [POINTER(s.CacheOptions), OUT_HANDLE, ERR]),
    "executr_cache_free": (None, [HANDLE]),
    "executr_cache_peek": (I32, [HANDLE, TEXT, OUT_HANDLE, ERR]),
    "executr_cache_get": (
        I32, [HANDLE, TEXT, TEXT, s.FETCH, HANDLE, OUT_HANDLE, ERR]),
    "executr_cancel_open": (I32, [OUT_HANDLE, ERR]),
    "executr_cancel_call": (None, [HANDLE]),
    "executr_cancel_free": (None, [HANDLE]),
    "executr_cache_obtain": (
        I32, [HANDLE, POINTER(s.CacheRequest), OUT_HANDLE, ERR]),
    "executr_cached_state_word": (TEXT, [I32]),
    "executr_cache_list": (I32, [HANDLE, OUT_HANDLE, ERR]),
    "executr_cache_verify": (I32, [HANDLE, OUT_HANDLE, ERR]),
    "executr_cache_prune": (I32, [HANDLE, I64, OUT_HANDLE, ERR]),
    "executr_cached_count": (SIZE, [HANDLE]),
    "executr_cached_sha256": (TEXT, [HANDLE, SIZE]),
    "executr_cached_bytes": (I64, [HANDLE, SIZE]),
    "executr_cached_used_at_us": (I64, [HANDLE, SIZE]),
    "executr_cached_pinned": (I32, [HANDLE, SIZE]),
    "executr_cached_state": (I32, [HANDLE, SIZE]),
    "executr_cached_json": (I32, [HANDLE, s.WRITE, HANDLE, ERR]),
    "executr_cached_free": (None, [HANDLE]),
    "executr_pin_path": (TEXT, [HANDLE]),
    "executr_pin_free": (None, [HANDLE]),
    "executr_cache_figure": (I64, [HANDLE, I32]),
    # runner.h
    "executr_runner_open": (I32, [POINTER(s.RunnerOptions), OUT_HANDLE, ERR]),
    "executr_runner_offers": (U32, [HANDLE]),
    "executr_runner_abilities": (TEXT, [HANDLE]),
    "executr_runner_free": (None, [HANDLE]),
    "executr_result_outcome": (I32, [HANDLE]),
    "executr_result_exit_code": (I32, [HANDLE, OUT_I32]),
    "executr_result_signal": (I32, [HANDLE]),
    "executr_result_message": (TEXT, [HANDLE]),
    "executr_result_stdout": (BYTES, [HANDLE, OUT_SIZE]),
    "executr_result_stderr": (BYTES, [HANDLE, OUT_SIZE]),
    "executr_result_user_seconds": (DOUBLE, [HANDLE]),
    "executr_result_system_seconds": (DOUBLE, [HANDLE]),
    "executr_result_wall_seconds": (DOUBLE, [HANDLE]),
    "executr_result_max_rss_bytes": (I64, [HANDLE]),
    "executr_runner_start": (I32, [HANDLE, POINTER(s.Program), U64, ERR]),
    "executr_runner_stop": (None, [HANDLE, U64, I32, I64]),
    "executr_runner_output": (
        SIZE, [HANDLE, U64, I32, I64, HANDLE, SIZE, OUT_I64]),
    "executr_runner_unkillable": (SIZE, [HANDLE]),
    "executr_runner_running": (SIZE, [HANDLE]),
    "executr_runner_fd": (I32, [HANDLE]),
    "executr_runner_step": (I32, [HANDLE, I64, s.ENDED, HANDLE, ERR]),
    # client.h
    "executr_client_open": (I32, [POINTER(s.ClientOptions), OUT_HANDLE, ERR]),
    "executr_client_free": (None, [HANDLE]),
    "executr_client_url": (TEXT, [HANDLE]),
    "executr_client_health": (I32, [HANDLE, ERR]),
    "executr_client_submit": (
        I32, [HANDLE, POINTER(POINTER(s.JobSpec)), SIZE, OUT_I32, OUT_HANDLE,
            ERR]),
    "executr_client_get": (I32, [HANDLE, TEXT, OUT_HANDLE, ERR]),
    "executr_client_list": (
        I32, [HANDLE, POINTER(s.Filter), OUT_HANDLE, OUT_I32, ERR]),
    "executr_client_cancel": (I32, [HANDLE, TEXT, OUT_I32, ERR]),
    "executr_client_cancel_matching": (
        I32, [HANDLE, POINTER(s.Filter), OUT_I64, ERR]),
    "executr_client_retry": (I32, [HANDLE, TEXT, OUT_HANDLE, ERR]),
    "executr_client_stats": (I32, [HANDLE, OUT_HANDLE, ERR]),
    "executr_client_executors": (I32, [HANDLE, OUT_HANDLE, ERR]),
    "executr_client_output": (
        I32, [HANDLE, TEXT, I32, I64, I32, s.WRITE, HANDLE, ERR]),
    "executr_client_claim": (I32, [HANDLE, POINTER(s.Claim), OUT_HANDLE, ERR]),
    "executr_client_report": (
        I32, [HANDLE, TEXT, POINTER(POINTER(s.Report)), SIZE, OUT_I32, ERR]),
    "executr_client_heartbeat": (I32, [HANDLE, POINTER(s.Heartbeat), ERR]),
    "executr_client_follow": (I32, [HANDLE, POINTER(s.Follow), ERR]),
    "executr_client_put_output": (
        I32, [HANDLE, TEXT, POINTER(s.Output), OUT_I32, ERR]),
    "executr_client_goodbye": (I32, [HANDLE, TEXT, ERR]),
    "executr_client_has_binary": (I32, [HANDLE, TEXT, OUT_I64, ERR]),
    "executr_client_put_binary": (
        I32, [HANDLE, TEXT, TEXT, s.PROGRESS, HANDLE, ERR]),
    "executr_client_get_binary": (I32, [HANDLE, TEXT, s.WRITE, HANDLE, ERR]),
    "executr_hash_url": (I32, [TEXT, I64, s.PROGRESS, HANDLE, TEXT, ERR]),
    "executr_hash_file": (I32, [TEXT, TEXT, ERR]),
    # worker.h
    "executr_worker_open": (I32, [POINTER(s.WorkerOptions), OUT_HANDLE, ERR]),
    "executr_worker_id": (TEXT, [HANDLE]),
    "executr_worker_run": (I32, [HANDLE, ERR]),
    "executr_worker_stop": (None, [HANDLE]),
    "executr_worker_free": (None, [HANDLE]),
}
