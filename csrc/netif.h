/*
 * The kernel's answers about its network interfaces: the ioctl calls of netdevice(7) and a line of
 * /proc/net/if_inet6.
 *
 * A socket answers for the network namespace that it was opened in, and a thread may move to another one
 * (setns, unshare) at any time. So a struct fn_netif belongs to one thread: beside its socket it keeps a
 * descriptor of that thread's own /proc/thread-self/ns/net, whose text names the namespace that the thread
 * is in now (namespaces(7)). Every call reads that text, which is one system call, and opens another
 * socket where it has changed. The socket keeps its own namespace alive, so nobody else is given that
 * name meanwhile: equal names are one namespace. Without /proc every call opens a socket.
 *
 * Start with fn_netif_init(); nothing is opened before the first call. A forked child must fn_netif_close()
 * what it inherited before its first call: the text would be of the parent's thread. Descriptors that
 * other code has closed (a daemon that closes all of them) are detected at the next call, and never
 * closed again, since their numbers may be reused by then.
 *
 * Results are 0 or more, or -errno. There is no other state, no allocation, and no lock here; buffers are
 * the caller's. Different threads may each use their own struct fn_netif at once.
 */
#ifndef FN_NETIF_H
#define FN_NETIF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <linux/if.h>

/* Room for "net:[4294967295]" and its end. */
#define FN_NETIF_NAMESPACE 24

struct fn_netif {
    int socket;
    int thread_namespace;
    dev_t device;
    ino_t inode;
    char socket_namespace[FN_NETIF_NAMESPACE];
};

void fn_netif_init(struct fn_netif *netif);

void fn_netif_close(struct fn_netif *netif);

/*
 * For sockets of other kinds, which are watched in the same way (csrc/monitor.h): fn_netif_open() opens one in
 * the namespace of the thread, where `netif` has none open, and returns 0 or -errno. fn_netif_is_here()
 * returns 1 while the thread is in that namespace, else 0: without /proc always 0.
 */
int fn_netif_open(struct fn_netif *netif, int family, int type, int protocol);

int fn_netif_is_here(const struct fn_netif *netif);

/*
 * Calls one SIOCGIF... ioctl on the interface of this name, which need not end with a NUL. The rest of
 * `answer` is passed to the kernel unchanged: an AF_INET address in it selects one of the interface's
 * addresses (its netmask, its broadcast address), zeros select the first. An invalid name
 * (empty, longer than 15 bytes, with a NUL in it) is -ENODEV, as is one that does not exist;
 * -EADDRNOTAVAIL is an interface without such an address.
 */
int fn_netif_ask(struct fn_netif *netif, unsigned long question, const char *name, size_t len, struct ifreq *answer);

/*
 * Lists every IPv4 address with its label (SIOCGIFCONF) into `out` and returns their number;
 * -ENOBUFS if some may be missing, because `out` has no room for one more. With out NULL: about how
 * many there are now.
 */
ssize_t fn_netif_list(struct fn_netif *netif, struct ifreq *out, size_t capacity);

/* One IPv6 address. Scope and flags are the kernel's: IPV6_ADDR_LINKLOCAL 0x20 ..., IFA_F_TENTATIVE 0x40 ... */
struct fn_netif_ipv6 {
    uint8_t address[16];
    uint32_t index;
    uint8_t prefix_length;
    uint8_t scope;
    uint8_t flags;
    char name[IFNAMSIZ];
};

/*
 * Reads the first line of `text`, which is /proc/net/if_inet6 or what is left of it, and returns the line's
 * length with its newline. 0 if text is empty, -EBADMSG if it does not begin with a whole line of the
 * form "32 digits, index, prefix length, scope, flags, name".
 */
ssize_t fn_netif_parse_ipv6(const char *text, size_t len, struct fn_netif_ipv6 *out);

#endif
