#include "relay/records.h"

#include <stdlib.h>

static void lose(struct fn_records *records, const struct fn_record *record)
{
    __atomic_store_n(&records->lost, records->lost + 1, __ATOMIC_RELAXED);
    fn_upstream_release(record->upstream);
}

/* Makes room where there is none; false where those whose places that would be are just being taken. */
static bool has_room(struct fn_records *records)
{
    uint64_t oldest = __atomic_load_n(&records->freed, __ATOMIC_ACQUIRE);

    if (records->put - oldest < FN_RECORDS)
        return true;
    if (!__atomic_compare_exchange_n(&records->taken, &oldest, oldest + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return false;
    lose(records, &records->ring[oldest % FN_RECORDS]);
    __atomic_fetch_add(&records->freed, 1, __ATOMIC_RELEASE);
    return true;
}

void fn_records_put(struct fn_records *records, const struct fn_record *record)
{
    if (!records->ring)
        records->ring = malloc(FN_RECORDS * sizeof *records->ring);
    if (!records->ring || !has_room(records)) {
        lose(records, record);
        return;
    }
    records->ring[records->put % FN_RECORDS] = *record;
    __atomic_store_n(&records->put, records->put + 1, __ATOMIC_RELEASE);
}

size_t fn_records_take(struct fn_records *records, struct fn_record *out, size_t count)
{
    uint64_t first = __atomic_load_n(&records->taken, __ATOMIC_ACQUIRE);
    size_t took;

    do {
        took = __atomic_load_n(&records->put, __ATOMIC_ACQUIRE) - first;
        if (took > count)
            took = count;
    } while (!__atomic_compare_exchange_n(&records->taken, &first, first + took, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE));
    for (size_t i = 0; i < took; i++)
        out[i] = records->ring[(first + i) % FN_RECORDS];
    __atomic_fetch_add(&records->freed, took, __ATOMIC_RELEASE);
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
