/*
 * Objects of one size, many to a block of memory, for one thread. fn_slab_take() returns one that is all zero, or
 * NULL; fn_slab_give() makes it free again, which changes only its first pointer's bytes until the next take. Only
 * fn_slab_free() frees the blocks. fn_slab_next() iterates over all objects, also over those that are free (all zero
 * if never taken); start with a cursor of zeros. A take during an iteration may end it early.
 *
 * In a debug build (-DFN_CHECKED) objects are allocated and freed one by one, and fn_slab_next() finds only those that
 * are in use.
 */
#ifndef FN_RELAY_SLAB_H
#define FN_RELAY_SLAB_H

#include <stddef.h>

struct fn_slab_object;

struct fn_slab {
    size_t size; /* of an object: a multiple of a pointer's size */
    struct fn_slab_object *unused;
    struct fn_slab_object *blocks;
};

void *fn_slab_take(struct fn_slab *slab);
void fn_slab_give(struct fn_slab *slab, void *object);
struct fn_slab_cursor {
    struct fn_slab_object *block;
    unsigned index;
};

void *fn_slab_next(const struct fn_slab *slab, struct fn_slab_cursor *cursor);
void fn_slab_free(struct fn_slab *slab);

#endif
