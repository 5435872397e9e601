/* What is made while memory or randomness is short: nothing half made, and nothing leaks (under ASan). */
#include "http_head.h"
#include "relay.h"
#include "shortage.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static struct fn_http_rewrite *rewrite(void)
{
    const struct fn_http_text name = {"localhost", 9}, port = {"80", 2}, upstream = {"up.example", 10};

    return fn_http_rewrite_new(&name, 1, port, upstream, false, false);
}

static struct fn_upstream *upstream(void)
{
    struct fn_address address = {.len = sizeof(struct sockaddr_in)};
    const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(1)};

    memcpy(&address.at, &at, sizeof at);
    return fn_upstream_new(&address, 1);
}

static void test_rule(void)
{
    struct fn_prefix prefix;
    struct fn_rule *rule = NULL;
    int failed = 0;

    assert(fn_prefix_set(&prefix, AF_INET, (const uint8_t *)"\x7f\0\0\0", 8) == 0);
    for (; !rule; failed++) {
        struct fn_upstream *const to = upstream();
        struct fn_rule_options options = {.max_connections = 1, .rewrite = rewrite()};
        options.allow.list = options.deny.list = options.trust_proxy.list = &prefix;
        options.allow.count = options.deny.count = options.trust_proxy.count = 1;
        assert(to && options.rewrite);
        until_failure = failed;
        rule = fn_rule_new(&options, &to, 1);
        until_failure = -1;
        fn_upstream_release(to);
    }
    assert(failed > 5); /* the rule, its key, its table and its three lists */
    fn_rule_release(rule);
}

static void test_relay(void)
{
    struct fn_relay *relay = NULL;
    int failed = 0, code = -ENOMEM;

    for (; code < 0; failed++) {
        until_failure = failed;
        code = fn_relay_new(&relay, 0);
        until_failure = -1;
        assert(code == 0 || code == -ENOMEM || code == -EAGAIN);
    }
    assert(failed > 1);
    fn_relay_free(relay);
}

int main(void)
{
    test_rule();
    test_relay();
    puts("relay memory: ok");
    return 0;
}
