# Fields: the offset of a value in a record's bytes, and how to read and write it.


cdef class Field:
    """One field of a record, a descriptor: on a record it decodes the value, on the class it is the field.

    ``offset`` and ``width`` are in bits, as in RFC diagrams. ``default`` is the value in a new record, or
    Ellipsis if a value is required. ``automatic`` is the bit (LENGTH, PROTOCOL or CHECKSUM) of a field that
    building computes unless it is set. ``show`` is the format in which a value is shown.
    """

    cdef readonly Py_ssize_t offset, width
    cdef readonly object default, name, show
    cdef object owner
    cdef readonly int automatic
    cdef Py_ssize_t first, size

    def __init__(self, offset, width, *, default=..., automatic=0, show=""):
        if offset < 0 or width < 0:
            raise ValueError(f"a field of {counted(width, 'bit')} at bit {offset}: expected 0 or more")
        self.offset = offset
        self.width = width
        self.default = default
        self.automatic = automatic
        self.show = show
        self.name = ""
        self.first = self.offset // 8
        self.size = (self.offset + self.width + 7) // 8 - self.first

    def __set_name__(self, owner, name):
        self.owner = owner
        self.name = name

    def __reduce__(self):
        return getattr, (self.owner, self.name)

    def __set__(self, record, value):
        raise AttributeError(f"{type(record).__name__}.{self.name} can't be set: use replace({self.name}=...)")

    def __delete__(self, record):
        raise AttributeError(f"{type(record).__name__}.{self.name} can't be deleted")

    cpdef put(self, bytearray header, value):
        """Write a value into a header. Raises PacketError, or InvalidArgument for a wrong type."""
        raise NotImplementedError

    cdef int check(self, bytearray header) except -1:
        if len(header) < self.first + self.size:
            raise TruncatedPacket(f"a header of {counted(len(header), 'byte')} ends before its field {self.name}")
        return 0

    cdef const uint8_t *locate(self, Record record) except NULL:
        if PyBytes_GET_SIZE(record._header) < self.first + self.size:
            raise TruncatedPacket(f"{type(record).__name__} ends before its field {self.name}")
        return <const uint8_t *>PyBytes_AS_STRING(record._header) + self.first


cdef class UInt(Field):
    """An unsigned integer of up to 64 bits in at most 8 bytes."""

    cdef int shift
    cdef uint64_t limit

    def __init__(self, offset, width, *, default=..., automatic=0, show=""):
        super().__init__(offset, width, default=default, automatic=automatic, show=show)
        if not 0 < self.width or self.size > 8:
            raise ValueError(f"an integer of {counted(width, 'bit')} at bit {offset}: expected 1 to 64 bits in at most 8 bytes")
        self.shift = -(self.offset + self.width) % 8
        self.limit = <uint64_t>-1 >> (64 - self.width)

    cdef uint64_t read(self, const uint8_t *p) noexcept:
        cdef uint64_t value = 0
        cdef Py_ssize_t i
        for i in range(self.size):
            value = value << 8 | p[i]
        return value >> self.shift & self.limit

    def __get__(self, record, owner):
        if record is None:
            return self
        return self.read(self.locate(<Record?>record))

    cpdef put(self, bytearray header, value):
        """Write a value into a header. Raises PacketError, or InvalidArgument for a wrong type."""
        if not isinstance(value, int):
            raise InvalidArgument(f"{self.name} must be an int, not {type(value).__name__}")
        if not 0 <= value <= self.limit:
            raise PacketError(f"{self.name} {quoted(value)}: expected 0 to {self.limit}")
        cdef uint64_t bits = <uint64_t>value << self.shift
        cdef uint64_t kept = ~(self.limit << self.shift)
        cdef Py_ssize_t i
        self.check(header)
        for i in range(self.first + self.size - 1, self.first - 1, -1):
            header[i] = <uint8_t>(<uint8_t>header[i] & kept | bits)
            bits >>= 8
            kept >>= 8


cdef class Auto(UInt):
    """An unsigned integer that building computes if it is None; until then it reads as 0."""


cdef class HeaderLength(UInt):
    """The record's length in units of ``unit`` bytes, minus ``less`` units; computed unless set."""

    cdef readonly object unit, less

    def __init__(self, offset, width, *, default, unit=1, less=0):
        super().__init__(offset, width, default=default)
        self.unit = unit
        self.less = less

    def measure(self, length):
        """The field's value for a record of ``length`` bytes."""
        return -(-length // self.unit) - self.less


cdef class _AddressField(Field):
    cdef str what

    def __get__(self, record, owner):
        return self if record is None else self.text(self.locate(<Record?>record))

    cdef object text(self, const uint8_t *address):
        raise NotImplementedError

    cdef bytes parse_text(self, text):
        raise NotImplementedError

    cdef bytes packed(self, value):
        if isinstance(value, int):
            if not 0 <= value < <object>1 << self.width:
                raise PacketError(f"{self.name} {quoted(value)}: expected {self.what}")
            return value.to_bytes(self.size, "big")
        data = value if isinstance(value, bytes) else getattr(value, "packed", None)
        if not isinstance(data, bytes):
            raise InvalidArgument(f"{self.name} must be a str, bytes, int or an address object, not {type(value).__name__}")
        if len(data) != self.size:
            raise PacketError(f"{self.name} has {counted(len(data), 'byte')}: expected {self.what}")
        return bytes(data)

    cpdef put(self, bytearray header, value):
        """Write a value into a header. Raises PacketError, or InvalidArgument for a wrong type."""
        cdef bytes data
        if isinstance(value, str):
            try:
                data = self.parse_text(value)
            except ValueError:
                raise PacketError(f"{self.name} {quoted(value)}: expected {self.what}") from None
        else:
            data = self.packed(value)
        self.check(header)
        memcpy(PyByteArray_AS_STRING(header) + self.first, PyBytes_AS_STRING(data), self.size)


cdef bytes parse_ip(int family, Py_ssize_t size, text):
    cdef uint8_t packed[16]
    cdef bytes encoded = text.encode()
    if 0 in encoded or inet_pton(family, PyBytes_AS_STRING(encoded), packed) != 1:
        raise ValueError
    return packed[:size]


cdef class IPv4Field(_AddressField):
    """An IPv4 address: read as str, set as str, 4 bytes, int or ipaddress.IPv4Address."""

    def __init__(self, offset, *, default=...):
        super().__init__(offset, 32, default=default)
        self.what = "an IPv4 address, as 192.0.2.1"

    cdef object text(self, const uint8_t *address):
        return ipv4_text(address)

    cdef bytes parse_text(self, text):
        return parse_ip(AF_INET, 4, text)


cdef class IPv6Field(_AddressField):
    """An IPv6 address: read as str, set as str, 16 bytes, int or ipaddress.IPv6Address."""

    def __init__(self, offset, *, default=...):
        super().__init__(offset, 128, default=default)
        self.what = "an IPv6 address"

    cdef object text(self, const uint8_t *address):
        return ipv6_text(address)

    cdef bytes parse_text(self, text):
        return parse_ip(AF_INET6, 16, text)


cdef class MACField(_AddressField):
    """An Ethernet address: read as str with colons, set as str with colons or hyphens, 6 bytes or int."""

    def __init__(self, offset, *, default=...):
        super().__init__(offset, 48, default=default)
        self.what = "an Ethernet address"

    cdef object text(self, const uint8_t *address):
        cdef char text[17]
        return ascii_text(text, fn_text_mac(address, text))

    cdef bytes parse_text(self, text):
        octets = text.replace("-", ":").split(":")
        if any([len(octet) != 2 for octet in octets]):
            raise ValueError
        data = bytes.fromhex("".join(octets))
        if len(octets) != 6 or len(data) != 6:
            raise ValueError
        return data


cdef class Tail(Field):
    """All bytes from ``offset`` to the record's end, as one value that ``decode`` and ``encode`` convert.

    If it is ``automatic``, building computes its first two bytes unless they are set.
    """

    __class_getitem__ = classmethod(type(list[int]))

    def __init__(self, offset, *, default=..., automatic=0):
        super().__init__(offset, 0, default=default, automatic=automatic)

    def is_given(self, data):
        """Whether the first two bytes are set: building computes them if they are 0."""
        return data[:2] != b"\0\0"

    def __get__(self, record, owner):
        if record is None:
            return self
        self.locate(<Record?>record)
        return self.decode((<Record>record)._header[self.first:])

    def decode(self, data):
        """The value that these bytes stand for."""
        raise NotImplementedError

    def encode(self, value):
        """The bytes that stand for the value. Raises PacketError, or InvalidArgument for a wrong type."""
        raise NotImplementedError

    cpdef put(self, bytearray header, value):
        """Write a value into a header. Raises PacketError, or InvalidArgument for a wrong type."""
        self.check(header)
        header[self.first:] = self.encode(value)
