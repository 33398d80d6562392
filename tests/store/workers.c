/* SPDX-License-Identifier: MIT */
/* Starts workers as processes or threads and reads their pipe. */
#include "store/workers.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_WORKERS 16

int tell(int out, const fact *one)
{
    return write(out, one, sizeof *one) == (ssize_t)sizeof *one ? 0 : -1;
}

int hear(int in, int timeout_ms, fact *one)
{
    struct pollfd fd = {in, POLLIN, 0};

    if (poll(&fd, 1, timeout_ms) != 1)
        return 0;
    return read(in, one, sizeof *one) == (ssize_t)sizeof *one;
}

static size_t hear_all(int in, fact *facts, size_t limit)
{
    size_t count = 0;

    while (count < limit && hear(in, -1, &facts[count]))
        count++;
    close(in);
    return count;
}

/* ---- Processes. The parent has no store open while it forks. */

static void be_child(work run, int worker, int out)
{
    executr_store *own = NULL;
    executr_error failure;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (executr_store_open(backend_url(), NULL, &own, &failure))
        _exit(2);
    int code = run(own, worker, out);
    executr_store_free(own);
    _exit(code ? 1 : 0);
}

static size_t run_processes(work run, int count, fact *facts, size_t limit)
{
    pid_t pids[MAX_WORKERS];
    int ends[2];

    executr_store_free(store);
    store = NULL;
    cr_assert_eq(pipe(ends), 0);
    for (int i = 0; i < count; i++) {
        pids[i] = fork();
        cr_assert(pids[i] >= 0);
        if (pids[i] == 0) {
            close(ends[0]);
            be_child(run, i, ends[1]);
        }
    }
    close(ends[1]);
    size_t heard = hear_all(ends[0], facts, limit);
    for (int i = 0; i < count; i++) {
        int status = 0;
        cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
        cr_expect_eq(status, 0, "worker %d ended with %d", i, status);
    }
    must(executr_store_open(backend_url(), NULL, &store, &err));
    return heard;
}

/* ---- Threads. */

typedef struct thread_work {
    work run;
    int worker;
    int out;
    int failed;
    atomic_int *left;
} thread_work;

static void *be_thread(void *arg)
{
    thread_work *own = arg;

    own->failed = own->run(store, own->worker, own->out);
    if (atomic_fetch_sub(own->left, 1) == 1)
        close(own->out);
    return NULL;
}

static size_t run_threads(work run, int count, fact *facts, size_t limit)
{
    pthread_t threads[MAX_WORKERS];
    thread_work works[MAX_WORKERS];
    atomic_int left = count;
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    for (int i = 0; i < count; i++) {
        works[i] = (thread_work){run, i, ends[1], 0, &left};
        cr_assert_eq(
            pthread_create(&threads[i], NULL, be_thread, &works[i]), 0);
    }
    size_t heard = hear_all(ends[0], facts, limit);
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(works[i].failed, 0, "worker %d failed", i);
    }
    return heard;
}

size_t run_workers(work run, int count, fact *facts, size_t limit)
{
    cr_assert(count <= MAX_WORKERS);
    return backend_is_shared() ? run_processes(run, count, facts, limit)
                               : run_threads(run, count, facts, limit);
}
