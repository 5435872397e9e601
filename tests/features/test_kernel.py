"""What the kernel knows, by ``fastnet.interfaces``: namespaces, sandboxes, many interfaces, changes."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ip_json
import pytest
from children import Child
from records import parse

from fastnet import interfaces
from fastnet._backend import rtnetlink
from fastnet.errors import InvalidArgument, NoAddress, NoSuchInterface

PAIRS = 250


def batch(host: Any, *lines: str) -> None:
    host.run("ip", "-force", "-batch", "-", input="\n".join(lines))


@pytest.fixture
def host(namespace: Callable[[], Any]) -> Any:
    made = namespace()
    batch(
        made,
        "link add w0 type veth peer name w1",
        "link set w0 addrgenmode none up",
        "link set w1 addrgenmode none up",
        "address add 10.1.0.1/24 brd + dev w0",
        "address add fd00::1/64 dev w0 nodad",
        "address add fe80::1/64 dev w1 nodad",
        "route add default via 10.1.0.2",
        "route add default via 10.1.0.3 metric 5",
        "route add default via 10.1.0.9 table 100",
        "route add unreachable 0.0.0.0/0 metric 9",
        "route add ::/0 via fd00::f",
    )
    return made


def test_gateways_are_the_default_routes_that_lead_somewhere(host: Any) -> None:
    found = host.call(interfaces.gateways)
    assert [(way.gateway, way.metric, way.table) for way in found] == [
        ("10.1.0.2", 0, 254),
        ("10.1.0.9", 0, 100),
        ("10.1.0.3", 5, 254),
        ("fd00::f", 1024, 254),
    ] or {(way.gateway, way.metric, way.table) for way in found[:2]} == {
        ("10.1.0.2", 0, 254),
        ("10.1.0.9", 0, 100),
    }
    assert all(way.interface == "w0" for way in found)


def test_the_way_to_a_destination(host: Any) -> None:
    ask = interfaces.route_to
    way = host.call(lambda: ask("192.0.2.77"))
    assert (way.destination, way.interface, way.gateway) == ("192.0.2.77", "w0", "10.1.0.2")
    assert (way.source, way.mtu) == ("10.1.0.1", 1500)
    assert host.call(lambda: ask(ipaddress.ip_address("2001:db8::1"))).gateway == "fd00::f"
    assert host.call(lambda: interfaces.source_for("2001:db8::1")) == "fd00::1"
    assert host.call(lambda: ask("fe80::5%w1")).interface == "w1"
    assert host.call(lambda: ask(f"fe80::5%{interfaces.get_index('w1')}")).interface == "w1"
    host.ip("route", "flush", "default")
    with pytest.raises(OSError, match=r"192.0.2.5: (Network is unreachable|No route to host)"):
        host.call(lambda: ask("192.0.2.5"))
    with pytest.raises(NoSuchInterface):
        host.call(lambda: ask("fe80::5%nothere"))
    for wrong in ("example.com", "10.1", "", "10.1.0.1\0"):
        with pytest.raises(InvalidArgument, match="expected a numeric address"):
            ask(wrong)


def test_another_namespace_by_name_path_and_process(host: Any) -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    threads = threading.active_count()
    with Child([*host.prefix, "sleep", "60"]) as inside:
        while os.readlink(f"/proc/{inside.pid}/ns/net") == before:
            threading.Event().wait(0.01)
        for netns in (host.name, f"/run/netns/{host.name}", inside.pid):
            assert [each.name for each in interfaces.all(netns)] == ["lo", "w1", "w0"]
            assert interfaces.all(netns)[2].speed_mbit == 10_000
            assert interfaces.source_for("192.0.2.1", netns) == "10.1.0.1"
            assert len(interfaces.gateways(netns)) == 4
            assert {each.interface for each in interfaces.counters(netns)} == {"lo", "w0", "w1"}
            assert "10.1.0.1" in {each.address for each in interfaces.lifetimes(netns)}
            assert isinstance(interfaces.neighbours(netns), tuple)
        inside.kill()
    assert os.readlink("/proc/thread-self/ns/net") == before
    assert threading.active_count() == threads
    assert "w0" not in [each.name for each in interfaces.all()]


def test_no_such_namespace() -> None:
    with pytest.raises(FileNotFoundError, match="netns 'nothere': there is no such network namespace"):
        interfaces.all("nothere")
    with pytest.raises(InvalidArgument, match="/proc/self/ns/uts is not a network namespace"):
        interfaces.all("/proc/self/ns/uts")
    for wrong in (0, -1, True, "", "..", b"x", 1.5):
        with pytest.raises(InvalidArgument, match=r"netns .*: expected a name of `ip netns`"):
            interfaces.all(wrong)  # type: ignore[arg-type]


def test_a_namespace_that_one_may_not_enter(python: Callable[..., Any], root: None) -> None:
    code = """
import ctypes, os, threading  # nobody may not read the library
from fastnet import interfaces
from fastnet._backend import rtnetlink
from fastnet.errors import NotPermitted
os.setresuid(65534, 65534, 65534)
try:
    interfaces.all("/proc/thread-self/ns/net")
except NotPermitted as error:
    print(error)
"""
    assert "needs CAP_SYS_ADMIN (root has it)" in python("-c", code).stdout


DENY_NETLINK = """
import ctypes, struct
def deny(code):
    "socket(2) fails with this errno for AF_NETLINK (seccomp(2))."
    load, jump, answer = 0x20, 0x15, 0x06
    numbers = {"x86_64": 41, "aarch64": 198}
    program = b"".join(struct.pack("=HBBI", *each) for each in (
        (load, 0, 0, 0), (jump, 0, 3, numbers[__import__("platform").machine()]),
        (load, 0, 0, 16), (jump, 0, 1, 16), (answer, 0, 0, 0x50000 | code), (answer, 0, 0, 0x7FFF0000)))
    kept = ctypes.create_string_buffer(program)
    filter = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.create_string_buffer(filter), 0, 0) == 0
deny(CODE)
"""


@pytest.mark.parametrize("code", [errno.EPERM, errno.EAFNOSUPPORT])
def test_without_netlink(python: Callable[..., Any], host: Any, code: int) -> None:
    """glibc's getifaddrs(3) is no way out: it asks netlink too."""
    batch(host, "address add 10.2.0.1/20 dev w0 label w0:1", "link property add dev w0 altname uplink0")
    asked = f"""
{DENY_NETLINK.replace("CODE", str(code))}
pointer = ctypes.c_void_p()
assert ctypes.CDLL(None).getifaddrs(ctypes.byref(pointer)) == -1
from fastnet import interfaces
from fastnet._backend import rtnetlink
for each in interfaces.all():
    print(each.name, each.mtu, *each.flags, *each.addresses)
    assert each.operational_state is None and each.carrier is None and each.mac
print(*interfaces.list_addresses("w0"))
print(*interfaces.list_addresses("w0:1"), interfaces.get_ip_address("uplink0"))
print(interfaces.get_broadcast("w0", "10.1.0.1"), interfaces.get_netmask("w0", "10.2.0.1"))
for ask in (interfaces.routes, interfaces.counters, interfaces.neighbours, interfaces.lifetimes):
    try:
        ask()
    except OSError as error:
        print(type(error).__name__, error)
try:
    interfaces.get_mtu("nothere")
except OSError as error:
    print(error)
"""
    done = python("-c", asked, prefix=host.prefix)
    assert done.stderr == ""
    kind = "NotPermitted" if code == errno.EPERM else "OSError"
    refused = "can't be read: this process may not open a netlink socket (AF_NETLINK)"
    lo, w1, w0, *rest = done.stdout.splitlines()
    assert lo == "lo 65536 UP LOOPBACK RUNNING 127.0.0.1/8 ::1/128"
    assert w1 == "w1 1500 UP BROADCAST RUNNING MULTICAST fe80::1/64"
    assert w0 == "w0 1500 UP BROADCAST RUNNING MULTICAST 10.1.0.1/24 10.2.0.1/20 fd00::1/64"
    assert rest == [
        "10.1.0.1/24 10.2.0.1/20 fd00::1/64",
        "10.2.0.1/20 10.1.0.1",
        "10.1.0.255 255.255.240.0",
        *(
            f"{kind} [Errno {code}] {what} {refused}"
            for what in ("routes", "counters", "neighbours", "lifetimes")
        ),
        "[Errno 19] no interface 'nothere': there are lo, w1, w0",
    ]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT])
def test_commands_without_netlink(python: Callable[..., Any], host: Any, code: int) -> None:
    """What can't be known is neither a no nor a yes: not the gateways, and not the way out."""
    words = "can't be read: this process may not open a netlink socket (AF_NETLINK)"

    def run(*arguments: str) -> Any:
        lines = (
            DENY_NETLINK.replace("CODE", str(code)),
            "from fastnet.cli import main",
            f"exit(main({arguments}))",
        )
        return python("-c", "\n".join(lines), prefix=host.prefix)

    done = run("interfaces")
    assert (done.returncode, done.stderr) == (0, f"gateways are unknown: routes {words}\n")
    assert "w0         up     1500" in done.stdout
    assert all(line.split()[4] == "?" for line in done.stdout.splitlines()[1:])
    (record,) = map(parse, run("interfaces", "w0", "--json").stdout.splitlines())
    assert (record["gateways"], record["state"], record["carrier"]) == (None, "up", None)
    assert run("status", "w0").stdout.startswith("w0 is up: turned on and running\n")
    for command in (["ipv6"], ["routes"], ["interfaces", "--watch"]):
        done = run(*command)
        assert (done.returncode, done.stdout) == (3, "")
        assert words in done.stderr


def test_hundreds_of_interfaces(namespace: Callable[[], Any]) -> None:
    host = namespace()
    numbers = range(1, PAIRS + 1)
    lines = [f"link add a{n} type veth peer name b{n}" for n in numbers]
    lines += [f"link set {side}{n} addrgenmode none" for n in numbers for side in "ab"]
    lines += [f"address add 10.{side}.{n}.1/24 dev {'ab'[side]}{n}" for n in numbers for side in (0, 1)]
    lines += [
        f"address add fd00:{side}:{n:x}::1/64 dev {'ab'[side]}{n} nodad" for n in numbers for side in (0, 1)
    ]
    lines += [f"address add 10.2.{n}.{k}/32 dev a1" for n in (1, 2) for k in range(1, 230)]
    batch(host, *lines)
    found, printed = host.call(lambda: (interfaces.all(), ip_json.ip("-j", "-d", "address")))
    assert {each.ifindex: ip_json.our_link(each) for each in found} == ip_json.links(printed)
    assert len(found) == 2 * PAIRS + 1
    assert sum(len(each.addresses) for each in found) == 4 * PAIRS + 458 + 2
    assert host.call(interfaces.list_addresses) == [
        *(own for each in found for own in each.addresses if own.version == 4),
        *(own for each in found for own in each.addresses if own.version == 6),
    ]


NAMES = ("abcdefghijklmno", "\udcff\udcfe", "\x1b[31m", "\u3000wide", "a\x1fb", "0", "eth", "-x", "'\"")


def test_names_of_every_kind(host: Any) -> None:
    for number, name in enumerate(NAMES):
        host.ip("link", "add", "name", name, "type", "veth", "peer", "name", f"peer{number}")
        host.ip("address", "add", f"10.9.{number}.1/24", "dev", name)
        host.ip("address", "add", f"fe80::{number + 1}/64", "dev", name, "nodad")
    found = {each.name: each for each in host.call(interfaces.all)}
    assert {*NAMES} <= {*found}
    for number, name in enumerate(NAMES):
        assert found[name].addresses == (*host.call(lambda: interfaces.list_addresses(name)),)  # noqa: B023
        assert found[name].addresses[0].address == f"10.9.{number}.1"
        assert found[name].peer == f"peer{number}"

    def bind() -> None:
        for number, name in enumerate(NAMES):
            own = f"fe80::{number + 1}"
            [text] = [each.text for each in interfaces.list_addresses(name) if each.address == own]
            address = socket.getaddrinfo(text, 0, type=socket.SOCK_DGRAM)[0][4]
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
                bound.bind(address)

    for number, name in enumerate(NAMES):
        batch(host, f"link set peer{number} up")
        host.ip("link", "set", name, "up")
    host.call(bind)


@contextmanager
def meanwhile(host: Any, lines: list[str]) -> Iterator[threading.Event]:
    """Changes again and again, until the body is done."""
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            batch(host, *lines)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield ended
    finally:
        ended.set()
        thread.join()


def test_interfaces_that_come_and_go_meanwhile(host: Any) -> None:
    """What stays is in each answer, whole; what goes is there whole, or not at all."""
    lines = [f"link add g{n} type veth peer name h{n}" for n in range(20)]
    lines += [f"address add 10.8.{n}.1/24 dev g{n}" for n in range(20)]
    lines += [f"link delete g{n}" for n in range(20)]
    batch(host, *(f"link add s{n} type veth peer name t{n}" for n in range(60)))
    batch(host, *(f"address add 10.7.{n}.1/24 dev s{n}" for n in range(60)))
    stays = {f"10.7.{n}.1" for n in range(60)}
    with meanwhile(host, lines), host.call(rtnetlink.Kernel) as kernel:
        for _ in range(60):
            found = kernel.interfaces()
            assert len({each.ifindex for each in found}) == len(found)
            assert {f"{side}{n}" for side in "st" for n in range(60)} <= {each.name for each in found}
            addresses = [own for each in found for own in each.addresses]
            assert stays <= {own.address for own in addresses}
            assert {own.prefix_length for own in addresses if own.address.startswith("10.8.")} <= {24}
            listed = kernel.addresses()
            assert stays <= {own.address for own in listed}
            assert all(own.interface[0] == "g" for own in listed if own.address.startswith("10.8."))


def test_renames_under_load(host: Any) -> None:
    """Of a renamed interface each address is there, under one of its names."""
    batch(host, *(f"address add 10.6.0.{n}/24 dev w1" for n in range(1, 30)))
    names = {"w1", "fourteen-bytes", "fifteen-bytes-x"}
    lines = [
        "link set w1 name fourteen-bytes",
        "link set fourteen-bytes name fifteen-bytes-x",
        "link set fifteen-bytes-x name w1",
    ]
    with meanwhile(host, lines):
        for _ in range(100):
            listed = [own for own in host.call(interfaces.list_addresses) if own.address.startswith("10.6.")]
            assert len(listed) == 29
            assert {own.interface for own in listed} <= names


def test_many_threads_each_in_its_namespace(namespace: Callable[[], Any]) -> None:
    hosts = [namespace() for _ in range(4)]
    for number, each in enumerate(hosts):
        batch(each, "link add same type veth peer name other", f"address add 10.0.0.{number}/24 dev same")
    found: list[set[str]] = [set() for _ in hosts]

    def ask(number: int) -> None:
        hosts[number].enter()
        for _ in range(50):
            found[number] |= {
                own.address for each in interfaces.all() for own in each.addresses if own.version == 4
            }

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(hosts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"127.0.0.1", f"10.0.0.{number}"} for number in range(len(hosts))]


def test_an_address_that_is_not_the_interface_s(host: Any) -> None:
    batch(host, "address add 10.1.1.1/28 brd 10.1.1.15 dev w0 label w0:1", "address add 10.3.0.1/24 dev w1")
    ask = host.call
    assert ask(lambda: interfaces.get_netmask("w0", "10.1.1.1")) == "255.255.255.240"
    assert ask(lambda: interfaces.get_broadcast("w0", "10.1.1.1")) == "10.1.1.15"
    for address in ("203.0.113.9", "10.3.0.1"):
        for question in (interfaces.get_netmask, interfaces.get_broadcast):
            with pytest.raises(NoAddress, match=f"w0 has no IPv4 address {address}"):
                ask(lambda: question("w0", address))  # noqa: B023
    with pytest.raises(NoAddress, match="w1 has no broadcast address"):
        ask(lambda: interfaces.get_broadcast("w1", "10.3.0.1"))
