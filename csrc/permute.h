/*
 * A permutation of 0 ... size - 1 chosen by a seed, computed place by place: no table, no state that advances.
 *
 * A sweep visits its targets in this order, so that no network gets all requests in one burst, and machines
 * that share the work need to agree only on the seed: shard i of n takes the places i, i + n, i + 2n, ...
 * An interrupted sweep continues at a place.
 *
 * It is a Feistel network over the bits of size - 1 (the halves may differ by one bit) whose results outside
 * the range are sent through it again until they fall inside ("cycle walking": Black and Rogaway, Ciphers with
 * Arbitrary Finite Domains, CT-RSA 2002), twice on average at most. It is not cryptographic.
 *
 * fn_permute_init() fills a struct that is only read from then on, by any number of threads at once. Nothing is
 * allocated.
 */
#ifndef FN_PERMUTE_H
#define FN_PERMUTE_H

#include <stddef.h>
#include <stdint.h>

#define FN_PERMUTE_ROUNDS 6

struct fn_permute {
    uint64_t size;
    unsigned low_bits;
    uint64_t low_mask;
    uint64_t high_mask;
    uint64_t keys[FN_PERMUTE_ROUNDS];
};

/* The permutation of `size` numbers, at least 1, that belongs to a seed. */
void fn_permute_init(struct fn_permute *permute, uint64_t size, uint64_t seed);

/* The number at a place, which is below size. */
uint64_t fn_permute_at(const struct fn_permute *permute, uint64_t place);

/* The numbers at `count` places: first, first + step, ... The last of them is below size. */
void fn_permute_fill(const struct fn_permute *permute, uint64_t first, uint64_t step, uint64_t *out, size_t count);

#endif
