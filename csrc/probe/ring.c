/* An eBPF program that takes frames out of the kernel, and its ring buffer. */
#define _GNU_SOURCE
#include "probe/ring.h"

#include <errno.h>
#include <net/ethernet.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/bpf.h; the build systems have only old versions of it. */
enum { MAP_CREATE = 0, PROG_LOAD = 5, LINK_CREATE = 28 };
enum { MAP_TYPE_RINGBUF = 27, PROG_TYPE_SCHED_CLS = 3, TCX_INGRESS = 46 };
enum { TCX_NEXT = -1, TCX_DROP = 2 };
enum { CALL_KTIME = 5, CALL_SKB_LOAD_BYTES = 26, CALL_RESERVE = 131, CALL_SUBMIT = 132 };
enum { SKB_PKT_TYPE = 4, SKB_VLAN_PRESENT = 20, SKB_DATA = 76, SKB_DATA_END = 80 };
enum {
    LOAD_8 = 0x71, LOAD_16 = 0x69, LOAD_32 = 0x61, STORE_64 = 0x7b, LOAD_IMMEDIATE_64 = 0x18,
    MOVE = 0xbf, SET = 0xb7, ADD = 0x07, AND_32 = 0x54,
    JUMP_IF_ABOVE = 0x2d, JUMP_IF_EQUAL = 0x15, JUMP_UNLESS_EQUAL_32 = 0x56, JUMP_UNLESS_SAME_32 = 0x5e,
    CALL = 0x85, EXIT = 0x95,
};
#define MAP_FD 1 /* of a 64-bit immediate: that it is a map's descriptor */

#define BUSY (UINT32_C(1) << 31)
#define DISCARDED (UINT32_C(1) << 30)
#define RECORD_HEADER 8

struct instruction {
    uint8_t code;
    uint8_t registers; /* destination, source */
    int16_t offset;
    int32_t value;
};

#define PROGRAM_MOST 96

struct program {
    struct instruction code[PROGRAM_MOST];
    unsigned count;
};

static int bpf(int command, void *attributes, size_t size)
{
    const long code = syscall(SYS_bpf, command, attributes, size);

    return code < 0 ? -errno : (int)code;
}

static uint64_t pointer(const void *to)
{
    return (uint64_t)(uintptr_t)to;
}

static void put(struct program *program, uint8_t code, unsigned to, unsigned from, int16_t offset, int32_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint8_t registers = (uint8_t)(from << 4 | to);
#else
    const uint8_t registers = (uint8_t)(to << 4 | from);
#endif
    program->code[program->count++] = (struct instruction){code, registers, offset, value};
}

/* A jump to the code that passes the frame on; put_pass() resolves it. */
#define PASS INT16_MAX

static void put_pass(struct program *program)
{
    for (unsigned i = 0; i < program->count; i++)
        if (program->code[i].offset == PASS)
            program->code[i].offset = (int16_t)(program->count - i - 1);
    put(program, SET, 0, 0, 0, TCX_NEXT);
    put(program, EXIT, 0, 0, 0, 0);
}

/* The value as the kernel loads it. */
static uint32_t value_of(const uint8_t *bytes, size_t size)
{
    uint16_t half;
    uint32_t whole;

    memcpy(&half, bytes, sizeof half);
    memcpy(&whole, bytes, sizeof whole);
    return size == 1 ? *bytes : size == 2 ? half : whole;
}

static void put_match(struct program *program, const uint8_t *wanted, const struct fn_match *match)
{
    const uint32_t mask = value_of(match->mask, match->size);
    const uint8_t load = match->size == 1 ? LOAD_8 : match->size == 2 ? LOAD_16 : LOAD_32;
    uint8_t bytes[4] = {0};

    put(program, load, 3, 2, match->at, 0);
    put(program, AND_32, 3, 0, 0, (int32_t)mask);
    if (match->like) {
        put(program, load, 4, 2, match->like, 0);
        put(program, AND_32, 4, 0, 0, (int32_t)mask);
        put(program, JUMP_UNLESS_SAME_32, 3, 4, PASS, 0);
    } else {
        memcpy(bytes, wanted + match->at, match->size);
        put(program, JUMP_UNLESS_EQUAL_32, 3, 0, PASS, (int32_t)(value_of(bytes, match->size) & mask));
    }
}

static void assemble(struct program *program, int ring, const uint8_t *wanted, size_t size,
                     const struct fn_match *matches, size_t count)
{
    program->count = 0;
    put(program, MOVE, 6, 1, 0, 0);
    put(program, LOAD_32, 2, 6, SKB_PKT_TYPE, 0);
    put(program, JUMP_UNLESS_EQUAL_32, 2, 0, PASS, 0);
    put(program, LOAD_32, 2, 6, SKB_VLAN_PRESENT, 0);
    put(program, JUMP_UNLESS_EQUAL_32, 2, 0, PASS, 0);
    put(program, LOAD_32, 2, 6, SKB_DATA, 0);
    put(program, LOAD_32, 3, 6, SKB_DATA_END, 0);
    put(program, MOVE, 4, 2, 0, 0);
    put(program, ADD, 4, 0, 0, (int32_t)size);
    put(program, JUMP_IF_ABOVE, 4, 3, PASS, 0);
    for (size_t i = 0; i < count; i++)
        put_match(program, wanted, &matches[i]);
    put(program, LOAD_IMMEDIATE_64, 1, MAP_FD, 0, ring);
    put(program, 0, 0, 0, 0, 0);
    put(program, SET, 2, 0, 0, (int32_t)(FN_RING_STAMP + size - ETH_HLEN));
    put(program, SET, 3, 0, 0, 0);
    put(program, CALL, 0, 0, 0, CALL_RESERVE);
    put(program, JUMP_IF_EQUAL, 0, 0, PASS, 0);
    put(program, MOVE, 7, 0, 0, 0);
    put(program, CALL, 0, 0, 0, CALL_KTIME);
    put(program, STORE_64, 7, 0, 0, 0);
    put(program, MOVE, 1, 6, 0, 0);
    put(program, SET, 2, 0, 0, ETH_HLEN);
    put(program, MOVE, 3, 7, 0, 0);
    put(program, ADD, 3, 0, 0, FN_RING_STAMP);
    put(program, SET, 4, 0, 0, (int32_t)(size - ETH_HLEN));
    put(program, CALL, 0, 0, 0, CALL_SKB_LOAD_BYTES);
    put(program, MOVE, 1, 7, 0, 0);
    put(program, SET, 2, 0, 0, 0);
    put(program, CALL, 0, 0, 0, CALL_SUBMIT);
    put(program, SET, 0, 0, 0, TCX_DROP);
    put(program, EXIT, 0, 0, 0, 0);
    put_pass(program);
}

static int create_ring(void)
{
    struct {
        uint32_t type, key_size, value_size, entries, flags;
    } attributes = {.type = MAP_TYPE_RINGBUF, .entries = FN_RING_SIZE};

    return bpf(MAP_CREATE, &attributes, sizeof attributes);
}

static int load(const struct program *program)
{
    struct {
        uint32_t type, count;
        uint64_t code, license;
        uint32_t log_level, log_size;
        uint64_t log;
        uint32_t version, flags;
        char name[16];
        uint32_t interface, attach_type;
    } attributes = {
        .type = PROG_TYPE_SCHED_CLS,
        .count = program->count,
        .code = pointer(program->code),
        .license = pointer("MIT"),
        .name = "fastnet_turbo",
        .attach_type = TCX_INGRESS,
    };

    return bpf(PROG_LOAD, &attributes, sizeof attributes);
}

static int attach(int program, unsigned interface)
{
    struct {
        uint32_t program, interface, attach_type, flags, relative, unused;
        uint64_t revision;
    } attributes = {.program = (uint32_t)program, .interface = interface, .attach_type = TCX_INGRESS};

    return bpf(LINK_CREATE, &attributes, sizeof attributes);
}

static int map(struct fn_ring *ring)
{
    void *at;

    ring->page = (size_t)sysconf(_SC_PAGESIZE);
    at = mmap(NULL, ring->page, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    ring->consumer = at;
    at = mmap(NULL, ring->page + 2 * FN_RING_SIZE, PROT_READ, MAP_SHARED, ring->fd, (off_t)ring->page);
    if (at == MAP_FAILED)
        return -errno;
    ring->producer = at;
    return 0;
}

int fn_ring_open(struct fn_ring *ring, unsigned interface, const uint8_t *wanted, size_t size,
                 const struct fn_match *matches, size_t count)
{
    struct program program;
    int code;

    *ring = (struct fn_ring){.fd = -1, .link = -1};
    code = ring->fd = create_ring();
    if (code < 0 || (code = map(ring)) < 0)
        return code;
    assemble(&program, ring->fd, wanted, size, matches, count);
    const int loaded = load(&program);
    if (loaded < 0)
        return loaded;
    code = ring->link = attach(loaded, interface);
    close(loaded);
    return code < 0 ? code : 0;
}

static void close_once(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void fn_ring_close(struct fn_ring *ring)
{
    close_once(&ring->link);
    close_once(&ring->fd);
}

void fn_ring_unmap(struct fn_ring *ring)
{
    if (ring->consumer)
        munmap(ring->consumer, ring->page);
    if (ring->producer)
        munmap(ring->producer, ring->page + 2 * FN_RING_SIZE);
}

const uint8_t *fn_ring_next(struct fn_ring *ring, size_t *size)
{
    const uint8_t *const data = ring->producer + ring->page;

    while (ring->read < __atomic_load_n((const unsigned long *)ring->producer, __ATOMIC_ACQUIRE)) {
        const uint8_t *const record = data + (ring->read & (FN_RING_SIZE - 1));
        const uint32_t length = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
        if (length & BUSY)
            break;
        *size = length & ~DISCARDED;
        ring->last = ring->read;
        ring->read += (RECORD_HEADER + *size + 7) & ~7UL;
        if (!(length & DISCARDED))
            return record + RECORD_HEADER;
    }
    return NULL;
}

/* The kernel wakes the waiter only if all records before a new one were released. */
void fn_ring_release(struct fn_ring *ring)
{
    __atomic_store_n((unsigned long *)ring->consumer, ring->last, __ATOMIC_SEQ_CST);
}

void fn_ring_arm(struct fn_ring *ring)
{
    ring->last = ring->read;
    fn_ring_release(ring);
}
