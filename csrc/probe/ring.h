/*
 * Receiving replies by an eBPF program (see turbo.h): the program, its ring buffer, and
 * the link by which it is attached.
 */
#ifndef FN_PROBE_RING_H
#define FN_PROBE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of a frame that must equal, in the bits of the mask, that of the wanted frame or another part of itself. */
struct fn_match {
    uint8_t at, size; /* 1, 2 or 4 bytes */
    uint8_t like;     /* offset of the other part; 0: the wanted frame */
    uint8_t mask[4];
};

struct fn_ring {
    int fd, link;
    uint8_t *consumer, *producer; /* maps: a page; a page and twice the data */
    size_t page;
    unsigned long read;           /* position up to which all is read */
    unsigned long last;           /* position up to which the kernel may overwrite */
};

/* Bytes of records, with 8 bytes before each. */
#define FN_RING_SIZE (256 << 10)

/* A record: its time by CLOCK_MONOTONIC, and the frame from its network header on. */
#define FN_RING_STAMP 8

/*
 * Takes each frame of `size` bytes at the ingress of an interface that matches `wanted`. 0 or -errno; after either call
 * fn_ring_close(), which detaches the program, and fn_ring_unmap(), after which nothing can be read.
 */
int fn_ring_open(struct fn_ring *ring, unsigned interface, const uint8_t *wanted, size_t size,
                 const struct fn_match *matches, size_t count);
void fn_ring_close(struct fn_ring *ring);
void fn_ring_unmap(struct fn_ring *ring);

/*
 * The next record, of *size bytes, or NULL. It is valid until fn_ring_release(). The kernel wakes a poll of the ring's
 * descriptor only after fn_ring_arm().
 */
const uint8_t *fn_ring_next(struct fn_ring *ring, size_t *size);
void fn_ring_release(struct fn_ring *ring);
void fn_ring_arm(struct fn_ring *ring);

#endif
