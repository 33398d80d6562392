/* SPDX-License-Identifier: MIT */
/* Finds a socket by its two ends and asks the kernel about the far one. */
#include "peer.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

static int is_connection(
    int descriptor, struct in_addr address, int port, int local_port)
{
    struct sockaddr_in far = {0};
    struct sockaddr_in near = {0};
    socklen_t far_size = sizeof far;
    socklen_t near_size = sizeof near;
    if (getpeername(descriptor, (struct sockaddr *)&far, &far_size) ||
        getsockname(descriptor, (struct sockaddr *)&near, &near_size))
        return 0;
    return far.sin_family == AF_INET && far.sin_addr.s_addr == address.s_addr &&
           ntohs(far.sin_port) == port && ntohs(near.sin_port) == local_port;
}

/* Probe a silent peer after 30 s, three times. */
static void keep_alive(int descriptor)
{
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 30},
        {IPPROTO_TCP, TCP_KEEPINTVL, 10},
        {IPPROTO_TCP, TCP_KEEPCNT, 3},
    };
    /* One that is refused only means that a dead machine shows later. */
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(
            descriptor, options[i].level, options[i].name, &options[i].value,
            sizeof options[i].value);
}

int peer_find(const char *address, int port, int local_port)
{
    struct in_addr far;
    if (inet_pton(AF_INET, address, &far) != 1)
        return -1;
    DIR *directory = opendir("/proc/self/fd");
    if (!directory)
        return -1;
    int found = -1;
    const struct dirent *entry = readdir(directory);
    for (; entry && found < 0; entry = readdir(directory)) {
        char *end;
        long number = strtol(entry->d_name, &end, 10);
        if (end != entry->d_name && *end == '\0' &&
            is_connection((int)number, far, port, local_port))
            found = (int)number;
    }
    closedir(directory);
    if (found >= 0)
        keep_alive(found);
    return found;
}

int peer_gone(int descriptor)
{
    struct pollfd one = {.fd = descriptor, .events = POLLRDHUP};
    return poll(&one, 1, 0) > 0 &&
           (one.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}
