/* SPDX-License-Identifier: MIT */
/* The version of the library, in the two forms callers need. */
#include <executr/base.h>

const char *executr_version(void)
{
    return "0.1.0";
}

uint32_t executr_abi(void)
{
    return 0;
}
