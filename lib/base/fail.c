/* SPDX-License-Identifier: MIT */
/* Fills error structs; hides cutting and cleaning of quoted input. */
#include "base/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/url.h"

#define MESSAGE_SIZE sizeof(((executr_error *)NULL)->message)
#define FIELD_SIZE sizeof(((executr_error *)NULL)->field)

/* Controls, C1 in UTF-8 (C2 80 to C2 9F) too, would drive a terminal. */
static void clean(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = '?';
        } else if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) {
            p[0] = '?';
            p[1] = '?';
        }
    }
}

/*
 * Formats to a copy first: the arguments may point into `err` itself, as when
 * context is put in front of its message. `tail` is kept whole if need be at
 * the cost of the rest.
 */
__attribute__((format(printf, 3, 0))) static void fill(
    executr_error *err, const char *tail, const char *format, va_list args)
{
    char message[MESSAGE_SIZE];
    size_t tail_length = strlen(tail);

    if (tail_length > MESSAGE_SIZE / 2)
        tail_length = MESSAGE_SIZE / 2;
    size_t room = MESSAGE_SIZE - tail_length;
    int length = vsnprintf(message, room, format, args);
    if (length < 0)
        message[0] = '\0';
    else if ((size_t)length >= room)
        message[ex_utf8_cut(message, room - 1)] = '\0';
    size_t at = strlen(message);
    memcpy(message + at, tail, tail_length);
    message[at + tail_length] = '\0';
    clean(message);
    memset(err, 0, sizeof *err);
    memcpy(err->message, message, strlen(message));
}

executr_status ex_fail(
    executr_error *err, executr_status status, const char *format, ...)
{
    va_list args;

    if (!err)
        return status;
    va_start(args, format);
    fill(err, "", format, args);
    va_end(args);
    err->status = status;
    return status;
}

executr_status ex_fail_field(
    executr_error *err, const char *field, const char *format, ...)
{
    char name[FIELD_SIZE];
    va_list args;

    if (!err)
        return EXECUTR_E_ARGUMENT;
    size_t length = strnlen(field, FIELD_SIZE - 1);
    memcpy(name, field, length);
    name[length] = '\0';
    if (field[length])
        name[ex_utf8_cut(name, length)] = '\0';
    clean(name);
    va_start(args, format);
    fill(err, "", format, args);
    va_end(args);
    memcpy(err->field, name, strlen(name));
    err->status = EXECUTR_E_ARGUMENT;
    return EXECUTR_E_ARGUMENT;
}

static executr_status status_of_errno(int number)
{
    if (number == ENOMEM)
        return EXECUTR_E_NOMEM;
    return number == ENOENT ? EXECUTR_E_NOT_FOUND : EXECUTR_E_IO;
}

executr_status ex_fail_errno(
    executr_error *err, int number, const char *format, ...)
{
    executr_status status = status_of_errno(number);
    char tail[128];
    char reason[112];
    va_list args;

    if (!err)
        return status;
    snprintf(
        tail, sizeof tail, ": %s", strerror_r(number, reason, sizeof reason));
    va_start(args, format);
    fill(err, tail, format, args);
    va_end(args);
    err->status = status;
    err->native = number;
    return status;
}

executr_status ex_fail_nomem(executr_error *err)
{
    return ex_fail(err, EXECUTR_E_NOMEM, "out of memory");
}
