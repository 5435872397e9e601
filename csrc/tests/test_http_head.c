#include "guard.h"

#include "http_head.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define TEXT(literal) (struct fn_http_text){literal, sizeof(literal) - 1}
#define GET(host) "GET / HTTP/1.1\r\nHost: " host "\r\nAccept: x\r\n\r\n"
#define CHUNKED_HEAD(host) "POST /c HTTP/1.1\r\nHost: " host "\r\nTransfer-Encoding: Chunked\r\n\r\n"
#define CHUNKS "5;a=\"b\"\r\nhello\r\n0000A ; x\r\nlocalhost:\r\n0\r\nT: localhost:8080\r\n\r\n"
#define COUNTED(host) "POST /l HTTP/1.1\r\nhOST:\t" host " \r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\nHo"
#define ABSOLUTE(target, host) "GET http://" target "/x?localhost HTTP/1.1\r\nX: y\r\nHost: " host "\r\n\r\n"

static const char REQUESTS[] =
    "\r\n" CHUNKED_HEAD("localhost:8080") CHUNKS COUNTED("[0:0::1]:8080") GET("127.0.0.1") "\r\n\r\n" GET("elsewhere")
        ABSOLUTE("LOCALHOST", "elsewhere") ABSOLUTE("elsewhere", "localhost") GET("10.1.2.3:8080");
static const char REQUESTS_SENT[] =
    CHUNKED_HEAD("example.com") CHUNKS COUNTED("example.com") GET("example.com") GET("elsewhere")
        ABSOLUTE("example.com", "example.com") ABSOLUTE("elsewhere", "elsewhere") GET("example.com");

#define RESPONSES(authority, first, second)                                                                            \
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nLocation: http://" authority                                        \
    "/\nTransfer-Encoding: chunked\n\n13\r\nHTTP/1.1 200 OK\r\n\r\n\r\n0\r\nLocation: http://example.com/\r\n\r\n"       \
    "HTTP/1.1 302 Found\r\nSet-Cookie: a=b" first ";x\r\nSet-Cookie: c" second                                         \
    "\r\nLocation: /\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204 No\r\n\r\n"

static const char RESPONSES_GIVEN[] = RESPONSES("example.com", "; Domain=example.com", "; domain=.EXAMPLE.com");
static const char RESPONSES_SENT[] = RESPONSES("dev.test:8080", "; Domain=dev.test", "; domain=dev.test");
static const char RESPONSES_TO_AN_ADDRESS[] = RESPONSES("127.0.0.1:8080", "", "");

typedef int step_function(struct fn_http *, const char *, size_t, struct fn_http_step *);

struct sent {
    char data[4096];
    size_t len;
    int steps, code;
};

static struct fn_http_rewrite *rewriting(bool responses)
{
    const struct fn_http_text names[] = {TEXT("LocalHost"), TEXT("127.0.0.1"), TEXT("::1"), TEXT("dev.test")};
    struct fn_http_rewrite *rewrite = fn_http_rewrite_new(names, 4, TEXT("8080"),
                                                         TEXT("example.com"), false, responses);

    assert(rewrite);
    return rewrite;
}

/* Shows these bytes, whose last is followed by an untouchable page, and adds what is to be sent on. */
static void show(struct fn_http *http, step_function *step_on, const char *data, size_t len, struct sent *sent)
{
    struct guard input = guard_copy(data, len);
    const char *at = (const char *)input.data;
    struct fn_http_step step;

    do {
        sent->code = step_on(http, at, len, &step);
        assert(step.used <= len && step.send_len <= sizeof sent->data - sent->len);
        if (step.send_len)
            memcpy(sent->data + sent->len, step.send, step.send_len);
        sent->len += step.send_len;
        sent->steps += step.send_len > 0;
        at += step.used;
        len -= step.used;
    } while (sent->code > 0);
    assert(sent->code < 0 || len == 0);
    guard_free(&input);
}

static bool was_sent(const struct sent *sent, const char *expected)
{
    return sent->len == strlen(expected) && memcmp(sent->data, expected, sent->len) == 0;
}

static void test_requests_at_every_split(void)
{
    struct fn_http_rewrite *rewrite = rewriting(false);
    const size_t len = sizeof REQUESTS - 1;

    for (size_t cut = 0; cut <= len; cut++) {
        struct fn_http *http = fn_http_new(rewrite, "::ffff:10.1.2.3");
        struct sent sent = {.len = 0};
        show(http, fn_http_request, REQUESTS, cut, &sent);
        show(http, fn_http_request, REQUESTS + cut, len - cut, &sent);
        assert(was_sent(&sent, REQUESTS_SENT) && !fn_http_refusal(http) && !fn_http_held(http));
        fn_http_free(http);
    }
    for (size_t size = 1; size < 40; size++) {
        struct fn_http *http = fn_http_new(rewrite, "10.1.2.3");
        struct sent sent = {.len = 0};
        for (size_t at = 0; at < len; at += size)
            show(http, fn_http_request, REQUESTS + at, size < len - at ? size : len - at, &sent);
        assert(was_sent(&sent, REQUESTS_SENT) && !fn_http_head_pending(http));
        fn_http_free(http);
    }
    fn_http_rewrite_free(rewrite);
}

static void respond_at_every_split(const struct fn_http_rewrite *rewrite, const char *request, const char *expected)
{
    const size_t len = sizeof RESPONSES_GIVEN - 1;

    for (size_t cut = 0; cut <= len + 1; cut++) {
        struct fn_http *http = fn_http_new(rewrite, "");
        struct sent ignored = {.len = 0}, sent = {.len = 0};
        for (int i = 0; i < 3; i++)
            show(http, fn_http_request, request, strlen(request), &ignored);
        assert(!fn_http_idle(http));
        if (cut <= len) {
            show(http, fn_http_response, RESPONSES_GIVEN, cut, &sent);
            show(http, fn_http_response, RESPONSES_GIVEN + cut, len - cut, &sent);
        } else {
            for (size_t at = 0; at < len; at++)
                show(http, fn_http_response, RESPONSES_GIVEN + at, 1, &sent);
        }
        assert(sent.code == 0 && was_sent(&sent, expected) && fn_http_idle(http));
        fn_http_free(http);
    }
}

static void test_responses_at_every_split(void)
{
    struct fn_http_rewrite *plain = rewriting(false), *back = rewriting(true);

    respond_at_every_split(plain, GET("dev.test:8080"), RESPONSES_GIVEN);
    respond_at_every_split(back, GET("dev.test:8080"), RESPONSES_SENT);
    respond_at_every_split(back, GET("127.0.0.1:8080"), RESPONSES_TO_AN_ADDRESS);
    respond_at_every_split(back, GET("elsewhere"), RESPONSES_GIVEN);
    fn_http_rewrite_free(plain);
    fn_http_rewrite_free(back);
}

static void test_steps_are_few(void)
{
    struct fn_http_rewrite *rewrite = rewriting(false);
    struct fn_http *http = fn_http_new(rewrite, "");
    struct sent sent = {.len = 0};

    show(http, fn_http_request, GET("localhost"), sizeof(GET("localhost")) - 1, &sent);
    assert(sent.steps == 3 && was_sent(&sent, GET("example.com")));
    sent = (struct sent){.len = 0};
    show(http, fn_http_request, GET("a") GET("b") GET("c"), 3 * (sizeof(GET("a")) - 1), &sent);
    assert(sent.steps == 1 && was_sent(&sent, GET("a") GET("b") GET("c")));
    fn_http_free(http);
    fn_http_rewrite_free(rewrite);
}

static void refuse(const struct fn_http_rewrite *rewrite, const char *good, const char *bad, const char *reason)
{
    const size_t len = strlen(bad);

    for (size_t cut = 0; cut <= len; cut++) {
        struct fn_http *http = fn_http_new(rewrite, "");
        struct sent sent = {.len = 0};
        show(http, fn_http_request, good, strlen(good), &sent);
        show(http, fn_http_request, bad, cut, &sent);
        show(http, fn_http_request, bad + cut, len - cut, &sent);
        show(http, fn_http_request, GET("a"), sizeof(GET("a")) - 1, &sent);
        assert(was_sent(&sent, good) && fn_http_held(http) && strcmp(fn_http_refusal(http), reason) == 0);
        assert(fn_http_request_passes(http) == 0);
        fn_http_free(http);
    }
}

static void test_refusals(void)
{
    static const struct {
        const char *good, *bad, *reason;
    } cases[] = {
        {"", "GET / HTTP/1.1\r\nHost: a\n\r\n", "a line that ends in a bare LF"},
        {"", "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "both Content-Length and Transfer-Encoding"},
        {GET("a"), "GET / HTTP/1.1\r\nHost: a\r\nHOST:\r\n\r\n", "more than one Host"},
        {"", "GET http:// HTTP/1.1\r\n\r\n", "an absolute target without a host"},
        {"", "GET http:/x HTTP/1.1\r\n\r\n", "an invalid request target"},
        {"", "GET * HTTP/1.1\r\n\r\n", "an invalid request target"},
        {"", "GET /# HTTP/1.1\r\n\r\n", "a fragment in the target"},
        {"", "GET / HTTP/1.1\r\n\r\n", "no Host in HTTP/1.1"},
        {"", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "an empty host"},
        {"", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "user information in a host"},
        {"", "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", "an invalid host"},
        {"", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "an invalid host"},
        {"", "GET / HTTP/1.1\r\nHost: a:080\r\n\r\n", "an invalid port"},
        {"", "GET http://a:65536 HTTP/1.1\r\nHost: a\r\n\r\n", "an invalid port"},
        {"", "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", "a CONNECT without a port"},
        {"", "CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "a CONNECT target that differs from Host"},
        {"", "POST / HTTP/1.1\r\nContent-Length: 1234567890123456789\r\n\r\n", "an invalid Content-Length"},
        {"", "POST / HTTP/1.1\r\nContent-Length: 1,1\r\n\r\n", "more than one Content-Length"},
        {"", " \r\n", "an invalid request line"},
        {CHUNKED_HEAD("a"), "fffffffffffffffff\r\n", "an invalid chunk size"},
        {CHUNKED_HEAD("a"), "5;\"\\\"\r\n", "an unclosed quote in a chunk extension"},
        {CHUNKED_HEAD("a") "1\r\nx", "\rxx", "a line or head that is too long"},
        {CHUNKED_HEAD("a") "0\r\n", "Host: b\r\n\r\n", "a Host or framing field in the trailers"},
    };
    struct fn_http_rewrite *rewrite = rewriting(true);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(rewrite, cases[i].good, cases[i].bad, cases[i].reason);
    fn_http_rewrite_free(rewrite);
}

static void test_lengths_of_heads(void)
{
    static char line[FN_HTTP_HEAD_LIMIT + 1];
    struct fn_http_rewrite *rewrite = rewriting(false);
    struct sent sent = {.len = 0};
    struct fn_http_step step;

    memset(line, 'a', sizeof line);
    for (size_t size = FN_HTTP_HEAD_LIMIT - 1; size <= sizeof line; size++) {
        struct fn_http *http = fn_http_new(rewrite, "");
        assert(fn_http_request(http, line, size, &step) == (size > FN_HTTP_HEAD_LIMIT));
        assert(!fn_http_refusal(http) == (size <= FN_HTTP_HEAD_LIMIT) && step.send_len == 0);
        fn_http_free(http);
    }
    struct fn_http *http = fn_http_new(rewrite, "");
    show(http, fn_http_request, CHUNKED_HEAD("a"), sizeof(CHUNKED_HEAD("a")) - 1, &sent);
    assert(fn_http_request(http, line, 1, &step) == 0 && fn_http_request(http, line, FN_HTTP_CHUNK_LINE_LIMIT, &step) == 1);
    assert(strcmp(fn_http_refusal(http), "a line or head that is too long") == 0);
    fn_http_free(http);
    fn_http_rewrite_free(rewrite);
}

static void test_passing_unread(void)
{
    struct fn_http_rewrite *rewrite = rewriting(false);
    struct fn_http *http = fn_http_new(rewrite, "");
    struct sent sent = {.len = 0};
    static const char upgrade[] = "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 9000000000\r\n\r\n";

    show(http, fn_http_request, upgrade, sizeof upgrade - 1, &sent);
    assert(fn_http_request_passes(http) == 9000000000 && fn_http_response_passes(http) == 0 && !fn_http_held(http));
    fn_http_request_passed(http, 8999999999);
    show(http, fn_http_request, "xearly", 6, &sent);
    assert(fn_http_held(http) && fn_http_request_passes(http) == 0);
    sent = (struct sent){.len = 0};
    show(http, fn_http_response, "HTTP/1.1 101 \r\n\r\nraw", 20, &sent);
    assert(!fn_http_held(http) && fn_http_response_passes(http) == FN_HTTP_ALL && fn_http_request_passes(http) == 0);
    fn_http_response_passed(http, INT64_MAX);
    assert(fn_http_response_passes(http) == FN_HTTP_ALL);
    sent = (struct sent){.len = 0};
    show(http, fn_http_request, NULL, 0, &sent);
    assert(was_sent(&sent, "early") && fn_http_request_passes(http) == FN_HTTP_ALL);
    fn_http_free(http);
    fn_http_rewrite_free(rewrite);
}

static void test_a_deep_pipeline(void)
{
    static const char *const hosts[] = {"localhost:8080", "elsewhere", "dev.test", "dev.test"};
    struct fn_http_rewrite *rewrite = rewriting(true);
    struct fn_http *http = fn_http_new(rewrite, "");
    struct sent sent;
    char text[256];
    int asked = 0, answered = 0;

    for (int round = 0; round < 3; round++) {
        for (; !fn_http_held(http); asked++) {
            sent = (struct sent){.len = 0};
            snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", hosts[asked % 4]);
            show(http, fn_http_request, text, strlen(text), &sent);
        }
        assert(asked - answered == FN_HTTP_PIPELINE_LIMIT);
        for (const int last = asked - 9 * (round < 2); answered < last; answered++) {
            static const char moved[] = "HTTP/1.1 301 \r\nContent-Length: 0\r\nLocation: http://example.com\r\n\r\n";
            const char *host = answered % 4 == 1 ? "example.com" : hosts[answered % 4];
            sent = (struct sent){.len = 0};
            show(http, fn_http_response, moved, sizeof moved - 1, &sent);
            snprintf(text, sizeof text, "HTTP/1.1 301 \r\nContent-Length: 0\r\nLocation: http://%s\r\n\r\n", host);
            assert(was_sent(&sent, text) && fn_http_idle(http) == (answered + 1 == asked));
        }
    }
    show(http, fn_http_request, GET("localhost"), sizeof(GET("localhost")) - 1, &sent);
    fn_http_free(http);
    fn_http_rewrite_free(rewrite);
}

static void test_a_response_that_is_none(void)
{
    struct fn_http_rewrite *rewrite = rewriting(false);
    struct fn_http *http = fn_http_new(rewrite, "");
    struct sent sent = {.len = 0};

    show(http, fn_http_response, "SSH-2.0-x\r\n", 11, &sent);
    assert(sent.code == -EBADMSG && sent.len == 0);
    assert(strcmp(fn_http_unfollowed(http), "a response without a status line") == 0);
    show(http, fn_http_response, "HTTP/1.1 200 \r\n", 15, &sent);
    assert(sent.code == -EBADMSG && sent.len == 0);
    fn_http_free(http);
    fn_http_rewrite_free(rewrite);
}

static void test_a_refusing_response(void)
{
    static const char whole[] = "HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\n"
                                "Content-Length: 5\r\nConnection: close\r\n\r\nlate\n";
    const size_t len = sizeof whole - 1;

    for (size_t room = 0; room <= len + 1; room++) {
        struct guard output = guard_after(room);
        const size_t size = fn_http_refuse(408, "late", (char *)output.data, room);
        assert(size == (room > len ? len : 0));
        assert(size == 0 || memcmp(output.data, whole, size) == 0);
        guard_free(&output);
    }
    char out[FN_HTTP_REFUSAL_MAX];
    assert(fn_http_refuse(200, "late", out, sizeof out) == 0);
    assert(fn_http_refuse(400, "both Content-Length and Transfer-Encoding", out, sizeof out) > 0);
    assert(fn_http_refuse(502, "no", out, sizeof out) > 0);
}

static void test_nothing_to_free(void)
{
    fn_http_free(NULL);
    fn_http_rewrite_free(NULL);
}

int main(void)
{
    test_requests_at_every_split();
    test_responses_at_every_split();
    test_steps_are_few();
    test_refusals();
    test_lengths_of_heads();
    test_passing_unread();
    test_a_deep_pipeline();
    test_a_response_that_is_none();
    test_a_refusing_response();
    test_nothing_to_free();
    return 0;
}
