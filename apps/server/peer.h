/* SPDX-License-Identifier: MIT */
/*
 * Whether the other side of a connection is still there. The web server does
 * not tell its sockets, so ours is found among this process's descriptors.
 */
#ifndef SERVER_PEER_H
#define SERVER_PEER_H

/*
 * The descriptor of the connection from this IPv4 address and port to our
 * `local_port`; -1 when there is none. It belongs to the web server, and stays
 * that connection's for as long as the caller's request is being served.
 * A peer whose machine is gone shows within a minute from here on.
 */
int peer_find(const char *address, int port, int local_port);

/* 1 once the peer has closed the connection or is known to be gone. */
int peer_gone(int descriptor);

#endif
