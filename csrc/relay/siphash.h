/*
 * SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF") of 64-bit words, for hash tables. Without
 * the key, an attacker cannot choose inputs that share a slot. The key is 16 random bytes. A pure function.
 */
#ifndef FN_RELAY_SIPHASH_H
#define FN_RELAY_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fn_siphash_key {
    uint64_t words[2];
};

static inline uint64_t fn_siphash_rotated(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static inline void fn_siphash_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = fn_siphash_rotated(v[1], 13) ^ v[0];
    v[3] = fn_siphash_rotated(v[3], 16) ^ v[2];
    v[0] = fn_siphash_rotated(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = fn_siphash_rotated(v[1], 17) ^ v[2];
    v[3] = fn_siphash_rotated(v[3], 21) ^ v[0];
    v[2] = fn_siphash_rotated(v[2], 32);
}

static inline void fn_siphash_absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    fn_siphash_round(v);
    v[0] ^= word;
}

/* Hashes `count` words of 8 bytes each, in this machine's byte order. */
static inline uint64_t fn_siphash(const struct fn_siphash_key *key, const void *data, size_t count)
{
    uint64_t v[4] = {
        key->words[0] ^ UINT64_C(0x736f6d6570736575),
        key->words[1] ^ UINT64_C(0x646f72616e646f6d),
        key->words[0] ^ UINT64_C(0x6c7967656e657261),
        key->words[1] ^ UINT64_C(0x7465646279746573),
    };

    for (size_t i = 0; i < count; i++) {
        uint64_t word;
        memcpy(&word, (const char *)data + i * sizeof word, sizeof word);
        fn_siphash_absorb(v, word);
    }
    fn_siphash_absorb(v, (uint64_t)(count * sizeof(uint64_t)) << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        fn_siphash_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
