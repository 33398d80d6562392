/* SPDX-License-Identifier: MIT */
/* The binary cache: gets that are given up, and many at once. */
#include "support/cache_bench.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(cache_cancel, .init = cache_setup, .fini = cache_teardown);
TestSuite(cache_many, .init = cache_setup, .fini = cache_teardown);

/* A get in a thread of its own, which can be given up. */
typedef struct getter {
    pthread_t thread;
    const binary *what;
    executr_cancel *cancel;
    executr_status status;
} getter;

static void *run(void *memory)
{
    getter *g = memory;
    executr_cache_request request = EXECUTR_CACHE_REQUEST_INIT;
    executr_pin *pin;
    executr_error why;

    request.sha256 = g->what->sha256;
    request.url = g->what->url;
    request.cancel = g->cancel;
    g->status = executr_cache_obtain(cache, &request, &pin, &why);
    cr_expect_eq(pin != NULL, g->status == EXECUTR_OK);
    executr_pin_free(pin);
    return NULL;
}

static void begin(getter *g, const binary *b)
{
    g->what = b;
    cr_assert_eq(executr_cancel_open(&g->cancel, &err), EXECUTR_OK);
    cr_assert_eq(pthread_create(&g->thread, NULL, run, g), 0);
}

static executr_status end(getter *g)
{
    pthread_join(g->thread, NULL);
    executr_cancel_free(g->cancel);
    return g->status;
}

static void let_time_pass(void)
{
    nanosleep(&(struct timespec){0, 50000000}, NULL);
}

static void wait_for_request(void)
{
    while (http_fixture_requests(server) == 0)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
}

Test(cache_cancel, ends_a_download_that_hangs)
{
    getter g;
    binary b = serve('a', 1000, (http_script){.hang = 1});

    begin(&g, &b);
    wait_for_request();
    executr_cancel_call(g.cancel);
    cr_assert_eq(end(&g), EXECUTR_E_CANCELLED);
    cr_assert_eq(count_files("."), 0);
    b = serve_well('a', 1000);
    executr_pin_free(must_get(&b));
}

Test(cache_cancel, what_was_given_up_before_asks_nobody)
{
    getter g = {0};
    binary b = serve_well('a', 1000);

    g.what = &b;
    cr_assert_eq(executr_cancel_open(&g.cancel, &err), EXECUTR_OK);
    executr_cancel_call(g.cancel);
    run(&g);
    cr_assert_eq(g.status, EXECUTR_E_CANCELLED);
    executr_cancel_free(g.cancel);
    cr_assert_eq(http_fixture_requests(server), 0);
    executr_cancel_free(NULL);
}

Test(cache_cancel, keeps_what_came_for_the_next)
{
    getter g;
    binary b = serve(
        'a', 100000,
        (http_script){
            .drip = 5000,
            .drip_ms = 30,
            .ranges = 1,
            .headers = "ETag: \"1\"\r\n"});

    begin(&g, &b);
    wait_for_request();
    while (count_files("tmp") < 2)
        let_time_pass();
    let_time_pass();
    executr_cancel_call(g.cancel);
    cr_assert_eq(end(&g), EXECUTR_E_CANCELLED);
    executr_pin_free(must_get(&b));
    cr_assert(strstr(http_fixture_head(server), "\r\nRange: bytes="));
}

Test(cache_cancel, one_that_waits_leaves_the_others)
{
    getter first;
    getter second;
    binary b = serve('a', 20000, (http_script){.delay_ms = 400});

    begin(&first, &b);
    wait_for_request();
    begin(&second, &b);
    let_time_pass();
    executr_cancel_call(second.cancel);
    cr_assert_eq(end(&second), EXECUTR_E_CANCELLED);
    cr_assert_eq(end(&first), EXECUTR_OK);
    cr_assert_eq(http_fixture_requests(server), 1);
}

Test(cache_cancel, a_download_goes_on_for_those_who_wait)
{
    getter first;
    getter second;
    binary b = serve('a', 20000, (http_script){.delay_ms = 400});

    begin(&first, &b);
    wait_for_request();
    begin(&second, &b);
    let_time_pass();
    executr_cancel_call(first.cancel);
    cr_assert_eq(end(&second), EXECUTR_OK);
    cr_assert_eq(end(&first), EXECUTR_OK);
    cr_assert_eq(http_fixture_requests(server), 1);
}

Test(cache_cancel, the_last_one_to_leave_ends_it)
{
    getter first;
    getter second;
    binary b = serve('a', 20000, (http_script){.hang = 1});

    begin(&first, &b);
    wait_for_request();
    begin(&second, &b);
    let_time_pass();
    executr_cancel_call(first.cancel);
    let_time_pass();
    executr_cancel_call(second.cancel);
    cr_assert_eq(end(&second), EXECUTR_E_CANCELLED);
    cr_assert_eq(end(&first), EXECUTR_E_CANCELLED);
}

Test(cache_cancel, ends_the_wait_for_another_process)
{
    getter g;
    binary b = serve('a', 1000, (http_script){.hang = 1});
    pid_t child = get_in_process(&b);

    wait_for_request();
    begin(&g, &b);
    let_time_pass();
    executr_cancel_call(g.cancel);
    cr_assert_eq(end(&g), EXECUTR_E_CANCELLED);
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert_eq(http_fixture_requests(server), 1);
}

#define MANY 25

/* The exit code of a process is 0 when all its gets were fine. */
static int get_many(const binary *b)
{
    getter getters[MANY];
    int failed = 0;

    for (size_t i = 0; i < MANY; i++) {
        getters[i] = (getter){.what = b};
        if (pthread_create(&getters[i].thread, NULL, run, &getters[i]))
            return 1;
    }
    for (size_t i = 0; i < MANY; i++) {
        pthread_join(getters[i].thread, NULL);
        failed += getters[i].status != EXECUTR_OK;
    }
    return failed;
}

static int get_many_elsewhere(const binary *b)
{
    if (executr_cache_open(&options, &cache, &err))
        return 1;
    return get_many(b);
}

Test(cache_many, t46_fifty_in_two_processes_share_one_download, .timeout = 100)
{
    int status;
    binary b = serve_well('a', (size_t)200 * 1000 * 1000);

    options.max_bytes = INT64_C(1) << 30;
    reopen_cache(INT64_C(1) << 30);
    pid_t child = fork();
    if (child == 0)
        _exit(get_many_elsewhere(&b));
    cr_assert_eq(get_many(&b), 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 0);
    cr_assert_eq(http_fixture_requests(server), 1);
    cr_assert_eq(count_files("objects"), 1);
    cr_assert_eq(count_files("tmp"), 0);
}
