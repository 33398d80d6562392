/* SPDX-License-Identifier: MIT */
/*
 * What the server's HTTP can do by itself: calls of what is not there, which
 * need no database, one at a time on each of N connections that are kept alive.
 *
 *   bench_calls --port PORT --connections N [--calls N]
 */
#include <stdlib.h>

#include "bench.h"
#include "wire.h"

static struct {
    int64_t left;      /* calls not begun yet */
    int64_t under_way; /* those begun */
} load;

static void call(wire *w)
{
    if (load.left == 0)
        return;
    load.left--;
    load.under_way++;
    wire_begin(w, "GET", "/nothing", 0);
}

static void answered(wire *w)
{
    load.under_way--;
    if (w->status != 404)
        bench_fail("nothing was answered with %d: %s", w->status, w->body);
    call(w);
}

static void run(int64_t port, int64_t connections)
{
    wire *wires = calloc((size_t)connections, sizeof *wires);
    crowd c;

    if (!wires)
        bench_fail("no memory");
    crowd_open(&c);
    for (int64_t i = 0; i < connections; i++) {
        wires[i].answered = answered;
        crowd_join(&c, &wires[i], port);
        call(&wires[i]);
    }
    while (load.under_way > 0)
        crowd_wait(&c, -1);
    for (int64_t i = 0; i < connections; i++)
        wire_close(&wires[i]);
    crowd_close(&c);
    free(wires);
}

int main(int argc, char **argv)
{
    int64_t port = bench_number(argv, "port", -1);
    int64_t connections = bench_number(argv, "connections", -1);
    int64_t calls = bench_number(argv, "calls", 50000);

    (void)argc;
    if (connections < 1 || calls < 1)
        bench_fail("at least a connection, and at least a call");
    load.left = calls;
    double begin = bench_seconds();
    run(port, connections);
    bench_sample(
        "calls", "calls_per_s", (double)calls / (bench_seconds() - begin),
        (const char *)NULL);
    return 0;
}
