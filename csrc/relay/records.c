#include "relay/records.h"

#include <stdlib.h>

#include "relay/rule.h"

/* One record */

const struct fn_address *fn_record_upstream(const struct fn_record *record)
{
    return &record->upstream->addresses[record->address];
}

void fn_record_refer(struct fn_record *record, struct fn_rule *rule, struct fn_upstream *upstream)
{
    record->rule = rule->options.owner ? rule : NULL;
    record->upstream = upstream;
    if (record->rule)
        fn_rule_hold(record->rule);
    if (upstream)
        fn_upstream_hold(upstream);
}

void fn_record_release(struct fn_record *record)
{
    fn_upstream_release(record->upstream);
    fn_rule_release(record->rule);
}

/* The ring */

void fn_records_put(struct fn_records *records, struct fn_record *record)
{
    if (!records->ring)
        records->ring = malloc(FN_RECORDS * sizeof *records->ring);
    if (!records->ring || records->put - __atomic_load_n(&records->taken, __ATOMIC_ACQUIRE) == FN_RECORDS) {
        __atomic_store_n(&records->lost, records->lost + 1, __ATOMIC_RELAXED);
        fn_record_release(record);
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
        fn_record_release(&record);
    free(records->ring);
    records->ring = NULL;
}
