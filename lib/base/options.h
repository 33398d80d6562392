/* SPDX-License-Identifier: MIT */
/* Reads option structs whose first member is uint32_t struct_size. */
#ifndef EX_BASE_OPTIONS_H
#define EX_BASE_OPTIONS_H

#include <executr/base.h>

/*
 * Copy the caller's struct over zeroes into `out` of `size` bytes. NULL
 * `options` gives all zero. A shorter struct (an older caller) is padded; a
 * longer one is taken if what we don't know of it is zero, else
 * E_UNSUPPORTED; a size below `min_size` (the struct's first release) or
 * an absurd one is E_ARGUMENT.
 */
executr_status ex_options_read(
    void *out, size_t size, size_t min_size, const void *options,
    executr_error *err) EXECUTR_CHECKED;

#endif
