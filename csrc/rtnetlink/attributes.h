/* The attributes of a message, by their types. */
#ifndef FN_RTNETLINK_ATTRIBUTES_H
#define FN_RTNETLINK_ATTRIBUTES_H

#include "rtnetlink.h"

#include <string.h>

/* Removes the first attribute from `left`: 1, 0 if none is left, or -EBADMSG. `type` is without its NLA_F_ flags. */
int fn_rtnetlink_next_attribute(struct fn_rtnetlink_slice *left, uint16_t *type, struct fn_rtnetlink_slice *value);

/* Stores the attributes of types below `count` in `out`, indexed by type; all other elements are NULL. */
int fn_rtnetlink_attributes(struct fn_rtnetlink_slice from, struct fn_rtnetlink_slice *out, uint16_t count);

/* The same for the attributes after a message's fixed part of this size, which is copied to `fixed`. */
int fn_rtnetlink_split(const struct fn_rtnetlink_message *message, void *fixed, size_t size,
                       struct fn_rtnetlink_slice *out, uint16_t count);

/*
 * Copies a number of this size, if its attribute is present; -EBADMSG if it is too short. Newer kernels may have a
 * longer one.
 */
int fn_rtnetlink_number(struct fn_rtnetlink_slice from, void *number, size_t size);

/* The text of an attribute up to its NUL. */
struct fn_rtnetlink_slice fn_rtnetlink_text(struct fn_rtnetlink_slice from);

/* Size of an address of a family: 4, 16, or 0 for other families. */
uint8_t fn_rtnetlink_size(uint8_t family);

/* The address in an attribute, NULL if it is absent; -EBADMSG if it has another size. */
int fn_rtnetlink_pick(struct fn_rtnetlink_slice from, uint8_t size, const uint8_t **out);

#endif
