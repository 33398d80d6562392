/* SPDX-License-Identifier: MIT */
/* Connections are found among all descriptors, and their ends noticed. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apps/server/peer.h"

static int server;
static int client;
static int server_port;
static int client_port;

static int port_of(int descriptor)
{
    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    cr_assert_eq(
        getsockname(descriptor, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

static void start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(
        bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(listener, 1), 0);
    server_port = port_of(listener);
    address.sin_port = htons((uint16_t)server_port);
    client = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(
        connect(client, (struct sockaddr *)&address, sizeof address), 0);
    client_port = port_of(client);
    server = accept(listener, NULL, NULL);
    cr_assert_geq(server, 0);
    close(listener);
}

static void stop(void)
{
    close(server);
}

TestSuite(peer, .init = start, .fini = stop);

Test(peer, is_found_by_both_ends)
{
    cr_expect_eq(peer_find("127.0.0.1", client_port, server_port), server);
    cr_expect_eq(peer_find("127.0.0.1", server_port, client_port), client);
    cr_expect_eq(peer_find("127.0.0.1", client_port, client_port), -1);
    cr_expect_eq(peer_find("127.0.0.2", client_port, server_port), -1);
    cr_expect_eq(peer_find("no address", client_port, server_port), -1);
    close(client);
}

Test(peer, that_sent_something_is_not_gone)
{
    cr_expect_not(peer_gone(server));
    cr_assert_eq(write(client, "x", 1), 1);
    cr_expect_not(peer_gone(server));
    close(client);
}

/* Wait for the kernel to carry the end over; then it is seen for good. */
static void expect_gone(void)
{
    struct pollfd one = {.fd = server, .events = POLLRDHUP};
    cr_assert_eq(poll(&one, 1, 10000), 1);
    cr_expect(peer_gone(server));
}

Test(peer, that_closed_is_gone)
{
    close(client);
    expect_gone();
}

Test(peer, that_reset_is_gone)
{
    struct linger at_once = {1, 0};
    cr_assert_eq(
        setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(client);
    expect_gone();
}
