/* SPDX-License-Identifier: MIT */
/* HTTP against servers that behave well, badly, slowly and for ever. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "http.h"
#include "support/http_fixture.h"

static http_fixture *server;
static ex_http *http;
static ex_http_response response;
static executr_error err;

static void setup(void)
{
    server = http_fixture_start();
    cr_assert_eq(ex_http_open(&http, &err), EXECUTR_OK, "%s", err.message);
}

static void teardown(void)
{
    ex_http_response_clear(&response);
    ex_http_free(http);
    http_fixture_stop(server);
}

TestSuite(http_call, .init = setup, .fini = teardown);
TestSuite(http_start, .init = setup, .fini = teardown);

/* Answer /x by the script and call it. */
static executr_status call_script(http_script script, ex_http_request request)
{
    script.path = "/x";
    http_fixture_add(server, &script);
    if (!request.method)
        request.method = "GET";
    request.url = http_fixture_url(server, "/x");
    ex_http_response_clear(&response);
    return ex_http_call(http, &request, &response, &err);
}

static executr_status get_script(http_script script)
{
    return call_script(script, (ex_http_request){0});
}

static int32_t count_bytes(void *ctx, const void *data, size_t length)
{
    (void)data;
    *(size_t *)ctx += length;
    return 0;
}

static int32_t refuse_bytes(void *ctx, const void *data, size_t length)
{
    (void)ctx;
    (void)data;
    (void)length;
    return -1;
}

Test(http_call, gives_status_body_and_length)
{
    cr_assert_eq(get_script((http_script){.body = "hello"}), EXECUTR_OK);
    cr_assert_eq(response.status, 200);
    cr_assert_eq(response.content_length, 5);
    cr_assert_str_eq(ex_buf_text(&response.body), "hello");
    cr_assert_eq(response.retry_after_ms, -1);
}

Test(http_call, reads_chunked_answers)
{
    http_script script = {.body = "abcdefgh", .chunked = 1, .drip = 3};

    cr_assert_eq(get_script(script), EXECUTR_OK, "%s", err.message);
    cr_assert_str_eq(ex_buf_text(&response.body), "abcdefgh");
    cr_assert_eq(response.content_length, -1);
}

Test(http_call, keeps_the_body_of_an_error_from_the_stream)
{
    size_t streamed = 0;
    ex_http_request request = {.write = count_bytes, .write_ctx = &streamed};
    http_script script = {.status = 409, .body = "{\"error\":\"no\"}"};

    cr_assert_eq(call_script(script, request), EXECUTR_OK);
    cr_assert_eq(response.status, 409);
    cr_assert_eq(streamed, 0);
    cr_assert_str_eq(ex_buf_text(&response.body), "{\"error\":\"no\"}");
}

Test(http_call, keeps_only_the_start_of_an_endless_error)
{
    http_script script = {.status = 500, .body = "oh dear ", .endless = 1};

    cr_assert_eq(get_script(script), EXECUTR_OK, "%s", err.message);
    cr_assert_eq(response.status, 500);
    cr_assert_eq(response.body.length, 64 * 1024);
}

Test(http_call, gives_retry_after_and_link)
{
    http_script script = {
        .status = 503,
        .headers = "Retry-After: 7\r\nLink: </next>; rel=\"next\"\r\n"};

    cr_assert_eq(get_script(script), EXECUTR_OK);
    cr_assert_eq(response.status, 503);
    cr_assert_eq(response.retry_after_ms, 7000);
    cr_assert_str_eq(ex_buf_text(&response.link), "</next>; rel=\"next\"");
}

Test(http_call, head_gives_the_length_without_a_body)
{
    ex_http_request request = {.method = "HEAD"};

    cr_assert_eq(
        call_script((http_script){.body = "hello"}, request), EXECUTR_OK);
    cr_assert_eq(response.content_length, 5);
    cr_assert_eq(response.body.length, 0);
}

Test(http_call, a_body_cut_short_is_unavailable)
{
    http_script script = {.body = "0123456789", .cut = 4};

    cr_assert_eq(get_script(script), EXECUTR_E_UNAVAILABLE);
    script.chunked = 1;
    cr_assert_eq(get_script(script), EXECUTR_E_UNAVAILABLE);
}

Test(http_call, a_dropped_connection_is_unavailable)
{
    cr_assert_eq(get_script((http_script){.drop = 1}), EXECUTR_E_UNAVAILABLE);
    cr_assert_neq(err.native, 0);
}

Test(http_call, nobody_listening_is_unavailable)
{
    /* Port 1 of the loopback has no listener on any sane machine. */
    ex_http_request request = {.method = "GET", .url = "http://127.0.0.1:1/"};

    cr_assert_eq(
        ex_http_call(http, &request, &response, &err), EXECUTR_E_UNAVAILABLE);
    cr_assert(strstr(err.message, "http://127.0.0.1:1/"), "%s", err.message);
}

Test(http_call, what_is_not_http_is_a_protocol_error)
{
    http_script script = {.raw = "SSH-2.0-OpenSSH_9.2\r\n"};

    cr_assert_eq(get_script(script), EXECUTR_E_PROTOCOL, "%s", err.message);
}

Test(http_call, refuses_headers_without_end)
{
    static char raw[500000]; /* the server may still send when we are done */
    size_t at = (size_t)sprintf(raw, "HTTP/1.1 200 OK\r\n");

    while (at < sizeof raw - 100)
        at += (size_t)sprintf(raw + at, "X-%zu: %060d\r\n", at, 0);

    cr_assert_eq(get_script((http_script){.raw = raw}), EXECUTR_E_PROTOCOL);
    cr_assert(strstr(err.message, "headers never end"), "%s", err.message);
}

Test(http_call, counts_the_bytes_of_any_answer)
{
    ex_http_request request = {.max_bytes = 1000};
    http_script script = {.body = "0123456789", .endless = 1};

    cr_assert_eq(call_script(script, request), EXECUTR_E_TOO_LARGE);
    cr_assert(strstr(err.message, "1000 bytes"), "%s", err.message);
    request.max_bytes = 9;
    script.endless = 0;
    cr_assert_eq(call_script(script, request), EXECUTR_E_TOO_LARGE);
    request.max_bytes = 10;
    cr_assert_eq(call_script(script, request), EXECUTR_OK);
}

Test(http_call, never_decodes_a_content_encoding)
{
    http_script script = {
        .headers = "Content-Encoding: gzip\r\n", .body = "not gzip at all"};

    cr_assert_eq(get_script(script), EXECUTR_OK, "%s", err.message);
    cr_assert_str_eq(ex_buf_text(&response.body), "not gzip at all");
    cr_assert_null(strcasestr(http_fixture_head(server), "\nAccept-Encoding:"));
}

Test(http_call, a_stopping_reader_stops_the_answer)
{
    ex_http_request request = {.write = refuse_bytes};
    http_script script = {.body = "x", .endless = 1};

    cr_assert_eq(call_script(script, request), EXECUTR_E_CALLBACK);
}

static int32_t note_head(void *ctx, const ex_http_head *head)
{
    *(size_t *)ctx += (size_t)head->length * 1000;
    cr_expect_eq(head->status, 206);
    cr_expect_str_eq(head->etag, "\"v1\"");
    cr_expect_str_eq(head->last_modified, "");
    cr_expect_str_eq(head->content_range, "bytes 1-7/8");
    return 0;
}

Test(http_call, tells_the_head_of_a_stream_before_its_bytes)
{
    size_t told = 0;
    ex_http_request request = {
        .write = count_bytes, .write_ctx = &told, .begin = note_head};
    http_script script = {
        .status = 206,
        .body = "1234567",
        .headers = "ETag: \"v1\"\r\nContent-Range: bytes 1-7/8\r\n"};

    cr_assert_eq(call_script(script, request), EXECUTR_OK);
    cr_assert_eq(told, 7007);
}

/* Asked once before the request and then after every wait. */
static int32_t stop_second(void *ctx)
{
    return ++*(int *)ctx > 1;
}

static void *wake_soon(void *other)
{
    usleep(20000);
    ex_http_wake(other);
    return NULL;
}

Test(http_call, is_given_up_when_another_thread_says_so)
{
    pthread_t thread;
    int asked = 0;
    ex_http_request request = {.stopped = stop_second, .write_ctx = &asked};

    cr_assert_eq(pthread_create(&thread, NULL, wake_soon, http), 0);
    cr_assert_eq(
        call_script((http_script){.hang = 1}, request), EXECUTR_E_CANCELLED);
    pthread_join(thread, NULL);
    cr_assert_eq(get_script((http_script){.body = "next"}), EXECUTR_OK);
}

Test(http_call, silence_ends_in_a_timeout)
{
    ex_http_request request = {.timeout_ms = 200};

    cr_assert_eq(
        call_script((http_script){.hang = 1}, request), EXECUTR_E_TIMEOUT);
    request = (ex_http_request){.stall_ms = 200};
    cr_assert_eq(
        call_script((http_script){.hang = 1}, request), EXECUTR_E_TIMEOUT);
}

Test(http_call, an_endless_drip_is_a_stall)
{
    ex_http_request request = {.stall_ms = 400};
    http_script script = {.body = "z", .drip = 1, .drip_ms = 60, .endless = 1};

    cr_assert_eq(call_script(script, request), EXECUTR_E_TIMEOUT);
}

Test(http_call, slow_but_steady_is_no_stall)
{
    static char body[4000];
    ex_http_request request = {.stall_ms = 400};
    http_script script = {
        .body = body, .length = sizeof body, .drip = 200, .drip_ms = 60};

    cr_assert_eq(call_script(script, request), EXECUTR_OK, "%s", err.message);
    cr_assert_eq(response.body.length, sizeof body);
}

Test(http_call, follows_redirects_only_when_asked)
{
    http_script there = {.path = "/there", .body = "arrived"};
    http_script script = {.status = 302, .headers = "Location: /there\r\n"};

    http_fixture_add(server, &there);
    cr_assert_eq(get_script(script), EXECUTR_OK);
    cr_assert_eq(response.status, 302);
    cr_assert_eq(
        call_script(script, (ex_http_request){.redirects = 1}), EXECUTR_OK);
    cr_assert_str_eq(ex_buf_text(&response.body), "arrived");
}

Test(http_call, refuses_redirects_to_files_and_in_circles)
{
    ex_http_request request = {.redirects = 1};
    http_script script = {
        .status = 302, .headers = "Location: file:///etc/hostname\r\n"};

    cr_assert_eq(call_script(script, request), EXECUTR_E_PROTOCOL);
    script.headers = "Location: /x\r\n";
    int before = http_fixture_requests(server);
    cr_assert_eq(call_script(script, request), EXECUTR_E_PROTOCOL);
    cr_assert_eq(http_fixture_requests(server) - before, 6);
}

Test(http_call, a_token_is_sent_and_never_redirected)
{
    ex_http_request request = {.redirects = 1, .token = "s3cret"};
    http_script script = {.status = 302, .headers = "Location: /y\r\n"};

    cr_assert_eq(call_script(script, request), EXECUTR_OK);
    cr_assert_eq(response.status, 302);
    cr_assert(strstr(
        http_fixture_head(server), "\r\nAuthorization: Bearer s3cret\r\n"));
}

static executr_status get_from(const char *url)
{
    ex_http_request request = {
        .method = "GET", .url = url, .redirects = 1, .refuse_local = 1};

    ex_http_response_clear(&response);
    return ex_http_call(http, &request, &response, &err);
}

Test(http_call, t44_refuses_addresses_that_tell_secrets)
{
    static const char *const urls[] = {
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.0.1:8080/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fe80::1]/",
        "http://[febf::1]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/"};

    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        cr_expect_eq(get_from(urls[i]), EXECUTR_E_PROTOCOL, "%s", urls[i]);
        cr_expect(strstr(err.message, "refused"), "%s", err.message);
    }
}

Test(http_call, t44_refuses_to_be_redirected_to_them)
{
    http_script script = {
        .path = "/r",
        .status = 302,
        .headers = "Location: http://[fe80::2]/\r\n"};

    http_fixture_add(server, &script);
    cr_assert_eq(get_from(http_fixture_url(server, "/r")), EXECUTR_E_PROTOCOL);
    cr_assert(strstr(err.message, "fe80::2"), "%s", err.message);
    script = (http_script){.path = "/ok", .body = "well"};
    http_fixture_add(server, &script);
    cr_assert_eq(get_from(http_fixture_url(server, "/ok")), EXECUTR_OK);
}

Test(http_call, t44_passwords_of_a_url_stay_with_its_host)
{
    char url[64];
    char location[96];
    int port = atoi(strrchr(http_fixture_url(server, ""), ':') + 1);
    http_script there = {.path = "/there", .body = "arrived"};
    http_script script = {.path = "/r", .status = 302, .headers = location};

    snprintf(
        location, sizeof location, "Location: http://localhost:%d/there\r\n",
        port);
    snprintf(url, sizeof url, "http://me:secret@127.0.0.1:%d/r", port);
    http_fixture_add(server, &there);
    http_fixture_add(server, &script);
    cr_assert_eq(get_from(url), EXECUTR_OK, "%s", err.message);
    cr_assert_str_eq(ex_buf_text(&response.body), "arrived");
    cr_assert_null(strstr(http_fixture_head(server), "Authorization"));
}

Test(http_call, refuses_urls_and_tokens_that_are_none)
{
    static const char *const urls[] = {
        "file:///etc/passwd", "ftp://h/x", "", "http://", "http://h/a b"};
    ex_http_request request = {.method = "GET"};

    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        request.url = urls[i];
        cr_expect_eq(
            ex_http_call(http, &request, &response, &err), EXECUTR_E_ARGUMENT,
            "%s", urls[i]);
    }
    request.token = "a\r\nX-Evil: 1";
    cr_assert_eq(
        call_script((http_script){.body = "x"}, request), EXECUTR_E_ARGUMENT);
    cr_assert_str_eq(err.field, "token");
}

Test(http_call, messages_hide_what_is_secret_in_a_url)
{
    ex_http_request request = {
        .method = "GET", .url = "http://u:pw@127.0.0.1:1/p?sig=abc"};

    cr_assert_neq(ex_http_call(http, &request, &response, &err), EXECUTR_OK);
    cr_assert(strstr(err.message, "http://127.0.0.1:1/p"), "%s", err.message);
    cr_assert_null(strstr(err.message, "pw"));
    cr_assert_null(strstr(err.message, "sig"));
}

Test(http_call, sends_bodies_without_expecting_to_be_asked)
{
    static char body[2000000]; /* libcurl expects from 1 MiB on */
    ex_http_request request = {
        .method = "POST", .body = body, .body_length = sizeof body - 1};

    memset(body, 'b', sizeof body - 1);
    cr_assert_eq(
        call_script((http_script){.status = 201}, request), EXECUTR_OK);
    cr_assert_str_eq(http_fixture_body(server), body);
    cr_assert_null(strcasestr(http_fixture_head(server), "\nExpect:"));
    cr_assert(strstr(http_fixture_head(server), "POST /x HTTP/1.1\r\n"));
    cr_assert(strstr(http_fixture_head(server), "\r\nUser-Agent: executr/"));
}

static int32_t read_digits(void *ctx, void *data, size_t size, size_t *length)
{
    size_t *left = ctx;

    *length = *left < size ? *left : size;
    memset(data, '7', *length);
    *left -= *length;
    return 0;
}

Test(http_call, streams_a_body_of_known_length)
{
    size_t left = 200000;
    ex_http_request request = {
        .method = "PUT",
        .read = read_digits,
        .read_ctx = &left,
        .read_length = 200000};

    cr_assert_eq(
        call_script((http_script){.status = 201}, request), EXECUTR_OK);
    cr_assert_eq(strlen(http_fixture_body(server)), 200000);
    cr_assert(strstr(http_fixture_head(server), "Content-Length: 200000\r\n"));
}

Test(http_call, a_streamed_body_that_ends_early_fails_at_once)
{
    size_t left = 10;
    ex_http_request request = {
        .method = "PUT",
        .read = read_digits,
        .read_ctx = &left,
        .read_length = 11};

    cr_assert_eq(
        call_script((http_script){.status = 201}, request), EXECUTR_E_IO);
}

Test(http_call, keeps_its_connection)
{
    for (int i = 0; i < 5; i++)
        cr_assert_eq(get_script((http_script){.body = "x"}), EXECUTR_OK);
    cr_assert_eq(http_fixture_connections(server), 1);
}

Test(http_call, survives_a_kept_connection_that_was_closed)
{
    ex_http_request request = {
        .method = "POST", .body = "{}", .body_length = 2};

    for (int i = 0; i < 20; i++)
        cr_assert_eq(
            call_script((http_script){.body = "x", .close = 1}, request),
            EXECUTR_OK, "%s", err.message);
    cr_assert_eq(http_fixture_requests(server), 20);
}

Test(http_call, reaches_the_loopback_past_any_proxy)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    cr_assert_eq(get_script((http_script){.body = "x"}), EXECUTR_OK);
    setenv("no_proxy", "example.com", 1);
    cr_assert_eq(get_script((http_script){.body = "x"}), EXECUTR_OK);
}

/* What callbacks of ex_http_start told. */
typedef struct ends {
    int count;
    int failed;
    int again; /* start so many more from the callback */
    const char *url;
} ends;

static void start_one(ends *e, const char *url, uint64_t *id);

static void on_end(
    void *ctx, executr_status status, const ex_http_response *answer,
    const executr_error *why)
{
    ends *e = ctx;

    e->count++;
    e->failed += status != EXECUTR_OK || answer->status != 200;
    cr_expect_eq(why->status, status);
    if (e->again-- > 0)
        start_one(e, e->url, NULL);
}

static void start_one(ends *e, const char *url, uint64_t *id)
{
    ex_http_request request = {.method = "GET", .url = url};

    cr_assert_eq(
        ex_http_start(http, &request, on_end, e, id, &err), EXECUTR_OK, "%s",
        err.message);
}

Test(http_start, runs_many_side_by_side_inside_another_epoll)
{
    ends e = {0};
    http_script script = {.path = "/x", .body = "x", .delay_ms = 50};
    struct epoll_event event = {.events = EPOLLIN};

    http_fixture_add(server, &script);
    int outer = epoll_create1(0);
    cr_assert_eq(epoll_ctl(outer, EPOLL_CTL_ADD, ex_http_fd(http), &event), 0);
    for (int i = 0; i < 30; i++)
        start_one(&e, http_fixture_url(server, "/x"), NULL);
    while (e.count < 30) {
        cr_assert_gt(epoll_wait(outer, &event, 1, 10000), 0);
        cr_assert_eq(ex_http_step(http, 0, &err), EXECUTR_OK);
    }
    cr_assert_eq(e.failed, 0);
    close(outer);
}

Test(http_start, a_callback_may_start_the_next)
{
    http_script script = {.path = "/x", .body = "x"};
    ends e = {.again = 10, .url = http_fixture_url(server, "/x")};

    http_fixture_add(server, &script);
    start_one(&e, e.url, NULL);
    while (e.count < 11)
        cr_assert_eq(ex_http_step(http, 10000, &err), EXECUTR_OK);
    cr_assert_eq(e.failed, 0);
    cr_assert_eq(http_fixture_connections(server), 1);
}

Test(http_start, a_cancelled_request_is_never_heard_of)
{
    ends cancelled = {0};
    ends e = {0};
    uint64_t id;
    http_script script = {.path = "/x", .body = "x", .delay_ms = 100};

    http_fixture_add(server, &script);
    start_one(&cancelled, http_fixture_url(server, "/x"), &id);
    cr_assert_eq(ex_http_step(http, 20, &err), EXECUTR_OK);
    ex_http_cancel(http, id);
    ex_http_cancel(http, id);
    start_one(&e, http_fixture_url(server, "/x"), NULL);
    while (e.count < 1)
        cr_assert_eq(ex_http_step(http, 10000, &err), EXECUTR_OK);
    cr_assert_eq(cancelled.count, 0);
}

Test(http_start, freeing_ends_what_is_under_way)
{
    ends e = {0};
    http_script script = {.path = "/x", .hang = 1};

    http_fixture_add(server, &script);
    for (int i = 0; i < 3; i++)
        start_one(&e, http_fixture_url(server, "/x"), NULL);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(ex_http_step(http, 20, &err), EXECUTR_OK);
    ex_http_free(http);
    http = NULL;
    cr_assert_eq(e.count, 0);
}
