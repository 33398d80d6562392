/* SPDX-License-Identifier: MIT */
/* Reads option structs of older and newer callers into today's layout. */
#include "base/options.h"

#include <string.h>

#include "base/fail.h"

/* No option struct will ever be that long; more is an unset struct_size. */
#define ABSURD_SIZE 65536u

executr_status ex_options_read(
    void *out, size_t size, size_t min_size, const void *options,
    executr_error *err)
{
    uint32_t given;

    memset(out, 0, size);
    if (!options)
        return EXECUTR_OK;
    memcpy(&given, options, sizeof given);
    if (given < min_size || given > ABSURD_SIZE)
        return ex_fail_field(
            err, "struct_size",
            "struct_size is %u, but should be at least %zu: start from the "
            "_OPTIONS_INIT of the struct",
            given, min_size);
    const unsigned char *bytes = options;
    for (size_t i = size; i < given; i++) {
        if (bytes[i])
            return ex_fail(
                err, EXECUTR_E_UNSUPPORTED,
                "an option that this version of executr does not know is set "
                "(its struct has %u bytes, ours %zu): install a newer "
                "libexecutr",
                given, size);
    }
    memcpy(out, options, given < size ? given : size);
    return EXECUTR_OK;
}
