#include "../packet.h"
#include "headers.h"

static const char digits[] = "0123456789abcdef";

static char *decimal(char *out, uint8_t value)
{
    if (value >= 100)
        *out++ = digits[value / 100];
    if (value >= 10)
        *out++ = digits[value / 10 % 10];
    *out++ = digits[value % 10];
    return out;
}

size_t fn_text_ipv4(const uint8_t address[4], char out[15])
{
    char *p = decimal(out, address[0]);

    for (int i = 1; i < 4; i++) {
        *p++ = '.';
        p = decimal(p, address[i]);
    }
    return (size_t)(p - out);
}

static char *hexadecimal(char *out, uint16_t value)
{
    for (int shift = value >= 0x1000 ? 12 : value >= 0x100 ? 8 : value >= 0x10 ? 4 : 0; shift >= 0; shift -= 4)
        *out++ = digits[value >> shift & 15];
    return out;
}

/* The first of the longest runs of zero words, if of more than one: *start and its length. */
static int longest_zeros(const uint16_t words[8], int *start)
{
    int best = 1, run = 0;

    *start = -1;
    for (int i = 0; i < 8; i++) {
        run = words[i] ? 0 : run + 1;
        if (run > best) {
            best = run;
            *start = i - run + 1;
        }
    }
    return *start < 0 ? 0 : best;
}

size_t fn_text_ipv6(const uint8_t address[16], char out[45])
{
    uint16_t words[8];
    char *p = out;
    int zeros_at, zeros;

    for (int i = 0; i < 8; i++)
        words[i] = get16(address + 2 * i);
    zeros = longest_zeros(words, &zeros_at);
    for (int i = 0; i < 8; i++) {
        if (i == zeros_at) {
            *p++ = ':';
            if (i + zeros == 8)
                *p++ = ':';
            i += zeros - 1;
            continue;
        }
        if (i)
            *p++ = ':';
        if (i == 6 && zeros_at == 0 && (zeros == 6 || (zeros == 5 && words[5] == 0xffff)))
            return (size_t)(p - out) + fn_text_ipv4(address + 12, p);
        p = hexadecimal(p, words[i]);
    }
    return (size_t)(p - out);
}

size_t fn_text_mac(const uint8_t address[6], char out[17])
{
    for (int i = 0; i < 6; i++) {
        out[3 * i] = digits[address[i] >> 4];
        out[3 * i + 1] = digits[address[i] & 15];
        if (i < 5)
            out[3 * i + 2] = ':';
    }
    return 17;
}
