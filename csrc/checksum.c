#include "checksum.h"

#include <string.h>

/*
 * Words are summed in the machine's own byte order and the result is swapped once: the one's-complement
 * sum does not care (RFC 1071, 2.B). Accumulators take 32-bit pieces in 64 bits, so no carry is handled
 * in a loop; a block is short enough that they cannot overflow.
 */
#define BLOCK ((size_t)1 << 30)
/* Below this many bytes a vector kernel's set-up costs more than it saves. */
#define SCALAR_BELOW 512

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint16_t fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static inline uint16_t swap16(uint16_t value)
{
    return (uint16_t)(value << 8 | value >> 8);
}

static inline uint16_t to_network(uint16_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return swap16(value);
#else
    return value;
#endif
}

/* At most 7 bytes, as the machine's own word with zeros behind them. */
static inline uint64_t load_tail(const uint8_t *p, size_t len)
{
    uint64_t word = 0;
    memcpy(&word, p, len);
    return word;
}

/* The raw sum of at most BLOCK bytes in machine order: 32-bit pieces, so < 2^62. */
static inline uint64_t scalar_block(const uint8_t *p, size_t len)
{
    uint64_t a = 0, b = 0;

    for (; len >= 16; p += 16, len -= 16) {
        uint64_t x = load64(p), y = load64(p + 8);
        a += (x & 0xffffffff) + (x >> 32);
        b += (y & 0xffffffff) + (y >> 32);
    }
    if (len >= 8) {
        uint64_t x = load64(p);
        a += (x & 0xffffffff) + (x >> 32);
        p += 8;
        len -= 8;
    }
    if (len) {
        uint64_t x = load_tail(p, len);
        b += (x & 0xffffffff) + (x >> 32);
    }
    return a + b;
}

uint16_t fn_checksum_scalar(const uint8_t *data, size_t len, uint16_t initial)
{
    uint64_t sum = to_network(initial);

    while (len > BLOCK) {
        sum = fold(sum + scalar_block(data, BLOCK));
        data += BLOCK;
        len -= BLOCK;
    }
    return to_network(fold(sum + (len ? scalar_block(data, len) : 0)));
}

/*
 * A vector kernel is its block function, which takes a multiple of its stride; the frame around it sums
 * the unaligned head and the short tail by scalar. A head of odd length leaves the rest one byte off its
 * word, which swaps the rest's sum (RFC 1071, 2.B again).
 */
static inline uint16_t vector_frame(const uint8_t *data, size_t len, uint16_t initial, size_t stride,
                                    uint64_t (*block)(const uint8_t *, size_t))
{
    if (len < SCALAR_BELOW)
        return fn_checksum_scalar(data, len, initial);

    size_t head = -(uintptr_t)data & (stride - 1);
    uint64_t sum = (uint64_t)to_network(initial) + scalar_block(data, head);
    uint64_t rest = 0;

    data += head;
    len -= head;
    while (len >= stride) {
        size_t take = (len < BLOCK ? len : BLOCK) & ~(stride - 1);
        rest = fold(rest + block(data, take));
        data += take;
        len -= take;
    }
    rest = fold(rest + scalar_block(data, len));
    return to_network(fold(sum + (head & 1 ? swap16((uint16_t)rest) : rest)));
}

#if defined(__x86_64__)
#include <immintrin.h>

/*
 * Adding whole 64-bit lanes and, apart, their high halves gives the low halves' sum by subtraction
 * modulo 2^64, which is exact because that sum is below 2^64: no carry is ever looked at.
 */
static inline uint64_t halves(uint64_t lanes, uint64_t high)
{
    return (lanes - (high << 32)) + high;
}

static uint64_t sse2_block(const uint8_t *p, size_t len)
{
    __m128i lanes0 = _mm_setzero_si128(), lanes1 = lanes0, high0 = lanes0, high1 = lanes0;
    const uint8_t *end = p + len;

    for (; p < end; p += 32) {
        __m128i x = _mm_load_si128((const __m128i *)p), y = _mm_load_si128((const __m128i *)(p + 16));
        lanes0 = _mm_add_epi64(lanes0, x);
        lanes1 = _mm_add_epi64(lanes1, y);
        high0 = _mm_add_epi64(high0, _mm_srli_epi64(x, 32));
        high1 = _mm_add_epi64(high1, _mm_srli_epi64(y, 32));
    }
    lanes0 = _mm_add_epi64(lanes0, lanes1);
    high0 = _mm_add_epi64(high0, high1);

    uint64_t lanes[2], high[2];
    _mm_storeu_si128((__m128i *)lanes, lanes0);
    _mm_storeu_si128((__m128i *)high, high0);
    return halves(lanes[0], high[0]) + halves(lanes[1], high[1]);
}

static uint16_t sse2_sum(const uint8_t *data, size_t len, uint16_t initial)
{
    return vector_frame(data, len, initial, 32, sse2_block);
}

__attribute__((target("avx2"))) static uint64_t avx2_block(const uint8_t *p, size_t len)
{
    __m256i lanes0 = _mm256_setzero_si256(), lanes1 = lanes0, high0 = lanes0, high1 = lanes0;
    const uint8_t *end = p + len;

    for (; p < end; p += 64) {
        __m256i x = _mm256_load_si256((const __m256i *)p), y = _mm256_load_si256((const __m256i *)(p + 32));
        lanes0 = _mm256_add_epi64(lanes0, x);
        lanes1 = _mm256_add_epi64(lanes1, y);
        high0 = _mm256_add_epi64(high0, _mm256_srli_epi64(x, 32));
        high1 = _mm256_add_epi64(high1, _mm256_srli_epi64(y, 32));
    }
    lanes0 = _mm256_add_epi64(lanes0, lanes1);
    high0 = _mm256_add_epi64(high0, high1);

    uint64_t lanes[4], high[4], sum = 0;
    _mm256_storeu_si256((__m256i *)lanes, lanes0);
    _mm256_storeu_si256((__m256i *)high, high0);
    for (int i = 0; i < 4; i++)
        sum += halves(lanes[i], high[i]);
    return sum;
}

static uint16_t avx2_sum(const uint8_t *data, size_t len, uint16_t initial)
{
    return vector_frame(data, len, initial, 64, avx2_block);
}

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
/* vpdpwssd adds two products of at most 2^15 to a 32-bit lane, so 2^15 turns are safe; one less stays so. */
#define VNNI_TURNS 32767

/* The 8 signed lanes added to 4 wide ones. */
VNNI static inline __m256i widen(__m256i total, __m256i lanes)
{
    total = _mm256_add_epi64(total, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes)));
    return _mm256_add_epi64(total, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(lanes, 1)));
}

VNNI static inline __m256i dot(__m256i lanes, const uint8_t *p)
{
    __m256i word = _mm256_xor_si256(_mm256_load_si256((const __m256i *)p), _mm256_set1_epi16((short)0x8000));
    return _mm256_dpwssd_epi32(lanes, word, _mm256_set1_epi16(1));
}

/*
 * x ^ 0x8000 is x - 32768 as a signed word. Dot products with ones sum pairs of words into 32-bit lanes,
 * and the 32768 a word that went missing is added back at the end. Half-width vectors: they are as fast
 * as full ones in the cache, where loading is the limit, and a quarter faster from memory.
 */
VNNI static uint64_t vnni_block(const uint8_t *p, size_t len)
{
    const uint64_t bias = len / 2 * 32768;
    const uint8_t *end = p + len, *quads_end = p + (len & ~(size_t)127);
    const __m256i zero = _mm256_setzero_si256();
    __m256i total = zero, a;

    while (p < quads_end) {
        __m256i b = zero, c = zero, d = zero;
        const uint8_t *stop = (quads_end - p) / 128 > VNNI_TURNS ? p + VNNI_TURNS * 128 : quads_end;

        for (a = zero; p < stop; p += 128) {
            a = dot(a, p);
            b = dot(b, p + 32);
            c = dot(c, p + 64);
            d = dot(d, p + 96);
        }
        total = widen(widen(widen(widen(total, a), b), c), d);
    }
    for (a = zero; p < end; p += 32)
        a = dot(a, p);
    total = widen(total, a);

    uint64_t lanes[4];
    _mm256_storeu_si256((__m256i *)lanes, total);
    return lanes[0] + lanes[1] + lanes[2] + lanes[3] + bias;
}

static uint16_t vnni_sum(const uint8_t *data, size_t len, uint16_t initial)
{
    return vector_frame(data, len, initial, 32, vnni_block);
}

#elif defined(__aarch64__)
#include <arm_neon.h>

static uint64_t neon_block(const uint8_t *p, size_t len)
{
    uint64x2_t a = vdupq_n_u64(0), b = a, c = a, d = a;
    const uint8_t *end = p + len;

    for (; p < end; p += 64) {
        a = vpadalq_u32(a, vreinterpretq_u32_u8(vld1q_u8(p)));
        b = vpadalq_u32(b, vreinterpretq_u32_u8(vld1q_u8(p + 16)));
        c = vpadalq_u32(c, vreinterpretq_u32_u8(vld1q_u8(p + 32)));
        d = vpadalq_u32(d, vreinterpretq_u32_u8(vld1q_u8(p + 48)));
    }
    return vaddvq_u64(vaddq_u64(vaddq_u64(a, b), vaddq_u64(c, d)));
}

static uint16_t neon_sum(const uint8_t *data, size_t len, uint16_t initial)
{
    return vector_frame(data, len, initial, 64, neon_block);
}
#endif

size_t fn_checksum_kernels(const struct fn_checksum_kernel *out[FN_CHECKSUM_KERNELS])
{
    static const struct fn_checksum_kernel scalar = {"scalar", fn_checksum_scalar};
    size_t count = 0;

    out[count++] = &scalar;
#if defined(__x86_64__)
    static const struct fn_checksum_kernel sse2 = {"sse2", sse2_sum};
    static const struct fn_checksum_kernel avx2 = {"avx2", avx2_sum};
    static const struct fn_checksum_kernel vnni = {"avx512vnni", vnni_sum};

    out[count++] = &sse2;
    if (__builtin_cpu_supports("avx2"))
        out[count++] = &avx2;
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        out[count++] = &vnni;
#elif defined(__aarch64__)
    static const struct fn_checksum_kernel neon = {"neon", neon_sum};

    out[count++] = &neon;
#endif
    return count;
}

uint16_t fn_checksum_update(uint16_t checksum, uint32_t before, uint32_t after)
{
    uint64_t sum = (uint16_t)~checksum;

    sum += (uint16_t)~(before >> 16) + (uint64_t)(uint16_t)~before;
    sum += (after >> 16) + (after & 0xffff);
    return (uint16_t)~fold(sum);
}

/* Sums of 16-bit big-endian fields, without storing them first. */
static inline uint64_t sum_words(const uint8_t *p, size_t len)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < len; i += 2)
        sum += (uint64_t)(p[i] << 8 | p[i + 1]);
    return sum;
}

uint16_t fn_checksum_pseudo_ipv4(const uint8_t src[4], const uint8_t dst[4], uint8_t protocol, uint16_t length)
{
    return fold(sum_words(src, 4) + sum_words(dst, 4) + protocol + length);
}

uint16_t fn_checksum_pseudo_ipv6(const uint8_t src[16], const uint8_t dst[16], uint8_t protocol, uint32_t length)
{
    return fold(sum_words(src, 16) + sum_words(dst, 16) + protocol + (length >> 16) + (length & 0xffff));
}
