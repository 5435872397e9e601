"""IPv6 support in namespaces that lack this or that, against what the kernel does with a program's socket."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnet.ipv6 import DESTINATIONS, Ipv6Support, WayOut, support, supported

ROUTER = "fd77::2"


def ways(source: str, gateway: str | None = ROUTER, obstacle: str = "") -> tuple[WayOut, ...]:
    return tuple(WayOut(destination, "veth0", gateway, source, obstacle) for destination in DESTINATIONS)


def no_way(obstacle: str) -> tuple[WayOut, ...]:
    return tuple(WayOut(destination, None, None, None, obstacle) for destination in DESTINATIONS)


@pytest.fixture
def plain(linked: tuple[Any, Any]) -> Any:
    """fd77::1 on ``veth0``, whose other end is the router fd77::2; no address but those that tests add."""
    for host in linked:
        host.ip("link", "set", "veth0", "addrgenmode", "none")
        host.ip("-6", "address", "flush", "dev", "veth0", "scope", "link")
    return linked[0]


def test_all_of_it(plain: Any) -> None:
    plain.ip("-6", "address", "add", "fe80::7/64", "dev", "veth0", "nodad")
    plain.ip("-6", "route", "add", "default", "via", ROUTER)
    found = plain.call(support)
    assert found == Ipv6Support(
        *(True, True, ("lo", "veth0"), (), True, ("fe80::7%veth0",), ("fd77::1",), ways("fd77::1"))
    )
    assert (found.works, found.reasons) == (True, ())


def test_only_loopback(namespace: Any) -> None:
    found = namespace().call(support)
    assert found == Ipv6Support(True, True, ("lo",), (), True, (), (), no_way("no route"))
    reasons = ("no interface has an address beyond its own link", "no way out: no route")
    assert (found.works, found.reasons) == (False, reasons)


def test_loopback_that_is_down(namespace: Any) -> None:
    host = namespace()
    host.ip("link", "set", "lo", "down")
    assert host.call(support).reasons[0] == "the loopback address ::1 can't be used"


def test_only_link_local(plain: Any) -> None:
    """The kernel would send from it, and no answer would come back."""
    plain.ip("-6", "address", "flush", "dev", "veth0")
    plain.ip("-6", "address", "add", "fe80::7/64", "dev", "veth0", "nodad")
    plain.ip("-6", "route", "add", "default", "dev", "veth0")
    found = plain.call(support)
    assert (found.addresses, found.link_local) == ((), ("fe80::7%veth0",))
    obstacle = "the kernel would send from fe80::7, which is valid on its link only"
    assert found.ways == ways("fe80::7", None, obstacle)
    assert found.reasons == ("no interface has an address beyond its own link", f"no way out: {obstacle}")


@pytest.mark.parametrize(
    ("kind", "obstacle"),
    [
        ("unreachable", "an unreachable route"),
        ("blackhole", "a blackhole route"),
        ("prohibit", "a prohibit route"),
        ("throw", "no route"),
    ],
)
def test_a_default_route_that_rejects(plain: Any, kind: str, obstacle: str) -> None:
    plain.ip("-6", "route", "add", kind, "default")
    found = plain.call(support)
    assert (found.ways, found.reasons) == (no_way(obstacle), (f"no way out: {obstacle}",))


@pytest.mark.parametrize(
    "routes",
    [
        ("default via fd77::2",),
        ("default dev veth0",),
        ("::/1 via fd77::2", "8000::/1 via fd77::2"),  # as VPNs have it
        ("2000::/3 via fd77::2",),
        ("default via fd77::2 table 100", "unreachable default metric 4294967295"),  # with a rule, below
        ("default nexthop via fd77::2 nexthop via fd77::3",),
        ("default nhid 8",),
        ("default from fd77::/64 via fd77::2",),  # the source that the kernel selects
        ("default via fe80::9 dev veth0",),
        ("default via fd99::9 dev veth0 onlink",),
    ],
)
def test_what_is_a_way_out(plain: Any, routes: tuple[str, ...]) -> None:
    plain.ip("-6", "nexthop", "add", "id", "8", "via", ROUTER, "dev", "veth0")
    plain.ip("-6", "rule", "add", "lookup", "100", "priority", "100")
    for route in routes:
        plain.ip("-6", "route", "add", *route.split())
    found = plain.call(support)
    assert found.works, found.reasons
    assert {way.source for way in found.ways} == {"fd77::1"}


@pytest.mark.parametrize(
    "route",
    [
        "route add local default dev lo table 100",  # TPROXY's, with a rule for a mark
        "route add local default dev lo",
        "route add default dev lo",
        "route add default from fd99::/64 via fd77::2",
        "route add default nhid 9",
        "route add default via fd77::2 table 200",  # which no rule selects
        "rule add priority 1 prohibit",
        "rule add priority 1 from all lookup 300",
        "route add 2001:db8::/32 via fd77::2",
    ],
)
def test_what_is_no_way_out(plain: Any, route: str) -> None:
    plain.ip("-6", "nexthop", "add", "id", "9", "blackhole")
    plain.ip("-6", "rule", "add", "fwmark", "1", "lookup", "100")
    plain.ip("-6", *route.split())
    found = plain.call(support)
    assert not found.works
    assert all(way.obstacle for way in found.ways)


def test_a_way_out_to_some_only(plain: Any) -> None:
    plain.ip("-6", "route", "add", "2000::/4", "via", ROUTER)
    plain.ip("-6", "route", "add", "unreachable", "2800::/8")
    found = plain.call(support)
    assert found.reasons == ("no way out to 2800::1: an unreachable route",)
    plain.ip("-6", "route", "del", "unreachable", "2800::/8")
    plain.ip("-6", "route", "del", "2000::/4")
    plain.ip("-6", "route", "add", "2600::/12", "via", ROUTER)
    others = ", ".join(each for each in DESTINATIONS if each != "2600::1")
    assert plain.call(support).reasons == (f"no way out to {others}: no route",)


def test_a_way_out_without_a_carrier(linked: Any) -> None:
    left, right = linked
    left.ip("-6", "route", "add", "default", "via", ROUTER)
    assert left.call(support).works
    right.ip("link", "set", "veth0", "down")
    while "NO-CARRIER" not in left.ip("link", "show", "dev", "veth0"):
        time.sleep(0.02)
    assert left.call(support).reasons == ("no way out: veth0 is down: turned on, but there is no carrier",)


def test_of_several_ways_the_one_that_the_kernel_takes(namespace: Any) -> None:
    """A route by an interface without a carrier is still taken, unless the kernel is to ignore it."""
    host = namespace()
    for number, other in ((1, "down"), (2, "up")):
        host.ip("link", "add", f"w{number}", "type", "veth", "peer", "name", f"p{number}")
        host.ip("link", "set", f"w{number}", "up")
        host.ip("link", "set", f"p{number}", other)
        host.ip("-6", "address", "add", f"fd0{number}::1/64", "dev", f"w{number}", "nodad")
        host.ip("-6", "route", "add", "default", "via", f"fd0{number}::9", "metric", str(number))
    host.carry("w2")
    while "NO-CARRIER" not in host.ip("link", "show", "dev", "w1"):
        time.sleep(0.02)
    reason = "no way out: w1 is down: turned on, but there is no carrier: p1 is turned off"
    assert host.call(support).reasons == (reason,)
    for name in ("all", "w1"):
        host.run("sysctl", "-qw", f"net.ipv6.conf.{name}.ignore_routes_with_linkdown=1")
    found = host.call(support)
    assert (found.works, {way.interface for way in found.ways}) == (True, {"w2"})


@pytest.mark.parametrize("name", [b"bad\xff", b"w\xe3\x80\x80b", b"a\x1fb"])
def test_a_name_that_is_no_text_or_seems_to_be_two(plain: Any, fastnet: Any, name: bytes) -> None:
    text = os.fsdecode(name)
    plain.ip("link", "set", "veth0", "name", text)
    plain.ip("-6", "route", "add", "default", "via", ROUTER)
    found = plain.call(support)
    assert (found.works, found.addresses, found.enabled) == (True, ("fd77::1",), ("lo", text))
    assert fastnet("ipv6", prefix=plain.prefix).returncode == 0


def test_turned_off_by_sysctl(plain: Any) -> None:
    plain.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/veth0/disable_ipv6")
    found = plain.call(support)
    assert (found.enabled, found.disabled, found.loopback) == (("lo",), ("veth0",), True)
    plain.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    found = plain.call(support)
    assert (found.disabled, found.kernel, found.loopback) == (("lo", "veth0"), True, False)
    assert len(found.reasons) == 3


def test_an_address_that_a_neighbour_has_too(linked: Any) -> None:
    left, right = linked
    right.ip("-6", "address", "add", "fd77::99/64", "dev", "veth0", "nodad")
    left.run("sysctl", "-qw", "net.ipv6.conf.veth0.accept_dad=1")
    left.ip("-6", "address", "add", "fd77::99/64", "dev", "veth0")
    # Tentative at first, failed in the end: usable never.
    assert left.call(support).addresses == ("fd77::1",)


def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket(socket.socket):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            if arguments[:1] == (socket.AF_INET6,):
                raise OSError(errno.EAFNOSUPPORT, "")
            super().__init__(*arguments, **options)

    # In this module only: Python's socket.socket is a class on top of the one that others use.
    monkeypatch.setattr(supported, "socket", SimpleNamespace(**{**vars(socket), "socket": Socket}))
    found = support()
    assert (found.kernel, found.ways, found.reasons) == (False, (), ("the kernel has no IPv6",))
    monkeypatch.setattr(supported.socket, "has_ipv6", False)
    assert support().reasons == ("Python was built without IPv6",)


PREFIXES = ("::/0", "::/1", "2000::/3", "2400::/6", "2600::/12", "2800::/5", "2a00::/12", "2c00::/16")
TARGETS = ("via fd77::2", "dev veth0", "dev lo", "nhid 8", "nhid 9")
KINDS = ("unicast", "unreachable", "blackhole", "prohibit", "local")
OPTIONS = ("", "table 100", "table local", "from fd77::/64", "from fd99::/64", "metric 1")
a_route = st.tuples(*map(st.sampled_from, (KINDS, PREFIXES, TARGETS, OPTIONS)))


def line(route: tuple[str, str, str, str]) -> str:
    kind, prefix, target, options = route
    to = {"unicast": target, "local": "dev lo"}.get(kind, "")
    return f"route add {kind} {prefix} {to} {options} proto 77"


def by_the_kernel(host: Any, destination: str) -> bool:
    """Whether a program's socket has a way out, and one that ``ip`` does not see end on this machine."""

    def source() -> str | None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect((destination, 9))
            except OSError:
                return None
            name: str = sock.getsockname()[0]
            return name

    own = host.call(source)
    if own is None:
        return False
    words = f"ip -6 -j route get {destination}"
    shown = host.run("sh", "-c", f"{words} 2>/dev/null || {words} from {own}").stdout
    (route,) = json.loads(shown)
    return (route.get("type", "unicast"), route["dev"]) == ("unicast", "veth0")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(a_route, max_size=4, unique_by=lambda route: route[1]), st.sampled_from(DESTINATIONS))
def test_any_routes_against_a_socket_and_ip(
    plain: Any, routes: list[tuple[str, str, str, str]], destination: str
) -> None:
    # Of equal routes the kernel takes turns, so no two are.
    setup = [
        *("nexthop replace id 8 via fd77::2 dev veth0", "nexthop replace id 9 blackhole"),
        *("route flush proto 77", "route flush table 100 proto 77", "route flush table local proto 77"),
        *("rule del priority 9", "rule add priority 9 lookup 100"),
        *map(line, routes),
    ]
    plain.run("sh", "-c", "ip -6 -force -batch - || true", input="\n".join(setup))
    (way,) = (each for each in plain.call(support).ways if each.destination == destination)
    assert (not way.obstacle) == by_the_kernel(plain, destination), way
