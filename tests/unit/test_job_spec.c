/* SPDX-License-Identifier: MIT */
/* Descriptions of jobs: every limit, the demands, the stored form, digests. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "job.h"

#define SHA "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
#define UPPER "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"

static executr_job_spec good(void)
{
    executr_job_spec spec = EXECUTR_JOB_SPEC_INIT;

    spec.type = "test";
    spec.binary_sha256 = SHA;
    return spec;
}

static void expect_ok(const executr_job_spec *spec)
{
    executr_error err;

    executr_status st = executr_job_spec_check(spec, &err);
    cr_expect_eq(st, EXECUTR_OK, "%s", st ? err.message : "");
}

static void expect(
    const executr_job_spec *spec, executr_status status, const char *field)
{
    executr_error err;

    cr_assert_eq(executr_job_spec_check(spec, &err), status);
    cr_expect_eq(err.status, status);
    cr_expect_str_eq(err.field, field);
    cr_expect_str_not_empty(err.message);
}

static void set_arguments(executr_job_spec *spec, const char **list, size_t n)
{
    spec->arguments = list;
    spec->argument_count = n;
}

static void set_environment(executr_job_spec *spec, const char **list, size_t n)
{
    spec->environment = list;
    spec->environment_count = n;
}

/* `length` times `c`; static, so one at a time. */
static const char *repeated(char c, size_t length)
{
    static char text[200000];

    cr_assert_lt(length, sizeof text);
    memset(text, c, length);
    text[length] = '\0';
    return text;
}

Test(job_spec_check, takes_the_least_and_the_most)
{
    executr_job_spec spec = good();
    expect_ok(&spec);
    spec.type = repeated('t', 128);
    spec.binary_url = "https://example.com/tool?x=1";
    spec.max_retries = 1000;
    spec.timeout_ms = EX_DURATION_MAX_MS;
    spec.memory_mb = EX_LIMIT_MAX;
    spec.priority = EXECUTR_PRIORITY_BEST_EFFORT;
    spec.isolation = EXECUTR_ISOLATION_STRICT;
    spec.exclusive = 1;
    spec.idempotency_key = "a key";
    expect_ok(&spec);
}

Test(job_spec_check, wants_a_type_without_white_space)
{
    const char *const types[] = {
        NULL,       "",          "a b",         "a\tb",          "a\n",
        "\x7f",     "a\xc2\x85", "a\xc2\xa0",   "a\xe2\x80\xa8", "\xe3\x80\x80",
        "\xff\xfe", "a\xc3",     "\xed\xa0\x80"};
    executr_job_spec spec = good();

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        spec.type = types[i];
        expect(&spec, EXECUTR_E_ARGUMENT, "type");
    }
}

Test(job_spec_check, counts_characters_of_a_type_and_not_bytes)
{
    char type[128 * 4 + 4] = "";
    executr_job_spec spec = good();

    for (int i = 0; i < 128; i++)
        memcpy(type + 4 * i, "\xf0\x9f\x98\x80", 5);
    spec.type = type;
    expect_ok(&spec);
    memcpy(type + 4 * 128, "x", 2);
    expect(&spec, EXECUTR_E_ARGUMENT, "type");
    spec.type = repeated('t', 129);
    expect(&spec, EXECUTR_E_ARGUMENT, "type");
    spec.type = repeated('t', 100000);
    expect(&spec, EXECUTR_E_ARGUMENT, "type");
}

Test(job_spec_check, wants_a_hash_of_64_hex_digits)
{
    const char *const hashes[] = {NULL, "", "9f86", SHA "0", "g" SHA};
    executr_job_spec spec = good();

    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        spec.binary_sha256 = hashes[i];
        expect(&spec, EXECUTR_E_ARGUMENT, "binary_sha256");
    }
    spec.binary_sha256 = UPPER;
    expect_ok(&spec);
}

Test(job_spec_check, wants_a_web_address_or_none)
{
    const char *const urls[] = {
        "ftp://example.com/x", "file:///bin/sh", "example.com", "http://",
        "http://a b/"};
    executr_job_spec spec = good();

    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        spec.binary_url = urls[i];
        expect(&spec, EXECUTR_E_ARGUMENT, "binary_url");
    }
    spec.binary_url = "";
    expect_ok(&spec);
}

Test(job_spec_check, limits_the_number_of_arguments)
{
    const char *list[1025];
    executr_job_spec spec = good();

    for (size_t i = 0; i < 1025; i++)
        list[i] = "";
    set_arguments(&spec, list, 1024);
    expect_ok(&spec);
    set_arguments(&spec, list, 1025);
    expect(&spec, EXECUTR_E_TOO_LARGE, "arguments");
}

Test(job_spec_check, limits_the_length_of_a_string)
{
    const char *list[2] = {"a", repeated('x', 131071)};
    executr_job_spec spec = good();

    set_arguments(&spec, list, 2);
    expect_ok(&spec);
    list[1] = repeated('x', 131072);
    expect(&spec, EXECUTR_E_TOO_LARGE, "arguments[1]");
    set_arguments(&spec, NULL, 0);
    set_environment(&spec, list + 1, 1);
    expect(&spec, EXECUTR_E_TOO_LARGE, "env_variables[0]");
}

Test(job_spec_check, limits_arguments_and_environment_together)
{
    const char *arguments[8];
    const char *environment[] = {"ABCDEF="};
    executr_job_spec spec = good();

    /* 8 * 131,071 + 8 bytes are one MiB. */
    for (size_t i = 0; i < 8; i++)
        arguments[i] = repeated('x', 131071);
    set_arguments(&spec, arguments, 8);
    set_environment(&spec, environment, 1);
    expect_ok(&spec);
    environment[0] = "ABCDEFG=";
    expect_ok(&spec);
    environment[0] = "ABCDEFGH=";
    expect(&spec, EXECUTR_E_TOO_LARGE, "env_variables");
}

Test(job_spec_check, refuses_bad_strings)
{
    const char *list[] = {"good", "bad\xff"};
    executr_job_spec spec = good();

    set_arguments(&spec, list, 2);
    expect(&spec, EXECUTR_E_ARGUMENT, "arguments[1]");
    list[1] = NULL;
    expect(&spec, EXECUTR_E_ARGUMENT, "arguments[1]");
    set_arguments(&spec, NULL, 1);
    expect(&spec, EXECUTR_E_ARGUMENT, "arguments");
    set_arguments(&spec, NULL, 0);
    set_environment(&spec, NULL, 1);
    expect(&spec, EXECUTR_E_ARGUMENT, "env_variables");
}

Test(job_spec_check, wants_names_in_the_environment)
{
    const char *const bad[] = {"", "=", "=x", "NAME"};
    executr_job_spec spec = good();

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *list[] = {"A=1", bad[i]};
        set_environment(&spec, list, 2);
        expect(&spec, EXECUTR_E_ARGUMENT, "env_variables");
    }
    const char *list[] = {"A=", "AB==", "a=x"};
    set_environment(&spec, list, 3);
    expect_ok(&spec);
}

Test(job_spec_check, refuses_a_variable_that_stands_twice)
{
    char texts[100][16];
    const char *list[100];
    executr_job_spec spec = good();

    for (size_t i = 0; i < 100; i++) {
        snprintf(texts[i], sizeof texts[i], "N%zu=%zu", i * 7 % 100, i);
        list[i] = texts[i];
    }
    for (size_t count = 10; count <= 100; count += 90) {
        set_environment(&spec, list, count);
        expect_ok(&spec);
        list[count - 1] = "N0=again";
        expect(&spec, EXECUTR_E_ARGUMENT, "env_variables");
        list[count - 1] = texts[count - 1];
    }
}

static void expect_bad_number(const executr_job_spec *spec, const char *field)
{
    expect(spec, EXECUTR_E_ARGUMENT, field);
}

Test(job_spec_check, refuses_numbers_out_of_range)
{
    executr_job_spec spec = good();
    spec.priority = 4;
    expect_bad_number(&spec, "priority");
    spec = good();
    spec.max_retries = -1;
    expect_bad_number(&spec, "max_retries");
    spec = good();
    spec.timeout_ms = -1;
    expect_bad_number(&spec, "timeout");
    spec = good();
    spec.memory_mb = EX_LIMIT_MAX + 1;
    expect_bad_number(&spec, "memory_mb");
    spec = good();
    spec.isolation = 5;
    expect_bad_number(&spec, "isolation");
}

Test(job_spec_check, wants_flags_and_reserved_fields_in_order)
{
    executr_job_spec spec = good();
    spec.exclusive = 2;
    expect_bad_number(&spec, "exclusive");
    spec = good();
    spec.reserved = 1;
    expect_bad_number(&spec, "reserved");
    spec = good();
    spec.struct_size = 4;
    expect_bad_number(&spec, "struct_size");
    spec = good();
    spec.idempotency_key = "";
    expect_bad_number(&spec, "Idempotency-Key");
    spec.idempotency_key = repeated('k', 256);
    expect_bad_number(&spec, "Idempotency-Key");
}

Test(job_spec_take, lowers_the_hash_and_sets_the_priority)
{
    ex_arena arena = EX_ARENA_INIT;
    executr_job_spec spec = good();
    executr_job_spec out;

    spec.binary_sha256 = UPPER;
    cr_assert_eq(ex_spec_take(&spec, &arena, &out, NULL), EXECUTR_OK);
    cr_expect_str_eq(out.binary_sha256, SHA);
    cr_expect_str_eq(spec.binary_sha256, UPPER);
    cr_expect_eq(out.priority, EXECUTR_PRIORITY_BACKGROUND);
    ex_arena_clear(&arena);
}

Test(job_spec_demands, name_what_an_executor_must_offer)
{
    executr_job_spec spec = good();
    cr_expect_eq(ex_spec_demands(&spec), 0);
    spec.kill_grace_ms = 5;
    spec.isolation = EXECUTR_ISOLATION_NONE;
    cr_expect_eq(ex_spec_demands(&spec), 0);
    spec.timeout_ms = spec.memory_mb = spec.cpu_seconds = 1;
    spec.max_processes = spec.max_file_mb = 1;
    spec.isolation = EXECUTR_ISOLATION_BASIC;
    cr_expect_eq(ex_spec_demands(&spec), 63);
    spec.isolation = EXECUTR_ISOLATION_STANDARD;
    cr_expect_eq(ex_spec_demands(&spec), 31 + EXECUTR_OFFER_STANDARD);
    spec.isolation = EXECUTR_ISOLATION_STRICT;
    cr_expect_eq(ex_spec_demands(&spec), 31 + EXECUTR_OFFER_STRICT);
}

Test(job_spec_json, is_compact_and_escaped)
{
    const char *arguments[] = {"a\"b", "", "\xc3\xa9\n"};
    const char *environment[] = {"K=v=w", "Q\"=", "B=\\"};
    executr_job_spec spec = good();
    ex_buf out;

    set_arguments(&spec, arguments, 3);
    set_environment(&spec, environment, 3);
    ex_buf_init(&out, EX_BUF_UNLIMITED);
    ex_spec_arguments_json(&spec, &out);
    cr_expect_str_eq(out.data, "[\"a\\\"b\",\"\",\"\xc3\xa9\\n\"]");
    ex_buf_reset(&out);
    ex_spec_environment_json(&spec, &out);
    cr_expect_str_eq(out.data, "{\"K\":\"v=w\",\"Q\\\"\":\"\",\"B\":\"\\\\\"}");
    ex_buf_clear(&out);
}

static const char *digest(const executr_job_spec *spec)
{
    static char texts[4][65];
    static int next;

    char *text = texts[next++ % 4];
    cr_assert_eq(ex_spec_digest(spec, text, NULL), EXECUTR_OK);
    cr_assert_eq(strlen(text), 64);
    return text;
}

Test(job_spec_digest, is_equal_for_equal_descriptions)
{
    const char *one[] = {"A=1", "B=2", "AB=3"};
    const char *two[] = {"AB=3", "B=2", "A=1"};
    executr_job_spec first = good();
    executr_job_spec second = good();

    set_environment(&first, one, 3);
    set_environment(&second, two, 3);
    second.binary_sha256 = UPPER;
    second.binary_url = "";
    second.priority = EXECUTR_PRIORITY_BACKGROUND;
    second.idempotency_key = "not part of it";
    cr_expect_str_eq(digest(&first), digest(&second));
    cr_expect_str_eq(two[0], "AB=3", "the caller's list stays as it was");
}

Test(job_spec_digest, differs_with_the_description)
{
    const char *one[] = {"ab", "c"};
    const char *two[] = {"a", "bc"};
    executr_job_spec first = good();
    executr_job_spec second = good();

    set_arguments(&first, one, 2);
    set_arguments(&second, two, 2);
    cr_expect_str_neq(digest(&first), digest(&second));
    set_arguments(&second, one, 2);
    cr_expect_str_eq(digest(&first), digest(&second));
    second.timeout_ms = 1;
    cr_expect_str_neq(digest(&first), digest(&second));
}
