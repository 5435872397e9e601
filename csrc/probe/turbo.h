/*
 * Turbo: faster sweeps through one next hop on an Ethernet interface. Requests are sent as whole frames over a packet
 * socket (packet(7)). An eBPF program at the interface's ingress takes the replies before the kernel's stack does, and
 * writes them to a mapped ring buffer (BPF_MAP_TYPE_RINGBUF).
 *
 * The program takes a frame to this host without a VLAN tag, all in the buffer's linear data, with a complete packet
 * without IP options (extension headers) that is an echo reply to our address with our ident, of exactly our size,
 * and with the number of a request at its offset: another program's reply would have to agree in 32 bits. Every
 * other frame, and any frame while the ring is full, continues to the stack. Replies among those arrive at the sweep's
 * raw socket, and so do replies by another interface, and all errors. A reply from the ring is checked as one from
 * the raw socket is.
 *
 * The program is attached by a link of tcx (Linux 6.6), which ends with its last descriptor, however the process
 * ends. A child of fork(2) has a copy of the descriptor until it calls execve(2).
 */
#ifndef FN_PROBE_TURBO_H
#define FN_PROBE_TURBO_H

#include "probe.h"

#include <net/ethernet.h>

struct fn_turbo_path {
    unsigned interface;
    uint8_t hardware[ETH_ALEN], next_hop[ETH_ALEN];
    int family;
    struct fn_number source;
    uint16_t ident;
    unsigned payload;          /* as in fn_sweep_options */
};

struct fn_turbo;

/*
 * 0, or -errno: -EPERM without CAP_NET_RAW, CAP_BPF and CAP_NET_ADMIN; -EINVAL if the kernel has no tcx;
 * -EMSGSIZE for more payload than FN_TURBO_PAYLOAD.
 */
int fn_turbo_open(struct fn_turbo **out, const struct fn_turbo_path *path);
/* Detaches the program: a sweep that uses it fails with -EBADF. */
void fn_turbo_close(struct fn_turbo *turbo);
/* Call it after freeing the sweeps that use it. */
void fn_turbo_free(struct fn_turbo *turbo);

/* Maximum payload in an Ethernet frame of the usual size. */
#define FN_TURBO_PAYLOAD 1400

#endif
