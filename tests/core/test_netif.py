"""The ioctl calls against `ip -j`, with awkward interfaces; across fork, setns and closed descriptors."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnet.errors import InvalidArgument, NoAddress, NoSuchInterface

TOPIC = "netif"

PAIRS = 250
QUESTIONS = (
    "get_ip_address",
    "get_netmask",
    "get_broadcast",
    "get_flags",
    "get_mtu",
    "get_index",
    "get_hardware_address",
)


def outcome(function: Callable[..., Any], *arguments: object) -> object:
    """The result, or the kind, the errno and the words of what was raised."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), getattr(error, "errno", None), str(error)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def awkward(namespace):  # type: ignore[no-untyped-def]
    """One of each: addressed, aliased, down, without an address, without a carrier, a tunnel, IPv6 only."""
    host = namespace()
    host.run(
        "ip",
        "-batch",
        "-",
        input="""
            link add full type veth peer name nocarrier
            link add off type veth peer name bare
            link add six type veth peer name sixpeer
            link set full mtu 1400 address 02:00:00:00:00:07
            address add 10.1.0.1/24 brd + dev full
            address add 10.1.0.2/24 brd + dev full
            address add 10.2.0.1/20 brd 10.2.15.255 dev full label full:1
            address add 10.3.0.1 peer 10.3.0.2/32 dev full
            address add fd77::1/64 dev full nodad
            address add 10.4.0.1/16 dev nocarrier
            address add 10.5.0.1/30 dev off
            address add fd77:6::1/48 dev six nodad
            link set full addrgenmode none
            link set six addrgenmode none
            link set sixpeer addrgenmode none
            link set full up
            link set six up
            link set sixpeer up
            tuntap add tunnel mode tun
        """,
    )
    host.carry("six")
    host.carry("sixpeer")
    return host


def ip_addresses(host: Any) -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = json.loads(host.ip("-j", "address"))
    return links


def test_each_question_against_ip(core: ModuleType, awkward: Any) -> None:
    for link in ip_addresses(awkward):
        name = link["ifname"]

        def ask(name: str = name) -> dict[str, object]:
            return {question: outcome(getattr(core, question), name) for question in QUESTIONS}

        told = awkward.call(ask)
        assert told["get_index"] == link["ifindex"]
        assert told["get_mtu"] == link["mtu"]
        assert bool(told["get_flags"] & 1) == ("UP" in link["flags"])
        assert bool(told["get_flags"] & 8) == ("LOOPBACK" in link["flags"])
        if link["link_type"] in ("ether", "loopback"):
            assert told["get_hardware_address"] == link["address"]
        own = [address for address in link["addr_info"] if address["family"] == "inet"]
        if own:
            bits = own[0]["prefixlen"]
            assert told["get_ip_address"] == own[0]["local"]
            assert told["get_netmask"] == socket.inet_ntoa((0xFFFFFFFF << 32 - bits & 0xFFFFFFFF).to_bytes(4))
        else:
            assert told["get_ip_address"][:2] == (NoAddress, errno.EADDRNOTAVAIL)


def test_of_several_addresses_the_one_that_is_named(core: ModuleType, awkward: Any) -> None:
    def ask() -> list[object]:
        return [
            core.get_ip_address("full:1"),
            core.get_netmask("full", "10.1.0.2"),
            core.get_netmask("full:1", "10.2.0.1"),
            core.get_netmask("full", "10.3.0.1"),
            core.get_broadcast("full", "10.1.0.2"),
            core.get_broadcast("full:1", "10.2.0.1"),
        ]

    assert awkward.call(ask) == [
        "10.2.0.1",
        "255.255.255.0",
        "255.255.240.0",
        "255.255.255.255",
        "10.1.0.255",
        "10.2.15.255",
    ]


def test_an_alternative_name_is_a_name(core: ModuleType, awkward: Any) -> None:
    names = ("uplink0", "an-alternative-name-that-is-longer-than-fifteen-bytes")
    for name in names:
        awkward.ip("link", "property", "add", "dev", "full", "altname", name)
    for question in QUESTIONS:
        answers = [awkward.call(lambda n=n: getattr(core, question)(n)) for n in ("full", *names)]  # noqa: B023
        assert answers == answers[:1] * 3
    awkward.ip("link", "property", "add", "dev", "bare", "altname", "uplink1")
    kind, _, words = awkward.call(lambda: outcome(core.get_ip_address, "uplink1"))
    assert (kind, words) == (NoAddress, "[Errno 99] bare has no IPv4 address")


def test_a_label_that_no_address_has_is_no_interface(core: ModuleType, awkward: Any) -> None:
    for question in ("get_flags", "get_mtu", "get_index", "get_hardware_address"):
        ask = getattr(core, question)
        assert awkward.call(lambda: ask("full:1") == ask("full"))  # noqa: B023
        for name in ("full:2", "full:", "full:1:1", "nothere:1"):
            kind, code, _ = awkward.call(lambda: outcome(ask, name))  # noqa: B023
            assert (kind, code) == (NoSuchInterface, errno.ENODEV)


def test_an_address_that_is_not_there_has_no_netmask(core: ModuleType, awkward: Any) -> None:
    for question in (core.get_netmask, core.get_broadcast):
        for address in ("203.0.113.9", "10.2.0.1", "0.0.0.0"):
            kind, _, words = awkward.call(lambda: outcome(question, "full", address))  # noqa: B023
            assert (kind, words) == (NoAddress, f"[Errno 99] full has no IPv4 address {address}")


def test_list_ipv4_against_ip(core: ModuleType, awkward: Any) -> None:
    expected = [
        (address.get("label", link["ifname"]), address["local"])
        for link in ip_addresses(awkward)
        for address in link["addr_info"]
        if address["family"] == "inet"
    ]
    listed = awkward.call(core.list_ipv4)
    assert sorted(listed) == sorted(expected)
    assert ("full:1", "10.2.0.1") in listed


def test_list_interfaces_says_what_siocgifconf_says(core: ModuleType, awkward: Any) -> None:
    names = awkward.call(core.list_interfaces)
    assert sorted(names) == ["full", "full:1", "lo", "nocarrier", "off"]


def test_list_ipv6_against_ip(core: ModuleType, awkward: Any) -> None:
    expected = {
        (link["ifname"], address["local"], address["prefixlen"])
        for link in ip_addresses(awkward)
        for address in link["addr_info"]
        if address["family"] == "inet6"
    }
    listed = awkward.call(core.list_ipv6)
    assert {entry[:3] for entry in listed} == expected
    assert ("six", "fd77:6::1", 48) in expected


def test_no_address(core: ModuleType, awkward: Any) -> None:
    for question, name, what in (
        ("get_ip_address", "bare", "IPv4 address"),
        ("get_ip_address", "six", "IPv4 address"),
        ("get_ip_address", "full:9", "IPv4 address"),
        ("get_netmask", "bare", "IPv4 address"),
        ("get_broadcast", "bare", "broadcast address"),
        ("get_broadcast", "lo", "broadcast address"),
        ("get_hardware_address", "tunnel", "MAC address"),
    ):
        kind, code, words = awkward.call(lambda q=question, n=name: outcome(getattr(core, q), n))
        assert (kind, code) == (NoAddress, errno.EADDRNOTAVAIL)
        assert words == f"[Errno {code}] {name} has no {what}"


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_such_interface_lists_all_that_exist(core: ModuleType, awkward: Any, question: str) -> None:
    names = ", ".join(link["ifname"] for link in ip_addresses(awkward))
    for name, note in (
        ("nothere", ""),
        ("", " (a name has 1 to 15 bytes, an alternative one up to 127)"),
        ("abcdefghijklmnop", ""),
        ("é" * 64, " (a name has 1 to 15 bytes, an alternative one up to 127)"),
        ("lo\0x", " (a name has no NUL and no slash)"),
        ("../lo", " (a name has no NUL and no slash)"),
        ("\ud800", ""),
    ):
        kind, code, words = awkward.call(lambda n=name: outcome(getattr(core, question), n))
        assert (kind, code) == (NoSuchInterface, errno.ENODEV)
        assert words == f"[Errno {code}] no interface {name!r}{note}: there are {names}"


def test_arguments_of_another_type(core: ModuleType) -> None:
    for question in QUESTIONS:
        with pytest.raises(InvalidArgument, match="ifname must be a str, not bytes"):
            getattr(core, question)(b"lo")
    for question in (core.get_netmask, core.get_broadcast):
        with pytest.raises(InvalidArgument, match="address must be an IPv4 address, not int"):
            question("lo", 1)
        for wrong in ("1.2.3", "::1", "1.2.3.4\0", "\ud800"):
            with pytest.raises(InvalidArgument, match=r"address .*: expected an IPv4 address"):
                question("lo", wrong)


@given(name=st.text(max_size=17), question=st.sampled_from(QUESTIONS))
def test_twins_say_the_same_of_any_name(
    twins: tuple[ModuleType, ModuleType], name: str, question: str
) -> None:
    native, pure = twins
    assert outcome(getattr(native, question), name) == outcome(getattr(pure, question), name)


@given(address=st.ip_addresses(v=4).map(str) | st.text(max_size=16))
def test_twins_say_the_same_of_any_address(twins: tuple[ModuleType, ModuleType], address: str) -> None:
    native, pure = twins
    assert outcome(native.get_netmask, "lo", address) == outcome(pure.get_netmask, "lo", address)


def test_twins_say_the_same_of_awkward_interfaces(twins: tuple[ModuleType, ModuleType], awkward: Any) -> None:
    def everything(core: ModuleType) -> list[object]:
        names = [name for _, name in socket.if_nameindex()]
        return [
            core.list_ipv4(),
            core.list_interfaces(),
            core.list_ipv6(),
            *(outcome(getattr(core, question), name) for question in QUESTIONS for name in names),
        ]

    native, pure = twins
    assert awkward.call(lambda: everything(native)) == awkward.call(lambda: everything(pure))


def test_names_that_are_not_utf8(core: ModuleType, namespace: Any) -> None:
    host = namespace()
    host.ip("link", "add", "name", "\udcff\udcfeé", "type", "veth", "peer", "name", "other")
    host.ip("address", "add", "10.1.0.1/24", "dev", "\udcff\udcfeé")
    host.ip("link", "set", "\udcff\udcfeé", "up")
    host.ip("-6", "address", "add", "fd77::1/64", "dev", "\udcff\udcfeé", "nodad")

    assert "\udcff\udcfeé" in host.call(core.list_interfaces)
    assert host.call(lambda: core.get_ip_address("\udcff\udcfeé")) == "10.1.0.1"
    assert ("\udcff\udcfeé", "fd77::1", 64) in [entry[:3] for entry in host.call(core.list_ipv6)]


def test_hundreds_of_interfaces(core: ModuleType, namespace: Any) -> None:
    host = namespace()
    numbers = range(1, PAIRS + 1)
    batch = [f"link add a{n} type veth peer name b{n}" for n in numbers]
    batch += [f"address add 10.{side}.{n}.1/24 dev {'ab'[side]}{n}" for n in numbers for side in (0, 1)]
    batch += [f"address add 10.{n}.77.{host}/24 dev a1" for n in range(2, 20) for host in range(1, 60)]
    host.run("ip", "-batch", "-", input="\n".join(batch))

    names = host.call(core.list_interfaces)
    assert sorted(names) == sorted(["lo", *(f"{side}{n}" for n in numbers for side in "ab")])
    assert len(host.call(core.list_ipv4)) == 1 + 2 * PAIRS + 18 * 59

    kind, _, words = host.call(lambda: outcome(core.get_mtu, "nothere"))
    assert kind is NoSuchInterface
    assert len(words) < 400
    assert " and 4" in words


def test_a_list_that_grows_meanwhile_is_never_cut(core: ModuleType, namespace: Any) -> None:
    host = namespace()
    for name in ("growing", "last"):
        host.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
    host.ip("address", "add", "10.0.0.1/8", "dev", "growing")
    host.ip("address", "add", "10.0.0.2/8", "dev", "last")
    batch = "\n".join(f"address add 10.0.{i}.{j}/8 dev growing" for i in range(1, 11) for j in range(1, 201))
    adding = threading.Thread(target=host.run, args=("ip", "-batch", "-"), kwargs={"input": batch})

    def watch() -> list[int]:
        sizes = []
        while adding.is_alive():
            listed = core.list_ipv4()
            # A list that was cut would lack its end.
            assert listed[-1] == ("last", "10.0.0.2")
            sizes.append(len(listed))
        return sizes

    adding.start()
    sizes = host.call(watch)
    adding.join()
    assert sizes == sorted(sizes)
    assert len(host.call(core.list_ipv4)) == 3 + 2000


def test_a_rename(core: ModuleType, namespace: Any) -> None:
    host = namespace()
    host.ip("link", "add", "old", "type", "veth", "peer", "name", "other")
    index = host.call(lambda: core.get_index("old"))
    host.ip("link", "set", "old", "name", "new")
    assert host.call(lambda: core.get_index("new")) == index
    with pytest.raises(NoSuchInterface):
        host.call(lambda: core.get_index("old"))


def test_a_thread_that_moves_to_and_fro(core: ModuleType, namespace: Any) -> None:
    first, second = namespace(), namespace()
    for number, host in enumerate((first, second), 1):
        host.ip("address", "add", f"10.0.0.{number}/32", "dev", "lo")
    seen = []

    def wander() -> None:
        for host in (first, second, first, first, second):
            host.enter()
            seen.append((core.list_ipv4()[-1][1], core.get_netmask("lo", core.list_ipv4()[-1][1])))

    thread = threading.Thread(target=wander)
    before = core.list_ipv4()
    thread.start()
    thread.join()
    assert [address for address, _ in seen] == [f"10.0.0.{number}" for number in (1, 2, 1, 1, 2)]
    assert {netmask for _, netmask in seen} == {"255.255.255.255"}
    assert core.list_ipv4() == before


def test_threads_in_namespaces_of_their_own(core: ModuleType, namespace: Any) -> None:
    hosts = [namespace() for _ in range(4)]
    for number, host in enumerate(hosts):
        host.ip("link", "add", "same", "type", "veth", "peer", "name", "other")
        host.ip("address", "add", f"10.0.0.{number}/24", "dev", "same")
    answers: list[set[str]] = [set() for _ in hosts]
    ready = threading.Barrier(len(hosts))

    def ask(number: int) -> None:
        hosts[number].enter()
        ready.wait()
        for _ in range(500):
            answers[number].add(core.get_ip_address("same"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(hosts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{f"10.0.0.{number}"} for number in range(len(hosts))]


@pytest.fixture
def script(core: ModuleType, python: Callable[..., Any]) -> Callable[..., str]:
    """Runs Python code that has ``core`` in a process of its own, and gives what it prints."""

    def run(code: str, *prefix: str) -> str:
        head = f"import ctypes, os\nimport {core.__name__} as core\n"
        done = python("-W", "error", "-c", head + code, prefix=prefix)
        assert (done.returncode, done.stderr) == (0, "")
        return str(done.stdout)

    return run


def test_a_forked_child(script: Callable[..., str], unshare: str) -> None:
    code = """
assert core.get_ip_address("lo") == "127.0.0.1"
before = len(os.listdir("/proc/self/fd"))
child = os.fork()
if child == 0:
    assert len(os.listdir("/proc/self/fd")) == before - 2
    assert core.get_ip_address("lo") == "127.0.0.1"
    assert ctypes.CDLL(None).unshare(0x40000000) == 0
    try:
        core.get_ip_address("lo")
    except OSError as error:
        os._exit(error.errno)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert len(os.listdir("/proc/self/fd")) == before
assert core.get_ip_address("lo") == "127.0.0.1"
print(os.waitstatus_to_exitcode(status))
"""
    assert script(code) == f"{errno.EADDRNOTAVAIL}\n"


def test_a_daemon_that_closes_every_descriptor(script: Callable[..., str]) -> None:
    code = """
assert core.get_ip_address("lo") == "127.0.0.1"
os.closerange(3, 100)
files = [os.open("/dev/zero", os.O_RDONLY) for _ in range(10)]
for _ in range(2):
    assert core.get_ip_address("lo") == "127.0.0.1"
assert [os.read(file, 1) for file in files] == [bytes(1)] * 10
"""
    script(code)


def test_without_proc(script: Callable[..., str], peer: Callable[[str], str], namespace: Any) -> None:
    host = namespace()
    code = f"""
inside = os.open("/run/netns/{host.name}", os.O_RDONLY)
libc = ctypes.CDLL(None)
assert libc.umount2(b"/proc", 2) == 0
assert not os.path.exists("/proc/self")
outside = core.list_ipv4()
assert core.list_ipv4() == outside != []
assert libc.setns(inside, 0x40000000) == 0
print(core.list_ipv4())
"""
    assert script(code, peer("unshare"), "--mount") == "[('lo', '127.0.0.1')]\n"


def test_nothing_leaks(core: ModuleType) -> None:
    core.get_ip_address("lo")
    before = open_descriptors()
    for _ in range(100_000):
        core.get_ip_address("lo")
    for _ in range(200):
        threads = [threading.Thread(target=core.get_mtu, args=("lo",)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        core.list_interfaces()
        outcome(core.get_index, "nothere")
    assert open_descriptors() == before


def test_two_descriptors_a_thread(core: ModuleType) -> None:
    counts = []

    def ask() -> None:
        before = open_descriptors()
        core.get_mtu("lo")
        core.list_interfaces()
        counts.append(open_descriptors() - before)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert counts == [2]


def test_no_privilege_is_needed(script: Callable[..., str], root: None) -> None:
    code = """
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print(core.get_ip_address("lo"), core.list_ipv4()[0], core.get_flags("lo") & 8)
core.list_ipv6()
"""
    assert script(code) == "127.0.0.1 ('lo', '127.0.0.1') 8\n"
