"""What ends a trace: answers that come late, hosts and routers that turn probes away, ways that branch."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import adversary
import pytest
from environment import COMMAND_TIMEOUT, Run
from namespaces import MakeNamespace, Namespace

import fastnet
from fastnet._ping import path_mtu
from fastnet._trace import TraceResult

pytestmark = pytest.mark.xdist_group("icmp")
ETH_P_IP = 0x0800
ROUTER = {4: "10.77.0.2", 6: "fd77::2"}
ABSENT = {4: "10.99.0.9", 6: "fd99::9"}
"""Nobody's address on the router's other link."""
BEYOND = {4: "10.99.0.1", 6: "fd99::1"}
"""The router's own address there."""


@pytest.fixture
def routed(linked: tuple[Namespace, Namespace]) -> tuple[Namespace, Namespace]:
    """A host and its router, which has a link on which there is nobody."""
    host, router = linked
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    router.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
    router.ip("link", "add", "dead0", "type", "veth", "peer", "name", "dead1")
    router.ip("address", "add", "10.99.0.1/24", "dev", "dead0")
    router.ip("address", "add", "fd99::1/64", "dev", "dead0", "nodad")
    for device in ("dead0", "dead1"):
        router.ip("link", "set", device, "up")
    host.ip("-4", "route", "add", "default", "via", ROUTER[4])
    host.ip("-6", "route", "add", "default", "via", ROUTER[6])
    host.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    return host, router


def trace(host: Namespace, *words: str, **options: object) -> TraceResult:
    return host.call(lambda: fastnet.trace(*words, **options))  # type: ignore[arg-type]


@contextlib.contextmanager
def late_router(router: Namespace, late: tuple[float, ...]) -> Iterator[None]:
    """Answers probes that a router does not pass on as where their TTL ends, each so many seconds late."""
    every = socket.htons(ETH_P_IP)
    listening = router.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, every))
    sending = router.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))

    def answer() -> Iterator[threading.Timer]:
        listening.settimeout(COMMAND_TIMEOUT)
        asked = (packet for packet in iter(lambda: listening.recv(65535), b"") if packet[16:20] == to)
        for seconds, packet in zip(late, asked, strict=False):
            source = socket.inet_ntoa(packet[12:16])
            expired = adversary.error(
                adversary.Request(source, ABSENT[4], packet, packet[20:]), 11, 0, packet
            )
            timer = threading.Timer(seconds, sending.sendto, (expired, (source, 0)))
            timer.start()
            yield timer

    to = socket.inet_aton(ABSENT[4])
    with listening, sending, ThreadPoolExecutor(1) as pool:
        answering = pool.submit(lambda: [*answer()])
        yield
        for timer in answering.result():
            timer.join()


class TestLate:
    """A router finds out in three seconds that a host is not there; until then it keeps the probes."""

    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("engine", ["udp", "raw", "datagram"])
    def test_the_hop_that_said_so(self, routed, engine: str, version: int) -> None:
        host, _ = routed
        result = trace(host, ABSENT[version], engine=engine)
        assert [hop.responders for hop in result.hops] == [[ROUTER[version]]] * 2
        first, second = result.hops
        assert {(each.error, each.mark) for each in first.responses} == {(None, None)}
        assert {(each.error, each.mark) for each in second.responses} == {("host unreachable", "!H")}
        assert all(each.rtt_ms and each.rtt_ms > 1000 for each in second.responses)
        assert (result.reached, result.error) == (False, f"host unreachable from {ROUTER[version]}")

    def test_one_probe_a_hop(self, routed, fastnet: Run) -> None:
        """All of them are given up before it comes."""
        ran = fastnet("trace", "-c1", "--max-hops=3", ABSENT[4], prefix=routed[0].prefix)
        *hops, end = ran.stdout.splitlines()
        assert re.fullmatch(r"  2  10\.77\.0\.2  \d+\.\d{3} ms !H", hops[1])
        assert end == f"{ABSENT[4]}: not reached in 2 hops: host unreachable from {ROUTER[4]}"
        assert (len(hops), ran.returncode, ran.stderr) == (2, 1, "")

    def test_a_neighbour_that_is_not_there(self, linked) -> None:
        result = trace(linked[0], "10.77.0.77", tries=1)
        assert (len(result.hops), result.reached) == (1, False)
        assert result.error == "host unreachable from 10.77.0.1"

    @pytest.mark.parametrize("engine", ["udp", "raw", "datagram"])
    @pytest.mark.parametrize("late", [(1.2, 1.3, 1.4), (1.4, 1.2, 1.3)])
    def test_the_first_does_not_end_the_wait(self, linked, engine: str, late: tuple[float, ...]) -> None:
        host, router = linked
        host.ip("-4", "route", "add", "default", "via", ROUTER[4])
        host.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        with late_router(router, late):
            (hop,) = trace(host, ABSENT[4], 1, 3, engine=engine).hops
        assert [each.responder for each in hop.responses] == [ROUTER[4]] * 3
        assert all(each.rtt_ms and each.rtt_ms > 1000 for each in hop.responses)

    def test_what_stays_silent(self, routed) -> None:
        """It is awaited for longer, but not for ever."""
        host, router = routed
        router.run("nft", "table ip t { chain f { type filter hook forward priority 0; drop; }; }")
        result = trace(host, ABSENT[4], 4, 2, 0.1)
        assert [hop.responders for hop in result.hops] == [[ROUTER[4]], [], [], []]
        assert {each.error for hop in result.hops[1:] for each in hop.responses} == {"no answer"}
        assert (result.reached, result.error) == (False, None)


REASONS = {
    "icmp": {
        "net-unreachable": ("network unreachable", "!N"),
        "host-unreachable": ("host unreachable", "!H"),
        "prot-unreachable": ("protocol unreachable", "!P"),
        "net-prohibited": ("network prohibited", "!X"),
        "host-prohibited": ("host prohibited", "!X"),
        "admin-prohibited": ("administratively prohibited", "!X"),
    },
    "icmpv6": {
        "no-route": ("no route", "!N"),
        "addr-unreachable": ("host unreachable", "!H"),
        "admin-prohibited": ("administratively prohibited", "!X"),
        "policy-fail": ("source address failed policy", "!<5>"),
        "reject-route": ("route rejected", "!<6>"),
    },
}
EACH = [(family, kind) for family, kinds in REASONS.items() for kind in kinds]


def reject(router: Namespace, hook: str, family: str, kind: str) -> None:
    """Turn away what comes to the router itself (input), or what it is to pass on (forward)."""
    rule = f"meta l4proto {{ udp, icmp, ipv6-icmp }} reject with {family} type {kind}"
    if family == "icmpv6":
        rule = f"icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept; {rule}"
    table = "ip6" if family == "icmpv6" else "ip"
    router.run("nft", f"table {table} t {{ chain c {{ type filter hook {hook} priority 0; {rule}; }}; }}")


class TestTurnedAway:
    @pytest.mark.parametrize(("family", "kind"), EACH)
    def test_by_the_destination(self, routed, peer: Callable[[str], str], family: str, kind: str) -> None:
        """It was reached, and the error is the reason."""
        host, router = routed
        reject(router, "input", family, kind)
        words, mark = REASONS[family][kind]
        to = BEYOND[6 if family == "icmpv6" else 4]
        for engine in ("udp", "raw"):
            result = trace(host, to, tries=1, engine=engine)
            assert (result.reached, result.error) == (True, f"{words} from {to}")
            ((response,),) = [hop.responses for hop in result.hops]
            assert (response.responder, response.error, response.mark) == (to, words, mark)
        shown = host.run(peer("traceroute"), "-n", "-q1", "-m3", to).stdout
        assert re.findall(r"^ 1 .* ms ?(.*)$", shown, re.MULTILINE) == [mark]

    @pytest.mark.parametrize(("family", "kind"), EACH)
    def test_by_a_router(self, routed, peer: Callable[[str], str], family: str, kind: str) -> None:
        host, router = routed
        reject(router, "forward", family, kind)
        words, mark = REASONS[family][kind]
        version = 6 if family == "icmpv6" else 4
        result = trace(host, ABSENT[version], tries=1)
        assert (result.reached, result.error) == (False, f"{words} from {ROUTER[version]}")
        assert [hop.responses[0].mark for hop in result.hops] == [None, mark]
        shown = host.run(peer("traceroute"), "-n", "-q1", "-m3", ABSENT[version]).stdout
        assert re.findall(r"^ 2 .* ms ?(.*)$", shown, re.MULTILINE) == [mark]

    def test_the_command(self, routed, fastnet: Run) -> None:
        host, router = routed
        reject(router, "input", "icmp", "host-prohibited")
        ran = fastnet("trace", "-c2", BEYOND[4], prefix=host.prefix)
        hop, end = ran.stdout.splitlines()
        assert re.fullmatch(r"  1  10\.99\.0\.1  \S+ ms !X  \S+ ms !X", hop)
        assert end == f"{BEYOND[4]}: reached: host prohibited from {BEYOND[4]}"
        assert (ran.returncode, ran.stderr) == (0, "")

    def test_its_mtu_is_found_all_the_same(self, routed) -> None:
        host, router = routed
        reject(router, "input", "icmp", "admin-prohibited")
        found = host.call(lambda: path_mtu(BEYOND[4], engine="udp"))
        assert (found.mtu, found.error) == (1500, None)

    def test_a_closed_port_of_a_router_s_is_no_arrival(self, routed) -> None:
        host, router = routed
        reject(router, "forward", "icmp", "port-unreachable")
        result = trace(host, ABSENT[4], tries=1)
        assert (result.reached, result.error) == (False, f"port unreachable from {ROUTER[4]}")
        assert result.hops[-1].responses[0].mark == "!<3>"


class TestBranches:
    """Two ways of equal cost behind the router: one goes on, the other does not."""

    @pytest.fixture
    def branched(self, routed, namespace: MakeNamespace) -> Namespace:
        host, router = routed
        good, bad, end = namespace(), namespace(), namespace()
        router.ip("link", "add", "good", "type", "veth", "peer", "name", "in", "netns", good.name)
        router.ip("link", "add", "bad", "type", "veth", "peer", "name", "in", "netns", bad.name)
        good.ip("link", "add", "out", "type", "veth", "peer", "name", "in", "netns", end.name)
        for place, device, address in (
            (router, "good", "10.91.0.1/24"),
            (good, "in", "10.91.0.2/24"),
            (router, "bad", "10.92.0.1/24"),
            (bad, "in", "10.92.0.2/24"),
            (good, "out", "10.93.0.1/24"),
            (end, "in", "10.93.0.2/24"),
            (end, "lo", "10.94.0.1/32"),
        ):
            place.ip("address", "add", address, "dev", device)
            place.ip("link", "set", device, "up")
        for place, way in ((good, "10.91.0.1"), (bad, "10.92.0.1"), (end, "10.93.0.1")):
            place.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratemask=0")
            place.ip("route", "add", "default", "via", way)
        good.ip("route", "add", "10.94.0.1", "via", "10.93.0.2")
        reject(bad, "forward", "icmp", "host-unreachable")
        ways = ("nexthop", "via", "10.91.0.2", "nexthop", "via", "10.92.0.2")
        router.ip("route", "add", "10.94.0.1", *ways)
        router.run("sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
        # For fresh links the kernel takes a second or two until anything is heard.
        heard: set[str] = set()
        while not {"10.92.0.2", "10.94.0.1"} <= heard:
            heard |= {each for hop in trace(host, "10.94.0.1", 3, 10, 0.2).hops for each in hop.responders}
        return host

    def test_it_goes_on_where_it_can(self, branched) -> None:
        result = trace(branched, "10.94.0.1", 8, 10)
        assert (result.reached, result.error) == (True, None)
        assert {*result.hops[1].responders} == {"10.91.0.2", "10.92.0.2"}
        assert "10.94.0.1" in result.hops[-1].responders
        assert len(result.hops) == 3
        assert {each.mark for hop in result.hops[1:] for each in hop.responses} == {None, "!H"}

    def test_reached_means_that_it_is_among_them(self, branched) -> None:
        for _ in range(8):
            result = trace(branched, "10.94.0.1", 8, 1)
            assert result.reached == ("10.94.0.1" in result.hops[-1].responders)
            assert result.reached or result.error == "host unreachable from 10.92.0.2"
