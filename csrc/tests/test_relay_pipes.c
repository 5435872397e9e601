/* The sizes of pipes, as a user without privileges gets them. */
#define _GNU_SOURCE
#include "relay/pipes.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SOMEBODY 61234
#define MOST 1000
#define LATER INT64_C(10000000000)

static int size_of_next(struct fn_pipes *pipes, struct fn_pipe **pipe, int64_t now)
{
    *pipe = fn_pipe_take(pipes, now);
    return *pipe ? fcntl((*pipe)->in, F_GETPIPE_SZ) : 0;
}

int main(void)
{
    const struct rlimit many = {4 * MOST, 4 * MOST};
    static struct fn_pipe *taken[MOST];
    struct fn_pipes pipes = {0};
    int count = 0;

    if (setrlimit(RLIMIT_NOFILE, &many) < 0 || setuid(SOMEBODY) < 0)
        return 0; /* not root, who has no limit */
    for (int size; count < MOST && (size = size_of_next(&pipes, &taken[count], count)) > 0; count++)
        assert(size == (count < 64 ? 524288 : 262144));
    assert(count >= 64);
    while (count)
        fn_pipe_give(&pipes, taken[--count]);
    for (int again = 0; again < 32; again++) /* the unused ones that were kept were opened last */
        assert(size_of_next(&pipes, &taken[again], LATER) >= 262144);
    assert(size_of_next(&pipes, &taken[32], LATER) == 524288);
    for (int again = 0; again <= 32; again++)
        fn_pipe_give(&pipes, taken[again]);
    fn_pipes_free(&pipes);
    assert(pipes.larger == 0);
    return 0;
}
