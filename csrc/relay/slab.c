#include "relay/slab.h"

#include <stdlib.h>
#include <string.h>

#ifdef FN_CHECKED

/* One allocation per object, so that the sanitizers detect a use after fn_slab_give(). */

struct fn_slab_object {
    struct fn_slab_object *next;
    char bytes[];
};

void *fn_slab_take(struct fn_slab *slab)
{
    struct fn_slab_object *const object = calloc(1, sizeof *object + slab->size);

    if (!object)
        return NULL;
    object->next = slab->blocks;
    slab->blocks = object;
    return object->bytes;
}

void fn_slab_give(struct fn_slab *slab, void *given)
{
    struct fn_slab_object **at = &slab->blocks;

    while ((*at)->bytes != (char *)given)
        at = &(*at)->next;
    struct fn_slab_object *const object = *at;
    *at = object->next;
    free(object);
}

void *fn_slab_next(const struct fn_slab *slab, struct fn_slab_cursor *cursor)
{
    cursor->block = cursor->block ? cursor->block->next : slab->blocks;
    return cursor->block ? cursor->block->bytes : NULL;
}

#else

enum { OBJECTS = 32 };

struct fn_slab_object {
    struct fn_slab_object *next;
};

static int add_block(struct fn_slab *slab)
{
    char *const block = calloc(1, sizeof(struct fn_slab_object) + OBJECTS * slab->size);

    if (!block)
        return -1;
    ((struct fn_slab_object *)block)->next = slab->blocks;
    slab->blocks = (struct fn_slab_object *)block;
    for (int i = OBJECTS - 1; i >= 0; i--)
        fn_slab_give(slab, block + sizeof(struct fn_slab_object) + i * slab->size);
    return 0;
}

void *fn_slab_take(struct fn_slab *slab)
{
    if (!slab->unused && add_block(slab) < 0)
        return NULL;
    struct fn_slab_object *const object = slab->unused;
    slab->unused = object->next;
    return memset(object, 0, slab->size);
}

void fn_slab_give(struct fn_slab *slab, void *object)
{
    ((struct fn_slab_object *)object)->next = slab->unused;
    slab->unused = object;
}

void *fn_slab_next(const struct fn_slab *slab, struct fn_slab_cursor *cursor)
{
    if (!cursor->block || cursor->index == OBJECTS) {
        cursor->block = cursor->block ? cursor->block->next : slab->blocks;
        cursor->index = 0;
    }
    return cursor->block ? (char *)(cursor->block + 1) + cursor->index++ * slab->size : NULL;
}

#endif

void fn_slab_free(struct fn_slab *slab)
{
    while (slab->blocks) {
        struct fn_slab_object *const block = slab->blocks;
        slab->blocks = block->next;
        free(block);
    }
    slab->unused = NULL;
}
