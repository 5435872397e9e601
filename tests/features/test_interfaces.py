"""Interfaces listed, asked and judged, against `ip -j` and netifaces; and their commands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from fastnet import interfaces
from fastnet.errors import NoSuchInterface
from fastnet.interfaces import InterfaceFlags, list_addresses

COMING_UP = 30


@pytest.fixture
def host(namespace: Callable[[], Any]) -> Any:
    """``wired`` has a carrier, ``nocarrier``'s other end ``idle`` is off, ``six`` only has IPv6."""
    host = namespace()
    host.run(
        "ip",
        "-batch",
        "-",
        input="""
            link add wired type veth peer name wiredpeer
            link add nocarrier type veth peer name idle
            link add six type veth peer name sixpeer
            link set wired address 02:00:00:00:00:07 mtu 1400
            link set wired addrgenmode none
            link set wiredpeer addrgenmode none
            link set nocarrier addrgenmode none
            link set six addrgenmode none
            link set sixpeer addrgenmode none
            address add 10.1.0.1/24 brd + dev wired
            address add 10.1.0.2/24 brd + dev wired
            address add 10.2.0.1/20 brd + dev wired label wired:1
            address add fd77::1/64 dev wired nodad
            address add fe80::7/64 dev wired nodad
            address add 169.254.7.7/16 dev nocarrier
            address add 10.5.0.1/30 dev idle
            address add fe80::6/64 dev six nodad
            link set wired up
            link set wiredpeer up
            link set nocarrier up
            link set six up
            link set sixpeer up
        """,
    )
    # The kernel takes note of a carrier a little later.
    give_up = time.monotonic() + COMING_UP
    while any(host.ip("link", "show", name).find("state UP") < 0 for name in ("wired", "wiredpeer", "six")):
        assert time.monotonic() < give_up, "the links do not come up"
    return host


def addresses_by_ip(host: Any) -> set[tuple[str, str, int, str]]:
    return {
        (link["ifname"], address["local"], address["prefixlen"], address["scope"])
        for link in json.loads(host.ip("-j", "address"))
        for address in link["addr_info"]
    }


def test_every_address_against_ip(host: Any) -> None:
    found = {
        (each.interface, each.address, each.prefix_length, each.scope) for each in host.call(list_addresses)
    }
    assert found == addresses_by_ip(host)
    assert len(found) == 10


def test_addresses_of_one_interface_or_label(host: Any) -> None:
    assert [str(each) for each in host.call(lambda: list_addresses("wired"))] == [
        "10.1.0.1/24",
        "10.2.0.1/20",
        "10.1.0.2/24",
        "fd77::1/64",
        "fe80::7/64",
    ]
    labelled = host.call(lambda: list_addresses("wired:1"))
    assert [(each.interface, each.label, each.address, each.network) for each in labelled] == [
        ("wired", "wired:1", "10.2.0.1", "10.2.0.0")
    ]
    assert host.call(lambda: list_addresses("wiredpeer")) == []
    with pytest.raises(NoSuchInterface):
        host.call(lambda: list_addresses("nothere"))


def test_network_version_and_scope() -> None:
    describe = interfaces.describe_address
    for address, length, network, version, scope in (
        ("10.1.2.3", 8, "10.0.0.0", 4, "global"),
        ("10.1.2.3", 0, "0.0.0.0", 4, "global"),
        ("10.1.2.3", 32, "10.1.2.3", 4, "global"),
        ("127.1.2.3", 8, "127.0.0.0", 4, "host"),
        ("169.254.1.2", 16, "169.254.0.0", 4, "link"),
        ("::1", 128, "::1", 6, "host"),
        ("2001:db8:1:2:3::", 48, "2001:db8:1::", 6, "global"),
        ("fe80::1", 64, "fe80::", 6, "link"),
        ("febf::1", 10, "fe80::", 6, "link"),
        ("fec0::1", 64, "fec0::", 6, "site"),
        ("fd00::1", 7, "fc00::", 6, "global"),
    ):
        found = describe("eth0", address, length)
        assert (found.network, found.version, found.scope) == (network, version, scope)


def test_flags_are_typed() -> None:
    assert InterfaceFlags.LOOPBACK | InterfaceFlags.UP in interfaces.get_flags("lo")


def test_the_functions_of_the_package(host: Any) -> None:
    import fastnet

    assert host.call(lambda: fastnet.get_ip_address("wired")) == "10.1.0.1"
    assert "wired:1" in host.call(fastnet.list_interfaces)


def test_netifaces_says_the_same(host: Any, reference: Callable[[str], ModuleType]) -> None:
    netifaces = reference("netifaces")
    for label in ("wired", "wired:1"):
        for entry in host.call(lambda name=label: netifaces.ifaddresses(name))[netifaces.AF_INET]:
            asked = label, entry["addr"]
            assert host.call(lambda asked=asked: interfaces.get_netmask(*asked)) == entry["netmask"]
            assert host.call(lambda asked=asked: interfaces.get_broadcast(*asked)) == entry["broadcast"]
