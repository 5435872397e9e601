/* Any data scans into layers that tile it, can be asked and verified, and builds again to the same bytes. */
#include "packet.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void cut(const uint8_t *data, const struct fn_packet *packet, int automatic, struct fn_part parts[],
                const struct fn_part *stack[])
{
    for (int i = 0; i < packet->count; i++) {
        parts[i] = (struct fn_part){.header = data + packet->offsets[i],
                                    .length = packet->offsets[i + 1] - packet->offsets[i],
                                    .kind = packet->kinds[i]};
        if (automatic)
            parts[i].automatic = fn_part_automatic(&parts[i], 7);
        fn_part_sum(&parts[i], fn_checksum_scalar);
        stack[i] = &parts[i];
    }
}

/* Another destination by a template: that it stays within the packet is for the sanitizers to see. */
static void redirect(const struct fn_part *const stack[], const struct fn_packet *packet, uint8_t *data,
                           uint32_t len, uint8_t *out)
{
    struct fn_template template = {.field_count = 1};
    uint64_t values[2] = {0x0123456789abcdef, 0xfedcba9876543210};
    int network = fn_packet_network(packet);

    if (network < 0)
        return;
    uint8_t size = packet->kinds[network] == FN_IPV4 ? 4 : 16;
    if (stack[network]->length < (size == 4 ? 20 : 40))
        return;
    template.fields[0] = (struct fn_template_field){.part = (uint32_t)network,
                                                    .first = size == 4 ? 16 : 24,
                                                    .size = size,
                                                    .limit = size == 4 ? 0xffffffff : UINT64_MAX};
    values[0] &= template.fields[0].limit;
    fn_template_prepare(&template, stack, packet->count, UINT32_MAX, data, len);
    fn_template_build(&template, values, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fn_packet packet;
    struct fn_part parts[FN_PACKET_LAYERS];
    const struct fn_part *stack[FN_PACKET_LAYERS];
    uint32_t expected;
    size_t bad;

    if (size < 1 || size > 65536)
        return 0;
    const enum fn_link link = data[0] % FN_LINKS;
    const uint32_t len = (uint32_t)size - 1;
    uint8_t *input = malloc(len ? len : 1), *out = malloc(len ? len : 1);
    require(input && out);
    memcpy(input, data + 1, len);

    require(fn_packet_scan(input, len, link, &packet) == packet.error);
    require(packet.count <= FN_PACKET_LAYERS && packet.offsets[packet.count] == len);
    for (int i = 0; i < packet.count; i++)
        require(packet.offsets[i] < packet.offsets[i + 1]);
    (void)fn_packet_transport(&packet);
    require(fn_packet_protocol(input, &packet) < 256);
    struct fn_wrong_option wrong;
    require(fn_packet_malformed(input, &packet, &wrong) < packet.count);
    (void)fn_packet_verify(input, &packet, fn_checksum_scalar, &expected);

    cut(input, &packet, 0, parts, stack);
    require(fn_packet_build(stack, packet.count, out, &bad) == 0);
    require(memcmp(out, input, len) == 0);
    cut(input, &packet, 1, parts, stack);
    if (fn_packet_build(stack, packet.count, out, &bad) == 0) {
        uint8_t *copy = malloc(len ? len : 1);
        require(copy != NULL);
        memcpy(copy, out, len);
        redirect(stack, &packet, copy, len, out);
        free(copy);
    }
    free(out);
    free(input);
    return 0;
}
