/*
 * A ring of records from the thread that runs a relay to the one that takes them, without a lock: one of each.
 * Where nobody takes them, the newest are dropped and counted.
 */
#ifndef FN_RELAY_RECORDS_H
#define FN_RELAY_RECORDS_H

#include "relay.h"

#define FN_RECORDS 16384

struct fn_records {
    struct fn_record *ring; /* made with the first record */
    uint64_t put, taken, lost;
};

/* Gives a record its references, of an upstream or NULL. */
void fn_record_refer(struct fn_record *record, struct fn_rule *rule, struct fn_upstream *upstream);

/* Takes the record's references. */
void fn_records_put(struct fn_records *records, struct fn_record *record);
size_t fn_records_take(struct fn_records *records, struct fn_record *out, size_t count);
void fn_records_free(struct fn_records *records);

#endif
