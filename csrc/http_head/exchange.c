/* The two directions of a connection, and the functions of http_head.h. */
#include "http_head/internal.h"

#include <stdlib.h>

/* States that depend on both directions */

/* A CR alone may begin a blank line. */
static bool in_head(const struct fn_http_reader *reader)
{
    const size_t come = reader->size + reader->partial;

    return reader->state == FN_HTTP_HEAD && come > 0 && !(come == 1 && reader->kept.data[0] == '\r');
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

bool fn_http_awaits_request(const struct fn_http *http)
{
    const struct fn_http_reader *requests = &http->requests;

    return http->queue.count == 0 && http->responses.state == FN_HTTP_HEAD && requests->state == FN_HTTP_HEAD &&
           !in_head(requests) && !requests->bad;
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

bool fn_http_unanswered(const struct fn_http *http)
{
    return http->queue.count && http->responses.state == FN_HTTP_HEAD;
}

bool fn_http_in_answer(const struct fn_http *http)
{
    return fn_http_unanswered(http) && in_head(&http->responses);
}

bool fn_http_has_answered(const struct fn_http *http)
{
    return http->has_answered;
}

/* Steps */

static bool drained(const struct fn_http_reader *reader)
{
    return reader->out_at == reader->out.len;
}

/* Frees the memory of the text in the last step. */
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

/* Adds a text to the step; false if it does not follow the text in it. */
static bool add(struct fn_http_step *step, struct fn_http_text text)
{
    if (step->send_len == 0)
        step->send = text.data;
    else if (text.len && step->send + step->send_len != text.data)
        return false;
    step->send_len += text.len;
    return true;
}

/* Moves the output into the step; false if a part of it must wait for the next one. */
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
    if (!add(step, fn_http_skip(reader->out, reader->out_at)))
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
        const int code = fn_http_framing_read(reader, in);
        if (code < 0)
            return code == -EBADMSG ? 1 : code; /* The bytes before it are sent first. */
    }
}

/* While there is a backlog, all requests go through it. */
static int run_backlog(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step)
{
    struct fn_http_buffer *backlog = &http->backlog;
    int code = fn_http_append(backlog, data, len);

    if (code < 0)
        return code;
    struct fn_http_input in = {.data = backlog->data, .len = backlog->len, .at = http->backlog_at};
    code = run(http, &http->requests, &in, step);
    http->backlog_at = in.at;
    /* The output may point into it: the next call frees it. */
    return code == 0 && in.at == in.len ? 1 : code;
}

static void drop_backlog(struct fn_http *http)
{
    fn_http_release(&http->backlog);
    http->backlog_at = 0;
}

static void refuse(struct fn_http *http)
{
    /* No response to it will come: the upstream has only a part of the request. */
    if (http->requests.state != FN_HTTP_HEAD)
        fn_http_pending_drop_newest(&http->queue);
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
    if (reader->bad) {
        refuse(http);
        step->used = len;
    }
    return code;
}

int fn_http_response(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step)
{
    struct fn_http_input in = {.data = data, .len = len};
    int code;

    *step = (struct fn_http_step){0};
    if (http->responses.bad)
        return -EBADMSG;
    code = run(http, &http->responses, &in, step);
    step->used = in.at;
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
        fn_http_framing_count(&http->requests, n);
}

void fn_http_response_passed(struct fn_http *http, int64_t n)
{
    if (http->responses.state == FN_HTTP_COUNTED)
        fn_http_framing_count(&http->responses, n);
}

/* Beginning and end */

static const struct fn_http_events request_events = {.line = fn_http_request_line, .head = fn_http_request_head};
static const struct fn_http_events response_events = {.line = fn_http_response_line, .head = fn_http_response_head};

struct fn_http *fn_http_new(const struct fn_http_rewrite *rewrite, const char *destination)
{
    struct fn_http *http = calloc(1, sizeof *http);
    struct fn_http_host host;

    if (!http)
        return NULL;
    http->rewrite = rewrite;
    http->requests.strict = true;
    http->requests.events = &request_events;
    http->responses.events = &response_events;
    http->queue.capacity = FN_HTTP_FEW;
    fn_http_host(&host, fn_http_text(destination, strlen(destination)));
    if (host.len <= sizeof http->destination) {
        http->destination_len = host.len;
        memcpy(http->destination, host.text, host.len);
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
    fn_http_pending_free(&http->queue);
    free_reader(&http->requests);
    free_reader(&http->responses);
    fn_http_release(&http->backlog);
    free(http);
}
