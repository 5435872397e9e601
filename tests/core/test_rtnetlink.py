"""What rtnetlink gives, field by field against `ip -json -details`; and the twins against each other."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import ip_json
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from namespaces import namespaces

from fastnet._contract.rtnetlink import Interface

TOPIC = "rtnetlink"

T = TypeVar("T")
U = TypeVar("U")

SETUPS = 200
"""Random ones, each read by both twins."""

KINDS = """
    link add bridge0 type bridge
    link add v0 mtu 1400 address 02:00:00:00:00:07 type veth peer name v1
    link set v1 master bridge0
    link add ifb0 type ifb
    link add vxlan0 type vxlan id 5 dstport 4789 dev v0
    link add macvlan0 link v0 type macvlan mode bridge
    link add macvtap0 link v0 type macvtap
    tuntap add tun0 mode tun
    tuntap add tap0 mode tap
    link property add dev v0 altname uplink0 altname an-alternative-name-that-is-longer-than-fifteen-bytes
    link set v0 up
    link set v1 up
    link set bridge0 up
    link set tun0 up
    address add 10.1.0.1/24 brd + dev v0
    address add 10.1.0.1/16 dev v0
    address add 10.1.0.9/24 dev v0
    address add 10.2.0.1/31 dev v0 label v0:alias
    address add 10.5.0.1 peer 10.6.0.0/24 dev v0
    address add 169.254.1.1/16 dev v0 scope link
    address add fd00::1/64 dev v0 nodad preferred_lft 3000 valid_lft 4000
    address add fd00::2/64 dev v0 nodad noprefixroute
    address add fd04::1 peer fd05::2/96 dev v0 nodad
    address add 10.7.0.1 peer 10.7.0.2 dev tun0
"""
ROUTES = """
    route add default via 10.1.0.2
    route add default via 10.1.0.3 metric 7 proto static
    route add default via 192.0.2.1 dev v0 onlink table 100
    route add default metric 9 nexthop via 10.1.0.4 weight 3 nexthop via 10.2.0.0 dev v0 weight 200
    route add 192.0.2.0/24 via inet6 fe80::5 dev v0
    route add 198.51.100.0/24 dev v0 src 10.1.0.9 mtu 1300 scope link
    route add 198.51.100.0/25 tos 0x10 dev v0 proto 77 table 70000
    route add blackhole 203.0.113.0/25
    route add unreachable 203.0.113.128/26
    route add prohibit 203.0.113.192/26 metric 3
    route add throw 203.0.113.0/24 table 100
    route add default via fd00::f
    route add default from fd00:9::/64 via fd00::e dev v0
    route add 2001:db8::/32 metric 20 nexthop via fd00::a weight 2 nexthop via fd00::b
    route add blackhole 2001:db8:1::/48
    route add 2001:db8:2::/48 via fd00::c pref high mtu 1280
    nexthop add id 9 via 10.1.0.7 dev v0
    route add 192.0.2.128/25 nhid 9
    neighbour add 10.1.0.2 lladdr 02:00:00:00:00:09 dev v0 nud permanent
    neighbour add fd00::f lladdr 02:00:00:00:00:0a dev v0 nud reachable router
    neighbour add proxy 10.1.0.77 dev v0
"""


REACHED = ("10.1.0.5", "198.51.100.200", "192.0.2.5", "10.1.0.1", "2001:db8:2::1", "fd00::3")


@pytest.fixture
def full(namespace: Callable[[], Any]) -> Any:
    """A namespace with an interface of each kind, and each kind of address, route and neighbour."""
    host = namespace()
    host.run("ip", "-force", "-batch", "-", input=KINDS)
    host.run("ip", "-batch", "-", input=ROUTES)
    return host


def printed() -> list[list[ip_json.Value]]:
    """What ip prints of interfaces and routes, in the namespace of the calling thread."""
    routes = [ip_json.ip("-j", "-d", family, "route", "show", "table", "all") for family in ("-4", "-6")]
    return [ip_json.ip("-j", "-d", "address"), *routes]


def both(read: Callable[[], T], print_it: Callable[[], U]) -> tuple[T, U]:
    """What is read while what ip prints stays the same: the kernel notices a carrier late."""
    before, after = None, print_it()
    while before != after:
        before, found, after = after, read(), print_it()
    return found, after


def compare(*kernels: Any) -> list[Interface]:
    """Everything against ip, and among the implementations."""
    read, (links, *expected) = both(
        lambda: [(kernel.interfaces(), kernel.addresses(), kernel.routes()) for kernel in kernels], printed
    )
    interfaces, addresses, routes = read[0]
    own = [address for each in interfaces for address in each.addresses]
    assert {each.ifindex: ip_json.our_link(each) for each in interfaces} == ip_json.links(links)
    assert {*addresses} == {*own}
    assert ip_json.our_routes(routes) == ip_json.routes(*expected)
    assert read[1:] == read[:-1]
    return interfaces  # type: ignore[no-any-return]


def test_every_field_against_ip(core: ModuleType, full: Any) -> None:
    def work() -> None:
        with core.Kernel() as kernel:
            found = {each.name: each for each in compare(kernel)}
            lifetimes, links = both(kernel.lifetimes, lambda: printed()[0])
            assert ip_json.our_lifetimes(lifetimes) == ip_json.lifetimes(links)
            proxies = ip_json.ip("-j", "neighbour", "show", "proxy")
            neighbours, table = both(
                kernel.neighbours, lambda: ip_json.ip("-j", "neighbour", "show", "nud", "all")
            )
            assert ip_json.our_neighbours(neighbours) == ip_json.neighbours(table)
            assert [each["dst"] for each in proxies] == ["10.1.0.77"]
            counters, stats = both(kernel.counters, lambda: ip_json.ip("-j", "-s", "link"))
            assert ip_json.our_counters(counters) == ip_json.counters(stats)
        assert found["v0"].speed_mbit == 10_000
        assert found["v0"].duplex == "full"
        assert found["lo"].speed_mbit is None
        assert {own.protocol for own in found["lo"].addresses if own.version == 6} <= {"kernel_lo", None}
        assert found["v0"].altnames[1].startswith("an-alternative-name")

    full.call(work)


def test_the_networks_of_peers(core: ModuleType, full: Any) -> None:
    with full.call(core.Kernel) as kernel:
        found = {own.address: (own.network, own.prefix_length) for own in kernel.addresses()}
    assert found["10.5.0.1"] == ("10.6.0.0", 24)
    assert found["fd04::1"] == ("fd04::", 96)
    assert found["10.7.0.1"] == ("10.7.0.2", 32)


def test_addresses_of_one_interface(core: ModuleType, full: Any) -> None:
    with full.call(core.Kernel) as kernel:
        tunnel = kernel.find(b"tun0").ifindex
        assert [own.address for own in kernel.addresses(tunnel)] == ["10.7.0.1"]
        everything = kernel.addresses()
        assert [own for own in everything if own.ifindex == tunnel] == kernel.addresses(tunnel)


def test_find_by_any_name(core: ModuleType, full: Any) -> None:
    with full.call(core.Kernel) as kernel:
        found = kernel.find(b"v0")
        assert (found.name, found.mac) == ("v0", "02:00:00:00:00:07")
        assert kernel.find(b"uplink0") == found
        assert kernel.find(b"an-alternative-name-that-is-longer-than-fifteen-bytes") == found
        for name in (
            b"nothere",
            b"a-name-of-nobody-that-is-longer-than-fifteen-bytes",
            b"",
            b"v0\0",
            b"x" * 128,
        ):
            with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
                kernel.find(name)


def test_route_to_against_ip(core: ModuleType, full: Any) -> None:
    def work() -> None:
        with core.Kernel() as kernel:
            for destination in (
                "10.1.0.5",
                "198.51.100.200",
                "192.0.2.5",
                "10.1.0.1",
                "2001:db8:2::1",
                "fd00::3",
            ):
                family = socket.AF_INET6 if ":" in destination else socket.AF_INET
                route = kernel.route_to(socket.inet_pton(family, destination))
                [answer] = ip_json.ip("-j", "-d", "route", "get", destination)
                expected = (destination, ip_json.gateway(answer), answer["dev"], answer["prefsrc"])
                assert (route.destination, route.gateway, route.interface, route.source) == expected
            assert kernel.route_to(socket.inet_aton("198.51.100.200")).mtu == 1300
            assert kernel.route_to(socket.inet_aton("10.1.0.5")).mtu == 1400
            for refused, code in (("203.0.113.130", errno.EHOSTUNREACH), ("203.0.113.200", errno.EACCES)):
                with pytest.raises(OSError, match=os.strerror(code)):
                    kernel.route_to(socket.inet_aton(refused))

    full.call(work)


def test_a_message_that_is_larger_than_the_buffer(core: ModuleType, namespace: Callable[[], Any]) -> None:
    """Names of 127 bytes, until the attribute that holds them is full: 64 KiB."""
    host = namespace()
    batch = "\n".join(f"link property add dev lo altname {'x' * 122}{n:05d}" for n in range(496))
    host.run("ip", "-force", "-batch", "-", input=batch)
    with host.call(core.Kernel) as kernel:
        for _ in range(2):
            assert [len(each.altnames) for each in kernel.interfaces()] == [496]
            assert len(kernel.find(b"lo").altnames) == 496


NAMES = ("a", "b", "abcdefghijklmno", "\udcff", "w b", "\x1b[1m", "0x1")
lengths = st.integers(1, 30)
few = st.integers(1, 9)
v4 = st.integers(0x0A000001, 0x0AFFFFFE).map(lambda number: socket.inet_ntoa(number.to_bytes(4, "big")))
v6 = st.integers(1, (1 << 64) - 1).map(
    lambda number: socket.inet_ntop(socket.AF_INET6, b"\xfd" + bytes(7) + number.to_bytes(8, "big"))
)
tables = st.sampled_from((1, 254, 9999))
altnames = st.text("abc", min_size=16, max_size=99)
commands = st.one_of(
    st.builds("address add {}/{} dev {{0}}".format, v4, lengths),
    st.builds("address add {}/{} brd + dev {{0}} label {{0}}:x".format, v4, lengths),
    st.builds("address add {} peer {}/{} dev {{0}}".format, v4, v4, lengths),
    st.builds("address add {}/{} dev {{0}} nodad".format, v6, st.integers(1, 128)),
    st.builds("address add {}/64 dev {{1}} nodad preferred_lft 0 valid_lft 9999".format, v6),
    st.builds("route add {}/32 dev {{0}} metric {}".format, v4, few),
    st.builds("route add {}/32 via {} dev {{1}} onlink table {}".format, v4, v4, tables),
    st.builds("route add {}/32 nexthop via {} dev {{0}} onlink nexthop dev {{1}}".format, v4, v4),
    st.builds("route add {}/128 via fe80::{} dev {{0}} proto {}".format, v6, few, st.integers(4, 250)),
    st.builds("route add unreachable 0.0.0.0/0 metric {}".format, few),
    st.builds("route add unreachable ::/0 metric {}".format, few),
    st.builds("link set {{1}} mtu {}".format, st.integers(1280, 9000)),
    st.builds("link set {{1}} address 02:00:00:00:00:{:02x}".format, st.integers(0, 255)),
    st.builds("link property add dev {{0}} altname {}".format, altnames),
    st.sampled_from(("link set {1} down", "link set {0} multicast off", "link set {0} carrier off")),
)
"""Some are refused, as on a link that is down: what is then there is compared."""


def quoted(name: str) -> str:
    return f'"{name}"'


@pytest.fixture(scope="module")
def workshop(root: None, peer: Callable[[str], str]) -> Any:
    with namespaces(peer("ip")) as make:
        yield make()


@settings(max_examples=SETUPS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=2, unique=True),
    asked=st.lists(commands, max_size=8),
)
def test_random_setups_against_ip(
    twins: tuple[ModuleType, ModuleType], workshop: Any, names: list[str], asked: list[str]
) -> None:
    first, second, *_ = map(quoted, names)
    batch = [
        f"link add {first} type veth peer name {second}",
        f"link set {first} up",
        f"link set {second} up",
    ]
    batch += [command.format(first, second) for command in asked]

    def work() -> None:
        native, pure = twins
        try:
            ip_batch("\n".join(batch))
            with native.Kernel() as ours, pure.Kernel() as oracle:
                compare(ours, oracle)
        finally:
            ip_batch(f"link delete {first}\nroute flush type unreachable")
            ip_batch("route flush type unreachable", "-6")

    workshop.call(work)


def ip_batch(text: str, *options: str) -> None:
    subprocess.run(
        ["ip", *options, "-force", "-batch", "-"],
        input=text,
        text=True,
        errors="surrogateescape",
        capture_output=True,
        check=False,
    )
