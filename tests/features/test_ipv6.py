"""Addresses and prefixes against ip and netaddr; the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import untimed

from fastnet import ipv6
from fastnet.errors import EngineMissing, InvalidArgument, NoSuchInterface
from fastnet.ipv6 import addresses, prefix


@pytest.fixture
def host(linked: tuple[Any, Any]) -> Any:
    """10.77.0.1 and fd77::1 on ``veth0``, more addresses of other prefix lengths, and a default route."""
    left, _ = linked
    # Its link-local address would come when it pleases.
    left.ip("link", "set", "veth0", "addrgenmode", "none")
    left.ip("-6", "address", "flush", "dev", "veth0", "scope", "link")
    left.ip("-6", "address", "add", "fe80::7/64", "dev", "veth0", "nodad")
    left.ip("-6", "address", "add", "2001:db8:1:2::3/48", "dev", "veth0", "nodad")
    left.ip("-6", "address", "add", "2001:db8:9::4/127", "dev", "veth0", "nodad")
    left.ip("address", "add", "10.78.0.1/20", "dev", "veth0")
    left.ip("-6", "route", "add", "default", "via", "fd77::2")
    return left


@pytest.fixture
def absent_package(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets importing a package fail as it does where it is not installed."""
    return lambda name: monkeypatch.setitem(__import__("sys").modules, name, None)


@pytest.mark.parametrize("engine", ipv6.ENGINES)
def test_all_addresses_with_their_own_prefix_length(host: Any, reference: Any, engine: str) -> None:
    if engine != "fastnet":
        reference("netifaces")
        reference("netaddr")
    expected = {
        (link["ifname"], address["local"], address["prefixlen"], address["scope"])
        for link in json.loads(host.ip("-j", "address"))
        for address in link["addr_info"]
    }
    found = host.call(lambda: addresses(engine=engine))
    assert {(each.interface, each.address, each.prefix_length, each.scope) for each in found} == expected
    networks = {(each.address, each.network) for each in found}
    assert networks >= {
        ("2001:db8:1:2::3", "2001:db8:1::"),
        ("2001:db8:9::4", "2001:db8:9::4"),
        ("fd77::1", "fd77::"),
        ("10.77.0.1", "10.77.0.0"),
        ("10.78.0.1", "10.78.0.0"),
        ("127.0.0.1", "127.0.0.0"),
    }


@pytest.mark.parametrize("engine", ["netifaces", "netaddr"])
def test_each_engine_has_the_same_results(linked: Any, reference: Any, engine: str) -> None:
    """Labels, peers, one address with two prefix lengths, and alternative names among them."""
    reference(engine)
    left, _ = linked
    for words in (
        "10.1.0.1/24 brd + dev veth0 label veth0:1",
        "10.4.0.1 peer 10.5.0.0/24 dev veth0",
        "10.6.0.1/24 dev veth0",
        "10.6.0.1/16 dev veth0",
        "fd04::1 peer fd05::2/96 dev veth0 nodad",
    ):
        left.ip("address", "add", *words.split())
    left.ip("link", "property", "add", "dev", "veth0", "altname", "uplink-with-a-long-name")
    for name in (None, "veth0", "veth0:1", "uplink-with-a-long-name", "lo"):
        expected = left.call(lambda name=name: addresses(name))
        assert expected
        assert left.call(lambda name=name: addresses(name, engine=engine)) == expected


@pytest.mark.parametrize("engine", ipv6.ENGINES)
def test_addresses_of_one_interface(host: Any, reference: Any, engine: str) -> None:
    if engine != "fastnet":
        reference("netifaces")
        reference("netaddr")
    found = host.call(lambda: addresses("lo", engine=engine))
    assert [str(each) for each in found] == ["127.0.0.1/8", "::1/128"]
    with pytest.raises(NoSuchInterface):
        host.call(lambda: addresses("nothere", engine=engine))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fe80::1%eth0/64", ("fe80::1", "eth0", 64, "fe80::")),
        ("fe80::1%enp0s3/64", ("fe80::1", "enp0s3", 64, "fe80::")),
        ("fe80::1%1/10", ("fe80::1", "1", 10, "fe80::")),
        ("fe80::1%br-0.5:x/64", ("fe80::1", "br-0.5:x", 64, "fe80::")),
        ("2001:DB8:0:0::3/33", ("2001:db8::3", None, 33, "2001:db8::")),
        ("2001:db8:ffff::/33", ("2001:db8:ffff::", None, 33, "2001:db8:8000::")),
        ("::1/128", ("::1", None, 128, "::1")),
        ("::1/0", ("::1", None, 0, "::")),
        ("10.1.2.3/20", ("10.1.2.3", None, 20, "10.1.0.0")),
    ],
)
def test_prefix(text: str, expected: tuple[object, ...]) -> None:
    found = prefix(text)
    assert found == expected
    assert str(found) == f"{expected[3]}/{expected[2]}"
    assert found.version == (6 if ":" in text else 4)


def test_prefix_of_a_bare_address_is_its_interface_s(host: Any) -> None:
    for text, expected in (
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("2001:0db8:0001:2::3", "2001:db8:1::/48"),
        ("10.78.0.1", "10.78.0.0/20"),
        ("fd77::1%veth0", "fd77::/64"),
        ("::1", "::1/128"),
    ):
        assert str(host.call(lambda t=text: prefix(t))) == expected
    index = json.loads(host.ip("-j", "link", "show", "veth0"))[0]["ifindex"]
    assert str(host.call(lambda: prefix(f"fd77::1%{index}"))) == "fd77::/64"
    with pytest.raises(InvalidArgument, match="not an address of this machine"):
        host.call(lambda: prefix("fd77::1%lo"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected an address"),
        ("eth0", "expected an address"),
        ("fe80::1::2/64", "expected an address"),
        ("1.2.3/8", "expected four decimal octets"),
        ("::1\0/64", "expected an address"),
        ("fe80::1%/64", "expected a zone"),
        ("10.0.0.1%eth0/8", "expected a zone after an IPv6 address only"),
        ("::1/129", "expected a prefix length from 0 to 128"),
        ("::1/-1", "expected a prefix length from 0 to 128"),
        ("::1/", "expected a prefix length from 0 to 128"),
        ("::1/\uff16\uff14", "expected a prefix length from 0 to 128"),
        ("::1/64/64", "expected a prefix length from 0 to 128"),
        ("::1/" + "1" * 5000, "expected a prefix length from 0 to 128"),
        ("10.0.0.1/33", "expected a prefix length from 0 to 32"),
        ("2001:db8:77::5", "not an address of this machine: expected its prefix length too"),
    ],
)
def test_prefix_refuses(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        prefix(text)


@given(
    address=st.ip_addresses().map(str),
    length=st.integers(0, 128),
    zone=st.sampled_from(["", "%eth0", "%enp0s3"]),
)
def test_prefix_is_netaddr_s(reference: Any, address: str, length: int, zone: str) -> None:
    reference("netaddr")
    if ":" not in address:
        zone, length = "", length % 33
    text = f"{address}{zone}/{length}"
    assert prefix(text) == prefix(text, engine="netaddr")


def test_engines_that_are_none() -> None:
    for call in (
        lambda: addresses(engine="psutil"),
        lambda: prefix("::1/64", engine="netifaces"),
        lambda: prefix("::1/64", engine=""),
    ):
        with pytest.raises(InvalidArgument, match="expected one of fastnet"):
            call()


def test_engines_that_are_missing(absent_package: Callable[[str], None]) -> None:
    absent_package("netaddr")
    absent_package("netifaces")
    for name, call in (
        ("netifaces", lambda: addresses(engine="netifaces")),
        ("netaddr", lambda: addresses(engine="netaddr")),
        ("netaddr", lambda: prefix("::1/64", engine="netaddr")),
    ):
        with pytest.raises(EngineMissing) as raised:
            call()
        assert str(raised.value) == (f"the Python package {name} is missing: pip install {name}")


def records(output: str) -> Iterator[dict[str, Any]]:
    return map(untimed, output.splitlines())


def test_command(host: Any, namespace: Any, fastnet: Any) -> None:
    done = fastnet("ipv6", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    facts, _, table = done.stdout.partition("\n\n")
    assert [line.partition(":")[0] for line in facts.splitlines()] == [
        "built into Python",
        "in the kernel",
        "turned on for",
        "turned off for",
        "loopback ",
        "link-local addresses",
        "addresses beyond the link",
        "way out",
        "works",
    ]
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["INTERFACE", "VERSION", "ADDRESS", "NETWORK", "SCOPE"]
    assert ["veth0", "6", "2001:db8:1:2::3/48", "2001:db8:1::/48", "global"] in rows

    done = fastnet("ipv6", prefix=namespace().prefix)
    assert (done.returncode, done.stderr) == (1, "")
    assert "works:                     no: no interface has an address" in done.stdout


@pytest.mark.parametrize("engine", ipv6.ENGINES)
def test_command_json(host: Any, fastnet: Any, reference: Any, engine: str) -> None:
    if engine != "fastnet":
        reference("netifaces")
        reference("netaddr")
    done = fastnet("ipv6", "--json", "--engine", engine, prefix=host.prefix)
    first, *listed = records(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert {key: first[key] for key in ("kind", "works", "reasons", "kernel")} == {
        "kind": "support",
        "works": True,
        "reasons": [],
        "kernel": True,
    }
    expected = {
        "kind": "ipv6_address",
        "version": 6,
        "interface": "veth0",
        "label": "veth0",
        "address": "2001:db8:9::4",
        "prefix_length": 127,
        "network": "2001:db8:9::4",
        "scope": "global",
    }
    assert expected in [{key: record[key] for key in expected} for record in listed]


def test_command_prefix(fastnet: Any, reference: Any) -> None:
    reference("netaddr")
    for engine in ("fastnet", "netaddr"):
        done = fastnet("ipv6", "--prefix", "fe80::1%eth0/64", "--engine", engine)
        assert (done.returncode, done.stdout, done.stderr) == (0, "fe80::/64\n", "")
    done = fastnet("ipv6", "--prefix", "fe80::1%eth0/64", "--json")
    assert list(records(done.stdout)) == [
        {
            "kind": "prefix",
            "address": "fe80::1",
            "zone": "eth0",
            "prefix_length": 64,
            "network": "fe80::",
            "version": 6,
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--prefix", "fe80::1%eth0/200"), "expected a prefix length from 0 to 128"),
        (("--prefix", "::1/64", "--engine", "netifaces"), "expected one of fastnet, netaddr"),
        (("--engine", "psutil"), "invalid choice: 'psutil'"),
    ],
)
def test_command_refuses(fastnet: Any, arguments: tuple[str, ...], words: str) -> None:
    done = fastnet("ipv6", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
