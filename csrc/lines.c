/* Lines of text about many addresses. */
#define _GNU_SOURCE
#include "lines.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define LONGEST_FIELD 64 /* bytes of a field without a width: an address has 45, a time 15, a MAC 17 */

static char *put_digits(char *out, uint64_t number, unsigned least)
{
    char digits[20];
    unsigned count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number || count < least);
    while (count)
        *out++ = digits[--count];
    return out;
}

/* A time times a scale of at most 10000, as a whole number: exact, since a float has 24 bits. */
static uint64_t scaled(float ms, uint64_t scale)
{
    int exponent;
    const uint64_t exact = (uint64_t)ldexpf(frexpf(ms, &exponent), 24) * scale;
    const int down = 24 - exponent;

    if (down <= 0)
        return exact << -down;
    if (down >= 64)
        return 0;

    const uint64_t half = UINT64_C(1) << (down - 1);
    const uint64_t whole = exact >> down, rest = exact & (2 * half - 1);

    return whole + (rest > half || (rest == half && (whole & 1)));
}

static char *put_fixed(char *out, uint64_t number, uint64_t scale, unsigned decimals)
{
    out = put_digits(out, number / scale, 1);
    *out++ = '.';
    return put_digits(out, number % scale, decimals);
}

static char *put_number(char *out, float ms)
{
    out = put_fixed(out, scaled(ms, 10000), 10000, 4);
    while (out[-1] == '0' && out[-2] != '.')
        out--;
    return out;
}

static char *put_mac(char *out, const uint8_t mac[6], const char *digits)
{
    for (int i = 0; i < 6; i++) {
        if (i)
            *out++ = ':';
        *out++ = digits[mac[i] >> 4];
        *out++ = digits[mac[i] & 15];
    }
    return out;
}

static char *put_address(char *out, const uint8_t *address, size_t size)
{
    if (size == 16) {
        inet_ntop(AF_INET6, address, out, LONGEST_FIELD);
        return out + strlen(out);
    }
    for (size_t i = 0; i < size; i++) {
        if (i)
            *out++ = '.';
        out = put_digits(out, address[i], 1);
    }
    return out;
}

static char *put_field(char *out, const struct fn_lines_piece *piece, const struct fn_lines_run *run,
                       const uint8_t *address, size_t place)
{
    switch (piece->field) {
    case FN_LINES_ADDRESS:
        return put_address(out, address, run->address_size);
    case FN_LINES_MS:
        return (char *)mempcpy(put_fixed(out, scaled(run->ms[place], 1000), 1000, 3), " ms", 3);
    case FN_LINES_NUMBER:
        return put_number(out, run->ms[place]);
    case FN_LINES_US:
        return put_digits(out, scaled(run->ms[place], 1000), 1);
    case FN_LINES_MAC:
        return put_mac(out, run->macs + 6 * place, "0123456789abcdef");
    case FN_LINES_UPPER_MAC:
        return put_mac(out, run->macs + 6 * place, "0123456789ABCDEF");
    default:
        return out;
    }
}

static char *put_line(char *out, const struct fn_lines_template *template, const struct fn_lines_run *run,
                      const uint8_t *address, size_t place)
{
    for (const struct fn_lines_piece *piece = template->pieces;; piece++) {
        out = mempcpy(out, piece->text, piece->size);
        if (piece->field == FN_LINES_END)
            return out;
        char *const begin = out;

        out = put_field(out, piece, run, address, place);
        while (out < begin + piece->width)
            *out++ = ' ';
    }
}

static void add(uint8_t *address, size_t size, uint64_t step)
{
    for (size_t i = size; i-- && step;) {
        step += address[i];
        address[i] = (uint8_t)step;
        step >>= 8;
    }
}

size_t fn_lines_longest(const struct fn_lines_template *template)
{
    size_t longest = 0;

    for (const struct fn_lines_piece *piece = template->pieces;; piece++) {
        longest += piece->size;
        if (piece->field == FN_LINES_END)
            return longest;
        longest += LONGEST_FIELD;
    }
}

size_t fn_lines_format(const struct fn_lines_template *templates, const struct fn_lines_run *run,
                       const uint8_t *kinds, size_t count, char *out)
{
    uint8_t address[16];
    char *const begin = out;

    memcpy(address, run->first, sizeof address);
    for (size_t place = 0; place < count; place++) {
        const uint8_t kind = kinds[place];

        const bool timed = run->ms[place] >= 0 && run->ms[place] < 0x1p31f;

        if (kind != FN_LINES_SKIPPED)
            out = put_line(out, &templates[2 * kind + !timed], run, address, place);
        add(address, run->address_size, run->step);
    }
    return (size_t)(out - begin);
}
