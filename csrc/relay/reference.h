/* Reference counts for any thread: the caller that drops the last reference frees the object. */
#ifndef FN_RELAY_REFERENCE_H
#define FN_RELAY_REFERENCE_H

#include <stdbool.h>

static inline void fn_reference_hold(unsigned *references)
{
    __atomic_fetch_add(references, 1, __ATOMIC_RELAXED);
}

/* Whether this dropped the last reference. */
static inline bool fn_reference_release(unsigned *references)
{
    return __atomic_sub_fetch(references, 1, __ATOMIC_ACQ_REL) == 0;
}

#endif
