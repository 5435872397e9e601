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

/* Sets which of the template's checksums cover a byte of a part, and for which of them the next byte is odd. */
static uint32_t coverage(const struct fn_template *t, const uint8_t owners[], const struct fn_part *const parts[],
                         const uint32_t starts[], size_t part, uint32_t first, uint32_t size, uint32_t *odd)
{
    uint32_t covered = 0;

    *odd = 0;
    for (uint32_t i = 0; i < t->checksum_count; i++) {
        size_t owner = owners[i];
        if (!fn_part_covers(parts, owner, part, first))
            continue;
        size_t start = part < owner ? part : owner; /* a pseudo-header counts from its own part */
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

/* Checksums that depend on a field, maybe only through an inner checksum; the others are already in the data. */
static uint32_t varying_checksums(const struct fn_template *t)
{
    uint32_t varying = 0;

    for (uint32_t i = 0; i < t->field_count; i++)
        varying |= t->fields[i].covered;
    for (uint32_t i = 0; i < t->checksum_count; i++)
        if (varying >> i & 1)
            varying |= t->checksums[i].covered;
    return varying;
}

/* Whether this field of a routing header decides which address the owner's pseudo-header has. */
static bool chooses_destination(const struct fn_part *const parts[], size_t owner, size_t i, uint32_t bit)
{
    if (!needs_pseudo(parts[owner]->kind) || parts[i]->kind != FN_ROUTING || bit < 16 || bit >= 32)
        return false;
    while (--owner > i)
        if (!is_extension(parts[owner]->kind))
            return false;
    return true;
}

int fn_template_refuses(const struct fn_part *const parts[], size_t owner, size_t i, uint32_t bit)
{
    const struct fn_part *part = parts[owner];

    if (fn_part_checksum(part) < 0)
        return false;
    if (i < owner)
        return chooses_destination(parts, owner, i, bit);
    if (part->kind == FN_DCCP)
        return (part->header[5] & 15) || (i == owner && bit / 8 == 5);
    return part->kind == FN_SCTP || (part->kind == FN_GRE && i == owner && bit == 0);
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
        int field = parts[i]->kind == FN_SCTP ? -1 : fn_part_checksum(parts[i]);
        bool lacks_network = needs_pseudo(parts[i]->kind) && !fn_part_pseudo(parts, i, 0);
        if (field < 0 || lacks_network || !(updated >> i & 1))
            continue;
        struct fn_template_checksum *checksum = &t->checksums[t->checksum_count];
        checksum->offset = starts[i] + (uint32_t)field;
        checksum->sum = (uint16_t)~get16(data + checksum->offset);
        checksum->never_zero = parts[i]->kind == FN_UDP || parts[i]->kind == FN_ICMP_EXTENSIONS;
        owners[t->checksum_count++] = (uint8_t)i;
    }
    for (uint32_t i = 0; i < t->checksum_count; i++) {
        struct fn_template_checksum *checksum = &t->checksums[i];
        uint32_t first = checksum->offset - starts[owners[i]];
        uint32_t itself = 1U << i;
        checksum->covered =
            coverage(t, owners, parts, starts, owners[i], first, 2, &checksum->odd) & ~itself;
    }
    for (uint32_t i = 0; i < t->field_count; i++) {
        struct fn_template_field *field = &t->fields[i];
        field->offset = starts[field->part] + field->first;
        field->covered =
            coverage(t, owners, parts, starts, field->part, field->first, field->size, &field->odd);
        clear_field(t, field, data + field->offset);
    }
    t->varying = varying_checksums(t);
    /* Bytes that are rewritten don't count in the constant sums of outer checksums. */
    for (uint32_t i = 0; i < t->checksum_count; i++)
        if (t->varying >> i & 1)
            subtract(t, t->checksums[i].covered, t->checksums[i].odd, get16(data + t->checksums[i].offset));
}

/*
 * Packets are made in groups, field by field, so that each step is a short loop over rows: with one packet after the
 * other, the steps would cost more than the bytes. All functions are inlined, also into the one for a single packet,
 * where the loops vanish.
 */
#define ROWS 32
#define INLINED static inline __attribute__((always_inline))

struct rows {
    uint32_t sums[FN_PACKET_LAYERS][ROWS];
    uint16_t parts[ROWS]; /* the part of the sums of the field or checksum just written */
};

/* memcpy in steps that need no call; the last one overlaps the one before it. */
INLINED void copy(uint8_t *out, const uint8_t *data, size_t length)
{
    const size_t step = 32;

    if (length < step) {
        memcpy(out, data, length);
        return;
    }
    for (size_t at = 0; at < length - step; at += step)
        memcpy(out + at, data + at, step);
    memcpy(out + length - step, data + length - step, step);
}

INLINED void start_rows(const struct fn_template *t, struct rows *rows, size_t count, uint8_t *out)
{
    for (size_t row = 0; row < count; row++)
        copy(out + row * t->length, t->data, t->length);
    for (uint32_t i = 0; i < t->checksum_count; i++)
        for (size_t row = 0; row < count; row++)
            rows->sums[i][row] = t->checksums[i].sum;
}

INLINED void add_parts(struct rows *rows, size_t count, uint32_t covered, uint32_t odd)
{
    for (; covered; covered &= covered - 1) {
        const int i = __builtin_ctz(covered);
        const bool swapped = odd >> i & 1;
        uint32_t *const sums = rows->sums[i];

        for (size_t row = 0; row < count; row++)
            sums[row] += swapped ? swap16(rows->parts[row]) : rows->parts[row];
    }
}

INLINED void write_words(struct rows *rows, size_t count, const uint64_t *values, size_t step, int shift,
                         uint8_t *out, size_t length, size_t size)
{
    for (size_t row = 0; row < count; row++) {
        const uint64_t value = values[row * step] << shift;
        or_bytes(out + row * length, size, value);
        rows->parts[row] = fold64(value);
    }
}

/* Usual sizes are separate cases: as constants they compile to single loads and stores. */
INLINED void write_field(const struct fn_template *t, const struct fn_template_field *field, struct rows *rows,
                         size_t count, const uint64_t *values, uint8_t *out)
{
    const size_t words = field->size == 16 ? 2 : 1;

    out += field->offset;
    for (size_t word = 0; word < words; word++) {
        if (field->size == 2)
            write_words(rows, count, values, 1, field->shift, out, t->length, 2);
        else if (field->size == 4)
            write_words(rows, count, values, 1, field->shift, out, t->length, 4);
        else
            write_words(rows, count, values + word, words, field->shift, out + 8 * word, t->length,
                        field->size / words);
        add_parts(rows, count, field->covered, field->odd);
    }
}

INLINED void write_checksum(const struct fn_template *t, uint32_t i, struct rows *rows, size_t count, uint8_t *out)
{
    const struct fn_template_checksum *checksum = &t->checksums[i];

    for (size_t row = 0; row < count; row++) {
        uint16_t value = (uint16_t)~fold64(rows->sums[i][row]);
        if (!value && checksum->never_zero)
            value = 0xffff;
        put16(out + row * t->length + checksum->offset, value);
        rows->parts[row] = value;
    }
    add_parts(rows, count, checksum->covered, checksum->odd);
}

/* Makes at most ROWS packets, from this row of the columns on. */
INLINED void build_rows(const struct fn_template *t, const uint64_t *const columns[], size_t first, size_t count,
                        uint8_t *out)
{
    struct rows rows;

    start_rows(t, &rows, count, out);
    for (uint32_t i = 0; i < t->field_count; i++) {
        const size_t words = t->fields[i].size == 16 ? 2 : 1;
        write_field(t, &t->fields[i], &rows, count, columns[i] + first * words, out);
    }
    for (uint32_t i = 0; i < t->checksum_count; i++)
        if (t->varying >> i & 1)
            write_checksum(t, i, &rows, count, out);
}

void fn_template_build(const struct fn_template *t, const uint64_t *values, uint8_t *out)
{
    const uint64_t *columns[FN_TEMPLATE_FIELDS];

    for (uint32_t i = 0; i < t->field_count; i++) {
        columns[i] = values;
        values += t->fields[i].size == 16 ? 2 : 1;
    }
    build_rows(t, columns, 0, 1, out);
}

void fn_template_build_many(const struct fn_template *t, const uint64_t *const columns[], size_t count, uint8_t *out)
{
    for (size_t first = 0; first < count; first += ROWS, out += (size_t)ROWS * t->length)
        build_rows(t, columns, first, count - first < ROWS ? count - first : ROWS, out);
}
