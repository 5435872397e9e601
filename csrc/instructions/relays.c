/* What a relay does for a request, a client and its timers. */
#define _GNU_SOURCE
#include "operations.h"

#include "http_head.h"
#include "relay/loop.h"
#include "relay/prefixes.h"

static struct fn_http *http;

static void prepare_http(void)
{
    static const struct fn_http_text names[] = {{TEXT("localhost")}, {TEXT("127.0.0.1")}};
    struct fn_http_rewrite *const rewrite = fn_http_rewrite_new(
        names, 2, (struct fn_http_text){TEXT("8080")}, (struct fn_http_text){TEXT("example.com")}, false, true);

    require(rewrite != NULL);
    http = fn_http_new(rewrite, "127.0.0.1");
    require(http != NULL);
}

typedef int http_function(struct fn_http *, const char *, size_t, struct fn_http_step *);

static void show(http_function *function, const char *data, size_t len)
{
    struct fn_http_step step;
    int code;

    do {
        code = function(http, data, len, &step);
        require(code >= 0);
        data += step.used;
        len -= step.used;
    } while (code > 0);
}

/* Aligned, since the C library's functions take more steps with what is not. */
static _Alignas(64) const char request[] =
    "GET /index.html?q=1 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.0\r\n"
    "Accept: text/html,application/xml;q=0.9\r\nConnection: keep-alive\r\n\r\n";
static _Alignas(64) const char response[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";

static void http_exchange(void)
{
    show(fn_http_request, TEXT(request));
    show(fn_http_response, TEXT(response));
    require(!fn_http_refusal(http) && !fn_http_unfollowed(http));
}

/* Whether a rule's lists admit a client: the last of many prefixes is the one. */
static struct fn_prefix prefixes[16];

static void prepare_prefixes(void)
{
    for (uint8_t i = 0; i < 16; i++) {
        const uint8_t network[] = {10, i, 0, 0};
        require(fn_prefix_set(&prefixes[i], AF_INET, network, 16 + i % 8) == 0);
    }
}

static void relay_admission(void)
{
    struct sockaddr_in client = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a0f0001)};

    require(fn_prefixes_match(prefixes, 16, (const struct sockaddr *)&client));
}

static struct fn_loop loop;
static struct fn_timer timers[MANY];

static void on_time(struct fn_timer *timer)
{
    operation_result = (uint64_t)timer->when;
}

static void prepare_timers(void)
{
    for (int level = 0; level < FN_WHEEL_LEVELS; level++)
        for (int i = 0; i < FN_WHEEL_SLOTS; i++) {
            struct fn_timer *const head = &loop.wheel.slots[level][i];
            head->next = head->prev = head;
        }
    for (int i = 0; i < MANY; i++)
        fn_timer_init(&timers[i], on_time);
}

/* Each is set, moved, and expires or is cleared. */
static void relay_timers(void)
{
    for (int i = 0; i < MANY; i++)
        fn_timer_set(&loop, &timers[i], loop.now + FN_SECOND);
    for (int i = 0; i < MANY; i++)
        fn_timer_set(&loop, &timers[i], loop.now + (i % 16 + 1) * 10 * FN_MILLISECOND);
    loop.now += 100 * FN_MILLISECOND;
    fn_timers_run(&loop);
    for (int i = 0; i < MANY; i++)
        fn_timer_clear(&loop, &timers[i]);
}

const struct operation relay_operations[] = {
    {"http_exchange", prepare_http, http_exchange},
    {"relay_admission", prepare_prefixes, relay_admission},
    {"relay_timers", prepare_timers, relay_timers},
    {0},
};
