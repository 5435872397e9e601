/* The far ends of the wires: what each writes, and that what each gets is what the other one wrote. */
#ifndef FN_FUZZ_PEER_H
#define FN_FUZZ_PEER_H

#include "kernel.h"

#define PEER_HEAD 1024

/* The far end of a wire, by the same number. */
struct peer {
    struct bytes sent;  /* what the other end is to get of it */
    struct bytes to_do; /* what is still to be written */
    size_t pattern;
    size_t got;  /* bytes that were compared with what the other one sent */
    int other;   /* the number of that, once known, or -1 */
    char head[PEER_HEAD]; /* what came before it was known */
    size_t head_len;
    bool identified; /* `other` was read in what it got */
    bool began, ended, reset;
    bool upgraded; /* from HTTP */
    bool eager;    /* reads and writes whenever it can */
    bool proxied;  /* the PROXY header has come, or was sent */
    bool strange;  /* what it sent is no longer what the other one gets */
    bool answered; /* by the relay itself */
};

extern struct peer peers[MOST_WIRES];

void peers_begin(void);
void peers_end(void);

/* Adds a request, a response, or bytes of a pattern to what is to be written, as the schedule chooses. */
void peer_put(struct wire *wire, struct peer *peer);
/* Both return the number of bytes, at most `most`. */
size_t peer_write(struct wire *wire, struct peer *peer, size_t most);
size_t peer_read(struct wire *wire, size_t most);

#endif
