#include "relay/internal.h"

void fn_queue_init(struct fn_queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
}

void fn_queue_append(struct fn_queue *queue, struct fn_connection *connection)
{
    if (connection->is_queued)
        return;
    connection->is_queued = true;
    connection->queued = NULL;
    *queue->end = connection;
    queue->end = &connection->queued;
}

struct fn_connection *fn_queue_take(struct fn_queue *queue)
{
    struct fn_connection *const connection = queue->first;

    if (!connection)
        return NULL;
    queue->first = connection->queued;
    if (!queue->first)
        queue->end = &queue->first;
    connection->is_queued = false;
    return connection;
}
