"""Sweeps of a link by ARP and NDP: the exact sets found, what is believed, and who may."""

from __future__ import annotations

import errno
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, IPv6Address
from types import ModuleType
from typing import Any

import pytest
from namespaces import Namespace

from fastnet._system.link_socket import Link
from fastnet.checksums import checksum
from fastnet.errors import InvalidArgument, NoAddress, NoSuchInterface
from fastnet.packet import (
    ARP,
    Dot1Q,
    Ethernet,
    IPv6,
    NeighborAdvertisement,
    NeighborSolicitation,
    SourceLinkLayerAddress,
    TargetLinkLayerAddress,
    parse,
)

TOPIC = "probe"
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
OURS = {socket.AF_INET: "10.77.0.1", socket.AF_INET6: "fd77::1"}
PREFIX = {socket.AF_INET: 0x0A090000, socket.AF_INET6: 0xFD99 << 112}
"""Of addresses that the left host takes for neighbours: 10.9.0.0/16 and fd99::/64."""
OTHER_MAC = "02:00:00:00:00:77"

Hosts = tuple[Namespace, Namespace]


@pytest.fixture(params=list(OURS), ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def hosts(linked: Hosts) -> Hosts:
    """``linked``, where the left host has the prefixes on its link, and the right one answers for nobody."""
    left, right = linked
    for prefix in ("10.9.0.0/16", "fd99::/64"):
        left.ip("route", "add", prefix, "dev", "veth0")
        right.ip("route", "add", prefix, "dev", "veth0")
    # Who can't note the asker does not answer, and all namespaces share one neighbour table, which tests
    # beside these may fill: a permanent entry always has its place.
    for source in OURS.values():
        right.ip("neighbour", "replace", source, "lladdr", mac_of(left), "dev", "veth0", "nud", "permanent")
    return linked


def mac_of(namespace: Namespace) -> str:
    return namespace.ip("-br", "link", "show", "dev", "veth0").split()[2]


def text(family: int, number: int) -> str:
    return str((IPv4Address if family == socket.AF_INET else IPv6Address)(number))


def answer_for(namespace: Namespace, family: int, places: Iterator[int] | range) -> None:
    """Give a host these addresses of the prefix."""
    prefix, length = PREFIX[family], 32 if family == socket.AF_INET else 128
    option = "" if family == socket.AF_INET else "nodad"
    lines = [
        f"address add {text(family, prefix + place)}/{length} dev veth0 noprefixroute {option}\n"
        for place in places
    ]
    namespace.run("ip", "-batch", "-", input="".join(lines))


def finish(sweeper: Any) -> Any:
    while not sweeper.run(0.5):
        pass
    return sweeper


def span(family: int, count: int) -> list[tuple[int, int]]:
    return [(PREFIX[family], PREFIX[family] + count - 1)]


def swept(core: ModuleType, host: Namespace, family: int, count: int, **options: Any) -> Any:
    """A finished sweep of the prefix's first addresses."""

    def sweep() -> Any:
        with closing(Link("veth0", family, OURS[family])) as link:
            return finish(core.LinkSweeper(link, span(family, count), **options))

    return host.call(sweep)


def found(core: ModuleType, sweeper: Any) -> set[int]:
    """Who is alive; of these alone the MAC and the time are known."""
    states = bytes(sweeper.states)
    alive = {index for index, state in enumerate(states) if state == core.ALIVE}
    assert {index for index in range(len(states)) if sweeper.mac(index)} == alive
    assert all(0 < sweeper.rtts_ms[index] < 60_000 for index in alive)
    return alive


class TestExactSets:
    def test_a_whole_16(self, core, hosts):
        left, right = hosts
        right.ip("route", "add", "local", "10.9.0.0/16", "dev", "lo")
        sweeper = swept(core, left, socket.AF_INET, 1 << 16, retries=3)
        mac = bytes.fromhex(mac_of(right).replace(":", ""))
        assert found(core, sweeper) == {*range(1 << 16)}
        assert {sweeper.mac(index) for index in range(1 << 16)} == {mac}
        assert sweeper.sent >= 1 << 16
        # The kernel's own table, which holds 1,024, was not asked.
        assert "10.9." not in left.ip("neighbour")

    def test_half_of_them(self, core, hosts, family):
        left, right = hosts
        answer_for(right, family, range(0, 256, 2))
        sweeper = swept(core, left, family, 256, timeout=0.2, retries=2)
        assert found(core, sweeper) == {*range(0, 256, 2)}
        assert Counter(sweeper.states) == {core.ALIVE: 128, core.SILENT: 128}

    def test_nobody(self, core, hosts, family):
        sweeper = swept(core, hosts[0], family, 1000, timeout=0.1)
        assert Counter(sweeper.states) == {core.SILENT: 1000}
        assert found(core, sweeper) == set()
        assert (sweeper.sent, sweeper.reason(7)) == (2000, None)

    def test_a_lossy_link(self, core, hosts, family, peer):
        left, right = hosts
        answer_for(right, family, range(256))
        hook = (
            "chain c { type filter hook ingress device veth0 priority 0; numgen random mod 100 < 30 drop; };"
        )
        for host in hosts:
            host.run(peer("nft"), f"table netdev t {{ {hook} }}")
        assert found(core, swept(core, left, family, 256, timeout=0.05, retries=100)) == {*range(256)}

    def test_a_shard_in_the_order_of_a_seed_without_what_is_decided(self, core, hosts):
        left, right = hosts
        answer_for(right, socket.AF_INET, range(200))
        # Of shard 1 of 3 target k is address 3 k + 1; its first eight are decided.
        options = {"shard": (1, 3), "seed": 7, "decided": b"\xff" + bytes(12), "timeout": 0.2, "retries": 2}
        sweeper = swept(core, left, socket.AF_INET, 256, **options)
        alive = {target for target in range(8, 85) if 3 * target + 1 < 200}
        assert found(core, sweeper) == alive
        assert bytes(sweeper.states[:8]) == bytes([core.DECIDED]) * 8
        assert set(bytes(sweeper.states[67:])) == {core.SILENT}

    def test_an_interface_that_goes_down(self, core, hosts, family):
        left, right = hosts
        answer_for(right, family, range(256))

        def sweep() -> Any:
            with closing(Link("veth0", family, OURS[family])) as link:
                sweeper = core.LinkSweeper(link, span(family, 4096), timeout=0.5, rate=2000)
                while core.ALIVE not in bytes(sweeper.states):
                    assert not sweeper.run(0.05)
                left.ip("link", "set", "veth0", "down")
                return finish(sweeper)

        sweeper = left.call(sweep)
        counts = Counter(sweeper.states)
        assert counts[core.ALIVE] > 0
        # Nobody is silent: what had left when it went down could not be asked again.
        assert counts[core.ALIVE] + counts[core.PENDING] == 4096
        pending = [index for index, state in enumerate(sweeper.states) if state == core.PENDING]
        assert {sweeper.reason(index) for index in pending} == {errno.ENETDOWN}


def request_to(core: ModuleType, hosts: Hosts, family: int) -> tuple[bytes, str, str]:
    """The frame that asks for the prefix's address number 0x123456, and both MACs."""
    left, right = hosts
    target = PREFIX[family] + (0x1234 if family == socket.AF_INET else 0x123456)

    def ask() -> None:
        with closing(Link("veth0", family, OURS[family])) as link:
            core.LinkSweeper(link, [(target, target)]).run(0)

    with closing(right.call(lambda: heard(family))) as listening:
        left.call(ask)
        while True:
            frame = listening.recv(2048)
            if is_request(frame, text(family, target)):
                return frame, mac_of(left), mac_of(right)


def heard(family: int) -> socket.socket:
    """What arrives of ARP or IPv6, for the calling thread's namespace."""
    ethertype = 0x0806 if family == socket.AF_INET else 0x86DD
    listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
    listening.bind(("veth0", ethertype))
    listening.settimeout(60)
    return listening


def is_request(frame: bytes, target: str) -> bool:
    packet = parse(frame)
    if ARP in packet:
        return packet[ARP].op == 1 and packet[ARP].pdst == target
    return NeighborSolicitation in packet and packet[NeighborSolicitation].target == target


class TestRequests:
    def test_arp(self, core, hosts):
        frame, ours, _ = request_to(core, hosts, socket.AF_INET)
        asked = ARP(op=1, hwsrc=ours, psrc="10.77.0.1", pdst="10.9.18.52")
        assert frame == bytes(Ethernet(dst="ff:ff:ff:ff:ff:ff", src=ours) / asked)

    def test_neighbour_solicitation(self, core, hosts):
        frame, ours, _ = request_to(core, hosts, socket.AF_INET6)
        asked = NeighborSolicitation(target="fd99::12:3456", options=[SourceLinkLayerAddress(address=ours)])
        header = IPv6(src="fd77::1", dst="ff02::1:ff12:3456", hop_limit=255)
        assert frame == bytes(Ethernet(dst="33:33:ff:12:34:56", src=ours) / header / asked)
        parse(frame, strict=True)


Alter = Callable[[bytes], list[bytes]]


def at(offset: int, value: bytes, mend: bool = False) -> Alter:
    """The right reply but for these bytes."""
    return lambda frame: [put(frame, offset, value, mend)]


def put(frame: bytes, offset: int, value: bytes, mend: bool = False) -> bytes:
    changed = frame[:offset] + value + frame[offset + len(value) :]
    return mended(changed) if mend else changed


def mended(frame: bytes) -> bytes:
    """An ICMPv6 message with its checksum right again."""
    pseudo = frame[22:54] + (len(frame) - 54).to_bytes(4, "big") + b"\0\0\0\x3a"
    message = frame[54:56] + bytes(2) + frame[58:]
    return frame[:56] + checksum(pseudo + message).to_bytes(2, "big") + frame[58:]


def with_options(*options: bytes) -> Alter:
    """The right advertisement with other options."""

    def alter(frame: bytes) -> list[bytes]:
        changed = frame[:78] + b"".join(options)
        return [mended(put(changed, 18, (len(changed) - 54).to_bytes(2, "big")))]

    return alter


def extended(frame: bytes) -> list[bytes]:
    """With a destination options header between the IPv6 header and the message."""
    longer = frame[:54] + bytes((58, 0, 1, 4, 0, 0, 0, 0)) + frame[54:]
    return [put(put(longer, 18, (len(longer) - 54).to_bytes(2, "big")), 20, b"\x3c")]


GROUP = bytes.fromhex("333300000001")
MAC_OPTION = b"\2\1" + bytes.fromhex(OTHER_MAC.replace(":", ""))

BELIEVED: dict[int, dict[str, Alter]] = {
    socket.AF_INET: {
        "honest": lambda frame: [frame],
        "padded": lambda frame: [frame + bytes(18)],
        "a hundred": lambda frame: [frame] * 100,
        "two hosts": lambda frame: [frame, put(frame, 22, b"\2\0\0\0\0\1")],
        "sent by another station": at(6, b"\2\0\0\0\0\1"),
        "noise, then honest": lambda frame: [*[put(frame, 0, b"\xff" * 6)] * 50, frame[:30], frame],
    },
    socket.AF_INET6: {
        "honest": lambda frame: [frame],
        "a hundred": lambda frame: [frame] * 100,
        "two hosts": lambda frame: [frame, put(frame, 80, b"\2\0\0\0\0\1", mend=True)],
        "of a router": at(58, b"\xe0", mend=True),
        "by a proxy": at(22, IPv6Address("fd77::2").packed, mend=True),
        "padded": lambda frame: [frame + bytes(8)],
        "an unknown option first": with_options(b"\x4d\1" + bytes(6), MAC_OPTION),
        "noise, then honest": lambda frame: [*[put(frame, 0, GROUP)] * 50, frame[:60], frame],
    },
}
NOT_BELIEVED: dict[int, dict[str, Alter]] = {
    socket.AF_INET: {
        "silent": lambda frame: [],
        "a request": at(20, b"\0\1"),
        "a reverse reply": at(20, b"\0\4"),
        "to everybody": at(0, b"\xff" * 6),
        "gratuitous": lambda frame: [put(put(frame, 0, b"\xff" * 6), 38, frame[28:32])],
        "gratuitous, to us": lambda frame: [put(frame, 38, frame[28:32])],
        "to another MAC": at(0, b"\2\0\0\0\0\1"),
        "for another MAC": at(32, b"\2\0\0\0\0\1"),
        "for another address": at(38, socket.inet_aton("10.77.0.3")),
        "of an address that was not asked for": at(28, socket.inet_aton("10.8.0.1")),
        "another hardware": at(14, b"\0\6"),
        "another protocol": at(16, b"\x86\xdd"),
        "another length of MACs": at(18, b"\7"),
        "another length of addresses": at(19, b"\x10"),
        "another ethertype": at(12, b"\x80\x35"),
        "truncated": lambda frame: [frame[:41], frame[:28], frame[:14]],
        "no MAC": at(22, bytes(6)),
        "a group's MAC": at(22, GROUP),
        "sent by a group": at(6, GROUP),
        "on a VLAN": lambda frame: [frame[:12] + bytes(Dot1Q(vlan=5, type=0x0806)) + frame[14:]],
        "with a priority tag": lambda frame: [frame[:12] + bytes(Dot1Q(pcp=5, type=0x0806)) + frame[14:]],
    },
    socket.AF_INET6: {
        "silent": lambda frame: [],
        "a solicitation": at(54, b"\x87", mend=True),
        "an echo reply": at(54, b"\x81", mend=True),
        "another code": at(55, b"\1", mend=True),
        "unsolicited": at(58, b"\x20", mend=True),
        "to everybody": lambda frame: [mended(put(put(frame, 0, GROUP), 38, IPv6Address("ff02::1").packed))],
        "to another MAC": at(0, b"\2\0\0\0\0\1"),
        "to another address": at(38, IPv6Address("fd77::3").packed, mend=True),
        "of an address that was not asked for": at(62, IPv6Address("fd98::1").packed, mend=True),
        "from a group": at(22, IPv6Address("ff02::1").packed, mend=True),
        "through a router": at(21, b"\xfe"),
        "a bad checksum": lambda frame: [put(frame, 56, bytes((frame[56] ^ 1,)))],
        "no checksum": at(56, bytes(2)),
        "another next header": at(20, b"\x3b"),
        "another version": at(14, b"\x40"),
        "another header between": extended,
        "without a MAC": with_options(),
        "the source's MAC": with_options(b"\1" + MAC_OPTION[1:]),
        "a longer MAC": with_options(b"\2\2" + bytes(14)),
        "an option without length": with_options(b"\x4d\0" + bytes(6), MAC_OPTION),
        "an option that ends too late": with_options(MAC_OPTION, b"\x4d\2" + bytes(6)),
        "half an option": with_options(MAC_OPTION, b"\x4d"),
        "no MAC": at(80, bytes(6), mend=True),
        "a group's MAC": at(80, GROUP, mend=True),
        "sent by a group": at(6, GROUP),
        "truncated": lambda frame: [frame[:85], frame[:77], frame[:54], frame[:20]],
        "a length that is too long": at(18, b"\0\x40"),
        "a length that is too short": at(18, b"\0\x10"),
        "on a VLAN": lambda frame: [frame[:12] + bytes(Dot1Q(vlan=5, type=0x86DD)) + frame[14:]],
    },
}


def reply_to(frame: bytes) -> tuple[int, bytes] | None:
    """Whom a request asks for, and the right reply, with ``OTHER_MAC``."""
    packet = parse(frame)
    if ARP in packet and packet[ARP].op == 1:
        asked = packet[ARP]
        told = ARP(op=2, hwsrc=OTHER_MAC, psrc=asked.pdst, hwdst=asked.hwsrc, pdst=asked.psrc)
        return int(IPv4Address(asked.pdst)), bytes(Ethernet(dst=asked.hwsrc, src=OTHER_MAC) / told)
    if NeighborSolicitation not in packet or packet[IPv6].src != OURS[socket.AF_INET6]:
        return None
    target, asker = packet[NeighborSolicitation].target, packet[Ethernet].src
    advertised = NeighborAdvertisement(
        target=target, solicited=1, override=1, options=[TargetLinkLayerAddress(address=OTHER_MAC)]
    )
    header = IPv6(src=target, dst=packet[IPv6].src, hop_limit=255)
    return int(IPv6Address(target)), bytes(Ethernet(dst=asker, src=OTHER_MAC) / header / advertised)


@contextmanager
def answering(host: Namespace, family: int, alters: list[Alter]) -> Iterator[None]:
    """The host answers for the prefix's first addresses, each in its own way."""
    listening = host.call(lambda: heard(family))
    closing_down, told = socket.socketpair()

    def answer() -> None:
        while told not in select.select([listening, told], [], [])[0]:
            replied = reply_to(listening.recv(2048))
            place = replied[0] - PREFIX[family] if replied else -1
            if replied and 0 <= place < len(alters):
                for frame in alters[place](replied[1]):
                    listening.send(frame)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        closing_down.send(b"x")
        thread.join()
        for each in (listening, closing_down, told):
            each.close()


class TestReplies:
    def test_what_is_believed(self, core, hosts, family):
        left, right = hosts
        names = [*BELIEVED[family], *NOT_BELIEVED[family]]
        alters = [*BELIEVED[family].values(), *NOT_BELIEVED[family].values()]
        with answering(right, family, alters):
            sweeper = swept(core, left, family, len(alters), timeout=0.5, retries=2)
        assert {names[index] for index in found(core, sweeper)} == {*BELIEVED[family]}
        mac = bytes.fromhex(OTHER_MAC.replace(":", ""))
        assert {sweeper.mac(index) for index in range(len(BELIEVED[family]))} == {mac}
        assert Counter(sweeper.states) == {
            core.ALIVE: len(BELIEVED[family]),
            core.SILENT: len(NOT_BELIEVED[family]),
        }

    def test_a_reply_with_one_byte_wrong(self, core, hosts, family):
        left, right = hosts
        size = 42 if family == socket.AF_INET else 86

        def wrong(offset: int) -> Alter:
            return lambda frame: [put(frame, offset, bytes((frame[offset] ^ 0x80,)))]

        with answering(right, family, [wrong(offset) for offset in range(size)]):
            sweeper = swept(core, left, family, size, timeout=0.3)
        # Who sent it may be a proxy; beside that a wrong MAC, or a wrong flow label, is like any other.
        unsaid = {*range(22, 28)} if family == socket.AF_INET else {*range(15, 18)}
        assert found(core, sweeper) == {*range(6, 12)} | unsaid

    def test_what_came_before_it_was_asked_for_is_no_answer(self, core, hosts, family):
        left, right = hosts
        heard_before: list[bytes] = []

        def note(frame: bytes) -> list[bytes]:
            heard_before.append(frame)
            return [frame]

        def sweep(link: Any) -> Any:
            return finish(core.LinkSweeper(link, span(family, 1), timeout=0.2))

        with closing(left.call(lambda: Link("veth0", family, OURS[family]))) as link:
            with answering(right, family, [note]):
                while not found(core, sweep(link)):
                    pass
            with closing(right.call(lambda: heard(family))) as sender:
                sender.send(heard_before[-1])
            assert select.select([link], [], [], 60)[0]
            assert bytes(sweep(link).states) == bytes([core.SILENT])

            # In the middle of a sweep too: only the first one of the window was asked for by now.
            sweeper = core.LinkSweeper(link, [(PREFIX[family] - 1, PREFIX[family])], timeout=0.2, window=1)
            assert not sweeper.run(0)
            with closing(right.call(lambda: heard(family))) as sender:
                sender.send(heard_before[-1])
            assert bytes(finish(sweeper).states) == bytes([core.SILENT] * 2)


class TestLink:
    def test_what_it_is(self, core, hosts, family):
        link = hosts[0].call(lambda: Link("veth0", family, OURS[family]))
        assert (link.interface, link.family, link.source) == ("veth0", family, OURS[family])
        assert link.mac.hex(":") == mac_of(hosts[0])
        assert link.fileno() >= 0
        link.close()
        assert link.fileno() == -1

    def test_one_link_for_many_sweeps(self, core, hosts, family):
        left, right = hosts
        answer_for(right, family, range(0, 64, 3))
        with closing(left.call(lambda: Link("veth0", family, OURS[family]))) as link:
            for _ in range(3):
                sweeper = finish(core.LinkSweeper(link, span(family, 64), timeout=0.1))
                assert found(core, sweeper) == {*range(0, 64, 3)}

    def test_the_privilege_is_needed_only_to_open_it(self, core, hosts, python):
        answer_for(hosts[1], socket.AF_INET, range(1))
        code = (
            f"import {core.__name__} as core\nfrom fastnet._system.link_socket import Link\n"
            "link = Link('veth0', 2, '10.77.0.1')\ncore.drop_capabilities()\n"
            "sweeper = core.LinkSweeper(link, [(0x0A090000, 0x0A090001)], timeout=0.5)\n"
            "while not sweeper.run(1): pass\n"
            "print(*sweeper.states)\n"
            "Link('veth0', 2, '10.77.0.1')"
        )
        result = python("-c", code, prefix=hosts[0].prefix)
        assert result.stdout == f"{core.ALIVE} {core.SILENT}\n"
        assert result.stderr.splitlines()[-1].startswith("fastnet.errors.NotPermitted: [Errno 1] no packet")

    def test_who_may_not(self, root, core, python):
        code = "from fastnet._system.link_socket import Link\nLink('lo', 2, '127.0.0.1')"
        result = python("-c", code, prefix=UNPRIVILEGED)
        assert result.stderr.splitlines()[-1].startswith(
            "fastnet.errors.NotPermitted: [Errno 1] no packet socket is permitted here: have the capability "
            "CAP_NET_RAW from the start (AmbientCapabilities= and CapabilityBoundingSet= in a systemd unit, "
        )

    @pytest.mark.parametrize("name", ["nosuch0", "a-name-that-is-too-long", "lo\0x", ""])
    def test_an_interface_that_there_is_not(self, root, core, name):
        with pytest.raises(NoSuchInterface, match="there are lo") as caught:
            Link(name, socket.AF_INET, "127.0.0.1")
        assert caught.value.errno == errno.ENODEV

    def test_an_interface_without_neighbours(self, core, hosts):
        with pytest.raises(InvalidArgument, match="interface lo: expected an Ethernet one, with ARP"):
            Link("lo", socket.AF_INET, "127.0.0.1")
        left, _ = hosts
        left.ip("link", "set", "veth0", "arp", "off")
        with pytest.raises(InvalidArgument, match="interface veth0: expected an Ethernet one, with ARP"):
            left.call(lambda: Link("veth0", socket.AF_INET, "10.77.0.1"))

    @pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1"])
    def test_a_source_that_is_somebody_else_s(self, root, core, source):
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with pytest.raises(NoAddress, match="not an address of this machine") as caught:
            Link("lo", family, source)
        assert caught.value.errno == errno.EADDRNOTAVAIL

    @pytest.mark.parametrize(
        ("family", "source"),
        [(socket.AF_INET, "::1"), (socket.AF_INET6, "127.0.0.1"), (socket.AF_INET, "a\0")],
    )
    def test_a_source_that_is_no_address(self, root, core, family, source):
        with pytest.raises(InvalidArgument, match=r"expected a numeric IPv[46] address"):
            Link("lo", family, source)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"timeout": float("nan")}, "timeout nan: expected 0"),
    ({"retries": -1}, "retries -1: expected 0"),
    ({"window": 0}, "window 0: expected 1"),
    ({"rate": 0}, "rate 0: expected more than 0"),
    ({"shard": (2, 2)}, "shard"),
    ({"decided": b""}, "decided: 0 bytes for 2 targets"),
]


class TestSweeper:
    def test_what_is_refused(self, core, hosts):
        with closing(hosts[0].call(lambda: Link("veth0", socket.AF_INET, "10.77.0.1"))) as link:
            for options, words in REFUSED:
                with pytest.raises(InvalidArgument, match=words):
                    core.LinkSweeper(link, span(socket.AF_INET, 2), **options)

    def test_its_members(self, core, hosts):
        with closing(hosts[0].call(lambda: Link("veth0", socket.AF_INET, "10.77.0.1"))) as link:
            sweeper = core.LinkSweeper(link, [(0, 0), *span(socket.AF_INET, 2)], timeout=0, retries=0)
            finish(sweeper)
            assert (sweeper.size, sweeper.sent, sweeper.finished) == (3, 2, True)
            assert bytes(sweeper.states) == bytes([core.PENDING, core.SILENT, core.SILENT])
            assert [sweeper.reason(index) for index in range(3)] == [core.NOT_A_HOST, None, None]
            assert len(sweeper.rtts_ms) == 3
            for member in (sweeper.mac, sweeper.reason):
                for index in (-1, 3):
                    with pytest.raises(IndexError, match=f"target {index}: there are 3"):
                        member(index)
            sweeper.close()

    def test_nothing_is_left_of_many(self, core, hosts, python):
        answer_for(hosts[1], socket.AF_INET, range(4))
        code = f"""
import gc, os, resource
import {core.__name__} as core
from fastnet._system.link_socket import Link

def run():
    link = Link("veth0", 2, "10.77.0.1")
    sweeper = core.LinkSweeper(link, [(0x0A090000, 0x0A090003)], retries=9)
    while not sweeper.run(0.01):
        pass
    assert bytes(sweeper.states) == bytes([core.ALIVE] * 4)
    link.close()

def measured():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for _ in range(10):
    run()
before = measured()
for _ in range(50):
    run()
after = measured()
print(after[0] - before[0], after[1] - before[1] < 2048)
"""
        result = python("-c", code, prefix=hosts[0].prefix)
        assert (result.stdout, result.stderr) == ("0 True\n", "")
