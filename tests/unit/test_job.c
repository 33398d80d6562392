/* SPDX-License-Identifier: MIT */
/* Job records: their words, legal moves, lists and getters. */
#include <criterion/criterion.h>
#include <string.h>

#include "job.h"

static executr_jobs *jobs;
static struct executr_job *job;

static void begin(void)
{
    executr_error err;

    cr_assert_eq(ex_jobs_new(&jobs, &err), EXECUTR_OK);
    cr_assert_eq(ex_jobs_add(jobs, &job, &err), EXECUTR_OK);
}

static void end(void)
{
    executr_jobs_free(jobs);
}

TestSuite(jobs, .init = begin, .fini = end);
TestSuite(job_unpack, .init = begin, .fini = end);

Test(job_words, are_those_of_the_api)
{
    cr_expect_str_eq(executr_priority_word(1), "foreground");
    cr_expect_str_eq(executr_priority_word(0), "background");
    cr_expect_str_eq(executr_job_status_word(5), "cancelled");
    cr_expect_str_eq(executr_attempt_status_word(6), "released");
    cr_expect_str_eq(executr_outcome_word(9), "lost");
    cr_expect_str_eq(executr_isolation_word(4), "strict");
    cr_expect_str_eq(ex_offer_word(1), "memory_mb");
}

Test(job_words, are_empty_outside_the_range)
{
    cr_expect_str_eq(executr_priority_word(4), "");
    cr_expect_str_eq(executr_priority_word(-1), "");
    cr_expect_str_eq(executr_job_status_word(0), "");
    cr_expect_str_eq(executr_job_status_word(6), "");
    cr_expect_str_eq(executr_attempt_status_word(7), "");
    cr_expect_str_eq(executr_outcome_word(0), "");
    cr_expect_str_eq(executr_isolation_word(INT32_MAX), "");
    cr_expect_str_eq(ex_offer_word(8), "");
}

Test(job_words, parse_back_to_their_numbers)
{
    for (int32_t i = 1; i <= 3; i++)
        cr_expect_eq(executr_priority_parse(executr_priority_word(i)), i);
    for (int32_t i = 1; i <= 5; i++)
        cr_expect_eq(executr_job_status_parse(executr_job_status_word(i)), i);
    for (int32_t i = 1; i <= 6; i++)
        cr_expect_eq(
            ex_attempt_status_parse(executr_attempt_status_word(i)), i);
    for (int32_t i = 1; i <= 9; i++)
        cr_expect_eq(executr_outcome_parse(executr_outcome_word(i)), i);
    for (int32_t i = 1; i <= 4; i++)
        cr_expect_eq(executr_isolation_parse(executr_isolation_word(i)), i);
    for (int32_t i = 0; i < 8; i++)
        cr_expect_eq(ex_offer_parse(ex_offer_word(i)), 1u << i);
}

Test(job_words, are_parsed_strictly)
{
    const char *const words[] = {
        NULL, "", " ", "Background", "background ", "back", "0", "2"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        cr_expect_eq(executr_priority_parse(words[i]), 0);
        cr_expect_eq(executr_job_status_parse(words[i]), 0);
        cr_expect_eq(executr_outcome_parse(words[i]), 0);
        cr_expect_eq(executr_isolation_parse(words[i]), 0);
    }
}

Test(job_moves, are_those_of_the_model_and_no_others)
{
    /* Rows: from; columns: to pending, running, completed, failed,
     * cancelled. */
    static const char *const moves[] = {
        ".x..x", "x.xxx", ".....", "x....", "x...."};

    for (int32_t from = 0; from <= 6; from++) {
        for (int32_t to = 0; to <= 6; to++) {
            int known = from >= 1 && from <= 5 && to >= 1 && to <= 5;
            int legal = known && moves[from - 1][to - 1] == 'x';
            cr_expect_eq(
                ex_job_may_move(from, to), legal, "%d to %d", from, to);
        }
    }
}

Test(jobs, begin_empty)
{
    cr_expect_eq(executr_jobs_count(jobs), 1);
    cr_expect_eq(executr_jobs_at(jobs, 0), job);
    cr_expect_str_eq(executr_job_id(job), "");
    cr_expect_str_eq(executr_job_executor_id(job), "");
    cr_expect_str_eq(job->arguments_json, "[]");
    cr_expect_str_eq(job->environment_json, "{}");
    cr_expect_str_eq(executr_job_argument(job, 0), "");
    cr_expect_str_eq(executr_job_environment(job, 0), "");
    cr_expect_null(executr_job_attempt_at(job, 0));
}

Test(jobs, keep_their_records_while_the_list_grows)
{
    for (int i = 0; i < 1000; i++) {
        struct executr_job *another;
        cr_assert_eq(ex_jobs_add(jobs, &another, NULL), EXECUTR_OK);
        another->retry_count = i;
    }
    cr_expect_eq(executr_jobs_count(jobs), 1001);
    cr_expect_eq(executr_jobs_at(jobs, 0), job);
    cr_expect_eq(executr_job_retry_count(executr_jobs_at(jobs, 1000)), 999);
    cr_expect_null(executr_jobs_at(jobs, 1001));
}

Test(jobs, tell_an_exit_code_only_where_there_is_one)
{
    int32_t code = 77;

    cr_expect_eq(executr_job_exit_code(job, &code), 0);
    cr_expect_eq(code, 77);
    job->has_exit_code = 1;
    cr_expect_eq(executr_job_exit_code(job, &code), 1);
    cr_expect_eq(code, 0);
}

Test(jobs, read_as_empty_where_there_is_none)
{
    size_t length = 5;
    int32_t code;

    cr_expect_eq(executr_jobs_count(NULL), 0);
    cr_expect_null(executr_jobs_at(NULL, 0));
    cr_expect_str_eq(executr_job_id(NULL), "");
    cr_expect_str_eq(executr_job_stdout(NULL, &length), "");
    cr_expect_eq(length, 0);
    cr_expect_eq(executr_job_exit_code(NULL, &code), 0);
    cr_expect_eq(executr_job_attempt_count(NULL), 0);
    cr_expect_eq(executr_attempt_number(NULL), 0);
    cr_expect_str_eq(executr_attempt_executor_ip(NULL), "");
    cr_expect_str_eq(executr_executors_id(NULL, 0), "");
    executr_jobs_free(NULL);
    executr_executors_free(NULL);
    executr_stats_free(NULL);
}

Test(jobs, give_no_half_record_when_memory_is_out)
{
    struct executr_job *another = job;
    executr_error err;
    executr_jobs *list;

    ex_alloc_fail_at(1);
    cr_expect_eq(ex_jobs_new(&list, &err), EXECUTR_E_NOMEM);
    cr_expect_null(list);
    for (int i = 1; i < 8; i++)
        cr_assert_eq(ex_jobs_add(jobs, &another, &err), EXECUTR_OK);
    ex_alloc_fail_at(1); /* the ninth record needs a longer list */
    cr_expect_eq(ex_jobs_add(jobs, &another, &err), EXECUTR_E_NOMEM);
    cr_expect_null(another);
    cr_expect_eq(executr_jobs_count(jobs), 8);
}

Test(job_unpack, gives_plain_arguments_and_variables)
{
    job->arguments_json = "[\"a\",\"\",\"b c, [\xc3\xa9]\"]";
    job->environment_json = "{\"A\":\"1\",\"B\":\"x=y:{}\",\"C\":\"\"}";
    cr_assert_eq(ex_job_unpack(jobs, job, NULL), EXECUTR_OK);
    cr_assert_eq(executr_job_argument_count(job), 3);
    cr_expect_str_eq(executr_job_argument(job, 0), "a");
    cr_expect_str_eq(executr_job_argument(job, 1), "");
    cr_expect_str_eq(executr_job_argument(job, 2), "b c, [\xc3\xa9]");
    cr_assert_eq(executr_job_environment_count(job), 3);
    cr_expect_str_eq(executr_job_environment(job, 0), "A=1");
    cr_expect_str_eq(executr_job_environment(job, 1), "B=x=y:{}");
    cr_expect_str_eq(executr_job_environment(job, 2), "C=");
}

Test(job_unpack, resolves_escapes_and_skips_spaces)
{
    job->arguments_json = "[\"a\\\"b\", \"\\u00e9\\n\"]";
    job->environment_json = "{\"A\" : \"\\\\\", \"B\": \"2\"}";
    cr_assert_eq(ex_job_unpack(jobs, job, NULL), EXECUTR_OK);
    cr_assert_eq(executr_job_argument_count(job), 2);
    cr_expect_str_eq(executr_job_argument(job, 0), "a\"b");
    cr_expect_str_eq(executr_job_argument(job, 1), "\xc3\xa9\n");
    cr_assert_eq(executr_job_environment_count(job), 2);
    cr_expect_str_eq(executr_job_environment(job, 0), "A=\\");
    cr_expect_str_eq(executr_job_environment(job, 1), "B=2");
}

Test(job_unpack, gives_empty_lists)
{
    cr_assert_eq(ex_job_unpack(jobs, job, NULL), EXECUTR_OK);
    cr_expect_eq(executr_job_argument_count(job), 0);
    cr_expect_eq(executr_job_environment_count(job), 0);
    cr_expect_not_null(job->arguments);
    cr_expect_not_null(job->environment);
}

static const char *const no_array[] = {
    "",
    "[",
    "]",
    "{}",
    "[\"a\"",
    "[\"a\",]",
    "[\"a\"\"b\"]",
    "[,\"a\"]",
    "[1]",
    "[\"a\",null]",
    "[\"a\n\"]",
    "[\"\xff\"]",
    "[\"a\"]x",
    "[\"a",
    "\"a\"",
    "[\"a\":\"b\"]",
    "[\"\\u0000\"]"};

Test(job_unpack, refuses_what_is_no_array_of_strings)
{
    for (size_t i = 0; i < sizeof no_array / sizeof *no_array; i++) {
        job->arguments_json = no_array[i];
        cr_expect_eq(
            ex_job_unpack(jobs, job, NULL), EXECUTR_E_ARGUMENT, "%s",
            no_array[i]);
        cr_expect_null(job->arguments);
    }
}

static const char *const no_object[] = {
    "",
    "{",
    "[]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1}",
    "{\"a\",\"b\"}",
    "{\"a\":\"b\"",
    "{\"a\":\"b\",}",
    "{\"a\":\"b\"\"c\":\"d\"}",
    "{\"\":\"b\\n\"}",
    "{\"a=b\":\"\\n\"}",
    "{\"a\":\"\\n\",\"a\":\"\"}"};

Test(job_unpack, refuses_what_is_no_object_of_strings)
{
    for (size_t i = 0; i < sizeof no_object / sizeof *no_object; i++) {
        job->environment_json = no_object[i];
        cr_expect_eq(
            ex_job_unpack(jobs, job, NULL), EXECUTR_E_ARGUMENT, "%s",
            no_object[i]);
        cr_expect_null(job->environment);
    }
}

Test(job_unpack, can_be_tried_again_when_memory_was_out)
{
    char text[10000];

    memset(text, 'x', sizeof text);
    memcpy(text, "[\"", 2);
    memcpy(text + sizeof text - 3, "\"]", 3);
    job->arguments_json = text;
    ex_alloc_fail_at(1);
    cr_expect_eq(ex_job_unpack(jobs, job, NULL), EXECUTR_E_NOMEM);
    cr_expect_null(job->arguments);
    cr_expect_eq(ex_job_unpack(jobs, job, NULL), EXECUTR_OK);
    cr_assert_eq(executr_job_argument_count(job), 1);
    cr_expect_eq(strlen(executr_job_argument(job, 0)), sizeof text - 5);
}
