/* Clients and upstreams: they follow the schedule while the relay waits, and watch what they get. */
#ifndef FN_FUZZ_WORLD_H
#define FN_FUZZ_WORLD_H

#include "kernel.h"

enum traffic { PLAIN, HTTP, PACKETS };

struct world {
    enum traffic traffic;
    int send_proxy;
    bool trusts_proxy;
    struct fn_relay *relays[RELAYS];
    int relay_count;
    struct fn_rule *rules[2];
    struct fn_upstream *upstreams[3];
    int rule; /* which one is served */
    uint64_t records;
    bool closes; /* a relay may have no listener any more */
};

extern struct world world;

void world_begin(void);
void world_take_records(void);
void world_join(void); /* gives the relay two connected streams */
void world_end(void);  /* what must be true when all has ended */

#endif
