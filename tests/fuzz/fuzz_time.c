/* SPDX-License-Identifier: MIT */
/* Times and durations: what is read is written and read again as the same. */
#include "base/time.h"
#include "fuzz.h"

static void check_time(const char *text)
{
    int64_t us = 0;
    int64_t again = 0;
    char written[EX_TIME_TEXT];
    if (ex_time_parse(text, &us))
        return;
    ex_time_format(us, written);
    must(ex_time_parse(written, &again) == 0, "a time written is read");
    must(us == again, "as the same moment");
}

static void check_duration(const char *text)
{
    int64_t ms = -1;
    int64_t again = -1;
    char written[32];
    if (ex_duration_parse(text, &ms))
        return;
    must(ms >= 0, "durations are not negative");
    ex_duration_format(ms, written, sizeof written);
    must(ex_duration_parse(written, &again) == 0, "a duration written is read");
    must(ms == again, "as the same time");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char written[EX_TIME_TEXT];
    int64_t any = 0;
    char *text = text_of(data, size);
    check_time(text);
    check_duration(text);
    memcpy(&any, data, size < sizeof any ? size : sizeof any);
    ex_time_format(any, written);
    must(memchr(written, 0, sizeof written) != NULL, "any moment has a text");
    free(text);
    return 0;
}
