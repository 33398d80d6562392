/* SPDX-License-Identifier: MIT */
/*
 * Gets the bytes of a binary from a URL. A connection that breaks is made
 * again and asked for the rest (Range), as the very version that the first
 * bytes are of (If-Range). What servers say of versions is believed only to
 * save time: the hash of the whole decides, and when pieces don't hash, the
 * whole is fetched once more from its first byte.
 */
#include "cache_fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/time.h"

/* Connections that broke after bytes had come, in one fetch. */
#define PIECES 8
#define PAUSE_MS 100
#define LONGEST_PAUSE_MS 2000

static executr_status status_of_answer(int32_t status)
{
    if (status == 404 || status == 410)
        return EXECUTR_E_NOT_FOUND;
    if (status == 401 || status == 403)
        return EXECUTR_E_AUTH;
    if (status == 408 || status == 425 || status == 429 || status >= 500)
        return EXECUTR_E_UNAVAILABLE;
    return EXECUTR_E_PROTOCOL;
}

static executr_status refuse_answer(
    const char *url, int32_t status, executr_error *err)
{
    ex_buf shown;

    ex_buf_init(&shown, EX_BUF_UNLIMITED);
    ex_http_show_url(&shown, url);
    executr_status st = ex_fail(
        err, status_of_answer(status), "%s answers HTTP %d",
        ex_buf_text(&shown), (int)status);
    if (err)
        err->native = status;
    ex_buf_clear(&shown);
    return st;
}

/* "bytes 100-199/200": does it begin where our bytes end? */
static int continues(const ex_download *d, const char *range)
{
    char *end;

    if (strncmp(range, "bytes ", 6) != 0 || range[6] < '0' || range[6] > '9')
        return 0;
    long long first = strtoll(range + 6, &end, 10);
    return *end == '-' && first == d->written;
}

/* 200 is the whole, 206 the rest we asked for; nothing else is our file. */
static executr_status begin(
    ex_download *d, const ex_http_head *head, executr_error *err)
{
    executr_status st = EXECUTR_OK;

    if (head->status == 206 && d->written > 0) {
        d->unfit = !continues(d, head->content_range);
        d->pieced = 1;
    } else if (head->status != 200) {
        return refuse_answer(d->origin->url, head->status, err);
    } else {
        if (d->written > 0)
            st = ex_part_reset(d, err);
        if (!st)
            ex_part_note(d, head);
    }
    if (st || d->unfit)
        return st;
    if (head->length > d->cache->max_binary_bytes - d->written)
        return ex_part_too_large(d, err);
    d->length = head->length < 0 ? -1 : d->written + head->length;
    return ex_room_check(d, err);
}

static int32_t on_begin(void *ctx, const ex_http_head *head)
{
    ex_download *d = ctx;

    d->failed = begin(d, head, &d->failure);
    return d->failed || d->unfit ? -1 : 0;
}

static int32_t on_stopped(void *ctx)
{
    const ex_download *d = ctx;

    return ex_cache_given_up(d->cache, d->entry);
}

static executr_status take_http(
    executr_cache *cache, ex_entry *entry, executr_error *err)
{
    ex_http *http = NULL;
    executr_status st = EXECUTR_OK;

    pthread_mutex_lock(&cache->mutex);
    if (cache->idle_count)
        http = cache->idle[--cache->idle_count];
    pthread_mutex_unlock(&cache->mutex);
    if (!http)
        st = ex_http_open(&http, err);
    /* From here on a cancel wakes it. */
    pthread_mutex_lock(&cache->mutex);
    entry->http = http;
    pthread_mutex_unlock(&cache->mutex);
    return st;
}

static void give_http(executr_cache *cache, ex_entry *entry)
{
    pthread_mutex_lock(&cache->mutex);
    ex_http *http = entry->http;
    entry->http = NULL;
    if (cache->idle_count < EX_CACHE_IDLE) {
        cache->idle[cache->idle_count++] = http;
        http = NULL;
    }
    pthread_mutex_unlock(&cache->mutex);
    ex_http_free(http);
}

/* The headers that ask for the rest; none for the whole. */
static void ask_for_rest(
    const ex_download *d, char range[64], char version[272],
    const char *headers[3])
{
    if (d->written == 0)
        return;
    (void)snprintf(range, 64, "Range: bytes=%lld-", (long long)d->written);
    headers[0] = range;
    if (!d->note.version[0])
        return;
    (void)snprintf(version, 272, "If-Range: %s", d->note.version);
    headers[1] = version;
}

/* One request. *status is that of the answer, 0 without one. */
static executr_status call(
    ex_download *d, ex_http *http, int32_t *status, executr_error *err)
{
    ex_http_response response;
    char range[64];
    char version[272];
    const char *headers[3] = {NULL, NULL, NULL};
    const ex_origin *origin = d->origin;
    /* Rounded up, so that it is over by our clock, too, when it is over. */
    int64_t left_ms = (d->deadline_us - ex_monotonic_us()) / 1000 + 2;
    ex_http_request request = {
        .method = "GET",
        .url = origin->url,
        .token = origin->token,
        .headers = headers,
        .write = ex_download_write,
        .write_ctx = d,
        .begin = on_begin,
        .stopped = on_stopped,
        .max_bytes = INT64_MAX, /* on_bytes counts */
        .stall_ms = d->cache->network_timeout_ms,
        .timeout_ms = left_ms > 0 ? left_ms : 1,
        .redirects = !origin->trusted,
        .refuse_local = !origin->trusted && !d->cache->allow_link_local,
        /* A connection to where strangers may not go is not for them. */
        .close = origin->trusted};

    ask_for_rest(d, range, version, headers);
    executr_status st = ex_http_call(http, &request, &response, err);
    *status = response.status;
    ex_http_response_clear(&response);
    return st;
}

/* There is no rest of a file that broke off at its very end. */
static int is_whole(const ex_download *d)
{
    char got[EX_SHA256_HEX];

    return !ex_sha256_fd(d->fd, got, NULL) &&
           strcmp(got, d->entry->sha256) == 0;
}

/* One connection: as many bytes as come. */
static executr_status get_piece(
    ex_download *d, ex_http *http, executr_error *err)
{
    int32_t status = 0;

    d->unfit = 0;
    executr_status st = call(d, http, &status, err);
    if (d->failed) {
        if (err)
            *err = d->failure; /* the cause; what came up follows from it */
        return d->failed;
    }
    if (!st && status == 416 && d->written > 0) {
        d->unfit = !is_whole(d);
        return EXECUTR_OK;
    }
    if (st || d->unfit || status == 200 || status == 206)
        return st;
    return refuse_answer(d->origin->url, status, err);
}

/* libcurl only knows that some time is over. */
static executr_status explain_timeout(
    const ex_download *d, executr_status st, executr_error *err)
{
    if (st != EXECUTR_E_TIMEOUT || ex_monotonic_us() < d->deadline_us)
        return st;
    return ex_download_too_late(d, err);
}

/* What the server has is not the rest of what we have. */
static executr_status begin_again(ex_download *d, executr_error *err)
{
    ex_log(
        &d->cache->log, EXECUTR_LOG_DEBUG,
        "the server does not continue a download: beginning it again",
        "binary_sha256", d->entry->sha256, NULL);
    return ex_part_reset(d, err);
}

/*
 * A connection that got us farther and broke is worth another one at once; one
 * that did not is for the caller to judge, who need not hold the
 * lock meanwhile.
 */
static executr_status get_pieces(
    ex_download *d, ex_http *http, executr_error *err)
{
    int64_t pause_ms = PAUSE_MS;
    int64_t farthest = d->written;

    for (int piece = 1;; piece++) {
        executr_status st = get_piece(d, http, err);
        if (d->unfit) {
            st = begin_again(d, err);
            if (st)
                return st;
            continue;
        }
        if (st != EXECUTR_E_UNAVAILABLE || d->written <= farthest ||
            piece >= PIECES)
            return explain_timeout(d, st, err);
        farthest = d->written;
        ex_cache_doze(d->cache, d->entry, pause_ms);
        if (pause_ms < LONGEST_PAUSE_MS)
            pause_ms *= 2;
    }
}

executr_status ex_download_url(ex_download *d, executr_error *err)
{
    executr_status st = take_http(d->cache, d->entry, err);

    if (st)
        return st;
    st = get_pieces(d, d->entry->http, err);
    give_http(d->cache, d->entry);
    return st;
}
