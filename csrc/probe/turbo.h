/*
 * The fast way of a sweep to what one next hop on an Ethernet interface reaches: requests leave as whole frames
 * over a packet socket (packet(7)); replies are taken by an eBPF program at the interface's ingress, before the
 * kernel's own stack has seen them, out of a ring buffer that is mapped (BPF_MAP_TYPE_RINGBUF).
 *
 * The program takes a frame to this host that has no VLAN tag, is all in the buffer's linear data, and whose packet is
 * whole, has no IP options (no extension header), and is an echo reply to our address with our ident, of exactly
 * our size, and with a request's number where a sweep has it: to take another's ping for ours it would have to agree
 * in 32 bits. Every other frame, and any while the ring is full, goes on to the stack as if there were no
 * program. The replies among those come by the sweep's raw socket, and so do those by another interface, and all
 * errors. Nothing is believed for being in the ring: it is judged as what a raw socket gives.
 *
 * The program is attached by a link of tcx (Linux 6.6), which ends with its last descriptor, however the process
 * ends. A child of fork(2) has a copy of that until it calls execve(2).
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
 * 0, or -errno: -EPERM without CAP_NET_RAW, CAP_BPF and CAP_NET_ADMIN; -EINVAL where the kernel has no tcx;
 * -EMSGSIZE for more payload than FN_TURBO_PAYLOAD.
 */
int fn_turbo_open(struct fn_turbo **out, const struct fn_turbo_path *path);
/* Detaches it: a sweep that uses it fails with -EBADF. */
void fn_turbo_close(struct fn_turbo *turbo);
/* After the sweeps that use it. */
void fn_turbo_free(struct fn_turbo *turbo);

/* What fits an Ethernet frame of the usual size. */
#define FN_TURBO_PAYLOAD 1400

#endif
