"""The probe engine: what it puts on the wire, what it believes, its clock, and the sweep's bookkeeping."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnet._pure.probe import Prober as PureProber
from fastnet._pure.probe.reading import read, stamp_of
from fastnet._system.icmp_sockets import TIMESTAMP, Notes, prepare_reading
from fastnet.errors import InvalidArgument, NoAddress, NoSuchInterface
from fastnet.packet import ICMPEcho, IPv4, parse

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
TOPIC = "probe"
LOOPBACK = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0, 0, 0)}

PORT_UNREACHABLE = {socket.AF_INET: (3, 3), socket.AF_INET6: (1, 4)}


@pytest.fixture(params=list(LOOPBACK), ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def prober(root: None, core: ModuleType, family: int) -> Iterator[Any]:
    prober = core.Prober(family, "raw")
    yield prober
    prober.close()


def arrived(prober: Any) -> list[Any]:
    """The next answers; what came for others before the socket had its filter is none."""
    answers: list[Any] = []
    while not answers:
        assert select.select([prober], [], [], 5)[0]
        answers = prober.receive()
    return answers


def heard(listening: socket.socket, address: str) -> Iterator[bytes]:
    """IPv4 packets to this address only: until it was bound, the socket was given everybody's."""
    while True:
        packet = listening.recv(65535)
        if packet[16:20] == socket.inet_aton(address):
            yield packet


def wait_for_timestamps(listening: socket.socket) -> None:
    """The kernel switches them on a little after it was asked: until then a packet's is when it is read."""
    stamped = False
    while not stamped:
        listening.sendto(bytes(8), ("127.77.1.9", 0))
        time.sleep(0.02)
        late = time.time_ns() - 10_000_000
        stamped = any(stamp_of(messages[TIMESTAMP]) < late for _, messages, _ in read(listening, 2000, 1000))


def tags(prober: Any, count: int) -> list[int]:
    """The tags of so many answers, and of those that came along: loopback is not always at once."""
    found: list[int] = []
    while len(found) < count:
        found += [answer.tag for answer in arrived(prober)]
    return found


def only_answers(prober: Any, count: int = 1) -> list[Any]:
    """So many answers: what comes besides, as when a probe left, is none."""
    found: list[Any] = []
    while len(found) < count:
        found += arrived(prober)
    return found


def address(host: str) -> tuple[int, tuple[Any, ...]]:
    """A numeric host's family and socket address."""
    return (socket.AF_INET6, (host, 0, 0, 0)) if ":" in host else (socket.AF_INET, (host, 0))


class TestProber:
    def test_a_probe_and_its_answer(self, prober, family):
        prober.send(LOOPBACK[family], 42, 1.0)
        (answer,) = arrived(prober)
        assert (answer.tag, answer.responder, answer.ttl) == (42, LOOPBACK[family][0], 64)
        assert (answer.error, answer.info) == (None, 0)
        assert answer.rtt_ns > 0
        assert prober.receive() == []

    def test_what_is_on_the_wire(self, root, core):
        prober = core.Prober(socket.AF_INET, "raw", source="127.77.0.5", ttl=9, size=100)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listening:
            listening.bind(("127.77.0.6", 0))
            prober.send(("127.77.0.6", 0), 1, 1.0)
            prober.send(("127.77.0.6", 0), 2, 1.0)
            requests = islice(heard(listening, "127.77.0.6"), 2)
            first, second = (parse(request, link="ipv4", strict=True) for request in requests)
        prober.close()
        for packet in (first, second):
            assert [type(layer) for layer in packet][:2] == [IPv4, ICMPEcho]
            assert (packet[IPv4].src, packet[IPv4].dst, packet[IPv4].ttl) == ("127.77.0.5", "127.77.0.6", 9)
            assert len(bytes(packet)) == 20 + 8 + 100
        assert first[ICMPEcho].ident == second[ICMPEcho].ident
        assert (first[ICMPEcho].seq + 1) % 65536 == second[ICMPEcho].seq
        # Another cookie, the same filler.
        assert bytes(first)[28:44] != bytes(second)[28:44]
        assert bytes(first)[44:] == bytes(second)[44:]

    def test_probers_do_not_take_each_other_s_replies(self, root, core, family):
        probers = [core.Prober(family, "raw") for _ in range(10)]
        for tag in range(20):
            for number, prober in enumerate(probers):
                prober.send(LOOPBACK[family], 100 * number + tag, 1.0)
        for number, prober in enumerate(probers):
            assert tags(prober, 20) == [100 * number + tag for tag in range(20)]
            prober.close()

    def test_another_prober_s_flood_pushes_no_reply_out(self, root, core, family):
        with closing(core.Prober(family, "raw")) as patient, closing(core.Prober(family, "raw")) as busy:
            for tag in range(20000):
                busy.send(LOOPBACK[family], tag, 60.0)
            patient.send(LOOPBACK[family], 7, 60.0)
            assert tags(patient, 1) == [7]

    def test_every_duplicate_is_told(self, root, core):
        own = ("127.77.0.9", 0)  # An address that no other test, at work beside this one, pings.
        prober = core.Prober(socket.AF_INET, "raw", source=own[0])
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listening:
            listening.bind(own)
            prober.send(own, 7, 1.0)
            request, reply = islice(heard(listening, own[0]), 2)
            assert (request[20], reply[20]) == (8, 0)
            listening.sendto(reply[20:], own)
        assert tags(prober, 2) == [7, 7]
        prober.close()

    def test_no_sequence_number_is_given_twice_while_it_waits(self, root, core):
        prober = core.Prober(socket.AF_INET, "raw", size=0)
        for tag in range(65536):
            prober.send(LOOPBACK[socket.AF_INET], tag, 60.0)
        with pytest.raises(OSError, match="every sequence number waits") as caught:
            prober.send(LOOPBACK[socket.AF_INET], 65536, 60.0)
        assert caught.value.errno == errno.EAGAIN
        for tag in tags(prober, 1000):
            prober.send(LOOPBACK[socket.AF_INET], tag, 60.0)
        with pytest.raises(OSError, match="every sequence number waits"):
            prober.send(LOOPBACK[socket.AF_INET], 65536, 60.0)
        prober.close()

    def test_what_is_refused(self, root, core, family):
        with pytest.raises(InvalidArgument, match="engine 'magic': expected auto, raw, datagram"):
            core.Prober(family, "magic")
        with pytest.raises(NoAddress) as caught:
            core.Prober(family, "raw", source="192.0.2.1" if family == socket.AF_INET else "2001:db8::1")
        assert caught.value.errno == errno.EADDRNOTAVAIL

    @pytest.mark.parametrize("host", ["localhost", "", "127.0.0.1 ", "1.2.3", "127.0.0.1\0", "\udcff"])
    def test_a_destination_is_numeric(self, prober, host):
        expected = f"destination {host!r}: expected a numeric address"
        with pytest.raises(InvalidArgument, match=re.escape(expected)):
            prober.send((host, 0), 1, 1.0)

    def test_after_close_nothing_is_touched(self, root, core):
        """The number may be another file's by then."""
        prober = core.Prober(socket.AF_INET, "raw")
        prober.close()
        assert prober.fileno() == -1
        for use in (lambda: prober.send(LOOPBACK[socket.AF_INET], 1, 1.0), prober.receive):
            with pytest.raises(OSError, match="Bad file descriptor") as caught:
                use()
            assert caught.value.errno == errno.EBADF
        prober.close()

    def test_late_answers_and_duplicates_are_known(self, root, core):
        """Those of earlier probes, answered or over their time, while others are sent."""
        own = ("127.77.0.10", 0)
        with (
            closing(core.Prober(socket.AF_INET, "raw", source=own[0])) as prober,
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listening,
        ):
            listening.bind(own)
            prober.send(own, 7, 0.0)
            reply = next(packet for packet in heard(listening, own[0]) if packet[20] == 0)[20:]
            assert tags(prober, 1) == [7]
            for tag in range(100, 4000):
                prober.send(own, tag, 60.0)
                if tag % 100 == 0:
                    prober.receive()
            while prober.receive():
                pass
            listening.sendto(reply, own)
            assert 7 in tags(prober, 1)

    def test_a_send_error_keeps_its_errno(self, root, core):
        prober = core.Prober(socket.AF_INET, "raw")
        with pytest.raises(PermissionError):
            prober.send(("127.255.255.255", 0), 1, 1.0)
        prober.send(LOOPBACK[socket.AF_INET], 2, 1.0)
        assert [answer.tag for answer in arrived(prober)] == [2]
        prober.close()


class TestOptions:
    FROM, TO = "127.77.1.1", "127.77.1.2"

    def on_the_wire(self, core: ModuleType, ttl: int | None = None, **options: Any) -> bytes:
        """The request that a prober with these options sends."""
        prober = core.Prober(socket.AF_INET, "raw", source=self.FROM, **options)
        with (
            closing(prober),
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listening,
        ):
            listening.bind((self.TO, 0))
            prober.send((self.TO, 0), 1, 1.0, ttl=ttl)
            return next(heard(listening, self.TO))

    def test_the_header(self, root, core):
        packet = parse(self.on_the_wire(core, tos=0xB8, ttl=9), link="ipv4", strict=True)[IPv4]
        assert (packet.dscp, packet.ttl) == (0xB8 >> 2, 9)

    def test_a_ttl_for_one_probe(self, root, core):
        assert parse(self.on_the_wire(core, ttl=3), link="ipv4", strict=True)[IPv4].ttl == 3

    @pytest.mark.parametrize(("wanted", "bit"), [(True, 0x40), (False, 0)])
    def test_dont_fragment(self, root, core, wanted, bit):
        assert self.on_the_wire(core, dont_fragment=wanted)[6] & 0x40 == bit

    def test_what_no_path_cuts_has_no_id(self, root, core):
        assert self.on_the_wire(core)[4:8] == b"\0\0\x40\0"

    def test_pattern(self, root, core):
        assert self.on_the_wire(core, size=23, pattern=b"abc")[20 + 8 + 16 :] == b"abcabca"

    def test_a_size_for_one_probe(self, root, core, family):
        with closing(core.Prober(family, "raw", size=1000)) as prober:
            for size in (0, 7, 16, 17, 999, 1000):
                prober.send(LOOPBACK[family], size, 5.0, size=size)
            assert sorted(tags(prober, 6)) == [0, 7, 16, 17, 999, 1000]
            for size in (-1, 1001):
                with pytest.raises(InvalidArgument, match=f"size {size}: expected 0 to 1000"):
                    prober.send(LOOPBACK[family], 1, 5.0, size=size)

    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    @pytest.mark.parametrize("host", ["10.77.0.2", "fd77::2"])
    def test_a_packet_above_the_mtu(self, core, engines, engine, host):
        family, where = address(host)

        def ping(dont_fragment: bool | None) -> list[int]:
            with closing(core.Prober(family, engine, size=2000, dont_fragment=dont_fragment)) as prober:
                prober.send(where, 7, 5.0)
                return tags(prober, 1)

        assert engines[0].call(lambda: (ping(None), ping(False))) == ([7], [7])
        with pytest.raises(OSError, match=r"too long|Message") as caught:
            engines[0].call(lambda: ping(True))
        assert caught.value.errno == errno.EMSGSIZE

    def test_mark(self, core, engines):
        engines[0].ip("rule", "add", "fwmark", "7", "prohibit")

        def ping(mark: int) -> list[int]:
            with closing(core.Prober(socket.AF_INET, mark=mark)) as prober:
                prober.send(("10.77.0.2", 0), 7, 5.0)
                return tags(prober, 1)

        assert engines[0].call(lambda: ping(0)) == [7]
        with pytest.raises(PermissionError):
            engines[0].call(lambda: ping(7))

    def test_interface(self, root, core, family):
        prober = core.Prober(family, "raw", interface="lo")
        with socket.socket(fileno=os.dup(prober.fileno())) as bound:
            assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
        prober.send(LOOPBACK[family], 7, 5.0)
        assert tags(prober, 1) == [7]
        prober.close()

    @pytest.mark.parametrize("name", ["nosuch0", "a-name-that-is-too-long", "lo\0x", "\udcff"])
    def test_an_interface_that_there_is_not(self, root, core, name):
        with pytest.raises(NoSuchInterface, match="lo") as caught:
            core.Prober(socket.AF_INET, "raw", interface=name)
        assert caught.value.errno == errno.ENODEV

    def test_what_needs_a_privilege_names_it(self, root, core, python, unprivileged):
        code = (
            f"from {core.__name__} import Prober\nimport socket\n"
            "Prober(socket.AF_INET, 'udp', interface='lo').close()\n"
            "Prober(socket.AF_INET, 'udp', mark=7)"
        )
        result = python("-c", code, prefix=unprivileged)
        assert "NotPermitted: [Errno 1] mark 7: needs the capability CAP_NET_ADMIN" in result.stderr

    @pytest.mark.parametrize("host", ["10.77.0.2", "fd77::2"])
    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    def test_transmit_timestamps(self, core, engines, engine, host, peer):
        """What waits in this host's own queue has not left: the queue is slow, and the wire is not."""
        queue = ("tbf", "rate", "4kbit", "burst", "250", "limit", "100000")
        engines[0].run(peer("tc"), "qdisc", "add", "dev", "veth0", "root", *queue)
        family, where = address(host)

        def last_rtt(transmit_timestamps: bool) -> float:
            prober = core.Prober(family, engine, transmit_timestamps=transmit_timestamps)
            with closing(prober):
                time.sleep(0.2)  # the kernel switches its timestamps on a little after it was asked
                for tag in range(6):
                    prober.send(where, tag, 10.0)
                rtts = {answer.tag: answer.rtt_ns / 1e9 for answer in only_answers(prober, 6)}
                return rtts[5]

        # At least four of six packets of 98 bytes wait, and 500 bytes leave in a second.
        without, with_them = engines[0].call(lambda: (last_rtt(False), last_rtt(True)))
        assert without >= 0.5 > with_them > 0

    def test_transmit_timestamps_after_what_was_refused(self, root, core):
        with closing(core.Prober(socket.AF_INET, "raw", transmit_timestamps=True)) as prober:
            time.sleep(0.2)
            for tag in range(20):
                with pytest.raises(PermissionError):
                    prober.send(("127.255.255.255", 0), 99, 5.0)
                before = time.monotonic_ns()
                prober.send(LOOPBACK[socket.AF_INET], tag, 5.0)
                (answer,) = only_answers(prober)
                assert answer.tag == tag
                assert 0 < answer.rtt_ns < time.monotonic_ns() - before


class TestUDP:
    def test_port_unreachable_is_the_arrival(self, core, family):
        with closing(core.Prober(family, "udp")) as prober:
            assert prober.engine == "udp"
            for tag in range(3):
                prober.send(LOOPBACK[family], tag, 5.0)
            answers = only_answers(prober, 3)
        assert sorted(answer.tag for answer in answers) == [0, 1, 2]
        assert {answer.error for answer in answers} == {PORT_UNREACHABLE[family]}
        assert {answer.responder for answer in answers} == {LOOPBACK[family][0]}
        assert all(answer.rtt_ns > 0 for answer in answers)

    def test_ports_begin_where_traceroute_s_did(self, core):
        with (
            closing(core.Prober(socket.AF_INET, "udp")) as prober,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service,
        ):
            service.bind(("127.77.1.3", 33435))
            for tag in range(2):
                prober.send(("127.77.1.3", 0), tag, 5.0)
            data, source = service.recvfrom(100)
            assert len(data) == prober.size
            service.sendto(data, source)  # no answer: only errors are
            assert [answer.tag for answer in only_answers(prober)] == [0]

    def test_who_may_not_do_anything_else(self, root, core, python, unprivileged):
        code = (
            f"from {core.__name__} import Prober\nimport select, socket\n"
            "prober = Prober(socket.AF_INET6, 'udp')\n"
            "prober.send(('::1', 0), 5, 5.0)\n"
            "while not (answers := prober.receive()): select.select([prober], [], [], 5)\n"
            "print(answers[0].tag, answers[0].error)"
        )
        assert python("-c", code, prefix=unprivileged).stdout == "5 (1, 4)\n"

    def test_no_sweep(self, core):
        with (
            closing(core.Prober(socket.AF_INET, "udp")) as prober,
            pytest.raises(InvalidArgument, match="engine udp: a sweep needs an ICMP socket"),
        ):
            core.Sweeper(prober, [(0x7F000001, 0x7F000001)])


@given(st.lists(st.binary(min_size=2, max_size=80) | st.binary(max_size=80).map(lambda rest: b"\0\0" + rest)))
def test_noise_is_no_answer_and_no_exception(root, core, messages):
    with (
        closing(core.Prober(socket.AF_INET, "raw")) as prober,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as noise,
    ):
        prober.send(LOOPBACK[socket.AF_INET], 7, 1.0)
        for message in messages:
            noise.sendto(message, LOOPBACK[socket.AF_INET])
        assert tags(prober, 1) == [7]


class TestClock:
    """A reply is read a good while after it arrived."""

    LATE = 0.2
    TRIES = 20

    def late_rtt_ns(self, prober: Any, family: int) -> tuple[int, int, int]:
        """What the prober returns, how long sending took, and how long all of it: even on a busy machine."""
        started = time.monotonic_ns()
        prober.send(LOOPBACK[family], 1, 1.0)
        sent = time.monotonic_ns()
        time.sleep(self.LATE)
        (answer,) = arrived(prober)
        return answer.rtt_ns, sent - started, time.monotonic_ns() - started

    def test_the_kernel_s_timestamp_counts(self, prober, family):
        for _ in range(self.TRIES):  # the kernel switches its timestamps on a little after it was asked
            rtt, sending, _ = self.late_rtt_ns(prober, family)
            if rtt < sending + self.LATE * 1e9 / 2:
                break
        assert 0 < rtt < sending + self.LATE * 1e9 / 2

    @pytest.mark.parametrize("step_ns", [-3600 * 10**9, -(10**8), 10**8, 3600 * 10**9])
    def test_a_step_of_the_wall_clock_does_not(self, root, family, step_ns, monkeypatch):
        """The C asks the system for the time: csrc/tests/test_probe_prober.c steps its clock."""
        read = time.time_ns
        times = iter([0])  # as it is when the probe is sent, stepped from then on
        monkeypatch.setattr(time, "time_ns", lambda: read() + next(times, step_ns))
        with closing(PureProber(family, "raw")) as prober:
            rtt, _, everything = self.late_rtt_ns(prober, family)
        assert self.LATE * 1e9 <= rtt <= everything


class TestSweeper:
    def spans(self, *texts: str) -> list[tuple[int, int]]:
        return [
            tuple(int.from_bytes(socket.inet_aton(each), "big") for each in text.split("-")) for text in texts
        ]

    def sweep(self, core: ModuleType, spans: list[tuple[int, int]], **options: Any) -> Any:
        prober = core.Prober(socket.AF_INET, "raw")
        sweeper = core.Sweeper(prober, spans, **options)
        while not sweeper.run(0.05):
            pass
        prober.close()
        return sweeper

    def test_states_by_index(self, root, core):
        spans = self.spans("127.0.0.1-127.0.0.3", "127.255.255.255-127.255.255.255", "224.0.0.1-224.0.0.2")
        sweeper = self.sweep(core, spans, timeout=0.2)
        assert (sweeper.size, sweeper.finished) == (6, True)
        assert bytes(sweeper.states) == bytes([core.ALIVE] * 3 + [core.PENDING] * 3)
        assert all(rtt > 0 for rtt in sweeper.rtts_ms[:3])
        reasons = [sweeper.reason(index) for index in range(6)]
        assert reasons == [None, None, None, errno.EACCES, core.NOT_A_HOST, core.NOT_A_HOST]

    def test_nothing_to_sweep(self, root, core):
        sweeper = self.sweep(core, [])
        assert (sweeper.size, sweeper.finished) == (0, True)

    def test_each_is_asked_again_in_turn_when_its_time_is_over(self, core, namespace):
        """The pass lasts longer than a timeout: it does not begin again with those who were asked last."""
        silent = namespace()
        silent.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
        spans = self.spans("127.0.0.1-127.0.0.16")

        def heard() -> dict[bytes, list[int]]:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listening:
                prepare_reading(listening, Notes())
                wait_for_timestamps(listening)
                sweeper = self.sweep(core, spans, timeout=1.0, rate=10)
                assert bytes(sweeper.states) == bytes([core.SILENT] * 16)
                times: dict[bytes, list[int]] = {}
                for packet, messages, _ in read(listening, 2000, 1000):
                    times.setdefault(packet[16:20], []).append(stamp_of(messages[TIMESTAMP]))
                return times

        times = silent.call(heard)
        assert [len(each) for each in times.values()] == [2] * 16
        assert [*times] == sorted(times, key=lambda each: times[each][1])
        # A request may be noted before it leaves: a busy machine takes its time between the two.
        assert all(again - first > 0.2e9 for first, again in times.values())

    def test_run_works_a_little_each_time(self, root, core):
        prober = core.Prober(socket.AF_INET, "raw")
        sweeper = core.Sweeper(prober, self.spans("127.0.0.0-127.0.3.255"), window=8)
        turns = 1
        while not sweeper.run(0):
            turns += 1
        prober.close()
        assert turns > 1024 / 16
        assert bytes(sweeper.states).count(core.ALIVE) == 1024

    def test_what_can_be_a_host(self, core):
        assert core.is_host(socket.AF_INET, 1)
        assert not core.is_host(socket.AF_INET, 0)
        assert not core.is_host(socket.AF_INET, 0xE0000001)
        assert core.is_host(socket.AF_INET, 0xF0000001)
        assert not core.is_host(socket.AF_INET6, 0)
        assert core.is_host(socket.AF_INET6, 1)
        assert not core.is_host(socket.AF_INET6, 0xFF02 << 112 | 1)
