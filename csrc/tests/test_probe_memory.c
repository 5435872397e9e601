/* A prober and a conversation while memory is short: none half made, and nothing leaks (under ASan). */
#define _GNU_SOURCE
#include "probe/conversation.h"
#include "shortage.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <unistd.h>

static void test_prober(int family, int engine)
{
    const struct fn_prober_options options = {.family = family, .engine = engine, .first = 1, .size = FN_COOKIE};
    struct fn_prober *prober = NULL;
    int failed = 0, code = -ENOMEM;

    for (; code < 0; failed++) {
        until_failure = failed;
        code = fn_prober_new(&prober, &options);
        until_failure = -1;
        assert(code == (prober ? 0 : -ENOMEM));
    }
    assert(failed > 4); /* the prober, its probes, the requests, and the two queues of what arrives */
    fn_prober_free(prober);
}

/* It ends with its only request, which is refused, or for lack of memory. */
static void test_conversation(void)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct fn_prober_options options = {.family = AF_INET, .fd = fd};
    const struct fn_plan plan = {.count = 1, .keeps_ends = true};
    struct sockaddr_in6 host = {0};
    struct fn_prober *prober;
    int failed = 0, code = -ENOMEM;

    *(struct sockaddr_in *)&host = (struct sockaddr_in){.sin_family = AF_INET, /* and port 0 */
                                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert(fd >= 0 && fn_prober_new(&prober, &options) == 0);
    for (; code < 0; failed++) {
        struct fn_conversation *conversation = NULL;
        until_failure = failed;
        code = fn_conversation_new(&conversation, prober, &plan, &host, 1);
        assert(code == (conversation ? 0 : -ENOMEM));
        if (conversation) {
            code = fn_conversation_run(conversation, 0);
            assert(code == (fn_conversation_host(conversation, 0)->ended ? 1 : -ENOMEM));
        }
        until_failure = -1;
        fn_conversation_free(conversation);
    }
    assert(failed > 4); /* the conversation, its hosts, its errors, and an end */
    fn_prober_free(prober);
    assert(close(fd) == 0);
}

int main(void)
{
    test_prober(AF_INET, FN_PROBER_RAW);
    test_prober(AF_INET6, FN_PROBER_UDP);
    test_conversation();
    puts("probe memory: ok");
    return 0;
}
