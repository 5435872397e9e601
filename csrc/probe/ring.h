/*
 * Receiving replies by an eBPF program (see turbo.h): the program, its ring buffer, and
 * the link by which it is attached.
 */
#ifndef FN_PROBE_RING_H
#define FN_PROBE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What of a frame must be, in the bits of the mask, as in a wanted one, or as it is elsewhere in the frame itself. */
struct fn_match {
    uint8_t at, size; /* 1, 2 or 4 bytes */
    uint8_t like;     /* where else in the frame; 0: as in the wanted one */
    uint8_t mask[4];
};

struct fn_ring {
    int fd, link;
    uint8_t *consumer, *producer; /* maps: a page; a page and twice the data */
    size_t page;
    unsigned long read;           /* before this position all is read */
    unsigned long last;           /* up to here the kernel may overwrite */
};

/* Bytes of records, with 8 bytes before each. */
#define FN_RING_SIZE (256 << 10)

/* A record: when it came, of CLOCK_MONOTONIC, and the frame from its network header on. */
#define FN_RING_STAMP 8

/*
 * Takes each frame of `size` bytes at the ingress of an interface that matches `wanted`. 0 or -errno; fn_ring_close(),
 * which detaches it, and fn_ring_unmap(), after which nothing can be read, follow either.
 */
int fn_ring_open(struct fn_ring *ring, unsigned interface, const uint8_t *wanted, size_t size,
                 const struct fn_match *matches, size_t count);
void fn_ring_close(struct fn_ring *ring);
void fn_ring_unmap(struct fn_ring *ring);

/*
 * The next record, of *size bytes, or NULL. It stays as it is until fn_ring_release() is called. Until fn_ring_arm() is
 * called the kernel does not wake who polls the ring's descriptor.
 */
const uint8_t *fn_ring_next(struct fn_ring *ring, size_t *size);
void fn_ring_release(struct fn_ring *ring);
void fn_ring_arm(struct fn_ring *ring);

#endif
