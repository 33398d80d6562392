/* SPDX-License-Identifier: MIT */
/* Gives back the memory of code that only the start of a program needs. */
#include "pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A mapping, as /proc/self/smaps begins to describe it. */
typedef struct mapping {
    char *start;
    char *end;
    int is_code;  /* from a file */
    int is_whole; /* and none of it was written to, as by a debugger */
} mapping;

static int read_head(const char *line, mapping *m)
{
    void *start;
    void *end;
    char rights[5];
    int path = 0;

    int got =
        sscanf(line, "%p-%p %4s %*s %*s %*s %n", &start, &end, rights, &path);
    if (got != 3)
        return 0;
    m->start = start;
    m->end = end;
    m->is_whole = 0;
    m->is_code = strcmp(rights, "r-xp") == 0 && path > 0 && line[path] == '/';
    return 1;
}

/* 1 if the line says that there is nothing of this kind. */
static int is_none(const char *line, const char *kind)
{
    size_t length = strlen(kind);

    return strncmp(line, kind, length) == 0 &&
           strtoul(line + length, NULL, 10) == 0;
}

void app_give_back_code(void)
{
    char line[4500];
    mapping m = {0};
    FILE *maps = fopen("/proc/self/smaps", "re");

    if (!maps)
        return; /* then it stays until memory is short */
    while (fgets(line, sizeof line, maps)) {
        if (read_head(line, &m))
            continue;
        if (is_none(line, "Anonymous:"))
            m.is_whole = m.is_code;
        /* Further down: nor is what was written to swapped out. */
        if (m.is_whole && is_none(line, "Swap:"))
            madvise(m.start, (size_t)(m.end - m.start), MADV_DONTNEED);
    }
    fclose(maps);
}
