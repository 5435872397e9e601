#define _GNU_SOURCE
#include "attributes.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

static size_t padded(size_t len)
{
    return (len + NLMSG_ALIGNTO - 1) & ~(size_t)(NLMSG_ALIGNTO - 1);
}

static void advance(struct fn_rtnetlink_slice *left, size_t len)
{
    const size_t step = padded(len) < left->len ? padded(len) : left->len;

    left->at += step;
    left->len -= step;
}

ssize_t fn_rtnetlink_next(const uint8_t *data, size_t len, struct fn_rtnetlink_message *out)
{
    struct nlmsghdr header;

    if (len == 0)
        return 0;
    if (len < sizeof header)
        return -EBADMSG;
    memcpy(&header, data, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > len)
        return -EBADMSG;
    out->type = header.nlmsg_type;
    out->flags = header.nlmsg_flags;
    out->sequence = header.nlmsg_seq;
    out->body.at = data + sizeof header;
    out->body.len = header.nlmsg_len - sizeof header;
    return (ssize_t)(padded(header.nlmsg_len) < len ? padded(header.nlmsg_len) : len);
}

int fn_rtnetlink_next_attribute(struct fn_rtnetlink_slice *left, uint16_t *type, struct fn_rtnetlink_slice *value)
{
    struct nlattr header;

    if (left->len == 0)
        return 0;
    if (left->len < sizeof header)
        return -EBADMSG;
    memcpy(&header, left->at, sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > left->len)
        return -EBADMSG;
    *type = header.nla_type & NLA_TYPE_MASK;
    value->at = left->at + sizeof header;
    value->len = header.nla_len - sizeof header;
    advance(left, header.nla_len);
    return 1;
}

int fn_rtnetlink_attributes(struct fn_rtnetlink_slice from, struct fn_rtnetlink_slice *out, uint16_t count)
{
    struct fn_rtnetlink_slice value;
    uint16_t type;
    int more;

    memset(out, 0, count * sizeof *out);
    while ((more = fn_rtnetlink_next_attribute(&from, &type, &value)) > 0)
        if (type < count)
            out[type] = value;
    return more;
}

int fn_rtnetlink_split(const struct fn_rtnetlink_message *message, void *fixed, size_t size,
                       struct fn_rtnetlink_slice *out, uint16_t count)
{
    struct fn_rtnetlink_slice left = message->body;

    if (left.len < size)
        return -EBADMSG;
    memcpy(fixed, left.at, size);
    advance(&left, size);
    return fn_rtnetlink_attributes(left, out, count);
}

int fn_rtnetlink_number(struct fn_rtnetlink_slice from, void *number, size_t size)
{
    if (!from.at)
        return 0;
    if (from.len < size)
        return -EBADMSG;
    memcpy(number, from.at, size);
    return 1;
}

struct fn_rtnetlink_slice fn_rtnetlink_text(struct fn_rtnetlink_slice from)
{
    if (from.at)
        from.len = strnlen((const char *)from.at, from.len);
    return from;
}

uint8_t fn_rtnetlink_size(uint8_t family)
{
    return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

int fn_rtnetlink_pick(struct fn_rtnetlink_slice from, uint8_t size, const uint8_t **out)
{
    *out = from.at;
    return from.at && from.len != size ? -EBADMSG : 0;
}
