/* SPDX-License-Identifier: MIT */
/* Checks that a text is JSON as RFC 8259 has it, before anything is built. */
#ifndef EX_BASE_JSON_SCAN_H
#define EX_BASE_JSON_SCAN_H

#include <executr/base.h>

typedef struct ex_json_scan {
    int32_t allow_nul; /* \u0000 may stand in values */
    size_t members;    /* out: of all objects together */
    int32_t deepest;   /* out: arrays and objects one in the other */
} ex_json_scan;

/* E_ARGUMENT says what is wrong and at which byte. Takes linear time. */
executr_status ex_json_scan_text(
    ex_json_scan *scan, const char *text, size_t length,
    executr_error *err) EXECUTR_CHECKED;

#endif
