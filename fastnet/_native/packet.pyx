"""Packets in C; ``fastnet._pure.packet`` documents it, and ``csrc/packet.h`` the C functions."""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from _collections_abc import Iterable

from fastnet._contract.values import counted, quoted
from fastnet.errors import BadChecksum, InvalidArgument, PacketError, TruncatedPacket

include "packet_c.pxi"

PAYLOAD, PADDING, SURPLUS, ETHERNET, DOT3, LLC, SNAP, DOT1Q, DOT1AD = range(FN_DOT1AD + 1)
SLL, SLL2, NULL_LINK, LOOP, MPLS, PPPOE, PPP, ARP, IPV4, IPV6 = range(FN_SLL, FN_IPV6 + 1)
HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, AH, ESP, MOBILITY, GRE = range(FN_HOP_BY_HOP, FN_GRE + 1)
ICMP_EXTENSIONS, ICMP, ICMPV6, UDP, TCP, SCTP, DCCP = range(FN_ICMP_EXTENSIONS, FN_KINDS)
LENGTH, PROTOCOL, CHECKSUM = FN_AUTO_LENGTH, FN_AUTO_PROTOCOL, FN_AUTO_CHECKSUM
MAX_LAYERS = FN_PACKET_LAYERS
LINKS = ("ethernet", "ipv4", "ipv6", "ip", "raw", "null", "loop", "sll", "sll2")
LINK_NUMBERS = (0, 1, 12, 14, 101, 108, 113, 228, 229, 276)

cdef dict links = {
    "ethernet": FN_LINK_ETHERNET, 1: FN_LINK_ETHERNET,
    "ipv4": FN_LINK_IPV4, 228: FN_LINK_IPV4,
    "ipv6": FN_LINK_IPV6, 229: FN_LINK_IPV6,
    "ip": FN_LINK_IP, "raw": FN_LINK_IP, 12: FN_LINK_IP, 14: FN_LINK_IP, 101: FN_LINK_IP,
    "null": FN_LINK_NULL, 0: FN_LINK_NULL,
    "loop": FN_LINK_LOOP, 108: FN_LINK_LOOP,
    "sll": FN_LINK_SLL, 113: FN_LINK_SLL,
    "sll2": FN_LINK_SLL2, 276: FN_LINK_SLL2,
}

cdef tuple NAMES = (
    "payload", "padding", "surplus", "Ethernet", "802.3", "LLC", "SNAP", "802.1Q", "802.1ad", "SLL", "SLL2", "null",
    "loop", "MPLS", "PPPoE", "PPP", "ARP", "IPv4", "IPv6", "hop-by-hop", "destination", "routing", "fragment", "AH",
    "ESP", "mobility", "GRE", "ICMP extensions", "ICMP", "ICMPv6", "UDP", "TCP", "SCTP", "DCCP",
)
cdef tuple NO_ARGUMENTS = ()

cdef const fn_checksum_kernel *kernels[FN_CHECKSUM_KERNELS]
cdef fn_sum_fn *best_sum = kernels[fn_checksum_kernels(kernels) - 1].sum


cdef inline object ascii_text(const char *text, size_t length):
    cdef object result = PyUnicode_New(length, 127)
    memcpy(PyUnicode_1BYTE_DATA(result), text, length)
    return result


cdef object ipv4_text(const uint8_t *address):
    cdef char text[15]
    return ascii_text(text, fn_text_ipv4(address, text))


cdef object ipv6_text(const uint8_t *address):
    cdef char text[45]
    return ascii_text(text, fn_text_ipv6(address, text))


include "packet_fields.pxi"
include "packet_layers.pxi"


cdef object scan_error(const uint8_t *data, const fn_packet *scan):
    cdef int code = scan.error
    where = f"{NAMES[scan.error_kind]} at byte {scan.error_offset}"
    if code == FN_PACKET_TRUNCATED:
        limit = "the data"
        if scan.error_limit:
            limit = f"the length in {NAMES[scan.kinds[scan.error_limit - 1]]} at byte {scan.offsets[scan.error_limit - 1]}"
        return TruncatedPacket(f"{where} is cut short: {limit} ends too early")
    if code == FN_PACKET_VERSION:
        version = data[scan.error_offset] >> 4
        return PacketError(
            f"no {NAMES[scan.error_kind]} header at byte {scan.error_offset}: its version is {version}"
        )
    if code == FN_PACKET_LENGTH:
        return PacketError(f"{where} has a length shorter than its own header")
    return PacketError(f"more than {FN_PACKET_HEADERS} layers")


cdef int link_of(object link) except -1:
    if link == "ethernet":
        return FN_LINK_ETHERNET
    if isinstance(link, (str, int)) and link in links:
        return links[link]
    raise InvalidArgument(
        f"link {quoted(link)}: expected one of {', '.join(LINKS)}, or a DLT number of {', '.join(map(str, LINK_NUMBERS))}"
    )


@cython.freelist(64)
@cython.no_gc
cdef class Packet:
    """Packet(*layers)\n--\n\nLayers, outermost first: an immutable stack, made by ``/`` or by ``parse``.

    Iteration yields the layers. ``packet[0]`` is a layer by position, ``packet[IPv4]`` the first of a class,
    ``packet[IPv4, 2]`` the second. An empty payload, padding or surplus is not a layer. ``bytes(packet)``
    builds a packet made by ``/`` and computes its automatic fields; layers taken from it have those values.
    Two packets are equal if the classes of their layers and their built bytes are. Raises PacketError for
    more than 20 layers or padding that is not last.
    """

    cdef tuple _layers
    cdef bytes _data
    cdef object _link
    cdef fn_packet scan
    cdef char resolved  # published flag of _data and scan

    def __init__(self, *layers):
        cdef list stack = []
        cdef Py_ssize_t i
        if self._layers is not None or self._data is not None:
            raise TypeError("a packet can't be made twice: it is immutable")
        for layer in layers:
            if isinstance(layer, Layer):
                stack.append(layer)
            elif isinstance(layer, Packet):
                stack.extend((<Packet>layer).stack())
            else:
                stack.append(record_of(layer_type_of(FN_PAYLOAD, NULL), copied("layers", layer), 0, False))
        if len(stack) > FN_PACKET_LAYERS:
            raise PacketError(f"{counted(len(stack), 'layer')}: at most {FN_PACKET_LAYERS} make a packet")
        for i in range(len(stack) - 1):
            if (<Layer>stack[i]).part.kind == FN_PADDING:
                raise PacketError("padding can only be the last layer")
        self._layers = tuple([layer for layer in stack if (<Layer>layer).part.length or (<Layer>layer).part.kind > FN_SURPLUS])
        self._data = None

    @cython.final
    cdef tuple stack(self):
        return tuple(self) if self._layers is None else self._layers

    @cython.final
    cdef inline const uint8_t *resolve(self) except NULL:
        """The bytes; the offsets of the layers in them are in ``scan``."""
        if not fn_is_published(&self.resolved):
            self.build_once()
        return <const uint8_t *>PyBytes_AS_STRING(self._data)

    @cython.final
    cdef int build_once(self) except -1:
        cdef Py_ssize_t i
        cdef Layer layer
        cdef fn_packet scan
        data = build(self._layers)
        scan.count = len(self._layers)
        scan.error = 0
        scan.offsets[0] = 0
        for i in range(scan.count):
            layer = <Layer>self._layers[i]
            scan.kinds[i] = layer.part.kind
            scan.offsets[i + 1] = scan.offsets[i] + layer.part.length
        with cython.critical_section(self):  # without a GIL, another thread may already read them
            if not self.resolved:
                self.scan = scan
                self._data = data
                fn_publish(&self.resolved)
        return 0

    @cython.final
    cdef inline Py_ssize_t count(self) noexcept:
        return self.scan.count if self._layers is None else len(self._layers)

    @cython.final
    cdef type type_at(self, Py_ssize_t i):
        if self._layers is not None:
            return type(self._layers[i])
        return layer_type_of(
            self.scan.kinds[i], <const uint8_t *>PyBytes_AS_STRING(self._data) + self.scan.offsets[i]
        )

    @cython.final
    cdef Layer layer_at(self, Py_ssize_t i):
        cdef const char *data = <const char *>self.resolve()
        cdef uint32_t start = self.scan.offsets[i]
        cdef int automatic = 0 if self._layers is None else (<Layer>self._layers[i])._automatic
        return record_of(
            self.type_at(i), PyBytes_FromStringAndSize(data + start, self.scan.offsets[i + 1] - start), automatic, True
        )

    @cython.final
    cdef Py_ssize_t find(self, type layer_type, object number=1) except -2:
        cdef Py_ssize_t i
        for i in range(self.count()):
            if issubclass(self.type_at(i), layer_type):
                if number == 1:
                    return i
                number -= 1
        return -1

    def __len__(self):
        return self.count()

    def __iter__(self):
        return iter([self.layer_at(i) for i in range(self.count())])

    def __contains__(self, layer_type):
        if not isinstance(layer_type, type):
            raise InvalidArgument(f"layer_type must be a class of layers, not {type(layer_type).__name__}")
        return self.find(layer_type) >= 0

    def __getitem__(self, key):
        cdef Py_ssize_t i
        try:
            i = self.place_of(key)
        except InvalidArgument as error:
            raise TypeError(str(error)) from None
        return self.layer_at(i)

    def place(self, key, /):
        """The position of the layer ``packet[key]``, counted from 0, the outermost first.

        ``key`` is a position (a negative one counts from the end), a class of layers, or ``(IPv4, 2)``, the
        second layer of a class. Raises IndexError or KeyError if there is none, InvalidArgument for another
        key, where ``packet[key]`` raises TypeError.
        """
        return self.place_of(key)

    @cython.final
    cdef Py_ssize_t place_of(self, key) except -1:
        cdef Py_ssize_t i
        if isinstance(key, int):
            place = key + self.count() if key < 0 else key
            if not 0 <= place < self.count():
                raise IndexError(f"no layer {quoted(key)}: this packet has {self.count()}")
            return place
        layer_type, number = key if isinstance(key, tuple) and len(key) == 2 else (key, 1)
        if not isinstance(layer_type, type) or not isinstance(number, int):
            raise InvalidArgument(f"key {quoted(key)}: expected a place, a class of layers or (class, number)")
        if number < 1:
            raise KeyError(f"{layer_type.__name__} {quoted(number)}: layers of a class are counted from 1")
        i = self.find(layer_type, number)
        if i < 0:
            which = f" {number}" if number > 1 else ""
            raise KeyError(f"no {layer_type.__name__} layer{which} in this packet")
        return i

    def get(self, layer_type, number=1, /):
        """The first layer of a class, or the one with this number, counted from 1; None if there is none."""
        cdef Py_ssize_t i
        if not isinstance(layer_type, type):
            raise InvalidArgument(f"layer_type must be a class of layers, not {type(layer_type).__name__}")
        if not isinstance(number, int):
            raise InvalidArgument(f"number must be an int, not {type(number).__name__}")
        i = self.find(layer_type, max(number, 1))
        return None if i < 0 else self.layer_at(i)

    def __truediv__(self, other):
        return compose(self, other)

    def __bytes__(self):
        return self._data if self._layers is None else build(self._layers)

    @cython.final
    cdef tuple types(self):
        return tuple([self.type_at(i) for i in range(self.count())])

    def __eq__(self, other):
        if not isinstance(other, Packet):
            return NotImplemented
        self.resolve()
        (<Packet>other).resolve()
        return self._data == (<Packet>other)._data and self.types() == (<Packet>other).types()

    def __hash__(self):
        self.resolve()
        return hash(self._data)

    def __reduce__(self):
        if self._layers is None:
            return parse, (self._data, self._link)
        return Packet, self._layers

    def __repr__(self):
        return packet_text(self)

    def replace(self, key, /, **fields):
        """The same packet with new values for fields of the layer ``packet[key]``.

        In a parsed packet, lengths and checksums that were right are recomputed. Raises KeyError or
        IndexError if there is no such layer, and the errors of the layer's own ``replace``.
        """
        return packet_replace(self, key, **fields)

    @property
    def parsed(self):
        """Whether the packet was parsed, with all its fields as in the bytes."""
        return self._layers is None

    @property
    def error(self):
        """The error that stopped parsing, or None: TruncatedPacket, or PacketError for an invalid header."""
        cdef const uint8_t *data = self.resolve()
        return scan_error(data, &self.scan) if self.scan.error else None

    @property
    def payload(self):
        """The bytes of the first payload layer; b"" if there is none."""
        cdef const char *data = <const char *>self.resolve()
        cdef Py_ssize_t i
        for i in range(self.scan.count):
            if self.scan.kinds[i] == FN_PAYLOAD:
                return data[self.scan.offsets[i]:self.scan.offsets[i + 1]]
        return b""

    @cython.final
    cdef object address(self, uint32_t ipv4_at, uint32_t ipv6_at):
        cdef const uint8_t *data = self.resolve()
        cdef int i = fn_packet_network(&self.scan)
        cdef bint ipv4 = i >= 0 and self.scan.kinds[i] == FN_IPV4
        if i < 0 or self.scan.offsets[i + 1] - self.scan.offsets[i] < (ipv4_at + 4 if ipv4 else ipv6_at + 16):
            return None
        data += self.scan.offsets[i]
        return ipv4_text(data + ipv4_at) if ipv4 else ipv6_text(data + ipv6_at)

    @cython.final
    cdef object port(self, uint32_t at):
        cdef const uint8_t *data = self.resolve()
        cdef int i = fn_packet_transport(&self.scan)
        if i < 0 or self.scan.kinds[i] < FN_UDP or self.scan.offsets[i + 1] - self.scan.offsets[i] < at + 2:
            return None
        data += self.scan.offsets[i] + at
        return data[0] << 8 | data[1]

    @property
    def src(self):
        """The source address of the outermost network header; None if there is none."""
        return self.address(12, 8)

    @property
    def dst(self):
        """The destination address of the outermost network header; None if there is none."""
        return self.address(16, 24)

    @property
    def protocol(self):
        """The protocol number after the outermost network header and its extension headers, or None."""
        cdef const uint8_t *data = self.resolve()
        cdef int protocol = fn_packet_protocol(data, &self.scan)
        return None if protocol < 0 else protocol

    @property
    def sport(self):
        """The source port of UDP, TCP, SCTP or DCCP after the outermost IP header, or None."""
        return self.port(0)

    @property
    def dport(self):
        """The destination port of UDP, TCP, SCTP or DCCP after the outermost IP header, or None."""
        return self.port(2)


def define_packet(text, replace, /):
    """Set the functions that show (``text``) and change (``replace``) packets; called once."""
    global packet_text, packet_replace
    packet_text, packet_replace = text, replace


cdef str missed(const fn_wrong_option *wrong):
    """The error of an option of a known kind; empty if it is not a valid option at all."""
    cdef const fn_form *form = wrong.form
    if form == NULL:
        return ""
    others = f", {form.least + form.step}, ..." if form.step > 1 else " or more" if form.step else ""
    most = f" {form.most}" if form.most else ""
    return f": {form.name.decode()} of {counted(wrong.size, 'byte')}, expected {form.least}{others}{most}"


cdef int verify(const uint8_t *data, const fn_packet *scan) except -1:
    cdef fn_wrong_option wrong
    cdef uint32_t expected, at, held = 0
    cdef int digits = 4
    cdef int i = fn_packet_verify(data, scan, best_sum, &expected)
    if i >= 0:
        kind, offset = scan.kinds[i], scan.offsets[i]
        digits = 8 if kind == FN_SCTP else 4
        at = offset + fn_packet_checksum(data, scan, i)
        for i in range(digits // 2):
            held = held << 8 | data[at + i]
        raise BadChecksum(
            f"{NAMES[kind]} at byte {offset} has checksum 0x{held:0{digits}x}: expected 0x{expected:0{digits}x}"
        )
    i = fn_packet_malformed(data, scan, &wrong)
    if i >= 0:
        raise PacketError(
            f"{NAMES[scan.kinds[i]]} at byte {scan.offsets[i]} has malformed options at byte {wrong.offset}"
            f"{missed(&wrong)}"
        )
    return 0


cdef bytes copied(str name, data):
    """A copy of the bytes of an argument that is any buffer. The size is checked before the copy."""
    if PyBytes_CheckExact(data):
        return data
    try:
        view = memoryview(data)
    except TypeError:
        raise InvalidArgument(f"{name} must be bytes, not {type(data).__name__}") from None
    if view.nbytes > 0xffffffff:
        raise too_big()
    return bytes(view)


def parse(data, link="ethernet", strict=False):
    """Parse a packet: find its layers. Fields are decoded only when they are read.

    ``link`` is the first header: "ethernet", "ipv4", "ipv6", "ip" or "raw" (IPv4 or IPv6, by the first four
    bits), "null" or "loop" (BSD's loopback), "sll" or "sll2" (Linux's cooked captures), or its number in pcap
    (DLT). If data is cut short or malformed, the packet has the layers before that, the rest as payload, and
    the reason as ``packet.error``. A header that is cut short is a layer: reading a field whose bytes are
    missing raises TruncatedPacket. With ``strict`` the reason is raised (TruncatedPacket, PacketError), and
    also BadChecksum for a wrong checksum and PacketError for malformed options. Raises InvalidArgument if
    data is not a buffer and for an unknown link, PacketError for more than 4294967295 bytes.
    """
    if not isinstance(strict, bool):
        raise InvalidArgument(f"strict must be True or False, not {type(strict).__name__}")
    cdef bytes buffer = data if PyBytes_CheckExact(data) else copied("data", data)
    cdef Packet packet = Packet.__new__(Packet)
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(buffer)
    if PyBytes_GET_SIZE(buffer) > 0xffffffff:
        raise too_big()
    packet._data = buffer
    packet._link = link
    fn_packet_scan(start, PyBytes_GET_SIZE(buffer), link_of(link), &packet.scan)
    packet.resolved = True
    if strict:
        if packet.scan.error:
            raise scan_error(start, &packet.scan)
        verify(start, &packet.scan)
    return packet


include "packet_template.pxi"
