# Templates: many packets from one.


cdef int check_varying(tuple fields) except -1:
    if not fields:
        raise InvalidArgument("fields: a template varies at least one")
    if len(fields) > FN_TEMPLATE_FIELDS:
        raise PacketError(f"{counted(len(fields), 'field')}: a template varies at most {FN_TEMPLATE_FIELDS}")
    for field in fields:
        if not isinstance(field, Field):
            raise InvalidArgument(f"fields must be fields, as IPv4.dst, not {type(field).__name__}")
        if field.automatic or isinstance(field, HeaderLength):
            raise PacketError(f"{field.name} can't vary: it is computed")
        if isinstance(field, Tail):
            raise PacketError(f"{field.name} can't vary: its size does")
        if sum([field is other for other in fields]) > 1:
            raise PacketError(f"{field.name} is given twice")
    return 0


cdef int place_of(list layers, Field field) except -1:
    for i, layer in enumerate(layers):
        if any([field is other for other in (<_Schema>layer._schema).fields.values()]):
            return i
    raise PacketError(f"no layer of this packet has this field {field.name}")


cdef int refuse(const fn_part **parts, Py_ssize_t owner, list places, tuple fields) except -1:
    """Refuse fields for which the owner's checksum can't be updated."""
    cdef Field field
    for place, field in zip(places, fields):
        if fn_template_refuses(parts, owner, place, field.offset):
            raise PacketError(f"{field.name} can't vary: a checksum that can't be updated depends on it")
    return 0


cdef bint is_updated(bint parsed, Layer layer):
    if not parsed:
        return layer._automatic & FN_AUTO_CHECKSUM
    cdef int at = 6 if layer.part.kind == FN_UDP else 2
    return layer.part.kind not in (FN_UDP, FN_ICMP_EXTENSIONS) or layer._header[at:at + 2] != b"\0\0"


cdef class Template:
    """Template(packet, *fields)\n--\n\nMany packets from one, equal except in some fields; checksums are updated (RFC 1624).

    ``fields`` are up to 8 fields of classes: ``Template(packet, IPv4.dst, UDP.sport)``; each is in the first
    layer that has it. In a packet made by ``/``, automatic checksums are updated; in a parsed packet all are,
    except a UDP checksum of 0: right ones stay right and wrong ones wrong. Raises PacketError for a field
    that no layer has, that is computed, that is given twice or whose size varies; InvalidArgument for an
    argument that is not a packet or not a field, or without fields.
    """

    cdef Packet packet
    cdef tuple fields
    cdef bytes data
    cdef fn_template template
    cdef bint plain[FN_TEMPLATE_FIELDS]  # fields whose encoded value is the int itself

    def __cinit__(self, packet, *fields):
        cdef const fn_part *parts[FN_PACKET_LAYERS]
        cdef fn_template_field *varying
        cdef uint32_t updated = 0
        cdef bytes data
        cdef Field field
        cdef Py_ssize_t i
        if not isinstance(packet, Packet):
            raise InvalidArgument(f"packet must be a packet, not {type(packet).__name__}")
        check_varying(fields)
        cdef list layers = list(packet)
        cdef list places = [place_of(layers, field) for field in fields]
        for i in range(len(layers)):
            parts[i] = &(<Layer>layers[i]).part
            if is_updated(packet.parsed, <Layer>layers[i]):
                refuse(parts, i, places, fields)
        if not packet.parsed:
            for place, field in zip(places, fields):
                layers[place] = layers[place].replace(**{field.name: 0})
            layers = list(Packet(*layers))
        for i in range(len(layers)):
            parts[i] = &(<Layer>layers[i]).part
            if is_updated(packet.parsed, <Layer>layers[i]):
                updated |= <uint32_t>1 << i
        for i in range(len(fields)):
            field = fields[i]
            field.locate(<Layer>layers[places[i]])
            self.plain[i] = type(field) in (UInt, IPv4Field, MACField)
            varying = &self.template.fields[i]
            varying.part = places[i]
            varying.first = field.first
            varying.size = field.size
            varying.shift = -(field.offset + field.width) % 8
            varying.limit = <uint64_t>-1 >> (64 - field.width) if field.width < 64 else <uint64_t>-1
        self.template.field_count = len(fields)
        joined = b"".join([(<Layer>layer)._header for layer in layers])
        data = PyBytes_FromStringAndSize(PyBytes_AS_STRING(joined), len(joined))  # modified below: a private copy
        fn_template_prepare(&self.template, parts, len(layers), updated, <uint8_t *>PyBytes_AS_STRING(data), len(data))
        self.packet = packet
        self.fields = fields
        self.data = data

    @property
    def size(self):
        """The size of each packet in bytes."""
        return self.template.length

    def __reduce__(self):
        return type(self), (self.packet, *self.fields)

    def __repr__(self):
        return f"<Template: {counted(self.size, 'byte')}, varying {', '.join([(<Field>field).name for field in self.fields])}>"

    cdef int words(self, Py_ssize_t i, value, uint64_t *out) except -1:
        """Field i's value as one word, or as two if it has 16 bytes."""
        cdef Field field = <Field>self.fields[i]
        cdef const fn_template_field *varying = &self.template.fields[i]
        cdef bytearray encoded
        cdef Py_ssize_t at
        if self.plain[i] and type(value) is int and 0 <= value <= varying.limit:
            out[0] = value
            return 0
        encoded = bytearray(field.first + field.size)
        field.put(encoded, value)
        out[0] = 0
        for at in range(field.size):
            if at == 8:
                out[1] = 0
            out[at // 8] = out[at // 8] << 8 | <uint8_t>encoded[field.first + at]
        out[0] >>= varying.shift
        return 0

    def build(self, *values):
        """The packet with these values, one for each field, in the order of the fields.

        Raises InvalidArgument for a wrong number of values, and the errors of the fields for a value.
        """
        cdef uint64_t words[2 * FN_TEMPLATE_FIELDS]
        cdef Py_ssize_t i, at = 0
        if len(values) != <Py_ssize_t>self.template.field_count:
            raise InvalidArgument(f"{counted(len(values), 'value')}: expected {self.template.field_count}, one for each field")
        for i in range(len(values)):
            self.words(i, values[i], &words[at])
            at += 2 if self.template.fields[i].size == 16 else 1
        cdef bytes packet = PyBytes_FromStringAndSize(NULL, self.template.length)
        fn_template_build(&self.template, words, <uint8_t *>PyBytes_AS_STRING(packet))
        return packet

    cdef bytes column(self, Py_ssize_t i, values, Py_ssize_t *count):
        """A column's values as words."""
        from array import array  # only here: it loads collections

        cdef bint wide = self.template.fields[i].size == 16
        cdef uint64_t limit = self.template.fields[i].limit
        cdef Py_ssize_t row
        cdef bytes packed
        cdef uint64_t *words
        if self.plain[i] and type(values) is array and values.typecode == "Q":
            packed = values.tobytes()
            words = <uint64_t *>PyBytes_AS_STRING(packed)
            count[0] = len(packed) // 8
            for row in range(count[0]):
                if words[row] > limit:
                    self.words(i, words[row], words)
            return packed
        if not isinstance(values, Iterable):
            raise InvalidArgument(f"columns must be iterables of values, not {type(values).__name__}")
        cdef list rows = list(values)
        count[0] = len(rows)
        packed = PyBytes_FromStringAndSize(NULL, count[0] * 8 * (2 if wide else 1))
        words = <uint64_t *>PyBytes_AS_STRING(packed)
        for row in range(count[0]):
            self.words(i, rows[row], words + row * (2 if wide else 1))
        return packed

    cdef list packed(self, tuple columns, Py_ssize_t *count):
        cdef list counts = [], packed = []
        cdef Py_ssize_t i, rows
        if len(columns) != <Py_ssize_t>self.template.field_count:
            raise InvalidArgument(f"{counted(len(columns), 'column')}: expected {self.template.field_count}, one for each field")
        for i in range(len(columns)):
            packed.append(self.column(i, columns[i], &rows))
            counts.append(rows)
        if len(set(counts)) > 1:
            raise InvalidArgument(f"columns of {', '.join(map(str, counts))} values: expected one length")
        count[0] = rows
        return packed

    cdef Py_ssize_t bytes_of(self, Py_ssize_t count) except -1:
        """The size of all packets. If sizes have 32 bits it may overflow."""
        size = <object>count * self.template.length
        if size > PY_SSIZE_T_MAX:
            raise MemoryError
        return size

    cdef int write(self, list packed, Py_ssize_t count, uint8_t *out) except -1:
        cdef const uint64_t *columns[FN_TEMPLATE_FIELDS]
        cdef Py_ssize_t i
        for i in range(len(packed)):
            columns[i] = <const uint64_t *>PyBytes_AS_STRING(<bytes>packed[i])
        with nogil:
            fn_template_build_many(&self.template, columns, count, out)
        return 0

    def build_many(self, *columns):
        """All packets of these columns, concatenated.

        A column has the values of one field. It is any iterable; ``array("Q")`` is fastest for a field of at
        most 64 bits. Raises InvalidArgument if columns differ in length, and the errors of ``build``.
        """
        cdef Py_ssize_t count
        cdef list packed = self.packed(columns, &count)
        cdef bytes packets = PyBytes_FromStringAndSize(NULL, self.bytes_of(count))
        self.write(packed, count, <uint8_t *>PyBytes_AS_STRING(packets))
        return packets

    def build_into(self, buffer, *columns):
        """Write the result of ``build_many`` to the start of a buffer; return the number of packets.

        Raises BufferError if the buffer is read-only or too small.
        """
        cdef Py_buffer view
        cdef Py_ssize_t count
        cdef list packed = self.packed(columns, &count)
        try:
            PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        except TypeError:
            raise InvalidArgument(f"buffer must be a buffer, not {type(buffer).__name__}") from None
        except BufferError:
            raise BufferError("buffer must be writable and contiguous") from None
        try:
            if view.len < self.bytes_of(count):
                raise BufferError(f"the buffer has {counted(view.len, 'byte')}: {self.bytes_of(count)} are needed")
            self.write(packed, count, <uint8_t *>view.buf)
        finally:
            PyBuffer_Release(&view)
        return count
