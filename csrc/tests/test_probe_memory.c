/* A prober that is made while memory is short: none half made, and nothing leaks (under ASan). */
#define _GNU_SOURCE
#include "probe/prober.h"
#include "shortage.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>

static void test_prober(int family, int engine)
{
    const struct fn_prober_options options = {.family = family, .engine = engine, .first = 1, .size = 56};
    struct fn_prober *prober = NULL;
    int failed = 0, code = -ENOMEM;

    for (; code < 0; failed++) {
        until_failure = failed;
        code = fn_prober_new(&prober, &options);
        until_failure = -1;
        assert(code == (prober ? 0 : -ENOMEM));
    }
    assert(failed > 3); /* the prober, its probes, and the two queues of what arrives */
    fn_prober_free(prober);
}

int main(void)
{
    test_prober(AF_INET, FN_PROBER_RAW);
    test_prober(AF_INET6, FN_PROBER_UDP);
    puts("probe memory: ok");
    return 0;
}
