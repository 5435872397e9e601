/* The attributes of a message, by their types. */
#ifndef FN_RTNETLINK_ATTRIBUTES_H
#define FN_RTNETLINK_ATTRIBUTES_H

#include "rtnetlink.h"

#include <string.h>

/* Takes the first attribute off `left`; 1, 0 if none is left, -EBADMSG. `type` is without NLA_F_NESTED and the like. */
int fn_rtnetlink_next_attribute(struct fn_rtnetlink_slice *left, uint16_t *type, struct fn_rtnetlink_slice *value);

/* Enters the attributes of types below `count` into `out`, at their types; the others of out are NULL. */
int fn_rtnetlink_attributes(struct fn_rtnetlink_slice from, struct fn_rtnetlink_slice *out, uint16_t count);

/* Those behind the message's fixed part of this size, which is copied to `fixed`. */
int fn_rtnetlink_split(const struct fn_rtnetlink_message *message, void *fixed, size_t size,
                       struct fn_rtnetlink_slice *out, uint16_t count);

/*
 * Copies a number of this size, if its attribute is there; -EBADMSG if it is too short. Longer ones are those of newer
 * kernels.
 */
int fn_rtnetlink_number(struct fn_rtnetlink_slice from, void *number, size_t size);

/* The text of an attribute up to its NUL. */
struct fn_rtnetlink_slice fn_rtnetlink_text(struct fn_rtnetlink_slice from);

/* Size of an address of a family: 4, 16, or 0 for other families. */
uint8_t fn_rtnetlink_size(uint8_t family);

/* The address in an attribute, NULL if it is not there; -EBADMSG if it has another size. */
int fn_rtnetlink_pick(struct fn_rtnetlink_slice from, uint8_t size, const uint8_t **out);

#endif
