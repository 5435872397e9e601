# Records, including layers, and building packets from layers.


cdef class _Schema:
    """The fields of a class of records, in lookup tables; built once, when the class is defined."""

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
    """An immutable value whose fields are read from ``header``, its encoded form.

    A subclass has its fields as class attributes. The constructor takes fields by name; the others have
    their defaults. Raises TypeError for an unknown or missing field, InvalidArgument for a value of a wrong
    type, PacketError for one that does not fit the field.
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
        """A record of encoded bytes; building computes the fields of the bits in ``automatic``.

        Raises TruncatedPacket if the bytes end before the fixed fields do. With ``cut`` it accepts them: then
        reading a field whose bytes are missing raises TruncatedPacket.
        """
        if not isinstance(automatic, int):
            raise InvalidArgument(f"automatic must be an int, not {type(automatic).__name__}")
        return record_of(cls, copied("header", header), automatic & 0xFF, cut)

    @classmethod
    def fields(cls):
        """The fields of this class by name, in their order."""
        return dict((<_Schema>cls._schema).fields)

    @property
    def header(self):
        """The encoded form; a field that building computes has its last value, or 0."""
        return self._header

    @property
    def automatic(self):
        """The bits (LENGTH, PROTOCOL, CHECKSUM) of the fields that building computes."""
        return self._automatic

    def replace(self, **fields):
        """The same record with new values for these fields; None makes a computed field automatic again.

        Raises the same errors as the constructor.
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
    """Register the fields of a class of records; called once, when the class is defined."""
    record_type._schema = _Schema(record_type)


cdef inline object new_object(type cls):
    return fn_new_object(cls, NO_ARGUMENTS)


cdef object short_header(type cls, bytes header):
    return TruncatedPacket(f"{cls.__name__} needs {counted(len((<_Schema>cls._schema).template), 'byte')}: got {len(header)}")


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
    """One header, or a payload. ``/`` appends a layer, a packet or bytes and returns a packet."""

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
    """Check that a class has its fields where building writes those of its kind."""
    cdef _Schema schema = layer_type._schema
    cdef int at, bit
    if not 0 <= kind < FN_KINDS:
        raise InvalidArgument(f"kind {kind}: expected 0 to {FN_KINDS - 1}")
    least = 20 if kind == FN_IPV4 else 40 if kind == FN_IPV6 else 12 if kind == FN_SCTP else 0
    for bit in (FN_AUTO_LENGTH, FN_AUTO_PROTOCOL, FN_AUTO_CHECKSUM):
        at = fn_part_field(kind, bit)
        if kind == FN_GRE and bit == FN_AUTO_CHECKSUM:
            continue  # after the fixed part, if present
        if at >= 0:
            least = max(least, at + 2)
        elif schema.automatic & bit:
            raise InvalidArgument(f"{layer_type.__name__} computes a field that no {NAMES[kind]} header has")
    if len(schema.template) < least:
        raise InvalidArgument(
            f"{layer_type.__name__} has {counted(len(schema.template), 'byte')}: {NAMES[kind]} headers have at least {least}"
        )
    return 0


def define_layer(layer_type, kind, message=None, /):
    """Register the class of layers that parsing returns for a kind, or for its messages of one type.

    With ``kind`` None the class keeps the kind that it inherits. With ``message`` it is for ICMP or ICMPv6
    messages of this type. Raises InvalidArgument if the class's fixed fields do not fit its kind of header.
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
        raise PacketError(f"{NAMES[kind]} can't hold so much: its length field holds at most {counted(limit, 'byte')}")
    return data
