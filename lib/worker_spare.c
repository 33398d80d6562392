/* SPDX-License-Identifier: MIT */
/*
 * Descriptors kept for the renewal of leases: a connection that has to be made
 * anew needs some, and jobs may have taken all others. They are kept from the
 * start, let go when a heartbeat failed, for whatever reason, so that the next
 * try finds them, and kept again before anything else is begun.
 */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fail.h"

executr_status ex_worker_keep_spares(executr_worker *worker, executr_error *err)
{
    while (worker->spare_count < EX_SPARES) {
        int fd = fcntl(worker->epoll_fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return ex_fail_errno(
                err, errno, "no descriptors are left but for heartbeats");
        worker->spares[worker->spare_count++] = fd;
    }
    return EXECUTR_OK;
}

void ex_worker_give_spares(executr_worker *worker)
{
    while (worker->spare_count > 0)
        close(worker->spares[--worker->spare_count]);
}
