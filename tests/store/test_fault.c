/* SPDX-License-Identifier: MIT */
/* Memory that runs out at each allocation in turn: an error, no half work. */
#include "store/suite.h"

TestSuite(fault, .init = suite_open, .fini = suite_close);

typedef executr_status (*scenario)(void);

/* Run it with the 1st, 2nd, … allocation failing, until none is reached. */
static void torture(scenario run)
{
    executr_status st = EXECUTR_E_NOMEM;
    uint64_t n = 0;

    while (st && n < 1000) {
        ex_alloc_fail_at(++n);
        st = run();
        ex_alloc_fail_at(0);
        cr_assert(
            st == EXECUTR_OK || st == EXECUTR_E_NOMEM, "at %u: %s", (unsigned)n,
            err.message);
        suite_check();
    }
    cr_expect(n > 1, "nothing was allocated");
    cr_expect_eq(st, EXECUTR_OK);
}

static executr_jobs *list;
static executr_job_spec spec;
static ex_submit entries[3];

static executr_status try_submit(void)
{
    return submit(entries, 3);
}

Test(fault, submit_is_all_or_nothing)
{
    spec = spec_of("t");
    spec.memory_mb = 5;
    for (int i = 0; i < 3; i++)
        entries[i] = entry_of(&spec);
    torture(try_submit);
    cr_expect_eq(number("SELECT count(*) FROM jobs"), 3);
}

static executr_status try_claim(void)
{
    static const char *const types[] = {"many", "other"};
    executr_claim request = claim_of("e1", 3);
    ex_claim claim = {&request, list};

    request.types = types;
    request.type_count = 2;
    return store->ops->claim(store, &claim, 1, &err);
}

Test(fault, claim_takes_whole_jobs)
{
    put_many(1000, NULL);
    list = new_list();
    torture(try_claim);
}

static ex_uuid wanted;

/* Appended to a list that was made before, since that allocates too. */
static executr_status try_get(void)
{
    return store->ops->get(store, &wanted, EXECUTR_PART_ALL, list, &err);
}

static executr_status try_list(void)
{
    executr_filter filter = EXECUTR_FILTER_INIT;

    filter.type = "t";
    return store->ops->list(store, &filter, list, &err);
}

Test(fault, reads_fail_cleanly)
{
    wanted = put_running("e1");
    must(end("e1", &wanted, 1, EXECUTR_ATTEMPT_COMPLETED));
    list = new_list();
    torture(try_get);
    torture(try_list);
}
