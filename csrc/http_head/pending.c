/* The requests without a response. */
#include "http_head/internal.h"

#include <stdlib.h>

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

static void release(struct fn_http_original_host *original_host)
{
    if (original_host && --original_host->users == 0)
        free(original_host);
}

/* Most requests have the same authority as the one before. */
static int share(struct fn_http_queue *queue, struct fn_http_text text, struct fn_http_original_host **original_host)
{
    struct fn_http_original_host *newest = queue->count ? slot(queue, queue->count - 1u)->original_host : NULL;

    if (!newest || !fn_http_same(fn_http_text(newest->text, newest->len), text)) {
        newest = malloc(sizeof *newest + text.len);
        if (!newest)
            return -ENOMEM;
        newest->users = 0;
        newest->len = text.len;
        memcpy(newest->text, text.data, text.len);
    }
    newest->users++;
    *original_host = newest;
    return 0;
}

int fn_http_pending_add(struct fn_http_queue *queue, uint8_t asks, struct fn_http_text original_host)
{
    struct fn_http_pending pending = {.asks = asks};

    if (queue->count == queue->capacity && grow(queue) < 0)
        return -ENOMEM;
    if (original_host.len && share(queue, original_host, &pending.original_host) < 0)
        return -ENOMEM;
    *slot(queue, queue->count) = pending;
    queue->count++;
    return 0;
}

const struct fn_http_pending *fn_http_pending_oldest(const struct fn_http_queue *queue)
{
    return queue->count ? slot((struct fn_http_queue *)queue, 0) : NULL;
}

void fn_http_pending_drop_oldest(struct fn_http_queue *queue)
{
    if (!queue->count)
        return;
    release(slot(queue, 0)->original_host);
    queue->first = (uint16_t)((queue->first + 1u) & (queue->capacity - 1u));
    if (--queue->count == 0)
        shrink(queue);
}

void fn_http_pending_drop_newest(struct fn_http_queue *queue)
{
    if (queue->count)
        release(slot(queue, --queue->count)->original_host);
}

void fn_http_pending_free(struct fn_http_queue *queue)
{
    while (queue->count)
        fn_http_pending_drop_newest(queue);
    free(queue->more);
}
