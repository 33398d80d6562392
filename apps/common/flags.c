/* SPDX-License-Identifier: MIT */
/* Reads flag tables with getopt_long and writes their help. */
#include "common/flags.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/time.h"

#define MAX_FLAGS 64
#define FIRST_CODE 256

/* The flags of a command laid out for getopt_long. */
typedef struct layout {
    struct option options[MAX_FLAGS + 3];
    const app_flag *flags[MAX_FLAGS];
    char letters[2 * MAX_FLAGS + 4];
    int count;
} layout;

int app_usage(const app_command *command, const char *format, ...)
{
    va_list list;
    fputs("executr: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "; see '%s --help'\n", command->name);
    return 2;
}

static void variable_name(const char *flag, char out[64])
{
    size_t n = (size_t)snprintf(out, 64, "EXECUTR_%s", flag);
    for (size_t i = 0; i < n && i < 63; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static void lay_out(const app_command *command, layout *l)
{
    memset(l, 0, sizeof *l);
    size_t letter = 0;
    l->letters[letter++] = ':';
    l->letters[letter++] = 'h';
    for (size_t t = 0; command->tables[t]; t++) {
        for (const app_flag *f = command->tables[t]; f->name; f++) {
            if (l->count == MAX_FLAGS)
                return;
            struct option *option = &l->options[l->count];
            option->name = f->name;
            option->has_arg =
                f->kind == APP_SWITCH ? no_argument : required_argument;
            option->val = FIRST_CODE + l->count;
            l->flags[l->count++] = f;
            if (!f->letter)
                continue;
            l->letters[letter++] = f->letter;
            if (f->kind != APP_SWITCH)
                l->letters[letter++] = ':';
        }
    }
    l->options[l->count] =
        (struct option){.name = "help", .has_arg = no_argument, .val = 'h'};
    l->options[l->count + 1] =
        (struct option){.name = "version", .has_arg = no_argument, .val = 1};
}

static void print_flag(const app_flag *f)
{
    char left[80];
    char variable[64];
    variable_name(f->name, variable);
    snprintf(
        left, sizeof left, "%c%c%c --%s%s%s", f->letter ? '-' : ' ',
        f->letter ? f->letter : ' ', f->letter ? ',' : ' ', f->name,
        f->kind == APP_SWITCH ? "" : " ",
        f->kind == APP_SWITCH ? "" : f->value);
    printf("  %-36s %s", left, f->help);
    if (f->fallback && f->fallback[0])
        printf(" (%s)", f->fallback);
    printf("\n  %-36s   %s\n", "", variable);
}

static void print_help(const app_command *command)
{
    printf("%s: %s\n\n", command->name, command->summary);
    printf("usage: %s [flags] %s\n\n", command->name, command->arguments);
    for (size_t t = 0; command->tables[t]; t++) {
        for (const app_flag *f = command->tables[t]; f->name; f++)
            print_flag(f);
    }
    printf("  %-36s %s\n", "-h,  --help", "this text");
    printf("  %-36s %s\n", "     --version", "the version");
    if (command->notes)
        printf("\n%s\n", command->notes);
}

static int list_add(app_list *list, const char *text, size_t length)
{
    executr_error err;
    void *memory = list->items;
    if (ex_realloc(&memory, (list->count + 1) * sizeof *list->items, &err))
        return -1;
    list->items = memory;
    ex_arena arena = EX_ARENA_INIT; /* lives as long as the program */
    char *copy = ex_arena_copy(&arena, text, length);
    if (!copy)
        return -1;
    list->items[list->count++] = copy;
    return 0;
}

static int read_words(app_list *list, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, ",");
        if (n && list_add(list, text, n))
            return -1;
        text += n + (text[n] == ',');
    }
    return 0;
}

/* "400" in `unit`s, or with KB, MB, GB, TB (powers of 1024, B optional). */
static int read_size(const char *text, int64_t unit, int64_t *out)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || end == text || n < 0)
        return -1;
    int64_t scale = unit;
    if (*end) {
        const char *units = "KMGT";
        const char *at = strchr(units, toupper((unsigned char)*end));
        if (!at)
            return -1;
        scale = INT64_C(1) << (10 * (at - units + 1));
        end++;
        if (toupper((unsigned char)*end) == 'B')
            end++;
        if (*end)
            return -1;
    }
    if (n > INT64_MAX / scale)
        return -1;
    *out = n * scale;
    return 0;
}

static int read_int(const app_flag *f, const char *text)
{
    int64_t value;
    char *end;
    if (f->kind == APP_MEGABYTES || f->kind == APP_BYTES) {
        int64_t unit = f->kind == APP_BYTES ? 1 : 1 << 20;
        if (read_size(text, unit, &value))
            return -1;
    } else {
        errno = 0;
        value = strtoll(text, &end, 10);
        if (errno || end == text || *end)
            return -1;
    }
    int64_t max = f->max ? f->max : INT64_MAX;
    if (value < f->min || value > max)
        return -1;
    *(int64_t *)f->target = value;
    return 0;
}

static int read_switch(const app_flag *f, const char *text)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off", ""};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcmp(text, yes[i]) == 0) {
            *(int32_t *)f->target = 1;
            return 0;
        }
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        if (strcmp(text, no[i]) == 0) {
            *(int32_t *)f->target = 0;
            return 0;
        }
    }
    return -1;
}

static int read_choice(const app_flag *f, const char *text)
{
    size_t length = strlen(text);
    for (const char *at = f->value; *at; at += *at == '|') {
        size_t n = strcspn(at, "|");
        if (n == length && memcmp(at, text, n) == 0) {
            *(const char **)f->target = text;
            return 0;
        }
        at += n;
    }
    return -1;
}

static int read_value(const app_flag *f, const char *text)
{
    switch (f->kind) {
    case APP_STRING:
        *(const char **)f->target = text;
        return 0;
    case APP_LIST:
        return list_add(f->target, text, strlen(text));
    case APP_WORDS:
        return read_words(f->target, text);
    case APP_DURATION:
        return ex_duration_parse(text, f->target);
    case APP_SWITCH:
        return read_switch(f, text);
    case APP_CHOICE:
        return read_choice(f, text);
    default:
        return read_int(f, text);
    }
}

static const char *wanted(const app_flag *f)
{
    static char range[64];
    switch (f->kind) {
    case APP_INT:
        if (f->max)
            snprintf(
                range, sizeof range, "a whole number from %lld to %lld",
                (long long)f->min, (long long)f->max);
        else
            snprintf(
                range, sizeof range, "a whole number from %lld",
                (long long)f->min);
        return range;
    case APP_DURATION:
        return "a duration such as 300ms, 5s, 10m or 1h30m";
    case APP_MEGABYTES:
        return "a size such as 400 (MB), 64KB or 10GB";
    case APP_BYTES:
        return "a size such as 1048576 (bytes), 64KB or 4GB";
    case APP_SWITCH:
        return "1 or 0";
    default:
        return f->value;
    }
}

/* Defaults first, then the environment; flags come on top of both. */
static int read_environment(const app_command *command, const layout *l)
{
    for (int i = 0; i < l->count; i++) {
        const app_flag *f = l->flags[i];
        char variable[64];
        variable_name(f->name, variable);
        const char *value = getenv(variable);
        const char *text = value && *value ? value : f->fallback;
        if (!text || read_value(f, text) == 0)
            continue;
        return app_usage(
            command, "%s is '%s', wanted %s", variable, text, wanted(f));
    }
    return APP_GO_ON;
}

static const app_flag *flag_of(const layout *l, int code)
{
    if (code >= FIRST_CODE && code < FIRST_CODE + l->count)
        return l->flags[code - FIRST_CODE];
    for (int i = 0; i < l->count; i++) {
        if (l->flags[i]->letter == code)
            return l->flags[i];
    }
    return NULL;
}

/* A list given by flags replaces the one of the environment. */
static void start_list(const app_flag *f, uint64_t *seen, int index)
{
    if (f->kind != APP_LIST && f->kind != APP_WORDS)
        return;
    if (!(*seen & (UINT64_C(1) << index)))
        ((app_list *)f->target)->count = 0;
    *seen |= UINT64_C(1) << index;
}

static int index_of(const layout *l, const app_flag *f)
{
    int i = 0;
    while (l->flags[i] != f)
        i++;
    return i;
}

/* What getopt found; APP_GO_ON or the exit code. */
static int read_flag(
    const app_command *command, const layout *l, int code, char **argv,
    uint64_t *seen)
{
    if (code == 'h') {
        print_help(command);
        return 0;
    }
    if (code == 1) {
        printf("executr %s\n", executr_version());
        return 0;
    }
    if (code == ':')
        return app_usage(command, "%s needs a value", argv[optind - 1]);
    if (code == '?')
        return app_usage(command, "unknown flag %s", argv[optind - 1]);
    const app_flag *f = flag_of(l, code);
    start_list(f, seen, index_of(l, f));
    if (read_value(f, f->kind == APP_SWITCH ? "1" : optarg) == 0)
        return APP_GO_ON;
    return app_usage(
        command, "--%s is '%s', wanted %s", f->name, optarg, wanted(f));
}

/* How many words stand behind "--". */
static int count_after(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return argc - i - 1;
    }
    return 0;
}

int app_flags_read(
    const app_command *command, int argc, char **argv, app_rest *rest)
{
    layout l;
    lay_out(command, &l);
    int after = count_after(argc, argv);
    int code = read_environment(command, &l);
    uint64_t seen = 0;
    optind = 0;
    opterr = 0;
    while (code == APP_GO_ON) {
        int c = getopt_long(argc, argv, l.letters, l.options, NULL);
        if (c == -1)
            break;
        code = read_flag(command, &l, c, argv, &seen);
    }
    if (code != APP_GO_ON)
        return code;
    rest->words = (const char **)&argv[optind];
    rest->count = (size_t)(argc - optind - after);
    rest->after = (const char **)&argv[argc - after];
    rest->after_count = (size_t)after;
    return APP_GO_ON;
}

int app_flags_only(const app_command *command, int argc, char **argv)
{
    app_rest rest;
    int code = app_flags_read(command, argc, argv, &rest);
    if (code == APP_GO_ON && (rest.count || rest.after_count))
        return app_usage(command, "it takes no arguments, only flags");
    return code;
}
