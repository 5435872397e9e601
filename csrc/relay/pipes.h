/*
 * Pipes to splice through. Empty ones are kept for the next stream. Unprivileged users get a limited number of large
 * pipes (pipe(7), pipe-user-pages-soft) and tiny ones after that, which would be slower than copying. Then, or
 * without a free descriptor, fn_pipe_take() returns NULL, and tries to open a pipe again only after a while.
 */
#ifndef FN_RELAY_PIPES_H
#define FN_RELAY_PIPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fn_pipe {
    int in, out;
    size_t held; /* bytes in it */
    bool is_larger;
    struct fn_pipe *next;
};

struct fn_pipes {
    struct fn_pipe *unused;
    unsigned count; /* next in the list of unused pipes */
    unsigned larger; /* open ones of the larger size */
    int64_t rests_until;
};

struct fn_pipe *fn_pipe_take(struct fn_pipes *pipes, int64_t now);

/* Keeps an empty pipe for the next stream, and closes one that is not empty. */
void fn_pipe_give(struct fn_pipes *pipes, struct fn_pipe *pipe);

void fn_pipes_free(struct fn_pipes *pipes);

#endif
