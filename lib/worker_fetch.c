/* SPDX-License-Identifier: MIT */
/* Fetches binaries on a few threads; hides them from the worker's loop. */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fail.h"

executr_status ex_fetcher_open(
    ex_fetcher *fetcher, executr_cache *cache, ex_source *source,
    executr_error *err)
{
    fetcher->cache = cache;
    fetcher->source = source;
    fetcher->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fetcher->done_fd < 0)
        return ex_fail_errno(err, errno, "cannot make an eventfd");
    return EXECUTR_OK;
}

void ex_fetch_free(ex_fetch *fetch)
{
    if (!fetch)
        return;
    executr_pin_free(fetch->pin);
    ex_free(fetch->url);
    ex_free(fetch);
}

static void fetch_one(ex_fetcher *fetcher, ex_fetch *fetch)
{
    fetch->status = executr_cache_get(
        fetcher->cache, fetch->sha256, fetch->url,
        fetch->url ? NULL : fetcher->source->ops->fetch, fetcher->source,
        &fetch->pin, &fetch->err);
}

static void tell_done(const ex_fetcher *fetcher)
{
    const uint64_t one = 1;

    /* EAGAIN: the counter is at its end, so the loop is told already. */
    if (write(fetcher->done_fd, &one, sizeof one) < 0)
        errno = 0;
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
        pthread_mutex_unlock(&fetcher->lock);
        fetch_one(fetcher, fetch);
        pthread_mutex_lock(&fetcher->lock);
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
    if (!wanted || fetcher->thread_count == EX_FETCH_THREADS)
        return EXECUTR_OK;
    int number = add_thread(fetcher);
    if (number && fetcher->thread_count == 0)
        return ex_fail(
            err, EXECUTR_E_UNAVAILABLE, "cannot start a thread: %s",
            strerrordesc_np(number));
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
    if (url[0])
        st = ex_strdup(&fetch->url, url, err);
    if (st) {
        ex_fetch_free(fetch);
        return st;
    }
    pthread_mutex_lock(&fetcher->lock);
    if (fetcher->queue)
        fetcher->last->next = fetch;
    else
        fetcher->queue = fetch;
    fetcher->last = fetch;
    pthread_cond_signal(&fetcher->wake);
    pthread_mutex_unlock(&fetcher->lock);
    return EXECUTR_OK;
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

static void free_list(ex_fetch *fetch)
{
    while (fetch) {
        ex_fetch *next = fetch->next;
        ex_fetch_free(fetch);
        fetch = next;
    }
}

void ex_fetcher_close(ex_fetcher *fetcher)
{
    pthread_mutex_lock(&fetcher->lock);
    fetcher->ending = 1;
    pthread_cond_broadcast(&fetcher->wake);
    pthread_mutex_unlock(&fetcher->lock);
    for (size_t i = 0; i < fetcher->thread_count; i++)
        pthread_join(fetcher->threads[i], NULL);
    free_list(fetcher->queue);
    free_list(fetcher->done);
    if (fetcher->done_fd >= 0)
        close(fetcher->done_fd);
    pthread_cond_destroy(&fetcher->wake);
    pthread_mutex_destroy(&fetcher->lock);
}
