/* SPDX-License-Identifier: MIT */
/* Finds the control characters of ASCII, Latin-1 and bidirectional text. */
#include "plain.h"

#include <string.h>

#include "base/url.h"

/* Bytes of a valid character that a terminal would act upon. */
static int is_harmful(const unsigned char *c, size_t length)
{
    if (length == 1)
        return c[0] < 0x20 || c[0] == 0x7f;
    if (length == 2) /* U+0080 to U+009F; U+009B begins sequences like ESC [ */
        return c[0] == 0xc2 && c[1] < 0xa0;
    if (length != 3 || c[0] != 0xe2)
        return 0;
    return (c[1] == 0x80 && c[2] >= 0xa8 && c[2] <= 0xae) || /* U+2028-202E */
           (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9);   /* U+2066-2069 */
}

size_t app_plain(FILE *out, const char *text)
{
    size_t columns = 0;
    size_t left = strlen(text);
    while (left > 0) {
        size_t used = 1;
        int valid = ex_utf8_step(text, left, &used);
        if (!valid || is_harmful((const unsigned char *)text, used))
            fputc('?', out);
        else
            fwrite(text, 1, used, out);
        text += used;
        left -= used;
        columns++;
    }
    return columns;
}
