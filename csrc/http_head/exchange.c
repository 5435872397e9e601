/* Both directions of a connection together. */
#include "http_head/parts.h"

#include <stdio.h>
#include <stdlib.h>

/* The requests that wait for their response */

static struct fn_http_pending *slot(struct fn_http_queue *queue, size_t number)
{
    struct fn_http_pending *ring = queue->more ? queue->more : queue->few;

    return &ring[(queue->first + number) & (queue->capacity - 1u)];
}

static int grow(struct fn_http_queue *queue)
{
    const uint16_t capacity = 4 * queue->capacity;
    struct fn_http_pending *more = malloc(capacity * sizeof *more);

    if (!more)
        return -ENOMEM;
    for (size_t i = 0; i < queue->count; i++)
        more[i] = *slot(queue, i);
    free(queue->more);
    queue->more = more;
    queue->first = 0;
    queue->capacity = capacity;
    return 0;
}

static void shrink(struct fn_http_queue *queue)
{
    free(queue->more);
    queue->more = NULL;
    queue->first = 0;
    queue->capacity = FN_HTTP_FEW;
}

static void let_go(struct fn_http_asked *asked)
{
    if (asked && --asked->users == 0)
        free(asked);
}

/* Requests mostly ask for the same authority as the one before. */
static int share(struct fn_http_queue *queue, struct fn_http_text text, struct fn_http_asked **asked)
{
    struct fn_http_asked *newest = queue->count ? slot(queue, queue->count - 1u)->asked : NULL;

    if (!newest || !fn_http_same(fn_http_text(newest->text, newest->len), text)) {
        newest = malloc(sizeof *newest + text.len);
        if (!newest)
            return -ENOMEM;
        newest->users = 0;
        newest->len = text.len;
        memcpy(newest->text, text.data, text.len);
    }
    newest->users++;
    *asked = newest;
    return 0;
}

int fn_http_push(struct fn_http *http, uint8_t asks, struct fn_http_text asked)
{
    struct fn_http_queue *queue = &http->queue;
    struct fn_http_pending pending = {.asks = asks};

    if (queue->count == queue->capacity && grow(queue) < 0)
        return -ENOMEM;
    if (asked.len && fn_http_rewrites_responses(http->rewrite) && share(queue, asked, &pending.asked) < 0)
        return -ENOMEM;
    *slot(queue, queue->count) = pending;
    queue->count++;
    return 0;
}

const struct fn_http_pending *fn_http_oldest(const struct fn_http *http)
{
    return http->queue.count ? slot((struct fn_http_queue *)&http->queue, 0) : NULL;
}

void fn_http_answered(struct fn_http *http)
{
    struct fn_http_queue *queue = &http->queue;

    if (!queue->count)
        return;
    let_go(slot(queue, 0)->asked);
    queue->first = (uint16_t)((queue->first + 1u) & (queue->capacity - 1u));
    if (--queue->count == 0)
        shrink(queue);
}

static void withdraw_newest(struct fn_http_queue *queue)
{
    if (queue->count)
        let_go(slot(queue, --queue->count)->asked);
}

/* States that depend on both directions */

void fn_http_decide(struct fn_http *http, bool switched)
{
    http->switched = switched ? FN_HTTP_YES : FN_HTTP_NO;
    if (switched && http->requests.state == FN_HTTP_HEAD)
        http->requests.state = FN_HTTP_RAW;
}

void fn_http_ended(struct fn_http *http, struct fn_http_reader *reader)
{
    const bool raw = reader == &http->requests && http->switched == FN_HTTP_YES;

    reader->state = raw ? FN_HTTP_RAW : FN_HTTP_HEAD;
}

static bool in_head(const struct fn_http_reader *reader)
{
    return reader->state == FN_HTTP_HEAD && reader->size + reader->partial > 0;
}

bool fn_http_held(const struct fn_http *http)
{
    if (http->requests.bad)
        return true;
    return http->requests.state == FN_HTTP_HEAD &&
           (http->switched == FN_HTTP_UNDECIDED || http->queue.count >= FN_HTTP_PIPELINE_LIMIT);
}

bool fn_http_head_pending(const struct fn_http *http)
{
    return in_head(&http->requests) && !fn_http_held(http);
}

const char *fn_http_refusal(const struct fn_http *http)
{
    return http->requests.bad;
}

const char *fn_http_unfollowed(const struct fn_http *http)
{
    return http->responses.bad;
}

bool fn_http_idle(const struct fn_http *http)
{
    const struct fn_http_reader *responses = &http->responses;

    return http->queue.count == 0 && responses->state == FN_HTTP_HEAD && !in_head(responses);
}

/* Steps */

static bool drained(const struct fn_http_reader *reader)
{
    return reader->out_at == reader->out.len;
}

/* Lets go of what the last step's text may have been in. */
static void clear(struct fn_http_reader *reader)
{
    if (!drained(reader))
        return;
    reader->out = fn_http_text(NULL, 0);
    reader->out_at = 0;
    if (reader->spent) {
        fn_http_release(&reader->kept);
        fn_http_release(&reader->made);
        reader->spent = false;
    }
}

/* Adds a text to the step; false where it does not follow what is there. */
static bool add(struct fn_http_step *step, struct fn_http_text text)
{
    if (step->send_len == 0)
        step->send = text.data;
    else if (text.len && step->send + step->send_len != text.data)
        return false;
    step->send_len += text.len;
    return true;
}

/* Moves what is to be sent on into the step; false where a part of it must wait for the next one. */
static bool take_out(struct fn_http_reader *reader, struct fn_http_step *step)
{
    while (reader->edits_done < reader->edits_count) {
        const struct fn_http_edit *edit = &reader->edits[reader->edits_done];
        if (!add(step, fn_http_text(reader->out.data + reader->out_at, edit->at - reader->out_at)))
            return false;
        reader->out_at = edit->at;
        if (!add(step, edit->text))
            return false;
        reader->out_at += edit->len;
        reader->edits_done++;
    }
    if (!add(step, fn_http_behind(reader->out, reader->out_at)))
        return false;
    reader->out_at = reader->out.len;
    reader->edits_done = reader->edits_count = 0;
    return true;
}

static int run(struct fn_http *http, struct fn_http_reader *reader, struct fn_http_input *in,
               struct fn_http_step *step)
{
    clear(reader);
    for (;;) {
        if (!drained(reader) && (!take_out(reader, step) || reader->spent))
            return 1;
        if (in->at == in->len || (reader->strict && fn_http_held(http)))
            return 0;
        const int code = fn_http_read(http, reader, in);
        if (code < 0)
            return code;
    }
}

/* Requests go through the backlog while there is one. */
static int run_backlog(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step)
{
    struct fn_http_buffer *backlog = &http->backlog;
    int code = fn_http_append(backlog, data, len);

    if (code < 0)
        return code;
    struct fn_http_input in = {.data = backlog->data, .len = backlog->len, .at = http->backlog_at};
    code = run(http, &http->requests, &in, step);
    http->backlog_at = in.at;
    /* What is sent on may lie in it: the next call lets it go. */
    return code == 0 && in.at == in.len ? 1 : code;
}

static void drop_backlog(struct fn_http *http)
{
    fn_http_release(&http->backlog);
    http->backlog_at = 0;
}

static void refuse(struct fn_http *http)
{
    /* Its own response can't be waited for: the upstream has only a part of the request. */
    if (http->requests.state != FN_HTTP_HEAD)
        withdraw_newest(&http->queue);
}

int fn_http_request(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step)
{
    struct fn_http_reader *reader = &http->requests;
    int code;

    *step = (struct fn_http_step){.used = len};
    if (http->backlog.len && http->backlog_at == http->backlog.len && drained(reader))
        drop_backlog(http);
    if (reader->bad) {
        clear(reader);
        drop_backlog(http);
        return 0;
    }
    if (http->backlog.len) {
        code = run_backlog(http, data, len, step);
    } else {
        struct fn_http_input in = {.data = data, .len = len};
        code = run(http, reader, &in, step);
        step->used = in.at;
        if (code == 0 && in.at < in.len) {
            step->used = len;
            code = fn_http_append(&http->backlog, data + in.at, len - in.at);
        }
    }
    if (code == -EBADMSG) {
        refuse(http);
        step->used = len;
        code = 1;
    }
    return code;
}

/* Follows a response that passes as it is. */
static int follow(struct fn_http *http, struct fn_http_input *in)
{
    struct fn_http_reader *reader = &http->responses;

    while (in->at < in->len) {
        const int code = fn_http_read(http, reader, in);
        if (code < 0)
            return code;
        reader->out_at = reader->out.len;
        clear(reader);
    }
    return 0;
}

int fn_http_response(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step)
{
    struct fn_http_reader *reader = &http->responses;
    struct fn_http_input in = {.data = data, .len = len};
    int code;

    *step = (struct fn_http_step){0};
    if (reader->bad)
        return -EBADMSG;
    if (reader->holds) {
        code = run(http, reader, &in, step);
        step->used = in.at;
        return code;
    }
    code = follow(http, &in);
    if (code == 0)
        *step = (struct fn_http_step){.used = len, .send = data, .send_len = len};
    return code;
}

static int64_t passes(const struct fn_http_reader *reader)
{
    if (reader->bad || !drained(reader))
        return 0;
    if (reader->state == FN_HTTP_COUNTED)
        return reader->left;
    return reader->state == FN_HTTP_RAW ? FN_HTTP_ALL : 0;
}

int64_t fn_http_request_passes(const struct fn_http *http)
{
    return http->backlog.len ? 0 : passes(&http->requests);
}

int64_t fn_http_response_passes(const struct fn_http *http)
{
    return passes(&http->responses);
}

void fn_http_request_passed(struct fn_http *http, int64_t n)
{
    if (http->requests.state == FN_HTTP_COUNTED)
        fn_http_count(http, &http->requests, n);
}

void fn_http_response_passed(struct fn_http *http, int64_t n)
{
    if (http->responses.state == FN_HTTP_COUNTED)
        fn_http_count(http, &http->responses, n);
}

/* Beginning and end */

struct fn_http *fn_http_new(const struct fn_http_rewrite *rewrite, const char *reached_at)
{
    struct fn_http *http = calloc(1, sizeof *http);
    struct fn_http_host reached;

    if (!http)
        return NULL;
    http->rewrite = rewrite;
    http->requests.strict = http->requests.holds = true;
    http->responses.holds = fn_http_rewrites_responses(rewrite);
    http->queue.capacity = FN_HTTP_FEW;
    fn_http_host(&reached, fn_http_text(reached_at, strlen(reached_at)));
    if (reached.len <= sizeof http->reached_at) {
        http->reached_len = reached.len;
        memcpy(http->reached_at, reached.text, reached.len);
    }
    return http;
}

static void free_reader(struct fn_http_reader *reader)
{
    fn_http_release(&reader->kept);
    fn_http_release(&reader->made);
}

void fn_http_free(struct fn_http *http)
{
    if (!http)
        return;
    while (http->queue.count)
        withdraw_newest(&http->queue);
    free(http->queue.more);
    free_reader(&http->requests);
    free_reader(&http->responses);
    fn_http_release(&http->backlog);
    free(http);
}

static const char *phrase(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 408:
        return "Request Timeout";
    case 502:
        return "Bad Gateway";
    }
    return NULL;
}

size_t fn_http_refuse(int status, const char *reason, char *out, size_t room)
{
    if (!phrase(status))
        return 0;
    const int len = snprintf(out, room,
                             "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                             "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                             status, phrase(status), strlen(reason) + 1, reason);
    return len < 0 || (size_t)len >= room ? 0 : (size_t)len;
}
