"""PROXY protocol headers, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt).

A proxy sends one first on a connection; it has the addresses of the proxy's own client.
"""

import re
import socket
import struct

from fastnet._contract.relay import Address
from fastnet._contract.values import counted
from fastnet._pure.relay.prefixes import MAPPED, ip_of
from fastnet._typing import NamedTuple

LONGEST = 4096
"""Bytes of the longest header that is accepted."""

_TEXT_START = b"PROXY "
_TEXT_LONGEST = 107
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\0\n]*)?\r\n")
_PORT = rb"(0|[1-9][0-9]{0,4})"
_TCP = re.compile(rb"PROXY TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) " + _PORT + b" " + _PORT + rb"\r\n")
_TEXT_FAMILIES = {b"4": socket.AF_INET, b"6": socket.AF_INET6}

_BINARY_START = b"\r\n\r\n\0\r\nQUIT\n"
_BINARY_HEADER = struct.Struct(">12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_PAIRS = {
    family | transport: struct.Struct(addresses)
    for family, addresses in ((0x10, ">4s4sHH"), (0x20, ">16s16sHH"))
    for transport in (1, 2)
}
_NO_IP_SIZES = {0x00: 0, 0x31: 216, 0x32: 216}
"""Bytes of both addresses, for families without IP addresses."""


class BadHeader(ValueError):
    """Not a PROXY header, an invalid one, or one that is too long."""


class Header(NamedTuple):
    """A parsed header: source and destination, both None if the header has no addresses."""

    size: int
    """Length of the header in bytes; the bytes after it are the client's."""
    version: int
    source: Address | None
    destination: Address | None


def parse(data: bytes) -> Header | None:
    """The header at the start of ``data``; None if it is valid so far and more bytes are needed.

    Version 1's UNKNOWN, version 2's LOCAL and address families other than IPv4 and IPv6 give no addresses:
    use the connection's own ones then. Extensions (TLVs) are skipped. Raises BadHeader.
    """
    if _TEXT_START.startswith(data[: len(_TEXT_START)]):
        return _parse_text(data)
    if _BINARY_START.startswith(data[: len(_BINARY_START)]):
        return _parse_binary(data)
    raise BadHeader("it begins like neither version of a PROXY header")


def _parse_text(data: bytes) -> Header | None:
    size = data.find(b"\n", 0, _TEXT_LONGEST) + 1
    if not size:
        if len(data) < _TEXT_LONGEST:
            return None
        raise BadHeader(f"no end within {_TEXT_LONGEST} bytes")
    line = data[:size]
    if _UNKNOWN.fullmatch(line):
        return Header(size, 1, None, None)
    if match := _TCP.fullmatch(line):
        family = _TEXT_FAMILIES[match[1]]
        try:
            source, destination = (
                _address(family, socket.inet_pton(family, match[host].decode()), int(match[port]))
                for host, port in ((2, 4), (3, 5))
            )
        except OSError:
            raise BadHeader(f"addresses that are none: {line!r}") from None
        return Header(size, 1, source, destination)
    raise BadHeader(f"not a line of version 1: {line!r}")


def _parse_binary(data: bytes) -> Header | None:
    if len(data) < _BINARY_HEADER.size:
        return None
    _, command, family, rest = _BINARY_HEADER.unpack_from(data)
    size = _BINARY_HEADER.size + rest
    pair = _PAIRS.get(family)
    needed = pair.size if pair else _NO_IP_SIZES.get(family, size)
    if command == _LOCAL:
        pair, needed = None, 0
    elif command != _PROXY:
        raise BadHeader(f"version and command {command:#04x}: expected {_LOCAL:#04x} or {_PROXY:#04x}")
    if rest < needed:
        raise BadHeader(
            f"family {family:#04x} with {counted(rest, 'byte')}: unknown, or too short for its addresses"
        )
    if size > LONGEST:
        raise BadHeader(f"{counted(size, 'byte')}: expected at most {LONGEST}")
    if len(data) < size:
        return None
    if not pair:
        return Header(size, 2, None, None)
    source, destination, *ports = pair.unpack_from(data, _BINARY_HEADER.size)
    ip_family = socket.AF_INET if len(source) == 4 else socket.AF_INET6
    return Header(size, 2, _address(ip_family, source, ports[0]), _address(ip_family, destination, ports[1]))


def _address(family: socket.AddressFamily, ip: bytes, port: int) -> Address:
    if port > 65535:
        raise BadHeader(f"port {port}: expected 0 to 65535")
    host = socket.inet_ntop(family, ip)
    return family, (host, port) if family == socket.AF_INET else (host, port, 0, 0)


def build(version: int, source: Address | None, destination: Address | None) -> bytes:
    """The header of version 1 or 2.

    An IPv4 address that is mapped into IPv6 is written as IPv4; two addresses that are not both IP (as a Unix
    socket's) as UNKNOWN or LOCAL.
    """
    from_ip, to_ip = ip_of(source), ip_of(destination)
    if not (source and destination and from_ip and to_ip):
        # Not PROXY with an unspecified family: HAProxy 2.6 refuses that.
        return b"PROXY UNKNOWN\r\n" if version == 1 else _BINARY_HEADER.pack(_BINARY_START, _LOCAL, 0, 0)
    if len(from_ip) != len(to_ip):
        from_ip, to_ip = (ip if len(ip) == 16 else MAPPED + ip for ip in (from_ip, to_ip))
    family = socket.AF_INET if len(to_ip) == 4 else socket.AF_INET6
    ports = source[1][1], destination[1][1]
    if version == 1:
        hosts = [socket.inet_ntop(family, ip) for ip in (from_ip, to_ip)]
        words = "TCP4" if family == socket.AF_INET else "TCP6", *hosts, *map(str, ports)
        return f"PROXY {' '.join(words)}\r\n".encode()
    code = 0x11 if family == socket.AF_INET else 0x21
    pair = _PAIRS[code]
    return _BINARY_HEADER.pack(_BINARY_START, _PROXY, code, pair.size) + pair.pack(from_ip, to_ip, *ports)
