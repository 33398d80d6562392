/* SPDX-License-Identifier: MIT */
/* Fetches binaries on threads of their own; hides them from the worker's loop. */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fail.h"

executr_status ex_fetcher_open(
    ex_fetcher *fetcher, executr_cache *cache, ex_source *source,
    size_t max_threads, executr_error *err)
{
    void *threads = NULL;

    fetcher->cache = cache;
    fetcher->source = source;
    fetcher->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fetcher->done_fd < 0)
        return ex_fail_errno(err, errno, "cannot make an eventfd");
    executr_status st =
        ex_alloc_array(&threads, max_threads, sizeof(pthread_t), err);
    if (st)
        return st;
    fetcher->threads = threads;
    fetcher->max_threads = max_threads;
    return EXECUTR_OK;
}

void ex_fetch_free(ex_fetch *fetch)
{
    if (!fetch)
        return;
    executr_pin_free(fetch->pin);
    executr_cancel_free(fetch->cancel);
    ex_free(fetch->url);
    ex_free(fetch);
}

static void fetch_one(ex_fetcher *fetcher, ex_fetch *fetch)
{
    executr_cache_request request = EXECUTR_CACHE_REQUEST_INIT;
    const ex_source *source = fetcher->source;
    ex_buf stored;

    ex_buf_init(&stored, EX_BUF_UNLIMITED);
    request.sha256 = fetch->sha256;
    request.url = fetch->url;
    request.cancel = fetch->cancel;
    if (!fetch->url && source->binaries_url) {
        ex_buf_printf(&stored, "%s%s", source->binaries_url, fetch->sha256);
        request.url = ex_buf_text(&stored);
        request.token = source->token;
        request.trusted = 1;
    } else if (!fetch->url) {
        request.fetch = source->ops->fetch;
        request.fetch_ctx = fetcher->source;
    }
    fetch->status = ex_buf_status(&stored, "a URL", &fetch->err);
    if (!fetch->status)
        fetch->status = executr_cache_obtain(
            fetcher->cache, &request, &fetch->pin, &fetch->err);
    ex_buf_clear(&stored);
}

static void tell_done(const ex_fetcher *fetcher)
{
    const uint64_t one = 1;

    /* EAGAIN: the counter is at its end, so the loop is told already. */
    if (write(fetcher->done_fd, &one, sizeof one) < 0)
        errno = 0;
}

/* The link to the fetch with that token, or to NULL. */
static ex_fetch **find(ex_fetch **list, uint64_t token)
{
    while (*list && (*list)->token != token)
        list = &(*list)->next;
    return list;
}

static void *run_fetches(void *arg)
{
    ex_fetcher *fetcher = arg;

    pthread_mutex_lock(&fetcher->lock);
    while (!fetcher->ending) {
        ex_fetch *fetch = fetcher->queue;
        if (!fetch) {
            fetcher->idle++;
            pthread_cond_wait(&fetcher->wake, &fetcher->lock);
            fetcher->idle--;
            continue;
        }
        fetcher->queue = fetch->next;
        fetch->next = fetcher->running;
        fetcher->running = fetch;
        pthread_mutex_unlock(&fetcher->lock);
        fetch_one(fetcher, fetch);
        pthread_mutex_lock(&fetcher->lock);
        *find(&fetcher->running, fetch->token) = fetch->next;
        fetch->next = fetcher->done;
        fetcher->done = fetch;
        tell_done(fetcher);
    }
    pthread_mutex_unlock(&fetcher->lock);
    return NULL;
}

/* One more thread; 0, or an errno that matters only if there is none. */
static int add_thread(ex_fetcher *fetcher)
{
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(
        &fetcher->threads[fetcher->thread_count], NULL, run_fetches, fetcher);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number == 0)
        fetcher->thread_count++;
    return number;
}

static executr_status want_thread(ex_fetcher *fetcher, executr_error *err)
{
    pthread_mutex_lock(&fetcher->lock);
    int wanted = fetcher->idle == 0 || fetcher->queue;
    pthread_mutex_unlock(&fetcher->lock);
    if (!wanted || fetcher->thread_count == fetcher->max_threads)
        return EXECUTR_OK;
    int number = add_thread(fetcher);
    if (number && fetcher->thread_count == 0)
        return ex_fail_errno(err, number, "cannot start a thread");
    return EXECUTR_OK;
}

executr_status ex_fetcher_start(
    ex_fetcher *fetcher, uint64_t token, const char *sha256, const char *url,
    executr_error *err)
{
    void *memory = NULL;
    ex_fetch *fetch = NULL;

    executr_status st = want_thread(fetcher, err);
    if (!st)
        st = ex_alloc(&memory, sizeof *fetch, err);
    if (st)
        return st;
    fetch = memory;
    fetch->token = token;
    memcpy(fetch->sha256, sha256, strlen(sha256) + 1);
    st = executr_cancel_open(&fetch->cancel, err);
    if (!st && url[0])
        st = ex_strdup(&fetch->url, url, err);
    if (st) {
        ex_fetch_free(fetch);
        return st;
    }
    pthread_mutex_lock(&fetcher->lock);
    ex_fetch **end = &fetcher->queue;
    while (*end)
        end = &(*end)->next;
    *end = fetch;
    pthread_cond_signal(&fetcher->wake);
    pthread_mutex_unlock(&fetcher->lock);
    return EXECUTR_OK;
}

void ex_fetcher_cancel(ex_fetcher *fetcher, uint64_t token)
{
    pthread_mutex_lock(&fetcher->lock);
    ex_fetch **link = find(&fetcher->queue, token);
    ex_fetch *waiting = *link;
    if (waiting)
        *link = waiting->next;
    /* A thread needs the lock to be done with it, so it is still there. */
    ex_fetch *running = *find(&fetcher->running, token);
    if (running)
        executr_cancel_call(running->cancel);
    pthread_mutex_unlock(&fetcher->lock);
    ex_fetch_free(waiting);
}

ex_fetch *ex_fetcher_take(ex_fetcher *fetcher)
{
    pthread_mutex_lock(&fetcher->lock);
    ex_fetch *fetch = fetcher->done;
    if (fetch)
        fetcher->done = fetch->next;
    pthread_mutex_unlock(&fetcher->lock);
    return fetch;
}

static void free_list(ex_fetch **list)
{
    while (*list) {
        ex_fetch *fetch = *list;
        *list = fetch->next;
        ex_fetch_free(fetch);
    }
}

void ex_fetcher_stop(ex_fetcher *fetcher)
{
    pthread_mutex_lock(&fetcher->lock);
    fetcher->ending = 1;
    for (ex_fetch *fetch = fetcher->running; fetch; fetch = fetch->next)
        executr_cancel_call(fetch->cancel);
    pthread_cond_broadcast(&fetcher->wake);
    pthread_mutex_unlock(&fetcher->lock);
    for (size_t i = 0; i < fetcher->thread_count; i++)
        pthread_join(fetcher->threads[i], NULL);
    free_list(&fetcher->queue);
    free_list(&fetcher->done);
}

void ex_fetcher_close(ex_fetcher *fetcher)
{
    ex_free(fetcher->threads);
    if (fetcher->done_fd >= 0)
        close(fetcher->done_fd);
    pthread_cond_destroy(&fetcher->wake);
    pthread_mutex_destroy(&fetcher->lock);
}
