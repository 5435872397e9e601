/* Packets: checksum, parse, build. */
#define _GNU_SOURCE
#include "operations.h"

#include "checksum.h"
#include "packet.h"

#include <string.h>

static _Alignas(64) uint8_t bytes[1500];
static const struct fn_checksum_kernel *kernel;

/* SSE2, which every x86-64 has. */
static void prepare_checksum(void)
{
    const struct fn_checksum_kernel *kernels[FN_CHECKSUM_KERNELS];
    const size_t count = fn_checksum_kernels(kernels);

    for (size_t i = 0; i < count; i++)
        if (strcmp(kernels[i]->name, "sse2") == 0)
            kernel = kernels[i];
    require(kernel != NULL);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
}

static void checksum(void)
{
    operation_result = kernel->sum(bytes, sizeof bytes, 0);
}

static const uint8_t segment[] = {
    0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00,                                  /* Ethernet */
    0x45, 0, 0, 0x3c, 0x1c, 0x46, 0x40, 0, 64, 6, 0xb1, 0xe6, 172, 16, 10, 99, 172, 16, 10, 12, /* IPv4 */
    0xd4, 0x31, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x80, 0x18, 0xfa, 0xf0, 0, 0, 0, 0,         /* TCP */
    1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7,                                                   /* its options */
    'h', 'e', 'l', 'l', 'o', '!', '\r', '\n',
};

static void packet_scan(void)
{
    struct fn_packet packet;

    require(fn_packet_scan(segment, sizeof segment, FN_LINK_ETHERNET, &packet) == FN_PACKET_OK);
    operation_result = packet.count;
}

enum { PARTS = 4 };
static struct fn_part parts[PARTS];
static const struct fn_part *stack[PARTS];
static uint8_t built[sizeof segment];
static struct fn_template template;

static void prepare_parts(void)
{
    struct fn_packet packet;

    require(fn_packet_scan(segment, sizeof segment, FN_LINK_ETHERNET, &packet) == FN_PACKET_OK && packet.count == PARTS);
    for (int i = 0; i < PARTS; i++) {
        const uint32_t start = packet.offsets[i];
        parts[i] = (struct fn_part){
            .header = segment + start, .length = packet.offsets[i + 1] - start, .kind = packet.kinds[i]};
        parts[i].automatic = fn_part_automatic(&parts[i], FN_AUTO_LENGTH | FN_AUTO_PROTOCOL | FN_AUTO_CHECKSUM);
        stack[i] = &parts[i];
    }
}

static void packet_build(void)
{
    size_t bad;

    for (int i = 0; i < PARTS; i++)
        fn_part_sum(&parts[i], fn_checksum_scalar);
    require(fn_packet_build(stack, PARTS, built, &bad) == FN_PACKET_OK);
}

/* Many packets with other destinations and sequence numbers. */
static void prepare_template(void)
{
    static uint8_t data[sizeof segment];

    prepare_parts();
    packet_build();
    memcpy(data, built, sizeof data);
    template.fields[0] = (struct fn_template_field){.part = 1, .first = 16, .size = 4, .limit = UINT32_MAX};
    template.fields[1] = (struct fn_template_field){.part = 2, .first = 4, .size = 4, .limit = UINT32_MAX};
    template.field_count = 2;
    fn_template_prepare(&template, stack, PARTS, 1 << 1 | 1 << 2, data, sizeof data);
}

static void template_build_many(void)
{
    static uint8_t out[MANY * sizeof segment];
    static uint64_t numbers[MANY];
    const uint64_t *const columns[] = {numbers, numbers};

    for (size_t i = 0; i < MANY; i++)
        numbers[i] = 0x0a000000 + i * 65537;
    fn_template_build_many(&template, columns, MANY, out);
}

const struct operation packet_operations[] = {
    {"checksum_1500", prepare_checksum, checksum},
    {"packet_scan", NULL, packet_scan},
    {"packet_build", prepare_parts, packet_build},
    {"template_build_many", prepare_template, template_build_many},
    {0},
};
