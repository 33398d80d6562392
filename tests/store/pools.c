/* SPDX-License-Identifier: MIT */
#include "store/pools.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/time.h"

int64_t in_ms(int64_t ms)
{
    return ex_monotonic_us() + ms * 1000;
}

const char *url_with(const char *parameters)
{
    static char url[1200];

    snprintf(
        url, sizeof url, "%s%c%s", backend_url(),
        strchr(backend_url(), '?') ? '&' : '?', parameters);
    return url;
}

ex_pool *open_pool(const char *parameters)
{
    ex_pool *pool = NULL;

    must(ex_pool_open(url_with(parameters), &pool, &err));
    return pool;
}

int open_black_hole(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(fd >= 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(fd, 10), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

const char executr_backends[] =
    " FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND application_name = 'executr'";

void kill_backends(void)
{
    number("SELECT count(pg_terminate_backend(pid))%s", executr_backends);
}
