/* SPDX-License-Identifier: MIT */
/* Submitting: what is kept, idempotency keys, jobs with stored binaries. */
#include <string.h>

#include "store/suite.h"

TestSuite(submit, .init = suite_open, .fini = suite_close);

/* A description with every field set. */
static executr_job_spec full_spec(void)
{
    executr_job_spec spec = spec_of("full");

    spec.priority = EXECUTR_PRIORITY_BEST_EFFORT;
    spec.max_retries = 7;
    spec.exclusive = 1;
    spec.timeout_ms = 90000;
    spec.kill_grace_ms = 1500;
    spec.memory_mb = 256;
    spec.cpu_seconds = 30;
    spec.max_processes = 10;
    spec.max_file_mb = 20;
    spec.isolation = EXECUTR_ISOLATION_STANDARD;
    return spec;
}

Test(submit, keeps_the_description)
{
    executr_job_spec spec = full_spec();
    ex_uuid id = put_spec(&spec);
    const job *got = look(&id, 0);

    cr_expect_str_eq(got->type, "full");
    cr_expect_str_eq(got->binary_url, "http://example.com/tool");
    cr_expect_str_eq(got->binary_sha256, SHA_A);
    cr_expect_eq(got->priority, EXECUTR_PRIORITY_BEST_EFFORT);
    cr_expect_eq(got->max_retries, 7);
    cr_expect_eq(got->exclusive, 1);
    cr_expect_str_eq(got->arguments_json, "[\"a\",\"b\"]");
    cr_expect_str_eq(got->environment_json, "{\"K\":\"v\"}");
}

Test(submit, keeps_the_limits)
{
    executr_job_spec spec = full_spec();
    ex_uuid id = put_spec(&spec);
    const job *got = look(&id, 0);

    cr_expect_eq(got->timeout_ms, 90000);
    cr_expect_eq(got->kill_grace_ms, 1500);
    cr_expect_eq(got->memory_mb, 256);
    cr_expect_eq(got->cpu_seconds, 30);
    cr_expect_eq(got->max_processes, 10);
    cr_expect_eq(got->max_file_mb, 20);
    cr_expect_eq(got->isolation, EXECUTR_ISOLATION_STANDARD);
}

Test(submit, starts_pending_with_nothing_done)
{
    ex_uuid id = put("t", EXECUTR_PRIORITY_BACKGROUND);
    const job *got = look(&id, EXECUTR_PART_ALL);

    cr_expect_eq(got->status, EXECUTR_JOB_PENDING);
    cr_expect_eq(got->attempt, 0);
    cr_expect_eq(got->retry_count, 0);
    cr_expect_eq(got->has_exit_code, 0);
    cr_expect_eq(got->attempt_count, 0);
    cr_expect_eq(got->started_at_us, 0);
    cr_expect_eq(got->completed_at_us, 0);
    cr_expect_str_eq(got->executor_id, "");
    cr_expect_str_eq(got->error_message, "");
}

Test(submit, says_when_it_was_created)
{
    executr_job_spec spec = spec_of("t");
    ex_submit entry = entry_of(&spec);

    must(submit(&entry, 1));
    const job *got = look(&entry.id, 0);
    cr_expect(entry.created_at_us > INT64_C(1577836800000000));
    cr_expect_eq(got->created_at_us, entry.created_at_us);
    cr_expect_eq(entry.repeated, 0);
}

Test(submit, takes_a_thousand_at_once)
{
    ex_uuid ids[1000];

    put_many(1000, ids);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 1000);
    cr_expect_eq(status_of(&ids[999]), EXECUTR_JOB_PENDING);
}

Test(submit, keeps_arguments_to_the_byte)
{
    static char arguments[200000];
    executr_job_spec spec = spec_of("t");
    ex_submit entry = entry_of(&spec);

    memset(arguments, 'x', sizeof arguments);
    memcpy(arguments, "[\"\\u0001\\\\ \xc3\xa9 '", 13);
    memcpy(arguments + sizeof arguments - 3, "\"]", 3);
    entry.arguments = arguments;
    entry.environment = "{\"B\":\"1\",\"A\":\"2 $1 ? ; --\"}";
    must(submit(&entry, 1));
    const job *got = look(&entry.id, 0);
    cr_expect_str_eq(got->arguments_json, arguments);
    cr_expect_str_eq(got->environment_json, entry.environment);
}

/* One keyed submission; its entry as it came back. */
static ex_submit keyed(const char *key, const char *digest)
{
    static executr_job_spec spec;

    spec = spec_of("keyed");
    spec.idempotency_key = key;
    ex_submit entry = entry_of(&spec);
    entry.digest = digest;
    must(submit(&entry, 1));
    return entry;
}

Test(submit, gives_the_first_job_to_a_repeated_key)
{
    ex_submit first = keyed("key 1", "d1");
    ex_submit again = keyed("key 1", "d1");

    must(again.result);
    cr_expect_eq(first.repeated, 0);
    cr_expect_eq(again.repeated, 1);
    cr_expect(same_id(&first.id, &again.id));
    cr_expect_eq(again.created_at_us, first.created_at_us);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 1);
}

Test(submit, refuses_a_key_used_for_another_description)
{
    ex_submit first = keyed("key 1", "d1");
    ex_submit other = keyed("key 1", "d2");
    ex_submit free = keyed("key 2", "d2");

    must(first.result);
    must(free.result);
    cr_expect_eq(other.result, EXECUTR_E_CONFLICT);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 2);
}

Test(submit, knows_equal_keys_in_one_batch)
{
    executr_job_spec spec = spec_of("t");
    ex_submit batch[4];

    spec.idempotency_key = "same";
    for (int i = 0; i < 4; i++) {
        batch[i] = entry_of(&spec);
        batch[i].digest = i == 2 ? "other" : "d";
    }
    must(submit(batch, 4));
    cr_expect_eq(batch[0].repeated, 0);
    cr_expect_eq(batch[1].repeated, 1);
    cr_expect(same_id(&batch[0].id, &batch[1].id));
    cr_expect_eq(batch[2].result, EXECUTR_E_CONFLICT);
    cr_expect(same_id(&batch[0].id, &batch[3].id));
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 1);
}

Test(submit, mixes_new_and_repeated_jobs_in_one_batch)
{
    executr_job_spec plain = spec_of("t");
    executr_job_spec spec = spec_of("t");
    ex_submit old = keyed("k", "d");

    spec.idempotency_key = "k";
    ex_submit batch[3] = {entry_of(&plain), entry_of(&spec), entry_of(&plain)};
    batch[1].digest = "d";
    must(submit(batch, 3));
    cr_expect_eq(batch[0].repeated, 0);
    cr_expect_eq(batch[1].repeated, 1);
    cr_expect(same_id(&batch[1].id, &old.id));
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 3);
}

Test(submit, refuses_no_url_without_a_stored_binary)
{
    executr_job_spec bare = spec_of("bare");
    executr_job_spec plain = spec_of("t");

    bare.binary_url = NULL;
    ex_submit batch[2] = {entry_of(&bare), entry_of(&plain)};
    must(submit(batch, 2));
    cr_expect_eq(batch[0].result, EXECUTR_E_NOT_FOUND);
    must(batch[1].result);
    cr_expect_eq(stats().jobs[EXECUTR_JOB_PENDING], 1);
}

Test(submit, takes_no_url_with_a_stored_binary)
{
    executr_job_spec bare = spec_of("bare");
    ex_uuid upload;
    int32_t created = 0;

    must(ex_uuid_make(&upload, 1, &err));
    must(store->ops->binary_begin(store, &upload, &err));
    must(store->ops->binary_part(store, &upload, 0, "x", 1, &err));
    must(store->ops->binary_end(store, &upload, SHA_A, 1, &created, &err));
    bare.binary_url = NULL;
    ex_uuid id = put_spec(&bare);
    cr_expect_str_eq(look(&id, 0)->binary_url, "");
}
