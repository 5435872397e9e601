"""Building and parsing single packets: scapy, dpkt, pypacker, impacket."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from functools import partial
from operator import eq
from typing import Any

from bench._case import Case, Contender
from bench._packet_peers import BUILDERS, PARSERS, Builder, Parser
from bench._packets import (
    DST_MAC,
    ECHO_DST,
    ECHO_IDENT,
    ECHO_PAYLOAD,
    ECHO_SRC,
    SRC_MAC,
    Facts,
    Maker,
    echo_request,
)
from fastnet.packet import Ethernet, ICMPEcho, IPv4, Packet, Template, parse

SEQ = 1071
MANY = 1000
HUNDREDS = 10
"""Of packets to parse, 430 bytes each on the average."""


def stack(seq: int) -> Packet:
    return (
        Ethernet(dst=DST_MAC, src=SRC_MAC)
        / IPv4(src=ECHO_SRC, dst=ECHO_DST, ident=1)
        / ICMPEcho(ident=ECHO_IDENT, seq=seq)
        / ECHO_PAYLOAD
    )


def build_case(
    what: str,
    ours: Contender,
    peers_code: str,
    expected: bytes = echo_request(SEQ),
    goal_ns: float | None = None,
    units: int = 1,
) -> Case:
    def theirs(make: Callable[[], Builder]) -> Contender:
        names = {**make()._asdict(), "seq": SEQ, "seqs": range(MANY)}
        return Contender(peers_code, names, setup="following(seq)")

    return Case(
        what,
        lambda: ours,
        {name: partial(theirs, make) for name, make in BUILDERS.items()},
        partial(eq, expected),
        goal_ns,
        units,
    )


def build_cases() -> Iterator[Case]:
    ready = stack(SEQ)
    template = Template(ready, ICMPEcho.seq)
    yield build_case(
        "64 B echo request composed of new values",
        Contender("bytes(stack(seq))", {"stack": stack, "seq": SEQ}),
        "compose(seq)",
    )
    yield build_case(
        "64 B echo request, composed already, to bytes",
        Contender("bytes(ready)", {"ready": ready}),
        "again()",
        goal_ns=130,
    )
    yield build_case(
        "64 B echo request with another seq",
        Contender("build(seq)", {"build": template.build, "seq": SEQ}),
        "following(seq)",
        goal_ns=130,
    )
    yield build_case(
        f"{MANY} of them at once, each",
        Contender("build_many(seqs)", {"build_many": template.build_many, "seqs": array("Q", range(MANY))}),
        "b''.join(map(following, seqs))",
        b"".join(map(echo_request, range(MANY))),
        goal_ns=6,
        units=MANY,
    )


def find_ports(parser: Parser, data: bytes) -> tuple[int | None, ...]:
    network, protocol, transport = parser.parse(data)
    return (None, None, None) if network is None else (protocol, *parser.ports(transport))


def find_addresses(parser: Parser, data: bytes) -> tuple[Any, ...]:
    network, protocol, transport = parser.parse(data)
    if network is None:
        return (None, None, None, None, None)
    return (protocol, *parser.ports(transport), *parser.addresses(network))


def find_payload(parser: Parser, data: bytes) -> bytes:
    network, _, transport = parser.parse(data)
    return b"" if network is None else parser.payload(transport)


def ours_payload(data: bytes) -> bytes:
    packet = parse(data)
    list(packet)
    payload: bytes = packet.payload
    return payload


def parse_case(
    what: str,
    code: str,
    find: Callable[[Parser, bytes], Any],
    expected: Callable[[Facts], Any],
    goal_ns: float | None = None,
) -> Case:
    mix = Maker(1071).mix(HUNDREDS)
    frames = [data for data, _ in mix]

    def ours() -> Contender:
        return Contender(code, {"parse": parse, "payload": ours_payload, "frames": frames})

    def theirs(make: Callable[[], Parser]) -> Contender:
        return Contender("[find(data) for data in frames]", {"find": partial(find, make()), "frames": frames})

    return Case(
        f"parse, and read {what}",
        ours,
        {name: partial(theirs, make) for name, make in PARSERS.items()},
        partial(eq, [expected(facts) for _, facts in mix]),
        goal_ns,
        units=len(frames),
    )


def cases() -> Iterator[Case]:
    yield from build_cases()
    yield parse_case(
        "protocol and ports",
        "[(at.protocol, at.sport, at.dport) for at in map(parse, frames)]",
        find_ports,
        lambda facts: facts[:3],
        goal_ns=160,
    )
    yield parse_case(
        "protocol, ports and both addresses",
        "[(at.protocol, at.sport, at.dport, at.src, at.dst) for at in map(parse, frames)]",
        find_addresses,
        lambda facts: facts[:5],
        goal_ns=300,
    )
    yield parse_case(
        "every layer", "[payload(data) for data in frames]", find_payload, lambda facts: facts.payload
    )
