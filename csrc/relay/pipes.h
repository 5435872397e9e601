/*
 * Pipes to splice through, kept for the next stream once they are empty. Unprivileged users get only so many
 * large ones (pipe(7), pipe-user-pages-soft) and tiny ones after that, which would be slower than copying:
 * then, or where descriptors are out, fn_pipe_take() is NULL, and asks the kernel again a while later only.
 */
#ifndef FN_RELAY_PIPES_H
#define FN_RELAY_PIPES_H

#include <stddef.h>
#include <stdint.h>

struct fn_pipe {
    int in, out;
    size_t held; /* bytes in it */
    struct fn_pipe *next;
};

struct fn_pipes {
    struct fn_pipe *unused;
    unsigned count; /* of the unused ones */
    int64_t rests_until;
};

struct fn_pipe *fn_pipe_take(struct fn_pipes *pipes, int64_t now);

/* One that is not empty is closed. */
void fn_pipe_give(struct fn_pipes *pipes, struct fn_pipe *pipe);

void fn_pipes_free(struct fn_pipes *pipes);

#endif
