"""fastnet.compat.netifaces beside netifaces itself, and the tables of docs/compat.md on psutil and ifaddr."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from environment import Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnet import interfaces
from fastnet.compat import netifaces

Reference = Callable[[str], ModuleType]

LINKS = """
    link add wired type veth peer name other
    link add bridge type bridge
    link add dummy up type ifb
    link set wired address 02:00:00:00:00:07 mtu 1400 up
    link set other up
    tuntap add tunnel mode tun
    link set tunnel up
"""
ADDRESSES = """
    address add 10.1.0.1/24 brd + dev wired
    address add 10.1.0.2/24 brd + dev wired
    address add 10.2.0.1/20 brd + dev wired label wired:1
    address add 10.3.0.1/31 dev wired
    address add 10.4.0.1/32 dev wired
    address add 10.5.0.1/24 dev other
    address add 10.6.0.1 peer 10.6.0.2/32 dev wired
    address add 10.7.0.1 peer 10.7.0.2/32 dev tunnel
    address add 10.8.0.1/0 dev dummy
    address add 169.254.7.7/16 brd + dev other
    address add 127.0.0.9/32 dev lo
    address add fd77::1/64 dev wired nodad
    address add fd78::1 peer fd78::2/128 dev wired nodad
    address add fe80::7 peer fe80::8/64 dev other nodad
    address add fd79::1/0 dev other nodad
"""


@pytest.fixture
def host(namespace: Callable[[], Any]) -> Any:
    host = namespace()
    host.run("ip", "-batch", "-", input=LINKS + ADDRESSES)
    return host


def everything(module: Any) -> tuple[list[str], dict[str, Any]]:
    return module.interfaces(), {name: module.ifaddresses(name) for name in module.interfaces()}


def test_the_same_names_and_values(reference: Reference) -> None:
    original = reference("netifaces")
    for name in dir(original):
        if not name.startswith("__") and not callable(getattr(original, name)):
            assert getattr(netifaces, name) == getattr(original, name), name
        assert hasattr(netifaces, name)
    assert [*netifaces.address_families] == [*original.address_families]


def test_the_same_addresses(host: Any, reference: Reference) -> None:
    original = reference("netifaces")
    assert host.call(lambda: everything(netifaces)) == host.call(lambda: everything(original))
    names, addresses = host.call(lambda: everything(netifaces))
    assert "wired:1" in names
    assert addresses["lo"][netifaces.AF_INET][0] == {
        "addr": "127.0.0.1",
        "netmask": "255.0.0.0",
        "peer": "127.0.0.1",
    }
    assert len(addresses) == 7


ADDRESS = st.tuples(st.integers(0x01000000, 0xDFFFFFFF), st.integers(0, 32)) | st.tuples(
    st.integers(0x20 << 120, (0xFE << 120) - 1) | st.integers(0xFE80 << 112, (0xFEC0 << 112) - 1),
    st.integers(0, 128),
)


def command(address: tuple[int, int], peer: bool, broadcast: bool, device: str) -> str:
    number, length = address
    size = 4 if number < 1 << 32 else 16
    text = socket.inet_ntop({4: socket.AF_INET, 16: socket.AF_INET6}[size], number.to_bytes(size))
    other = socket.inet_ntop({4: socket.AF_INET, 16: socket.AF_INET6}[size], (number ^ 1).to_bytes(size))
    middle = f"{text} peer {other}/{length}" if peer else f"{text}/{length}"
    return f"address add {middle} {'brd +' if broadcast and size == 4 and length < 31 else ''} dev {device}"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(ADDRESS, st.booleans(), st.booleans(), st.sampled_from(["wired", "other", "tunnel", "lo"])),
        max_size=12,
    )
)
def test_the_same_addresses_of_any_kind(host: Any, reference: Reference, added: list[Any]) -> None:
    original = reference("netifaces")
    lines = [f"address flush dev {name}" for name in ("wired", "other", "tunnel")]
    lines += ["address flush dev lo label lo", *(command(*each) for each in added)]
    words = [*host.prefix, "ip", "-force", "-batch", "-"]
    subprocess.run(words, input="\n".join(lines), text=True, capture_output=True, check=False)
    assert host.call(lambda: everything(netifaces)) == host.call(lambda: everything(original))


def failure(function: Callable[..., object], *arguments: object) -> tuple[type[Exception], str]:
    with pytest.raises((TypeError, ValueError)) as raised:
        function(*arguments)
    return raised.type, str(raised.value)


@pytest.mark.parametrize("name", ["nothing", "", "wired:9", "eth0" * 9, 7, b"lo"])
def test_the_same_errors(host: Any, reference: Reference, name: object) -> None:
    original = reference("netifaces")
    ours, theirs = (
        host.call(lambda module=module: failure(module.ifaddresses, name)) for module in (netifaces, original)
    )
    assert ours == theirs


def test_a_name_that_is_not_utf8(host: Any, reference: Reference, python: Run) -> None:
    """Mended: it ends the process of netifaces."""
    reference("netifaces")
    host.ip("link", "add", "name", "\udcff", "type", "veth", "peer", "name", "last")
    assert python("-c", "import netifaces; netifaces.interfaces()", prefix=host.prefix).returncode != 0
    assert "\udcff" in host.call(netifaces.interfaces)
    assert host.call(lambda: netifaces.ifaddresses("\udcff"))[netifaces.AF_LINK]


def test_the_same_gateways(host: Any, reference: Reference) -> None:
    original = reference("netifaces")
    assert host.call(netifaces.gateways) == host.call(original.gateways) == {"default": {}}
    for words in (
        "route add default via 10.1.0.8 metric 20",
        "-6 route add default via fd77::8 metric 20",
        "route add default via 10.1.0.9 metric 30",
        "-6 route add default via fe80::9 dev wired metric 30",
        "route add 10.99.0.0/16 via 10.1.0.7",
        "route add blackhole default metric 40",
    ):
        host.ip(*words.split())
        assert host.call(netifaces.gateways) == host.call(original.gateways)
    found = host.call(netifaces.gateways)
    assert found["default"] == {2: ("10.1.0.8", "wired"), 10: ("fd77::8", "wired")}
    assert found[2] == [("10.1.0.8", "wired", True), ("10.1.0.9", "wired", False)]


@pytest.mark.parametrize(
    ("lines", "theirs", "ours"),
    [
        pytest.param(
            ["route add default via 10.1.0.9 table 77", "route add default via 10.1.0.8 metric 20"],
            {},
            {2: ("10.1.0.8", "wired")},
            id="another table",
        ),
        pytest.param(
            ["route add default nexthop via 10.1.0.8 nexthop via 10.1.0.9"],
            {},
            {2: ("10.1.0.8", "wired")},
            id="several legs",
        ),
        pytest.param(
            ["route add 0.0.0.0/1 via 10.1.0.9"], {2: ("10.1.0.9", "wired")}, {}, id="half of all addresses"
        ),
        pytest.param(
            ["-6 route add default from fd99::/64 via fd77::9"],
            {10: ("fd77::9", "wired")},
            {},
            id="for one source only",
        ),
    ],
)
def test_gateways_that_are_mended(
    host: Any, reference: Reference, lines: list[str], theirs: dict[int, Any], ours: dict[int, Any]
) -> None:
    original = reference("netifaces")
    for words in lines:
        host.ip(*words.split())
    assert host.call(original.gateways)["default"] == theirs
    assert host.call(netifaces.gateways)["default"] == ours


def test_every_leg_is_a_gateway(host: Any) -> None:
    host.ip("route", "add", "default", "nexthop", "via", "10.1.0.8", "nexthop", "via", "10.1.0.9")
    legs = [("10.1.0.8", "wired", True), ("10.1.0.9", "wired", False)]
    assert host.call(netifaces.gateways) == {"default": {2: legs[0][:2]}, 2: legs}


USES = {
    "aioice": "import aioice.ice; found = aioice.ice.get_host_addresses(True, True)",
    "wsdiscovery": "import wsdiscovery.util; found = wsdiscovery.util._getNetworkAddrs()",
    "xknx": """
from xknx.io.knxip_interface import KNXIPInterface
found = [KNXIPInterface.find_local_ip(address) for address in ("10.2.3.4", "198.51.100.1")]
""",
}
"""Packages that depend on netifaces, and what they ask it for."""


@pytest.mark.parametrize("package", sorted(USES))
def test_packages_that_depend_on_netifaces(
    host: Any, reference: Reference, python: Run, package: str
) -> None:
    reference(package)
    reference("netifaces")
    host.ip("route", "add", "default", "via", "10.1.0.9")
    host.ip("address", "del", "10.8.0.1/0", "dev", "dummy")  # which covers every other
    install = "from fastnet.compat import netifaces; netifaces.install()"
    show = "import json, sys; print(json.dumps([found, sys.modules['netifaces'].__name__]))"
    done = [python("-c", f"{first}\n{USES[package]}\n{show}", prefix=host.prefix) for first in (install, "")]
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    (ours, our_name), (theirs, their_name) = (json.loads(each.stdout) for each in done)
    assert (our_name, their_name) == ("fastnet.compat.netifaces", "netifaces")
    assert ours == theirs
    assert {*ours} & {"10.1.0.1", "10.2.0.1"}


PSUTIL = """
import json, psutil
addresses = {
    name: sorted(each.address for each in entries if each.family != psutil.AF_LINK)
    for name, entries in psutil.net_if_addrs().items()
}
stats = {name: (*each[:1], int(each.duplex), *each[2:]) for name, each in psutil.net_if_stats().items()}
counters = psutil.net_io_counters(pernic=True, nowrap=False)
print(json.dumps([addresses, stats, counters]))
"""
"""In a process of its own: it counts and lists for the process's namespace, whatever the thread's is."""


def test_psutil(host: Any, reference: Reference, python: Run) -> None:
    reference("psutil")
    for name in ("dummy", "bridge"):
        host.ip("link", "set", name, "down")
    host.ip("address", "flush", "dev", "bridge")
    before = host.call(interfaces.counters)
    addresses, stats, counters = json.loads(python("-c", PSUTIL, prefix=host.prefix).stdout)
    found = host.call(interfaces.all)
    labels = {address.label for each in found for address in each.addresses}
    assert {*addresses} == {each.name for each in found} | labels
    assert {*stats} == {each.name for each in found}
    for each in found:
        own = [address.text for address in each.addresses if address.label == each.name]
        assert addresses[each.name] == sorted(own)
        flags = ",".join(flag.lower() for flag in each.flags if flag != "LOWER_UP")
        duplex = {"full": 2, "half": 1, None: 0}[each.duplex]
        expected = ["RUNNING" in each.flags, duplex, each.speed_mbit or 0, each.mtu, flags]
        assert stats[each.name] == expected, each
    for first, last in zip(before, host.call(interfaces.counters), strict=True):
        low, high = counted(first), counted(last)
        assert [*map(max, low, counters[first.interface])] == counters[first.interface]
        assert [*map(min, high, counters[first.interface])] == counters[first.interface]


def counted(each: interfaces.InterfaceCounters) -> list[int]:
    """As psutil.net_io_counters() has them."""
    found = [each.tx_bytes, each.rx_bytes, each.tx_packets, each.rx_packets]
    return [*found, each.rx_errors, each.tx_errors, each.rx_dropped + each.rx_missed_errors, each.tx_dropped]


def test_ifaddr(host: Any, reference: Reference) -> None:
    ifaddr = reference("ifaddr")
    theirs = {
        (adapter.name, ip.ip if ip.is_IPv4 else ip.ip[0], ip.network_prefix)
        for adapter in host.call(ifaddr.get_adapters)
        for ip in adapter.ips
    }
    assert theirs == {
        (address.label, address.address, address.prefix_length)
        for each in host.call(interfaces.all)
        for address in each.addresses
    }
