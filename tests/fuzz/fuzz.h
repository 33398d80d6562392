/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share. A broken property aborts, which libFuzzer
 * reports with the input that broke it. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(int condition, const char *property)
{
    if (condition)
        return;
    fprintf(stderr, "broken: %s\n", property);
    abort();
}

/* A copy with exact bounds and a NUL behind it, to be freed. */
static inline char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    must(text != NULL, "there is memory");
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

#endif
