"""``fastnet interfaces``, ``routes``, ``address`` and ``status``: tables, records and exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from children import Child
from records import untimed

from fastnet import interfaces
from fastnet.cli.interfaces.watching import text_of
from fastnet.cli.output import columns_of

COMING_UP = 30
WIDE = "\u65e5\u672c"


@pytest.fixture
def host(namespace: Callable[[], Any]) -> Any:
    """``wired`` has a carrier, a router for each family and a second route; ``idle`` is off."""
    host = namespace()
    host.run(
        "ip",
        "-batch",
        "-",
        input="""
            link add wired type veth peer name wiredpeer
            link add nocarrier type veth peer name idle
            link set wired address 02:00:00:00:00:07 mtu 1400
            link set wired addrgenmode none
            link set wiredpeer addrgenmode none
            link set nocarrier addrgenmode none
            link property add dev wired altname uplink-with-a-long-name
            address add 10.1.0.1/24 brd + dev wired
            address add 10.1.0.2/24 brd + dev wired
            address add 10.2.0.1/20 brd + dev wired label wired:1
            address add 10.6.0.1 peer 10.7.0.0/24 dev wired
            address add fd77::1/64 dev wired nodad
            address add fe80::7/64 dev wired nodad
            address add 10.5.0.1/30 dev idle
            link set wired up
            link set wiredpeer up
            link set nocarrier up
            route add default via 10.1.0.9 metric 10
            route add default via 10.1.0.8 metric 20 table 100
            route add unreachable 10.99.0.0/16
            route add 10.98.0.0/16 nexthop via 10.1.0.8 weight 2 nexthop via 10.1.0.9
            route add default via fd77::9 dev wired
        """,
    )
    # The kernel takes note of a carrier a little later.
    give_up = time.monotonic() + COMING_UP
    while any("state UP" not in host.ip("link", "show", name) for name in ("wired", "wiredpeer")):
        assert time.monotonic() < give_up, "the links do not come up"
    return host


def names(host: Any) -> list[str]:
    return [link["ifname"] for link in json.loads(host.ip("-j", "link"))]


def test_every_interface(host: Any, fastnet: Any) -> None:
    done = fastnet("interfaces", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["INTERFACE", "STATE", "MTU", "MAC", "GATEWAY", "ADDRESSES"]
    assert [line.split()[0] for line in lines[1:]] == names(host)
    shown = {line.split()[0]: line for line in lines}
    assert shown["wired"].split()[1:4] == ["up", "1400", "02:00:00:00:00:07"]
    gateways = lines[0].index("GATEWAY")
    addresses = lines[0].index("ADDRESSES")
    assert shown["wired"][gateways:addresses].split() == ["10.1.0.9", "10.1.0.8", "fd77::9"]
    assert shown["wired"][addresses:] == (
        "10.1.0.1/24 10.2.0.1/20 10.6.0.1/24 10.1.0.2/24 fd77::1/64 fe80::7/64"
    )
    assert " no carrier  " in shown["nocarrier"]
    assert " down " in shown["idle"]
    assert " no address " in shown["wiredpeer"]


def test_the_records_of_interfaces(host: Any, fastnet: Any) -> None:
    done = fastnet("interfaces", "--json", prefix=host.prefix)
    found = [untimed(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    for record, link in zip(found, host.call(interfaces.all), strict=True):
        fields = link.as_dict()
        assert (record.pop("mtu_bytes"), record.pop("link_kind")) == (fields.pop("mtu"), fields.pop("kind"))
        assert {key: value for key, value in record.items() if key in fields} == fields
        assert record.keys() - fields.keys() == {"kind", "state", "reason", "gateways"}
    (wired,) = (record for record in found if record["name"] == "wired")
    assert [each["gateway"] for each in wired["gateways"]] == ["10.1.0.9", "10.1.0.8", "fd77::9"]
    for name in ("wired", "uplink-with-a-long-name"):
        one = fastnet("interfaces", name, "--json", prefix=host.prefix)
        assert untimed(one.stdout)["gateways"] == wired["gateways"]


def test_one_interface(host: Any, fastnet: Any) -> None:
    done = fastnet("interfaces", "uplink-with-a-long-name", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == "wired is up: turned on and running"
    found: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), []).append(value.strip())
    assert found["alternative names"] == ["uplink-with-a-long-name"]
    assert found["kind"] == ["veth"]
    assert found["peer"] == ["wiredpeer"]
    assert found["MTU"] == ["1400 bytes"]
    assert found["carrier"] == ["yes"]
    assert found["address"] == [
        "10.1.0.1/24, scope global, broadcast 10.1.0.255",
        "10.2.0.1/20, scope global, broadcast 10.2.15.255, label wired:1",
        "10.6.0.1/24, scope global, peer 10.7.0.0",
        "10.1.0.2/24, scope global, broadcast 10.1.0.255, secondary",
        "fd77::1/64, scope global, nodad",
        "fe80::7/64, scope link, nodad",
    ]
    assert found["gateway"] == [
        "10.1.0.9, metric 10, protocol boot",
        "10.1.0.8, metric 20, table 100, protocol boot",
        "fd77::9, metric 1024, protocol boot",
    ]
    assert fastnet("interfaces", "idle", prefix=host.prefix).stdout.startswith("idle is down: turned off\n")


def test_a_default_route_that_is_not_for_all_packets(namespace: Any, fastnet: Any) -> None:
    host = namespace()
    host.ip("link", "add", "wired", "up", "type", "veth", "peer", "name", "other")
    host.ip("address", "add", "10.1.0.1/24", "dev", "wired")
    host.ip("address", "add", "fd77::1/64", "dev", "wired", "nodad")
    for router, *few in (("fd77::8", "from", "2001:db8::/32"), ("fd77::9",), ("10.1.0.9", "tos", "0x10")):
        host.ip("route", "add", "default", *few, "via", router, "dev", "wired")
    shown = fastnet("interfaces", "wired", prefix=host.prefix).stdout
    found = [line.split(maxsplit=1)[1] for line in shown.splitlines() if "gateway:" in line]
    assert [line.removesuffix(", linkdown") for line in found] == [
        "10.1.0.9, tos 0x10, metric 0, protocol boot",
        "fd77::8, from 2001:db8::/32, metric 1024, protocol boot",
        "fd77::9, metric 1024, protocol boot",
    ]
    table = fastnet("interfaces", prefix=host.prefix).stdout
    assert "  10.1.0.9 (tos 0x10) fd77::8 (from 2001:db8::/32) fd77::9  " in table
    listed = fastnet("routes", "-6", prefix=host.prefix).stdout
    assert "from 2001:db8::/32" in listed
    route = next(each for each in host.call(interfaces.routes) if each.sources)
    assert text_of(route) == "default from 2001:db8::/32 via fd77::8 dev wired metric 1024"


def test_an_interface_without_a_mac(namespace: Any, fastnet: Any) -> None:
    host = namespace()
    host.ip("tuntap", "add", "tunnel", "mode", "tun")
    record = json.loads(fastnet("interfaces", "--json", prefix=host.prefix).stdout.splitlines()[-1])
    assert (record["name"], record["mac"], record["addresses"]) == ("tunnel", None, [])
    assert " -  " in fastnet("interfaces", prefix=host.prefix).stdout.splitlines()[-1]


def test_another_namespace(host: Any, fastnet: Any, namespace: Any) -> None:
    other = namespace()
    for words in (("interfaces",), ("routes",), ("routes", "10.99.0.1")):
        here = fastnet(*words, prefix=host.prefix)
        there = fastnet(*words, "--netns", host.name, prefix=other.prefix)
        assert (there.returncode, there.stdout) == (here.returncode, here.stdout)
    done = fastnet("interfaces", "--netns", "nothere")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "", 1)


def test_a_process_id_is_a_namespace(host: Any, fastnet: Any) -> None:
    """Digits are the id of a process, unless ``ip netns`` has that name."""
    words = [*host.prefix, "sh", "-c", "echo there; exec cat"]
    with Child(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        done = fastnet("routes", "--netns", str(process.pid))
    assert (done.returncode, done.stdout) == (0, fastnet("routes", prefix=host.prefix).stdout)
    done = fastnet("routes", "--netns", "0")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


@pytest.mark.parametrize(("option", "destination"), [("-4", "::1"), ("-6", "127.0.0.1")])
def test_a_route_to_the_other_family_is_refused(fastnet: Any, option: str, destination: str) -> None:
    done = fastnet("routes", option, destination)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{destination}': not an IPv{option[1]} address" in done.stderr


def test_names_that_are_no_text_or_wide(namespace: Any, fastnet: Any) -> None:
    """Each is one column, as wide as a terminal shows it; what is not printable is escaped."""
    host = namespace()
    raw = {
        b"bad\xff": r"bad\xff",
        b"a\x1b[31m": r"a\x1b[31m",
        WIDE.encode(): WIDE,
        b"w\xe3\x80\x80b": r"w\u3000b",
    }
    for number, name in enumerate(raw):
        host.ip("link", "add", os.fsdecode(name), "type", "veth", "peer", "name", f"p{number}")
    done = fastnet("interfaces", prefix=host.prefix)
    lines = done.stdout.splitlines()
    assert all(line.isprintable() for line in lines)
    assert {*raw.values()} <= {line.split()[0] for line in lines}
    place = lines[0].index("STATE")
    for line in lines[1:]:
        end = next(i for i in range(len(line)) if columns_of(line[:i]) == place)
        assert (line[end - 1], line[end] != " ") == (" ", True)
    record = json.loads(fastnet("interfaces", os.fsdecode(b"bad\xff"), "--json", prefix=host.prefix).stdout)
    assert os.fsencode(record["name"]) == b"bad\xff"


def test_routes(host: Any, fastnet: Any) -> None:
    done = fastnet("routes", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["DESTINATION", "GATEWAY", "INTERFACE", "SOURCE", "METRIC", "TABLE", "PROTOCOL", "NOTES"],
        ["0.0.0.0/0", "10.1.0.9", "wired", "-", "10", "main", "boot"],
        ["0.0.0.0/0", "10.1.0.8", "wired", "-", "20", "100", "boot"],
    ]
    rows = [line.split() for line in lines]
    assert ["10.99.0.0/16", "-", "-", "-", "0", "main", "boot", "unreachable"] in rows
    leg = rows.index(["10.98.0.0/16", "10.1.0.8", "wired", "-", "0", "main", "boot", "weight", "2"])
    assert rows[leg + 1] == ["10.1.0.9", "wired", "-", "0", "main", "boot"]
    assert ["fd77::/64", "-", "wired", "-", "256", "main", "kernel"] in rows
    assert not any(row[5] == "local" for row in rows if len(row) > 5)
    sixes = fastnet("routes", "-6", prefix=host.prefix).stdout.splitlines()[1:]
    assert sixes[0].startswith("::/0 ")
    assert all(":" in line.split()[0] for line in sixes)
    every = fastnet("routes", "--all", prefix=host.prefix).stdout
    assert any(line.split()[-1] == "broadcast" for line in every.splitlines())


def test_the_records_of_routes(host: Any, fastnet: Any) -> None:
    done = fastnet("routes", "--all", "--json", prefix=host.prefix)
    found = [untimed(line) for line in done.stdout.splitlines()]
    expected = [route.as_dict() for route in host.call(interfaces.routes)]
    for fields in expected:
        fields["mtu_bytes"] = fields.pop("mtu")
    order = ("version", "table", "destination", "type", "ifindex", "metric")
    for record in found:
        assert record.pop("kind") == "route"

    def key(route: dict[str, Any]) -> str:
        return repr([route[name] for name in order])

    assert sorted(found, key=key) == sorted(expected, key=key)


def test_the_route_to_an_address(host: Any, fastnet: Any) -> None:
    done = fastnet("routes", "192.0.2.1", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[:5] == ["192.0.2.1", "10.1.0.9", "wired", "10.1.0.1", "0"]
    record = untimed(fastnet("routes", "fd77::2", "--json", prefix=host.prefix).stdout)
    assert (record["destination"], record["gateway"], record["source"]) == ("fd77::2", None, "fd77::1")

    done = fastnet("routes", "10.99.0.1", prefix=host.prefix)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "10.99.0.1: No route to host\n"
    done = fastnet("routes", "nonsense", prefix=host.prefix)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_address(host: Any, fastnet: Any) -> None:
    done = fastnet("address", "wired", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["ADDRESS", "NETWORK", "BROADCAST", "PEER", "SCOPE", "FLAGS"],
        ["10.1.0.1/24", "10.1.0.0/24", "10.1.0.255", "-", "global", "permanent"],
        ["10.2.0.1/20", "10.2.0.0/20", "10.2.15.255", "-", "global", "permanent"],
        ["10.6.0.1/24", "10.7.0.0/24", "-", "10.7.0.0", "global", "permanent"],
        ["10.1.0.2/24", "10.1.0.0/24", "10.1.0.255", "-", "global", "secondary", "permanent"],
        ["fd77::1/64", "fd77::/64", "-", "-", "global", "nodad", "permanent"],
        ["fe80::7/64", "fe80::/64", "-", "-", "link", "nodad", "permanent"],
    ]
    assert fastnet("address", "uplink-with-a-long-name", prefix=host.prefix).stdout == done.stdout
    record = untimed(fastnet("address", "--json", "lo", prefix=host.prefix).stdout.splitlines()[0])
    (lo,) = (link for link in host.call(interfaces.all) if link.name == "lo")
    assert record == {"kind": "address", **lo.addresses[0].as_dict()}

    done = fastnet("address", "wiredpeer", prefix=host.prefix)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "wiredpeer has no address\n")


@pytest.mark.parametrize("command", ["address", "status", "interfaces"])
def test_a_name_that_is_not_there(namespace: Any, fastnet: Any, command: str) -> None:
    host = namespace()
    host.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    done = fastnet(command, "nothere", prefix=host.prefix)
    there = ", ".join(name for _, name in host.call(socket.if_nameindex))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"fastnet {command}: no interface 'nothere': there are {there}\n"
    if command != "interfaces":
        done = fastnet(command, prefix=host.prefix)
        assert (done.returncode, done.stdout) == (2, "")
        assert "the following arguments are required: IFACE" in done.stderr


def test_status(host: Any, fastnet: Any) -> None:
    done = fastnet("status", "wired", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "wired is up: turned on and running\n"
        "addresses: 10.1.0.1/24 10.2.0.1/20 10.6.0.1/24 10.1.0.2/24 fd77::1/64 fe80::7/64\n"
    )
    for name, code, words in (
        ("wired:1", 0, "wired is up: turned on and running\naddresses: 10.2.0.1/20"),
        ("wiredpeer", 0, "wiredpeer is up (no address): turned on and running, but it has no address"),
        (
            "nocarrier",
            1,
            "nocarrier is down (no carrier): turned on, but there is no carrier: idle is turned off",
        ),
        ("idle", 1, "idle is down: turned off"),
    ):
        done = fastnet("status", name, prefix=host.prefix)
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.startswith(f"{words}\n")
    done = fastnet("status", "wired:9", prefix=host.prefix)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "", 1)


def test_status_with_ports(host: Any, fastnet: Any, reference: Any, peer: Any) -> None:
    done = fastnet("status", "wired", "--ports", "21-22,80", "--timeout", "5s", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[2:]] == [
        ["PORT", "STATE", "REASON"],
        *([str(port), "closed", "refused"] for port in (21, 22, 80)),
    ]
    reference("nmap")
    peer("nmap")
    words = ("status", "wired:1", "--ports", "21", "--engine", "nmap", "--json")
    assert untimed(fastnet(*words, prefix=host.prefix).stdout) == {
        "kind": "status",
        "interface": "wired",
        "state": "up",
        "reason": "turned on and running",
        "up": True,
        "administratively_up": True,
        "operational_state": "up",
        "carrier": True,
        "addresses": ["10.2.0.1/20"],
        "ports": [{"port": 21, "state": "closed", "reason": "conn-refused"}],
    }
    done = fastnet("status", "idle", "--ports", "21", prefix=host.prefix)
    assert done.returncode == 1
    assert done.stderr.startswith("no port was scanned")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ports", "0"), "expected ports from 1 to 65535"),
        (("--ports", "1", "--timeout", "nan"), "expected a time"),
        (("--engine", "telnet"), "invalid choice: 'telnet'"),
    ],
)
def test_status_refuses(fastnet: Any, arguments: tuple[str, ...], words: str) -> None:
    done = fastnet("status", "lo", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
