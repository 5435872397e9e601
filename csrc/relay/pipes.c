#define _GNU_SOURCE
#include "relay/pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/loop.h"

/*
 * A segment of 64 KB takes up to 17 of a pipe's slots, one for each page: with 64 slots, every second splice into it
 * would be partial. But a user without privileges has half as many pipes of the larger size (pipe-user-pages-soft),
 * so only the first ones of a relay have it.
 */
enum { LARGER_SIZE = 524288, PIPE_SIZE = 262144, LEAST_SIZE = 65536, MOST_LARGER = 64, MOST_UNUSED = 32 };

static void close_pipe(struct fn_pipes *pipes, struct fn_pipe *pipe)
{
    pipes->larger -= pipe->is_larger;
    close(pipe->in);
    close(pipe->out);
    free(pipe);
}

static struct fn_pipe *open_pipe(struct fn_pipes *pipes)
{
    struct fn_pipe *const pipe = calloc(1, sizeof *pipe);
    int ends[2];

    if (!pipe || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        free(pipe);
        return NULL;
    }
    pipe->out = ends[0];
    pipe->in = ends[1];
    pipe->is_larger = pipes->larger < MOST_LARGER && fcntl(pipe->in, F_SETPIPE_SZ, LARGER_SIZE) >= 0;
    pipes->larger += pipe->is_larger;
    if (!pipe->is_larger)
        fcntl(pipe->in, F_SETPIPE_SZ, PIPE_SIZE);
    if (fcntl(pipe->in, F_GETPIPE_SZ) < LEAST_SIZE) {
        close_pipe(pipes, pipe);
        return NULL;
    }
    return pipe;
}

struct fn_pipe *fn_pipe_take(struct fn_pipes *pipes, int64_t now)
{
    struct fn_pipe *pipe = pipes->unused;

    if (pipe) {
        pipes->unused = pipe->next;
        pipes->count--;
    } else if (now >= pipes->rests_until) {
        pipe = open_pipe(pipes);
        if (!pipe)
            pipes->rests_until = now + FN_SECOND;
    }
    return pipe;
}

void fn_pipe_give(struct fn_pipes *pipes, struct fn_pipe *pipe)
{
    if (pipe->held || pipes->count == MOST_UNUSED) {
        close_pipe(pipes, pipe);
        return;
    }
    pipe->next = pipes->unused;
    pipes->unused = pipe;
    pipes->count++;
}

void fn_pipes_free(struct fn_pipes *pipes)
{
    while (pipes->unused) {
        struct fn_pipe *const pipe = pipes->unused;
        pipes->unused = pipe->next;
        close_pipe(pipes, pipe);
    }
    pipes->count = 0;
}
