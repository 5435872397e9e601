/*
 * Prints the names of all operations, one a line, and calls fn_measured() once for each in the same order: callgrind
 * counts what happens in it. Each is run once before, since first calls allocate.
 */
#include "operations.h"

#include <stdio.h>

volatile uint64_t operation_result;

void fn_measured(void (*run)(void));

__attribute__((noipa)) void fn_measured(void (*run)(void))
{
    run();
}

int main(void)
{
    const struct operation *const lists[] = {packet_operations, text_operations, probe_operations, relay_operations};

    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (const struct operation *each = lists[i]; each->name; each++) {
            puts(each->name);
            if (each->prepare)
                each->prepare();
            each->run();
            fn_measured(each->run);
        }
    return 0;
}
