/* The schedule of a sweep, and the verdicts from its answers. */
#define _GNU_SOURCE
#include "probe/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Time without an answer after which the window ages; less if answers usually come sooner, down to a minimum. */
#define AGE (10 * FN_MILLISECOND)
#define SHORTEST_AGE (FN_MILLISECOND / 2)
/* Number of windows without an answer after which targets count as dead: the next windows age sooner. */
#define DEAD_WINDOWS 8
#define DEAD_AGE (2 * FN_MILLISECOND)
#define NARROWEST 16
/* Maximum time for which the system may refuse to send. */
#define LONGEST_REFUSAL (30 * FN_SECOND)
/* Maximum time to build, or to send, a batch. */
#define LONGEST_BATCH FN_MILLISECOND
/* Minimum adaptive timeout. */
#define SHORTEST_TIMEOUT (100 * FN_MILLISECOND)
/* Retries are batched for up to this time. */
#define TOGETHER FN_MILLISECOND
/* Maximum number of messages to read before the next check whether to send or to stop. */
#define READ_MOST (64 * FN_BATCH)

static const struct fn_wire *const WIRES[] = {
    [FN_DATAGRAM] = &fn_icmp_wire,
    [FN_RAW] = &fn_icmp_wire,
    [FN_LINK] = &fn_link_wire,
    [FN_TURBO] = &fn_turbo_wire,
};

static int64_t time_now(void)
{
    return fn_clock_now(CLOCK_MONOTONIC);
}

static bool in_range(const struct fn_sweep_options *options)
{
    return options->window > 0 && options->timeout >= 0 && options->gap >= 0 &&
           (options->family == AF_INET || options->family == AF_INET6);
}

static void init_states(struct fn_sweep *sweep, const uint8_t *decided)
{
    for (uint64_t target = 0; decided && target < sweep->size; target++)
        if (decided[target / 8] >> target % 8 & 1) {
            sweep->states[target] = FN_DECIDED;
            sweep->decided++;
        }
}

int fn_sweep_new(struct fn_sweep **out, const struct fn_sweep_options *options, const struct fn_span *spans,
                 size_t count, const uint8_t *decided)
{
    struct fn_sweep *const sweep = calloc(1, sizeof *sweep);
    int code = -ENOMEM;

    if (!sweep)
        return code;
    sweep->options = *options;
    sweep->wire = WIRES[options->engine];
    code = in_range(options) ? fn_targets_init(sweep, spans, count) : -EINVAL;
    if (code == 0)
        code = sweep->wire->init(sweep);
    if (code == 0) {
        const size_t places = sweep->size ? sweep->size : 1;
        sweep->states = calloc(places, sizeof *sweep->states);
        sweep->slots = calloc(places, sizeof *sweep->slots);
        code = sweep->states && sweep->slots ? 0 : -ENOMEM;
    }
    if (code < 0) {
        fn_sweep_free(sweep);
        return code;
    }
    if (sweep->size && options->permuted)
        fn_permute_init(&sweep->order, sweep->size, options->seed);
    init_states(sweep, decided);
    sweep->passes_left = options->retries;
    sweep->window = options->window;
    sweep->finished = sweep->decided == sweep->size;
    sweep->progress = sweep->pass_begin = sweep->last_sent = sweep->not_before = time_now();
    fn_clocks_start(&sweep->clocks, sweep->progress, fn_clock_now(CLOCK_REALTIME));
    *out = sweep;
    return 0;
}

void fn_sweep_free(struct fn_sweep *sweep)
{
    if (!sweep)
        return;
    sweep->wire->free(sweep);
    fn_reasons_free(&sweep->reasons);
    free(sweep->spans);
    free(sweep->starts);
    free(sweep->states);
    free(sweep->slots);
    free(sweep->responders);
    free(sweep);
}

/* Without a socket, or after it was closed. */
static bool is_fatal(int error)
{
    return error == EBADF || error == ENOTSOCK;
}

/* Answers */

/* The send time of the answered request. The slot, written later, is more exact than the request. */
static uint32_t sent_at(const struct fn_sweep *sweep, const struct fn_answer *answer)
{
    const uint32_t noted = sweep->slots[answer->target].ticks;
    const bool same = sweep->states[answer->target] == FN_SILENT && noted - answer->ticks < fn_ticks(FN_MILLISECOND);

    return same ? noted : answer->ticks;
}

static void note_responder(struct fn_sweep *sweep, const struct fn_answer *answer)
{
    if (!sweep->responders)
        sweep->responders = calloc(sweep->size, sizeof *sweep->responders);
    if (sweep->responders)
        sweep->responders[answer->target] = answer->from;
    else
        sweep->failure = -ENOMEM;
}

static void take_reply(struct fn_sweep *sweep, const struct fn_answer *answer, int64_t now)
{
    const int64_t rtt = fn_clocks_rtt(&sweep->clocks, sent_at(sweep, answer), answer->stamp, now);

    fn_expect_learn(&sweep->expect, rtt);
    sweep->unanswered -= sweep->states[answer->target] != FN_PENDING;
    sweep->states[answer->target] = FN_ALIVE;
    sweep->slots[answer->target].rtt_ms = (float)rtt / 1e6f;
    sweep->alive++;
    if (answer->anycast)
        note_responder(sweep, answer);
}

/* Whether it answers a newer request than all answers before. */
static bool is_newest(struct fn_sweep *sweep, const struct fn_answer *answer)
{
    const uint64_t number = sweep->sent - (uint32_t)((uint32_t)sweep->sent - answer->number);

    if (!answer->whole || number <= sweep->newest || number > sweep->sent)
        return false;
    sweep->newest = number;
    return true;
}

static void note_progress(struct fn_sweep *sweep, int64_t now)
{
    sweep->answered_since_stall = true;
    sweep->silent_stalls = 0;
    sweep->progress = now;
    if (sweep->window < sweep->options.window)
        sweep->window++;
}

static void take(struct fn_sweep *sweep, const struct fn_answer *answer, int64_t now)
{
    const uint8_t state = sweep->states[answer->target];

    /* A target that is not retried may still answer an earlier request. */
    if (state == FN_DECIDED || (state == FN_PENDING && (answer->reason || !answer->whole)))
        return;
    /* A repeated answer is no progress: endless repetitions would keep requests in the window. */
    const bool first = state != FN_ALIVE && (state != FN_UNREACHABLE || !answer->reason);
    if (is_newest(sweep, answer) || first)
        note_progress(sweep, now);
    if (state == FN_ALIVE)
        return;
    if (answer->reason) {
        sweep->states[answer->target] = FN_UNREACHABLE;
        sweep->slots[answer->target].reason = answer->reason;
    } else {
        take_reply(sweep, answer, now);
    }
}

/* The number of errors read, also of those that are not ours. */
static unsigned read_errors(struct fn_sweep *sweep)
{
    struct fn_answer answer;
    unsigned count = 0;
    int code = 0;

    for (; count < READ_MOST; count++) {
        code = sweep->wire->error(sweep, &answer);
        if (code < 0)
            break;
        if (code)
            take(sweep, &answer, time_now());
    }
    if (count < READ_MOST && code != -EAGAIN)
        sweep->failure = code;
    return count;
}

/* Reads the messages that have arrived; their number, or -errno. */
static int read_replies(struct fn_sweep *sweep)
{
    struct fn_answer answer;
    const int count = sweep->wire->read(sweep);

    if (count < 0)
        return count;
    const int64_t now = fn_clocks_look(&sweep->clocks);
    for (int i = 0; i < count; i++)
        if (sweep->wire->reply(sweep, (unsigned)i, &answer))
            take(sweep, &answer, now);
    return count;
}

/* Any call on the socket may report an ICMP error first; the error queue has all of it. */
static int receive(struct fn_sweep *sweep)
{
    int count = FN_BATCH;
    unsigned notices = 0;

    for (unsigned read = 0; count == FN_BATCH && read < READ_MOST; read += FN_BATCH) {
        count = read_replies(sweep);
        if (count >= 0 || count == -EAGAIN)
            continue;
        notices = read_errors(sweep) ? 0 : notices + 1;
        if (!fn_is_notice(-count) || notices == FN_NOTICES)
            return count;
        count = FN_BATCH;
    }
    return 0;
}

/* Sending */

static uint64_t target_at(const struct fn_sweep *sweep, uint64_t place)
{
    return sweep->options.permuted ? fn_permute_at(&sweep->order, place) : place;
}

/* A target whose retry failed is not inactive: the cause of the failure may have dropped its answer too. */
static void note_refusal(struct fn_sweep *sweep, uint64_t target, int error)
{
    const struct fn_reason reason = {.refused = error};

    if (sweep->states[target] == FN_SILENT) {
        sweep->states[target] = FN_PENDING;
        sweep->unanswered--;
    }
    if (sweep->states[target] == FN_PENDING)
        sweep->slots[target].reason = fn_reason_number(sweep, &reason);
}

static int64_t reply_timeout(const struct fn_sweep *sweep)
{
    const int64_t timeout = sweep->options.timeout;

    return sweep->options.adaptive ? fn_expect_within(&sweep->expect, SHORTEST_TIMEOUT, timeout) : timeout;
}

/* When a silent target is retried: after its own timeout, or after that of the whole last pass. */
static int64_t due(const struct fn_sweep *sweep, uint64_t target, int64_t now)
{
    const uint32_t since = fn_ticks(now) - sweep->slots[target].ticks;
    const int64_t sent = now - ((int64_t)since << FN_TICK_BITS);

    return (sent < sweep->last_pass_end ? sent : sweep->last_pass_end) + reply_timeout(sweep);
}

/* Fills the batch with the next targets of this pass; if it is empty, returns when to try again. */
static int64_t fill_batch(struct fn_sweep *sweep, unsigned room, int64_t now)
{
    struct fn_outgoing *const out = &sweep->out;

    out->count = 0;
    while (out->count < room && sweep->place < sweep->size) {
        const uint64_t place = sweep->place, target = target_at(sweep, place);
        const uint8_t state = sweep->states[target];
        if (state == FN_SILENT && due(sweep, target, now) > now)
            return due(sweep, target, now) + TOGETHER;
        sweep->place++;
        if (state == FN_ALIVE || state == FN_DECIDED)
            continue;
        if (!fn_is_host(sweep->options.family, fn_sweep_address(sweep, target))) {
            note_refusal(sweep, target, FN_NOT_A_HOST);
            continue;
        }
        out->places[out->count] = place;
        sweep->wire->request(sweep, out->count, target, (uint32_t)(sweep->sent + 1 + out->count), fn_ticks(now));
        out->count++;
    }
    return now;
}

/*
 * The send time of a batch. A process that is stopped in a system call has completed the call: if that took longer than
 * any batch does, all of it left at the beginning.
 */
static int64_t batch_time(int64_t before, int64_t after)
{
    return after - before < LONGEST_BATCH ? after - before : 0;
}

static void note_sent(struct fn_sweep *sweep, unsigned count, int64_t before, int64_t after)
{
    const int64_t took = batch_time(before, after);

    for (unsigned i = 0; i < count; i++) {
        const uint64_t target = sweep->out.targets[i];
        const int64_t when = before + took * i / count;
        if (sweep->states[target] == FN_PENDING) {
            sweep->states[target] = FN_SILENT;
            sweep->unanswered++;
        }
        if (sweep->states[target] == FN_SILENT)
            sweep->slots[target].ticks = fn_ticks(when);
        sweep->not_before += sweep->options.gap;
    }
    __atomic_store_n(&sweep->sent, sweep->sent + count, __ATOMIC_RELAXED);
    sweep->last_sent = after;
    sweep->refused_since = 0;
}

/* After a long time without sending, drops the rest of the pass. */
static void give_up_pass(struct fn_sweep *sweep, int error)
{
    for (; sweep->place < sweep->size; sweep->place++)
        note_refusal(sweep, target_at(sweep, sweep->place), error);
}

/* Send queue or neighbour table full (IPv6 reports ENOMEM). */
static bool is_full(int error)
{
    return error == ENOBUFS || error == EAGAIN || error == ENOMEM;
}

/* The batch's first request was not sent. */
static void refused(struct fn_sweep *sweep, int error, int64_t now)
{
    if (!is_full(error)) {
        note_refusal(sweep, sweep->out.targets[0], error);
        sweep->place = sweep->out.places[0] + 1;
        sweep->not_before += sweep->options.gap;
        return;
    }
    sweep->place = sweep->out.places[0];
    sweep->not_before = now + AGE;
    if (sweep->refused_since == 0)
        sweep->refused_since = now;
    else if (now - sweep->refused_since > LONGEST_REFUSAL)
        give_up_pass(sweep, error);
}

/*
 * Sends the batch; the number of sent requests, or -errno. The socket may report the ICMP error of an earlier request;
 * an error that it reports again without a new ICMP error is the first request's own.
 */
static int send_batch(struct fn_sweep *sweep)
{
    for (unsigned tries = 0, alone = 0;; tries++) {
        const int sent = sweep->wire->send(sweep);
        if (sent >= 0)
            return sent;
        alone = read_errors(sweep) ? 0 : alone + 1;
        if (is_fatal(-sent) || is_full(-sent) || alone == 2 || tries == READ_MOST)
            return sent;
    }
}

static int64_t age(const struct fn_sweep *sweep)
{
    return fn_expect_within(&sweep->expect, SHORTEST_AGE, sweep->silent_stalls < DEAD_WINDOWS ? AGE : DEAD_AGE);
}

/* Ages a full window without answers, and narrows it if there were answers before: some were lost. */
static void stall(struct fn_sweep *sweep, int64_t now)
{
    const unsigned half = sweep->window / 2 > NARROWEST ? sweep->window / 2 : NARROWEST;

    if (!sweep->answered_since_stall)
        sweep->window = sweep->options.window;
    else if (half < sweep->options.window)
        sweep->window = half;
    sweep->answered_since_stall = false;
    sweep->silent_stalls++;
    sweep->newest = sweep->sent;
    sweep->progress = now;
}

static void finish(struct fn_sweep *sweep)
{
    for (uint64_t target = 0; target < sweep->size; target++)
        if (sweep->states[target] == FN_SILENT)
            sweep->slots[target].ticks = 0;
    __atomic_store_n(&sweep->finished, true, __ATOMIC_RELEASE);
}

/*
 * Begins the next pass over the silent targets when the first of them times out; after the last pass, waits for the
 * answer to the last request.
 */
static int64_t end_pass(struct fn_sweep *sweep, int64_t now)
{
    const bool last = sweep->passes_left == 0;
    const int64_t deadline = (last ? sweep->last_sent : sweep->pass_begin) + reply_timeout(sweep);

    if (now < deadline && sweep->unanswered)
        return deadline;
    if (last) {
        finish(sweep);
        return now;
    }
    sweep->passes_left--;
    sweep->place = 0;
    sweep->pass_begin = now;
    sweep->last_pass_end = sweep->last_sent;
    sweep->refused_since = 0;
    return now;
}

/* The number of requests that may be sent now; 0: none before *wake. */
static unsigned room(struct fn_sweep *sweep, int64_t now, int64_t *wake)
{
    uint64_t out = sweep->sent - sweep->newest;

    if (now < sweep->not_before) {
        *wake = sweep->not_before;
        return 0;
    }
    if (out >= sweep->window) {
        if (now < sweep->progress + age(sweep)) {
            *wake = sweep->progress + age(sweep);
            return 0;
        }
        stall(sweep, now);
        out = 0;
    }
    uint64_t free_places = sweep->window - out;
    if (sweep->options.gap) {
        /* Lost time is caught up by at most that much. */
        if (sweep->not_before < now - AGE)
            sweep->not_before = now - AGE;
        const uint64_t due = (uint64_t)((now - sweep->not_before) / sweep->options.gap) + 1;
        free_places = due < free_places ? due : free_places;
    }
    return free_places < FN_BATCH ? (unsigned)free_places : FN_BATCH;
}

/* Sends what may be sent now: 0, and *wake is the time of the next step; or -errno. */
static int send_some(struct fn_sweep *sweep, int64_t now, int64_t *wake)
{
    if (sweep->alive + sweep->decided == sweep->size) {
        finish(sweep);
        return 0;
    }
    const unsigned places = room(sweep, now, wake);
    if (places == 0)
        return 0;
    const int64_t held = fill_batch(sweep, places, now);
    if (sweep->out.count == 0) {
        *wake = sweep->place < sweep->size ? held : end_pass(sweep, now);
        return 0;
    }
    const int64_t before = time_now();
    if (before - now > LONGEST_BATCH && !sweep->remade) {
        /* The process was stopped after the time in the requests: build them again. */
        sweep->remade = true;
        sweep->place = sweep->out.places[0];
        return 0;
    }
    sweep->remade = false;
    const int sent = send_batch(sweep);
    if (is_fatal(-sent))
        return sent;
    if (sent > 0)
        note_sent(sweep, (unsigned)sent, before, time_now());
    if (sent < 0)
        refused(sweep, -sent, now);
    else if ((unsigned)sent < sweep->out.count)
        sweep->place = sweep->out.places[sent];
    return 0;
}

static void wait_until(struct fn_sweep *sweep, int64_t wake, int64_t now)
{
    const struct timespec left = {.tv_sec = (wake - now) / FN_SECOND, .tv_nsec = (wake - now) % FN_SECOND};

    if (sweep->wire->wait(sweep, &left))
        read_errors(sweep);
}

int fn_sweep_run(struct fn_sweep *sweep, int64_t until)
{
    while (!sweep->finished) {
        /* First: answers that arrived while the sweep was not running count for its window and its targets. */
        int code = receive(sweep);
        const int64_t now = time_now();
        int64_t wake = now;
        if (code == 0)
            code = send_some(sweep, now, &wake);
        if (code == 0)
            code = sweep->failure;
        if (code < 0)
            return code;
        if (wake > now && now < until)
            wait_until(sweep, wake < until ? wake : until, now);
        if (time_now() >= until)
            break;
    }
    return sweep->finished;
}

void fn_sweep_pace(struct fn_sweep *sweep, int64_t gap)
{
    sweep->options.gap = gap;
}

uint64_t fn_sweep_size(const struct fn_sweep *sweep)
{
    return sweep->size;
}

const uint8_t *fn_sweep_states(const struct fn_sweep *sweep)
{
    return sweep->states;
}

const union fn_slot *fn_sweep_slots(const struct fn_sweep *sweep)
{
    return sweep->slots;
}

uint64_t fn_sweep_sent(const struct fn_sweep *sweep)
{
    return __atomic_load_n(&sweep->sent, __ATOMIC_RELAXED);
}

bool fn_sweep_finished(const struct fn_sweep *sweep)
{
    return __atomic_load_n(&sweep->finished, __ATOMIC_ACQUIRE);
}

bool fn_sweep_responder(const struct fn_sweep *sweep, uint64_t target, struct fn_number *out)
{
    *out = sweep->responders ? sweep->responders[target] : (struct fn_number){0};
    return out->high || out->low;
}
