/* SPDX-License-Identifier: MIT */
/*
 * Text of strangers on a terminal: what moves the cursor, colours the screen or
 * turns the direction of writing becomes a question mark.
 */
#ifndef APP_PLAIN_H
#define APP_PLAIN_H

#include <stddef.h>
#include <stdio.h>

/* Write `text`; returns the columns it takes, as far as one character takes
 * one. Errors stay with the stream. */
size_t app_plain(FILE *out, const char *text);

#endif
