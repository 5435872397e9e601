"""Which addresses are on a link and which behind a gateway, compared with the kernel's answer for each."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import pairwise
from typing import Any

import pytest
from environment import COMMAND_TIMEOUT
from namespaces import Namespace

from fastnet._system import routes as system

UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
ADDRESS: dict[int, Callable[[int], Any]] = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}

ROUTES = {
    socket.AF_INET: """
        10.9.0.0/16 dev veth0
        10.9.5.0/24 via 10.77.0.2
        blackhole 10.9.6.0/24
        unreachable 10.9.7.0/28
        prohibit 10.9.7.16/28
        local 10.9.8.8/32 dev lo
        10.9.9.0/24 dev veth0 metric 50
        10.9.9.0/24 dev veth1 metric 10
        10.9.9.77/32 via 10.78.0.2 metric 7
        10.9.11.0/24 dev veth3
        10.9.13.0/24 dev veth0 src 10.78.0.1
        10.9.16.0/24 via 10.77.0.2 table 100
        10.20.0.0/14 via 10.78.0.2
        172.16.0.0/24 dev veth0 table default
        172.16.0.128/25 via 10.77.0.2 table default
        default via 10.77.0.2
    """,
    socket.AF_INET6: """
        fd99::/64 dev veth0
        fd99::5:0/112 via fd77::2
        blackhole fd99::6:0/112
        unreachable fd99::7:0/124
        prohibit fd99::7:10/124
        local fd99::8:8/128 dev lo
        fd99::9:0/112 dev veth0 metric 50
        fd99::9:0/112 dev veth1 metric 10
        fd99::9:77/128 via fd78::2 metric 7
        fd99::11:0/112 dev veth3
        fd99::13:0/112 dev veth0 src fd78::1
        fd99::16:0/112 via fd77::2 table 100
        fd20::/30 via fd78::2
        default via fd77::2
    """,
}
GUESSED = {
    socket.AF_INET: """
        10.9.10.0/24 nexthop dev veth0 nexthop dev veth1
        10.9.12.0/24 via inet6 fd77::2 dev veth0
        10.9.14.0/24 dev veth2
        10.9.17.0/24 tos 0x10 via 10.77.0.2
        throw 10.9.18.0/24
    """,
    socket.AF_INET6: """
        fd99::10:0/112 nexthop via fd77::2 nexthop via fd78::2
        fd99::14:0/112 dev veth2
        throw fd99::18:0/112
    """,
}
"""What goes several ways, over a link that is down, or depends on more than the address."""


@pytest.fixture(params=list(ADDRESS), ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.fixture
def host(namespace: Callable[[], Namespace]) -> Namespace:
    """Interfaces ``veth0`` (10.77.0.1/24, fd77::1/64) and ``veth1`` (10.78.0.1/16, fd78::1/48) with carrier,
    ``veth2`` without, and ``veth3``, which speaks no ARP.
    """
    host = namespace()
    for number in range(4):
        host.ip("link", "add", f"veth{number}", "type", "veth", "peer", "name", f"peer{number}")
        host.ip("link", "set", f"veth{number}", "up")
    host.ip("link", "set", "veth3", "arp", "off")
    for name in ("peer0", "peer1", "peer3"):
        host.ip("link", "set", name, "up")
    for name, *addresses in (
        ("veth0", "10.77.0.1/24", "fd77::1/64"),
        ("veth1", "10.78.0.1/16", "fd78::1/48"),
    ):
        for address in addresses:
            host.ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    while host.ip("link", "show", "up").count("state UP") < 6:
        time.sleep(0.02)
    return host


def add(host: Namespace, family: int, text: str) -> None:
    option = "-4" if family == socket.AF_INET else "-6"
    for line in lines(text):
        host.ip(option, "route", "add", *line.split())


Said = dict[str, tuple[str, str, str]]
"""Of an address: the interface, the source and the gateway."""


def asked(host: Namespace, family: int, addresses: list[str]) -> Said:
    """What ``ip route get`` prints for each address that is reached by an Ethernet interface with ARP."""
    option = "-4" if family == socket.AF_INET else "-6"
    told = subprocess.run(
        [*host.prefix, "ip", "-json", "-force", option, "-batch", "-"],
        input="".join(f"route get {address}\n" for address in addresses),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT,
        check=False,  # it fails where one of them is not reachable
    ).stdout
    routes = [
        json.loads(line)[0] for line in told.replace("][", "]\n[").splitlines() if line.startswith("[{")
    ]
    return {
        route["dst"]: (route["dev"], route["prefsrc"], route.get("gateway", ""))
        for route in routes
        if route.get("type", "unicast") == "unicast" and route["dev"] in ("veth0", "veth1")
    }


def said(found: list[Any], family: int, addresses: list[str]) -> Said:
    """The interface, source and gateway of each address, by the routes found."""
    as_number = {address: int(ADDRESS[family](address)) for address in addresses}  # type: ignore[arg-type]
    return {
        address: (route.interface, route.source, route.gateway)
        for address, number in as_number.items()
        for route in found
        if route.first <= number <= route.last
    }


def interesting(family: int, *texts: str) -> list[str]:
    """The addresses at and around the ends of all prefixes, and some from anywhere in them."""
    words = [word for text in texts for line in lines(text) for word in line.split() if "/" in word]
    own = {
        socket.AF_INET: [
            "10.77.0.0/24",
            "10.77.0.1/32",
            "10.78.0.0/16",
            "10.78.0.1/32",
            "127.0.0.0/8",
            "8.0.0.0/8",
            "224.0.0.0/4",
        ],
        socket.AF_INET6: [
            "fd77::/64",
            "fd77::1/128",
            "fd78::/48",
            "fd78::1/128",
            "::1/128",
            "2000::/3",
            "ff00::/8",
        ],
    }
    rng, limit = random.Random(7), (1 << ADDRESS[family](0).max_prefixlen) - 1
    numbers = set()
    for prefix in map(ip_network, words + own[family]):
        first, last = int(prefix[0]), int(prefix[-1])
        numbers |= {first - 1, first, first + 1, last - 1, last, last + 1}
        numbers |= {rng.randint(first, last) for _ in range(5)}
    return [str(ADDRESS[family](number)) for number in sorted(numbers) if 0 < number < limit]


def found(host: Namespace, family: int) -> tuple[list[Any], list[Any]]:
    on_link, gatewayed = host.call(lambda: (system.on_link(family), system.gatewayed(family)))
    assert all(not route.gateway for route in on_link)
    assert all(route.gateway for route in gatewayed)
    ordered = sorted(on_link + gatewayed, key=lambda route: route.first)
    assert all(one.last < other.first for one, other in pairwise(ordered))
    assert all(route.first <= route.last for route in ordered)
    return on_link, gatewayed


def shown(family: int, routes: list[Any]) -> list[tuple[str, ...]]:
    return [
        (
            route.interface,
            str(ADDRESS[family](route.first)),
            str(ADDRESS[family](route.last)),
            route.source,
            *([route.gateway] if route.gateway else []),
        )
        for route in routes
    ]


class TestRoutes:
    def test_every_address_goes_where_the_kernel_sends_it(self, host, family):
        add(host, family, ROUTES[family])
        on_link, gatewayed = found(host, family)
        addresses = interesting(family, ROUTES[family])
        truth = asked(host, family, addresses)
        assert said(on_link + gatewayed, family, addresses) == truth
        assert {bool(gateway) for _, _, gateway in truth.values()} == {True, False}
        assert len(truth) < len(addresses)

    def test_what_would_be_a_guess_is_left_out(self, host, family):
        add(host, family, ROUTES[family] + GUESSED[family])
        on_link, gatewayed = found(host, family)
        addresses = interesting(family, ROUTES[family], GUESSED[family])
        guessed = [
            ip_network(word) for line in lines(GUESSED[family]) for word in line.split() if "/" in word
        ]
        truth = {
            address: where
            for address, where in asked(host, family, addresses).items()
            if not any(ADDRESS[family](address) in prefix for prefix in guessed)  # type: ignore[arg-type]
        }
        assert said(on_link + gatewayed, family, addresses) == truth

    def test_the_intervals_of_ipv4(self, host):
        add(host, socket.AF_INET, "10.77.0.64/30 via 10.77.0.2")
        on_link, gatewayed = found(host, socket.AF_INET)
        local = host.ip("route", "show", "table", "local")
        # Since Linux 5.14 the lowest address of a prefix is a host's.
        lowest = {name for name in ("10.77.0.0", "10.78.0.0") if f"broadcast {name} " not in local}
        expected = [
            ("veth0", "10.77.0.0", "10.77.0.0", "10.77.0.1"),
            ("veth0", "10.77.0.2", "10.77.0.63", "10.77.0.1"),
            ("veth0", "10.77.0.68", "10.77.0.254", "10.77.0.1"),
            ("veth1", "10.78.0.0", "10.78.0.0", "10.78.0.1"),
            ("veth1", "10.78.0.2", "10.78.255.254", "10.78.0.1"),
        ]
        assert shown(socket.AF_INET, on_link) == [
            route for route in expected if route[1] in lowest or not route[1].endswith(".0")
        ]
        assert shown(socket.AF_INET, gatewayed) == [
            ("veth0", "10.77.0.64", "10.77.0.67", "10.77.0.1", "10.77.0.2")
        ]

    def test_the_intervals_of_ipv6(self, host):
        add(host, socket.AF_INET6, "fd77::40/122 via fd77::2")
        on_link, gatewayed = found(host, socket.AF_INET6)
        # Nothing of fe80::/64, which is on each link.
        last = "ffff:ffff:ffff:ffff"
        assert shown(socket.AF_INET6, on_link) == [
            ("veth0", "fd77::", "fd77::", "fd77::1"),
            ("veth0", "fd77::2", "fd77::3f", "fd77::1"),
            ("veth0", "fd77::80", f"fd77::{last}", "fd77::1"),
            ("veth1", "fd78::", "fd78::", "fd78::1"),
            ("veth1", "fd78::2", f"fd78::ffff:{last}", "fd78::1"),
        ]
        assert shown(socket.AF_INET6, gatewayed) == [("veth0", "fd77::40", "fd77::7f", "fd77::1", "fd77::2")]

    def test_as_many_as_there_are(self, host):
        """More than one message of the kernel's holds."""
        batch = "".join(f"route add 10.{10 + k // 256}.{k % 256}.0/25 via 10.77.0.2\n" for k in range(3000))
        host.run("ip", "-batch", "-", input="route add 10.0.0.0/8 dev veth1\n" + batch)
        on_link, gatewayed = found(host, socket.AF_INET)
        assert sum(route.last - route.first + 1 for route in gatewayed) == 3000 * 128
        lowest_is_broadcast = "broadcast 10.78.0.0 " in host.ip("route", "show", "table", "local")
        ours = [route for route in on_link if route.interface == "veth1"]
        # 10.77.0.0/24 is veth0's; 10.78.0.1 and 10.78.255.255 are no neighbours, nor was 10.78.0.0 once.
        own = 256 + 2 + lowest_is_broadcast
        assert sum(route.last - route.first + 1 for route in ours) == (1 << 24) - 3000 * 128 - own

    def test_rules_of_somebody_s_own(self, host, family):
        option, own, net = (
            ("-4", "10.77.0.1", "10.0.0.0/8") if family == socket.AF_INET else ("-6", "fd77::1", "fd00::/8")
        )
        before = found(host, family)
        assert before[0]
        for rule in (f"from {own} lookup 100", "fwmark 1 lookup main", f"not to {net} lookup main"):
            host.ip(option, "rule", "add", *rule.split())
            assert found(host, family) == ([], [])
            host.ip(option, "rule", "delete", *rule.split())
            assert found(host, family) == before
        host.ip(option, "rule", "delete", "priority", "32766")
        assert found(host, family) == ([], [])

    def test_an_interface_that_is_not_up(self, host, family):
        host.ip("link", "set", "veth1", "down")
        assert {route.interface for route in found(host, family)[0]} == {"veth0"}
        host.ip("link", "set", "veth0", "arp", "off")
        assert found(host, family)[0] == []

    def test_no_route_at_all(self, namespace, family):
        assert found(namespace(), family) == ([], [])

    def test_without_privilege(self, host, python):
        code = (
            "from fastnet._system.routes import on_link\n"
            "print(*(route.interface for family in (2, 10) for route in on_link(family)))"
        )
        ran = python("-c", code, prefix=(*host.prefix, *UNPRIVILEGED))
        assert (set(ran.stdout.split()), ran.stderr) == ({"veth0", "veth1"}, "")


def spans(*texts: str) -> list[tuple[int, int]]:
    """``fd77::2-fd77::9`` or a prefix, as numbers."""
    ends = [text.split("-") if "-" in text else (ip_network(text)[0], ip_network(text)[-1]) for text in texts]
    return [(int(IPv6Address(first)), int(IPv6Address(last))) for first, last in ends]


class TestOnlyIPv6Source:
    def source(self, host: Namespace, *texts: str) -> str:
        return host.call(lambda: system.only_ipv6_source(spans(*texts)))  # type: ignore[no-any-return]

    @pytest.mark.parametrize(
        "texts",
        [
            ["fd77::2-fd77::9"],
            ["fd77::2-fd77::9", "fd77::100-fd77::1ff"],
            ["2001:db8::/112", "fd77::/128", "fd77::2/128"],
            ["fd79:ffff::-fd7a::5"],
            ["fd99::5:0/112", "fd99::6:0/112"],
        ],
        ids=" ".join,
    )
    def test_it_is_the_kernel_s_own_for_every_address(self, host, texts):
        add(host, socket.AF_INET6, "default via fd77::2\nfd99::/64 dev veth0\nfd99::5:0/112 via fd77::2")
        assert self.source(host, *texts) == "fd77::1"
        rng = random.Random(7)
        addresses = [
            str(IPv6Address(number))
            for first, last in spans(*texts)
            for number in {first, last, *(rng.randint(first, last) for _ in range(5))}
        ]
        truth = asked(host, socket.AF_INET6, addresses)
        assert truth.keys() == {*addresses}
        assert {source for _, source, _ in truth.values()} == {"fd77::1"}

    @pytest.mark.parametrize(
        "texts",
        [
            ["fd77::2/128", "fd78::2/128"],
            ["fd77::-fd77::9"],
            ["::1/128", "fd77::2/128"],
            ["fd77::2/128", "fe80::2/128"],
            ["fd77::2/128", "ff02::1/128"],
            ["fd77::2/128", "fd99::13:2/128"],
            ["fd77::2/128", "fd99::13:ff00-fd99::14:3"],
            ["fd77::2/128", "fd99::6:0/112"],
            ["fd77::2/128", "fda0::/128"],
            ["::1/128"],
        ],
        ids=" ".join,
    )
    def test_none_where_the_kernel_may_choose_another_or_sends_nothing(self, host, texts):
        add(
            host,
            socket.AF_INET6,
            "fd99::13:0/112 dev veth0 src fd78::1\nfd99::14:0/112 dev veth0\nblackhole fd99::6:0/112",
        )
        assert self.source(host, "fd77::2/128") == "fd77::1"
        assert self.source(host, *texts) == ""

    def test_none_where_the_interface_has_several(self, host):
        for more in (["fd77::5/64"], ["2001:db8::1/64"], ["fd77::5/64", "preferred_lft", "0"]):
            address = [*more[:1], "dev", "veth0"]
            host.ip("address", "add", *address, *more[1:], "nodad")
            assert self.source(host, "fd77::8-fd77::9") == ""
            assert self.source(host, "fd78::8-fd78::9") == "fd78::1"
            host.ip("address", "delete", *address)
            assert self.source(host, "fd77::8-fd77::9") == "fd77::1"

    def test_none_where_its_only_one_is_not_wanted_any_more(self, host):
        host.ip("address", "change", "fd77::1/64", "dev", "veth0", "preferred_lft", "0")
        assert {source for _, source, _ in asked(host, socket.AF_INET6, ["fd77::8"]).values()} == {"fd78::1"}
        assert self.source(host, "fd77::8-fd77::9") == ""

    def test_none_where_rules_are_somebody_s_own(self, host):
        host.ip("-6", "rule", "add", "from", "fd77::1", "lookup", "100")
        assert self.source(host, "fd77::8-fd77::9") == ""
