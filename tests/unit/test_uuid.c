/* SPDX-License-Identifier: MIT */
/* Ids: their form, their order, and their order over threads. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "base/uuid.h"

#define MANY 20000

Test(uuid_make, gives_version_7_with_the_time_in_front)
{
    ex_uuid id;

    uint64_t before = (uint64_t)ex_now_us() / 1000;
    cr_assert_eq(ex_uuid_make(&id, 1, NULL), EXECUTR_OK);
    uint64_t after = (uint64_t)ex_now_us() / 1000;
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.bytes[i];
    cr_expect(ms >= before && ms <= after);
    cr_expect_eq(id.bytes[6] >> 4, 7);
    cr_expect_eq(id.bytes[8] >> 6, 2);
}

/* 1 if all ids are version 7 and each is greater than the one before. */
static int increasing(const ex_uuid *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i].bytes[6] >> 4 != 7 || ids[i].bytes[8] >> 6 != 2)
            return 0;
        if (i > 0 && ex_uuid_compare(&ids[i - 1], &ids[i]) >= 0)
            return 0;
    }
    return 1;
}

Test(uuid_make, increases_within_a_call_and_over_calls)
{
    static ex_uuid ids[MANY];

    cr_assert_eq(ex_uuid_make(ids, MANY / 2, NULL), EXECUTR_OK);
    for (size_t i = MANY / 2; i < MANY; i++)
        cr_assert_eq(ex_uuid_make(&ids[i], 1, NULL), EXECUTR_OK);
    cr_expect(increasing(ids, MANY));
}

Test(uuid_make, carries_the_stamp_into_all_its_bits)
{
    static ex_uuid ids[200000]; /* more than 16 bits count */

    cr_assert_eq(ex_uuid_make(ids, 200000, NULL), EXECUTR_OK);
    cr_expect(increasing(ids, 200000));
}

static void *make_many(void *ids)
{
    for (ex_uuid *id = ids; id < (ex_uuid *)ids + MANY; id += 10) {
        if (ex_uuid_make(id, 10, NULL))
            return NULL;
    }
    return ids;
}

static int compare(const void *a, const void *b)
{
    return ex_uuid_compare(a, b);
}

Test(uuid_make, increases_in_every_thread_and_never_repeats)
{
    static ex_uuid ids[4][MANY];
    pthread_t threads[4];
    void *result;

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, make_many, ids[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        cr_assert_not_null(result);
        cr_expect(increasing(ids[i], MANY));
    }
    qsort(ids, 4 * MANY, sizeof(ex_uuid), compare);
    cr_expect(increasing(ids[0], 4 * MANY));
}

Test(uuid_make, does_not_repeat_in_a_forked_child)
{
    ex_uuid own;
    ex_uuid theirs;
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        int bad = ex_uuid_make(&theirs, 1, NULL) ||
                  write(ends[1], &theirs, sizeof theirs) != sizeof theirs;
        _exit(bad ? 1 : 0);
    }
    cr_assert_eq(ex_uuid_make(&own, 1, NULL), EXECUTR_OK);
    cr_assert_eq(read(ends[0], &theirs, sizeof theirs), (int)sizeof theirs);
    cr_expect_neq(memcmp(own.bytes + 9, theirs.bytes + 9, 7), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
}

Test(uuid_text, is_read_back_the_same)
{
    const char *text = "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f";
    char back[EX_UUID_TEXT];
    ex_uuid id;

    cr_assert_eq(ex_uuid_parse(text, &id), 0);
    cr_expect_eq(id.bytes[0], 0x01);
    cr_expect_eq(id.bytes[15], 0x8f);
    ex_uuid_format(&id, back);
    cr_expect_str_eq(back, text);
}

Test(uuid_text, refuses_any_other_text)
{
    const char *const bad[] = {
        "",
        "0192f0c1",
        "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398",
        "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f0",
        "0192F0C1-7a7e-7cc3-98c4-dc0c0c07398f",
        "0192f0c1a7a7e-7cc3-98c4-dc0c0c07398f",
        "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398g",
        "../../../7a7e-7cc3-98c4-dc0c0c07398f",
        "{192f0c1-7a7e-7cc3-98c4-dc0c0c07398}"};
    ex_uuid id;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_eq(ex_uuid_parse(bad[i], &id), -1, "%s", bad[i]);
}
