"""Interfaces listed, asked and judged, against `ip -j` and netifaces; and their commands."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from records import untimed

from fastnet import interfaces
from fastnet.errors import EngineMissing, InvalidArgument, NoSuchInterface
from fastnet.interfaces import InterfaceFlags, get_interface_status, list_addresses

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


@pytest.mark.parametrize(
    ("name", "state", "reason", "addresses"),
    [
        ("lo", "up", "turned on and running", 2),
        ("wired", "up", "turned on and running", 5),
        ("wiredpeer", "up", "turned on and running", 0),
        ("nocarrier", "down", "turned on, but not running: no carrier", 1),
        ("idle", "down", "turned off", 1),
    ],
)
def test_status(host: Any, name: str, state: str, reason: str, addresses: int) -> None:
    status = host.call(lambda: get_interface_status(name))
    assert (status.state, status.reason, status.up) == (state, reason, state == "up")
    assert (len(status.addresses), status.ports) == (addresses, None)
    assert host.call(interfaces.list_status)[host.call(lambda: interfaces.get_index(name)) - 1] == status


def test_every_interface_has_a_status(host: Any) -> None:
    statuses = host.call(interfaces.list_status)
    assert [status.interface for status in statuses] == [
        link["ifname"] for link in json.loads(host.ip("-j", "link"))
    ]


@pytest.mark.parametrize("engine", ["connect", "nmap"])
@pytest.mark.parametrize(("name", "address"), [("wired", "10.1.0.1"), ("six", "fe80::6%six")])
def test_status_with_ports(
    host: Any, reference: Any, peer: Any, engine: str, name: str, address: str
) -> None:
    if engine == "nmap":
        reference("nmap")
        peer("nmap")

    def listen_and_ask() -> tuple[int, Any]:
        place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(place[0], socket.SOCK_STREAM) as server:
            server.bind(place[4])
            server.listen()
            port = server.getsockname()[1]
            return port, get_interface_status(name, ports=[1, port], engine=engine)

    port, status = host.call(listen_and_ask)
    assert status.up
    assert {each.port: each.state for each in status.ports} == {1: "closed", port: "open"}


def test_what_is_turned_off_or_has_no_address_is_not_scanned(host: Any) -> None:
    for name in ("idle", "wiredpeer"):
        assert host.call(lambda n=name: get_interface_status(n, ports="1-3")).ports == ()


def test_status_refuses(host: Any) -> None:
    for options, words in (
        ({"ports": "3-1"}, "the range ends before it begins"),
        ({"ports": "1", "engine": "telnet"}, "expected one of connect, nmap"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            host.call(lambda o=options: get_interface_status("wired", **o))
    with pytest.raises(NoSuchInterface) as raised:
        host.call(lambda: get_interface_status("nothere"))
    assert raised.value.errno == errno.ENODEV


def test_the_book_says_up_where_the_interface_is_down(host: Any) -> None:
    """Its way, scanning the address from the same host, can't decide: port answers come through loopback."""
    from fastnet._portscan import portscan

    assert {port.state for port in host.call(lambda: portscan("169.254.7.7", "1")).ports} == {"closed"}
    assert not host.call(lambda: get_interface_status("nocarrier")).up


def test_command_interfaces(host: Any, fastnet: Any) -> None:
    done = fastnet("interfaces", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["INTERFACE", "INDEX", "STATE", "MTU", "MAC", "ADDRESSES"]
    assert [line.split()[0] for line in lines[1:]] == [
        link["ifname"] for link in json.loads(host.ip("-j", "link"))
    ]
    line = next(line.split() for line in lines if line.startswith("wired "))
    assert line[2:5] == ["up", "1400", "02:00:00:00:00:07"]
    assert line[5:] == ["10.1.0.1/24", "10.2.0.1/20", "10.1.0.2/24", "fd77::1/64", "fe80::7/64"]

    done = fastnet("interfaces", "--json", prefix=host.prefix)
    records = {record["interface"]: record for record in map(json.loads, done.stdout.splitlines())}
    assert records["idle"]["state"] == "down"
    assert records["idle"]["addresses"] == ["10.5.0.1/30"]
    assert (done.returncode, done.stderr, len(records)) == (0, "", len(lines) - 1)


def test_command_interfaces_without_a_mac(namespace: Any, fastnet: Any) -> None:
    host = namespace()
    host.ip("tuntap", "add", "tunnel", "mode", "tun")
    record = json.loads(fastnet("interfaces", "--json", prefix=host.prefix).stdout.splitlines()[-1])
    assert (record["interface"], record["hardware_address"], record["addresses"]) == ("tunnel", None, [])
    assert " -  " in fastnet("interfaces", prefix=host.prefix).stdout.splitlines()[-1]


def test_command_address(host: Any, fastnet: Any) -> None:
    done = fastnet("address", "wired", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["ADDRESS", "NETWORK", "BROADCAST", "SCOPE"],
        ["10.1.0.1/24", "10.1.0.0/24", "10.1.0.255", "global"],
        ["10.2.0.1/20", "10.2.0.0/20", "10.2.15.255", "global"],
        ["10.1.0.2/24", "10.1.0.0/24", "10.1.0.255", "global"],
        ["fd77::1/64", "fd77::/64", "-", "global"],
        ["fe80::7/64", "fe80::/64", "-", "link"],
    ]
    done = fastnet("address", "--json", "lo", prefix=host.prefix)
    assert untimed(done.stdout.splitlines()[0]) == {
        "kind": "address",
        "interface": "lo",
        "label": "lo",
        "version": 4,
        "address": "127.0.0.1",
        "prefix_length": 8,
        "network": "127.0.0.0",
        "broadcast": None,
        "scope": "host",
    }


def test_command_address_without_one(host: Any, fastnet: Any) -> None:
    done = fastnet("address", "wiredpeer", prefix=host.prefix)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "wiredpeer has no address\n")


@pytest.mark.parametrize("command", ["address", "status"])
def test_commands_refuse_a_name_that_is_not_there(namespace: Any, fastnet: Any, command: str) -> None:
    host = namespace()
    host.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    done = fastnet(command, "nothere", prefix=host.prefix)
    names = ", ".join(name for _, name in host.call(socket.if_nameindex))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"fastnet {command}: no interface 'nothere': there are {names}\n"

    done = fastnet(command, prefix=host.prefix)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the following arguments are required: IFACE" in done.stderr


def test_command_status(host: Any, fastnet: Any) -> None:
    done = fastnet("status", "wired", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "wired is up: turned on and running\n"
        "addresses: 10.1.0.1/24 10.2.0.1/20 10.1.0.2/24 fd77::1/64 fe80::7/64\n"
    )
    done = fastnet("status", "wiredpeer", prefix=host.prefix)
    assert (done.returncode, done.stdout) == (
        0,
        "wiredpeer is up: turned on and running\naddresses: none\n",
    )
    for name, reason in (("nocarrier", "turned on, but not running: no carrier"), ("idle", "turned off")):
        done = fastnet("status", name, prefix=host.prefix)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.splitlines()[0] == f"{name} is down: {reason}"


def test_command_status_with_ports(host: Any, fastnet: Any, reference: Any, peer: Any) -> None:
    done = fastnet("status", "wired", "--ports", "21-22,80", "--timeout", "5s", prefix=host.prefix)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[2:]] == [
        ["PORT", "STATE", "REASON"],
        *([str(port), "closed", "refused"] for port in (21, 22, 80)),
    ]
    reference("nmap")
    peer("nmap")
    done = fastnet("status", "wired", "--ports", "21", "--engine", "nmap", "--json", prefix=host.prefix)
    assert untimed(done.stdout) == {
        "kind": "status",
        "interface": "wired",
        "state": "up",
        "reason": "turned on and running",
        "administratively_up": True,
        "running": True,
        "addresses": ["10.1.0.1/24", "10.2.0.1/20", "10.1.0.2/24", "fd77::1/64", "fe80::7/64"],
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
def test_command_status_refuses(fastnet: Any, arguments: tuple[str, ...], words: str) -> None:
    done = fastnet("status", "lo", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_netifaces_says_the_same(host: Any, reference: Callable[[str], ModuleType]) -> None:
    netifaces = reference("netifaces")
    for label in ("wired", "wired:1"):
        for entry in host.call(lambda name=label: netifaces.ifaddresses(name))[netifaces.AF_INET]:
            asked = label, entry["addr"]
            assert host.call(lambda asked=asked: interfaces.get_netmask(*asked)) == entry["netmask"]
            assert host.call(lambda asked=asked: interfaces.get_broadcast(*asked)) == entry["broadcast"]


def test_a_missing_nmap_is_said(
    host: Any, python: Any, reference: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    reference("nmap")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="the program nmap is missing: apt-get install nmap"):
        get_interface_status("lo", ports="1", engine="nmap")
