"""The fast way of sweeps: the verdicts of a raw socket, whatever comes, and nothing left behind."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from types import ModuleType
from typing import Any

import pytest
from children import Child
from environment import COMMAND_TIMEOUT, absent
from namespaces import Namespace

from fastnet._contract.probe import turbo_refusal
from fastnet._pure.checksum import checksum
from fastnet._system.routes import Route, gatewayed
from fastnet.errors import EngineMissing, InvalidArgument, NoAddress, NoSuchInterface, NotPermitted

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
TOPIC = "probe"

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
ENDS = {IPV4: ("10.77.0.1", "10.77.0.2"), IPV6: ("fd77::1", "fd77::2")}
SWEPT = {IPV4: ("10.99.0.1", "10.99.2.255"), IPV6: ("fd99::1", "fd99::2ff")}
# A third is alive, of the next each odd address is dead, and all of the last.
ALIVE = {index for index in range(1, 0x300) if index < 0x100 or (index < 0x200 and index % 2 == 0)}
DEAD = """\
table inet t {
    chain dead {
        type filter hook prerouting priority raw
        ip daddr 10.99.1.0/24 ip daddr & 0.0.0.1 == 0.0.0.1 drop
        ip daddr 10.99.2.0/24 drop
        ip6 daddr fd99::100/120 ip6 daddr & ::1 == ::1 drop
        ip6 daddr fd99::200/120 drop
    }
}
"""


def number(address: str) -> int:
    return int.from_bytes(socket.inet_pton(IPV6 if ":" in address else IPV4, address), "big")


@pytest.fixture
def native(twins: tuple[ModuleType, ModuleType]) -> ModuleType:
    """The implementation that has it."""
    return twins[0]


@pytest.fixture
def routed(met: tuple[Namespace, Namespace], peer: Callable[[str], str]) -> tuple[Namespace, Namespace]:
    """``met``, where the right host is the left one's router to networks that it answers for."""
    left, right = met
    for network, router in (("10.99.0.0/22", "10.77.0.2"), ("fd99::/64", "fd77::2")):
        right.ip("route", "add", "local", network, "dev", "lo")
        left.ip("route", "add", network, "via", router)
    right.run(peer("nft"), DEAD)
    return met


def route(family: int = IPV4, **other: Any) -> Any:
    """By the right host, whatever the left one's routes are."""
    source, router = ENDS[socket.AddressFamily(family)]
    return Route("veth0", 0, 0, source, router)._replace(**other)


@contextmanager
def opened(core: ModuleType, family: int = IPV4) -> Iterator[Any]:
    with closing(core.Prober(family, "raw")) as prober:
        try:
            turbo = core.open_turbo(prober, route(family))
        except (NotPermitted, EngineMissing) as error:
            absent(str(error))
        with closing(turbo):
            yield turbo


def sweep(core: ModuleType, turbo: Any, first: str, last: str, **options: Any) -> Any:
    """A sweep that is finished."""
    sweeper = core.Sweeper(turbo, [(number(first), number(last))], **options)
    while not sweeper.run(0.5):
        pass
    return sweeper


def is_answered(sock: Any, ask: Callable[[], object], hear: Callable[[], bool]) -> bool:
    """Whether there comes an answer: what was lost is asked again, as ping does, once a second."""
    deadline = time.monotonic() + COMMAND_TIMEOUT
    while time.monotonic() < deadline:
        ask()
        while select.select([sock], [], [], 1.0)[0]:
            if hear():
                return True
    return False


def is_exact(core: ModuleType, turbo: Any, **options: Any) -> bool:
    sweeper = sweep(core, turbo, *SWEPT[turbo.family], **options)
    states = bytes(sweeper.states)
    assert all(0 < sweeper.rtts_ms[index - 1] < 60_000 for index in ALIVE)
    assert set(states) == {core.ALIVE, core.SILENT}
    return {index for index, state in enumerate(states, 1) if state == core.ALIVE} == ALIVE


class TestVerdicts:
    @pytest.mark.parametrize("family", [IPV4, IPV6])
    def test_exactly_those_are_alive_five_times(self, native, routed, family):
        for host in routed:
            if family == IPV6:
                host.settle()

        def run() -> list[bool]:
            with opened(native, family) as turbo:
                return [is_exact(native, turbo, timeout=0.3, seed=seed) for seed in range(5)]

        assert routed[0].call(run) == [True] * 5

    def test_the_stack_sees_no_reply(self, native, routed):
        def run() -> None:
            with socket.socket(IPV4, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP) as stack:
                with opened(native) as turbo:
                    states = [*sweep(native, turbo, "10.99.0.1", "10.99.0.16").states]
                assert states == [native.ALIVE] * 16
                with suppress(BlockingIOError):
                    while True:
                        # The gateway reports that nobody listens where its MAC address was looked for.
                        assert stack.recv(2048)[20:22] == b"\3\3"

        routed[0].call(run)

    def test_two_at_once(self, native, routed):
        def run() -> bool:
            with opened(native) as turbo:
                return is_exact(native, turbo, timeout=0.5)

        with ThreadPoolExecutor(2) as pool:
            assert [*pool.map(lambda _: routed[0].call(run), range(2))] == [True, True]

    def test_the_routes_are_those_of_the_kernel(self, native, routed):
        def run() -> list[int]:
            [way] = [each for each in gatewayed(IPV4) if each.first == number("10.99.0.0")]
            assert (way.interface, way.source, way.gateway) == ("veth0", *ENDS[IPV4])
            with (
                closing(native.Prober(IPV4, "raw")) as prober,
                closing(native.open_turbo(prober, way)) as turbo,
            ):
                return [*sweep(native, turbo, "10.99.0.1", "10.99.0.16").states]

        assert routed[0].call(run) == [native.ALIVE] * 16

    def test_what_does_not_fit_the_ring_is_not_lost(self, native, routed):
        left, right = routed

        def flood(packet: bytes) -> None:
            with socket.socket(IPV4, socket.SOCK_RAW, socket.IPPROTO_ICMP) as forging:
                for _ in range(5000):  # half as many fill it
                    forging.sendto(packet, ("10.77.0.1", 0))

        def run() -> Counter[int]:
            with opened(native) as turbo:
                rest = turbo.ident.to_bytes(2, "big") + bytes(2 + turbo.size)
                forged = bytes(2) + checksum(bytes(4) + rest).to_bytes(2, "big") + rest
                right.call(lambda: flood(forged))
                return Counter(sweep(native, turbo, "10.99.0.1", "10.99.0.255").states)

        assert left.call(run) == {native.ALIVE: 255}


class TestAdversary:
    def test_each_lie(self, native, met, responder):
        alive = {
            "honest",
            "options",
            "redirect-then-reply",
            "error-then-reply",
            "noise",
            "three",
            "thousand",
            "late",
            "quench-then-reply",
        }
        errors = {"error": (3, 1), "error-short-quote": (3, 13)}
        silent = {
            *("checksum", "source", "ident", "sequence", "cookie", "truncated", "headless", "request"),
            *(
                "silence",
                "redirect",
                "error-for-other-ident",
                "error-for-other-host",
                "error-bad-cookie",
                "quench",
                "third",
            ),
        }
        behaviours = sorted(alive | silent | {*errors}, key=lambda each: number(responder(each)))

        def run() -> Any:
            with opened(native) as turbo:
                return sweep(native, turbo, responder(behaviours[0]), responder(behaviours[-1]))

        sweeper = met[0].call(run)
        states = dict(zip(behaviours, sweeper.states, strict=True))
        assert {name for name, state in states.items() if state == native.ALIVE} == alive
        assert {name for name, state in states.items() if state == native.SILENT} == silent
        reasons = {name: sweeper.reason(index) for index, name in enumerate(behaviours) if name in errors}
        assert {name: (reason.error, reason.responder) for name, reason in reasons.items()} == {
            name: (error, "10.77.0.2") for name, error in errors.items()
        }

    @pytest.mark.parametrize(
        ("form", "alive"),
        [
            ("whole", True),
            ("padded", True),
            ("fragments", True),
            ("tag", False),
            ("ip checksum", False),
            ("short", False),
            ("to another", False),
            ("version", False),
        ],
    )
    def test_each_form_of_a_frame(self, native, met, form, alive):
        left, right = met
        right.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
        ready = threading.Event()

        def answer() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as link:
                link.bind(("veth0", 0x0800))
                link.settimeout(COMMAND_TIMEOUT)
                ready.set()
                while (frame := link.recv(2048))[23] != socket.IPPROTO_ICMP or frame[34] != 8:
                    pass
                for each in answers(form, frame):
                    link.send(each)

        def run() -> int:
            with opened(native) as turbo:
                ready.wait(COMMAND_TIMEOUT)
                return int(sweep(native, turbo, "10.99.0.1", "10.99.0.1", timeout=0.5, retries=0).states[0])

        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(right.call, answer)
            assert left.call(run) == (native.ALIVE if alive else native.SILENT)
            answering.result()


def ipv4(header: bytes, payload: bytes, fragment: int = 0) -> bytes:
    """A packet back to where one with this header came from."""
    size = (20 + len(payload)).to_bytes(2, "big")
    packet = b"\x45\0" + size + b"\0\x07" + fragment.to_bytes(2, "big") + b"\x40\x01"
    ends = header[16:20] + header[12:16]
    return packet + checksum(packet + ends).to_bytes(2, "big") + ends + payload


def answers(form: str, frame: bytes) -> list[bytes]:
    """The frames that come back for a request."""
    ethernet, header, rest = frame[6:12] + frame[:6] + b"\x08\0", frame[14:34], frame[38:]
    icmp = bytes(2) + checksum(bytes(4) + rest).to_bytes(2, "big") + rest
    packet = ipv4(header, icmp)
    if form == "padded":
        packet += bytes(20)
    elif form == "fragments":
        return [ethernet + ipv4(header, icmp[:32], 0x2000), ethernet + ipv4(header, icmp[32:], 4)]
    elif form == "tag":
        ethernet = ethernet[:12] + b"\x81\0\0\x05\x08\0"
    elif form == "ip checksum":
        packet = packet[:10] + bytes([packet[10] ^ 1]) + packet[11:]
    elif form == "short":
        packet = packet[:-8]
    elif form == "to another":
        ethernet = b"\x02\0\0\0\0\x77" + ethernet[6:]
    elif form == "version":
        packet = b"\x65" + packet[1:]
    return [ethernet + packet]


class Query(ctypes.Structure):
    """``union bpf_attr`` as BPF_PROG_QUERY takes it (linux/bpf.h)."""

    _fields_ = (
        *(("interface", ctypes.c_uint32), ("attach_type", ctypes.c_uint32)),
        *(("flags", ctypes.c_uint32), ("attach_flags", ctypes.c_uint32)),
        *(("programs", ctypes.c_uint64), ("count", ctypes.c_uint32), ("rest", ctypes.c_uint32 * 9)),
    )


def attached(host: Namespace) -> int:
    """How many programs there are at the ingress of ``veth0``."""
    bpf, program_query, tcx_ingress = {"x86_64": 321, "aarch64": 280}[platform.machine()], 16, 46

    def ask() -> int:
        query = Query(interface=socket.if_nametoindex("veth0"), attach_type=tcx_ingress)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(bpf, program_query, ctypes.byref(query), ctypes.sizeof(query)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return int(query.count)

    return host.call(ask)


class TestGuest:
    """It is a guest on the interface."""

    def test_it_goes_when_it_is_closed(self, native, met):
        def run() -> None:
            with opened(native):
                assert attached(met[0]) == 1
            assert attached(met[0]) == 0

        met[0].call(run)

    def test_it_goes_when_it_is_killed(self, native, met):
        code = (
            "import time\nfrom fastnet._native import probe\nfrom fastnet._system.routes import Route\n"
            "turbo = probe.open_turbo(probe.Prober(2, 'raw'), "
            "Route('veth0', 0, 0, '10.77.0.1', '10.77.0.2'))\n"
            "print('open', flush=True)\ntime.sleep(60)"
        )
        words = [*met[0].prefix, sys.executable, "-c", code]
        with Child(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            assert attached(met[0]) == 1
            process.kill()
            assert process.wait(COMMAND_TIMEOUT) == -signal.SIGKILL
        deadline = time.monotonic() + COMMAND_TIMEOUT
        while attached(met[0]) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert attached(met[0]) == 0

    def test_the_pings_of_others_are_answered(self, native, routed):
        def converse() -> bool:
            with closing(native.Prober(IPV4, "raw")) as prober:
                return is_answered(
                    prober, lambda: prober.send(("10.99.0.1", 0), 0, 60.0), lambda: bool(prober.receive())
                )

        def run() -> int:
            with opened(native) as turbo, ThreadPoolExecutor(1) as pool:
                sweeping = pool.submit(routed[0].call, lambda: is_exact(native, turbo, timeout=0.5))
                answered = 0
                while not sweeping.done():
                    assert converse()
                    answered += 1
                assert sweeping.result()
                return answered

        assert routed[0].call(run) > 0

    @pytest.mark.parametrize("family", [IPV4, IPV6])
    def test_a_ping_of_the_same_ident_and_size_is_answered(self, native, routed, family):
        for host in routed:
            if family == IPV6:
                host.settle()
        protocol, kind = (socket.IPPROTO_ICMP, 8) if family == IPV4 else (socket.IPPROTO_ICMPV6, 128)

        def run() -> bool:
            with opened(native, family) as turbo, socket.socket(family, socket.SOCK_RAW, protocol) as pinging:
                rest = turbo.ident.to_bytes(2, "big") + b"\0\7" + bytes(turbo.size)
                head = bytes([kind, 0])
                request = head + checksum(head + bytes(2) + rest).to_bytes(2, "big") + rest
                return is_answered(
                    pinging,
                    lambda: pinging.sendto(request, (SWEPT[family][0], 0)),
                    lambda: pinging.recv(2048).endswith(rest),
                )

        assert routed[0].call(run)

    def test_a_closed_one_sweeps_no_more(self, native, routed):
        def run() -> None:
            with opened(native) as turbo:
                sweeper = native.Sweeper(turbo, [(number("10.99.0.1"), number("10.99.0.9"))])
                turbo.close()
                turbo.close()
                with pytest.raises(OSError, match="Bad file descriptor") as raised:
                    sweeper.run(1)
                assert raised.value.errno == errno.EBADF

        routed[0].call(run)

    def test_nothing_is_left_of_many(self, native, met):
        def run() -> None:
            with closing(native.Prober(IPV4, "raw")) as prober:
                for count in range(50):
                    native.open_turbo(prober, route())
                    if count == 0:
                        before = len(os.listdir("/proc/self/fd"))
                assert len(os.listdir("/proc/self/fd")) == before

        met[0].call(run)
        assert attached(met[0]) == 0

    def test_an_interface_that_goes_away(self, native, routed):
        left, _ = routed

        def run() -> Any:
            with opened(native) as turbo:
                left.ip("link", "delete", "veth0")
                return sweep(native, turbo, "10.99.0.1", "10.99.0.3", timeout=0.1)

        sweeper = left.call(run)
        assert [*sweeper.states] == [native.PENDING] * 3
        assert {sweeper.reason(index) for index in range(3)} == {errno.ENXIO}


class TestRefusals:
    def test_what_is_no_way(self, native, met, peer):
        met[0].ip("tuntap", "add", "tun0", "mode", "tun")

        def run() -> None:
            with closing(native.Prober(IPV4, "raw")) as prober:
                with pytest.raises(InvalidArgument) as raised:
                    native.open_turbo(prober, route(gateway=""))
                assert str(raised.value) == (
                    "interface veth0: turbo sends to a gateway, and this route has none"
                )
                with pytest.raises(NoSuchInterface):
                    native.open_turbo(prober, route(interface="nope"))
                with pytest.raises(NoAddress):
                    native.open_turbo(prober, route(interface="tun0"))
                with pytest.raises(OSError, match="no answer with its MAC address") as failed:
                    native.open_turbo(prober, route(gateway="10.77.0.9"))
                assert failed.value.errno == errno.EHOSTUNREACH
            met[0].run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
            with (
                closing(native.Prober(IPV4, "datagram")) as prober,
                pytest.raises(
                    InvalidArgument, match="engine datagram: turbo is the fast way of a raw prober"
                ),
            ):
                native.open_turbo(prober, route())

        met[0].call(run)

    @pytest.mark.parametrize("capability", ["net_admin", "bpf"])
    def test_without_a_capability(self, native, met, python, peer, capability):
        code = (
            "from fastnet._native import probe\nfrom fastnet._system.routes import Route\n"
            "try: probe.open_turbo(probe.Prober(2, 'raw'), "
            "Route('veth0', 0, 0, '10.77.0.1', '10.77.0.2'))\n"
            "except PermissionError as error: print(error)"
        )
        # CAP_SYS_ADMIN stands for either.
        less = ("--inh-caps=-all", f"--bounding-set=-sys_admin,-{capability}")
        result = python("-c", code, prefix=(*met[0].prefix, peer("setpriv"), *less))
        assert (result.stdout, result.stderr) == (
            "[Errno 1] engine turbo: needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF; raw needs less\n",
            "",
        )
        assert attached(met[0]) == 0

    def test_an_older_kernel(self):
        for code in (errno.EINVAL, errno.ENOSYS):
            error = turbo_refusal(code)
            assert isinstance(error, EngineMissing)
            assert str(error) == "engine turbo: needs Linux 6.6, with eBPF and tcx; raw needs none of these"

    def test_the_pure_implementation(self, root):
        from fastnet._pure import probe

        with closing(probe.Prober(IPV4, "raw")) as prober, pytest.raises(EngineMissing) as raised:
            probe.open_turbo(prober, route())
        assert (
            str(raised.value)
            == "engine turbo: only the native implementation has it; raw needs no more than Python"
        )
