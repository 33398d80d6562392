/* SPDX-License-Identifier: MIT */
/*
 * A program for chaos tests to run as a job: it leaves a trace of when it was
 * alive, by the clock that all processes of the machine share, whatever becomes
 * of it.
 *
 *   witness TRACE TOKEN GATE MS [HOW…]
 *
 * Appends lines "TOKEN RUN WHAT MOMENT" to TRACE ("-": none): WHAT is `start`,
 * a `beat` each two milliseconds, and `end`; RUN is the moment it started and
 * its process id, so no two runs have the same. Ends when GATE ("-": none) is
 * there or MS milliseconds have passed, and prints "TOKEN RUN".
 *
 * HOW it is hard to kill: `deaf` ignores all signals it can, `daemon` and
 * `family` leave processes behind, the one detached from everything, the others
 * children in the same and in a new session, one of them stopped.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BEAT_NS (2 * 1000 * 1000)

static int trace = -1;
static const char *token;
static char run[64];

static long long now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* One write a line, so that lines of several processes don't mix. */
static void tell(const char *what)
{
    char line[256];

    if (trace < 0)
        return;
    int length = snprintf(
        line, sizeof line, "%s %s %s %lld\n", token, run, what, now_us());
    if (write(trace, line, (size_t)length) != length)
        _exit(99);
}

static void be_deaf(void)
{
    for (int number = 1; number < 32; number++)
        signal(number, SIG_IGN);
}

static void stay(void)
{
    for (;;)
        pause();
}

static void leave_daemon(void)
{
    if (fork() != 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(0);
    be_deaf();
    if (chdir("/") != 0)
        _exit(99);
    for (int fd = 0; fd < 16; fd++)
        close(fd);
    stay();
}

static void leave_family(void)
{
    if (fork() == 0)
        stay();
    if (fork() == 0) {
        setsid();
        be_deaf();
        stay();
    }
    if (fork() == 0) {
        raise(SIGSTOP);
        stay();
    }
}

static void run_until(const char *gate, long long end_us)
{
    const struct timespec beat = {0, BEAT_NS};

    while (now_us() < end_us && (gate[0] == '-' || access(gate, F_OK) != 0)) {
        nanosleep(&beat, NULL);
        tell("beat");
    }
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 98;
    token = argv[2];
    snprintf(run, sizeof run, "%lld.%d", now_us(), (int)getpid());
    if (argv[1][0] != '-') {
        trace = open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (trace < 0)
            return 97;
    }
    tell("start");
    for (int i = 5; i < argc; i++) {
        if (strcmp(argv[i], "deaf") == 0)
            be_deaf();
        else if (strcmp(argv[i], "daemon") == 0)
            leave_daemon();
        else if (strcmp(argv[i], "family") == 0)
            leave_family();
        else
            return 98;
    }
    run_until(argv[3], now_us() + atoll(argv[4]) * 1000);
    tell("end");
    printf("%s %s\n", token, run);
    return 0;
}
