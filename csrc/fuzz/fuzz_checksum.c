/* Every kernel agrees with the scalar one at any length and alignment, and an update with computing anew. */
#include "checksum.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_update(const uint8_t *data, size_t size)
{
    const uint16_t checksum = 0xffff ^ fn_checksum_scalar(data, size, 0);
    const uint16_t before = (uint16_t)(data[0] << 8 | data[1]), after = (uint16_t)(data[2] << 8 | data[3]);
    const uint16_t changed = fn_sum_add(fn_checksum_scalar(data + 2, size - 2, 0), after);

    /* Of the two zeros an update gives the one that means "not all zeros". */
    require((0xffff ^ fn_checksum_update(checksum, before, after)) == (changed ? changed : 0xffff));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct fn_checksum_kernel *kernels[FN_CHECKSUM_KERNELS];
    const size_t count = fn_checksum_kernels(kernels);

    if (size < 4)
        return 0;
    const uint16_t initial = (uint16_t)(data[0] << 8 | data[1]);
    const size_t skip = data[2] % 64 < size ? data[2] % 64 : 0;

    for (size_t i = 1; i < count; i++)
        require(kernels[i]->sum(data + skip, size - skip, initial) ==
                fn_checksum_scalar(data + skip, size - skip, initial));
    check_update(data, size);
    return 0;
}
