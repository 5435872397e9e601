#include "permute.h"

#include <assert.h>
#include <stdlib.h>

static void test_every_number_once(uint64_t size, uint64_t seed)
{
    struct fn_permute permute;
    unsigned char *seen = calloc(size, 1);

    assert(seen);
    fn_permute_init(&permute, size, seed);
    for (uint64_t place = 0; place < size; place++) {
        const uint64_t number = fn_permute_at(&permute, place);

        assert(number < size);
        assert(!seen[number]);
        seen[number] = 1;
    }
    free(seen);
}

static void test_widest(void)
{
    struct fn_permute permute;

    fn_permute_init(&permute, UINT64_MAX, 7);
    assert(fn_permute_at(&permute, UINT64_MAX - 1) < UINT64_MAX);
    assert(fn_permute_at(&permute, 0) != fn_permute_at(&permute, 1));
}

static void test_fill_is_at(void)
{
    struct fn_permute permute;
    uint64_t out[100];

    fn_permute_init(&permute, 1000, 3);
    fn_permute_fill(&permute, 5, 10, out, 100);
    for (size_t i = 0; i < 100; i++)
        assert(out[i] == fn_permute_at(&permute, 5 + 10 * i));
    fn_permute_fill(&permute, 0, 1, NULL, 0);
}

/* Neighbours are scattered: of a /16's places in a row, hardly two in a row fall into one /24. */
static void test_neighbours_part(void)
{
    struct fn_permute permute;
    unsigned together = 0;

    fn_permute_init(&permute, 65536, 1);
    for (uint64_t place = 1; place < 65536; place++)
        together += fn_permute_at(&permute, place) >> 8 == fn_permute_at(&permute, place - 1) >> 8;
    assert(together > 256 - 80 && together < 256 + 80);
}

/* A seed's order is for ever: shards that are swept from several machines, and a sweep that goes on, rely on it. */
static void test_the_order_stays(void)
{
    static const struct {
        uint64_t size, seed, numbers[6];
    } known[] = {
        {1, 0, {0}},
        {2, 1, {1, 0}},
        {10, 0, {7, 5, 1, 8, 6, 3}},
        {1000, 7, {752, 163, 995, 631, 552, 18}},
        {UINT64_C(1) << 32, 42, {1552710310, 442007083, 604110225, 2502500644, 3701502491, 2056348599}},
        {UINT64_MAX, UINT64_MAX, {UINT64_C(12928289434243651231), UINT64_C(7236160710442923418),
                                  UINT64_C(7108084999692272252), UINT64_C(13258386057949468401),
                                  UINT64_C(8962241762389687182), UINT64_C(3598642440253046758)}},
    };
    struct fn_permute permute;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        fn_permute_init(&permute, known[i].size, known[i].seed);
        for (uint64_t place = 0; place < 6 && place < known[i].size; place++)
            assert(fn_permute_at(&permute, place) == known[i].numbers[place]);
    }
}

int main(void)
{
    for (uint64_t size = 1; size <= 300; size++)
        for (uint64_t seed = 0; seed < 20; seed++)
            test_every_number_once(size, seed);
    test_every_number_once(65534, 0);
    test_every_number_once((1 << 20) + 1, 42);
    test_widest();
    test_fill_is_at();
    test_the_order_stays();
    test_neighbours_part();
    return 0;
}
