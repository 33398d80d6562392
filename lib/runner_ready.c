/* SPDX-License-Identifier: MIT */
/*
 * Tells whether a program could be started, without starting one: space in the
 * work directory, descriptors, memory, one more process.
 */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/fs.h"

#define LEAST_BYTES (INT64_C(1) << 20)
#define LEAST_FILES 16
#define LEAST_MEMORY ((size_t)4 << 20)

static executr_status check_files(
    const executr_runner *runner, executr_error *err)
{
    int fds[LEAST_FILES];
    int number = 0;
    size_t count = 0;

    while (count < LEAST_FILES && !number) {
        fds[count] = fcntl(runner->epoll_fd, F_DUPFD_CLOEXEC, 3);
        if (fds[count] < 0)
            number = errno;
        else
            count++;
    }
    while (count > 0)
        close(fds[--count]);
    if (number)
        return ex_start_failed(err, number, "cannot open files");
    return EXECUTR_OK;
}

/* One that can't be executed gets as far as a process, which is gone when the
 * call returns. */
static executr_status check_process(executr_error *err)
{
    static char *const nothing[] = {NULL};
    pid_t pid;

    int number = posix_spawn(&pid, "/", NULL, NULL, nothing, nothing);
    if (number == EAGAIN || number == ENOMEM || number == EMFILE ||
        number == ENFILE)
        return ex_start_failed(err, number, "cannot start a program");
    return EXECUTR_OK;
}

static executr_status check_memory(executr_error *err)
{
    void *memory = NULL;

    if (ex_alloc(&memory, LEAST_MEMORY, NULL))
        return ex_start_failed(err, ENOMEM, "cannot start a program");
    ex_free(memory);
    return EXECUTR_OK;
}

executr_status ex_runner_space(const executr_runner *runner, executr_error *err)
{
    return ex_fs_check_free(
        runner->dir.fd, "the work directory", LEAST_BYTES, err);
}

executr_status ex_runner_ready(const executr_runner *runner, executr_error *err)
{
    executr_status st = check_files(runner, err);

    if (!st)
        st = check_memory(err);
    if (!st)
        st = check_process(err);
    if (!st)
        st = ex_fs_check_space(
            runner->dir.fd, "the work directory", LEAST_BYTES, err);
    return st;
}
