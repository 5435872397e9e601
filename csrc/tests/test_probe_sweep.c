/* When a sweep sends and how it reads answers, over a scripted wire. */
#define _GNU_SOURCE
#include "probe/sweep.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

static struct fn_sweep_options options_of(int family)
{
    return (struct fn_sweep_options){.fd = -1, .family = family, .engine = FN_RAW, .payload = FN_ANYCAST_PAYLOAD,
                                     .window = 128, .shard_step = 1, .timeout = FN_MILLISECOND};
}

static struct fn_sweep *sweep_of(const struct fn_sweep_options *options, const struct fn_span *spans, size_t count)
{
    struct fn_sweep *sweep;

    assert(fn_sweep_new(&sweep, options, spans, count, NULL) == 0);
    return sweep;
}

static int no_error(struct fn_sweep *sweep, struct fn_answer *out)
{
    (void)sweep;
    (void)out;
    return -EAGAIN;
}

static int64_t soon(void)
{
    return fn_clock_now(CLOCK_MONOTONIC) + 60 * FN_SECOND;
}

static int send_all(struct fn_sweep *sweep)
{
    return (int)sweep->out.count;
}

static int read_one(struct fn_sweep *sweep)
{
    return sweep->sent ? 1 : -EAGAIN;
}

static bool routers_answer(const struct fn_sweep *sweep, unsigned place, struct fn_answer *out)
{
    (void)sweep;
    *out = (struct fn_answer){.target = place, .whole = true, .number = 1, .anycast = true, .from = {0xfd77, 2}};
    return true;
}

static bool first_one_answers(const struct fn_sweep *sweep, unsigned place, struct fn_answer *out)
{
    (void)sweep;
    *out = (struct fn_answer){.target = place, .whole = true, .number = 1};
    return true;
}

/* A host that replies without end does not hold up the sweep, however narrow its window. */
static void test_an_answer_without_end(void)
{
    static const struct fn_span span = {.first.low = 0x0a000001, .count = 5};
    struct fn_sweep_options options = options_of(AF_INET);
    struct fn_wire wire = fn_icmp_wire;

    options.window = options.retries = 1;
    struct fn_sweep *const sweep = sweep_of(&options, &span, 1);
    wire.send = send_all;
    wire.read = read_one;
    wire.reply = first_one_answers;
    sweep->wire = &wire;
    assert(fn_sweep_run(sweep, soon()) == 1);
    assert(fn_sweep_sent(sweep) == 1 + 2 * 4);
    for (uint64_t target = 0; target < 5; target++)
        assert(fn_sweep_states(sweep)[target] == (target ? FN_SILENT : FN_ALIVE));
    fn_sweep_free(sweep);
}

/* Who answered for a target is known, and of nobody else. */
static void test_responder(void)
{
    static const struct fn_span span = {.first = {0xfd00, 0}, .count = 2};
    struct fn_sweep_options options = options_of(AF_INET6);
    struct fn_wire wire = fn_icmp_wire;
    struct fn_number found;

    struct fn_sweep *const sweep = sweep_of(&options, &span, 1);
    assert(!fn_sweep_responder(sweep, 0, &found));
    wire.send = send_all;
    wire.read = read_one;
    wire.reply = routers_answer;
    sweep->wire = &wire;
    assert(fn_sweep_run(sweep, soon()) == 1);
    assert(fn_sweep_states(sweep)[0] == FN_ALIVE && fn_sweep_states(sweep)[1] == FN_SILENT);
    assert(fn_sweep_responder(sweep, 0, &found) && found.high == 0xfd77 && found.low == 2);
    assert(!fn_sweep_responder(sweep, 1, &found));
    fn_sweep_free(sweep);
}

static void *look_on(void *given)
{
    const struct fn_sweep *const sweep = given;
    uint64_t sent = 0;

    while (!fn_sweep_finished(sweep)) {
        assert(fn_sweep_sent(sweep) >= sent && fn_sweep_size(sweep) == 5);
        sent = fn_sweep_sent(sweep);
    }
    for (uint64_t target = 0; target < 5; target++)
        assert(fn_sweep_states(sweep)[target] == (target ? FN_SILENT : FN_ALIVE));
    return NULL;
}

/* Another thread may look on, and reads every verdict once it is finished. */
static void test_who_looks_on(void)
{
    static const struct fn_span span = {.first.low = 0x0a000001, .count = 5};
    struct fn_sweep_options options = options_of(AF_INET);
    struct fn_wire wire = fn_icmp_wire;
    pthread_t onlooker;

    struct fn_sweep *const sweep = sweep_of(&options, &span, 1);
    wire.send = send_all;
    wire.read = read_one;
    wire.reply = first_one_answers;
    sweep->wire = &wire;
    assert(pthread_create(&onlooker, NULL, look_on, sweep) == 0);
    assert(fn_sweep_run(sweep, soon()) == 1);
    assert(pthread_join(onlooker, NULL) == 0);
    fn_sweep_free(sweep);
}

/* Queues */

static struct {
    int error;          /* what sending is refused with, `times` times, where it begins with target `from` */
    unsigned times;
    uint64_t from;
    unsigned calls;
    int64_t sent[4];    /* when each target was sent to first */
    uint32_t waited[4]; /* and how many ticks after its time in the sweep again */
} wire_told;

static int refuse_some(struct fn_sweep *sweep)
{
    wire_told.calls++;
    if (sweep->out.targets[0] >= wire_told.from && wire_told.times) {
        wire_told.times--;
        return -wire_told.error;
    }
    for (unsigned i = 0; i < sweep->out.count; i++) {
        const uint64_t target = sweep->out.targets[i];
        if (target >= wire_told.from && wire_told.times)
            return (int)i;
        const int64_t now = fn_clock_now(CLOCK_MONOTONIC);
        if (wire_told.sent[target])
            wire_told.waited[target] = fn_ticks(now) - fn_sweep_slots(sweep)[target].ticks;
        else
            wire_told.sent[target] = now;
    }
    return (int)sweep->out.count;
}

static int read_nothing(struct fn_sweep *sweep)
{
    (void)sweep;
    return -EAGAIN;
}

/* A sweep of four targets over a wire that refuses so often with this error, from this target on. */
static struct fn_sweep *refused_sweep(struct fn_wire *wire, const struct fn_sweep_options *options, int error,
                                      unsigned times, uint64_t from)
{
    static const struct fn_span span = {.first.low = 0x0a000001, .count = 4};
    struct fn_sweep *const sweep = sweep_of(options, &span, 1);

    memset(&wire_told, 0, sizeof wire_told);
    wire_told.error = error;
    wire_told.times = times;
    wire_told.from = from;
    *wire = fn_icmp_wire;
    wire->send = refuse_some;
    wire->read = read_nothing;
    wire->error = no_error;
    sweep->wire = wire;
    return sweep;
}

static const int FULL[] = {ENOBUFS, EAGAIN, ENOMEM};

/* A queue or a table that is full is waited for: every target is asked, though some later. */
static void test_what_is_full_is_waited_for(int error, uint64_t from)
{
    const struct fn_sweep_options options = options_of(AF_INET);
    struct fn_wire wire;
    struct fn_sweep *const sweep = refused_sweep(&wire, &options, error, 3, from);

    assert(fn_sweep_run(sweep, soon()) == 1);
    assert(fn_sweep_sent(sweep) == 4 && wire_told.times == 0);
    for (uint64_t target = 0; target < 4; target++)
        assert(fn_sweep_states(sweep)[target] == FN_SILENT && wire_told.sent[target]);
    /* Each refusal puts off the next try by 10 ms. */
    assert(wire_told.sent[3] - sweep->pass_begin >= 3 * 10 * FN_MILLISECOND);
    fn_sweep_free(sweep);
}

/* ... but not for ever: what is left is then given up, with the reason. */
static void test_what_stays_full_is_given_up(int error)
{
    const struct fn_sweep_options options = options_of(AF_INET);
    struct fn_wire wire;
    struct fn_sweep *const sweep = refused_sweep(&wire, &options, error, 1000, 2);

    assert(fn_sweep_run(sweep, 0) == 0 && fn_sweep_run(sweep, 0) == 0);
    assert(wire_told.calls == 2 && sweep->refused_since != 0);
    sweep->not_before = 0;
    sweep->refused_since -= 31 * FN_SECOND;
    assert(fn_sweep_run(sweep, soon()) == 1);
    for (uint64_t target = 0; target < 4; target++) {
        const struct fn_reason *const reason = fn_sweep_reason(sweep, fn_sweep_slots(sweep)[target].reason);
        assert(fn_sweep_states(sweep)[target] == (target < 2 ? FN_SILENT : FN_PENDING));
        assert(target < 2 ? !reason : reason->refused == error);
    }
    fn_sweep_free(sweep);
}

/* Another error is final, for that target alone. */
static void test_another_error_is_final(void)
{
    const struct fn_sweep_options options = options_of(AF_INET);
    struct fn_wire wire;
    struct fn_sweep *const sweep = refused_sweep(&wire, &options, EACCES, 2, 1);

    assert(fn_sweep_run(sweep, soon()) == 1);
    for (uint64_t target = 0; target < 4; target++)
        assert(fn_sweep_states(sweep)[target] == (target == 1 ? FN_PENDING : FN_SILENT));
    assert(fn_sweep_reason(sweep, fn_sweep_slots(sweep)[1].reason)->refused == EACCES);
    fn_sweep_free(sweep);
}

/* What is refused takes its time by the rate too. */
static void test_refusals_have_a_pace(void)
{
    struct fn_sweep_options options = options_of(AF_INET);
    struct fn_wire wire;

    options.gap = 3600 * FN_SECOND;
    struct fn_sweep *const sweep = refused_sweep(&wire, &options, EACCES, 1000, 0);
    for (int runs = 0; runs < 10; runs++)
        assert(fn_sweep_run(sweep, 0) == 0);
    for (uint64_t target = 0; target < 4; target++)
        assert(!fn_sweep_slots(sweep)[target].reason == (target > 0));
    fn_sweep_free(sweep);
}

static bool first_three_answer(const struct fn_sweep *sweep, unsigned place, struct fn_answer *out)
{
    (void)sweep;
    *out = (struct fn_answer){.target = place, .whole = true, .number = place + 1};
    return true;
}

static int read_three(struct fn_sweep *sweep)
{
    return sweep->sent >= 3 ? 3 : -EAGAIN;
}

/* Where all that were sent to have answered, nobody is waited for. */
static void test_nobody_is_waited_for_in_vain(void)
{
    struct fn_sweep_options options = options_of(AF_INET);
    struct fn_wire wire;

    options.timeout = 3600 * FN_SECOND;
    struct fn_sweep *const sweep = refused_sweep(&wire, &options, EACCES, 2, 3);
    wire.read = read_three;
    wire.reply = first_three_answer;
    assert(fn_sweep_run(sweep, soon()) == 1);
    assert(fn_sweep_states(sweep)[2] == FN_ALIVE && fn_sweep_states(sweep)[3] == FN_PENDING);
    fn_sweep_free(sweep);
}

/* Nobody is asked again before his time is over. */
static void test_patience_with_each(void)
{
    struct fn_sweep_options options = options_of(AF_INET);
    struct fn_wire wire;

    options.retries = 1;
    options.timeout = 50 * FN_MILLISECOND;
    struct fn_sweep *const sweep = refused_sweep(&wire, &options, ENOBUFS, 3, 2);
    assert(fn_sweep_run(sweep, soon()) == 1);
    for (unsigned target = 0; target < 4; target++)
        assert(wire_told.waited[target] >= fn_ticks(options.timeout - FN_MILLISECOND));
    fn_sweep_free(sweep);
}

static int send_slowly(struct fn_sweep *sweep)
{
    const int64_t end = fn_clock_now(CLOCK_MONOTONIC) + FN_MILLISECOND / 4;

    while (fn_clock_now(CLOCK_MONOTONIC) < end)
        ;
    return (int)sweep->out.count;
}

/* The requests of a batch left one after the other; where it took so long that the process was stopped, all at once. */
static void test_when_each_left(void)
{
    bool apart = false;

    for (unsigned tries = 0; tries < 1000 && !apart; tries++) { /* a busy machine stops processes */
        const struct fn_sweep_options options = options_of(AF_INET);
        struct fn_wire wire;
        struct fn_sweep *const sweep = refused_sweep(&wire, &options, 0, 0, 0);
        wire.send = send_slowly;
        assert(fn_sweep_run(sweep, 0) == 0 && fn_sweep_sent(sweep) == 4);
        const uint32_t took = fn_sweep_slots(sweep)[3].ticks - fn_sweep_slots(sweep)[0].ticks;
        apart = took >= fn_ticks(FN_MILLISECOND / 8) && took < fn_ticks(FN_MILLISECOND);
        assert(apart || took == 0);
        fn_sweep_free(sweep);
    }
    assert(apart);
}

int main(void)
{
    test_an_answer_without_end();
    test_responder();
    test_who_looks_on();
    for (size_t i = 0; i < sizeof FULL / sizeof *FULL; i++) {
        test_what_is_full_is_waited_for(FULL[i], 0);
        test_what_is_full_is_waited_for(FULL[i], 2);
        test_what_stays_full_is_given_up(FULL[i]);
    }
    test_another_error_is_final();
    test_refusals_have_a_pace();
    test_nobody_is_waited_for_in_vain();
    test_patience_with_each();
    test_when_each_left();
    return 0;
}
