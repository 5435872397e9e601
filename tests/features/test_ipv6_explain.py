"""What addresses are, against ``ipaddress`` and netaddr; which of them are this machine's."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnet import ipv6
from fastnet._special import OTHER_BLOCKS, REGISTERED, SpecialBlock
from fastnet.errors import EngineMissing, InvalidArgument
from fastnet.ipv6 import explain

BLOCKS = (*REGISTERED, *OTHER_BLOCKS)

EDGES = [
    str(kind(number))
    for network in (ipaddress.ip_network(block.prefix) for block in BLOCKS)
    for kind, bits in [(type(network.network_address), network.max_prefixlen)]
    for first, last in [(int(network.network_address), int(network.broadcast_address))]
    for number in (first - 1, first, last, last + 1)
    if 0 <= number < 1 << bits
]
"""The first and the last address of each block, and their neighbours outside of it."""


def forms(address: str) -> list[tuple[object, ...]]:
    return [tuple(each) for each in explain(address).ipv4]


@pytest.mark.parametrize(
    ("address", "kind", "scope", "reachable"),
    [
        ("::", "unspecified", None, False),
        ("::1", "loopback", "host", False),
        ("fe80::1%eth0", "link-local", "link", False),
        ("febf:ffff::1", "link-local", "link", False),
        ("fec0::1", "site-local", "site", None),
        ("fd12:3456::1", "unique-local", "global", False),
        ("fc00::", "unique-local", "global", False),
        ("2606:4700::1111", "global", "global", True),
        ("2001:200::1", "global", "global", True),
        ("2001:1ff::1", "protocol-assignment", "global", False),
        ("2001:1::1", "anycast", "global", True),
        ("2001:db8::1", "documentation", "global", False),
        ("3fff:fff::1", "documentation", "global", False),
        ("3fff:1000::1", "global", "global", True),
        ("100::1", "discard-only", "global", False),
        ("100:0:0:1::", "dummy", "global", False),
        ("2002:a00:1::", "6to4", "global", None),
        ("2001::1", "teredo", "global", None),
        ("64:ff9b::808:808", "nat64", "global", True),
        ("::ffff:10.0.0.1", "ipv4-mapped", "global", False),
        ("::ffff:127.0.0.1", "ipv4-mapped", "host", False),
        ("::10.0.0.1", "ipv4-compatible", "global", None),
        ("::ffff:0:10.0.0.1", "ipv4-translated", "global", None),
        ("4000::", "reserved", "global", None),
        ("ff01::1", "multicast", "interface", None),
        ("ff02::1:ff00:1", "multicast", "link", None),
        ("ff33::1", "multicast", "realm", None),
        ("ff05::1:3", "multicast", "site", None),
        ("ff18::1", "multicast", "organization", None),
        ("ff0e::1", "multicast", "global", None),
        ("ff09::1", "multicast", "unassigned", None),
        ("ff00::1", "multicast", "reserved", None),
        ("0.0.0.0", "unspecified", None, False),
        ("0.0.0.1", "this-network", "link", False),
        ("127.255.255.255", "loopback", "host", False),
        ("169.254.1.1", "link-local", "link", False),
        ("172.31.255.255", "private", "global", False),
        ("172.32.0.0", "global", "global", True),
        ("100.127.0.1", "shared", "global", False),
        ("192.0.0.9", "anycast", "global", True),
        ("192.0.0.5", "service-continuity", "global", False),
        ("192.0.0.20", "protocol-assignment", "global", False),
        ("224.0.0.251", "multicast", "link", None),
        ("239.1.2.3", "multicast", "admin", None),
        ("232.1.1.1", "multicast", "global", None),
        ("240.0.0.1", "reserved", "global", False),
        ("255.255.255.255", "broadcast", "link", False),
    ],
)
def test_type_and_scope(address: str, kind: str, scope: str | None, reachable: bool | None) -> None:
    found = explain(address)
    assert (found.type, found.scope, found.globally_reachable) == (kind, scope, reachable)
    assert found.version == ipaddress.ip_address(address).version
    assert found.zone == (address.partition("%")[2] or None)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("::ffff:192.0.2.1", [("ipv4-mapped", "192.0.2.1", None)]),
        ("::192.0.2.1", [("ipv4-compatible", "192.0.2.1", None)]),
        ("::ffff:0:c000:201", [("ipv4-translated", "192.0.2.1", None)]),
        ("64:ff9b::192.0.2.1", [("nat64/96", "192.0.2.1", None)]),
        # RFC 6052, section 2.4, in the prefix of RFC 8215.
        ("64:ff9b:1:c000:2:2100::", [("nat64/48", "192.0.2.33", None), ("nat64/64", "2.33.0.0", None)]),
        ("64:ff9b:1:aac0:0:221::", [("nat64/56", "192.0.2.33", None)]),
        (
            "64:ff9b:1:abcd:c0:2:2100:0",
            [("nat64/64", "192.0.2.33", None), ("nat64/96", "33.0.0.0", None)],
        ),
        ("64:ff9b:1::192.0.2.33", [("nat64/96", "192.0.2.33", None)]),
        ("64:ff9b:1:aaaa:100::192.0.2.33", []),  # bits 64 to 71 are not zero
        ("2002:c000:201:7::1", [("6to4", "192.0.2.1", None)]),
        (
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # RFC 4380's example
            [("teredo-server", "65.54.227.120", None), ("teredo-client", "192.0.2.45", 40000)],
        ),
        ("fe80::5efe:10.0.0.1", [("isatap", "10.0.0.1", None)]),
        ("2001:db8::200:5efe:192.0.2.1", [("isatap", "192.0.2.1", None)]),
        ("2002:c000:201::5efe:10.0.0.1", [("6to4", "192.0.2.1", None), ("isatap", "10.0.0.1", None)]),
        ("ff02::5efe:10.0.0.1", []),
        ("2001:db8::1", []),
        ("192.0.2.1", []),
        ("::1", []),
    ],
)
def test_embedded_ipv4(address: str, found: list[tuple[object, ...]]) -> None:
    assert forms(address) == found


@pytest.mark.parametrize(
    ("address", "mac"),
    [
        ("fe80::fc:ff:fe00:1", "02:fc:00:00:00:01"),
        ("2001:db8::21b:21ff:fe0a:b0c", "00:1b:21:0a:0b:0c"),
        ("fe80::21b:21ff:ff0a:b0c", None),
        ("fe80::31b:21ff:fe0a:b0c", None),  # of a group of stations
        ("ff02::21b:21ff:fe0a:b0c", None),
        ("64:ff9b:1::21b:21ff:fe0a:b0c", None),  # no identifier in ::/3 (RFC 4291, section 2.5.1)
        ("2001:0:4136:e378:21b:21ff:fe0a:b0c", None),
        ("2001:db8::1", None),
    ],
)
def test_the_mac_in_an_identifier(address: str, mac: str | None) -> None:
    assert explain(address).mac == mac


@given(st.integers(0, (1 << 48) - 1))
def test_the_mac_is_that_of_which_netaddr_makes_the_address(reference: Any, number: int) -> None:
    netaddr = reference("netaddr")
    station = netaddr.EUI(number & ~(1 << 40), 48, dialect=netaddr.mac_unix_expanded)
    assert explain(str(station.ipv6_link_local())).mac == str(station)


def is_one(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> set[str]:
    """The types of which ``ipaddress`` knows that it is one."""
    names = ("loopback", "link_local", "multicast", "unspecified", "site_local")
    return {name.replace("_", "-") for name in names if getattr(address, f"is_{name}", False)}


def agrees(text: str) -> None:
    """With ``ipaddress``, but for what its tables lack in the oldest Python that we support."""
    found, address = explain(text), ipaddress.ip_address(text)
    assert ipaddress.ip_address(found.address) == address
    assert found.reverse_name == address.reverse_pointer
    assert is_one(address) <= {found.type}
    assert found.type not in ("loopback", "link-local", "multicast", "site-local") or is_one(address)
    if isinstance(address, ipaddress.IPv6Address):
        embedded = {form: ipv4 for form, ipv4, _ in found.ipv4}
        teredo = address.teredo or (None, None)
        for form, expected in (
            ("ipv4-mapped", address.ipv4_mapped),
            ("6to4", address.sixtofour),
            ("teredo-server", teredo[0]),
            ("teredo-client", teredo[1]),
        ):
            assert embedded.get(form) == (expected and str(expected))


@given(
    st.one_of(
        st.ip_addresses(),
        st.sampled_from(BLOCKS).flatmap(lambda block: st.ip_addresses(network=block.prefix)),
    )
)
def test_ipaddress_and_netaddr_agree(reference: Any, address: Any) -> None:
    reference("netaddr")
    agrees(str(address))
    assert explain(address, engine="netaddr") == explain(str(address))


@pytest.mark.parametrize("engine", ipv6.PREFIX_ENGINES)
def test_the_most_specific_block_at_every_edge(reference: Any, engine: str) -> None:
    if engine == "netaddr":
        reference("netaddr")
    for text in EDGES:
        address = ipaddress.ip_address(text)
        networks = [(ipaddress.ip_network(block.prefix), block) for block in BLOCKS]
        inside = [(network.prefixlen, block) for network, block in networks if address in network]
        expected = max(inside, key=lambda each: each[0])[1] if inside else None
        assert explain(text, engine=engine).special == expected
    for text in EDGES if engine == "fastnet" else ():
        agrees(text)


def test_the_registry_is_consistent() -> None:
    """RFC 6890, section 2.2.1: without a destination nothing can be forwarded, or reachable."""
    for block in REGISTERED:
        ipaddress.ip_network(block.prefix)  # which has no host bits
        if block.destination is False:
            assert (block.forwardable, block.globally_reachable) == (False, False)
    assert len({block.prefix for block in BLOCKS}) == len(BLOCKS)


def test_what_newer_tables_have_and_netaddr_lacks(reference: Any) -> None:
    """netaddr calls every other address of our table globally reachable where, and only where, we do."""
    netaddr = reference("netaddr")
    others = {
        text
        for text in EDGES
        if netaddr.IPAddress(text).is_global() != (explain(text).globally_reachable is True)
    }
    kinds = {explain(text).type for text in others}
    assert kinds <= {
        *("deprecated", "multicast", "reserved", "site-local", "ipv4-compatible", "ipv4-translated"),
        *("anycast", "documentation", "dummy", "srv6"),  # RFC 6751, 9665, 9637, 9780, 9602
    }


def test_own_addresses(linked: tuple[Any, Any]) -> None:
    left, _ = linked
    left.ip("link", "add", "other", "type", "bridge")
    left.ip("link", "set", "other", "up")
    for name in ("veth0", "other"):
        left.ip("-6", "address", "add", "fe80::7/64", "dev", name, "nodad")
    found = left.call(lambda: explain("fe80::7"))
    assert (sorted(found.interfaces), found.temporary) == (["other", "veth0"], False)
    index = left.call(lambda: __import__("socket").if_nametoindex("other"))
    for zone in ("other", str(index)):
        assert left.call(lambda zone=zone: explain(f"fe80::7%{zone}")).interfaces == ("other",)
    nobodys = left.call(lambda: explain("fe80::7%lo"))
    assert (nobodys.interfaces, nobodys.temporary) == ((), None)
    assert left.call(lambda: explain("10.77.0.1")).interfaces == ("veth0",)


def test_a_temporary_address(linked: tuple[Any, Any]) -> None:
    """The kernel makes one beside an address that manages them (RFC 8981)."""
    left, _ = linked
    left.run("sysctl", "-qw", "net.ipv6.conf.veth0.use_tempaddr=2")
    address = ("2001:db8:5::1/64", "dev", "veth0", "mngtmpaddr", "nodad")
    left.ip("-6", "address", "add", *address, "valid_lft", "9000", "preferred_lft", "8000")
    listed = left.ip("-6", "-o", "address", "show", "dev", "veth0", "temporary").split()
    text = listed[listed.index("inet6") + 1].partition("/")[0]
    assert left.call(lambda: explain(text)).temporary is True
    assert left.call(lambda: explain("2001:db8:5::1")).temporary is False


def test_addresses_of_ipaddress() -> None:
    for value in (ipaddress.ip_address("fe80::1%eth0"), ipaddress.ip_interface("fe80::1%eth0/64")):
        assert explain(value) == explain("fe80::1%eth0")
    assert explain(ipaddress.ip_address("10.0.0.1")).type == "private"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "'': expected an address, as 2001:db8::1 or fe80::1%eth0"),
        ("eth0", "'eth0': expected an address"),
        ("fe80::1/64", "'fe80::1/64': expected an address"),
        ("fe80::1%", "'fe80::1%': expected a zone after an IPv6 address only, as fe80::1%eth0"),
        ("10.0.0.1%eth0", "expected a zone after an IPv6 address only"),
        ("010.0.0.1", "expected four decimal octets"),
        ("::1\0", "expected an address"),
        (ipaddress.ip_network("fe80::/64"), "address IPv6Network"),
        (b"::1", "address b'::1': expected a host or an address"),
        (1, "address 1: expected a host or an address"),
    ],
)
def test_what_is_no_address(value: Any, words: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        explain(value)
    assert words in str(raised.value)


def test_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match="expected one of fastnet, netaddr"):
        explain("::1", engine="netifaces")
    monkeypatch.setitem(__import__("sys").modules, "netaddr", None)
    with pytest.raises(EngineMissing):
        explain("::1", engine="netaddr")


def test_plain_values() -> None:
    found = explain("2001:db8::1").as_dict()
    special = SpecialBlock("2001:db8::/32", "documentation", "Documentation", 3849, *(False,) * 5)
    assert found["special"] == special.as_dict()
    assert (found["temporary"], found["interfaces"], found["version"]) == (None, [], 6)
