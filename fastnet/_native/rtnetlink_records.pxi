# Messages of the kernel as records.

cdef enum:
    FOREVER = 0xFFFFFFFF
    COUNTERS = 25

cdef dict scopes = names_of.SCOPES
cdef dict link_types = names_of.LINK_TYPES
cdef dict states = names_of.STATES
cdef object IPV4_TUNNELS = names_of.IPV4_TUNNELS
cdef object IPV6_TUNNELS = names_of.IPV6_TUNNELS
cdef object address_flags = names_of.address_flags
cdef object link_flags = names_of.link_flags
cdef object route_flags = names_of.route_flags
cdef object neighbour_flags = names_of.neighbour_flags
cdef object neighbour_state = names_of.neighbour_state


cdef object named(dict table, uint32_t value):
    found = table.get(value)
    return str(value) if found is None else found


cdef object record(object kind, tuple values):
    """A named tuple of these values, without a call of its __new__."""
    return (<newfunc>PyTuple_Type.tp_new)(<PyTypeObject *>kind, (values,), NULL)


cdef str fs_text(const char *name):
    cdef size_t size = 0
    while size < NAME_SIZE and name[size]:
        size += 1
    return PyUnicode_DecodeFSDefaultAndSize(name, size)


cdef str slice_text(fn_rtnetlink_slice *slice):
    if slice.at is NULL:
        return ""
    return PyUnicode_DecodeFSDefaultAndSize(<const char *>slice.at, slice.len)


cdef str numeric(const uint8_t *address, size_t size):
    cdef char text[45]
    return PyUnicode_FromStringAndSize(text, fn_text_ipv4(address, text) if size == 4 else fn_text_ipv6(address, text))


cdef object optional(const uint8_t *address, size_t size):
    return None if address is NULL else numeric(address, size)


cdef object hexadecimal(fn_rtnetlink_slice *slice):
    if slice.len == 0:
        return None
    if slice.len == 6:
        return mac(slice.at)
    return PyBytes_FromStringAndSize(<const char *>slice.at, slice.len).hex(":")


cdef str mac(const uint8_t *octets):
    cdef char text[17]
    return PyUnicode_FromStringAndSize(text, fn_text_mac(octets, text))


cdef object hardware(fn_rtnetlink_slice *slice, uint16_t link_type):
    """A link-layer address as text; that of an IP tunnel is an IP address."""
    if (slice.len == 4 and link_type in IPV4_TUNNELS) or (slice.len == 16 and link_type in IPV6_TUNNELS):
        return numeric(slice.at, slice.len)
    return hexadecimal(slice)


cdef tuple altnames(fn_rtnetlink_slice left):
    cdef fn_rtnetlink_slice name
    cdef list found = []
    while fn_rtnetlink_next_altname(&left, &name):
        found.append(slice_text(&name))
    return tuple(found)


cdef object as_link(fn_rtnetlink_link *link, _Names names, list addresses, object speed):
    return record(Interface, (
        link.index,
        slice_text(&link.name),
        () if link.altnames.at is NULL else altnames(link.altnames),
        None if link.kind.at is NULL else slice_text(&link.kind),
        named(link_types, link.type),
        hardware(&link.address, link.type),
        hexadecimal(&link.permanent),
        hardware(&link.broadcast, link.type),
        link.mtu,
        link_flags(link.flags),
        named(states, link.operational_state),
        link.carrier != 0 if link.has_carrier else None,
        None if speed is None else (<tuple>speed)[0],
        None if speed is None else (<tuple>speed)[1],
        names.of(link.master) if link.master else None,
        link.master or None,
        names.of(link.link) if link.link and not link.has_link_namespace else None,
        link.link or None,
        link.link_namespace if link.has_link_namespace else None,
        () if addresses is None else tuple(addresses),
    ))


cdef object as_counters(fn_rtnetlink_link *link):
    cdef uint64_t values[COUNTERS]
    cdef size_t size = min(link.counters.len, sizeof(values))
    cdef int i
    memset(values, 0, sizeof(values))
    if size:
        memcpy(values, link.counters.at, size)
    return record(InterfaceCounters, (
        slice_text(&link.name), link.index, *[values[i] for i in range(COUNTERS)], link.carrier_changes
    ))


cdef str network_text(const uint8_t *address, size_t size, size_t prefix_length):
    """An address with all bits after the prefix cleared."""
    cdef uint8_t network[16]
    cdef size_t whole = prefix_length // 8
    memset(network, 0, sizeof(network))
    memcpy(network, address, whole)
    if prefix_length % 8:
        network[whole] = address[whole] & <uint8_t>(0xFF00 >> prefix_length % 8)
    return numeric(network, size)


cdef object as_address(fn_rtnetlink_address *address, str name):
    cdef size_t size = address.size
    text = numeric(address.address, size)
    if address.prefix_length == 8 * size and address.peer is NULL:
        network = text
    else:
        network = network_text(address.network, size, address.prefix_length)
    return record(InterfaceAddress, (
        name,
        name if address.label.at is NULL else slice_text(&address.label),
        text,
        address.prefix_length,
        network,
        named(scopes, address.scope),
        optional(address.broadcast, size),
        optional(address.peer, size),
        named(names_of.ADDRESS_PROTOCOLS, address.protocol) if address.has_protocol else None,
        address_flags(4 if size == 4 else 6, address.flags),
        address.index,
    ))


cdef object as_lifetime(fn_rtnetlink_address *address, str name):
    return AddressLifetime(
        name,
        numeric(address.address, address.size),
        address.prefix_length,
        None if address.preferred == FOREVER else address.preferred,
        None if address.valid == FOREVER else address.valid,
        address.index,
    )


cdef object gateway(fn_rtnetlink_slice *slice):
    return optional(slice.at, slice.len)


cdef object prefix_text(const uint8_t *address, size_t size, uint8_t length):
    if address is NULL:
        return f"{'0.0.0.0' if size == 4 else '::'}/{length}"
    return f"{numeric(address, size)}/{length}"


cdef tuple as_legs(fn_rtnetlink_slice left, uint8_t size, _Names names):
    cdef fn_rtnetlink_leg leg
    cdef list found = []
    while fn_rtnetlink_next_leg(&left, size, &leg):
        found.append(
            NextHop(names.of(leg.index), leg.index, gateway(&leg.gateway), leg.weight, route_flags(leg.flags))
        )
    return tuple(found)


cdef object read_route(fn_rtnetlink_message *message, _Names names):
    cdef fn_rtnetlink_route route
    if not checked(fn_rtnetlink_read_route(message, &route)):
        return None
    return record(Route, (
        prefix_text(route.destination, route.size, route.prefix_length),
        gateway(&route.gateway),
        names.of(route.index) if route.index else None,
        route.index or None,
        route.metric,
        route.table,
        named(names_of.PROTOCOLS, route.protocol),
        named(names_of.ROUTE_TYPES, route.type),
        named(scopes, route.scope),
        optional(route.source, route.size),
        prefix_text(route.sources, route.size, route.sources_length) if route.sources_length else None,
        route.tos,
        route.mtu or None,
        route_flags(route.flags),
        as_legs(route.legs, route.size, names),
        route.next_hop_id or None,
        named(names_of.ENCAPSULATIONS, route.encapsulation) if route.encapsulation else None,
        named(names_of.PREFERENCES, route.preference) if route.has_preference else None,
    ))


cdef object read_neighbour(fn_rtnetlink_message *message, _Names names):
    cdef fn_rtnetlink_neighbour neighbour
    if not checked(fn_rtnetlink_read_neighbour(message, &neighbour)):
        return None
    return record(Neighbour, (
        names.of(neighbour.index) or "",
        numeric(neighbour.address, neighbour.size),
        hexadecimal(&neighbour.hardware),
        neighbour_state(neighbour.state),
        neighbour_flags(neighbour.flags),
        named(names_of.PROTOCOLS, neighbour.protocol) if neighbour.has_protocol else None,
        neighbour.index,
    ))
