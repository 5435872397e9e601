#include "relay/records.h"

#include <stdlib.h>

void fn_records_put(struct fn_records *records, const struct fn_record *record)
{
    if (!records->ring)
        records->ring = malloc(FN_RECORDS * sizeof *records->ring);
    if (!records->ring || records->put - __atomic_load_n(&records->taken, __ATOMIC_ACQUIRE) == FN_RECORDS) {
        __atomic_store_n(&records->lost, records->lost + 1, __ATOMIC_RELAXED);
        fn_upstream_release(record->upstream);
        return;
    }
    records->ring[records->put % FN_RECORDS] = *record;
    __atomic_store_n(&records->put, records->put + 1, __ATOMIC_RELEASE);
}

size_t fn_records_take(struct fn_records *records, struct fn_record *out, size_t count)
{
    const uint64_t put = __atomic_load_n(&records->put, __ATOMIC_ACQUIRE);
    size_t took = 0;

    for (; took < count && records->taken + took != put; took++)
        out[took] = records->ring[(records->taken + took) % FN_RECORDS];
    __atomic_store_n(&records->taken, records->taken + took, __ATOMIC_RELEASE);
    return took;
}

void fn_records_free(struct fn_records *records)
{
    struct fn_record record;

    while (fn_records_take(records, &record, 1))
        fn_upstream_release(record.upstream);
    free(records->ring);
    records->ring = NULL;
}
