#include "../packet.h"
#include "headers.h"

#include <string.h>

static inline uint16_t fold64(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static inline uint64_t get_bytes(const uint8_t *p, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | p[i];
    return value;
}

/* Add bits to bytes in which they are still clear. */
static inline void or_bytes(uint8_t *p, size_t size, uint64_t value)
{
    for (size_t i = size; i-- > 0; value >>= 8)
        p[i] |= (uint8_t)value;
}

/* Which of the template's checksums cover a byte of a part, and for which of them the next one is odd. */
static uint32_t coverage(const struct fn_template *t, const uint8_t owners[], const struct fn_part *const parts[],
                         const uint32_t starts[], size_t part, uint32_t first, uint32_t size, uint32_t *odd)
{
    uint32_t covered = 0;

    *odd = 0;
    for (uint32_t i = 0; i < t->checksum_count; i++) {
        size_t owner = owners[i];
        if (!fn_part_covers(parts, owner, part, first))
            continue;
        size_t start = part < owner ? part : owner; /* a pseudo-header starts anew */
        covered |= 1U << i;
        if ((starts[part] + first + size - starts[start]) & 1)
            *odd |= 1U << i;
    }
    return covered;
}

static void subtract(struct fn_template *t, uint32_t covered, uint32_t odd, uint16_t sum)
{
    for (uint32_t i = 0; sum && i < t->checksum_count; i++)
        if (covered >> i & 1)
            t->checksums[i].sum =
                fn_sum_add(t->checksums[i].sum, (uint16_t) ~(odd >> i & 1 ? swap16(sum) : sum));
}

static void clear_field(struct fn_template *t, const struct fn_template_field *field, uint8_t *p)
{
    size_t half = field->size == 16 ? 8 : field->size;

    for (size_t at = 0; at < field->size; at += half) {
        uint64_t held = get_bytes(p + at, half) & field->limit << field->shift;
        subtract(t, field->covered, field->odd, fold64(held));
        held = ~held;
        for (size_t i = half; i-- > 0; held >>= 8)
            p[at + i] &= (uint8_t)held;
    }
}

void fn_template_prepare(struct fn_template *t, const struct fn_part *const parts[], size_t count, uint32_t updated,
                         uint8_t *data, uint32_t length)
{
    uint32_t starts[FN_PACKET_LAYERS], offset = 0;
    uint8_t owners[FN_PACKET_LAYERS];

    t->data = data;
    t->length = length;
    t->checksum_count = 0;
    for (size_t i = 0; i < count; i++) {
        starts[i] = offset;
        offset += parts[i]->length;
    }
    for (size_t i = count; i-- > 0;) {
        int field = fn_part_field(parts[i]->kind, FN_AUTO_CHECKSUM);
        bool lacks_network = parts[i]->kind != FN_IPV4 && parts[i]->kind != FN_ICMP && !fn_part_pseudo(parts, i, 0);
        if (field < 0 || lacks_network || !(updated >> i & 1))
            continue;
        struct fn_template_checksum *checksum = &t->checksums[t->checksum_count];
        checksum->offset = starts[i] + (uint32_t)field;
        checksum->sum = (uint16_t)~get16(data + checksum->offset);
        checksum->never_zero = parts[i]->kind == FN_UDP;
        owners[t->checksum_count++] = (uint8_t)i;
    }
    for (uint32_t i = 0; i < t->checksum_count; i++) {
        struct fn_template_checksum *checksum = &t->checksums[i];
        uint32_t first = checksum->offset - starts[owners[i]];
        uint32_t itself = 1U << i;
        checksum->covered =
            coverage(t, owners, parts, starts, owners[i], first, 2, &checksum->odd) & ~itself;
        /* What is written anew is no part of what the outer ones cover at rest. */
        subtract(t, checksum->covered, checksum->odd, get16(data + checksum->offset));
    }
    for (uint32_t i = 0; i < t->field_count; i++) {
        struct fn_template_field *field = &t->fields[i];
        field->offset = starts[field->part] + field->first;
        field->covered =
            coverage(t, owners, parts, starts, field->part, field->first, field->size, &field->odd);
        clear_field(t, field, data + field->offset);
    }
}

static inline void add_to(uint32_t sums[], uint32_t covered, uint32_t odd, uint16_t sum)
{
    for (; covered; covered &= covered - 1) {
        int i = __builtin_ctz(covered);
        sums[i] += odd >> i & 1 ? swap16(sum) : sum;
    }
}

void fn_template_build(const struct fn_template *t, const uint64_t *values, uint8_t *out)
{
    uint32_t sums[FN_PACKET_LAYERS];

    memcpy(out, t->data, t->length);
    for (uint32_t i = 0; i < t->checksum_count; i++)
        sums[i] = t->checksums[i].sum;
    for (uint32_t i = 0; i < t->field_count; i++) {
        const struct fn_template_field *field = &t->fields[i];
        size_t half = field->size == 16 ? 8 : field->size;
        for (size_t at = 0; at < field->size; at += half) {
            uint64_t value = *values++ << field->shift;
            or_bytes(out + field->offset + at, half, value);
            add_to(sums, field->covered, field->odd, fold64(value));
        }
    }
    for (uint32_t i = 0; i < t->checksum_count; i++) {
        const struct fn_template_checksum *checksum = &t->checksums[i];
        uint16_t value = (uint16_t)~fold64(sums[i]);
        if (!value && checksum->never_zero)
            value = 0xffff;
        put16(out + checksum->offset, value);
        add_to(sums, checksum->covered, checksum->odd, value);
    }
}

void fn_template_build_many(const struct fn_template *t, const uint64_t *const columns[], size_t count, uint8_t *out)
{
    for (size_t row = 0; row < count; row++, out += t->length) {
        uint64_t values[2 * FN_TEMPLATE_FIELDS], *value = values;
        for (uint32_t i = 0; i < t->field_count; i++) {
            size_t words = t->fields[i].size == 16 ? 2 : 1;
            for (size_t word = 0; word < words; word++)
                *value++ = columns[i][row * words + word];
        }
        fn_template_build(t, values, out);
    }
}
