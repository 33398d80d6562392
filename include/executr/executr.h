/* SPDX-License-Identifier: MIT */
/* All of libexecutr. */
#ifndef EXECUTR_EXECUTR_H
#define EXECUTR_EXECUTR_H

#include <executr/base.h>
#include <executr/cache.h>
#include <executr/client.h>
#include <executr/job.h>
#include <executr/queue.h>
#include <executr/request.h>
#include <executr/runner.h>
#include <executr/store.h>
#include <executr/worker.h>

#endif
