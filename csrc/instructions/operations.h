/*
 * Operations of the core whose instructions are counted (tools/instructions, make instructions). What one does while
 * it is counted doesn't depend on the machine, on a random number or on the time.
 */
#ifndef FN_OPERATIONS_H
#define FN_OPERATIONS_H

#include <stdint.h>
#include <stdlib.h>

#define MANY 256
#define TEXT(text) (text), sizeof(text) - 1

struct operation {
    const char *name; /* NULL: the end of a list */
    void (*prepare)(void); /* may be NULL */
    void (*run)(void);
};

extern const struct operation packet_operations[], text_operations[], probe_operations[], relay_operations[];

/* What an operation computes, so that the compiler doesn't leave it out. */
extern volatile uint64_t operation_result;

static inline void require(int condition)
{
    if (!condition)
        abort();
}

#endif
