/*
 * A ring of records without a lock: one thread, which runs a relay, writes; one thread takes them. When the ring is
 * full, the newest records are dropped and counted.
 */
#ifndef FN_RELAY_RECORDS_H
#define FN_RELAY_RECORDS_H

#include "relay.h"

#define FN_RECORDS 16384

struct fn_records {
    struct fn_record *ring; /* made with the first record */
    uint64_t put, taken, lost;
};

/* Takes references for a record: of its rule, and of an upstream or NULL. */
void fn_record_refer(struct fn_record *record, struct fn_rule *rule, struct fn_upstream *upstream);

/* Takes ownership of the record's references. */
void fn_records_put(struct fn_records *records, struct fn_record *record);
size_t fn_records_take(struct fn_records *records, struct fn_record *out, size_t count);
void fn_records_free(struct fn_records *records);

#endif
