/* SPDX-License-Identifier: MIT */
/* What a status code means: its word, its HTTP status, whether to retry. */
#include <executr/base.h>

typedef struct status_row {
    executr_status status;
    int32_t http;
    int32_t retriable;
    const char *word;
} status_row;

static const status_row rows[] = {
#define STATUS_ROW(number, name, word, http, retriable)                        \
    {number, http, retriable, word},
    EXECUTR_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
};

static const status_row *find_row(executr_status status)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].status == status)
            return &rows[i];
    }
    return NULL;
}

const char *executr_status_word(executr_status status)
{
    const status_row *row = find_row(status);
    return row ? row->word : "internal";
}

int32_t executr_status_http(executr_status status)
{
    const status_row *row = find_row(status);
    return row ? row->http : 500;
}

int32_t executr_status_retriable(executr_status status)
{
    const status_row *row = find_row(status);
    return row ? row->retriable : 0;
}
