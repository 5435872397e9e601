/*
 * The Internet checksum (RFC 1071), at the speed of memory.
 *
 * A "sum" here is the one's-complement sum of the data's 16-bit big-endian words, folded to 16 bits and
 * not complemented; an odd last byte counts as the high half of a word. It is 0 only if every byte
 * is 0 (and the initial sum too): of one's complement's two zeros, other data gives 0xffff. The
 * checksum is its complement. Sums of any length are exact: nothing overflows.
 *
 * A kernel is one way to compute a sum. fn_checksum_kernels() lists those that this CPU runs, slowest
 * first and fastest last; the list and its entries are constant and static. The caller
 * keeps its choice: there is no state here.
 *
 * Every function is pure and may be called from any thread. `data` may be NULL if len is 0; it is
 * read only within len, at any alignment.
 */
#ifndef FN_CHECKSUM_H
#define FN_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

typedef uint16_t fn_sum_fn(const uint8_t *data, size_t len, uint16_t initial);

struct fn_checksum_kernel {
    const char *name;
    fn_sum_fn *sum;
};

/* Maximum number of kernels in the list. */
#define FN_CHECKSUM_KERNELS 4

/* Fills `out` with the kernels that this CPU runs, best last, and returns how many there are (at least 1). */
size_t fn_checksum_kernels(const struct fn_checksum_kernel *out[FN_CHECKSUM_KERNELS]);

/* The portable kernel: the sum of data, on top of an initial sum. */
uint16_t fn_checksum_scalar(const uint8_t *data, size_t len, uint16_t initial);

/* The sum of two sums. */
static inline uint16_t fn_sum_add(uint16_t a, uint16_t b)
{
    uint32_t sum = (uint32_t)a + b;
    return (uint16_t)(sum + (sum >> 16));
}

/* The checksum after a field of at most 32 bits went from `before` to `after` (RFC 1624, equation 3). */
uint16_t fn_checksum_update(uint16_t checksum, uint32_t before, uint32_t after);

/* The sum of an IPv4 pseudo-header (RFC 9293, 3.1): 4-byte addresses, protocol, upper-layer length. */
uint16_t fn_checksum_pseudo_ipv4(const uint8_t src[4], const uint8_t dst[4], uint8_t protocol, uint16_t length);

/* The sum of an IPv6 pseudo-header (RFC 8200, 8.1). */
uint16_t fn_checksum_pseudo_ipv6(const uint8_t src[16], const uint8_t dst[16], uint8_t protocol, uint32_t length);

#endif
