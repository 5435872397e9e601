/* The timetable of a conversation, its totals and ends. */
#define _GNU_SOURCE
#include "probe/conversation.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

/* Maximum sent before arrived answers are read. */
#define BURST 64
/* Maximum sent in one system call: with more, the estimates of their send times are worse. */
#define TOGETHER 4
/* Maximum batches of answers read in a row: noise may arrive faster than it is read. */
#define READS 64
/* In a flood, between two requests without replies, as in ping(8). */
#define FLOOD_PAUSE (10 * FN_MILLISECOND)
/* Between the requests of a round to many hosts, so that they do not leave in one burst. */
#define SPREAD FN_MILLISECOND
/* Between two turns in which requests of a round are sent: each turn costs CPU time. At most a tenth of the interval. */
#define TURN FN_MILLISECOND
/* Maximum lost time that is caught up at once. */
#define CATCH_UP (10 * FN_MILLISECOND)
/* How long to wait for room in a full queue before the next try, and at most. */
#define HOLD (10 * FN_MILLISECOND)
#define LONGEST_HOLD (30 * FN_SECOND)
/* The prober keeps the slot of a request that is neither answered nor given up. */
#define HELD (FN_NEVER / 2)

/* The next request. */
struct next {
    uint64_t round;
    size_t place; /* its host */
    int64_t not_before;
};

struct fn_conversation {
    struct fn_prober *prober;
    struct fn_plan plan;
    struct fn_host *hosts;
    size_t count;
    struct next next;
    int64_t apart, begin, last_sent;
    uint64_t first;  /* number of its first probe */
    uint64_t oldest; /* and of the oldest that may still be awaited */
    uint64_t awaited;
    uint64_t refused; /* in a row, up to the newest request */
    int shortage;
    int64_t short_since;
    struct fn_heard *errors; /* by slot, that came for awaited requests; NULL: ends are not kept */
    int failure;             /* -ENOMEM: an end could not be kept */
};

int fn_conversation_new(struct fn_conversation **out, struct fn_prober *prober, const struct fn_plan *plan,
                        const struct sockaddr_in6 *hosts, size_t count)
{
    struct fn_conversation *const conversation = calloc(1, sizeof *conversation);

    if (!conversation)
        return -ENOMEM;
    conversation->hosts = calloc(count ? count : 1, sizeof *conversation->hosts);
    if (plan->keeps_ends)
        conversation->errors = calloc(prober->slots, sizeof *conversation->errors);
    if (!conversation->hosts || (plan->keeps_ends && !conversation->errors)) {
        fn_conversation_free(conversation);
        return -ENOMEM;
    }
    const int64_t apart = count ? plan->interval / (int64_t)count : 0;
    conversation->prober = prober;
    conversation->plan = *plan;
    conversation->count = count;
    conversation->apart = apart < SPREAD ? apart : SPREAD;
    conversation->first = conversation->oldest = prober->number + 1;
    conversation->begin = fn_clock_now(CLOCK_MONOTONIC);
    for (size_t i = 0; i < count; i++)
        conversation->hosts[i].to = hosts[i];
    *out = conversation;
    return 0;
}

void fn_conversation_free(struct fn_conversation *conversation)
{
    if (!conversation)
        return;
    for (size_t i = 0; i < conversation->count; i++) {
        fn_round_trips_free(&conversation->hosts[i].received);
        free(conversation->hosts[i].ends);
    }
    free(conversation->errors);
    free(conversation->hosts);
    free(conversation);
}

const struct fn_host *fn_conversation_host(const struct fn_conversation *conversation, size_t i)
{
    return &conversation->hosts[i];
}

int fn_conversation_shortage(const struct fn_conversation *conversation)
{
    return conversation->shortage;
}

static bool has_next(const struct fn_conversation *conversation)
{
    return conversation->count > 0 && (!conversation->plan.count || conversation->next.round < conversation->plan.count);
}

/* Ends */

/* The number of the next request, which is its tag. */
static uint64_t next_request(const struct fn_conversation *conversation)
{
    return conversation->next.round * conversation->count + conversation->next.place;
}

/* Makes room for one more. */
static bool grow(struct fn_host *host)
{
    const size_t capacity = host->capacity ? 2 * host->capacity : 1;
    struct fn_end *const larger = realloc(host->ends, capacity * sizeof *larger);

    if (!larger)
        return false;
    host->ends = larger;
    host->capacity = capacity;
    return true;
}

/* Keeps the end of a request, if that is wanted; without an answer it is NULL. */
static void keep_end(struct fn_conversation *conversation, uint64_t request, int refused,
                     const struct fn_heard *answer)
{
    struct fn_host *const host = &conversation->hosts[request % conversation->count];

    if (!conversation->plan.keeps_ends)
        return;
    if (host->ended == host->capacity && !grow(host)) {
        conversation->failure = -ENOMEM;
        return;
    }
    struct fn_end *const end = &host->ends[host->ended++];
    *end = (struct fn_end){.round = request / conversation->count, .refused = refused, .is_answered = answer != NULL};
    if (answer)
        end->answer = *answer;
}

/* The error that was kept for a probe; NULL: none. */
static const struct fn_heard *error_of(const struct fn_conversation *conversation, uint64_t number)
{
    const struct fn_heard *const error =
        conversation->errors ? &conversation->errors[number % conversation->prober->slots] : NULL;

    return error && error->number == number ? error : NULL;
}

/* Answers */

/* The host of a probe; NULL: the probe is another conversation's. */
static struct fn_host *host_of(const struct fn_conversation *conversation, uint64_t number, int64_t tag)
{
    const bool is_own = number >= conversation->first && tag >= 0 && (uint64_t)tag < next_request(conversation);

    return is_own ? &conversation->hosts[(uint64_t)tag % conversation->count] : NULL;
}

static void take_error(struct fn_conversation *conversation, struct fn_host *host, const struct fn_heard *error)
{
    if (error->number < conversation->oldest) /* given up already */
        return;
    if (error->number == host->newest)
        host->error = *error;
    if (conversation->errors)
        conversation->errors[error->number % conversation->prober->slots] = *error;
}

static void take_reply(struct fn_conversation *conversation, struct fn_host *host, const struct fn_heard *reply)
{
    if (reply->repeated) {
        host->duplicates++;
    } else if (reply->number >= conversation->oldest) {
        conversation->awaited--;
        if (fn_round_trips_add(&host->received, (double)reply->rtt / FN_MILLISECOND) < 0)
            conversation->failure = -ENOMEM;
    } else {
        return; /* given up already */
    }
    keep_end(conversation, (uint64_t)reply->tag, 0, reply);
}

/* A late reply changes nothing: the request is given up, as if it had not come. */
static void ignore_reply(struct fn_conversation *conversation, const struct fn_heard *reply)
{
    if (!reply->repeated)
        conversation->prober->probes[reply->number % conversation->prober->slots].answered = false;
}

static void take(struct fn_conversation *conversation, const struct fn_heard *heard)
{
    struct fn_host *const host = host_of(conversation, heard->number, heard->tag);

    if (!host)
        return;
    if (heard->is_error)
        take_error(conversation, host, heard);
    else if (heard->rtt > conversation->plan.timeout)
        ignore_reply(conversation, heard);
    else
        take_reply(conversation, host, heard);
}

/* Reads all answers that have arrived, or many: 0 or -errno. */
static int take_answers(struct fn_conversation *conversation)
{
    struct fn_heard heard[FN_HEARD];
    bool more = true;

    for (int reads = 0; more && reads < READS; reads++) {
        const int count = fn_prober_receive(conversation->prober, FN_BATCH, heard, &more);
        if (count < 0)
            return count;
        for (int i = 0; i < count; i++)
            take(conversation, &heard[i]);
    }
    return 0;
}

/* The oldest probe that is awaited, if any. */
static struct fn_probe *first_awaited(struct fn_conversation *conversation)
{
    const struct fn_prober *const prober = conversation->prober;

    for (; conversation->oldest <= prober->number; conversation->oldest++) {
        struct fn_probe *const probe = &prober->probes[conversation->oldest % prober->slots];
        if (probe->known && !probe->answered && probe->number == conversation->oldest &&
            host_of(conversation, probe->number, probe->tag))
            return probe;
    }
    return NULL;
}

/* Gives up the requests whose timeout ended before this time; answers that had arrived by then have been read. */
static void give_up(struct fn_conversation *conversation, int64_t now)
{
    for (struct fn_probe *probe; (probe = first_awaited(conversation)); conversation->oldest++) {
        if (probe->sent + conversation->plan.timeout > now)
            return;
        probe->held_until = now;
        host_of(conversation, probe->number, probe->tag)->lost++;
        conversation->awaited--;
        keep_end(conversation, (uint64_t)probe->tag, 0, error_of(conversation, probe->number));
    }
}

/* Requests */

/* When the next request is scheduled: in a flood, only as replies come back. What is refused has none. */
static int64_t scheduled(const struct fn_conversation *conversation)
{
    const uint64_t most = conversation->count > FN_AWAITED ? conversation->count : FN_AWAITED;

    if (conversation->plan.interval)
        return conversation->begin + (int64_t)conversation->next.round * conversation->plan.interval +
               (int64_t)conversation->next.place * conversation->apart;
    return conversation->awaited + conversation->refused < most ? 0 : conversation->last_sent + FLOOD_PAUSE;
}

/* When the next request may be sent. */
static int64_t next_due(const struct fn_conversation *conversation)
{
    const int64_t due = has_next(conversation) ? scheduled(conversation) : FN_NEVER;

    return due > conversation->next.not_before ? due : conversation->next.not_before;
}

/* When to send next: to many hosts several requests in each turn. */
static int64_t next_turn(const struct fn_conversation *conversation, int64_t now)
{
    const int64_t tenth = conversation->plan.interval / 10, soonest = now + (tenth < TURN ? tenth : TURN);
    const int64_t due = next_due(conversation);

    return due <= now || due > soonest ? due : soonest;
}

/* Missed rounds are not sent later. */
static void skip_lost_time(struct fn_conversation *conversation, int64_t now)
{
    const int64_t late = now - scheduled(conversation);

    if (conversation->plan.interval && late >= conversation->plan.interval)
        conversation->begin += late;
}

/* After a request at this time. */
static void advance(struct fn_conversation *conversation, int64_t now)
{
    struct next *const next = &conversation->next;

    conversation->last_sent = now;
    if (conversation->apart) {
        const int64_t soonest = now - CATCH_UP;
        next->not_before += conversation->apart;
        if (next->not_before < soonest)
            next->not_before = soonest;
    }
    if (++next->place == conversation->count) {
        next->place = 0;
        next->round++;
    }
}

/* Whether a request that was not sent is to be tried again. */
static bool waits_for_room(struct fn_conversation *conversation, int code, int64_t now)
{
    if (code == -ENOBUFS || code == -ENOMEM) {
        if (!conversation->short_since)
            conversation->short_since = now;
        if (now - conversation->short_since > LONGEST_HOLD)
            return false;
    } else if (code != FN_NO_SLOT) {
        return false;
    }
    conversation->shortage = code == FN_NO_SLOT ? EAGAIN : -code;
    conversation->next.not_before = now + HOLD;
    return true;
}

/* Ends the next request, which the system refuses. */
static void refuse(struct fn_conversation *conversation, int code, int64_t now)
{
    struct fn_host *const host = &conversation->hosts[conversation->next.place];

    keep_end(conversation, next_request(conversation), -code, NULL);
    conversation->refused++;
    host->not_sent++;
    host->newest = conversation->prober->number;
    host->refused = -code;
    host->error.is_error = false;
    advance(conversation, now);
}

/* Counts requests as sent. */
static void count_sent(struct fn_conversation *conversation, const struct fn_request *requests, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct fn_host *const host = &conversation->hosts[(uint64_t)requests[i].tag % conversation->count];
        host->sent++;
        host->newest = requests[i].number;
        host->refused = 0;
        host->error.is_error = false;
    }
    conversation->short_since = 0;
    conversation->refused = 0;
}

/* Sends the next requests that are due, or fails the first. False: none is due, or there is no room for it yet. */
static bool send_some(struct fn_conversation *conversation, int64_t now)
{
    struct fn_request requests[TOGETHER];
    struct next each[TOGETHER];
    unsigned count = 0;

    skip_lost_time(conversation, now);
    for (; count < TOGETHER && next_due(conversation) <= now; count++) {
        each[count] = conversation->next;
        requests[count] = (struct fn_request){.to = &conversation->hosts[conversation->next.place].to,
                                              .tag = (int64_t)next_request(conversation)};
        conversation->awaited++;
        advance(conversation, now);
    }
    if (!count)
        return false;
    const int code = fn_prober_send_some(conversation->prober, requests, count, HELD);
    const unsigned sent = code < 0 ? 0 : (unsigned)code;
    if (sent < count)
        conversation->next = each[sent];
    conversation->awaited -= count - sent;
    if (code < 0 && waits_for_room(conversation, code, now))
        return false;
    if (code < 0)
        refuse(conversation, code, now);
    else
        count_sent(conversation, requests, sent);
    return true;
}

static void send_due(struct fn_conversation *conversation, int64_t now)
{
    for (unsigned i = 0; i < BURST / TOGETHER && send_some(conversation, now); i++)
        continue;
}

/* Waits for an answer, until this time at most. False: a signal came. */
static bool wait_until(const struct fn_conversation *conversation, int64_t until)
{
    struct pollfd ready = {.fd = conversation->prober->options.fd, .events = POLLIN};
    const int64_t left = until - fn_clock_now(CLOCK_MONOTONIC);
    const struct timespec longest = {.tv_sec = left / FN_SECOND, .tv_nsec = left % FN_SECOND};

    return left <= 0 || ppoll(&ready, 1, &longest, NULL) >= 0;
}

int fn_conversation_run(struct fn_conversation *conversation, int64_t until)
{
    for (bool goes_on = true;;) {
        const int64_t now = fn_clock_now(CLOCK_MONOTONIC);
        int code = take_answers(conversation);
        if (code < 0)
            return code;
        give_up(conversation, now);
        send_due(conversation, now);
        const bool is_cut = now >= until || !goes_on;
        if (is_cut && (code = take_answers(conversation)) < 0) /* which came at once: nobody may run it again */
            return code;
        if (conversation->failure < 0)
            return conversation->failure;
        if (!has_next(conversation) && !conversation->awaited)
            return 1;
        if (is_cut)
            return 0;
        const struct fn_probe *const first = first_awaited(conversation);
        int64_t next = next_turn(conversation, now);
        if (first && first->sent + conversation->plan.timeout < next)
            next = first->sent + conversation->plan.timeout;
        goes_on = wait_until(conversation, next < until ? next : until);
    }
}
