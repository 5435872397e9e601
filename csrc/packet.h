/*
 * Packets: finding the headers in bytes (scan), and making bytes of headers (build).
 *
 * scan reads the headers of a packet once, outermost first, and stores the kind and the offset of
 * each. Layers tile the data: layer i is the bytes from offsets[i] up to offsets[i + 1], and the last one ends
 * at the end of the data, so that each byte is in a layer. Bytes of no header are FN_PAYLOAD; those after the length
 * that the network header announces are FN_PADDING, and those between UDP's end and that end FN_SURPLUS (RFC 9868).
 * Scanning stops at the first truncated or invalid header, and sets error, error_kind and error_offset. A truncated
 * header is a layer of the bytes that are there; the length of its layer limits which fields can be read. An invalid
 * header is payload with all bytes after it. A packet quoted by an ICMP error is scanned too; there a truncated header
 * is normal and no error. The number of layers is bounded; nothing is read past len.
 *
 * build takes the parts of a packet, each an encoded header, and writes them one after the other. It computes the
 * fields that a part leaves automatic: lengths, the number of the next protocol, and checksums. It adds the parts' sums
 * and does not read the bytes just written, since that stalls.
 *
 * verify checks the checksums of scanned data. A template makes many packets out of one, by writing some
 * fields and updating the checksums that cover them (RFC 1624).
 *
 * Nothing here keeps state, allocates or takes a lock. The caller owns all buffers, which must outlive the call.
 * Every function may be called from any thread.
 */
#ifndef FN_PACKET_H
#define FN_PACKET_H

#include "checksum.h"

enum fn_kind {
    FN_PAYLOAD,
    FN_PADDING,
    FN_SURPLUS,
    FN_ETHERNET,
    FN_DOT3,
    FN_LLC,
    FN_SNAP,
    FN_DOT1Q,
    FN_DOT1AD,
    FN_SLL,
    FN_SLL2,
    FN_NULL,
    FN_LOOP,
    FN_MPLS,
    FN_PPPOE,
    FN_PPP,
    FN_ARP,
    FN_IPV4,
    FN_IPV6,
    FN_HOP_BY_HOP,
    FN_DESTINATION,
    FN_ROUTING,
    FN_FRAGMENT,
    FN_AH,
    FN_ESP,
    FN_MOBILITY,
    FN_GRE,
    FN_ICMP_EXTENSIONS,
    FN_ICMP,
    FN_ICMPV6,
    FN_UDP,
    FN_TCP,
    FN_SCTP,
    FN_DCCP,
    FN_KINDS
};

/*
 * The link type: the first header of the data. IP: IPv4 or IPv6, by the first four bits. NULL and LOOP: BSD's loopback,
 * its address family in the byte order of the machine and of the network. SLL and SLL2: Linux's cooked capture.
 */
enum fn_link {
    FN_LINK_ETHERNET,
    FN_LINK_IPV4,
    FN_LINK_IPV6,
    FN_LINK_IP,
    FN_LINK_NULL,
    FN_LINK_LOOP,
    FN_LINK_SLL,
    FN_LINK_SLL2,
    FN_LINKS
};

enum fn_packet_error {
    FN_PACKET_OK = 0,
    FN_PACKET_TRUNCATED = -1,  /* the data ends within the header error_kind */
    FN_PACKET_VERSION = -2,    /* the version field is not that of error_kind */
    FN_PACKET_LENGTH = -3,     /* a length field of error_kind is shorter than its own header */
    FN_PACKET_TOO_DEEP = -4,   /* more than FN_PACKET_HEADERS layers */
    FN_PACKET_TOO_LONG = -5,   /* build: more bytes than the length field of a part can hold */
};

#define FN_PACKET_LAYERS 20
/* scan finds at most this many headers: the other layers are for payload and padding. */
#define FN_PACKET_HEADERS 17

struct fn_packet {
    uint32_t offsets[FN_PACKET_LAYERS + 1];
    uint8_t kinds[FN_PACKET_LAYERS];
    uint8_t count;
    uint8_t error_kind;
    int8_t error; /* an fn_packet_error */
    uint8_t error_limit; /* FN_PACKET_TRUNCATED by the end of the data: 0; by a length field: 1 + its layer */
    uint32_t error_offset;
};

/* Scan len bytes (at most UINT32_MAX) into *packet; returns packet->error. */
int fn_packet_scan(const uint8_t *data, uint32_t len, enum fn_link link, struct fn_packet *packet);

/* The outermost IPv4 or IPv6 layer, or -1. */
int fn_packet_network(const struct fn_packet *packet);

/* The transport layer (ICMP, ICMPv6, UDP, TCP, SCTP, DCCP) that the outermost network layer carries, or -1. */
int fn_packet_transport(const struct fn_packet *packet);

/* The protocol number after the outermost network layer and its extension headers; -1 if it is not there. */
int fn_packet_protocol(const uint8_t *data, const struct fn_packet *packet);

/*
 * The first layer whose checksum is wrong, or -1. *expected is then the right value. Fragments, quoted packets
 * and UDP over IPv4 without a checksum have none that can be verified. `data` is the scanned data; the result is
 * valid only after a scan without an error. `sum` sums bytes. A checksum has 16 bits, SCTP's 32.
 */
int fn_packet_verify(const uint8_t *data, const struct fn_packet *packet, fn_sum_fn *sum, uint32_t *expected);

/* The offset of a layer's checksum within it, or -1 if it has none or is truncated before it. */
int fn_packet_checksum(const uint8_t *data, const struct fn_packet *packet, int layer);

/* The sizes that options of one kind may have, in bytes: `least`, and then every `step` more up to `most`. */
struct fn_form {
    const char *name;
    uint8_t least;
    uint8_t step; /* 0: `least` only */
    uint8_t most; /* 0: any */
};

struct fn_wrong_option {
    const struct fn_form *form; /* the form it should have; NULL: it can't be an option at all */
    uint32_t offset;
    uint32_t size;
};

/*
 * The first layer with an option that is malformed, or of a known kind with a wrong size (*wrong); or -1. Reads the
 * options of IPv4, TCP, hop-by-hop and destination headers and of neighbour discovery, and the objects of ICMP
 * extensions, but none of quoted packets.
 */
int fn_packet_malformed(const uint8_t *data, const struct fn_packet *packet, struct fn_wrong_option *wrong);

/* Fields that build computes: bits of fn_part.automatic. */
enum { FN_AUTO_LENGTH = 1, FN_AUTO_PROTOCOL = 2, FN_AUTO_CHECKSUM = 4 };

struct fn_part {
    const uint8_t *header;
    uint32_t length;
    uint16_t sum;      /* set by fn_part_sum() */
    uint8_t kind;      /* an fn_kind */
    uint8_t automatic; /* fields within the header; their bytes in it are ignored */
};

/* The offset of the field that this automatic bit names in a header of this kind, or -1. */
int fn_part_field(enum fn_kind kind, int automatic);

/* The automatic bits, of these, whose fields this part's header has. */
uint8_t fn_part_automatic(const struct fn_part *part, uint8_t automatic);

/* Set part->sum: the sum of its header without the automatic fields. The other members are set already. */
void fn_part_sum(struct fn_part *part, fn_sum_fn *sum);

/* The length in bytes of a packet of these parts. */
uint64_t fn_packet_size(const struct fn_part *const parts[], size_t count);

/*
 * Write the packet of these parts to out, which has room for fn_packet_size() of them (at most
 * UINT32_MAX). Returns 0, or FN_PACKET_TOO_LONG with the part's index in *bad.
 */
int fn_packet_build(const struct fn_part *const parts[], size_t count, uint8_t *out, size_t *bad);

/* A template varies at most this many fields. */
#define FN_TEMPLATE_FIELDS 8

/* One varying field. The caller sets the first block, fn_template_prepare() the second. */
struct fn_template_field {
    uint32_t part;  /* index of the part that has it */
    uint32_t first; /* its first byte there */
    uint8_t size;   /* its bytes: 1 to 8, or 16 */
    uint8_t shift;  /* bits below it in its last byte; 0 if size is 16 */
    uint64_t limit; /* its maximum; with 16 bytes, that of each half */

    uint32_t offset;  /* its first byte in the packet */
    uint32_t covered; /* bit i: checksum i covers it */
    uint32_t odd;     /* bit i: it ends at an odd byte of the bytes that checksum i covers */
};

struct fn_template_checksum {
    uint32_t offset;
    uint32_t covered; /* as of a field: checksums of outer layers cover this one */
    uint32_t odd;
    uint16_t sum;     /* of all bytes that it covers, except the fields */
    uint8_t never_zero;
};

struct fn_template {
    const uint8_t *data;
    uint32_t length;
    uint32_t field_count;
    uint32_t checksum_count;
    uint32_t varying; /* bit i: checksum i depends on a field */
    struct fn_template_field fields[FN_TEMPLATE_FIELDS];
    struct fn_template_checksum checksums[FN_PACKET_LAYERS]; /* innermost first */
};

/*
 * Whether a template that updates the owner's checksum can't vary the field at this bit of part i: a CRC or a
 * partial checksum covers it, or it decides which bytes the checksum covers.
 */
int fn_template_refuses(const struct fn_part *const parts[], size_t owner, size_t i, uint32_t bit);

/*
 * Prepares a template, whose fields are already set, for the packet in `data` (length bytes, built of these parts).
 * Bit i of `updated` means that part i's checksum is to be updated. The fields' bits in data are
 * cleared; the template uses data as long as it exists.
 */
void fn_template_prepare(struct fn_template *template, const struct fn_part *const parts[], size_t count,
                         uint32_t updated, uint8_t *data, uint32_t length);

/* Write one packet to out: `values` has one word for each field, two (high, low) for one of 16 bytes. */
void fn_template_build(const struct fn_template *template, const uint64_t *values, uint8_t *out);

/* Write `count` packets to out, one after the other; columns[i] has field i's value for each. */
void fn_template_build_many(const struct fn_template *template, const uint64_t *const columns[], size_t count,
                            uint8_t *out);

/* Text of an address as inet_ntop() gives it, without a final NUL; returns its length. */
size_t fn_text_ipv4(const uint8_t address[4], char out[15]);
size_t fn_text_ipv6(const uint8_t address[16], char out[45]);
size_t fn_text_mac(const uint8_t address[6], char out[17]);

#endif
