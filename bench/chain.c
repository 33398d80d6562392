/* SPDX-License-Identifier: MIT */
/*
 * The least that the way of bench_latency can take, without executr: a
 * submitter sends a request to a server process, which commits one row to
 * PostgreSQL, sends a request to an executor process and answers; that starts
 * the program, which prints the monotonic clock. One at a time, idle in between
 * for as long as in bench_latency.
 *
 *   bench_chain --url URL_OF_AN_EMPTY_DATABASE --program BENCH_STAMP [--jobs N]
 */
#include <fcntl.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define IDLE_US 15000
#define SKIPPED 5 /* the first ones, on which caches are filled */

/* As long as the messages of a submission, a claim and their answers. */
#define SUBMISSION 200
#define ACCEPTED 480
#define CLAIMED 600
#define ROW 300

static void both_ways(int fd)
{
    int on = 1;

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        bench_fail_errno("cannot set up a connection");
}

/* Two ends of a TCP connection on this machine. */
static void connect_pair(int ends[2])
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || ends[0] < 0 ||
        bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
        connect(ends[0], (struct sockaddr *)&address, size) != 0)
        bench_fail_errno("cannot connect to ourselves");
    ends[1] = accept(listener, NULL, NULL);
    both_ways(ends[0]);
    both_ways(ends[1]);
    close(listener);
}

static void put(int fd, const void *data, size_t size)
{
    if (write(fd, data, size) != (ssize_t)size)
        bench_fail_errno("cannot send");
}

/* 1, or 0 at the end. */
static int get(int fd, void *data, size_t size)
{
    ssize_t got = read(fd, data, size);

    if (got < 0)
        bench_fail_errno("cannot receive");
    return got > 0;
}

static void expect(PGconn *connection, PGresult *result, ExecStatusType status)
{
    if (PQresultStatus(result) != status)
        bench_fail("%s", PQerrorMessage(connection));
    PQclear(result);
}

_Noreturn static void serve(const char *url, int submitter, int executor)
{
    static char bytes[4096];
    char row[ROW + 1];
    const char *const values[] = {row};

    memset(row, 'x', ROW);
    row[ROW] = '\0';
    PGconn *c = PQconnectdb(url);
    expect(
        c, PQexec(c, "CREATE TABLE chain (id bigserial PRIMARY KEY, job text)"),
        PGRES_COMMAND_OK);
    expect(
        c,
        PQprepare(c, "submit", "INSERT INTO chain (job) VALUES ($1)", 1, NULL),
        PGRES_COMMAND_OK);
    put(submitter, bytes, 1); /* ready */
    while (get(submitter, bytes, sizeof bytes)) {
        expect(
            c, PQexecPrepared(c, "submit", 1, values, NULL, NULL, 0),
            PGRES_COMMAND_OK);
        put(executor, bytes, CLAIMED);
        put(submitter, bytes, ACCEPTED);
    }
    PQfinish(c);
    exit(0);
}

/* Start the program; the clock it printed. */
static double run(const char *program)
{
    char *argv[] = {(char *)program, NULL};
    char *envp[] = {NULL};
    char text[64] = "";
    int ends[2];
    int status = 0;

    if (pipe2(ends, O_CLOEXEC) != 0)
        bench_fail_errno("cannot make a pipe");
    pid_t pid = vfork();
    if (pid == 0) {
        if (dup2(ends[1], 1) == 1)
            execve(program, argv, envp);
        _exit(127);
    }
    close(ends[1]);
    if (pid < 0 || !get(ends[0], text, sizeof text - 1) ||
        waitpid(pid, &status, 0) != pid || status != 0)
        bench_fail("cannot run %s", program);
    close(ends[0]);
    return strtod(text, NULL) / 1e9;
}

_Noreturn static void execute(const char *program, int server, int submitter)
{
    char bytes[4096];

    while (get(server, bytes, sizeof bytes)) {
        double started = run(program);
        put(submitter, &started, sizeof started);
    }
    exit(0);
}

static double one(int server, int executor)
{
    char bytes[4096] = "";
    double started;

    usleep(IDLE_US);
    double begin = bench_seconds();
    put(server, bytes, SUBMISSION);
    if (!get(server, bytes, sizeof bytes) ||
        !get(executor, &started, sizeof started))
        bench_fail("a process ended");
    return started - begin;
}

/* The other two. Nobody keeps an end that is not its own, or a process that
 * fails would be waited for. */
static void start_both(
    const char *url, const char *program, const int submit[2],
    const int claim[2], const int done[2])
{
    pid_t server = fork();

    if (server == 0) {
        close(submit[0]);
        close(claim[0]);
        close(done[0]);
        close(done[1]);
        serve(url, submit[1], claim[1]);
    }
    close(submit[1]);
    close(claim[1]);
    pid_t executor = fork();
    if (executor == 0) {
        close(submit[0]);
        close(done[0]);
        execute(program, claim[0], done[1]);
    }
    close(claim[0]);
    close(done[1]);
    if (server < 0 || executor < 0)
        bench_fail_errno("cannot fork");
}

int main(int argc, char **argv)
{
    int64_t jobs = bench_number(argv, "jobs", 100);
    const char *url = bench_text(argv, "url", NULL);
    const char *program = bench_text(argv, "program", NULL);
    double *took = calloc((size_t)jobs + 1, sizeof *took);
    int submit[2]; /* submitter, server */
    int claim[2];  /* executor, server */
    int done[2];   /* submitter, executor */

    (void)argc;
    if (!took)
        bench_fail("no memory");
    connect_pair(submit);
    connect_pair(claim);
    connect_pair(done);
    start_both(url, program, submit, claim, done);
    char ready;
    if (!get(submit[0], &ready, 1))
        bench_fail("no database");
    for (int64_t i = -SKIPPED; i < jobs; i++) {
        double it_took = one(submit[0], done[0]);
        if (i >= 0)
            took[i] = it_took;
    }
    bench_sample(
        "chain", "p50_ms", bench_quantile(took, (size_t)jobs, 0.5) * 1e3,
        "p99_ms", bench_quantile(took, (size_t)jobs, 0.99) * 1e3,
        (const char *)NULL);
    close(submit[0]);
    close(done[0]);
    while (wait(NULL) > 0)
        continue;
    free(took);
    return 0;
}
