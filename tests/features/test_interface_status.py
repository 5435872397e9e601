"""Whether interfaces are up, and the reasons, against ``ip -j`` and what each set-up is known to do."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastnet._interface_status import status_of
from fastnet.errors import EngineMissing, InvalidArgument, NoSuchInterface
from fastnet.interfaces import Interface, InterfaceAddress, InterfaceStatus, interface_status, list_status

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
            link add lan type bridge
            link add portpeer type veth peer name port
            link set port master lan
            link add link nocarrier name above type macvlan
            link set wired addrgenmode none
            link set wiredpeer addrgenmode none
            link set nocarrier addrgenmode none
            link set six addrgenmode none
            link set sixpeer addrgenmode none
            link property add dev wired altname uplink-with-a-long-name
            address add 10.1.0.1/24 brd + dev wired
            address add 10.2.0.1/20 brd + dev wired label wired:1
            address add fd77::1/64 dev wired nodad
            address add 169.254.7.7/16 dev nocarrier
            address add 10.5.0.1/30 dev idle
            address add fe80::6/64 dev six nodad
            link set wired up
            link set wiredpeer up
            link set nocarrier up
            link set lan up
            link set above up
            link set six up
            link set sixpeer up
        """,
    )
    # The kernel takes note of a carrier, or of none, a little later.
    give_up = time.monotonic() + COMING_UP
    settled = [*((name, "state UP") for name in ("wired", "wiredpeer", "six")), ("lan", "NO-CARRIER")]
    while any(words not in host.ip("link", "show", name) for name, words in settled):
        assert time.monotonic() < give_up, "the links do not settle"
    return host


@pytest.mark.parametrize(
    ("name", "state", "reason", "addresses"),
    [
        ("lo", "up", "turned on and running", 2),
        ("wired", "up", "turned on and running", 3),
        ("uplink-with-a-long-name", "up", "turned on and running", 3),
        ("wired:1", "up", "turned on and running", 1),
        ("six", "up", "turned on and running", 1),
        ("wiredpeer", "no address", "turned on and running, but it has no address", 0),
        ("nocarrier", "no carrier", "turned on, but there is no carrier: idle is turned off", 1),
        ("above", "no carrier", "turned on, but there is no carrier", 0),
        ("lan", "no carrier", "turned on, but there is no carrier", 0),
        ("idle", "down", "turned off", 1),
    ],
)
def test_status(host: Any, name: str, state: str, reason: str, addresses: int) -> None:
    status = host.call(lambda: interface_status(name))
    assert (status.state, status.reason) == (state, reason)
    assert status.up == (state in ("up", "no address"))
    assert (len(status.addresses), status.ports) == (addresses, None)
    if ":" not in name:
        assert status in host.call(list_status)


def test_every_interface_has_a_status_and_the_state_of_ip(host: Any) -> None:
    found = {status.interface: status for status in host.call(list_status)}
    links = json.loads(host.ip("-j", "link"))
    assert [*found] == [link["ifname"] for link in links]
    for link in links:
        status = found[link["ifname"]]
        assert status.operational_state == link["operstate"].lower()
        assert status.administratively_up == ("UP" in link["flags"])
        assert status.up == ({"UP", "LOWER_UP"} <= {*link["flags"]})
        assert (status.state == "no carrier") == ("NO-CARRIER" in link["flags"])


def test_dormant(host: Any) -> None:
    host.ip("link", "set", "wired", "mode", "dormant")
    host.ip("link", "set", "wired", "state", "dormant")
    words = "turned on, but there is a carrier, but it waits for an event, such as 802.1X authentication"
    status = host.call(lambda: interface_status("wired"))
    assert (status.state, status.reason, status.up, status.carrier) == ("dormant", words, False, True)


def address(*flags: str) -> InterfaceAddress:
    return InterfaceAddress("eth0", "eth0", "fd00::1", 64, "fd00::", "global", flags=flags)


ON = Interface(2, "eth0", flags=("UP", "RUNNING"), carrier=True, operational_state="up")


@pytest.mark.parametrize(
    ("link", "state", "words"),
    [
        (
            ON._replace(addresses=(address("dadfailed", "tentative"),)),
            "no address",
            "fd00::1 is a duplicate on the link",
        ),
        (
            ON._replace(addresses=(address("tentative"),)),
            "no address",
            "fd00::1 is still under duplicate detection",
        ),
        (ON._replace(addresses=(address("tentative", "optimistic"),)), "up", "turned on and running"),
        (ON._replace(addresses=(address("dadfailed"), address())), "up", "turned on and running"),
        (ON._replace(operational_state="testing"), "testing", "it is under test"),
        (ON._replace(operational_state="notpresent"), "not present", "a part of it is missing"),
        (ON._replace(operational_state="down"), "down", "its operational state is down"),
        (
            ON._replace(operational_state="lowerlayerdown"),
            "no carrier",
            "the interface beneath it is not running",
        ),
        (ON._replace(operational_state="unknown", addresses=(address(),)), "up", "turned on and running"),
        # Without rtnetlink nobody reports the carrier.
        (
            ON._replace(carrier=None, operational_state=None, addresses=(address(),)),
            "up",
            "turned on and running",
        ),
        (
            ON._replace(carrier=None, operational_state=None, flags=("UP",)),
            "no carrier",
            "no carrier, or dormant",
        ),
        (ON._replace(flags=(), carrier=False), "down", "turned off"),
        (ON._replace(carrier=False, kind="bridge"), "no carrier", "there is no carrier: it has no port"),
        (
            ON._replace(carrier=False, kind="veth", peer_ifindex=7, link_namespace=0),
            "no carrier",
            "no carrier",
        ),
    ],
)
def test_states_that_no_interface_here_is_in(link: Interface, state: str, words: str) -> None:
    found = status_of(link, [link])
    assert found.state == state
    assert found.reason.endswith(words)


@pytest.mark.parametrize("engine", ["connect", "nmap"])
@pytest.mark.parametrize(("name", "text"), [("wired", "10.1.0.1"), ("six", "fe80::6%six")])
def test_status_with_ports(host: Any, reference: Any, peer: Any, engine: str, name: str, text: str) -> None:
    if engine == "nmap":
        reference("nmap")
        peer("nmap")

    def listen_and_ask() -> tuple[int, InterfaceStatus]:
        place = socket.getaddrinfo(text, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(place[0], socket.SOCK_STREAM) as server:
            server.bind(place[4])
            server.listen()
            port = server.getsockname()[1]
            return port, interface_status(name, ports=[1, port], engine=engine)

    port, status = host.call(listen_and_ask)
    assert status.up
    assert {each.port: each.state for each in status.ports} == {1: "closed", port: "open"}


def test_what_is_turned_off_or_has_no_address_is_not_scanned(host: Any) -> None:
    for name in ("idle", "wiredpeer"):
        assert host.call(lambda n=name: interface_status(n, ports="1-3")).ports == ()


def test_status_refuses(host: Any) -> None:
    for options, words in (
        ({"ports": "3-1"}, "the range ends before it begins"),
        ({"ports": "1", "engine": "telnet"}, "expected one of connect, nmap"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            host.call(lambda o=options: interface_status("wired", **o))
    # Labels that no address has are no interfaces, nor are parts of names.
    for name in ("nothere", "wired:9", "wired:", "", "wire", "\udcff", "\ud800", "a\0b", "x" * 200):
        with pytest.raises(NoSuchInterface) as raised:
            host.call(lambda n=name: interface_status(n))
        assert raised.value.errno == errno.ENODEV


def test_a_scan_can_not_decide_whether_an_interface_is_up(host: Any) -> None:
    """The answers of a host's own ports come through loopback."""
    from fastnet._portscan import portscan

    assert {port.state for port in host.call(lambda: portscan("169.254.7.7", "1")).ports} == {"closed"}
    assert not host.call(lambda: interface_status("nocarrier")).up


def test_a_missing_nmap_is_reported(reference: Any, monkeypatch: Any, tmp_path: Any) -> None:
    reference("nmap")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="the program nmap is missing: apt-get install nmap"):
        interface_status("lo", ports="1", engine="nmap")
