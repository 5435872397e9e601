#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

/* Events, as tcp_poll() and unix_poll() report them */

static size_t send_room(const struct wire *wire)
{
    const size_t used = bytes_len(&wire->out);

    return used < wire->out_room ? wire->out_room - used : 0;
}

static bool is_writable(const struct wire *wire)
{
    return send_room(wire) * 3 >= wire->out_room;
}

uint32_t stream_events(const struct wire *wire)
{
    uint32_t events = wire->error ? EPOLLERR : 0;

    switch (wire->stage) {
    case WIRE_NEW:
        return EPOLLOUT | EPOLLHUP;
    case WIRE_CONNECTING:
        return 0;
    case WIRE_FAILED:
        return events | EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP;
    default:
        break;
    }
    if (wire->is_dead)
        return events | EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP;
    if (bytes_len(&wire->in) || wire->in_ended)
        events |= EPOLLIN;
    if (wire->in_ended)
        events |= EPOLLRDHUP | (wire->out_ended || wire->domain == AF_UNIX ? EPOLLHUP : 0);
    if (wire->has_mark)
        events |= EPOLLPRI;
    if (is_writable(wire) || wire->out_ended)
        events |= EPOLLOUT;
    return events;
}

static void wake(struct wire *wire)
{
    if (wire->fd >= 0)
        file_wake(wire->fd);
}

/* The far end */

struct wire *wire_new(int domain)
{
    if (kernel.wire_count == MOST_WIRES)
        return NULL;
    struct wire *const wire = &kernel.wires[kernel.wire_count++];
    static const size_t rooms[] = {300000, 65536, 4096, 300};
    *wire = (struct wire){.domain = domain, .fd = -1, .out_room = rooms[choose(4)], .id = kernel.wire_count - 1};
    return wire;
}

int wire_open(struct wire *wire)
{
    const int fd = file_new(STREAM);

    if (fd < 0)
        return -1;
    wire->stage = WIRE_OPEN;
    wire->fd = fd;
    file_at(fd)->wire = wire;
    file_at(fd)->domain = wire->domain;
    return fd;
}

bool wire_arrives(struct wire *wire)
{
    if (kernel.waiting == BACKLOG)
        return false;
    wire->stage = WIRE_OPEN;
    kernel.backlog[kernel.waiting++] = wire->id;
    return true;
}

size_t wire_write(struct wire *wire, const void *data, size_t len)
{
    if (wire->stage != WIRE_OPEN || wire->is_dead || wire->in_ended || wire->out_reset)
        return 0;
    len = least(len, 400000 - least(400000, bytes_len(&wire->in)));
    if (!len)
        return 0;
    bytes_add(&wire->in, data, len);
    kernel.moved += len;
    wake(wire);
    return len;
}

void wire_write_urgent(struct wire *wire)
{
    if (wire->stage != WIRE_OPEN || wire->is_dead || wire->in_ended || wire->has_mark || wire->domain == AF_UNIX)
        return;
    wire->has_mark = true;
    wire->mark = bytes_len(&wire->in);
    wake(wire);
}

size_t wire_read(struct wire *wire, void *data, size_t len)
{
    const bool was_full = wire->out_full;

    len = least(len, bytes_len(&wire->out));
    memcpy(data, bytes_first(&wire->out), len);
    wire->out.start += len;
    kernel.moved += len;
    if (was_full && is_writable(wire)) {
        wire->out_full = false;
        wake(wire);
    }
    return len;
}

void wire_end(struct wire *wire)
{
    wire->in_ended = true;
    wake(wire);
}

void wire_close(struct wire *wire)
{
    if (bytes_len(&wire->out)) {
        wire_reset(wire);
        return;
    }
    wire->far_closed = true;
    wire_end(wire);
}

void wire_reset(struct wire *wire)
{
    if (wire->is_dead || wire->stage != WIRE_OPEN)
        return;
    wire->is_dead = true;
    wire->out.start = wire->out.end = 0;
    wire->error = ECONNRESET;
    wake(wire);
}

void wire_answer(struct wire *wire, int error)
{
    if (wire->stage != WIRE_CONNECTING)
        return;
    wire->stage = error && error != ECONNRESET ? WIRE_FAILED : WIRE_OPEN;
    if (error == ECONNRESET)
        wire_reset(wire);
    else
        wire->error = error;
    wake(wire);
}

/* The relay's calls */

int __wrap_socket(int domain, int type, int protocol)
{
    const bool stream = (type & 0xf) == SOCK_STREAM;
    struct wire *wire = NULL;

    (void)protocol;
    if (fails(FAULT_FILE))
        return -1;
    const int fd = file_new(stream ? STREAM : FLOW);
    if (fd < 0)
        return -1;
    file_at(fd)->domain = domain;
    if (!stream)
        return fd;
    wire = wire_new(domain);
    if (!wire) {
        file_at(fd)->kind = CLOSED;
        errno = ENFILE;
        return -1;
    }
    wire->is_up = true;
    wire->fd = fd;
    file_at(fd)->wire = wire;
    return fd;
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len)
{
    (void)address;
    (void)len;
    file_at(fd);
    return fails(FAULT_OPTION) ? -1 : 0;
}

static int connect_stream(struct wire *wire, const struct sockaddr *address, socklen_t len)
{
    static const int errors[] = {ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL, ENOMEM};
    const unsigned kind = choose(8);

    require(wire->stage == WIRE_NEW, "a socket that is connected twice");
    memcpy(&wire->remote, address, len);
    if (kind >= 4 && kind < 7) {
        errno = wire->domain == AF_UNIX && kind == 6 ? EAGAIN : errors[kind - 4];
        return -1;
    }
    if (kind == 3 || wire->domain == AF_UNIX) {
        wire->stage = WIRE_OPEN;
        return 0;
    }
    wire->stage = WIRE_CONNECTING;
    errno = EINPROGRESS;
    return -1;
}

static void set_local(struct wire *wire)
{
    /* Now and then to itself. */
    wire->local = choose(32) == 31 ? wire->remote : world_address(wire->id, wire->domain);
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    struct file *const file = file_at(fd);

    if (fails(FAULT_CONNECT)) {
        if (errno == EINTR && file->kind == STREAM) {
            memcpy(&file->wire->remote, address, len);
            file->wire->stage = WIRE_CONNECTING;
        }
        return -1;
    }
    if (file->kind == FLOW) {
        static const int errors[] = {ECONNREFUSED, EADDRNOTAVAIL, EAGAIN, ENETUNREACH};
        const unsigned kind = choose(24);
        file->connected = kind < 20;
        errno = kind < 20 ? 0 : errors[kind - 20];
        return kind < 20 ? 0 : -1;
    }
    set_local(file->wire);
    return connect_stream(file->wire, address, len);
}

static int take_waiting(void)
{
    const int id = kernel.backlog[0];

    kernel.waiting--;
    memmove(kernel.backlog, kernel.backlog + 1, kernel.waiting * sizeof *kernel.backlog);
    return id;
}

int __wrap_accept4(int listener, struct sockaddr *address, socklen_t *len, int flags)
{
    (void)flags;
    require(file_at(listener)->kind == LISTENER, "no listener");
    errno = EAGAIN;
    if (!kernel.waiting || fails(FAULT_FILE))
        return -1;
    struct wire *const wire = &kernel.wires[kernel.backlog[0]];
    if (wire->is_dead && choose(2)) {
        take_waiting();
        errno = ECONNABORTED;
        return -1;
    }
    const int fd = wire_open(wire);
    if (fd < 0)
        return -1;
    take_waiting();
    const struct sockaddr_storage from = world_address(wire->id, wire->domain);
    *len = wire->domain == AF_UNIX ? sizeof(sa_family_t) : sizeof(struct sockaddr_in6);
    memcpy(address, &from, *len);
    kernel.accepted++;
    return fd;
}

void stream_close(struct file *file)
{
    struct wire *const wire = file->wire;

    if (wire->stage == WIRE_OPEN && !wire->is_dead) {
        wire->out_reset = wire->lingers || bytes_len(&wire->in);
        if (wire->out_reset)
            wire->out.start = wire->out.end = 0;
        else
            wire->out_ended = true;
    }
    if (wire->stage != WIRE_OPEN)
        wire->stage = WIRE_FAILED;
    wire->fd = -1;
}

/* The result of any read without a byte to return. */
static ssize_t nothing_to_read(struct wire *wire)
{
    if (wire->in_ended)
        return 0;
    if (wire->error) {
        errno = wire->error;
        wire->error = 0;
        return -1;
    }
    if (wire->is_dead)
        return 0;
    errno = EAGAIN;
    return -1;
}

static size_t some_of(size_t len)
{
    switch (choose(6)) {
    case 4:
        return len > 0;
    case 5:
        return (len + 1) / 2;
    default:
        return len;
    }
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    struct wire *const wire = file_at(fd)->wire;

    if (fails(FAULT_RECEIVE))
        return -1;
    if (wire->has_mark && !wire->mark && !(flags & MSG_PEEK))
        wire->has_mark = false;
    if (!bytes_len(&wire->in))
        return nothing_to_read(wire);
    len = least(len, bytes_len(&wire->in));
    if (wire->has_mark && wire->mark)
        len = least(len, wire->mark);
    memcpy(data, bytes_first(&wire->in), len);
    if (flags & MSG_PEEK)
        return (ssize_t)len;
    wire->in.start += len;
    wire->mark -= wire->has_mark ? len : 0;
    kernel.moved += len;
    kernel.idle_calls = 0;
    return (ssize_t)len;
}

static ssize_t send_bytes(struct wire *wire, const void *data, size_t len)
{
    require(wire->stage == WIRE_OPEN, "a send before the connection");
    require(!wire->out_ended, "a send behind the end");
    if (wire->error) {
        errno = wire->error;
        wire->error = 0;
        return -1;
    }
    if (wire->is_dead) {
        errno = EPIPE;
        return -1;
    }
    if (!send_room(wire)) {
        wire->out_full = true;
        errno = EAGAIN;
        return -1;
    }
    const size_t taken = least(some_of(len), send_room(wire));
    if (taken < len)
        wire->out_full = true;
    bytes_add(&wire->out, data, taken);
    *(wire->is_up ? &kernel.sent_up : &kernel.sent_down) += taken;
    kernel.moved += taken;
    kernel.idle_calls = 0;
    if (wire->far_closed)
        wire_reset(wire);
    /* What ended a send early passes at once, where that was not for want of room. */
    if (wire->out_full && is_writable(wire)) {
        wire->out_full = false;
        wake(wire);
    }
    return (ssize_t)taken;
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    require(flags & MSG_NOSIGNAL, "a send that may raise SIGPIPE");
    require(len, "a send of nothing");
    return fails(FAULT_SEND) ? -1 : send_bytes(file_at(fd)->wire, data, len);
}

static ssize_t splice_in(struct wire *wire, struct pipe *pipe, size_t most)
{
    const bool at_mark = wire->has_mark && !wire->mark;
    size_t len = least(most, bytes_len(&wire->in));

    require(!bytes_len(&pipe->bytes), "a splice into a pipe that is not empty");
    if (!len || at_mark)
        return nothing_to_read(wire);
    len = least(least(len, 262144), wire->has_mark ? wire->mark : SIZE_MAX);
    len = some_of(len);
    bytes_add(&pipe->bytes, bytes_first(&wire->in), len);
    wire->in.start += len;
    wire->mark -= wire->has_mark ? len : 0;
    kernel.moved += len;
    kernel.idle_calls = 0;
    return (ssize_t)len;
}

ssize_t __wrap_splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags)
{
    (void)from_at;
    (void)to_at;
    require(flags & SPLICE_F_NONBLOCK, "a splice that may wait");
    if (file_at(from)->kind == STREAM)
        return fails(FAULT_RECEIVE) ? -1 : splice_in(file_at(from)->wire, file_at(to)->pipe, len);
    if (fails(FAULT_SEND))
        return -1;
    struct bytes *const bytes = &file_at(from)->pipe->bytes;
    const ssize_t sent = send_bytes(file_at(to)->wire, bytes_first(bytes), least(len, bytes_len(bytes)));
    bytes->start += sent > 0 ? (size_t)sent : 0;
    return sent;
}

int __wrap_shutdown(int fd, int how)
{
    struct wire *const wire = file_at(fd)->wire;

    require(how == SHUT_WR && !wire->out_ended, "a second end");
    if (wire->is_dead) {
        errno = ENOTCONN;
        return -1;
    }
    wire->out_ended = true;
    if (wire->in_ended)
        wake(wire);
    return 0;
}

int __wrap_ioctl(int fd, unsigned long request, int *bytes)
{
    (void)request;
    *bytes = (int)bytes_len(&file_at(fd)->wire->out);
    return 0;
}

static int stream_type(enum kind kind)
{
    return kind == DATAGRAM_LISTENER || kind == FLOW ? SOCK_DGRAM : SOCK_STREAM;
}

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    struct file *const file = file_at(fd);
    int result = 0;

    require(level == SOL_SOCKET && *len == sizeof result, "an option that is read");
    switch (option) {
    case SO_ERROR:
        result = file->wire->error;
        file->wire->error = 0;
        break;
    case SO_TYPE:
        if (fails(FAULT_OPTION))
            return -1;
        result = stream_type(file->kind);
        break;
    case SO_DOMAIN:
        result = file->domain;
        break;
    default:
        break;
    }
    memcpy(value, &result, sizeof result);
    return 0;
}

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    struct file *const file = file_at(fd);

    (void)value;
    (void)len;
    if (level == SOL_SOCKET && option == SO_LINGER) {
        file->wire->lingers = true;
        return 0;
    }
    return fails(FAULT_OPTION) ? -1 : 0;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *len)
{
    const struct file *const file = file_at(fd);
    struct sockaddr_storage own = world_address(-1, file->domain);

    if (fails(FAULT_OPTION))
        return -1;
    if (file->kind == STREAM && file->wire->is_up)
        own = file->wire->local;
    if (file->kind == DATAGRAM_LISTENER && kernel.wildcard) {
        memset(&own, 0, sizeof own);
        own.ss_family = (sa_family_t)file->domain;
    }
    memcpy(address, &own, least(*len, sizeof(struct sockaddr_in6)));
    *len = own.ss_family == AF_UNIX ? sizeof(sa_family_t) : sizeof(struct sockaddr_in6);
    return 0;
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *len)
{
    const struct file *const file = file_at(fd);
    const struct sockaddr_storage own = world_address(file->wire->id, file->domain);

    memcpy(address, &own, least(*len, sizeof(struct sockaddr_in6)));
    *len = own.ss_family == AF_UNIX ? sizeof(sa_family_t) : sizeof(struct sockaddr_in6);
    return 0;
}
