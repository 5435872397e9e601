#ifndef FN_TESTS_SHORTAGE_H
#define FN_TESTS_SHORTAGE_H

/* Memory and randomness that run short when a test wants it: the linker puts these in the C library's place. */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/random.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
ssize_t __real_getrandom(void *out, size_t size, unsigned flags);

static int until_failure = -1; /* calls that succeed before one fails; -1: all succeed */

static bool fails(void)
{
    return until_failure >= 0 && until_failure-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

ssize_t __wrap_getrandom(void *out, size_t size, unsigned flags)
{
    if (!fails())
        return __real_getrandom(out, size, flags);
    errno = EAGAIN;
    return -1;
}

#endif
