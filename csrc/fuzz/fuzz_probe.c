/*
 * What is believed to be a reply is one to a target, by a cookie that is right; the first byte chooses family and
 * socket, and whether the rest is given the cookie and the checksum that it lacks.
 */
#define _GNU_SOURCE
#include "checksum.h"
#include "probe/sweep.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static struct fn_sweep *sweep_of(bool ipv4, bool raw)
{
    const struct fn_span span = {.first.low = 0x0a000000, .count = 256};
    const struct fn_sweep_options options = {.fd = -1, .engine = raw ? FN_RAW : FN_DATAGRAM,
                                             .family = ipv4 ? AF_INET : AF_INET6,
                                             .ident = 0x1234, .payload = FN_SWEEP_PAYLOAD, .window = 1,
                                             .shard_step = 1};
    struct fn_sweep *sweep;

    require(fn_sweep_new(&sweep, &options, &span, 1, NULL) == 0);
    return sweep;
}

static uint32_t word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The cookie and the checksum: where the fuzzer would have to guess. */
static void lend(struct fn_sweep *sweep, uint8_t *message, size_t size)
{
    const size_t header = sweep->options.engine == FN_RAW && sweep->options.family == AF_INET ? FN_IPV4_HEADER : 0;
    const size_t at = header + FN_ICMP_HEADER;

    if (size < at + FN_SWEEP_PAYLOAD)
        return;
    const uint32_t ticks = word_at(message + at), number = word_at(message + at + 4);
    sweep->wire->request(sweep, 0, 9, number, ticks);
    memcpy(message + at, sweep->out.packets + FN_ICMP_HEADER, FN_SWEEP_PAYLOAD);
    memset(message + header + 2, 0, 2);
    const uint16_t sum = (uint16_t)~fn_checksum_scalar(message + header, size - header, 0);
    message[header + 2] = (uint8_t)(sum >> 8);
    message[header + 3] = (uint8_t)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fn_answer answer;

    if (size == 0)
        return 0;
    struct fn_sweep *const sweep = sweep_of(data[0] & 1, data[0] & 2);
    uint8_t *const message = malloc(size);
    require(message != NULL);
    memcpy(message, data + 1, size - 1);
    if (data[0] & 4)
        lend(sweep, message, size - 1);
    const struct fn_number from = fn_sweep_address(sweep, 9);
    if (fn_icmp_parse_reply(sweep, message, size - 1, from, &answer))
        require(answer.target == 9 && answer.whole && data[0] & 4);
    if (fn_icmp_parse_quoted(sweep, message, size - 1, from, &answer))
        require(answer.target == 9 && (!answer.whole || data[0] & 4));
    free(message);
    fn_sweep_free(sweep);
    return 0;
}
