"""What each option of ping changes: in what is sent, in how long it is awaited, and in what is told."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastnet
from fastnet.errors import InvalidArgument
from fastnet.ping import Pinger, PingResult, Reply
from fastnet.ping.session import Patience

pytestmark = pytest.mark.xdist_group("icmp")
INTERRUPTIBLE = ("env", "--default-signal=INT")
SILENT = "10.77.0.9"
"""A neighbour that has a hardware address, and nobody there."""


@pytest.fixture
def silent(linked):
    left, _ = linked
    left.ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "veth0")
    return left.prefix


def records(output: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in map(json.loads, output.splitlines()) if record["kind"] == kind]


class TestOnTheWire:
    @pytest.mark.parametrize(
        ("tos", "byte"), [("ef", 0xB8), ("af41", 0x88), ("CS1", 0x20), ("0x10", 16), ("3", 3)]
    )
    def test_tos_pattern_and_fragmentation(self, linked, fastnet, tos, byte) -> None:
        left, right = linked
        sock = right.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        with sock:
            sock.settimeout(30)
            words = ["-O", tos, "-p", "abcdef", "-s", "40", "-M", "no", "-m", "7", "--interface", "veth0"]
            # A fresh link may lose what is sent first.
            ran = fastnet("ping", *words, "-l", "-i50ms", "-x1", "10.77.0.2", prefix=left.prefix)
            assert (ran.returncode, ran.stderr) == (0, "")
            packet = sock.recv(2048)
        assert packet[1] == byte
        assert packet[6] & 0x40
        assert packet[28 + 16 :] == (b"\xab\xcd\xef" * 8)[:24]

    def test_what_may_not_be_cut_is_not_sent(self, linked, fastnet) -> None:
        words = ("ping", "-c2", "-i0", "-s2000", "--json", "10.77.0.2", "fd77::2")
        ran = fastnet(*words, "-M", "no", prefix=linked[0].prefix)
        for each in records(ran.stdout, "summary"):
            assert (each["sent"], each["not_sent"], each["loss_percent"]) == (0, 2, 0)
            assert each["error"] == "not sent: Message too long"
        assert ran.returncode == 1
        assert fastnet(*words, "-M", "yes", prefix=linked[0].prefix).returncode in (0, 1)

    def test_what_the_system_refuses(self, linked, fastnet, peer) -> None:
        left, _ = linked
        table = "table ip t { chain c { type filter hook output priority 0; ip daddr 10.77.0.3 drop; }; }"
        left.run(peer("nft"), table)
        queue = ("tbf", "rate", "4kbit", "burst", "250", "limit", "250")
        left.run(peer("tc"), "qdisc", "add", "dev", "veth0", "root", *queue)
        left.ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        ran = fastnet("ping", "-c1", "10.77.0.3", prefix=left.prefix)
        assert ran.stdout.splitlines() == [
            "10.77.0.3: seq=0 not sent: Operation not permitted",
            "10.77.0.3: 0 sent, 0 received, 0% loss, 1 not sent, 1 s outage",
        ]
        ran = fastnet("ping", "-c20", "-i0", "-W50ms", SILENT, prefix=left.prefix)
        full = "not sent: No buffer space available (the send queue or the neighbour table is full)"
        assert full in ran.stdout
        assert (ran.returncode, ran.stderr) == (1, "")

    def test_a_mark_needs_a_capability(self, linked, fastnet) -> None:
        linked[0].run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        bare = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
        ran = fastnet("ping", "-m7", "10.77.0.2", prefix=(*linked[0].prefix, *bare))
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)
        assert "CAP_NET_ADMIN" in ran.stderr

    def test_an_interface_that_is_not_there(self, root, fastnet) -> None:
        ran = fastnet("ping", "--interface", "nothing0", "127.0.0.1")
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)
        assert "nothing0" in ran.stderr
        ran = fastnet("ping", b"--interface=\xff", "127.0.0.1")
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)

    @pytest.mark.parametrize("option", ["-I", "--interface"])
    def test_a_variable_that_is_not_set(self, root, fastnet, option) -> None:
        ran = fastnet("ping", option, "", "127.0.0.1")
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
        assert "''" in ran.stderr


class TestTiming:
    def test_a_retry_is_not_one_more_request(self, silent, fastnet) -> None:
        words = ("ping", "-c2", "-i0", "-W20ms", "-r3", "-B1.0", "--json", SILENT)
        ran = fastnet(*words, prefix=silent)
        assert [each["tries"] for each in records(ran.stdout, "reply")] == [4, 4]
        (summary,) = records(ran.stdout, "summary")
        assert (summary["sent"], summary["received"], summary["outage_s"]) == (2, 0, 0)
        ran = fastnet("ping", "-c1", "-W20ms", "-r1", SILENT, prefix=silent)
        assert ran.stdout.splitlines() == [
            f"{SILENT}: seq=0 no answer (2 tries)",
            f"{SILENT}: 1 sent, 0 received, 100% loss, 1 s outage",
        ]

    def test_enough(self, silent, fastnet) -> None:
        ran = fastnet("ping", "-l", "-x1", "--json", SILENT, "10.77.0.2", prefix=silent)
        assert [each["received"] for each in records(ran.stdout, "summary")] == [0, 1]
        assert ran.returncode == 0
        ran = fastnet("ping", "-c20", "-i50ms", "-W100ms", "-x2", SILENT, "10.77.0.2", prefix=silent)
        assert ran.returncode == 1

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_a_flood_tells_only_the_summary(self, root, fastnet, host) -> None:
        ran = fastnet("ping", "-f", "-c3000", host)
        assert ran.stdout.startswith(f"{host}: 3000 sent, 3000 received, 0% loss, rtt ")
        assert ran.stdout.count("\n") == 1

    def test_a_flood_goes_on_where_nothing_comes_back(self, silent, fastnet) -> None:
        ran = fastnet("ping", "-f", "-c100", "-W500ms", SILENT, prefix=silent)
        assert ran.stdout == f"{SILENT}: 100 sent, 0 received, 100% loss\n"

    def test_auto_learns(self) -> None:
        patience = Patience("auto")
        assert patience.seconds == 1
        patience.seen(0.4)
        assert patience.seconds == pytest.approx(0.4 + 4 * 0.2)
        for _ in range(100):
            patience.seen(0.001)
        assert patience.seconds == 0.1
        for _ in range(20):
            patience.missed()
        assert patience.seconds == 10
        fixed = Patience(0.5)
        fixed.seen(5)
        fixed.missed()
        assert fixed.seconds == 0.5

    def test_auto(self, root, fastnet) -> None:
        ran = fastnet("ping", "-W", "auto", "-c3", "-i10ms", "127.0.0.1")
        assert (ran.returncode, ran.stderr) == (0, "")

    @pytest.mark.parametrize(
        "bad",
        [
            {"timeout": "never"},
            {"retries": -1},
            {"backoff": 0.5},
            {"backoff": float("nan")},
            {"enough": 0},
            {"tos": 256},
            {"mark": -1},
        ],
    )
    def test_what_is_out_of_range(self, root, bad) -> None:
        with pytest.raises(InvalidArgument, match=str(*bad)):
            fastnet.multiping(["127.0.0.1"], **bad)


class TestAllAddresses:
    def test_the_command(self, knowing, fastnet) -> None:
        prefix = knowing("127.0.0.1 many\n127.0.0.2 many\n::1 many\n")
        ran = fastnet("ping", "-A", "-c2", "-i0", "--json", "many", "127.0.0.2", prefix=prefix)
        assert (ran.returncode, ran.stderr) == (0, "")
        found = {(each["host"], each["address"]): each["received"] for each in records(ran.stdout, "summary")}
        addresses = ("127.0.0.1", "127.0.0.2", "::1")
        assert found == {**{("many", address): 2 for address in addresses}, ("127.0.0.2", "127.0.0.2"): 2}
        ran = fastnet("ping", "-A4", "-v", "-c1", "many", prefix=prefix)
        assert ran.stderr.splitlines() == [f"many is 127.0.0.{n}, by a raw socket" for n in (1, 2)]
        ran = fastnet("ping", "-v", "-c1", "-4", "many", prefix=prefix)
        assert ran.stderr.splitlines() == ["many is 127.0.0.1, by a raw socket"]

    def test_an_address_of_a_name_that_is_no_host_s(self, knowing, fastnet) -> None:
        prefix = knowing("127.0.0.1 some\n224.0.0.1 some\n")
        assert fastnet("ping", "-c1", "some", prefix=prefix).returncode == 0
        ran = fastnet("ping", "-A", "-c1", "some", prefix=prefix)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == "fastnet ping: some: not the address of one host\n"


class TestTelling:
    def test_a_loop_with_sums_gives_up_its_capabilities(self, root) -> None:
        words = ("ping", "-l", "-i10ms", "-Q50ms", "--json", "127.0.0.1")
        command = [*INTERRUPTIBLE, sys.executable, "-m", "fastnet", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            sums = [json.loads(process.stdout.readline()) for _ in range(3)]
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
        assert [each["kind"] for each in sums] == ["interval"] * 3
        assert "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" in status
        assert (process.returncode, errors) == (130, "")
        (summary,) = records(output, "summary")
        assert summary["received"] >= sum(each["received"] for each in sums) > 0

    def test_sums_as_text_are_told_from_the_summary_by_the_time(self, root, fastnet) -> None:
        ran = fastnet("ping", "-c20", "-i10ms", "-Q50ms", "127.0.0.1")
        *sums, summary = ran.stdout.splitlines()
        assert all(re.fullmatch(r"\[\d\d:\d\d:\d\d\]", line) for line in sums[::2])
        assert all(line.startswith("127.0.0.1: ") for line in (*sums[1::2], summary))
        assert len(sums) >= 2
        assert summary.startswith("127.0.0.1: 20 sent, 20 received, 0% loss, rtt ")

    def test_quiet(self, root, fastnet) -> None:
        ran = fastnet("ping", "-q", "-c2", "-i0", "127.0.0.1")
        assert ran.stdout.count("\n") == 1

    @pytest.mark.parametrize(
        "words",
        [
            ["-c1", "-l"],
            ["-f", "-i1"],
            ["-p", "abc"],
            ["-O", "ef0"],
            ["-x0"],
            ["-M", "perhaps"],
            ["-B0"],
            ["-B1_0"],
        ],
    )
    def test_bad_input(self, root, fastnet, words) -> None:
        ran = fastnet("ping", *words, "127.0.0.1")
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)


class TestResult:
    def reply(self, seq: int, rtt_ms: float | None, tries: int = 1) -> Reply:
        return Reply("h", "192.0.2.1", seq, rtt_ms, None, None if rtt_ms else "no answer", tries=tries)

    def test_statistics(self) -> None:
        rtts = [3.0, 1.0, 2.0, None, 5.0, 4.0, 10.0, 6.0, 7.0, 8.0, 9.0]
        replies = [self.reply(seq, rtt) for seq, rtt in enumerate(rtts)]
        result = PingResult("h", "192.0.2.1", "raw", [*replies, self.reply(11, None, tries=0)], 0.5)
        assert (result.sent, result.not_sent, result.received) == (11, 1, 10)
        assert (result.rtt_p50_ms, result.rtt_p90_ms, result.rtt_p99_ms) == (5, 9, 10)
        assert result.jitter_ms == pytest.approx((2 + 1 + 3 + 1 + 6 + 4 + 1 + 1 + 1) / 9)
        assert result.outage_s == 1.0
        assert "11 sent, 10 received" in repr(result)

    def test_one_reply_has_no_jitter(self) -> None:
        result = PingResult("h", "192.0.2.1", "raw", [self.reply(0, 1.0)])
        assert (result.jitter_ms, result.rtt_p99_ms) == (None, 1.0)
        empty = PingResult("h", "192.0.2.1", "raw", [])
        assert (empty.rtt_p50_ms, empty.outage_s, empty.error) == (None, 0, None)


def test_many_coroutines_with_one_pinger(root) -> None:
    async def hear(pinger: Pinger, group: int) -> set[tuple[str, int]]:
        hosts = [f"127.{group}.0.{n}" for n in range(1, 6)]
        return {(each.host, each.seq) async for each in pinger.replies_async(hosts, 3, 0.02) if each.rtt_ms}

    async def all_of_them() -> list[set[tuple[str, int]]]:
        with Pinger() as pinger:
            return await asyncio.gather(*(hear(pinger, group) for group in range(1, 21)))

    for group, heard in enumerate(asyncio.run(all_of_them()), 1):
        assert heard == {(f"127.{group}.0.{n}", seq) for n in range(1, 6) for seq in range(3)}
