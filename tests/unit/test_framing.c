/* SPDX-License-Identifier: MIT */
/* Requests that could be read in two ways are refused. */
#include <criterion/criterion.h>

#include "apps/server/framing.h"

/* Ask about a request with these headers, a name and a value each. */
static const char *problem_of(const char *const *pairs, size_t count)
{
    framing f = {.version = "1.1", .path = "/api/v1/jobs"};
    f.names[0] = "Host";
    f.values[0] = "x";
    f.count = 1 + count;
    for (size_t i = 0; i < count; i++) {
        f.names[1 + i] = pairs[2 * i];
        f.values[1 + i] = pairs[2 * i + 1];
    }
    return framing_problem(&f);
}

Test(framing, lets_plain_requests_through)
{
    const char *const one[] = {"Content-Length", "12"};
    const char *const other[] = {"transfer-encoding", "Chunked"};
    cr_expect_null(problem_of(NULL, 0));
    cr_expect_null(problem_of(one, 1));
    cr_expect_null(problem_of(other, 1));
}

Test(framing, refuses_lengths_that_are_no_plain_number)
{
    const char *const bad[] = {"", "+5", "-1", "0x10", "5 5", "5, 5", "1e3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const pair[] = {"Content-Length", bad[i]};
        cr_expect(problem_of(pair, 1), "'%s'", bad[i]);
    }
}

Test(framing, refuses_encodings_other_than_chunked)
{
    const char *const bad[] = {"identity", "gzip", "gzip, chunked", "", "x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const pair[] = {"Transfer-Encoding", bad[i]};
        cr_expect(problem_of(pair, 1), "'%s'", bad[i]);
    }
}

Test(framing, refuses_headers_that_contradict_each_other)
{
    const char *const names[] = {
        "Content-Length", "Content-Type", "Authorization", "Idempotency-Key"};
    const char *const both[] = {
        "Content-Length", "5", "Transfer-Encoding", "chunked"};
    cr_expect(problem_of(both, 2));
    for (size_t i = 0; i < 4; i++) {
        const char *const twice[] = {names[i], "1", names[i], "1"};
        cr_expect(problem_of(twice, 2), "%s", names[i]);
        cr_expect_null(problem_of(twice, 1));
    }
}

Test(framing, refuses_names_with_spaces)
{
    const char *const bad[] = {" X", "Content-Length ", "X\tY", "", "X:"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const pair[] = {bad[i], "5"};
        cr_expect(problem_of(pair, 1), "'%s'", bad[i]);
    }
}

Test(framing, refuses_more_headers_than_are_kept)
{
    framing f = {.version = "1.1", .count = FRAMING_HEADERS};
    for (size_t i = 0; i < FRAMING_HEADERS; i++) {
        f.names[i] = i ? "X" : "Host";
        f.values[i] = "y";
    }
    cr_expect(framing_problem(&f));
    f.count--;
    cr_expect_null(framing_problem(&f));
}

Test(framing, wants_one_host_from_http_1_1)
{
    framing f = {.version = "1.1"};
    cr_expect(framing_problem(&f));
    f.version = "1.0";
    cr_expect_null(framing_problem(&f));
    f.names[0] = "Transfer-Encoding";
    f.values[0] = "chunked";
    f.count = 1;
    cr_expect(framing_problem(&f), "HTTP/1.0 knows no chunks");
}

Test(framing, refuses_a_nul_and_bad_codes_in_the_path)
{
    framing f = {.version = "1.0", .path = "/api/v1/jobs/x%00y"};
    cr_expect(framing_problem(&f));
    f.path = "/api/v1/jobs/x%zz";
    cr_expect(framing_problem(&f));
    f.path = "/api/v1/jobs/x%2";
    cr_expect(framing_problem(&f));
    f.path = "/api/v1/jobs/x%20y";
    cr_expect_null(framing_problem(&f));
}
