/*
 * Checks of a debug build (-DFN_CHECKED), used by the sanitized C tests and the fuzzers. A check that fails prints its
 * condition and aborts. Without FN_CHECKED the condition is not evaluated.
 */
#ifndef FN_RELAY_CHECK_H
#define FN_RELAY_CHECK_H

#ifdef FN_CHECKED

#include <stdio.h>
#include <stdlib.h>

#define FN_CHECK(condition) ((condition) ? (void)0 : fn_check_failed(#condition, __FILE__, __LINE__))

_Noreturn static inline void fn_check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
    abort();
}

#else

#define FN_CHECK(condition) ((void)0)

#endif

#endif
