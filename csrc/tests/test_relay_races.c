/* A connection that ends between two looks at how many there are: what a lane does then. */
#include "relay/lane.h"
#include "relay/rule.h"
#include "relay/internal.h"

#include <assert.h>
#include <stdio.h>

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);

static struct fn_rule *ending; /* one of its connections ends as soon as anybody locks something */

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (ending)
        __atomic_fetch_sub(&ending->active, 1, __ATOMIC_SEQ_CST);
    ending = NULL;
    return __real_pthread_mutex_lock(mutex);
}

static void test_one_ends_before_it_is_waited_for(void)
{
    const struct fn_rule_options options = {.max_connections = 2};
    struct fn_rule *const rule = fn_rule_new(&options, NULL, 0);
    struct fn_lane lane = {.rule = rule};

    assert(rule);
    for (int i = 0; i < 3; i++) {
        rule->active = 2;
        ending = rule;
        assert(!fn_lane_waits(&lane));
        assert(rule->waiting == 0 && !lane.full);
        rule->active = 2;
        assert(fn_lane_waits(&lane) && fn_lane_waits(&lane));
        assert(rule->waiting == 1 && lane.full);
        ending = rule;
        assert(!fn_lane_waits(&lane));
        assert(rule->waiting == 0 && !lane.full);
    }
    rule->active = 0;
    fn_rule_release(rule);
}

int main(void)
{
    test_one_ends_before_it_is_waited_for();
    puts("relay races: ok");
    return 0;
}
