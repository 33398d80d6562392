/* SPDX-License-Identifier: MIT */
/* Finds the control groups of this process. Hides the formats of /proc. */
#include "runner_cgroup.h"

#include <stdio.h>
#include <string.h>

/* 1 if a list like "rw,memory" has the word. */
static int has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    while (*list) {
        size_t next = strcspn(list, ",");
        if (next == length && strncmp(list, word, length) == 0)
            return 1;
        list += next + (list[next] == ',');
    }
    return 0;
}

/* Copy the first line; the text after it, or NULL at the end. */
static const char *take_line(const char *text, char *line, size_t size)
{
    size_t length = strcspn(text, "\n");

    if (length == 0 && !text[0])
        return NULL;
    snprintf(line, size, "%.*s", (int)length, text);
    return text + length + (text[length] == '\n');
}

/* "7:memory:/path", or "0::/path" of version 2. 1 if found. */
static int find_own(const char *own, const char *controller, char *path)
{
    char line[EX_CGROUP_PATH + 64];
    const char *rest = take_line(own, line, sizeof line);

    for (; rest; rest = take_line(rest, line, sizeof line)) {
        char *list = strchr(line, ':');
        char *at = list ? strchr(list + 1, ':') : NULL;
        if (!at)
            continue;
        *at++ = '\0';
        list++;
        int is_it = controller ? has_word(list, controller) : !list[0];
        if (is_it && at[0] == '/' && strlen(at) < EX_CGROUP_PATH) {
            snprintf(path, EX_CGROUP_PATH, "%s", at);
            return 1;
        }
    }
    return 0;
}

/* What of `path` lies below `root`, which is what the mount shows; NULL: the
 * mount does not show it. */
static const char *below(const char *path, const char *root)
{
    size_t length = strlen(root);

    if (strncmp(path, "/..", 3) == 0)
        return NULL;
    if (strcmp(root, "/") == 0)
        return path;
    if (strncmp(path, root, length) != 0 ||
        (path[length] != '/' && path[length] != '\0'))
        return NULL;
    return path + length;
}

/* "36 35 98:0 /root /point rw shared:1 - cgroup source rw,memory". The place,
 * if this mount is it. */
static int read_mount(
    const char *line, const char *controller, const char *path, char *out)
{
    char root[EX_CGROUP_PATH];
    char point[EX_CGROUP_PATH];
    char type[32];
    char options[256];
    const char *tail = strstr(line, " - ");

    if (!tail || sscanf(line, "%*s %*s %*s %511s %511s", root, point) != 2 ||
        sscanf(tail, " - %31s %*s %255s", type, options) != 2)
        return 0;
    if (strcmp(type, controller ? "cgroup" : "cgroup2") != 0 ||
        (controller && !has_word(options, controller)) || strchr(point, '\\'))
        return 0;
    const char *rest = below(path, root);
    if (!rest)
        return 0;
    size_t length = strlen(point);
    size_t more = strcmp(rest, "/") == 0 ? 0 : strlen(rest);
    if (length + more >= EX_CGROUP_PATH)
        return 0;
    memcpy(out, point, length);
    memcpy(out + length, rest, more);
    out[length + more] = '\0';
    return 1;
}

static void find_one(
    const char *mounts, const char *own, const char *controller, char *out)
{
    char line[2048];
    char path[EX_CGROUP_PATH];

    out[0] = '\0';
    if (!find_own(own, controller, path))
        return;
    const char *rest = take_line(mounts, line, sizeof line);
    for (; rest; rest = take_line(rest, line, sizeof line)) {
        if (read_mount(line, controller, path, out))
            return;
    }
}

void ex_cgroup_find(const char *mounts, const char *own, ex_cgroup_places *out)
{
    find_one(mounts, own, NULL, out->path[EX_CGROUP_UNIFIED]);
    find_one(mounts, own, "memory", out->path[EX_CGROUP_MEMORY]);
    find_one(mounts, own, "pids", out->path[EX_CGROUP_PIDS]);
}
