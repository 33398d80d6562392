/* SPDX-License-Identifier: MIT */
/*
 * Keeps requests whose URL comes from strangers away from addresses that
 * answer to a machine about itself: link-local ones, and the metadata services
 * of clouds, which hand out credentials to who asks. The address is looked at
 * when a socket for it is made, so that neither names that resolve to it (now,
 * or the second time) nor redirects get around the rule. Through a proxy it is
 * the proxy that connects, and has to keep such a rule itself.
 */
#include "http_transfer.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* 169.254.0.0/16, and the one such service that stands elsewhere. */
static int is_local4(const unsigned char *a)
{
    static const unsigned char alibaba[] = {100, 100, 100, 200};

    return (a[0] == 169 && a[1] == 254) || memcmp(a, alibaba, 4) == 0;
}

/* fe80::/10, the service that has an address of its own, and IPv4 addresses in
 * the three disguises that a machine may take off. */
static int is_local6(const unsigned char *a)
{
    static const unsigned char amazon[] = {
        0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x54};
    static const unsigned char mapped[] = {
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const unsigned char compatible[12];
    static const unsigned char nat64[] = {
        0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0};

    if (memcmp(a, mapped, 12) == 0 || memcmp(a, compatible, 12) == 0 ||
        memcmp(a, nat64, 12) == 0)
        return is_local4(a + 12);
    return (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) ||
           memcmp(a, amazon, 16) == 0;
}

static int is_local(const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof v4);
        return is_local4((const unsigned char *)&v4.sin_addr);
    }
    if (address->sa_family == AF_INET6) {
        memcpy(&v6, address, sizeof v6);
        return is_local6((const unsigned char *)&v6.sin6_addr);
    }
    return 1; /* nothing else is asked for */
}

static void note_refused(ex_transfer *transfer, const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    const void *raw = &v4.sin_addr;

    memcpy(&v4, address, sizeof v4);
    if (address->sa_family == AF_INET6) {
        memcpy(&v6, address, sizeof v6);
        raw = &v6.sin6_addr;
    }
    if (!inet_ntop(
            address->sa_family, raw, transfer->refused,
            sizeof transfer->refused))
        memcpy(transfer->refused, "another network", 16);
}

static curl_socket_t on_socket(
    void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    ex_transfer *transfer = ctx;

    (void)purpose;
    if (!is_local(&address->addr))
        return socket(
            address->family, address->socktype | SOCK_CLOEXEC,
            address->protocol);
    note_refused(transfer, &address->addr);
    return CURL_SOCKET_BAD;
}

void ex_transfer_refuse_local(ex_transfer *transfer)
{
    curl_easy_setopt(transfer->easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    curl_easy_setopt(transfer->easy, CURLOPT_OPENSOCKETDATA, transfer);
}
