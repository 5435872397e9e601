#include "permute.h"

#define GOLDEN_RATIO UINT64_C(0x9e3779b97f4a7c15)

/* The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each bit of x changes half of the result's. */
static uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static unsigned bits_of(uint64_t number)
{
    return number ? 64 - (unsigned)__builtin_clzll(number) : 0;
}

void fn_permute_init(struct fn_permute *permute, uint64_t size, uint64_t seed)
{
    const unsigned bits = bits_of(size - 1), high_bits = bits / 2;

    permute->size = size;
    permute->low_bits = bits - high_bits;
    permute->low_mask = (UINT64_C(1) << permute->low_bits) - 1;
    permute->high_mask = (UINT64_C(1) << high_bits) - 1;
    for (unsigned round = 0; round < FN_PERMUTE_ROUNDS; round++)
        permute->keys[round] = mixed(seed + (round + 1) * GOLDEN_RATIO);
}

static uint64_t once(const struct fn_permute *permute, uint64_t number)
{
    uint64_t high = number >> permute->low_bits, low = number & permute->low_mask;

    for (unsigned round = 0; round < FN_PERMUTE_ROUNDS; round += 2) {
        high ^= mixed(low ^ permute->keys[round]) & permute->high_mask;
        low ^= mixed(high ^ permute->keys[round + 1]) & permute->low_mask;
    }
    return high << permute->low_bits | low;
}

uint64_t fn_permute_at(const struct fn_permute *permute, uint64_t place)
{
    do
        place = once(permute, place);
    while (place >= permute->size);
    return place;
}

void fn_permute_fill(const struct fn_permute *permute, uint64_t first, uint64_t step, uint64_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = fn_permute_at(permute, first + i * step);
}
