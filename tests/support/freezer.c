/* SPDX-License-Identifier: MIT */
#include "support/freezer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FREEZER "/sys/fs/cgroup/freezer/executr-test"

static char place[128];

static int put(const char *file, const char *text)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", place, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

void freeze(int pid)
{
    char text[32];

    snprintf(place, sizeof place, "%s-%d", FREEZER, (int)getpid());
    snprintf(text, sizeof text, "%d", pid);
    if (mkdir(place, 0755) == 0 && put("cgroup.procs", text) &&
        put("freezer.state", "FROZEN"))
        return;
    rmdir(place);
    cr_skip_test("there is no freezer of control groups to make a program that "
                 "does not die");
}

void thaw(void)
{
    put("freezer.state", "THAWED");
    for (int i = 0; i < 1000 && rmdir(place) != 0 && errno == EBUSY; i++)
        usleep(1000);
}
