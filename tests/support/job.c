/* SPDX-License-Identifier: MIT */
/*
 * A program for tests of the runner to run: does what its arguments say. Its
 * exit code is 0 unless something it needs fails (99) or it is told one.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int ok)
{
    if (!ok)
        _exit(99);
}

static void put(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, data, length);
        check(written > 0);
        data += written;
        length -= (size_t)written;
    }
}

static int do_exit(char **args)
{
    return atoi(args[0]);
}

static int do_raise(char **args)
{
    raise(atoi(args[0]));
    return 99;
}

/* out BYTES LINE_LENGTH: 0 for no line end at all */
static int do_out(char **args)
{
    static char block[65536];
    long long left = atoll(args[0]);
    size_t line = (size_t)atol(args[1]);

    for (size_t i = 0; i < sizeof block; i++)
        block[i] = line > 0 && i % line == line - 1 ? '\n' : 'x';
    while (left > 0) {
        size_t n = left < (long long)sizeof block ? (size_t)left : sizeof block;
        put(1, block, n);
        left -= (long long)n;
    }
    return 0;
}

static int do_bytes(char **args)
{
    (void)args;
    put(1, "a\0b\xff\xed\xa0\x80\033[1m", 11);
    put(2, "err\0", 4);
    return 0;
}

static int do_environment(char **args)
{
    (void)args;
    for (char **at = environ; *at; at++)
        printf("%s\n", *at);
    return 0;
}

static int do_arguments(char **args)
{
    printf("%s\n", args[-2]);
    for (; *args; args++)
        printf("[%s]", *args);
    return 0;
}

/* What it inherited, a line each. */
static int do_state(char **args)
{
    char line[256];
    char cwd[512];
    struct rlimit core;

    (void)args;
    DIR *dir = opendir("/proc/self/fd");
    check(dir != NULL);
    int count = -3; /* ".", ".." and the list itself */
    while (readdir(dir))
        count++;
    closedir(dir);
    printf("descriptors %d\n", count);
    FILE *file = fopen("/proc/self/status", "re");
    check(file != NULL);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "SigBlk", 6) == 0 || strncmp(line, "SigIgn", 6) == 0)
            printf("%s", line);
    }
    fclose(file);
    mode_t mask = umask(0);
    struct stat info;
    check(getrlimit(RLIMIT_CORE, &core) == 0 && getcwd(cwd, sizeof cwd));
    check(stat(".", &info) == 0);
    printf("umask %03o\ncore %llu\n", mask, (unsigned long long)core.rlim_max);
    printf("new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    printf("leader %d\n", getsid(0) == getpid() && getpgid(0) == getpid());
    printf("stdin %zd\n", read(0, line, 1));
    printf("mode %03o\ncwd %s\n", info.st_mode & 0777, cwd);
    file = fopen("/proc/self/oom_score_adj", "re");
    check(file != NULL && fgets(line, sizeof line, file));
    printf("oom %s", line);
    return 0;
}

/* Whoever sees the file finds the number in it. */
static void write_pid(const char *path)
{
    char beside[512];

    snprintf(beside, sizeof beside, "%s.new", path);
    FILE *file = fopen(beside, "we");
    check(file != NULL);
    fprintf(file, "%d", (int)getpid());
    check(fclose(file) == 0 && rename(beside, path) == 0);
}

static void sleep_for_ever(void)
{
    for (;;)
        pause();
}

static void wait_for(const char *path)
{
    while (access(path, F_OK) != 0)
        usleep(1000);
}

/* say_until FILE: says first, waits for the file, says last */
static int do_say_until(char **args)
{
    put(1, "first\n", 6);
    wait_for(args[0]);
    put(1, "last\n", 5);
    return 0;
}

/* close_until FILE: says first, closes stdout, waits for the file */
static int do_close_until(char **args)
{
    put(1, "first\n", 6);
    close(1);
    wait_for(args[0]);
    return 0;
}

/* Says something to both outputs, and stays. */
static int do_talk(char **args)
{
    (void)args;
    put(1, "said", 4);
    put(2, "erred", 5);
    sleep_for_ever();
    return 0;
}

/* grandchild PIDFILE: leaves a child that keeps the pipes */
static int do_grandchild(char **args)
{
    put(1, "said", 4);
    pid_t child = fork();
    if (child == 0) {
        write_pid(args[0]);
        sleep_for_ever();
    }
    while (access(args[0], F_OK) != 0)
        usleep(1000);
    return 7;
}

/* daemon PIDFILE keep|close [stay]: leaves a child in a session of its own */
static int do_daemon(char **args)
{
    pid_t child = fork();

    if (child == 0) {
        setsid();
        if (fork() > 0)
            _exit(0);
        check(chdir("/") == 0);
        if (strcmp(args[1], "close") == 0) {
            int null = open("/dev/null", O_RDWR | O_CLOEXEC);
            dup2(null, 0);
            dup2(null, 1);
            dup2(null, 2);
        }
        write_pid(args[0]);
        sleep_for_ever();
    }
    waitpid(child, NULL, 0);
    while (access(args[0], F_OK) != 0)
        usleep(1000);
    if (args[2])
        sleep_for_ever();
    return 0;
}

/* unmarked ...: as daemon, and none of its processes carries the runner's mark */
static int do_unmarked(char **args)
{
    const struct rlimit own = {1000000, 1000000};

    check(setrlimit(RLIMIT_RTTIME, &own) == 0);
    return do_daemon(args);
}

/* stubborn FILE: ignores SIGTERM, makes FILE when it does */
static int do_stubborn(char **args)
{
    signal(SIGTERM, SIG_IGN);
    write_pid(args[0]);
    sleep_for_ever();
    return 99;
}

static void leave_with_5(int number)
{
    (void)number;
    _exit(5);
}

/* polite FILE: exits with 5 on SIGTERM, makes FILE when it is ready */
static int do_polite(char **args)
{
    signal(SIGTERM, leave_with_5);
    write_pid(args[0]);
    sleep_for_ever();
    return 99;
}

/* wait FILE [PIDFILE]: until there is such a file */
static int do_wait(char **args)
{
    if (args[1])
        write_pid(args[1]);
    while (access(args[0], F_OK) != 0)
        usleep(1000);
    return 0;
}

static int do_sleep(char **args)
{
    (void)args;
    sleep_for_ever();
    return 99;
}

static int do_stop(char **args)
{
    (void)args;
    raise(SIGSTOP);
    sleep_for_ever();
    return 99;
}

/* quiet FILE: closes its output, goes on until there is FILE */
static int do_quiet(char **args)
{
    put(1, "before", 6);
    close(1);
    close(2);
    do_wait(args);
    return 3;
}

/* litter LINK_TO: a tree that is hard to remove, and a link out of it */
static int do_litter(char **args)
{
    check(mkdir("a", 0700) == 0 && mkdir("a/b", 0700) == 0);
    check(close(open("a/b/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0400)) == 0);
    check(symlink(args[0], "a/link") == 0);
    check(chmod("a/b", 0) == 0 && chmod("a", 0) == 0);
    return 0;
}

static int do_busy(char **args)
{
    volatile unsigned long x = 0;

    (void)args;
    for (unsigned long i = 0; i < 200000000UL; i++)
        x += i;
    return 0;
}

/* file BYTES: writes a file of that size */
static int do_file(char **args)
{
    static char block[65536];
    long long left = atoll(args[0]);
    int fd = open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    while (left > 0) {
        size_t n = left < (long long)sizeof block ? (size_t)left : sizeof block;
        put(fd, block, n);
        left -= (long long)n;
    }
    return 0;
}

/* memory MB: uses so much */
static int do_memory(char **args)
{
    size_t size = (size_t)atol(args[0]) << 20;
    char *memory = malloc(size);

    check(memory != NULL);
    memset(memory, 1, size);
    return memory[size - 1] == 1 ? 0 : 99;
}

/* memory-child MB: a child uses it; exits with 4 if that was killed */
static int do_memory_child(char **args)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0)
        _exit(do_memory(args));
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 4 : 0;
}

/* forks COUNT: so many children that stay; exits with 6 if it got fewer */
static int do_forks(char **args)
{
    for (int left = atoi(args[0]); left > 0; left--) {
        pid_t child = fork();
        if (child == 0)
            sleep_for_ever();
        if (child < 0)
            return 6;
    }
    return 0;
}

/* bomb FILE: as do its children, it forks what it can, 1,640 in all at most;
 * FILE when it could not once */
static int do_bomb(char **args)
{
    int depth = 0;

    for (int left = 40; left > 0; left--) {
        pid_t child = fork();
        if (child < 0) /* many at once come here */
            close(open(args[0], O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        if (child == 0 && ++depth == 2)
            break;
        if (child == 0)
            left = 41;
    }
    sleep_for_ever();
    return 99;
}

/* burn COUNT [ignore]: so many processes use all CPU time there is */
static int do_burn(char **args)
{
    volatile unsigned long x = 0;

    if (args[1])
        signal(SIGXCPU, SIG_IGN);
    for (int left = atoi(args[0]); left > 1; left--) {
        if (fork() == 0)
            break;
    }
    while (x != (unsigned long)-1)
        x++;
    return 0;
}

static const struct {
    const char *name;
    int (*run)(char **args);
} verbs[] = {
    {"exit", do_exit},
    {"raise", do_raise},
    {"out", do_out},
    {"bytes", do_bytes},
    {"environment", do_environment},
    {"arguments", do_arguments},
    {"state", do_state},
    {"talk", do_talk},
    {"say_until", do_say_until},
    {"close_until", do_close_until},
    {"grandchild", do_grandchild},
    {"daemon", do_daemon},
    {"unmarked", do_unmarked},
    {"stubborn", do_stubborn},
    {"polite", do_polite},
    {"wait", do_wait},
    {"sleep", do_sleep},
    {"stop", do_stop},
    {"quiet", do_quiet},
    {"litter", do_litter},
    {"busy", do_busy},
    {"file", do_file},
    {"memory", do_memory},
    {"memory-child", do_memory_child},
    {"forks", do_forks},
    {"bomb", do_bomb},
    {"burn", do_burn},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argv + 2);
    }
    return 98;
}
