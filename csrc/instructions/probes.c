/* A sweep's requests and replies, without a socket. */
#define _GNU_SOURCE
#include "operations.h"

#include "checksum.h"
#include "probe/sweep.h"

#include <string.h>

static struct fn_sweep *sweep;
static uint8_t replies[FN_BATCH][FN_IPV4_HEADER + FN_ICMP_HEADER + FN_SWEEP_PAYLOAD];

static void sweep_requests(void)
{
    for (unsigned i = 0; i < FN_BATCH; i++)
        sweep->wire->request(sweep, i, i * 4001, i, 123456);
}

/* The same bytes, as an echo reply of a raw socket. */
static void prepare_sweep(void)
{
    const struct fn_span span = {.first.low = 0x0a000000, .count = 65536};
    const struct fn_sweep_options options = {.engine = FN_RAW, .fd = -1, .family = AF_INET, .ident = 0x1234,
                                             .payload = FN_SWEEP_PAYLOAD, .window = 1, .shard_step = 1};

    require(fn_sweep_new(&sweep, &options, &span, 1, NULL) == 0);
    sweep_requests();
    for (unsigned i = 0; i < FN_BATCH; i++) {
        uint8_t *const icmp = replies[i] + FN_IPV4_HEADER;
        replies[i][0] = 0x45;
        memcpy(icmp, sweep->out.packets + i * sweep->packet_size, sweep->packet_size);
        icmp[0] = FN_ECHO_REPLY_4;
        icmp[FN_AT_CHECKSUM] = icmp[FN_AT_CHECKSUM + 1] = 0;
        const uint16_t sum = (uint16_t)~fn_checksum_scalar(icmp, sweep->packet_size, 0);
        icmp[FN_AT_CHECKSUM] = (uint8_t)(sum >> 8);
        icmp[FN_AT_CHECKSUM + 1] = (uint8_t)sum;
    }
}

static void sweep_replies(void)
{
    struct fn_answer answer;

    for (unsigned i = 0; i < FN_BATCH; i++) {
        const struct fn_number from = {.low = 0x0a000000 + i * 4001};
        require(fn_icmp_parse_reply(sweep, replies[i], sizeof replies[i], from, &answer) && answer.whole);
    }
}

const struct operation probe_operations[] = {
    {"sweep_requests", prepare_sweep, sweep_requests},
    {"sweep_replies", NULL, sweep_replies},
    {0},
};
