#include "guard.h"

#include "checksum.h"

#include <assert.h>
#include <stdio.h>

#define LONGEST 4096
#define ALIGNMENTS 64
#define BLOCK ((size_t)2 << 20)
#define HUGE_SIZE (((size_t)4 << 30) + BLOCK)

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fill_random(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)random64();
}

/* The definition of a sum: a number modulo 65535 whose zero stands for zeros only. */
static uint16_t residue(uint64_t number)
{
    return number ? (uint16_t)((number - 1) % 65535 + 1) : 0;
}

static uint16_t plain_sum(const uint8_t *data, size_t len, uint64_t initial)
{
    uint64_t sum = initial;

    for (size_t i = 0; i < len; i++)
        sum += (uint64_t)data[i] << (i % 2 ? 0 : 8);
    return residue(sum);
}

static uint16_t plain_checksum(const uint8_t *data, size_t len)
{
    return (uint16_t)~plain_sum(data, len, 0);
}

/* Each block ends where it was allocated, which ASan checks; the bytes before it would show in the sum. */
static void test_every_length_and_alignment(const struct fn_checksum_kernel *kernel)
{
    uint8_t data[LONGEST];

    fill_random(data, sizeof data);
    for (size_t len = 0; len <= LONGEST; len++) {
        const uint16_t initial = (uint16_t)(len * 0x1337);
        const uint16_t expected = plain_sum(data, len, initial);

        for (size_t alignment = 0; alignment < ALIGNMENTS; alignment++) {
            void *block;

            assert(posix_memalign(&block, ALIGNMENTS, alignment + len + !len) == 0);
            memset(block, 0xa5, alignment);
            memcpy((uint8_t *)block + alignment, data, len);
            assert(kernel->sum((uint8_t *)block + alignment, len, initial) == expected);
            free(block);
        }
    }
}

static void test_edges(const struct fn_checksum_kernel *kernel)
{
    uint8_t data[LONGEST];

    fill_random(data, sizeof data);
    for (size_t len = 0; len <= LONGEST; len++) {
        struct guard after = guard_copy(data, len), before = guard_before(len);

        memcpy(before.data, data, len);
        assert(kernel->sum(after.data, len, 0) == plain_sum(data, len, 0));
        assert(kernel->sum(before.data, len, 0) == plain_sum(data, len, 0));
        guard_free(&after);
        guard_free(&before);
    }
    assert(kernel->sum(NULL, 0, 0) == 0);
    assert(kernel->sum(NULL, 0, 0xbeef) == 0xbeef);
}

static void test_zero_has_two_forms(const struct fn_checksum_kernel *kernel)
{
    uint8_t zeros[LONGEST] = {0}, ones[LONGEST];

    memset(ones, 0xff, sizeof ones);
    assert(kernel->sum(zeros, sizeof zeros, 0) == 0);
    assert(kernel->sum(ones, sizeof ones, 0) == 0xffff);
    assert(kernel->sum(zeros, sizeof zeros, 0xffff) == 0xffff);
    assert(kernel->sum((const uint8_t *)"\xff\xfe\x00\x01", 4, 0) == 0xffff);
}

/* A checksum that folds twice only gives 0xffff here. */
static void test_late_carry(const struct fn_checksum_kernel *kernel)
{
    const size_t len = 2 * 65539;
    struct guard guard = guard_after(len);

    memset(guard.data, 0xff, len);
    memcpy(guard.data + len - 2, "\x01\x00", 2);
    assert(kernel->sum(guard.data, len, 0) == (0xffff ^ 0xfeff));
    guard_free(&guard);
}

/* More than 4 GiB of address space over one block of memory. */
static uint8_t *map_huge(int file)
{
    uint8_t *huge = mmap(NULL, HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert(huge != MAP_FAILED);
    for (size_t at = 0; at < HUGE_SIZE; at += BLOCK)
        assert(mmap(huge + at, BLOCK, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) == huge + at);
    return huge;
}

static void test_more_than_32_bits(const struct fn_checksum_kernel *const *kernels, size_t count)
{
    uint8_t *block = malloc(BLOCK);
    const int file = memfd_create("block", MFD_CLOEXEC);

    assert(block && file >= 0 && ftruncate(file, (off_t)BLOCK) == 0);
    uint8_t *huge = map_huge(file);

    for (int pattern = 0; pattern < 3; pattern++) {
        if (pattern == 2)
            fill_random(block, BLOCK);
        else
            memset(block, pattern ? 0xff : 0, BLOCK);
        assert(pwrite(file, block, BLOCK, 0) == (ssize_t)BLOCK);

        const uint64_t whole = (uint64_t)plain_sum(block, BLOCK, 0) * (HUGE_SIZE / BLOCK - 1);
        const uint16_t expected = plain_sum(block, BLOCK - 1, whole);

        for (size_t i = 0; i < count; i++)
            assert(kernels[i]->sum(huge, HUGE_SIZE - 1, 0) == expected);
    }
    assert(munmap(huge, HUGE_SIZE) == 0);
    close(file);
    free(block);
}

static void test_update(void)
{
    assert(fn_checksum_update(0xdd2f, 0x5555, 0x3285) == 0x0000); /* RFC 1624, section 4 */

    for (int turn = 0; turn < 200000; turn++) {
        uint8_t data[20];
        const size_t field = turn % 2 ? 2 : 4, at = random64() % (sizeof data - 4) & ~(size_t)1;
        uint32_t before = 0, after = 0;

        fill_random(data, sizeof data);
        data[19] |= 1; /* never all zeros: those have another checksum computed than updated */
        const uint16_t checksum = plain_checksum(data, sizeof data);

        for (size_t i = 0; i < field; i++) {
            before = before << 8 | data[at + i];
            data[at + i] = (uint8_t)(turn % 3 ? random64() : 0);
            after = after << 8 | data[at + i];
        }
        assert(fn_checksum_update(checksum, before, after) == plain_checksum(data, sizeof data));
    }
}

static void test_pseudo_headers(void)
{
    for (int turn = 0; turn < 10000; turn++) {
        uint8_t v4[12], v6[40];

        fill_random(v4, sizeof v4);
        fill_random(v6, sizeof v6);
        v4[8] = v6[36] = v6[37] = v6[38] = 0;

        const uint16_t length4 = (uint16_t)(v4[10] << 8 | v4[11]);
        const uint32_t length6 = (uint32_t)v6[32] << 24 | (uint32_t)v6[33] << 16 | (uint32_t)v6[34] << 8 | v6[35];

        assert(fn_checksum_pseudo_ipv4(v4, v4 + 4, v4[9], length4) == plain_sum(v4, sizeof v4, 0));
        assert(fn_checksum_pseudo_ipv6(v6, v6 + 16, v6[39], length6) == plain_sum(v6, sizeof v6, 0));
    }
}

static void test_sum_add(void)
{
    assert(fn_sum_add(0, 0) == 0);
    assert(fn_sum_add(0xffff, 0) == 0xffff);
    assert(fn_sum_add(0xffff, 0xffff) == 0xffff);
    assert(fn_sum_add(0xfffe, 2) == 1);
}

int main(void)
{
    const struct fn_checksum_kernel *kernels[FN_CHECKSUM_KERNELS];
    const size_t count = fn_checksum_kernels(kernels);

    assert(count >= 1 && count <= FN_CHECKSUM_KERNELS);
    assert(strcmp(kernels[0]->name, "scalar") == 0 && kernels[0]->sum == fn_checksum_scalar);
    for (size_t i = 0; i < count; i++) {
        printf("checksum kernel %s\n", kernels[i]->name);
        test_every_length_and_alignment(kernels[i]);
        test_edges(kernels[i]);
        test_zero_has_two_forms(kernels[i]);
        test_late_carry(kernels[i]);
    }
    test_more_than_32_bits(kernels, count);
    test_update();
    test_pseudo_headers();
    test_sum_add();
    return 0;
}
