/* SPDX-License-Identifier: MIT */
#ifndef EXECUTR_STORE_H
#define EXECUTR_STORE_H

#include <executr/base.h>

EXECUTR_BEGIN_DECLS

/*
 * Where jobs live: PostgreSQL (postgres://…) or SQLite (sqlite:///abs/path,
 * sqlite:rel/path). A store is used through a queue (queue.h). Any thread.
 */
typedef struct executr_store executr_store;

typedef struct executr_store_options {
    uint32_t struct_size;
    uint32_t reserved;        /* 0 */
    int64_t query_timeout_ms; /* longest wait for one statement; 10 s */
    executr_log log;
} executr_store_options;

/* clang-format off */
#define EXECUTR_STORE_OPTIONS_INIT \
    {sizeof(executr_store_options), 0, 0, {NULL, NULL}}
/* clang-format on */

/*
 * Open a store by URL and bring its tables up to date (under a lock, so that
 * any number of programs may start at once). Pool parameters in the URL
 * (pool_max_conns, pool_min_conns, pool_max_conn_lifetime,
 * pool_max_conn_idle_time) are ours, all others are libpq's. An SQLite file
 * and its directory are made if missing, and one server at a time may have it.
 * E_ARGUMENT: bad URL. E_UNAVAILABLE: not reachable now. E_CONFLICT: the
 * SQLite file is in use. E_UNSUPPORTED: its tables are of a newer release.
 */
EXECUTR_API executr_status executr_store_open(
    const char *url, const executr_store_options *options, executr_store **out,
    executr_error *err) EXECUTR_CHECKED;

/*
 * Whether the URL can be a store's, without touching a disk or a database: OK
 * or E_ARGUMENT. For programs that want to say so before they begin.
 */
EXECUTR_API executr_status
executr_store_check(const char *url, executr_error *err) EXECUTR_CHECKED;

/* Close it; every queue on it must be gone. NULL is fine. */
EXECUTR_API void executr_store_free(executr_store *store);

/* "postgres" or "sqlite". */
EXECUTR_API const char *executr_store_kind(const executr_store *store);

/* One round trip to the database: OK or E_UNAVAILABLE. */
EXECUTR_API executr_status
executr_store_ping(executr_store *store, executr_error *err) EXECUTR_CHECKED;

/* Connections that carry a statement right now. */
EXECUTR_API int32_t executr_store_connections_active(executr_store *store);

EXECUTR_END_DECLS

#endif
