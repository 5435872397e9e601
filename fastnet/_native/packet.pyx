"""Packets in C; ``fastnet._pure.packet`` is its contract, and ``csrc/packet.h`` that of the C."""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from array import array
from types import GenericAlias

from fastnet.errors import BadChecksum, PacketError, TruncatedPacket

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PY_SSIZE_T_MAX

cdef extern from *:
    """
    static inline PyObject *fn_new_object(PyTypeObject *type, PyObject *arguments)
    {
        return type->tp_new(type, arguments, NULL);
    }
    """
    object fn_new_object(type cls, tuple arguments)

cdef extern from *:
    """
    /* A flag: what was written before it may be read, by threads without a GIL too. */
    static inline int fn_is_published(const char *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }
    static inline void fn_publish(char *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELEASE); }
    """
    bint fn_is_published(const char *flag) noexcept nogil
    void fn_publish(char *flag) noexcept nogil

cdef extern from "arpa/inet.h":
    int AF_INET, AF_INET6
    int inet_pton(int family, const char *text, void *out) nogil

cdef extern from "packet.h":
    ctypedef uint16_t fn_sum_fn(const uint8_t *data, size_t len, uint16_t initial) noexcept nogil
    struct fn_checksum_kernel:
        const char *name
        fn_sum_fn *sum
    enum:
        FN_CHECKSUM_KERNELS
    size_t fn_checksum_kernels(const fn_checksum_kernel **out) noexcept nogil

    enum:
        FN_PAYLOAD, FN_PADDING, FN_SURPLUS, FN_ETHERNET, FN_DOT3, FN_LLC, FN_SNAP, FN_DOT1Q, FN_DOT1AD, FN_SLL, FN_SLL2
        FN_NULL, FN_LOOP, FN_MPLS, FN_PPPOE, FN_PPP, FN_ARP, FN_IPV4, FN_IPV6, FN_HOP_BY_HOP, FN_DESTINATION
        FN_ROUTING, FN_FRAGMENT, FN_AH, FN_ESP, FN_MOBILITY, FN_GRE, FN_ICMP_EXTENSIONS, FN_ICMP, FN_ICMPV6, FN_UDP
        FN_TCP, FN_SCTP, FN_DCCP, FN_KINDS
    enum:
        FN_LINK_ETHERNET, FN_LINK_IPV4, FN_LINK_IPV6, FN_LINK_IP, FN_LINK_NULL, FN_LINK_LOOP, FN_LINK_SLL, FN_LINK_SLL2
    enum:
        FN_PACKET_TRUNCATED, FN_PACKET_VERSION, FN_PACKET_LENGTH, FN_PACKET_TOO_DEEP, FN_PACKET_TOO_LONG
    enum:
        FN_PACKET_LAYERS, FN_PACKET_HEADERS, FN_DOT3_LIMIT
    enum:
        FN_AUTO_LENGTH, FN_AUTO_PROTOCOL, FN_AUTO_CHECKSUM
    struct fn_packet:
        uint32_t *offsets
        uint8_t *kinds
        uint8_t count
        uint8_t error_kind
        int8_t error
        uint8_t error_limit
        uint32_t error_offset
    struct fn_part:
        const uint8_t *header
        uint32_t length
        uint16_t sum
        uint8_t kind
        uint8_t automatic
    int fn_packet_scan(const uint8_t *data, uint32_t len, int link, fn_packet *packet) noexcept nogil
    int fn_packet_network(const fn_packet *packet) noexcept nogil
    int fn_packet_transport(const fn_packet *packet) noexcept nogil
    int fn_packet_protocol(const uint8_t *data, const fn_packet *packet) noexcept nogil
    int fn_packet_verify(const uint8_t *data, const fn_packet *packet, fn_sum_fn *sum, uint32_t *expected) noexcept nogil
    int fn_packet_checksum(const uint8_t *data, const fn_packet *packet, int layer) noexcept nogil
    struct fn_form:
        const char *name
        uint8_t least
        uint8_t step
        uint8_t most
    struct fn_wrong_option:
        const fn_form *form
        uint32_t offset
        uint32_t size
    int fn_packet_malformed(const uint8_t *data, const fn_packet *packet, fn_wrong_option *wrong) noexcept nogil
    int fn_part_field(int kind, int automatic) noexcept nogil
    uint8_t fn_part_automatic(const fn_part *part, uint8_t automatic) noexcept nogil
    void fn_part_sum(fn_part *part, fn_sum_fn *sum) noexcept nogil
    uint64_t fn_packet_size(const fn_part **parts, size_t count) noexcept nogil
    int fn_packet_build(const fn_part **parts, size_t count, uint8_t *out, size_t *bad) noexcept nogil
    enum:
        FN_TEMPLATE_FIELDS
    struct fn_template_field:
        uint32_t part
        uint32_t first
        uint8_t size
        uint8_t shift
        uint64_t limit
    struct fn_template:
        uint32_t length
        uint32_t field_count
        fn_template_field *fields
    bint fn_template_refuses(const fn_part **parts, size_t owner, size_t i, uint32_t bit) noexcept nogil
    void fn_template_prepare(fn_template *template, const fn_part **parts, size_t count, uint32_t updated, uint8_t *data, uint32_t length) noexcept nogil
    void fn_template_build(const fn_template *template, const uint64_t *values, uint8_t *out) noexcept nogil
    void fn_template_build_many(const fn_template *template, const uint64_t **columns, size_t count, uint8_t *out) noexcept nogil
    size_t fn_text_ipv4(const uint8_t *address, char *out) noexcept nogil
    size_t fn_text_ipv6(const uint8_t *address, char *out) noexcept nogil
    size_t fn_text_mac(const uint8_t *address, char *out) noexcept nogil

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


cdef class _Schema:
    """What a class of records knows of its fields; built once, when the class is defined."""

    cdef dict fields
    cdef set required
    cdef Tail tail
    cdef HeaderLength length
    cdef bytes template
    cdef int automatic
    cdef uint8_t kind

    def __cinit__(self, cls):
        cdef Field field
        self.fields = {
            name: value
            for base in reversed(cls.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, Field)
        }
        self.required = set()
        header = bytearray(max([(<Field>value).first + (<Field>value).size for value in self.fields.values()], default=0))
        for name, field in self.fields.items():
            self.automatic |= field.automatic
            if isinstance(field, Tail):
                self.tail = field
            if isinstance(field, HeaderLength):
                self.length = field
            if field.default is ...:
                self.required.add(name)
            elif field.default is not None:
                field.put(header, field.default)
        if self.length is not None:
            self.length.put(header, self.length.measure(len(header)))
        self.template = bytes(header)


cdef class Record:
    """Fields over bytes: an immutable value whose fields are read from ``header``, its encoded form.

    A subclass names its fields as class attributes. A record is made of fields by name; those that are
    not given have their defaults. Raises TypeError for an unknown or missing field or a value of a wrong
    type, PacketError for a value that the field can't hold.
    """

    cdef bytes _header
    cdef int _automatic

    def __cinit__(self):
        self._header = b""

    def __init__(self, **fields):
        cdef _Schema schema = self._schema
        if PyBytes_GET_SIZE(self._header):
            raise TypeError(f"{type(self).__name__} can't be made twice: it is immutable")
        if schema.required and not schema.required <= fields.keys():
            missing = schema.required - fields.keys()
            raise TypeError(f"{type(self).__name__} needs {', '.join(sorted(missing))}")
        self.assemble(bytearray(schema.template), schema.automatic, fields)

    cdef int adopt(self, bytes header, int automatic, Py_ssize_t least) except -1:
        self._header = header
        self._automatic = automatic
        return 0

    cdef int assemble(self, bytearray header, int automatic, dict fields) except -1:
        cdef _Schema schema = self._schema
        cdef Field field
        cdef bint changed
        cdef Py_ssize_t least = min(len(header), len(schema.template))
        for name, value in fields.items():
            field = schema.fields.get(name)
            if field is None:
                raise TypeError(f"{type(self).__name__} has no field {name!r}: {', '.join(schema.fields)}")
            if field.automatic and value is None:
                field.put(header, 0)
                automatic |= field.automatic
            elif value is not None or field is not schema.length:
                field.put(header, value)
                automatic &= ~field.automatic
                if field.automatic and isinstance(field, Tail) and not (<Tail>field).is_given(header[field.first:]):
                    automatic |= field.automatic
        if schema.length is not None:
            changed = (schema.tail is not None and schema.tail.name in fields) or schema.length.name in fields
            if changed and fields.get(schema.length.name) is None:
                schema.length.put(header, schema.length.measure(len(header)))
        return self.adopt(bytes(header), automatic, least)

    @classmethod
    def from_header(cls, header, automatic=0, cut=False, /):
        """A record around encoded bytes, the fields of ``automatic``'s bits being left to building.

        Raises TruncatedPacket where they end before the fixed fields do, unless with ``cut``: then reading a
        field does whose bytes are not there.
        """
        return record_of(cls, bytes(header), automatic & 0xFF, cut)

    @classmethod
    def fields(cls):
        """The fields of this class by name, in their order."""
        return dict((<_Schema>cls._schema).fields)

    @property
    def header(self):
        """The encoded form; fields that building computes hold what they held last, or 0."""
        return self._header

    @property
    def automatic(self):
        """The bits (LENGTH, PROTOCOL, CHECKSUM) of the fields that building computes."""
        return self._automatic

    def replace(self, **fields):
        """The same record with other values for these fields; None makes a computed field automatic again.

        Raises what making the record does.
        """
        cdef Record record = new_object(type(self))
        record.assemble(bytearray(self._header), self._automatic, fields)
        return record

    def __eq__(self, other):
        if not isinstance(other, Record):
            return NotImplemented
        return type(self) is type(other) and self._header == (<Record>other)._header

    def __hash__(self):
        return hash(self._header)

    def __reduce__(self):
        return type(self).from_header, (self._header, self._automatic, True)


def define_record(record_type, /):
    """Let a class of records know its fields; called once, when the class is defined."""
    record_type._schema = _Schema(record_type)


cdef inline object new_object(type cls):
    return fn_new_object(cls, NO_ARGUMENTS)


cdef object short_header(type cls, bytes header):
    return TruncatedPacket(f"{cls.__name__} needs {len((<_Schema>cls._schema).template)} bytes: got {len(header)}")


cdef Record record_of(type cls, bytes header, int automatic, bint cut):
    cdef _Schema schema = cls._schema
    if not cut and PyBytes_GET_SIZE(header) < PyBytes_GET_SIZE(schema.template):
        raise short_header(cls, header)
    cdef Record record = new_object(cls)
    record.adopt(header, automatic & schema.automatic, 0)
    return record


cdef list layer_types = [None] * FN_KINDS
cdef dict message_types = {}
cdef object packet_text = object.__repr__, packet_replace = None


cdef type layer_type_of(int kind, const uint8_t *header):
    cdef object layer_type = None
    if kind == FN_ICMP or kind == FN_ICMPV6:
        layer_type = message_types.get((kind, header[0]))
    if layer_type is None:
        layer_type = layer_types[kind]
    if layer_type is None:
        raise PacketError(f"no class for {NAMES[kind]} layers is defined")
    return layer_type


cdef object too_big():
    return PacketError("a packet has at most 4294967295 bytes")


cdef class Layer(Record):
    """One header, or a payload. ``/`` puts a layer, a packet or bytes behind it and gives a packet."""

    cdef fn_part part
    cdef char summed  # published

    kind = FN_PAYLOAD

    cdef int adopt(self, bytes header, int automatic, Py_ssize_t least) except -1:
        cdef _Schema schema = self._schema
        if PyBytes_GET_SIZE(header) > 0xffffffff:
            raise too_big()
        if PyBytes_GET_SIZE(header) < least:
            raise short_header(type(self), header)
        self.summed = False
        self.part.header = <const uint8_t *>PyBytes_AS_STRING(header)
        self.part.length = PyBytes_GET_SIZE(header)
        self.part.kind = schema.kind
        if schema.kind == FN_GRE or PyBytes_GET_SIZE(header) < PyBytes_GET_SIZE(schema.template):
            automatic = fn_part_automatic(&self.part, automatic)
        self._header = header
        self._automatic = automatic
        self.part.automatic = automatic
        return 0

    cdef void sum_once(self) noexcept:
        with cython.critical_section(self):
            if not self.summed:
                fn_part_sum(&self.part, best_sum)
                fn_publish(&self.summed)

    def __truediv__(self, other):
        return compose(self, other)

    def __bytes__(self):
        return build((self,))


cdef int check_kind(type layer_type, int kind) except -1:
    """A header of a kind is written to where that kind has its fields."""
    cdef _Schema schema = layer_type._schema
    cdef int at, bit
    if not 0 <= kind < FN_KINDS:
        raise ValueError(f"kind {kind}: expected 0 to {FN_KINDS - 1}")
    least = 20 if kind == FN_IPV4 else 40 if kind == FN_IPV6 else 12 if kind == FN_SCTP else 0
    for bit in (FN_AUTO_LENGTH, FN_AUTO_PROTOCOL, FN_AUTO_CHECKSUM):
        at = fn_part_field(kind, bit)
        if kind == FN_GRE and bit == FN_AUTO_CHECKSUM:
            continue  # behind the fixed part, where there is one
        if at >= 0:
            least = max(least, at + 2)
        elif schema.automatic & bit:
            raise ValueError(f"{layer_type.__name__} computes a field that no {NAMES[kind]} header has")
    if len(schema.template) < least:
        raise ValueError(
            f"{layer_type.__name__} has {len(schema.template)} bytes: {NAMES[kind]} headers have at least {least}"
        )
    return 0


def define_layer(layer_type, kind, message=None, /):
    """Let a class of layers be what parsing makes of this kind, or of its messages of one type only.

    ``kind`` None leaves the class the kind that it inherits; with ``message`` it is for those ICMP or ICMPv6
    messages whose type is this number. Raises ValueError for a class whose fixed fields no header of its kind
    can have.
    """
    check_kind(layer_type, layer_type.kind if kind is None else kind)
    if kind is not None:
        layer_type.kind = kind
        layer_types[kind] = layer_type
    if message is not None:
        message_types[layer_type.kind, message] = layer_type
    (<_Schema>layer_type._schema).kind = layer_type.kind


cdef object compose(object upper, object lower):
    if not isinstance(lower, (Layer, Packet, bytes, bytearray, memoryview)):
        return NotImplemented
    return Packet(upper, lower)


cdef bytes build(tuple layers):
    cdef const fn_part *parts[FN_PACKET_LAYERS]
    cdef Layer layer
    cdef size_t i, bad, count = len(layers)
    for i in range(count):
        layer = <Layer>layers[i]
        if not fn_is_published(&layer.summed):
            layer.sum_once()
        parts[i] = &layer.part
    cdef uint64_t size = fn_packet_size(parts, count)
    if size > 0xffffffff:
        raise too_big()
    cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
    if fn_packet_build(parts, count, <uint8_t *>PyBytes_AS_STRING(data), &bad):
        kind = parts[bad].kind
        limit = 1500 if kind <= FN_DOT1AD else 65535
        raise PacketError(f"{NAMES[kind]} can't hold so much: its length field holds at most {limit} bytes")
    return data


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
    raise PacketError(
        f"link {link!r}: expected one of {', '.join(LINKS)}, or a DLT number of {', '.join(map(str, LINK_NUMBERS))}"
    )


@cython.freelist(64)
@cython.no_gc
cdef class Packet:
    """Layers, outermost first: an immutable stack, made by ``/`` or by ``parse``.

    Iterating gives the layers; ``packet[0]`` one by its place, ``packet[IPv4]`` the first of a class,
    ``packet[IPv4, 2]`` the second. A payload, padding or surplus without a byte is no layer. A packet that
    was put together computes its automatic fields when it is built, and its layers, taken out of it, show
    them. ``bytes(packet)`` builds it. Two packets are equal where the classes of their layers and their built
    bytes are. Raises PacketError for more than 20 layers or padding that is not last.
    """

    cdef tuple _layers
    cdef bytes _data
    cdef object _link
    cdef fn_packet scan
    cdef char resolved  # published: _data and scan

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
                stack.append(record_of(layer_type_of(FN_PAYLOAD, NULL), bytes(memoryview(layer)), 0, False))
        if len(stack) > FN_PACKET_LAYERS:
            raise PacketError(f"{len(stack)} layers: at most {FN_PACKET_LAYERS} make a packet")
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
        """The bytes, and in ``scan`` where the layers lie in them."""
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
        with cython.critical_section(self):  # where there is no GIL, another thread may read them already
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
            raise TypeError(f"expected a class of layers, not {type(layer_type).__name__}")
        return self.find(layer_type) >= 0

    def __getitem__(self, key):
        return self.layer_at(self.place_of(key))

    def place(self, key, /):
        """Where the layer is that ``packet[key]`` gives: counted from 0, the outermost first.

        ``key`` is such a place (below 0 counts from the end), a class of layers, or ``(IPv4, 2)``, the second
        layer of a class. Raises IndexError or KeyError where there is none, TypeError for another key.
        """
        return self.place_of(key)

    @cython.final
    cdef Py_ssize_t place_of(self, key) except -1:
        cdef Py_ssize_t i
        if isinstance(key, int):
            place = key + self.count() if key < 0 else key
            if not 0 <= place < self.count():
                raise IndexError(f"no layer {key}: this packet has {self.count()}")
            return place
        layer_type, number = key if isinstance(key, tuple) and len(key) == 2 else (key, 1)
        if not isinstance(layer_type, type) or not isinstance(number, int):
            raise TypeError(f"expected a place, a class of layers, or (class, number), not {key!r}")
        if number < 1:
            raise KeyError(f"{layer_type.__name__} {number}: layers of a class are counted from 1")
        i = self.find(layer_type, number)
        if i < 0:
            which = f" {number}" if number > 1 else ""
            raise KeyError(f"no {layer_type.__name__} layer{which} in this packet")
        return i

    def get(self, layer_type, number=1, /):
        """The first layer of a class, or that of this number, counted from 1; None where there is none."""
        cdef Py_ssize_t i
        if not isinstance(layer_type, type) or not isinstance(number, int):
            raise TypeError(f"expected a class of layers and a number, not {layer_type!r}, {number!r}")
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
        """The same packet with other values for fields of the layer that ``packet[key]`` gives.

        In a packet that was parsed, lengths and checksums that were right are computed anew. Raises
        KeyError or IndexError where there is no such layer, and what the layer's own ``replace`` raises.
        """
        return packet_replace(self, key, **fields)

    @property
    def parsed(self):
        """Whether the packet was parsed, all its fields being as the bytes had them."""
        return self._layers is None

    @property
    def error(self):
        """What stopped parsing, or None: TruncatedPacket, or PacketError for a header that can't be."""
        cdef const uint8_t *data = self.resolve()
        return scan_error(data, &self.scan) if self.scan.error else None

    @property
    def payload(self):
        """The bytes of the first payload layer, b"" where there is none."""
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
        """The outermost network header's source address; None where it is not there."""
        return self.address(12, 8)

    @property
    def dst(self):
        """The outermost network header's destination address; None where it is not there."""
        return self.address(16, 24)

    @property
    def protocol(self):
        """The protocol number behind the outermost network header and its extension headers, or None."""
        cdef const uint8_t *data = self.resolve()
        cdef int protocol = fn_packet_protocol(data, &self.scan)
        return None if protocol < 0 else protocol

    @property
    def sport(self):
        """The source port behind the outermost IP header, of UDP, TCP, SCTP or DCCP, or None."""
        return self.port(0)

    @property
    def dport(self):
        """The destination port behind the outermost IP header, of UDP, TCP, SCTP or DCCP, or None."""
        return self.port(2)


def define_packet(text, replace, /):
    """Let packets be shown by ``text`` and changed by ``replace``, functions of a packet; called once."""
    global packet_text, packet_replace
    packet_text, packet_replace = text, replace


cdef str missed(const fn_wrong_option *wrong):
    """What is wrong with an option of a known kind; empty for what can't be an option."""
    cdef const fn_form *form = wrong.form
    if form == NULL:
        return ""
    others = f", {form.least + form.step}, ..." if form.step > 1 else " or more" if form.step else ""
    most = f" {form.most}" if form.most else ""
    return f": {form.name.decode()} of {wrong.size} bytes, expected {form.least}{others}{most}"


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


cdef bytes copied(data):
    """The bytes of any buffer, which may then change; one that is too big is not copied first."""
    view = memoryview(data)
    if view.nbytes > 0xffffffff:
        raise too_big()
    return bytes(view)


def parse(data, link="ethernet", strict=False):
    """The packet that these bytes hold, its layers found and no more than that read.

    ``link`` is what they start with: "ethernet", "ipv4", "ipv6", "ip" or "raw" for IPv4 or IPv6 as the
    first four bits are, "null" or "loop" (BSD's loopback), "sll" or "sll2" (Linux's cooked captures), or
    pcap's number for it (DLT). What is cut short or malformed gives what could be read, the rest as payload,
    and the reason as ``packet.error``. A header that is cut short is a layer: reading one of its fields whose
    bytes are not there raises TruncatedPacket. With ``strict`` the reason is raised (TruncatedPacket,
    PacketError), as are BadChecksum where a checksum is wrong and PacketError for malformed options.
    Raises TypeError where data is no buffer, PacketError for another link or more than 4294967295 bytes.
    """
    cdef bytes buffer = data if PyBytes_CheckExact(data) else copied(data)
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
